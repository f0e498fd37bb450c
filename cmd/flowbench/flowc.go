package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/engine"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/flowc-dev/flowc/runtime/worker"
)

// payload is what every job and step takes: what a queue's benchmark would use.
type payload struct {
	ID int `json:"id"`
}

// The flows that are measured.
var (
	job = definition("bench_job", spec.Step{Slug: "work"})

	diamond = definition("bench_diamond",
		spec.Step{Slug: "a"},
		spec.Step{Slug: "b", Deps: []string{"a"}},
		spec.Step{Slug: "c", Deps: []string{"a"}},
		spec.Step{Slug: "d", Deps: []string{"b", "c"}})

	chain = definition("bench_chain",
		spec.Step{Slug: "a"},
		spec.Step{Slug: "b", Deps: []string{"a"}},
		spec.Step{Slug: "c", Deps: []string{"b"}},
		spec.Step{Slug: "d", Deps: []string{"c"}})

	mapped = definition("bench_map", spec.Step{Slug: "item", Type: spec.TypeMap})
)

func definition(slug string, steps ...spec.Step) spec.Flow {
	return spec.Flow{Slug: slug, Steps: steps}
}

// echo serves a flow with handlers that give back what they take, and tells done
// of each task that ended.
func echo(def spec.Flow, done func(step string)) handler.Service {
	var handlers []handler.Handler
	for _, step := range def.Steps {
		if step.Type == spec.TypeWait {
			continue
		}
		handlers = append(handlers, handler.HandleValues(step.Slug, func(context.Context, handler.Values) (any, error) {
			if done != nil {
				done(step.Slug)
			}
			return payload{}, nil
		}))
	}
	return handler.Serve(def, handlers)
}

// install makes a database with the engine and the flows.
func install(ctx context.Context, s *server, defs ...spec.Flow) (*pgxpool.Pool, func(), error) {
	pool, drop, err := s.database(ctx, 40)
	if err != nil {
		return nil, nil, err
	}
	if err := engine.Migrate(ctx, pool); err != nil {
		drop()
		return nil, nil, err
	}
	for _, def := range defs {
		if _, err := runtime.UpsertFlow(ctx, pool, def); err != nil {
			drop()
			return nil, nil, err
		}
	}
	return pool, drop, nil
}

// startWorkers runs workers until stop is called.
func startWorkers(ctx context.Context, pool *pgxpool.Pool, count, concurrency int, services ...handler.Service) (stop func() error, err error) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, count)
	for range count {
		w, err := worker.New(pool, worker.Config{Concurrency: concurrency, Logger: slog.New(slog.DiscardHandler)}, services...)
		if err != nil {
			cancel()
			return nil, err
		}
		go func() { ended <- w.Run(ctx) }()
	}
	return func() error {
		cancel()
		var err error
		for range count {
			if e := <-ended; e != nil {
				err = e
			}
		}
		return err
	}, nil
}

// A pausedWorker serves a flow that is paused but for its turns: what is started in a turn
// waits until all is, and connections are warm, as those of River's pool are.
type pausedWorker struct {
	pool *pgxpool.Pool
	def  spec.Flow
	left counter
	tidy func() // stops the worker, and drops the database
}

// startPaused starts a worker of a flow, which tells worked of each call of a handler. If it
// fails, it drops the database.
func startPaused(
	ctx context.Context, pool *pgxpool.Pool, drop func(), def spec.Flow, concurrency int, serve func(worked func(string)) handler.Service,
) (*pausedWorker, error) {
	w := &pausedWorker{pool: pool, def: def}
	_, err := ops.PauseFlow(ctx, pool, def.Slug, "flowbench")
	var stop func() error
	if err == nil {
		stop, err = startWorkers(ctx, pool, 1, concurrency, serve(w.left.one))
	}
	if err != nil {
		drop()
		return nil, err
	}
	w.tidy = func() { stop(); drop() }
	return w, nil
}

// startEcho starts a paused worker whose handlers do nothing.
func startEcho(ctx context.Context, pool *pgxpool.Pool, drop func(), def spec.Flow) (*pausedWorker, error) {
	return startPaused(ctx, pool, drop, def, 1024, func(worked func(string)) handler.Service { return echo(def, worked) })
}

// workBatches returns turns in which n runs are started in batches and worked to the end.
func workBatches(ctx context.Context, pool *pgxpool.Pool, drop func(), def spec.Flow, n int) (func(context.Context) (sample, error), func(), error) {
	w, err := startEcho(ctx, pool, drop, def)
	if err != nil {
		return nil, nil, err
	}
	work := func(ctx context.Context) (sample, error) {
		if err := startMany(ctx, pool, def, n); err != nil {
			return sample{}, err
		}
		return sample{units: n}, w.workAll(ctx, n*len(def.Steps))
	}
	return work, w.tidy, nil
}

// workAll works until so many tasks, which are all there are, have been worked and recorded. It
// asks the database only when all handlers were called, as River's side does: looking into a
// queue full of dead rows is not what is measured.
func (w *pausedWorker) workAll(ctx context.Context, tasks int) error {
	w.left.reset(tasks)
	if _, err := ops.ResumeFlow(ctx, w.pool, w.def.Slug); err != nil {
		return err
	}
	if err := w.left.awaitEnd(ctx, w.pool, w.def); err != nil {
		return err
	}
	_, err := ops.PauseFlow(ctx, w.pool, w.def.Slug, "flowbench")
	return err
}

// A counter counts calls of handlers.
type counter struct {
	left atomic.Int64
	zero chan struct{} // closed when so many calls were made
}

// reset has the counter wait for so many calls, of which none was made yet.
func (c *counter) reset(calls int) {
	c.zero = make(chan struct{})
	c.left.Store(int64(calls))
}

func (c *counter) one(string) { c.add(1) }

func (c *counter) add(calls int64) {
	if left := c.left.Add(-calls); left <= 0 && left+calls > 0 {
		close(c.zero)
	}
}

// awaitEnd waits until all handlers were called and no task is left of the flow.
func (c *counter) awaitEnd(ctx context.Context, pool *pgxpool.Pool, def spec.Flow) error {
	select {
	case <-c.zero:
	case <-ctx.Done():
		return ctx.Err()
	}
	for {
		var empty bool
		err := pool.QueryRow(ctx, `
			select not exists (select from pgflow.step_tasks where flow_slug = $1 and in_queue and subqueue = 'r')
			   and not exists (select from pgflow.step_tasks where flow_slug = $1 and in_queue and subqueue = 'g')`, def.Slug).Scan(&empty)
		if err != nil || empty {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func inputs(n int) []any {
	all := make([]any, n)
	for i := range all {
		all[i] = payload{ID: i}
	}
	return all
}

// startManyAndWork starts n runs in batches and works them to the end.
func startManyAndWork(def spec.Flow, n int) func(context.Context, *server) (func(context.Context) (sample, error), func(), error) {
	return func(ctx context.Context, s *server) (func(context.Context) (sample, error), func(), error) {
		pool, drop, err := install(ctx, s, def)
		if err != nil {
			return nil, nil, err
		}
		return workBatches(ctx, pool, drop, def, n)
	}
}

// startManyBesideWork starts n runs in batches while a worker works them, as the
// executor of DBOS does.
func startManyBesideWork(def spec.Flow, n int) func(context.Context, *server) (func(context.Context) (sample, error), func(), error) {
	return func(ctx context.Context, s *server) (func(context.Context) (sample, error), func(), error) {
		pool, drop, err := install(ctx, s, def)
		if err != nil {
			return nil, nil, err
		}
		var left counter
		stop, err := startWorkers(ctx, pool, 1, 1024, echo(def, left.one))
		if err != nil {
			drop()
			return nil, nil, err
		}
		work := func(ctx context.Context) (sample, error) {
			left.reset(n * len(def.Steps))
			if err := startMany(ctx, pool, def, n); err != nil {
				return sample{}, err
			}
			return sample{units: n}, left.awaitEnd(ctx, pool, def)
		}
		return work, func() { stop(); drop() }, nil
	}
}

// startMany starts n runs in batches.
func startMany(ctx context.Context, db runtime.DB, def spec.Flow, n int) error {
	for ; n > 0; n -= 5000 {
		if _, err := runtime.StartMany(ctx, db, def.Slug, inputs(min(n, 5000))); err != nil {
			return err
		}
	}
	return nil
}

// startOneACall starts n runs from 16 goroutines, one a call.
func startOneACall(def spec.Flow, n int) func(context.Context, *server) (func(context.Context) (sample, error), func(), error) {
	return func(ctx context.Context, s *server) (func(context.Context) (sample, error), func(), error) {
		pool, drop, err := install(ctx, s, def)
		if err != nil {
			return nil, nil, err
		}
		work := func(ctx context.Context) (sample, error) {
			err := parallel(16, n, func(i int) error {
				_, err := runtime.StartFlow(ctx, pool, def.Slug, payload{ID: i})
				return err
			})
			return sample{units: n}, err
		}
		return work, drop, nil
	}
}

// lastUnique is the last number that made a job unique, in all turns.
var lastUnique atomic.Int64

// startUnique starts jobs, of which every second is like the one before it.
func startUnique(n int) func(context.Context, *server) (func(context.Context) (sample, error), func(), error) {
	return func(ctx context.Context, s *server) (func(context.Context) (sample, error), func(), error) {
		def := definition("bench_unique", spec.Step{Slug: "work"})
		def.Unique = &spec.Unique{By: []spec.Path{{spec.RunKey, "id"}}}
		pool, drop, err := install(ctx, s, def)
		if err != nil {
			return nil, nil, err
		}
		work := func(ctx context.Context) (sample, error) {
			var existed atomic.Int64
			first := int(lastUnique.Add(int64(n))) - n
			err := parallel(16, n, func(i int) error {
				run, err := runtime.StartFlow(ctx, pool, def.Slug, payload{ID: first + i/2})
				if err == nil && run.Existed() {
					existed.Add(1)
				}
				return err
			})
			if err == nil && int(existed.Load()) != n/2 {
				err = fmt.Errorf("%d of %d existed", existed.Load(), n)
			}
			return sample{units: n}, err
		}
		return work, drop, nil
	}
}

// parallel calls fn n times from some goroutines.
func parallel(goroutines, n int, fn func(i int) error) error {
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var all sync.WaitGroup
	for range goroutines {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && failed.Load() == nil; i = int(next.Add(1)) - 1 {
				if err := fn(i); err != nil {
					failed.Store(&err)
				}
			}
		})
	}
	all.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

// oneCallATask drives the engine as the contract's own workers do: each task is
// read, started and completed in calls of its own.
func oneCallATask(def spec.Flow, n int) func(context.Context, *server) (func(context.Context) (sample, error), func(), error) {
	return func(ctx context.Context, s *server) (func(context.Context) (sample, error), func(), error) {
		pool, drop, err := install(ctx, s, def)
		if err != nil {
			return nil, nil, err
		}
		id := uuid.New()
		if _, err := pool.Exec(ctx, `insert into pgflow.workers (worker_id, queue_name, function_name) values ($1::text::uuid, $2, 'bench')`, id.String(), def.Slug); err != nil {
			drop()
			return nil, nil, err
		}
		work := func(ctx context.Context) (sample, error) {
			if err := parallel(16, n, func(i int) error {
				_, err := pool.Exec(ctx, `select from pgflow.start_flow($1, $2::text::jsonb)`, def.Slug, fmt.Sprintf(`{"id": %d}`, i))
				return err
			}); err != nil {
				return sample{}, err
			}
			err := parallel(4, n*len(def.Steps), func(int) error { return readStartComplete(ctx, pool, def.Slug, id) })
			return sample{units: n}, err
		}
		return work, drop, nil
	}
}

func readStartComplete(ctx context.Context, pool *pgxpool.Pool, slug string, worker uuid.UUID) error {
	for {
		var message *int64
		err := pool.QueryRow(ctx, `select (select msg_id from pgmq.read($1, 5, 1))`, slug).Scan(&message)
		if err != nil {
			return err
		}
		if message == nil { // the step before has not been completed yet
			time.Sleep(time.Millisecond)
			continue
		}
		var run, step string
		var index int
		err = pool.QueryRow(ctx, `select run_id::text, step_slug, task_index from pgflow.start_tasks($1, array[$2::bigint], $3::text::uuid)`,
			slug, *message, worker.String()).Scan(&run, &step, &index)
		if errors.Is(err, pgx.ErrNoRows) {
			continue // somebody else holds it just now; it becomes visible again
		}
		if err != nil {
			return err
		}
		_, err = pool.Exec(ctx, `select from pgflow.complete_task($1::text::uuid, $2, $3, '{"id": 0}')`, run, step, index)
		return err
	}
}

// mapOf works maps over n elements each, so many that units tasks come together.
func mapOf(n, units int) func(context.Context, *server) (func(context.Context) (sample, error), func(), error) {
	return func(ctx context.Context, s *server) (func(context.Context) (sample, error), func(), error) {
		pool, drop, err := install(ctx, s, mapped)
		if err != nil {
			return nil, nil, err
		}
		elements, err := json.Marshal(inputs(n))
		if err != nil {
			return nil, nil, err
		}
		w, err := startEcho(ctx, pool, drop, mapped)
		if err != nil {
			return nil, nil, err
		}
		work := func(ctx context.Context) (sample, error) {
			runs := make([]any, max(units/n, 1))
			for i := range runs {
				runs[i] = json.RawMessage(elements)
			}
			if _, err := runtime.StartMany(ctx, pool, mapped.Slug, runs); err != nil {
				return sample{}, err
			}
			return sample{units: len(runs) * n}, w.workAll(ctx, len(runs)*n)
		}
		return work, w.tidy, nil
	}
}

// latency starts one run at a time on an idle system and takes the time until
// the handler of its last step is called.
func latency(def spec.Flow, n int) func(context.Context, *server) (func(context.Context) (sample, error), func(), error) {
	return func(ctx context.Context, s *server) (func(context.Context) (sample, error), func(), error) {
		pool, drop, err := install(ctx, s, def)
		if err != nil {
			return nil, nil, err
		}
		last := def.Steps[len(def.Steps)-1].Slug
		reached := make(chan time.Time, 1)
		stop, err := startWorkers(ctx, pool, 1, 16, echo(def, func(step string) {
			if step == last {
				reached <- time.Now()
			}
		}))
		if err != nil {
			drop()
			return nil, nil, err
		}
		start := func(i int) error {
			_, err := runtime.StartFlow(ctx, pool, def.Slug, payload{ID: i})
			return err
		}
		tidy := func() { stop(); drop() }
		if _, err := oneAtATime(ctx, 1, reached, start); err != nil { // until the worker is up
			tidy()
			return nil, nil, err
		}
		work := func(ctx context.Context) (sample, error) { return oneAtATime(ctx, n, reached, start) }
		return work, tidy, nil
	}
}

// oneAtATime starts, waits for the handler, and rests until the system is idle.
func oneAtATime(ctx context.Context, n int, reached <-chan time.Time, start func(i int) error) (sample, error) {
	got := sample{units: n}
	for i := range n {
		began := time.Now()
		if err := start(i); err != nil {
			return got, err
		}
		select {
		case at := <-reached:
			got.latencies = append(got.latencies, at.Sub(began))
		case <-ctx.Done():
			return got, ctx.Err()
		}
		time.Sleep(30 * time.Millisecond)
	}
	return got, nil
}

// idle lets the server alone for a while, with so many workers that have nothing to
// do; a unit is a second. What the server does by itself is in both.
func idle(workers, seconds int) func(context.Context, *server) (func(context.Context) (sample, error), func(), error) {
	return func(ctx context.Context, s *server) (func(context.Context) (sample, error), func(), error) {
		pool, drop, err := install(ctx, s, job)
		if err != nil {
			return nil, nil, err
		}
		work := func(ctx context.Context) (sample, error) {
			stop, err := startWorkers(ctx, pool, workers, 16, echo(job, nil))
			if err != nil {
				return sample{}, err
			}
			time.Sleep(time.Second) // until they are idle
			since, err := s.usage(ctx)
			if err != nil {
				return sample{}, err
			}
			time.Sleep(time.Duration(seconds) * time.Second)
			until, err := s.usage(ctx)
			if err != nil {
				return sample{}, err
			}
			return sample{units: seconds, since: &since, until: &until}, stop()
		}
		return work, drop, nil
	}
}

// claims takes the time of claims of 10 with so many tasks waiting, over so many
// flows of which 10 at most have work.
func claims(waiting, flows, n int) func(context.Context, *server) (func(context.Context) (sample, error), func(), error) {
	return func(ctx context.Context, s *server) (func(context.Context) (sample, error), func(), error) {
		pool, drop, err := install(ctx, s)
		if err != nil {
			return nil, nil, err
		}
		var slugs []string
		var limits []int32
		for _, def := range among(flows) {
			if _, err := runtime.UpsertFlow(ctx, pool, def); err != nil {
				drop()
				return nil, nil, err
			}
			slugs, limits = append(slugs, def.Slug), append(limits, 10)
		}
		busy := slugs[:min(10, len(slugs))]
		for _, slug := range busy {
			for left := waiting / len(busy); left > 0; left -= 10_000 {
				if _, err := runtime.StartMany(ctx, pool, slug, inputs(min(left, 10_000))); err != nil {
					drop()
					return nil, nil, err
				}
			}
		}
		if _, err := pool.Exec(ctx, `vacuum analyze`); err != nil {
			drop()
			return nil, nil, err
		}
		return claimAndRelease(pool, slugs, limits, n), drop, nil
	}
}

// claimAndRelease takes the time of n claims of some flows, whose tasks it gives back.
func claimAndRelease(pool *pgxpool.Pool, slugs []string, limits []int32, n int) func(context.Context) (sample, error) {
	id := uuid.NewString()
	return func(ctx context.Context) (sample, error) {
		got := sample{units: n}
		for range n {
			began := time.Now()
			rows, err := pool.Query(ctx, `
				with claimed as (select * from flowc.claim($1::text::uuid, $2, $3))
				select count(*), array_agg(flow_slug), array_agg(message_id), array_agg(claim_number) from claimed`, id, slugs, limits)
			if err != nil {
				return got, err
			}
			var count int
			var claimed []string
			var messages []int64
			var attempts []int32
			for rows.Next() {
				if err := rows.Scan(&count, &claimed, &messages, &attempts); err != nil {
					return got, err
				}
			}
			if err := rows.Err(); err != nil {
				return got, err
			}
			got.latencies = append(got.latencies, time.Since(began))
			if count == 0 {
				return got, errors.New("there was nothing to claim")
			}
			if _, err := pool.Exec(ctx, `select flowc.release($1::text::uuid, $2, $3, $4)`, id, claimed, messages, attempts); err != nil {
				return got, err
			}
		}
		return got, nil
	}
}

// withHistory works jobs beside so many finished runs.
func withHistory(runs, n int) func(context.Context, *server) (func(context.Context) (sample, error), func(), error) {
	return func(ctx context.Context, s *server) (func(context.Context) (sample, error), func(), error) {
		pool, drop, err := install(ctx, s, job)
		if err != nil {
			return nil, nil, err
		}
		_, err = pool.Exec(ctx, `
			with r as (
			  insert into pgflow.runs (run_id, flow_slug, status, input, output, remaining_steps, started_at, completed_at)
			  select flowc.new_run_id(), $1, 'completed', '{"id": 0}', '{"work": {"id": 0}}', 0, now() - interval '1 day', now() - interval '1 day'
			  from generate_series(1, $2) returning run_id),
			s as (
			  insert into pgflow.step_states (flow_slug, run_id, step_slug, status, remaining_tasks, initial_tasks, output, started_at, completed_at)
			  select $1, run_id, 'work', 'completed', 0, 1, '{"id": 0}', now(), now() from r)
			insert into pgflow.step_tasks (flow_slug, run_id, step_slug, message_id, status, attempts_count, output, started_at, completed_at)
			select $1, run_id, 'work', nextval('flowc.message_ids'), 'completed', 1, '{"id": 0}', now(), now() from r`, job.Slug, runs)
		if err == nil {
			_, err = pool.Exec(ctx, `vacuum analyze`)
		}
		if err != nil {
			drop()
			return nil, nil, err
		}
		w, err := startEcho(ctx, pool, drop, job)
		if err != nil {
			return nil, nil, err
		}
		work := func(ctx context.Context) (sample, error) {
			if _, err := runtime.StartMany(ctx, pool, job.Slug, inputs(n)); err != nil {
				return sample{}, err
			}
			if err := w.workAll(ctx, n); err != nil {
				return sample{}, err
			}
			for range 20 {
				if _, err := ops.ListRuns(ctx, pool, ops.RunFilter{}); err != nil {
					return sample{}, err
				}
			}
			return sample{units: n}, nil
		}
		return work, w.tidy, nil
	}
}

// among returns definitions of so many flows with one step, the first of which are used.
func among(flows int) []spec.Flow {
	defs := make([]spec.Flow, flows)
	for i := range defs {
		defs[i] = definition(fmt.Sprintf("flow_%d", i), spec.Step{Slug: "work"})
	}
	return defs
}

// serveAmong runs a worker of so many flows.
func serveAmong(ctx context.Context, s *server, flows, concurrency int, done func(step string)) (*pgxpool.Pool, func(), error) {
	defs := among(flows)
	pool, drop, err := install(ctx, s, defs...)
	if err != nil {
		return nil, nil, err
	}
	var services []handler.Service
	for _, def := range defs {
		services = append(services, echo(def, done))
	}
	stop, err := startWorkers(ctx, pool, 1, concurrency, services...)
	if err != nil {
		drop()
		return nil, nil, err
	}
	return pool, func() { stop(); drop() }, nil
}

// latencyAmong starts one run at a time on an idle system, in a worker of so many flows.
func latencyAmong(flows, n int) func(context.Context, *server) (func(context.Context) (sample, error), func(), error) {
	return func(ctx context.Context, s *server) (func(context.Context) (sample, error), func(), error) {
		reached := make(chan time.Time, 1)
		pool, tidy, err := serveAmong(ctx, s, flows, 16, func(string) { reached <- time.Now() })
		if err != nil {
			return nil, nil, err
		}
		start := func(i int) error {
			_, err := runtime.StartFlow(ctx, pool, fmt.Sprintf("flow_%d", i%10), payload{ID: i})
			return err
		}
		if _, err := oneAtATime(ctx, 1, reached, start); err != nil { // until the worker is up
			tidy()
			return nil, nil, err
		}
		return func(ctx context.Context) (sample, error) { return oneAtATime(ctx, n, reached, start) }, tidy, nil
	}
}

// jobsAmong works jobs of ten flows in a worker of so many.
func jobsAmong(flows, n int) func(context.Context, *server) (func(context.Context) (sample, error), func(), error) {
	return func(ctx context.Context, s *server) (func(context.Context) (sample, error), func(), error) {
		var left counter
		pool, tidy, err := serveAmong(ctx, s, flows, 1024, left.one)
		if err != nil {
			return nil, nil, err
		}
		work := func(ctx context.Context) (sample, error) {
			left.reset(n / 10 * 10)
			for i := range 10 {
				def := definition(fmt.Sprintf("flow_%d", i))
				if err := startMany(ctx, pool, def, n/10); err != nil {
					return sample{}, err
				}
			}
			for i := range 10 {
				if err := left.awaitEnd(ctx, pool, definition(fmt.Sprintf("flow_%d", i))); err != nil {
					return sample{}, err
				}
			}
			return sample{units: n / 10 * 10}, nil
		}
		return work, tidy, nil
	}
}

// laterJob is a flow whose tasks wait for six hours.
var laterJob = definition("later", spec.Step{Slug: "work", StartDelay: 6 * time.Hour})

// besideDelayed works jobs beside so many tasks that wait for their time: between two
// attempts in the same flow, and behind a start delay in another.
func besideDelayed(delayed, n int) func(context.Context, *server) (func(context.Context) (sample, error), func(), error) {
	return prepared(n, func(ctx context.Context, pool *pgxpool.Pool) error {
		for _, def := range []spec.Flow{job, laterJob} {
			for left := delayed / 2; left > 0; left -= 10_000 {
				if _, err := runtime.StartMany(ctx, pool, def.Slug, inputs(min(left, 10_000))); err != nil {
					return err
				}
			}
		}
		// As a failed attempt leaves it.
		_, err := pool.Exec(ctx, `
			update pgflow.step_tasks set attempts_count = 1, claims_count = 1, subqueue = 'd', visible_at = now() + interval '6 hours', due_at = now() + interval '6 hours'
			where flow_slug = $1`, job.Slug)
		return err
	})
}

// besideWriter works jobs beside a transaction that has written and is idle.
func besideWriter(n int) func(context.Context, *server) (func(context.Context) (sample, error), func(), error) {
	return prepared(n, func(ctx context.Context, pool *pgxpool.Pool) error {
		if _, err := pool.Exec(ctx, `create table notes (text text)`); err != nil {
			return err
		}
		conn, err := pool.Acquire(ctx) // until the pool is closed
		if err == nil {
			_, err = conn.Exec(ctx, `begin; insert into notes values ('idle')`)
		}
		if err == nil {
			conn.Hijack()
		}
		return err
	})
}

// prepared works jobs in a database that something was done to before.
func prepared(n int, prepare func(context.Context, *pgxpool.Pool) error) func(context.Context, *server) (func(context.Context) (sample, error), func(), error) {
	return func(ctx context.Context, s *server) (func(context.Context) (sample, error), func(), error) {
		pool, drop, err := install(ctx, s, job, laterJob)
		if err != nil {
			return nil, nil, err
		}
		err = prepare(ctx, pool)
		if err == nil {
			_, err = pool.Exec(ctx, `vacuum analyze`)
		}
		if err != nil {
			drop()
			return nil, nil, err
		}
		return workBatches(ctx, pool, drop, job, n)
	}
}

var typedJob = runtime.NewFlow[payload](job, handler.Output[payload]("work"))

// typedStart takes the time of single starts: by the typed function or by the
// same SQL through pgx.
func typedStart(typed bool, n int) func(context.Context, *server) (func(context.Context) (sample, error), func(), error) {
	return func(ctx context.Context, s *server) (func(context.Context) (sample, error), func(), error) {
		pool, drop, err := install(ctx, s, job)
		if err != nil {
			return nil, nil, err
		}
		work := func(ctx context.Context) (sample, error) {
			got := sample{units: n}
			for i := range n {
				began := time.Now()
				var err error
				if typed {
					_, err = typedJob.Start(ctx, pool, payload{ID: i})
				} else {
					err = plainStart(ctx, pool, payload{ID: i})
				}
				if err != nil {
					return got, err
				}
				got.latencies = append(got.latencies, time.Since(began))
			}
			return got, nil
		}
		return work, drop, nil
	}
}

func plainStart(ctx context.Context, pool *pgxpool.Pool, in payload) error {
	raw, err := json.Marshal(in)
	if err != nil {
		return err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return err
	}
	var n int
	var existed bool
	var at *time.Time
	return pool.QueryRow(ctx, `
SELECT n, existed, scheduled_at
FROM flowc.start($1, $2, $3::text[]::uuid[], start_at => $4, start_in => $5)
WHERE n = 1 OR existed OR scheduled_at IS NOT NULL`, job.Slug, []string{string(raw)}, []string{id.String()}, (*time.Time)(nil), (*time.Duration)(nil)).Scan(&n, &existed, &at)
}
