package main

import (
	"context"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// keyed is what jobs with a gate take, and those that they are compared with.
type keyed struct {
	ID  int    `json:"id"`
	Key string `json:"key"`
}

var (
	keyedJob = definition("bench_keyed", spec.Step{Slug: "work"})
	// gatedJob has room for everything.
	gatedJob = definition("bench_gated", spec.Step{Slug: "work", Key: spec.Path{spec.RunKey, "key"}, Concurrency: 100_000})
	// oneAtOnce has room for one task of a key.
	oneAtOnce = definition("bench_one", spec.Step{Slug: "work", Key: spec.Path{spec.RunKey, "key"}, Concurrency: 1})
)

// keyedInputs returns n inputs of so many keys in turn.
func keyedInputs(n, keys int) []any {
	all := make([]any, n)
	for i := range all {
		all[i] = keyed{ID: i, Key: strconv.Itoa(i % keys)}
	}
	return all
}

// workKeyed starts n runs of 50 keys in batches and works them to the end.
func workKeyed(def spec.Flow, n int) func(context.Context, *server) (func(context.Context) (sample, error), func(), error) {
	return func(ctx context.Context, s *server) (func(context.Context) (sample, error), func(), error) {
		pool, drop, err := install(ctx, s, def)
		if err != nil {
			return nil, nil, err
		}
		w, err := startEcho(ctx, pool, drop, def)
		if err != nil {
			return nil, nil, err
		}
		work := func(ctx context.Context) (sample, error) {
			for left := n; left > 0; left -= 5000 {
				if _, err := runtime.StartMany(ctx, pool, def.Slug, keyedInputs(min(left, 5000), 50)); err != nil {
					return sample{}, err
				}
			}
			return sample{units: n}, w.workAll(ctx, n)
		}
		return work, w.tidy, nil
	}
}

// latencyBesideFull takes the latency of a key that has room, on a system that is idle but for
// so many keys that are at their limit, with four tasks each that wait.
func latencyBesideFull(keys, n int) func(context.Context, *server) (func(context.Context) (sample, error), func(), error) {
	return func(ctx context.Context, s *server) (func(context.Context) (sample, error), func(), error) {
		pool, drop, err := install(ctx, s, oneAtOnce)
		if err != nil {
			return nil, nil, err
		}
		letGo, err := fillKeys(ctx, pool, keys)
		if err != nil {
			drop()
			return nil, nil, err
		}
		reached := make(chan time.Time, 1)
		stop, err := startWorkers(ctx, pool, 1, 16, echo(oneAtOnce, func(string) { reached <- time.Now() }))
		if err != nil {
			letGo()
			drop()
			return nil, nil, err
		}
		tidy := func() { stop(); letGo(); drop() }
		start := func(i int) error {
			_, err := runtime.StartFlow(ctx, pool, oneAtOnce.Slug, keyed{ID: i, Key: "free"})
			return err
		}
		if _, err := oneAtATime(ctx, 1, reached, start); err != nil { // until the worker is up
			tidy()
			return nil, nil, err
		}
		work := func(ctx context.Context) (sample, error) { return oneAtATime(ctx, n, reached, start) }
		return work, tidy, nil
	}
}

// fillKeys starts five runs of each of some keys, and has a worker that takes nothing else hold
// one task of each until letGo is called.
func fillKeys(ctx context.Context, pool *pgxpool.Pool, keys int) (letGo func(), err error) {
	if keys == 0 {
		return func() {}, nil
	}
	if _, err := runtime.StartMany(ctx, pool, oneAtOnce.Slug, keyedInputs(5*keys, keys)); err != nil {
		return nil, err
	}
	var left counter
	left.reset(keys)
	released := make(chan struct{})
	stop, err := startWorkers(ctx, pool, 1, keys, handler.Serve(oneAtOnce, []handler.Handler{
		handler.HandleValues("work", func(ctx context.Context, _ handler.Values) (any, error) {
			left.one("work")
			select {
			case <-released:
				return payload{}, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		})}))
	if err != nil {
		return nil, err
	}
	letGo = func() { close(released); stop() }
	select {
	case <-left.zero:
		return letGo, nil
	case <-ctx.Done():
		letGo()
		return nil, ctx.Err()
	}
}
