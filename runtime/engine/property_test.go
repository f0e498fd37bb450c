// Runs of random flows, compared with the model in property_model_test.go.

package engine_test

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestRandomGraphs drives runs of random flows through the contract's calls for
// single tasks and through our calls for batches: both must leave every table
// alike, and as the contract's rules say.
func TestRandomGraphs(t *testing.T) {
	t.Parallel()
	pool := newDB(t)
	pool.script(realtime)
	rapid.Check(t, func(rt *rapid.T) {
		g := graphs().Draw(rt, "graph")
		sizes := rapid.SliceOfN(rapid.SampledFrom([]int{1, 1, 2, 3, 100}), 1, 5).Draw(rt, "sizes of batches")
		tx, err := pool.pool.Begin(t.Context())
		require.NoError(rt, err)
		defer func() { require.NoError(rt, tx.Rollback(context.Background())) }()
		d := &db{t: failer{t, rt}, pool: pool.pool, q: tx}
		d.exec(`select flowc.upsert_flow('f', $1::jsonb, true)`, g.definition())
		d.register(worker, "f")

		var dumps []string
		for _, batches := range []bool{false, true} {
			r := (&flow{d, "f"}).start(g.Input)
			g.drive(r, sizes, batches)
			g.check(r)
			g.checkEvents(r)
			dumps = append(dumps, r.dump())
		}
		require.Equal(rt, dumps[0], dumps[1], "single calls and batches differ")
	})
}

// TestRandomRetries does a step of a run that is over again, and all behind it:
// the run has to end as it did.
func TestRandomRetries(t *testing.T) {
	t.Parallel()
	pool := newDB(t)
	rapid.Check(t, func(rt *rapid.T) {
		g := graphs().Draw(rt, "graph")
		again := rapid.IntRange(0, len(g.Steps)-1).Draw(rt, "the step to do again")
		tx, err := pool.pool.Begin(t.Context())
		require.NoError(rt, err)
		defer func() { require.NoError(rt, tx.Rollback(context.Background())) }()
		d := &db{t: failer{t, rt}, pool: pool.pool, q: tx}
		d.exec(`select flowc.upsert_flow('f', $1::jsonb, true)`, g.definition())
		d.register(worker, "f")
		r := (&flow{d, "f"}).start(g.Input)
		g.drive(r, []int{2}, true)
		g.check(r)
		before := r.steps()
		if d.table(`select flowc.retry_step($1, $2)`, r.id, g.Steps[again].Slug) == "f" {
			require.Equal(rt, before, r.steps(), "a step that stays skipped")
			return
		}
		g.drive(r, []int{3}, true)
		g.checkRun(r)
		for _, find := range strings.Split(r.d.broken(), "\n") {
			// Tasks that went on after they were out of attempts keep those attempts.
			require.True(rt, find == "" || strings.HasPrefix(find, "failed attempts") && g.outcome().Fails, find)
		}
	})
}

// A failer is a test that fails as a check of rapid's, which then looks for a
// smaller example.
type failer struct {
	testing.TB
	rt *rapid.T
}

func (f failer) Helper()                           {}
func (f failer) Errorf(format string, args ...any) { f.rt.Errorf(format, args...) }
func (f failer) FailNow()                          { f.rt.FailNow() }

// A task is what a worker was handed.
type task struct {
	Run      string
	Step     string
	Index    int
	Message  int64
	Attempt  int
	Attempts int
	Input    *string
	Whole    *string // the run's input, of roots
}

// read starts tasks the way of the contract.
func (d *db) readTasks(flow string, quantity int) []task {
	d.t.Helper()
	return tasks(d, `
		with started as materialized (
		  select * from pgflow.start_tasks($1, array(select msg_id from pgmq.read($1, 60, $2)), $3))
		select s.run_id::text, s.step_slug, s.task_index, s.msg_id, 0, 0, s.input::text, s.flow_input::text from started s order by s.msg_id`,
		flow, quantity, worker)
}

// claimTasks does it ours.
func (d *db) claimTasks(flow string, quantity int) []task {
	d.t.Helper()
	return tasks(d, `
		select run_id::text, step_slug, task_index, message_id, claim_number, attempt, input::text, run_input::text
		from flowc.claim($1::uuid, array[$2], array[$3::int])`, worker, flow, quantity)
}

func tasks(d *db, sql string, args ...any) []task {
	d.t.Helper()
	rows, err := d.q.Query(d.t.Context(), sql, args...)
	require.NoError(d.t, err)
	got, err := pgx.CollectRows(rows, pgx.RowToStructByPos[task])
	require.NoError(d.t, err)
	return got
}

// drive does the tasks of a run until none is left, in batches of the sizes given.
func (g graph) drive(r *run, sizes []int, batches bool) {
	d := r.d
	want := g.outcome()
	attempts := map[string]int{}
	for turn := 0; ; turn++ {
		require.Less(d.t, turn, 1000, "the run does not end")
		size := sizes[turn%len(sizes)]
		got := d.claimTasks
		if !batches {
			got = d.readTasks
		}
		work := got("f", size)
		if len(work) == 0 {
			return
		}
		var reports []report
		for _, w := range work {
			key := encode([]any{w.Step, w.Index})
			attempts[key]++
			if batches {
				require.Equal(d.t, attempts[key], w.Attempts)
			}
			s := g.step(w.Step)
			g.checkInput(d, want, w)
			if s.fails(w.Index, attempts[key]) {
				reports = append(reports, report{run: r, step: w.Step, index: w.Index, outcome: "failed", error: w.Step + " broke"})
			} else {
				reports = append(reports, report{run: r, step: w.Step, index: w.Index, outcome: "completed", output: s.output(w.Index)})
			}
		}
		if batches {
			for i := range reports {
				if reports[i].output == "" {
					reports[i].output = nil
				}
			}
			d.report(reports...)
			continue
		}
		for _, report := range g.inOrder(reports, attempts) {
			switch {
			case report.outcome == "completed" && report.output == "":
				r.completeTask(report.step, report.index, nil)
			case report.outcome == "completed":
				r.completeTask(report.step, report.index, report.output)
			case strings.HasPrefix(r.status(), "started"): // a batch leaves the tasks of a failed run alone
				r.failTask(report.step, report.index, report.error.(string))
			}
		}
	}
}

// inOrder puts reports into the order in which a batch takes them: what completed,
// step by step; what will be tried again; what is exhausted.
func (g graph) inOrder(reports []report, attempts map[string]int) []report {
	rank := func(r report) int {
		limit := g.Attempts
		if own := g.step(r.step).Attempts; own != nil {
			limit = *own
		}
		switch {
		case r.outcome == "completed":
			return slices.IndexFunc(reports, func(o report) bool { return o.outcome == "completed" && o.step == r.step })
		case attempts[encode([]any{r.step, r.index})] < limit:
			return 1000
		default:
			return 2000
		}
	}
	sorted := slices.Clone(reports)
	slices.SortStableFunc(sorted, func(a, b report) int { return rank(a) - rank(b) })
	return sorted
}

// checkInput compares what a handler was given with what it must be given.
func (g graph) checkInput(d *db, want outcome, w task) {
	i := slices.IndexFunc(g.Steps, func(s graphStep) bool { return s.Slug == w.Step })
	s, o := g.Steps[i], want.Steps[i]
	require.NotNil(d.t, w.Input, "SQL NULL is no input")
	switch {
	case s.Map:
		require.Equal(d.t, o.Input.([]any)[w.Index], decode(*w.Input))
	case len(s.Deps) == 0:
		require.Equal(d.t, "{}", *w.Input)
	default:
		require.Equal(d.t, o.Input, decode(*w.Input))
	}
	if s.Map || len(s.Deps) > 0 {
		require.Nil(d.t, w.Whole)
	} else {
		require.Equal(d.t, decode(g.Input), decode(*w.Whole))
	}
}

// check compares a run that is over with what must have become of it, and looks
// over all tables.
func (g graph) check(r *run) {
	g.checkRun(r)
	require.Empty(r.d.t, r.d.broken(), "invariants")
}

func (g graph) checkRun(r *run) {
	d := r.d
	want := g.outcome()
	states := map[string]struct {
		Status     string
		SkipReason *string         `json:"skip_reason"`
		Output     json.RawMessage `json:"output"`
		Tasks      *int            `json:"initial_tasks"`
		Deps       int             `json:"remaining_deps"`
	}{}
	require.NoError(d.t, json.Unmarshal([]byte(d.table(`select jsonb_object_agg(step_slug, to_jsonb(s)) from pgflow.step_states s where run_id = $1`, r.id)), &states))

	over, failed := 0, 0
	for i, s := range g.Steps {
		got, o := states[s.Slug], want.Steps[i]
		switch got.Status {
		case "completed", "skipped":
			over++
		case "failed":
			failed++
		}
		if want.Fails && got.Status != "completed" && got.Status != "skipped" && got.Status != "failed" {
			continue // was not reached
		}
		require.Equal(d.t, o.Status, got.Status, s.Slug)
		switch o.Status {
		case "completed":
			require.Equal(d.t, o.Tasks, *got.Tasks, s.Slug)
			require.Equal(d.t, o.Output, decode(string(got.Output)), s.Slug)
			require.Zero(d.t, got.Deps)
		case "skipped":
			reason := map[string]string{"dependency_skipped": "dependency_skipped"}[o.SkipReason]
			if reason == "" {
				reason = "condition_unmet"
				if o.Tasks > 0 {
					reason = "handler_failed"
				}
			}
			require.Equal(d.t, reason, *got.SkipReason, s.Slug)
		}
	}
	if want.Fails {
		require.Equal(d.t, 1, failed)
		require.Equal(d.t, []any{"failed", nil}, []any{d.table(`select status from pgflow.runs where run_id = $1`, r.id), decode(strings.Trim(r.output(), "-"))})
	} else {
		require.Equal(d.t, "completed 0", r.status())
		require.Equal(d.t, want.Output, decode(strings.Trim(r.output(), "-")))
	}
	require.Equal(d.t, len(g.Steps)-over, value[int](d, `select remaining_steps from pgflow.runs where run_id = $1`, r.id))
}

// broken looks for what must never be, in all runs that are over, and gives a
// line for each find.
func (d *db) broken() string {
	d.t.Helper()
	return d.table(`
		select 'remaining_steps', r.run_id::text from pgflow.runs r
		where r.remaining_steps <> (select count(*) from pgflow.step_states s where s.run_id = r.run_id and s.status not in ('completed', 'skipped'))
		union all
		select 'completed run with open steps', r.run_id::text from pgflow.runs r where r.status = 'completed' and r.remaining_steps <> 0
		union all
		select 'remaining_deps', s.run_id || s.step_slug from pgflow.step_states s join pgflow.runs r using (run_id)
		where s.status in ('created', 'started', 'completed') and s.remaining_deps <> (
		  select count(*) from pgflow.deps d join pgflow.step_states p on p.run_id = s.run_id and p.step_slug = d.dep_slug
		  where d.flow_slug = s.flow_slug and d.step_slug = s.step_slug and p.status not in ('completed', 'skipped'))
		union all
		select 'remaining_tasks', s.run_id || s.step_slug from pgflow.step_states s
		where s.remaining_tasks is not null and s.remaining_tasks <> s.initial_tasks - (
		  select count(*) from pgflow.step_tasks t where t.run_id = s.run_id and t.step_slug = s.step_slug and t.status = 'completed')
		union all
		select 'tasks', s.run_id || s.step_slug from pgflow.step_states s
		where s.started_at is not null and s.initial_tasks <> (
		  select count(*) from pgflow.step_tasks t where t.run_id = s.run_id and t.step_slug = s.step_slug)
		union all
		select 'times', s.run_id || s.step_slug from pgflow.step_states s join pgflow.runs r using (run_id)
		where coalesce(s.completed_at, s.failed_at, s.skipped_at) > coalesce(r.completed_at, r.failed_at)
		   or s.started_at > s.completed_at or s.created_at > s.started_at
		union all
		select 'message of a run that is over', q.run_id || q.step_slug from flowc.queue q
		where not exists (select from pgflow.runs r where r.run_id = q.run_id and r.status = 'started')
		union all
		select 'neither in the queue nor in the archive, or in both', t.run_id || t.step_slug from pgflow.step_tasks t
		where t.message_id is null or t.in_queue = (t.archived_at is not null)
		union all
		select 'over and in the queue', t.run_id || t.step_slug from pgflow.step_tasks t
		where t.in_queue and (t.visible_at is null or t.status not in ('queued', 'started'))
		union all
		select 'failed attempts of a completed task', t.run_id || t.step_slug from pgflow.step_tasks t
		where t.status = 'completed' and t.attempts_count - t.requeued_count - 1 <> (
		  select count(*) from flowc.failed_attempts f where f.run_id = t.run_id and f.step_slug = t.step_slug and f.task_index = t.task_index)`)
}

// dump is all that is stored of a run, without what differs from run to run.
func (r *run) dump() string {
	return lines(
		r.d.table(`
			select status, input, output, remaining_steps, completed_at is not null, failed_at is not null from pgflow.runs where run_id = $1`, r.id),
		r.d.table(`
			select step_slug, status, remaining_tasks, initial_tasks, remaining_deps, output, error_message, skip_reason,
			       started_at is not null, completed_at is not null, failed_at is not null, skipped_at is not null
			from pgflow.step_states where run_id = $1 order by 1`, r.id),
		r.d.table(`
			select rank() over (order by message_id), step_slug, task_index, status, attempts_count, error_message, output,
			       started_at is not null, completed_at is not null, failed_at is not null, last_worker_id, requeued_count
			from pgflow.step_tasks where run_id = $1 order by 1`, r.id),
		r.d.table(`select 'queue', step_slug, task_index, read_ct from flowc.queue where run_id = $1 order by msg_id`, r.id),
		r.d.table(`select 'archive', step_slug, task_index, read_ct from flowc.archive where run_id = $1 order by msg_id`, r.id),
		r.d.table(`select 'attempt', step_slug, task_index, attempt, error_message, worker_id from flowc.failed_attempts where run_id = $1 order by failed_at, 2, 3`, r.id),
		r.d.table(`select event from realtime.messages where topic = 'pgflow:run:' || $1::text order by event`, r.id))
}

// checkEvents holds the order of a run's events: a step is told to start before it is
// told to end, and no step before those it waits for have ended.
func (g graph) checkEvents(r *run) {
	at := map[string]int{}
	events := strings.Fields(r.d.table(`select event from realtime.messages where topic = 'pgflow:run:' || $1::text order by n`, r.id))
	for i, event := range events {
		name, what := event[:strings.LastIndex(event, ":")], event[strings.LastIndex(event, ":")+1:]
		if what != "started" {
			what = "over"
		}
		at[name+" "+what] = i
	}
	before := func(first, second string) {
		a, told := at[first]
		b, later := at[second]
		require.True(r.d.t, !later || told && a < b, "%s is told before %s in %s", second, first, events)
	}
	before("run started", "run over")
	for _, s := range g.Steps {
		step := "step:" + s.Slug
		before("run started", step+" over")
		for _, dep := range s.Deps {
			before("step:"+g.Steps[dep].Slug+" over", step+" started")
		}
		if over, told := at[step+" over"]; told {
			require.True(r.d.t, at[step+" started"] <= over, "%s ends before it starts in %s", step, events)
			require.True(r.d.t, over < at["run over"] || at["run over"] == 0, "%s ends after its run in %s", step, events)
		}
	}
}
