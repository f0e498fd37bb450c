// Flows of which one run is started for the same values in the input, and who comes first
// where several start at once.

package engine_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// unique defines a flow of one step with the settings of unique runs; by default those with
// the same account are alike.
func (d *db) unique(slug, more string) *flow {
	d.t.Helper()
	d.exec(`select flowc.upsert_flow($1, $2::jsonb)`, slug, `{"steps": [`+taskStep("work")+`], "settings": {"unique": [["run", "account"]]`+more+`}}`)
	return &flow{d, slug}
}

// id returns an id that tests can read.
func id(n int) string { return fmt.Sprintf("00000000-0000-7000-8000-%012d", n) }

// begin starts runs with ids from n on, and gives what flowc.start returns of each: the
// last digits of the id, existed, and the status.
func (f *flow) begin(n int, more string, inputs ...string) string {
	f.d.t.Helper()
	ids := make([]string, len(inputs))
	for i := range inputs {
		ids[i] = id(n + i)
	}
	return strings.ReplaceAll(f.d.table(`
		select right(run_id::text, 2) || case when existed then ' existed' else '' end || case when status = 'duplicate' then ' duplicate' else '' end
		from flowc.start($1, $2::text[]::jsonb[], $3::text[]::uuid[]`+more+`) order by n`, f.slug, inputs, ids), "\n", ", ")
}

// live gives the last digits of the ids of the runs that have not ended.
func (d *db) live() string {
	d.t.Helper()
	return strings.ReplaceAll(d.table(`select right(run_id::text, 2) from pgflow.runs where status = 'started' order by run_id`), "\n", " ")
}

func (d *db) end(n int) {
	d.t.Helper()
	require.Equal(d.t, "t", d.table(`select flowc.cancel_run($1)`, id(n)))
}

// TestUniqueKeep: while a run has not ended, another start with the same values is that run.
func TestUniqueKeep(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		f := d.unique("f", "")
		require.Equal(t, "01", f.begin(1, "", `{"account": 7, "n": 1}`))
		require.Equal(t, "01 existed", f.begin(2, "", `{"account": 7, "n": 2}`))
		require.Equal(t, "01 existed", f.begin(2, "", `{"account": 7.00}`), "numbers are compared as numbers")
		require.Equal(t, "03", f.begin(3, "", `{"account": "7"}`), "a string is another value")
		require.Equal(t, "04", f.begin(4, "", `{}`))
		require.Equal(t, "04 existed", f.begin(5, "", `{"account": null}`), "what is missing is null")
		require.Equal(t, "01 existed", f.begin(1, "", `{"account": 8}`), "an id that exists has nothing to do with its input")
		require.Equal(t, "06", f.begin(6, "", `{"account": 8}`))
		require.Equal(t, "07", f.begin(7, ", duplicates => 'allow'", `{"account": 7}`))
		require.Equal(t, "01 existed duplicate", f.begin(8, ", duplicates => 'refuse'", `{"account": 7}`))
		require.Equal(t, "01 existed", f.begin(1, ", duplicates => 'refuse'", `{"account": 7}`))
		require.Equal(t, "01 03 04 06 07", d.live())

		d.end(1)
		require.Equal(t, "09", f.begin(9, "", `{"account": 7}`), "the one that was allowed does not have the key")
		require.Equal(t, "09 existed", f.begin(10, "", `{"account": 7}`))
		r := &run{d, "f", id(9)}
		r.complete("work", `1`)
		require.Equal(t, "11", f.begin(11, "", `{"account": 7}`))
		require.Equal(t, "1", d.table(`select count(*) from flowc.uniques where run_id = $1`, id(11)))

		require.Equal(t, "account=7", d.table(`select unique_values from flowc.get_run($1)`, id(11)))
		require.Equal(t, "account=null", d.table(`select unique_values from flowc.run_progress($1)`, id(4)))
	})
}

// TestUniqueMany: of equal inputs in one call the first is started.
func TestUniqueMany(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		f := d.unique("f", "")
		require.Equal(t, "01, 02, 01 existed, 04, 02 existed", f.begin(1, "",
			`{"account": 1}`, `{"account": 2}`, `{"account": 1}`, `{"account": 4}`, `{"account": 2}`))
		require.Equal(t, "01 existed, 12, 12 existed, 02 existed", f.begin(11, "",
			`{"account": 1}`, `{"account": 12}`, `{"account": 12}`, `{"account": 2}`))
		d.end(1)
		d.end(12)
		require.Equal(t, "21, 22, 21 existed, 04 existed", f.begin(21, "",
			`{"account": 12}`, `{"account": 1}`, `{"account": 12}`, `{"account": 4}`))
		require.Equal(t, "02 04 21 22", d.live())
		require.Equal(t, "4", d.table(`select count(*) from flowc.uniques`))

		// An id that exists leaves its key to the next one.
		require.Equal(t, "21 existed, 32, 32 existed", strings.ReplaceAll(d.table(`
			select right(run_id::text, 2) || case when existed then ' existed' else '' end
			from flowc.start('f', '{"{\"account\": 9}", "{\"account\": 9}", "{\"account\": 9}"}', $1::text[]::uuid[]) order by n`,
			[]string{id(21), id(32), id(33)}), "\n", ", "))
		require.Equal(t, "21 existed", f.begin(21, "", `{"account": 99}`))
		require.Equal(t, "5", d.table(`select count(*) from flowc.uniques`), "of a start that found its run, nothing is left")
		require.Equal(t, "34", f.begin(34, "", `{"account": 99}`))

		// One id twice is one run, with one key.
		require.Equal(t, "41, 41 existed", strings.ReplaceAll(d.table(`
			select right(run_id::text, 2) || case when existed then ' existed' else '' end
			from flowc.start('f', '{"{\"account\": 50}", "{\"account\": 51}"}', $1::text[]::uuid[]) order by n`,
			[]string{id(41), id(41)}), "\n", ", "))
		require.Equal(t, "42", f.begin(42, "", `{"account": 51}`))
		require.Equal(t, "41 existed", f.begin(43, "", `{"account": 50}`))
	})
}

// TestUniqueError: nothing is started, and no transaction ends.
func TestUniqueError(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		f := d.unique("f", `, "onDuplicate": "error"`)
		require.Equal(t, "01", f.begin(1, "", `{"account": 7}`))
		require.Equal(t, "01 existed duplicate", f.begin(2, "", `{"account": 7}`))
		require.Equal(t, "01 existed duplicate", f.begin(11, "", `{"account": 8}`, `{"account": 7}`, `{"account": 9}`))
		require.Equal(t, "01", d.live())
		require.Equal(t, "1", d.table(`select count(*) from flowc.uniques`))
		require.Equal(t, "21, 21 existed", f.begin(21, "", `{"account": 8}`, `{"account": 8}`))
	})
}

// TestUniqueReplace: the older run is cancelled as if somebody had requested it.
func TestUniqueReplace(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		f := d.unique("f", `, "onDuplicate": "replace"`)
		require.Equal(t, "01", f.begin(1, "", `{"account": 7}`))
		require.Equal(t, "02", f.begin(2, ", duplicates => 'refuse'", `{"account": 7}`))
		require.Equal(t, "05 existed, 04, 05", f.begin(3, "", `{"account": 7}`, `{"account": 8}`, `{"account": 7}`))
		require.Equal(t, "01 02 04 05", d.live())
		require.Equal(t, 2, d.apply("f"))
		require.Equal(t, "04 05", d.live())
		require.Equal(t, "cancelled replaced by run "+id(2), d.table(`select status, cancel_reason from flowc.get_run($1)`, id(1)))
		require.Equal(t, 0, d.apply("f"))
	})
}

// TestUniquePer: a run has its key for a time, whatever becomes of it.
func TestUniquePer(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		f := d.unique("f", `, "per": 3600`)
		require.Equal(t, "01", f.begin(1, "", `{"account": 7}`))
		d.end(1)
		require.Equal(t, "01 existed", f.begin(2, "", `{"account": 7}`))
		d.exec(`update flowc.uniques set until_at = until_at - interval '59 minutes'`)
		require.Equal(t, "01 existed", f.begin(2, "", `{"account": 7}`))
		d.exec(`update flowc.uniques set until_at = until_at - interval '61 seconds'`)
		require.Equal(t, "03", f.begin(3, "", `{"account": 7}`))
		require.Equal(t, "t", d.table(`select until_at > clock_timestamp() + interval '59 minutes' from flowc.uniques`))

		// A retry is no start.
		require.Equal(t, "t", d.table(`select flowc.retry_run($1)`, id(1)))
		require.Equal(t, "03 existed", f.begin(4, "", `{"account": 7}`))

		// The key goes with its run.
		require.Equal(t, "t", d.table(`select flowc.delete_run($1, true)`, id(3)))
		require.Equal(t, "05", f.begin(5, "", `{"account": 7}`))
	})
}

// TestDebounce: a start replaces the input of a run that has not begun, and moves it.
func TestDebounce(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		f := d.unique("f", `, "debounce": 60, "debounceMax": 100`)
		due := func() string { // in seconds from now
			t.Helper()
			return d.table(`select round(extract(epoch from due_at - clock_timestamp()) / 5) * 5 from flowc.scheduled_runs order by run_id`)
		}
		require.Equal(t, "01", f.begin(1, `, headers => '{"{\"a\": \"1\"}"}'`, `{"account": 7, "n": 1}`))
		require.Equal(t, "60", due())
		require.Equal(t, "01 existed", f.begin(2, "", `{"account": 7, "n": 2}`))
		require.Equal(t, "60", due())
		require.Equal(t, `{"n": 2, "account": 7} -`, d.table(`
			select input, headers from pgflow.runs left join flowc.run_headers using (run_id)`))

		// Not beyond what it waits at most; but never before a time that was given.
		d.exec(`update flowc.uniques set until_at = clock_timestamp() + interval '20 seconds'`)
		require.Equal(t, "01 existed", f.begin(2, `, headers => '{"{\"a\": \"2\"}"}'`, `{"account": 7, "n": 3}`))
		require.Equal(t, "20", due())
		require.Equal(t, `{"a": "2"}`, d.table(`select headers from flowc.run_headers`))
		require.Equal(t, "01 existed", f.begin(2, ", start_in => interval '500 seconds'", `{"account": 7, "n": 4}`))
		require.Equal(t, "500", due())
		require.Equal(t, "01 existed duplicate", f.begin(3, ", duplicates => 'refuse'", `{"account": 7, "n": 5}`))
		require.Equal(t, `{"n": 4, "account": 7}`, d.table(`select input from pgflow.runs`))

		// Once it has begun, there is another.
		d.exec(`update flowc.scheduled_runs set due_at = clock_timestamp()`)
		require.Equal(t, "1", d.table(`select flowc.start_due('{f}')`))
		require.Equal(t, "04", f.begin(4, "", `{"account": 7, "n": 6}`))
		require.Equal(t, "01 04", d.live())
		require.Equal(t, "60", due())
		require.Equal(t, "t", d.table(`select until_at > clock_timestamp() + interval '90 seconds' from flowc.uniques`))

		// Of several in one call the last one counts; one whose cancellation was requested does not.
		require.Equal(t, "04 existed, 12, 12 existed, 04 existed", f.begin(11, "",
			`{"account": 7, "n": 7}`, `{"account": 8, "n": 1}`, `{"account": 8, "n": 2}`, `{"account": 7, "n": 8}`))
		require.Equal(t, "8\n2", d.table(`select input -> 'n' from pgflow.runs where run_id in ($1, $2) order by run_id`, id(4), id(12)))
		d.exec(`select flowc.request($1, 'cancel', '', false)`, id(4))
		require.Equal(t, "21", f.begin(21, "", `{"account": 7, "n": 9}`))
	})
}

// TestUniqueVersions: versions of a flow share their keys, but do not debounce each other.
func TestUniqueVersions(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		require.Equal(t, "01", d.unique("f", "").begin(1, "", `{"account": 7}`))
		v2 := d.unique("f_v2", "")
		require.Equal(t, "01 existed", v2.begin(2, "", `{"account": 7}`))
		require.Equal(t, "f", d.table(`select of_flow from flowc.start('f_v2', '{"{\"account\": 7}"}', null)`))
		d.exec(`select flowc.delete_flow('f', true)`)
		require.Equal(t, "0", d.table(`select count(*) from flowc.uniques`))
		require.Equal(t, "03", v2.begin(3, "", `{"account": 7}`))

		require.Equal(t, "11", d.unique("g", `, "debounce": 60, "debounceMax": 100`).begin(11, "", `{"account": 7}`))
		require.Equal(t, "12", d.unique("g_v2", `, "debounce": 60, "debounceMax": 100`).begin(12, "", `{"account": 7}`))
	})
}

// TestUniqueRetry: a run that is retried needs its key again.
func TestUniqueRetry(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		f := d.unique("f", "")
		require.Equal(t, "01", f.begin(1, "", `{"account": 7}`))
		d.end(1)
		require.Equal(t, "02", f.begin(2, "", `{"account": 7}`))
		message := fmt.Sprintf("flowc: run %s was started with the same unique values, and has not ended", id(2))
		for _, sql := range []string{`select flowc.retry_run($1)`, `select flowc.retry_step($1, 'work')`, `select flowc.request($1, 'retry', '', true)`} {
			pg := d.fails("23505", message, sql, id(1))
			require.Equal(t, id(2)+" f uniques_pkey", pg.Detail+" "+pg.ConstraintName)
		}
		d.exec(`select flowc.request($1, 'retry', '', false)`, id(1))
		require.Equal(t, 1, d.apply("f"))
		require.Equal(t, message, d.table(`select error from flowc.requests`))
		d.end(2)
		require.Equal(t, "t", d.table(`select flowc.retry_step($1, 'work')`, id(1)))
		require.Equal(t, "01 existed", f.begin(3, "", `{"account": 7}`))
		require.Equal(t, "1", d.table(`select count(*) from flowc.uniques`))

		// Without a row, as after the deletion of the run that had the key.
		d.end(1)
		require.Equal(t, "04", f.begin(4, "", `{"account": 7}`))
		require.Equal(t, "t", d.table(`select flowc.delete_run($1, true)`, id(4)))
		require.Equal(t, "t", d.table(`select flowc.retry_run($1)`, id(1)))
		require.Equal(t, "01 existed", f.begin(5, "", `{"account": 7}`))
	})
}

// TestUniqueSchedule: a tick is left out while the run of another has not ended.
func TestUniqueSchedule(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		d.exec(`select flowc.upsert_flow('f', $1::jsonb)`, `{"steps": [`+taskStep("work")+`], "options": {"cron": "@hourly"}, "settings": {"unique": [["run"]]}}`)
		tick := func() string {
			t.Helper()
			d.exec(`update flowc.schedules set next_at = date_trunc('hour', clock_timestamp()), computed_at = clock_timestamp() - interval '1 hour'`)
			return d.table(`select flowc.start_ticks('{f}')`)
		}
		require.Equal(t, "1", tick())
		first := d.table(`select run_id from pgflow.runs`)
		// Another tick has another id.
		d.exec(`update flowc.installation set secret = gen_random_uuid()`)
		require.Equal(t, "0", tick())
		require.Equal(t, "t "+first, d.table(`select next_at > clock_timestamp(), last_run_id from flowc.schedules`))
		d.fails("23505", fmt.Sprintf("flowc: run %s was started with the same unique values, and has not ended", first),
			`select flowc.run_schedule('f', $1)`, id(1))
		d.exec(`select flowc.cancel_run($1)`, first)
		require.Equal(t, "1", tick())
	})
}

// TestUniqueOfTheContract: clients in other languages get the run that is there.
func TestUniqueOfTheContract(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		for slug, more := range map[string]string{"f": "", "g": `, "onDuplicate": "error"`} {
			f := d.unique(slug, more)
			r := f.start(`{"account": 7}`)
			require.Equal(t, r.id, f.start(`{"account": 7}`).id)
			require.Equal(t, r.id, d.table(`select run_id from pgflow.start_flow($1, '{"account": 7}', $2)`, slug, id(1)))
			require.Equal(t, r.id, d.table(`select pgflow.start_flow_with_states($1, '{"account": 7}') #>> '{run,run_id}'`, slug))
			d.fails("23505", `duplicate key value violates unique constraint "runs_pkey"`, `select pgflow.start_flow($1, '{"account": 7}', $2)`, slug, r.id)
		}
	})
}

// TestUniqueUpsert: the settings are options, and nothing of a flow without them changes.
func TestUniqueUpsert(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		f := d.unique("f", "")
		require.Equal(t, "01", f.begin(1, "", `{"account": 7}`))
		require.Equal(t, `{"unique": [["run", "account"]]}`, d.table(`select flowc.get_definition('f') -> 'settings'`))
		require.Equal(t, "options_updated", d.table(`select flowc.upsert_flow('f', $1::jsonb) ->> 'status'`, `{"steps": [`+taskStep("work")+`]}`))
		require.Equal(t, "02", f.begin(2, "", `{"account": 7}`))
		require.Equal(t, "-", d.table(`select unique_values from flowc.get_run($1)`, id(2)))
		require.Equal(t, "2", d.table(`select flowc.delete_runs(array[$1, $2]::uuid[])`, id(1), id(2)))
		require.Equal(t, "0", d.table(`select count(*) from flowc.uniques`))
	})
}

// starters start a run of a flow for each of some keys, all at once and in different orders, and
// returns how many were started, and the runs that each was told.
func starters(t *testing.T, d *db, flow string, n, accounts int) (fresh int, told map[int]map[string]bool) {
	t.Helper()
	var mu sync.Mutex
	told = map[int]map[string]bool{}
	begin := make(chan struct{})
	var group sync.WaitGroup
	for worker := range n {
		group.Go(func() {
			<-begin
			var inputs, ids []string
			var order []int
			for i := range accounts {
				account := i
				if worker%2 == 1 {
					account = accounts - 1 - i
				}
				order = append(order, account)
				inputs, ids = append(inputs, fmt.Sprintf(`{"account": %d}`, account)), append(ids, uuid.Must(uuid.NewV7()).String())
			}
			rows, err := d.pool.Query(context.Background(),
				`select n, run_id::text, existed from flowc.start($1, $2::text[]::jsonb[], $3::text[]::uuid[])`, flow, inputs, ids)
			type started struct {
				N       int
				RunID   string
				Existed bool
			}
			all, err2 := pgx.CollectRows(rows, pgx.RowToStructByPos[started])
			mu.Lock()
			defer mu.Unlock()
			if err != nil || err2 != nil {
				t.Error(err, err2)
				return
			}
			for _, s := range all {
				if !s.Existed {
					fresh++
				}
				account := order[s.N-1]
				if told[account] == nil {
					told[account] = map[string]bool{}
				}
				told[account][s.RunID] = true
			}
		})
	}
	close(begin)
	group.Wait()
	return fresh, told
}

// TestUniqueRaces: of sixteen that start with the same keys at once, one starts each, and
// all are told of it. Nobody waits for each other.
func TestUniqueRaces(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	before := value[int64](d, `select deadlocks from pg_stat_database where datname = current_database()`)
	for name, more := range map[string]string{"keep": "", "per": `, "per": 3600`, "debounce": `, "debounce": 60, "debounceMax": 600`} {
		d.unique(name, more)
		for round := range 4 {
			fresh, told := starters(t, d, name, 16, 20)
			require.Equal(t, 20, fresh, "%s in round %d", name, round)
			for account, runs := range told {
				require.Len(t, runs, 1, "runs of account %d", account)
			}
			if name == "per" {
				d.exec(`update flowc.uniques set until_at = clock_timestamp()`)
			} else {
				d.exec(`select flowc.cancel_run(run_id) from pgflow.runs where status = 'started' and flow_slug = $1`, name)
			}
		}
	}

	// Those that replace each other are all started, and all but one cancelled.
	d.unique("replace", `, "onDuplicate": "replace"`)
	fresh, _ := starters(t, d, "replace", 16, 20)
	require.Equal(t, 320, fresh)
	d.apply("replace")
	for d.apply("replace") > 0 {
	}
	require.Equal(t, "20 20", d.table(`
		select count(*), count(distinct input) from pgflow.runs join flowc.uniques using (run_id)
		where runs.flow_slug = 'replace' and status = 'started'`))
	require.Equal(t, "20", d.table(`select count(*) from pgflow.runs where flow_slug = 'replace' and status = 'started'`))
	require.Equal(t, before, value[int64](d, `select deadlocks from pg_stat_database where datname = current_database()`), "deadlocks")
}

// TestUniqueWaits: a start waits for the transaction of another with its key, and then judges
// what that has left. Reports, claims, cancellations and retries of others do not wait.
func TestUniqueWaits(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	f := d.unique("f", "")
	ctx := t.Context()
	for name, commits := range map[string]bool{"commit": true, "rollback": false} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, "", d.live())
			tx, err := d.pool.Begin(ctx)
			require.NoError(t, err)
			defer func() { _ = tx.Rollback(context.Background()) }()
			held := &db{t: t, pool: d.pool, q: tx}
			n := 10
			if commits {
				n = 20
			}
			require.Equal(t, fmt.Sprint(n), (&flow{held, "f"}).begin(n, "", `{"account": 7}`))

			type result struct {
				text string
				err  error
			}
			done := make(chan result, 1)
			go func() {
				text, err := d.try(`select right(run_id::text, 2), existed from flowc.start('f', '{"{\"account\": 7}"}', array[$1::uuid])`, id(n+1))
				done <- result{text, err}
			}()
			require.Eventually(t, func() bool {
				return d.table(`select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`) == "1"
			}, 10*time.Second, 5*time.Millisecond)
			// Another key does not wait.
			require.Equal(t, fmt.Sprint(n+2), f.begin(n+2, "", `{"account": 8}`))
			d.end(n + 2)
			// A retry with the key gives up, and is left for later.
			require.Equal(t, fmt.Sprint(n+3), f.begin(n+3, ", duplicates => 'allow'", `{"account": 7}`))
			d.end(n + 3)
			require.Equal(t, "t t -", d.table(`select known, requested, done from flowc.request($1, 'retry', '', true)`, id(n+3)))
			require.Equal(t, 0, d.apply("f"))
			select {
			case r := <-done:
				t.Fatal("it did not wait", r)
			default:
			}

			if commits {
				require.NoError(t, tx.Commit(ctx))
				r := <-done
				require.NoError(t, r.err)
				require.Equal(t, "20 t", r.text)
				require.Equal(t, 1, d.apply("f"))
				require.Equal(t, "20", d.live())
				require.Equal(t, "1", d.table(`delete from flowc.requests returning 1`))
				d.end(20)
			} else {
				require.NoError(t, tx.Rollback(ctx))
				r := <-done
				require.NoError(t, r.err)
				require.Equal(t, "11 f", r.text)
				d.end(11)
				require.Equal(t, 1, d.apply("f"))
				require.Equal(t, "13", d.live())
				d.end(13)
			}
		})
	}
}

// TestUniqueTickWaits: a caller's transaction with a start of a flow with a schedule does not
// hold up the worker that is to start its tick.
func TestUniqueTickWaits(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	d.exec(`select flowc.upsert_flow('f', $1::jsonb)`, `{"steps": [`+taskStep("work")+`], "options": {"cron": "@hourly"}, "settings": {"unique": [["run"]]}}`)
	tx, err := d.pool.Begin(t.Context())
	require.NoError(t, err)
	held := &db{t: t, pool: d.pool, q: tx}
	require.Equal(t, "01", (&flow{held, "f"}).begin(1, "", `{}`))
	d.exec(`update flowc.schedules set next_at = date_trunc('hour', clock_timestamp())`)
	require.Equal(t, "0", d.table(`select flowc.start_due('{f}')`))
	require.Equal(t, "t", d.table(`select next_at < clock_timestamp() from flowc.schedules`), "it stays due")
	require.NoError(t, tx.Rollback(t.Context()))
	require.Equal(t, "1", d.table(`select flowc.start_due('{f}')`))
}

// TestDebounceRaces: a run that is begun while others want to move it either has an input, or
// leaves it to another run. None is lost.
func TestDebounceRaces(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	d.unique("f", `, "debounce": 60, "debounceMax": 600`)
	before := value[int64](d, `select deadlocks from pg_stat_database where datname = current_database()`)
	var group sync.WaitGroup
	stop := make(chan struct{})
	group.Go(func() { // the worker, which begins them at once
		for {
			select {
			case <-stop:
				return
			default:
			}
			d.exec(`update flowc.scheduled_runs set due_at = clock_timestamp() - interval '1 second'`)
			d.exec(`select flowc.start_due('{f}')`)
		}
	})
	var starters sync.WaitGroup
	for s := range 8 {
		starters.Go(func() {
			for i := range 40 {
				d.exec(`select run_id from flowc.start('f', array[jsonb_build_object('account', $1::int, 'by', $2::int, 'n', $3::int)], null)`, i%3, s, i)
			}
		})
	}
	starters.Wait()
	close(stop)
	group.Wait()
	require.Equal(t, before, value[int64](d, `select deadlocks from pg_stat_database where datname = current_database()`), "deadlocks")
	// Of each account, what was sent last is in a run, and at most one run has not begun.
	require.Equal(t, "t", d.table(`select count(*) <= 3 from flowc.scheduled_runs`))
	require.Equal(t, "3", d.table(`select count(distinct input -> 'account') from pgflow.runs where (input -> 'n')::int between 37 and 39`))
	require.Equal(t, "0", d.table(`
		select count(*) from (select input -> 'account' from pgflow.runs join flowc.scheduled_runs using (run_id) group by 1 having count(*) > 1) o`))
}
