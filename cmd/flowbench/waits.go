package main

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// approval waits for an answer, and then works.
var approval = definition("bench_approval", spec.Step{Slug: "approve", Type: spec.TypeWait}, spec.Step{Slug: "work", Deps: []string{"approve"}})

// answer answers n runs that wait from 16 goroutines, one a call, beside a worker, until the
// step behind the wait has run in all of them.
func answer(n int) func(context.Context, *server) (func(context.Context) (sample, error), func(), error) {
	return besideWork(approval, n, func(ctx context.Context, pool *pgxpool.Pool) (func(i int) error, error) {
		var ids []string
		for left := n; left > 0; left -= 5000 {
			runs, err := runtime.StartMany(ctx, pool, approval.Slug, inputs(min(left, 5000)))
			if err != nil {
				return nil, err
			}
			for _, run := range runs {
				ids = append(ids, run.ID())
			}
		}
		return func(i int) error {
			_, err := runtime.Signal(ctx, pool, ids[i], "approve", payload{ID: i})
			return err
		}, nil
	})
}

// startBesideWork starts n runs from 16 goroutines, one a call, beside a worker, until the
// last step of all of them has run.
func startBesideWork(def spec.Flow, n int) func(context.Context, *server) (func(context.Context) (sample, error), func(), error) {
	return besideWork(def, n, func(ctx context.Context, pool *pgxpool.Pool) (func(i int) error, error) {
		return func(i int) error {
			_, err := runtime.StartFlow(ctx, pool, def.Slug, payload{ID: i})
			return err
		}, nil
	})
}

// besideWork makes n calls from 16 goroutines beside a worker, each of which leads to one task.
// What prepare does before is not measured.
func besideWork(def spec.Flow, n int, prepare func(context.Context, *pgxpool.Pool) (call func(i int) error, err error)) func(context.Context, *server) (func(context.Context) (sample, error), func(), error) {
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
			call, err := prepare(ctx, pool)
			if err != nil {
				return sample{}, err
			}
			left.reset(n)
			since, err := s.usage(ctx)
			if err != nil {
				return sample{}, err
			}
			if err := parallel(16, n, call); err != nil {
				return sample{}, err
			}
			if err := left.awaitEnd(ctx, pool, def); err != nil {
				return sample{}, err
			}
			until, err := s.usage(ctx)
			return sample{units: n, since: &since, until: &until}, err
		}
		return work, func() { stop(); drop() }, nil
	}
}

// claimsBesideWaits takes the time of claims of 10 tasks behind waits that were answered,
// beside so many runs of the same flow that wait.
func claimsBesideWaits(waiting, n int) func(context.Context, *server) (func(context.Context) (sample, error), func(), error) {
	return func(ctx context.Context, s *server) (func(context.Context) (sample, error), func(), error) {
		pool, drop, err := install(ctx, s, approval)
		if err != nil {
			return nil, nil, err
		}
		err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error { return insertWaits(ctx, tx, waiting) })
		if err == nil {
			_, err = runtime.StartMany(ctx, pool, approval.Slug, inputs(1000))
		}
		for _, sql := range []string{
			`select count(flowc.signal(run_id, 'approve', '{"id": 0}')) from (select run_id from flowc.waits order by run_id desc limit 1000) w`,
			`select flowc.apply_due('{bench_approval}')`, `vacuum analyze`,
		} {
			if err == nil {
				_, err = pool.Exec(ctx, sql)
			}
		}
		if err != nil {
			drop()
			return nil, nil, err
		}
		return claimAndRelease(pool, []string{approval.Slug}, []int32{10}, n), drop, nil
	}
}

// insertWaits has n runs wait, whose rows are those of the engine.
func insertWaits(ctx context.Context, tx pgx.Tx, n int) error {
	_, err := tx.Exec(ctx, `create temporary table made on commit drop as select flowc.new_run_id() as run_id from generate_series(1, $1::int)`, n)
	for _, sql := range []string{
		`set local session_replication_role = replica`, // the run of each row is not looked for
		`insert into pgflow.runs (run_id, flow_slug, input, remaining_steps) select run_id, 'bench_approval', '{"id": 0}', 2 from made`,
		`insert into pgflow.step_states (flow_slug, run_id, step_slug, status, remaining_tasks, initial_tasks, remaining_deps, started_at)
		 select 'bench_approval', run_id, 'approve', 'started', 1, 1, 0, now() from made`,
		`insert into pgflow.step_states (flow_slug, run_id, step_slug, status, initial_tasks, remaining_deps)
		 select 'bench_approval', run_id, 'work', 'created', 1, 1 from made`,
		`insert into pgflow.step_tasks (flow_slug, run_id, step_slug, task_index, status, attempts_count, started_at)
		 select 'bench_approval', run_id, 'approve', 0, 'started', 1, now() from made`,
		`insert into flowc.waits (run_id, step_slug, flow_slug, due_at) select run_id, 'approve', 'bench_approval', 'infinity' from made`,
	} {
		if err == nil {
			_, err = tx.Exec(ctx, sql)
		}
	}
	return err
}
