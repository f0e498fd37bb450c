package engine_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
)

// upsertCron puts a flow of one step into the database, with or without a schedule,
// and gives the status.
func (d *db) upsertCron(slug, cron string) string {
	d.t.Helper()
	return value[string](d, `
		select flowc.upsert_flow($1, jsonb_build_object(
		  'options', jsonb_strip_nulls(jsonb_build_object('cron', nullif($2, ''))),
		  'steps', $3::jsonb), false) ->> 'status'`, slug, cron,
		`[{"slug": "a", "stepType": "single", "dependencies": [], "whenUnmet": "skip", "whenExhausted": "fail",
		   "requiredInputPattern": {"defined": false}, "forbiddenInputPattern": {"defined": false}}]`)
}

// schedule gives columns of a schedule.
func (d *db) schedule(slug, columns string) string {
	d.t.Helper()
	return d.table(`select `+columns+` from flowc.schedules s where flow_slug = $1`, slug)
}

// tick starts what is due and gives how many runs that were.
func (d *db) tick(slugs ...string) int {
	d.t.Helper()
	return value[int](d, `select flowc.start_due($1)`, slugs)
}

// pass lets time pass for a schedule, by moving it into the past; a negative time
// sets the clock back.
func (d *db) pass(slug, time string) {
	d.t.Helper()
	d.exec(`
		update flowc.schedules
		set computed_at = computed_at - $2::interval, next_at = next_at - $2::interval, last_at = last_at - $2::interval
		where flow_slug = $1`, slug, time)
}

func TestUpsertSchedule(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		require.Equal(t, "compiled", d.upsertCron("f", "@every 1h"))
		require.Equal(t, "@every 1h t f", d.schedule("f", `cron, next_at - clock_timestamp() between interval '59 minutes' and interval '1 hour', paused_at is not null`))
		require.Equal(t, `{"cron": "@every 1h", "timeout": 60, "baseDelay": 5, "maxAttempts": 3}`, d.table(`select flowc.get_definition('f') -> 'options'`))

		// The same again changes nothing, not even when it is due.
		d.pass("f", "10 minutes")
		require.Equal(t, "verified", d.upsertCron("f", "@every 1h"))
		require.Equal(t, "t", d.schedule("f", `next_at - clock_timestamp() < interval '50 minutes'`))

		require.Equal(t, "options_updated", d.upsertCron("f", "@every 2h"))
		require.Equal(t, "t", d.schedule("f", `next_at - clock_timestamp() > interval '119 minutes'`))

		// One that is paused stays so.
		require.Equal(t, "t", d.table(`select flowc.pause_schedule('f', 'holidays')`))
		require.Equal(t, "f", d.table(`select flowc.pause_schedule('f', 'again')`))
		require.Equal(t, "options_updated", d.upsertCron("f", "@every 3h"))
		require.Equal(t, "@every 3h - holidays", d.schedule("f", `cron, next_at, pause_reason`))
		require.Equal(t, "t", d.table(`select flowc.resume_schedule('f')`))
		require.Equal(t, "f", d.table(`select flowc.resume_schedule('f')`))
		require.Equal(t, "t - -", d.schedule("f", `next_at - clock_timestamp() > interval '179 minutes', paused_at, pause_reason`))

		require.Equal(t, "options_updated", d.upsertCron("f", ""))
		require.Empty(t, d.schedule("f", "*"))
		require.Equal(t, "- -", d.table(`select flowc.pause_schedule('f'), flowc.resume_schedule('f')`))

		require.Equal(t, "options_updated", d.upsertCron("f", "@daily"))
		d.exec(`select flowc.delete_flow('f', true)`)
		require.Empty(t, d.schedule("f", "*"))
	})
}

// TestScheduleRefused holds that a schedule which cannot be leaves everything as it was.
func TestScheduleRefused(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		err := d.fails("22023", `cron "0 0 30 2 *": there is no such day`,
			`select flowc.upsert_flow('f', '{"steps": [], "options": {"cron": "0 0 30 2 *"}}', false)`)
		require.Equal(t, "there is no such day", err.Detail)
		require.Equal(t, "f", d.table(`select flowc.flow_exists('f')`))
		d.fails("22023", `cron "@daily": it starts the flow with {}, and a step is a map over the input, which has to be a list`,
			`select flowc.upsert_flow('f', '{"steps": [{"slug": "m", "stepType": "map"}], "options": {"cron": "@daily"}}', false)`)
		d.upsertCron("f", "@daily")
		d.fails("22023", `cron "daily": it has 1 field, not five: minute, hour, day, month and weekday`,
			`select flowc.upsert_flow('f', jsonb_set(flowc.get_definition('f'), '{options,cron}', '"daily"'), false)`)
		require.Equal(t, "@daily", d.schedule("f", "cron"))
	})
}

func TestTicks(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		d.upsertCron("f", "@every 10m")
		require.Zero(t, d.tick("f"))
		d.pass("f", "10 minutes")
		require.Zero(t, d.tick("g"), "it is for workers that serve it")
		require.Equal(t, 1, d.tick("f", "g"))
		require.Zero(t, d.tick("f"))
		require.Equal(t, `a {} {} t`, d.table(`
			select step_slug, input, run_input, tick between clock_timestamp() - interval '5 seconds' and clock_timestamp()
			from flowc.claim($1::uuid, '{f}', '{9}')`, worker))
		require.Equal(t, "t t -", d.schedule("f", `
			next_at - last_at = interval '10 minutes',
			(select r.flow_slug = 'f' and k.tick_at = s.last_at from pgflow.runs r join flowc.ticks k using (run_id) where r.run_id = s.last_run_id), error_message`))
		require.Equal(t, "t t t", d.table(`
			select r.tick = s.last_at, l.tick = s.last_at, num_nulls(r.scheduled_at, l.scheduled_at) = 2
			from flowc.schedules s, flowc.get_run(s.last_run_id) r, flowc.list_runs('{f}', null, null, null, null, null, null, 9) l`))

		// Ticks that were missed are one run, that of the last of them.
		d.pass("f", "65 minutes")
		require.Equal(t, 1, d.tick("f"))
		require.Equal(t, "0 -5", d.table(`
			select (select count(*) from flowc.ticks k where k.tick_at < clock_timestamp() - interval '10 minutes'),
			       round(extract(epoch from s.last_at - clock_timestamp()) / 60) from flowc.schedules s`))
		require.Equal(t, "5", d.schedule("f", `round(extract(epoch from next_at - clock_timestamp()) / 60)`))

		// What is paused is not due, and does not make up for anything.
		d.exec(`select flowc.pause_schedule('f')`)
		require.Zero(t, d.tick("f"))
		d.exec(`select flowc.resume_schedule('f')`)
		require.Zero(t, d.tick("f"))
		require.Equal(t, "10", d.schedule("f", `round(extract(epoch from next_at - clock_timestamp()) / 60)`))

		// A run by hand is one more, and moves nothing.
		d.exec(`select flowc.pause_schedule('f')`)
		at := d.table(`select flowc.run_schedule('f', '22222222-2222-2222-2222-222222222222')`)
		require.Equal(t, at, d.table(`select tick_at from flowc.ticks where run_id = '22222222-2222-2222-2222-222222222222'`))
		d.exec(`select flowc.run_schedule('f', '22222222-2222-2222-2222-222222222222')`)
		require.Equal(t, "3", d.table(`select count(*) from pgflow.runs`))
		require.Equal(t, "-", d.table(`select flowc.run_schedule('g', '33333333-3333-3333-3333-333333333333')`))

		// Nothing is left behind.
		d.exec(`select flowc.delete_runs(array(select run_id from pgflow.runs))`)
		require.Equal(t, "0", d.table(`select count(*) from flowc.ticks`))
		d.exec(`select flowc.resume_schedule('f')`)
		d.pass("f", "10 minutes")
		require.Equal(t, 1, d.tick("f"))
		d.exec(`select flowc.delete_flow('f', true)`)
		require.Equal(t, "0", d.table(`select count(*) from flowc.ticks`))
	})
}

// TestMissedTicksOfACron is the same for an expression with fields, with a time zone
// and after years.
func TestMissedTicksOfACron(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		// No two have a tick in common, which would be one run.
		for _, cron := range []string{"CRON_TZ=America/New_York 1 3 * * *", "1 0 29 2 *", "*/7 * * * *"} {
			d.upsertCron("f", cron)
			d.exec(`update flowc.schedules set next_at = '2019-01-01', computed_at = '2018-12-31'`)
			want := d.table(`
				select max(t.at) from generate_series('2018-12-31', clock_timestamp(), interval '1 day') s(day), flowc.cron_day(flowc.parse_cron($1), s.day::date) t(at)
				where t.at <= clock_timestamp() and flowc.is_cron_day(flowc.parse_cron($1), s.day::date)`, cron)
			require.Equal(t, 1, d.tick("f"))
			require.Equal(t, want+" t", d.schedule("f", `last_at, next_at = flowc.next_tick(cron, clock_timestamp())`))
		}
	})
}

// TestClockIsSet holds what happens when the database's clock jumps.
func TestClockIsSet(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		d.upsertCron("f", "@every 10m")
		d.upsertCron("g", "*/10 * * * *")

		// Forward by a day: one run each, and on from there.
		for _, slug := range []string{"f", "g"} {
			d.pass(slug, "1 day")
		}
		require.Equal(t, 2, d.tick("f", "g"))
		require.Zero(t, d.tick("f", "g"))
		require.Equal(t, "t\nt", d.table(`select next_at - clock_timestamp() between interval '0' and interval '10 minutes' from flowc.schedules`))

		// Back by a day: what is due is computed anew, so that nothing waits for a day.
		for _, slug := range []string{"f", "g"} {
			d.pass(slug, "-1 day")
		}
		require.Zero(t, d.tick("f", "g"))
		require.Equal(t, "t t\nt t", d.table(`select next_at - clock_timestamp() between interval '0' and interval '10 minutes', computed_at <= clock_timestamp() from flowc.schedules`))

		// A tick that was started before the clock was set back is not started again.
		run := d.schedule("g", "flowc.tick_run_id('g', next_at)")
		d.exec(`select flowc.start('g', array['{}'::jsonb], array[$1::uuid])`, run)
		d.exec(`update flowc.schedules set next_at = date_trunc('hour', next_at) where flow_slug = 'g'`)
		d.exec(`select flowc.delete_runs(array(select run_id from pgflow.runs))`)
		tick := value[string](d, `select flowc.last_tick(cron, next_at, clock_timestamp())::text from flowc.schedules where flow_slug = 'g'`)
		d.exec(`select flowc.start('g', array['{}'::jsonb], array[flowc.tick_run_id('g', $1::text::timestamptz)])`, tick)
		require.Zero(t, d.tick("g"))
		require.Equal(t, "1", d.table(`select count(*) from pgflow.runs`))
		require.Equal(t, "t", d.schedule("g", `next_at > clock_timestamp()`))
	})
}

// TestScheduleThatFails holds that one schedule which cannot be started does not
// keep others from it, and is tried again.
func TestScheduleThatFails(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		d.upsertCron("bad", "@every 10m")
		d.upsertCron("good", "@every 10m")
		d.upsertCron("moved", "@every 10m")
		d.exec(`update pgflow.steps set step_type = 'map' where flow_slug = 'bad'`) // {} is no list
		d.exec(`update flowc.schedules set cron = 'CRON_TZ=Gone/Away @daily' where flow_slug = 'moved'`)
		for _, slug := range []string{"bad", "good", "moved"} {
			d.pass(slug, "11 minutes")
		}
		require.Equal(t, 1, d.tick("bad", "good", "moved"))
		require.Equal(t, lines(
			"bad t Flow bad has root map steps but input is not an array (got object)",
			"good f -",
			`moved t cron "CRON_TZ=Gone/Away @daily": time zone "Gone/Away" not recognized`,
		), d.table(`select flow_slug, next_at between clock_timestamp() + interval '50 seconds' and clock_timestamp() + interval '1 minute', error_message from flowc.schedules order by 1`))
		require.Equal(t, "good", d.table(`select flow_slug from pgflow.runs`))

		d.exec(`update pgflow.steps set step_type = 'single' where flow_slug = 'bad'`)
		d.pass("bad", "1 minute")
		require.Equal(t, 1, d.tick("bad"))
		require.Equal(t, "-", d.schedule("bad", "error_message"))
	})
}

// TestNewVersionPausesOlderSchedules holds that a new version of a flow runs instead of the old one.
func TestNewVersionPausesOlderSchedules(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		for _, slug := range []string{"report", "report_v1", "report_v2", "report_v10", "report_vx", "other", "my_report"} {
			d.upsertCron(slug, "@daily")
		}
		d.upsertCron("report_v3", "@daily")
		require.Equal(t, lines("my_report -", "other -", "report report_v2 took over", "report_v1 report_v2 took over", "report_v10 -", "report_v2 report_v10 took over", "report_v3 -", "report_vx -"),
			d.table(`select flow_slug, pause_reason from flowc.schedules order by 1`))
		// Whoever resumes an old one means it.
		d.exec(`select flowc.resume_schedule('report')`)
		d.upsertCron("report_v10", "@hourly")
		require.Equal(t, "-", d.schedule("report", "pause_reason"))
	})
}

// TestTicksTogether has many sessions start what is due, at the same moment, while
// others put the flow into the database, pause it and resume it.
func TestTicksTogether(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	const flows, rounds = 5, 20
	var slugs []string
	for i := range flows {
		slugs = append(slugs, fmt.Sprintf("f%d", i))
		d.upsertCron(slugs[i], "@every 1h")
	}
	for round := range rounds {
		for _, slug := range slugs {
			d.pass(slug, "59 minutes 59.999 seconds") // the same tick would be the same run
		}
		var started [6]int
		var all sync.WaitGroup
		for i := range started {
			all.Go(func() {
				require.NoError(t, retry(func() error {
					return d.pool.QueryRow(t.Context(), `select flowc.start_due($1)`, slugs).Scan(&started[i])
				}))
			})
		}
		all.Go(func() {
			for _, slug := range slugs {
				_, err := d.pool.Exec(t.Context(), `select flowc.upsert_flow($1, flowc.get_definition($1), false)`, slug)
				require.NoError(t, err)
			}
		})
		all.Wait()
		sum := d.tick(slugs...) // what an upsert was in the way of
		for _, n := range started {
			sum += n
		}
		require.Equal(t, flows, sum, "in round %d", round)
	}
	require.Equal(t, fmt.Sprintf("%d %[1]d", flows*rounds), d.table(`select count(*), count(distinct (flow_slug, tick_at)) from pgflow.runs join flowc.ticks using (run_id)`))
}

// TestScheduleStorm has sessions do to a few schedules whatever can be done to them,
// at once: nobody waits for each other in a circle, and nothing is left that should
// not be there.
func TestScheduleStorm(t *testing.T) {
	t.Parallel()
	for _, level := range []string{"read committed", "repeatable read", "serializable"} {
		t.Run(level, func(t *testing.T) {
			t.Parallel()
			d := newDB(t)
			d.exec(`do $$ begin execute format('alter database %I set default_transaction_isolation to ' || quote_literal('` + level + `'), current_database()); end $$`)
			pool := dbtest.Connect(t, d.pool.Config().ConnString())
			seed := uint64(time.Now().UnixNano())
			t.Logf("seed %d", seed)
			slugs := []string{"report", "report_v2", "report_v3", "tidy"}
			const step = `[{"slug": "a", "stepType": "single", "dependencies": [], "whenUnmet": "skip", "whenExhausted": "fail",
				"requiredInputPattern": {"defined": false}, "forbiddenInputPattern": {"defined": false}}]`
			deeds := []struct {
				sql  string
				args func(r *rand.Rand) []any
			}{
				{`select flowc.start_due($1)`, func(*rand.Rand) []any { return []any{slugs} }},
				{`select flowc.start_due($1)`, func(*rand.Rand) []any { return []any{slugs} }},
				{`update flowc.schedules set next_at = clock_timestamp() - interval '1 second' where flow_slug = $1 and next_at is not null`, nil},
				{`update flowc.schedules set computed_at = clock_timestamp() + interval '1 hour' where flow_slug = $1`, nil},
				{`select flowc.upsert_flow($1, jsonb_build_object('options', jsonb_build_object('cron', $2::text), 'steps', $3::jsonb), false)`, func(r *rand.Rand) []any {
					return []any{slugs[r.IntN(4)], []string{"@every 1h", "*/5 * * * *"}[r.IntN(2)], step}
				}},
				{`select flowc.delete_flow($1, true)`, nil},
				{`select flowc.pause_schedule($1)`, nil},
				{`select flowc.resume_schedule($1)`, nil},
				{`select flowc.run_schedule($1, gen_random_uuid()) from generate_series(1, 20)`, nil},
				{`select flowc.list_schedules()`, func(*rand.Rand) []any { return nil }},
				{`select flowc.cancel_run(r.run_id) from (select run_id from pgflow.runs where flow_slug = $1 and status = 'started' order by run_id offset 0) r`, nil},
				{`select flowc.prune_flows($1, interval '0', 50)`, func(*rand.Rand) []any { return []any{slugs} }},
				{`select flowc.prune_flows($1, interval '0', 50)`, func(*rand.Rand) []any { return []any{slugs} }},
			}
			var sessions sync.WaitGroup
			for session := range 8 {
				r := rand.New(rand.NewPCG(seed, uint64(session)))
				sessions.Go(func() {
					for range 150 {
						deed := deeds[r.IntN(len(deeds))]
						args := []any{slugs[r.IntN(len(slugs))]}
						if deed.args != nil {
							args = deed.args(r)
						}
						if err := retry(func() error {
							_, err := pool.Exec(t.Context(), deed.sql, args...)
							return err
						}); err != nil {
							t.Errorf("%s: %v", deed.sql, err)
							return
						}
					}
				})
			}
			sessions.Wait()
			// What the statistics say comes late; the sessions have ended when it is there.
			pool.Close()
			require.Equal(t, "0 0 0", d.table(`
				select (select deadlocks from pg_stat_database where datname = current_database()),
				       (select count(*) from flowc.ticks where run_id not in (select run_id from pgflow.runs)),
				       (select count(*) from flowc.schedules where error_message is not null)`))
		})
	}
}

// TestIdleUntilTick holds that a worker which waits is told of the next tick.
func TestIdleUntilTick(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		d.upsertCron("f", "@every 10m")
		d.upsertCron("g", "@every 5m")
		require.Equal(t, "10 5 -", d.table(`
			select round(extract(epoch from flowc.enter_idle($1, '{f}') - clock_timestamp()) / 60),
			       round(extract(epoch from flowc.enter_idle($1, '{f,g}') - clock_timestamp()) / 60), flowc.enter_idle($1, '{h}')`, worker))
		d.exec(`select flowc.pause_schedule('g')`)
		require.Equal(t, "10", d.table(`select round(extract(epoch from flowc.enter_idle($1, '{f,g}') - clock_timestamp()) / 60)`, worker))
	})
}
