// Random calls of all kinds in many sessions at once, at every isolation level.

package engine_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
)

// TestConcurrency lets many sessions do everything at once: start, claim, read,
// report one by one and in batches, give back, die, recover, requeue, cancel,
// retry, delete. In the end every run must have come out as computed, every task
// must have been done once, and no two sessions may have waited for each other.
func TestConcurrency(t *testing.T) {
	t.Parallel()
	for level, rounds := range map[string]int{"read committed": 60, "repeatable read": 60, "serializable": 15} {
		t.Run(level, func(t *testing.T) {
			t.Parallel()
			newStorm(t, level).rage(rounds)
		})
	}
}

// A storm is one such test.
type storm struct {
	t      *testing.T
	d      *db
	pool   *pgxpool.Pool
	level  string
	seed   uint64
	graphs []graph
	slugs  []string
	runs   sync.Map // run id → index of its graph; those that nobody interferes with
	kills  sync.Map // task → how often a worker died with it
	done   sync.Map // task → *atomic.Int64, accepted completions
	open   atomic.Int64
	clash  atomic.Int64 // serialization failures, which are tried again
}

func newStorm(t *testing.T, level string) *storm {
	url := dbtest.URL(t)
	config, err := pgxpool.ParseConfig(url)
	require.NoError(t, err)
	config.MaxConns = 12
	config.ConnConfig.RuntimeParams["default_transaction_isolation"] = level
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)

	s := &storm{t: t, pool: pool, level: level, seed: uint64(time.Now().UnixNano())}
	t.Logf("seed %d", s.seed)
	s.d = &db{t: t, pool: pool, q: pool}
	for i := range 12 {
		g := graphs().Example(int(s.seed>>1) + i)
		s.graphs = append(s.graphs, g)
		s.slugs = append(s.slugs, fmt.Sprintf("flow%d", i))
		s.d.exec(`select flowc.upsert_flow($1, $2::jsonb, false)`, s.slugs[i], g.definition())
	}
	return s
}

func (s *storm) rage(rounds int) {
	ctx, cancel := context.WithTimeout(s.t.Context(), 8*time.Minute)
	defer cancel()
	before := value[int64](s.d, `select deadlocks from pg_stat_database where datname = current_database()`)
	s.open.Add(2)
	require.NoError(s.t, together(ctx,
		func(ctx context.Context) error { defer s.open.Add(-1); return s.starter(ctx, rounds) },
		func(ctx context.Context) error { defer s.open.Add(-1); return s.meddler(ctx, rounds/2) },
		func(ctx context.Context) error { return s.worker(ctx, 1) },
		func(ctx context.Context) error { return s.worker(ctx, 2) },
		func(ctx context.Context) error { return s.worker(ctx, 3) },
		s.foreignWorker, s.undertaker))
	s.t.Logf("%d serialization failures; runs, tasks, attempts, reclaims: %s", s.clash.Load(), s.d.table(`
		select (select count(*) from pgflow.runs), count(*), sum(attempts_count), sum(requeued_count) from pgflow.step_tasks`))

	s.runs.Range(func(id, index any) bool {
		s.graphs[index.(int)].checkRun(&run{s.d, s.slugs[index.(int)], id.(string)})
		return true
	})
	require.Empty(s.t, s.d.broken())
	s.done.Range(func(task, count any) bool {
		require.EqualValues(s.t, 1, count.(*atomic.Int64).Load(), "completions of %s", task)
		return true
	})
	require.Equal(s.t, "0 0", s.d.table(`select (select count(*) from flowc.queue), (select count(*) from pgflow.runs where status = 'started')`))
	require.Equal(s.t, before, value[int64](s.d, `select deadlocks from pg_stat_database where datname = current_database()`), "deadlocks")
}

// together calls functions at once and waits for all; the first error ends the others.
func together(ctx context.Context, calls ...func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var group sync.WaitGroup
	for _, call := range calls {
		group.Go(func() {
			if err := call(ctx); err != nil {
				cancel(err)
			}
		})
	}
	group.Wait()
	return context.Cause(ctx)
}

// do runs a statement for a session, again if it has clashed with another. That
// must happen neither under read committed nor by waiting for each other.
func (s *storm) do(ctx context.Context, scan func(pgx.Rows) error, sql string, args ...any) error {
	return retry(func() error {
		rows, err := s.pool.Query(ctx, sql, args...)
		if err == nil {
			defer rows.Close()
			err = scan(rows)
		}
		var pg *pgconn.PgError
		if errors.As(err, &pg) {
			if pg.Code == "40001" && s.level != "read committed" {
				s.clash.Add(1)
				return err
			}
			return fmt.Errorf("%s: %s %s: %s", pg.Code, pg.Message, pg.Detail, sql)
		}
		return err
	})
}

func (s *storm) exec(ctx context.Context, sql string, args ...any) error {
	return s.do(ctx, func(rows pgx.Rows) error { rows.Close(); return rows.Err() }, sql, args...)
}

func (s *storm) random(session int) *rand.Rand { return rand.New(rand.NewPCG(s.seed, uint64(session))) }

// calm reports whether every run has ended and none will be started.
func (s *storm) calm(ctx context.Context) (bool, error) {
	if s.open.Load() > 0 {
		return false, nil
	}
	var open bool
	err := s.do(ctx, func(rows pgx.Rows) (err error) {
		open, err = pgx.CollectExactlyOneRow(rows, pgx.RowTo[bool])
		return err
	}, `select exists (select from pgflow.runs where status = 'started')`)
	return !open, err
}

// until repeats a session's work until all is calm.
func (s *storm) until(ctx context.Context, work func() error) error {
	for {
		if err := work(); err != nil {
			return err
		}
		if calm, err := s.calm(ctx); err != nil || calm {
			return err
		}
	}
}

// starter starts runs, alone and together, now and later, some ids twice.
func (s *storm) starter(ctx context.Context, rounds int) error {
	r := s.random(100)
	for range rounds {
		i := r.IntN(len(s.graphs))
		ids, inputs := []string{}, []string{}
		for range 1 + r.IntN(4) {
			id := uuid.NewString()
			s.runs.Store(id, i)
			ids, inputs = append(ids, id), append(inputs, s.graphs[i].Input)
		}
		sql := `select flowc.start($1, $2::text[]::jsonb[], $3::text[]::uuid[])`
		if r.IntN(4) == 0 {
			sql = `select flowc.start($1, $2::text[]::jsonb[], $3::text[]::uuid[], start_in => '20 ms')`
		}
		if priority := r.IntN(6); priority < 3 {
			sql = strings.TrimSuffix(sql, ")") + fmt.Sprintf(`, priority => '%s')`, priorities[priority])
		}
		reversed := slices.Clone(ids)
		slices.Reverse(reversed)
		if r.IntN(4) > 0 {
			reversed = nil
		}
		if err := together(ctx,
			func(ctx context.Context) error { return s.exec(ctx, sql, s.slugs[i], inputs, ids) },
			func(ctx context.Context) error { return s.exec(ctx, sql, s.slugs[i], inputs[:len(reversed)], reversed) }); err != nil {
			return err
		}
	}
	return nil
}

var priorities = []string{"high", "normal", "low"}

// worker claims and reports in batches, gives some back, and dies at times.
func (s *storm) worker(ctx context.Context, session int) error {
	r := s.random(session)
	id := uuid.New()
	register := func() error { return s.exec(ctx, `select flowc.register_worker($1, 'storm', $2)`, id, s.slugs) }
	if err := register(); err != nil {
		return err
	}
	return s.until(ctx, func() error {
		if err := s.exec(ctx, `select flowc.start_due($1)`, s.slugs); err != nil {
			return err
		}
		if err := s.exec(ctx, `select flowc.advance_watermarks($1)`, s.slugs); err != nil {
			return err
		}
		limits := make([]int, len(s.slugs))
		for i := range limits {
			limits[i] = r.IntN(6)
		}
		var work []task
		var flows []string
		err := s.do(ctx, func(rows pgx.Rows) (err error) {
			work, err = pgx.CollectRows(rows, pgx.RowToStructByPos[task])
			return err
		}, `select c.run_id::text, c.step_slug || '@' || c.flow_slug, c.task_index, c.message_id, c.claim_number, c.attempt, c.input::text, c.run_input::text
			from (select * from flowc.claim($1::uuid, $2, $3) union all select * from flowc.claim_suspects($1::uuid, $2, $3)) c`, id, s.slugs, limits)
		if err != nil || len(work) == 0 {
			return err
		}
		for i := range work {
			step, flow, _ := strings.Cut(work[i].Step, "@")
			work[i].Step, flows = step, append(flows, flow)
		}
		switch r.IntN(12) {
		case 0:
			return s.release(ctx, id, work, flows)
		case 1:
			if s.mayDie(work) {
				dead := id
				id = uuid.New()
				if err := s.exec(ctx, `update pgflow.workers set last_heartbeat_at = last_heartbeat_at - interval '1 minute' where worker_id = $1`, dead); err != nil {
					return err
				}
				if err := register(); err != nil {
					return err
				}
				if r.IntN(2) == 0 {
					return nil
				}
				return s.report(ctx, dead, work, flows) // it lived, and reports late or just in time
			}
		case 2:
			var messages []int64
			for _, w := range work[:r.IntN(len(work))] {
				messages = append(messages, w.Message)
			}
			if err := s.exec(ctx, `select flowc.release_unknown($1, $2::bigint[])`, id, append([]int64{}, messages...)); err != nil {
				return err
			}
		}
		if err := s.report(ctx, id, work, flows); err != nil {
			return err
		}
		return s.exec(ctx, `select flowc.heartbeat($1, '{}', '{}', '{}')`, id)
	})
}

// mayDie counts the deaths with each task: four would end it.
func (s *storm) mayDie(work []task) bool {
	for _, w := range work {
		n, _ := s.kills.LoadOrStore(w.key(), new(atomic.Int64))
		if n.(*atomic.Int64).Add(1) > 2 {
			return false
		}
	}
	return true
}

func (w task) key() string { return fmt.Sprintf("%s %s %d", w.Run, w.Step, w.Index) }

func (s *storm) release(ctx context.Context, id uuid.UUID, work []task, flows []string) error {
	messages, attempts := []int64{}, []int{}
	for _, w := range work {
		messages, attempts = append(messages, w.Message), append(attempts, w.Attempt)
	}
	return s.exec(ctx, `select flowc.release($1, $2, $3, $4)`, id, append([]string{}, flows...), messages, attempts)
}

func (s *storm) report(ctx context.Context, id uuid.UUID, work []task, flows []string) error {
	var runs, steps, outcomes []string
	var indexes, attempts []int
	var messages []int64
	var outputs, errs []*string
	for i, w := range work {
		step := s.graph(flows[i]).step(w.Step)
		outcome, output, cause := "completed", step.output(w.Index), "broke"
		if step.fails(w.Index, w.Attempts) {
			outcome = "failed"
		}
		runs, steps, indexes, messages, attempts = append(runs, w.Run), append(steps, w.Step), append(indexes, w.Index), append(messages, w.Message), append(attempts, w.Attempt)
		outcomes, errs = append(outcomes, outcome), append(errs, &cause)
		outputs = append(outputs, nil)
		if output != "" && outcome == "completed" {
			outputs[i] = &output
		}
	}
	type verdict struct {
		N        int
		Accepted bool
		Status   *string
	}
	var verdicts []verdict
	err := s.do(ctx, func(rows pgx.Rows) (err error) {
		verdicts, err = pgx.CollectRows(rows, pgx.RowToStructByPos[verdict])
		return err
	}, `select n, accepted, task_status from flowc.report($1::uuid, $2::text[]::uuid[], $3, $4, $5, $6, $7, $8::text[]::jsonb[], $9, array_fill(null::float8, array[$10::int]))`,
		id, runs, steps, indexes, messages, attempts, outcomes, outputs, errs, len(runs))
	if err != nil {
		return err
	}
	simply := map[int]bool{}
	for i := range work {
		simply[i+1] = true
	}
	var again []task // whose runs others held
	var theirs []string
	for _, v := range verdicts {
		simply[v.N] = false
		if v.Status != nil && *v.Status == "locked" {
			again, theirs = append(again, work[v.N-1]), append(theirs, flows[v.N-1])
		}
	}
	for n, yes := range simply {
		if yes {
			count, _ := s.done.LoadOrStore(work[n-1].key(), new(atomic.Int64))
			count.(*atomic.Int64).Add(1)
		}
	}
	if len(again) > 0 {
		return s.report(ctx, id, again, theirs)
	}
	return nil
}

func (s *storm) graph(slug string) graph {
	var i int
	if _, err := fmt.Sscanf(slug, "flow%d", &i); err != nil {
		panic(err)
	}
	return s.graphs[i]
}

// foreignWorker works the way of the contract, message by message.
func (s *storm) foreignWorker(ctx context.Context) error {
	r := s.random(101)
	id := uuid.New()
	if err := s.exec(ctx, `insert into pgflow.workers (worker_id, queue_name, function_name) values ($1, 'storm', 'storm')`, id); err != nil {
		return err
	}
	return s.until(ctx, func() error {
		slug := s.slugs[r.IntN(len(s.slugs))]
		var ids []int64
		if err := s.do(ctx, func(rows pgx.Rows) (err error) {
			ids, err = pgx.CollectRows(rows, pgx.RowTo[int64])
			return err
		}, `select msg_id from pgmq.read($1, 1, 3)`, slug); err != nil {
			return err
		}
		var work []task
		if err := s.do(ctx, func(rows pgx.Rows) (err error) {
			work, err = pgx.CollectRows(rows, pgx.RowToStructByPos[task])
			return err
		}, `with started as materialized (select * from pgflow.start_tasks($1, $2, $3))
			select s.run_id::text, s.step_slug, s.task_index, s.msg_id, 0, t.attempts_count - t.requeued_count + 1, s.input::text, s.flow_input::text
			from started s join pgflow.step_tasks t using (run_id, step_slug, task_index)`, slug, ids, id); err != nil {
			return err
		}
		for _, w := range work {
			step := s.graph(slug).step(w.Step)
			var err error
			if step.fails(w.Index, w.Attempts) {
				err = s.exec(ctx, `select pgflow.fail_task($1, $2, $3, 'broke')`, w.Run, w.Step, w.Index)
			} else {
				err = s.exec(ctx, `select pgflow.complete_task($1, $2, $3, nullif($4, '')::jsonb)`, w.Run, w.Step, w.Index, step.output(w.Index))
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// undertaker recovers what dead workers held, by lease and by time.
func (s *storm) undertaker(ctx context.Context) error {
	r := s.random(102)
	return s.until(ctx, func() error {
		if err := s.exec(ctx, `select flowc.recover()`); err != nil {
			return err
		}
		if r.IntN(3) == 0 {
			return s.exec(ctx, `select pgflow.requeue_stalled_tasks()`)
		}
		return s.exec(ctx, `select flowc.enter_idle($1, $2), flowc.leave_idle($1)`, worker, s.slugs)
	})
}

// meddler starts runs of its own and cancels, retries, hurries, reschedules,
// compares and deletes them, and in between whole flows.
func (s *storm) meddler(ctx context.Context, rounds int) error {
	r := s.random(103)
	extra := graph{Attempts: 2, Input: `[1, 2, 3]`, Steps: []graphStep{
		{Slug: "m", Map: true, WhenUnmet: "skip", WhenExhausted: "skip", Failures: []int{0}, Outputs: []string{`1`}},
		{Slug: "s", Deps: []int{0}, WhenUnmet: "skip", WhenExhausted: "fail", Failures: []int{0}, Outputs: []string{`1`}}}}
	for range rounds {
		if err := s.exec(ctx, `select flowc.upsert_flow('extra', $1::jsonb, true)`, extra.definition()); err != nil {
			return err
		}
		flows := append([]string{"extra"}, s.slugs...)
		slug := flows[r.IntN(len(flows))]
		input := extra.Input
		if slug != "extra" {
			input = s.graph(slug).Input
		}
		ids := []string{uuid.NewString(), uuid.NewString(), uuid.NewString()}
		if err := s.exec(ctx, `select flowc.start($1, $2::text[]::jsonb[], $3::text[]::uuid[])`, slug, []string{input, input, input}, ids); err != nil {
			return err
		}
		for _, id := range ids {
			for range 3 {
				sql := []string{`select flowc.cancel_run($1)`, `select flowc.retry_run($1)`, `select flowc.run_now($1)`, `select flowc.await_run($1)`,
					`select flowc.reschedule_run($1, now())`, `select pgflow.start_ready_steps($1)`, `select pgflow.maybe_complete_run($1)`,
					`select pgflow.get_run_with_states($1)`, `select flowc.delete_runs(array[$1::uuid])`, `select flowc.set_priority($1, 'high')`,
					`select flowc.set_priority($1, 'low')`}[r.IntN(11)]
				if err := s.exec(ctx, sql, id); err != nil {
					return err
				}
			}
		}
		if err := s.exec(ctx, `select flowc.delete_runs($1::text[]::uuid[])`, ids); err != nil {
			return err
		}
		if r.IntN(5) == 0 {
			if err := s.exec(ctx, `select flowc.delete_flow('extra', true)`); err != nil {
				return err
			}
		}
	}
	return nil
}
