// Limits of flows: how many runs are in progress at once, who begins next, and that nothing
// that ends a run leaves its place taken.

package engine_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
)

// limited is a flow whose runs have a limit, and other settings; of one step, unless others
// are given.
func (d *db) limited(slug, settings string, steps ...string) *flow {
	d.t.Helper()
	if steps == nil {
		steps = []string{taskStep("a")}
	}
	d.exec(`select flowc.upsert_flow($1, $2::jsonb)`, slug, `{"settings": {`+settings+`}, "steps": [`+strings.Join(steps, ", ")+`]}`)
	return &flow{d, slug}
}

// startDue does what workers of the flow do when something is due.
func (f *flow) startDue() *flow {
	f.d.t.Helper()
	f.d.exec(`select flowc.start_due(array[$1])`, f.slug)
	return f
}

// begun gives the names of the runs of a flow that are in progress, and of those in line.
func (f *flow) begun() string {
	f.d.t.Helper()
	return f.d.table(`
		select coalesce(string_agg(r.input ->> 'n', ' ' order by r.input ->> 'n') filter (where d.run_id is null), '-'),
		  '|', coalesce(string_agg(r.input ->> 'n', ' ' order by d.due_at, r.run_id) filter (where d.run_id is not null), '-')
		from pgflow.runs r left join flowc.scheduled_runs d using (run_id) where r.flow_slug = $1 and r.status = 'started'`, f.slug)
}

// unlimited gives how many rows there are that limits need.
func (d *db) unlimited() string {
	d.t.Helper()
	return d.table(`
		select (select count(*) from flowc.limited_runs), (select count(*) from flowc.gate_keys), (select count(*) from flowc.turns),
		  (select count(*) from flowc.gate_changes), (select count(*) from flowc.scheduled_runs), (select count(*) from flowc.requests)`)
}

func TestRunsInProgress(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		f := d.limited("f", `"concurrency": 2`)
		runs := f.startAll("x", "1", "2", "3", "4")
		require.Equal(t, "- | 1 2 3 4", f.begun(), "a start begins none")
		require.Equal(t, "f.run . 0 4", strings.ReplaceAll(d.table(`select gate, '.', in_flight, waiting from flowc.list_gates()`), "\n", ", "))
		require.Equal(t, "1 2 | 3 4", f.startDue().begun())
		require.Equal(t, "f.run . 2 2", d.gates())
		require.Equal(t, "{f.run}", d.table(`select steps from flowc.list_gates()`))
		require.Equal(t, "1 2 | 3 4", f.startDue().begun())
		d.sound()
		runs[1].begin().complete("a", `1`)
		require.Equal(t, "1 | 3 4", f.begun())
		require.Equal(t, "1 3 | 4", f.startDue().begun())
		require.Equal(t, "0", d.table(`select flowc.begin_runs('{f}')`))
		d.exec(`select flowc.cancel_run($1)`, runs[3].id)
		d.exec(`select flowc.cancel_run($1)`, runs[0].id)
		d.exec(`select flowc.delete_run($1, true)`, runs[2].id)
		require.Equal(t, "- | -", f.startDue().begun())
		require.Equal(t, "0 0 0 0 0 0", d.unlimited())
	})
}

func TestRunsInProgressByKey(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		f := d.limited("f", `"concurrency": 1, `+byTenant)
		f.startAll("x", "1", "2")
		f.startAll("y", "3", "4")
		f.start(`{"n": "5"}`)
		f.start(`{"n": "6", "tenant": null}`)
		f.start(`{"n": "7", "tenant": 17}`)
		require.Equal(t, "1 3 5 7 | 2 4 6", f.startDue().begun(), "a missing key is one, too")
		require.Equal(t, "f.run . 1 1, f.run 17 1 0, f.run x 1 1, f.run y 1 1", d.gates())
		d.exec(`select flowc.cancel_run(run_id) from pgflow.runs where input ->> 'n' = '3'`)
		require.Equal(t, "1 4 5 7 | 2 6", f.startDue().begun())
	})
}

// TestEveryEndFreesAPlace: by whatever way a run ends or goes.
func TestEveryEndFreesAPlace(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		for name, end := range map[string]func(d *db, r *run){
			"completed": func(_ *db, r *run) { r.begin().complete("a", `1`) },
			"failed":    func(d *db, r *run) { r.begin(); r.failTask("a", 0, "broke") },
			"cancelled": func(d *db, r *run) { d.exec(`select flowc.cancel_run($1)`, r.id) },
			"deleted":   func(d *db, r *run) { d.exec(`select flowc.delete_run($1, true)`, r.id) },
			"skipped": func(d *db, r *run) {
				d.exec(`select pgflow._cascade_force_skip_steps($1, 'a', 'condition_unmet')`, r.id)
				d.exec(`select pgflow.maybe_complete_run($1)`, r.id)
			},
			"beyond its deadline": func(d *db, r *run) {
				d.exec(`update flowc.waits set due_at = clock_timestamp() - interval '1 second' where run_id = $1`, r.id)
				d.exec(`select flowc.apply_due('{f}')`)
			},
			"one of many deleted": func(d *db, r *run) { d.exec(`select flowc.delete_runs(array[$1::uuid])`, r.id) },
			"gone from under it": func(d *db, r *run) {
				d.exec(`delete from pgflow.runs where run_id = $1`, r.id)
				d.exec(`select flowc.delete_orphans(array[$1::uuid])`, r.id)
			},
		} {
			d.run(name, func(t *testing.T, d *db) {
				f := d.limited("f", `"concurrency": 1, "deadline": 60`, strings.Replace(taskStep("a"), `{"slug"`, `{"options": {"maxAttempts": 1}, "slug"`, 1))
				runs := f.startAll("x", "1", "2")
				require.Equal(t, "1 | 2", f.startDue().begun())
				end(d, runs[0])
				require.Equal(t, "2 | -", f.startDue().begun())
				end(d, runs[1])
				f.startDue()
				require.Equal(t, "0 0 0 0 0 0", d.unlimited())
				d.exec(`select flowc.delete_flow('f', true)`)
			})
		}
		f := d.limited("f", `"concurrency": 1`)
		f.startAll("x", "1", "2")
		f.startDue()
		d.exec(`select flowc.delete_flow('f', true)`)
		require.Equal(t, "0 0 0 0 0 0", d.unlimited())
		require.Equal(t, "0", d.table(`select count(*) from flowc.gates`))
	})
}

// TestOrderInLine: runs begin in the order in which they were due, whenever they were started.
func TestOrderInLine(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		f := d.limited("f", `"concurrency": 1`)
		start := func(n, at string) {
			d.exec(`select flowc.start('f', array[jsonb_build_object('n', $1::text)], null, clock_timestamp() + $2::interval)`, n, at)
		}
		start("now", "0")
		start("before", "-1 hour")
		start("later", "1 hour")
		start("soon", "1 second")
		require.Equal(t, "before | now soon later", f.startDue().begun())
		require.Equal(t, "1", d.table(`select count(*) from flowc.scheduled_runs where turn_key is not null`))
		d.exec(`update flowc.scheduled_runs set due_at = due_at - interval '2 seconds' where turn_key is null`)
		require.Equal(t, "before | soon now later", f.startDue().begun())
		next := func() string {
			d.exec(`select flowc.cancel_run(r.run_id) from pgflow.runs r where r.status = 'started' and not exists (select from flowc.scheduled_runs d where d.run_id = r.run_id)`)
			return f.startDue().begun()
		}
		require.Equal(t, "soon | now later", next())
		d.exec(`select flowc.reschedule_run(run_id, clock_timestamp() + interval '1 hour') from pgflow.runs where input ->> 'n' = 'now'`)
		require.Equal(t, "- | later now", next(), "out of line again")
		d.exec(`select flowc.reschedule_run(run_id, clock_timestamp()) from pgflow.runs where input ->> 'n' = 'now'`)
		require.Equal(t, "now | later", next())
	})
}

func TestLimitedSchedule(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		d.exec(`select flowc.upsert_flow('f', $1::jsonb)`, `{"options": {"cron": "@every 1h"}, "settings": {"concurrency": 1}, "steps": [`+taskStep("a")+`]}`)
		f := &flow{d, "f"}
		tick := func() string {
			d.exec(`update flowc.schedules set next_at = clock_timestamp() - interval '1 second'`)
			f.startDue()
			return d.table(`select count(*) filter (where d.run_id is null), count(d.run_id) from pgflow.runs left join flowc.scheduled_runs d using (run_id)`)
		}
		require.Equal(t, "1 0", tick())
		require.Equal(t, "1 1", tick())
		require.Equal(t, "1 2", strings.Join(strings.Fields(func() string {
			d.exec(`select flowc.run_schedule('f', gen_random_uuid())`)
			f.startDue()
			return d.table(`select count(*) filter (where d.run_id is null), count(d.run_id) from pgflow.runs left join flowc.scheduled_runs d using (run_id)`)
		}()), " "))
	})
}

// TestLimitedAndUnique: a run in line is one that is there, and one that is put off leaves it.
func TestLimitedAndUnique(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		f := d.limited("f", `"concurrency": 1, "unique": [["run", "n"]]`)
		f.startAll("x", "1", "2", "2", "3")
		require.Equal(t, "1 | 2 3", f.startDue().begun())
		g := d.limited("g", `"concurrency": 1, "unique": [["run", "n"]], "debounce": 60, "debounceMax": 600`)
		g.startAll("x", "1")
		g.startAll("x", "2")
		due := func() {
			d.exec(`update flowc.scheduled_runs set due_at = due_at - interval '100 seconds' where flow_slug = 'g' and turn_key is null`)
			g.startDue()
		}
		due()
		require.Equal(t, "1 | 2", g.begun())
		g.startAll("x", "2")
		require.Equal(t, "t", d.table(`select due_at > clock_timestamp() and turn_key is null from flowc.scheduled_runs where flow_slug = 'g'`))
		d.exec(`select flowc.cancel_run(run_id) from pgflow.runs where flow_slug = 'g' and input ->> 'n' = '1'`)
		require.Equal(t, "- | 2", g.startDue().begun())
		due()
		require.Equal(t, "2 | -", g.begun())
	})
}

func TestRetriesWaitInLine(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		f := d.limited("f", `"concurrency": 1, `+byTenant)
		runs := f.startAll("x", "1", "2", "3")
		request := func(r *run, action, argument string) string {
			return d.table(`select known, requested, done from flowc.request($1, $2, nullif($3, ''), true)`, r.id, action, argument)
		}
		end := func(r *run) {
			d.exec(`select flowc.cancel_run($1)`, r.id)
			f.startDue()
		}
		f.startDue()
		end(runs[0])
		require.Equal(t, "2 | 3", f.begun())
		require.Equal(t, "t t -", request(runs[0], "retry", ""), "it waits behind 3")
		require.Equal(t, "t t -", request(runs[0], "retry_step", "a"))
		require.Equal(t, "retry_step a", d.table(`select action, argument from flowc.requests`), "the last counts")
		require.Equal(t, lines("no_worker -", "requested retry_step: a"), d.table(`select kind, message from flowc.explain_run($1)`, runs[0].id))
		require.Equal(t, "f.run x 1 2", d.gates())
		require.Equal(t, "cancelled", d.table(`select flowc.run_status($1, 'failed')`, runs[0].id))
		require.Equal(t, "", d.table(`select * from flowc.list_requests(clock_timestamp() + interval '1 hour', 9)`))
		end(runs[1])
		require.Equal(t, "3 | -", f.begun())
		end(runs[2])
		require.Equal(t, "1 | -", f.begun())
		require.Equal(t, "0", d.table(`select count(*) from flowc.requests`))
		require.Equal(t, "t t -", request(runs[1], "retry", ""))
		require.Equal(t, "t f f", request(runs[0], "retry", ""), "in progress")
		require.Equal(t, "t", d.table(`select flowc.cancel_run($1)`, runs[1].id), "which withdraws the retry")
		require.Equal(t, "f", d.table(`select flowc.cancel_run($1)`, runs[1].id))
		runs[0].begin().complete("a", `1`)
		f.startDue()
		require.Equal(t, "0 0 0 0 0 0", d.unlimited())
		require.Equal(t, "t f t", request(runs[2], "retry", ""), "there is room")
		require.Equal(t, "t f f", request(runs[0], "retry", ""), "it completed, and takes no place")
		require.Equal(t, "3 | -", f.begun())
		require.Equal(t, "t t -", d.table(`select known, requested, done from flowc.request($1, 'retry_step', 'a', false)`, runs[0].id))
		f.startDue()
		require.Equal(t, "retry_step x", d.table(`select action, turn_key from flowc.requests`))
		d.exec(`select flowc.delete_run($1)`, runs[0].id)
		end(runs[2])
		require.Equal(t, "0 0 0 0 0 0", d.unlimited())
		// A retry that cannot be done keeps no place.
		d.exec(`insert into flowc.requests (run_id, flow_slug, action, argument, turn_key) values ($1, 'f', 'retry_step', 'nowhere', 'x')`, runs[1].id)
		d.exec(`insert into flowc.gate_changes (gate, flow_slug, step_slug, key) values ('f.run', 'f', '', 'x')`)
		f.startDue()
		f.startDue()
		require.Equal(t, "0 0 0 0 0 0", d.unlimited())
	})
}

func TestLimitsOfFlowsComeAndGo(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		f := d.limited("f", `"priority": "high"`)
		f.startAll("x", "1", "2", "3")
		d.limited("f", `"concurrency": 2`)
		f.startAll("x", "4", "5")
		require.Equal(t, "1 2 3 | 4 5", f.startDue().begun(), "what is in progress counts")
		require.Equal(t, "f.run . 3 2", d.gates())
		d.exec(`select flowc.cancel_run(run_id) from pgflow.runs where input ->> 'n' in ('1', '2')`)
		require.Equal(t, "3 4 | 5", f.startDue().begun())
		d.limited("f", `"concurrency": 1`)
		f.startAll("y", "6")
		require.Equal(t, "3 4 | 5 6", f.startDue().begun(), "nothing is stopped")
		d.limited("f", `"concurrency": 1, `+byTenant)
		require.Equal(t, "3 4 6 | 5", f.startDue().begun(), "another key")
		require.Equal(t, "f.run x 2 1, f.run y 1 0", d.gates())
		d.exec(`select flowc.cancel_run(run_id) from pgflow.runs where input ->> 'n' = '3'`)
		d.exec(`select flowc.request(run_id, 'retry', null, true) from pgflow.runs where input ->> 'n' = '3'`)
		d.limited("f", `"concurrency": 3, `+byTenant)
		require.Equal(t, "3 4 5 6 | -", f.startDue().begun())
		f.startAll("x", "7", "8")
		d.limited("f", ``)
		require.Equal(t, "3 4 5 6 7 8 | -", f.startDue().begun(), "no limit")
		require.Equal(t, "0 0 0 0 0 0", d.unlimited())
		require.Equal(t, "0", d.table(`select count(*) from flowc.gates`))
	})
}

func TestOperatingLimitsOfFlows(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		f := d.limited("f", `"concurrency": 1, `+byTenant)
		f.startAll("x", "1", "2", "3")
		f.startDue()
		d.exec(`select flowc.set_gate('f.run', 2)`)
		require.Equal(t, "1 2 | 3", f.startDue().begun())
		d.fails("22023", "the gate of a flow's runs has no rate", `select flowc.set_gate('f.run', null, 5, 1)`)
		d.exec(`select flowc.hold_gate('f.run', null, 60)`)
		d.exec(`select flowc.cancel_run(run_id) from pgflow.runs where input ->> 'n' = '1'`)
		require.Equal(t, "2 | 3", f.startDue().begun())
		require.Equal(t, "f", d.table(`select flowc.can_begin_runs('{f}')`))
		d.exec(`select flowc.hold_gate('f.run', null, 0)`)
		require.Equal(t, "2 3 | -", f.startDue().begun())
		d.exec(`select flowc.hold_gate('f.run', 'y', 60)`)
		f.startAll("y", "4")
		require.Equal(t, "2 3 | 4", f.startDue().begun())
		d.later(61)
		require.Equal(t, "2 3 4 | -", f.startDue().begun())
		d.exec(`select flowc.pause_flow('f', true)`)
		f.startAll("z", "5")
		d.exec(`select flowc.cancel_run(run_id) from pgflow.runs where input ->> 'n' = '4'`)
		require.Equal(t, "2 3 | 5", f.startDue().begun(), "paused")
		require.Equal(t, "t t -", d.table(`select known, requested, done from flowc.request((select run_id from pgflow.runs where input ->> 'n' = '4'), 'retry', null, true)`))
		d.exec(`select flowc.pause_flow('f', false)`)
		require.Equal(t, "2 3 4 5 | -", f.startDue().begun())
	})
}

// TestAKeyOfManyInLine: fifty thousand runs in line of one key cost others nothing.
func TestAKeyOfManyInLine(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	f := s.limited("f", `"concurrency": 1, `+byTenant)
	next := 0
	measure := func() map[string]int {
		least := leastBlocks{}
		note := func(operation, sql string, args ...any) { least.note(operation, s.blocks(sql, args...)) }
		for range 8 {
			next++
			tenant := fmt.Sprintf("t%d", next)
			note("start", `select * from flowc.start('f', array[jsonb_build_object('n', $1::text, 'tenant', $1::text)], null)`, tenant)
			note("begin", `select flowc.start_due('{f}')`)
			require.Equal(t, "1", s.table(`select count(*) from flowc.limited_runs where key = $1`, tenant))
			note("nothing", `select flowc.start_due('{f}')`)
			note("idle", `select flowc.enter_idle($1, '{f}')`, worker)
			note("heartbeat", `select flowc.heartbeat($1, '{}', '{}', '{}', '{f}')`, worker)
			note("end", `select flowc.cancel_run(run_id) from flowc.limited_runs where key = $1`, tenant)
			note("after", `select flowc.start_due('{f}')`)
			note("next", `select flowc.cancel_run(run_id) from flowc.limited_runs where key = 'many'`)
			note("begin next", `select flowc.start_due('{f}')`)
		}
		return least
	}
	f.startAll("many", "a", "b", "c", "d", "e", "f", "g", "h", "i")
	f.startDue()
	s.exec2(`vacuum analyze`)
	few := measure()
	s.exec(`select count(*) from flowc.start('f', array(select jsonb_build_object('n', i, 'tenant', 'many') from generate_series(1, 50000) i), null)`)
	f.startDue()
	many := measure()
	t.Logf("few: %v, many: %v", few, many)
	for operation, blocks := range many {
		require.LessOrEqual(t, blocks, few[operation]+110, operation)
	}
}

// TestALineOfOtherLanguages: those that start and work through the contract alone are counted.
func TestALineOfOtherLanguages(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		f := d.limited("f", `"concurrency": 1`)
		first := f.start(`{"n": "1"}`)
		require.Equal(t, "started", d.table(`select status from pgflow.start_flow('f', '{"n": "2"}')`))
		require.Equal(t, "1 | 2", f.startDue().begun())
		first.begin().completeTask("a", 0, `1`)
		require.Equal(t, "2 | -", f.startDue().begun())
		d.exec(`select pgflow.delete_flow_and_data('f')`)
		require.Equal(t, "0 0 0 0 0 0", d.unlimited())
	})
}

func TestExplainARunInLine(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		f := d.limited("f", `"concurrency": 2, `+byTenant)
		d.register(worker, "f")
		runs := f.startAll("x", "1", "2", "3")
		f.startDue()
		require.Equal(t, `turn - 2 runs at once, key "x", and 2 are in progress`,
			d.table(`select kind, step_slug, message from flowc.explain_run($1)`, runs[2].id))
		require.Equal(t, "scheduled", d.table(`select status from flowc.get_run($1)`, runs[2].id))
		d.exec(`select flowc.pause_flow('f', true)`)
		require.Equal(t, "paused", d.table(`select kind from flowc.explain_run($1)`, runs[2].id))
	})
}

// TestAStormOfLimitedRuns: several workers begin, complete, fail, cancel, retry and delete runs
// of three keys, while the limit changes. At no moment are there more in progress than may be,
// and in the end all are done and nothing is left.
func TestAStormOfLimitedRuns(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	f := d.limited("f", `"concurrency": 2, `+byTenant, taskStep("a"), taskStep("b", "a"))
	// The test counts for itself: a run takes a place with its first task, and leaves it with its end.
	d.script(`
		create table public.places (tenant text, place int, run_id uuid unique, primary key (tenant, place));
		create function public.took() returns trigger language plpgsql security definer as $$
		begin
		  insert into public.places select r.input ->> 'tenant', p.place, r.run_id from pgflow.runs r,
		    lateral (select n as place from generate_series(1, 9) n where not exists (
		      select from public.places o where o.tenant = r.input ->> 'tenant' and o.place = n) order by n limit 1) p
		  where r.run_id = new.run_id and not exists (select from public.places o where o.run_id = new.run_id);
		  if (select count(*) from public.places o join pgflow.runs r on r.run_id = new.run_id and r.input ->> 'tenant' = o.tenant) > 2 then
		    raise object_not_in_prerequisite_state using message = 'too many runs';
		  end if;
		  return null;
		exception when unique_violation then -- which those who begin runs would take for a fault of the run
		  raise object_not_in_prerequisite_state using message = 'two began at once';
		end $$;
		create function public.freed() returns trigger language plpgsql security definer as $$
		begin
		  delete from public.places where run_id = old.run_id;
		  return null;
		end $$;
		create trigger took after insert on pgflow.step_tasks for each row execute function public.took();
		create trigger took_again after update on pgflow.runs for each row when (old.status <> 'started' and new.status = 'started') execute function public.took();
		create trigger freed after update on pgflow.runs for each row when (old.status = 'started' and new.status <> 'started') execute function public.freed();
		create trigger gone after delete on pgflow.runs for each row execute function public.freed();`)
	ctx := t.Context()
	const starters, each = 3, 60
	var wg sync.WaitGroup
	errs := make(chan error, 100)
	do := func(step func(n int) error, times int) {
		wg.Go(func() {
			for n := range times {
				if err := step(n); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	for i := range starters {
		do(func(n int) error {
			_, err := d.pool.Exec(ctx, `select flowc.start('f', array[jsonb_build_object('tenant', $1::text)], null)`, fmt.Sprint((i+n)%3))
			return err
		}, each)
	}
	workers := make([]uuid.UUID, 3)
	for i := range workers {
		workers[i] = uuid.New()
		d.register(workers[i], "f")
	}
	work := func(id uuid.UUID, outcomes ...string) error { return workOnce(ctx, d.pool, id, outcomes...) }
	for _, id := range workers {
		do(func(int) error { return work(id, "completed", "completed", "permanent") }, 120)
	}
	for _, action := range []string{
		`select flowc.request_cancel(run_id, 'no', true) from pgflow.runs where status = 'started' order by random() limit 1`,
		`select flowc.request(run_id, 'retry', null, true) from pgflow.runs where status = 'failed' order by random() limit 1`,
		`select flowc.request(run_id, 'retry_step', 'b', true) from pgflow.runs where status <> 'started' order by random() limit 1`,
		`select flowc.delete_run(run_id, true) from pgflow.runs order by random() limit 1`,
		`select flowc.recover()`,
	} {
		do(func(int) error {
			_, err := d.pool.Exec(ctx, action)
			return err
		}, 25)
	}
	do(func(n int) error {
		settings := []string{`"concurrency": 1`, `"concurrency": 2`, `"concurrency": 1, "deadline": 60`}[n%3]
		_, err := d.pool.Exec(ctx, `select flowc.upsert_flow('f', $1::jsonb)`,
			`{"settings": {`+settings+`, `+byTenant+`}, "steps": [`+taskStep("a")+`, `+taskStep("b", "a")+`]}`)
		return err
	}, 12)
	wg.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	d.sound()
	d.limited("f", `"concurrency": 2, `+byTenant, taskStep("a"), taskStep("b", "a"))
	require.Eventually(t, func() bool {
		require.NoError(t, work(workers[0], "completed"))
		return d.table(`select (select count(*) from pgflow.runs where status = 'started'), (select count(*) from flowc.requests where error is null)`) == "0 0"
	}, time.Minute, time.Millisecond)
	f.startDue()
	require.Equal(t, "0 0 0 0 0", d.table(`
		select (select count(*) from flowc.limited_runs), (select count(*) from flowc.gate_keys), (select count(*) from flowc.turns),
		  (select count(*) from flowc.gate_changes), (select count(*) from public.places)`))
}

// workOnce begins runs, claims tasks and reports them with one of the outcomes each.
func workOnce(ctx context.Context, pool *pgxpool.Pool, id uuid.UUID, outcomes ...string) error {
	if _, err := pool.Exec(ctx, `select flowc.start_due('{f}')`); err != nil {
		return err
	}
	rows, err := pool.Query(ctx, `select run_id::text, step_slug, task_index, message_id, claim_number from flowc.claim($1, '{f}', '{3}')`, id)
	if err != nil {
		return err
	}
	var runs, steps, results, outputs, causes []string
	var indexes, claims []int
	var messages []int64
	var run, step string
	var index, claim int
	var message int64
	_, err = pgx.ForEachRow(rows, []any{&run, &step, &index, &message, &claim}, func() error {
		runs, steps, indexes, messages, claims = append(runs, run), append(steps, step), append(indexes, index), append(messages, message), append(claims, claim)
		results, outputs, causes = append(results, outcomes[rand.IntN(len(outcomes))]), append(outputs, "1"), append(causes, "broke")
		return nil
	})
	for err == nil && len(runs) > 0 { // what others hold is reported again
		_, err = pool.Exec(ctx, `select * from flowc.report($1, $2::text[]::uuid[], $3, $4, $5, $6, $7, $8::text[]::jsonb[], $9, $10)`,
			id, runs, steps, indexes, messages, claims, results, outputs, causes, make([]*float64, len(runs)))
		var left int
		if err == nil {
			err = pool.QueryRow(ctx, `select count(*) from pgflow.step_tasks where in_queue and status = 'started' and last_worker_id = $1`, id).Scan(&left)
		}
		if left == 0 {
			break
		}
	}
	return err
}

// TestNobodyWaitsForALine: a start whose transaction is open, and a pass that is, hold up
// nobody else.
func TestNobodyWaitsForALine(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	f := d.limited("f", `"concurrency": 2`)
	runs := f.startAll("x", "1", "2", "3", "4")
	f.startDue()
	d.script(`alter role current_user set lock_timeout = '10s'`)
	start, err := d.pool.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = start.Rollback(context.Background()) }()
	_, err = start.Exec(t.Context(), `select flowc.start('f', '{"{\"n\": \"5\"}"}', null)`)
	require.NoError(t, err)
	pass, err := d.pool.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = pass.Rollback(context.Background()) }()
	_, err = pass.Exec(t.Context(), `select flowc.cancel_run($1)`, runs[0].id)
	require.NoError(t, err)
	_, err = pass.Exec(t.Context(), `select flowc.start_due('{f}')`)
	require.NoError(t, err)

	f.start(`{"n": "6"}`)
	d.exec(`select flowc.cancel_run($1)`, runs[1].id)
	require.Equal(t, "1 | 3 4 6", f.startDue().begun(), "who holds the key begins for all")
	require.Equal(t, "t", d.table(`select flowc.can_begin_runs('{f}')`))
	require.NoError(t, pass.Commit(t.Context()))
	require.NoError(t, start.Commit(t.Context()))
	require.Equal(t, "3 4 | 5 6", strings.Join(strings.Fields(f.startDue().begun()), " "))
}
