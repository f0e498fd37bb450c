package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/engine"
	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/flowc-dev/flowc/runtime/shards"
	"github.com/flowc-dev/flowc/runtime/worker"
)

// workOnShards starts n jobs in batches on so many servers of their own and works them to
// the end, in one process. Each of the servers gets the same share of the handlers.
func workOnShards(n, servers int) func(context.Context, *server) (func(context.Context) (sample, error), func(), error) {
	return func(ctx context.Context, _ *server) (_ func(context.Context) (sample, error), _ func(), err error) {
		all, pools := make([]*server, servers), map[string]*pgxpool.Pool{}
		tidy := func() {
			for _, pool := range pools {
				pool.Close()
			}
			for _, s := range all {
				if s != nil {
					s.close()
				}
			}
		}
		defer func() {
			if err != nil {
				tidy()
			}
		}()
		for i := range all {
			if all[i], err = startServer(ctx, ""); err != nil {
				return nil, nil, err
			}
			name := fmt.Sprint("s", i+1)
			if pools[name], _, err = all[i].database(ctx, 40); err != nil {
				return nil, nil, err
			}
			if err = engine.Migrate(ctx, pools[name]); err != nil {
				return nil, nil, err
			}
		}
		if err = shards.Init(ctx, pools); err != nil {
			return nil, nil, err
		}
		db, err := shards.Open(ctx, pools)
		if err != nil {
			return nil, nil, err
		}
		if _, err = runtime.UpsertFlow(ctx, db, job); err != nil {
			return nil, nil, err
		}
		// As a pausedWorker does.
		if _, err = ops.PauseFlow(ctx, db, job.Slug, "flowbench"); err != nil {
			return nil, nil, err
		}
		var left counter
		w, err := shards.NewWorker(db, worker.Config{Concurrency: 1024 / servers, Logger: slog.New(slog.DiscardHandler)}, echo(job, left.one))
		if err != nil {
			return nil, nil, err
		}
		stop := w.Start(ctx)
		work := func(ctx context.Context) (_ sample, err error) {
			left.reset(n)
			since, err := usageOf(ctx, all)
			if err != nil {
				return sample{}, err
			}
			if err := startMany(ctx, db, job, n); err != nil {
				return sample{}, err
			}
			if _, err := ops.ResumeFlow(ctx, db, job.Slug); err != nil {
				return sample{}, err
			}
			for _, pool := range pools {
				err = errors.Join(err, left.awaitEnd(ctx, pool, job))
			}
			_, paused := ops.PauseFlow(ctx, db, job.Slug, "flowbench")
			if err := errors.Join(err, paused); err != nil {
				return sample{}, err
			}
			until, err := usageOf(ctx, all)
			return sample{units: n, took: until.at.Sub(since.at), since: &since, until: &until}, err
		}
		return work, func() { stop(); tidy() }, nil
	}
}

// usageOf returns what servers have used up to now, together.
func usageOf(ctx context.Context, servers []*server) (sum usage, _ error) {
	for _, s := range servers {
		u, err := s.usage(ctx)
		if err != nil {
			return sum, err
		}
		sum.db += u.db
		sum.wal += u.wal
		sum.client = u.client // of this process, whichever server
	}
	sum.at = time.Now()
	return sum, nil
}
