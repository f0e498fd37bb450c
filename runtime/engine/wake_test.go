// Notifications to idle workers, and to those who wait for a run.

package engine_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	inner "github.com/flowc-dev/flowc/runtime/internal/listen"
)

// listen gives the notifications of two channels that come until a marker does.
func listen(t *testing.T, d *db) func() []string {
	t.Helper()
	conn, err := pgx.ConnectConfig(t.Context(), d.pool.Config().ConnConfig)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close(context.Background())) })
	_, err = conn.Exec(t.Context(), `listen flowc_work; listen flowc_done; listen marker`)
	require.NoError(t, err)
	return func() []string {
		d.exec(`select pg_notify('marker', '')`)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var got []string
		for {
			n, err := conn.WaitForNotification(ctx)
			require.NoError(t, err)
			if n.Channel == "marker" {
				return got
			}
			got = append(got, n.Channel+" "+n.Payload)
		}
	}
}

// TestWake: whoever creates work notifies if a worker is idle for that flow.
func TestWake(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	got := listen(t, d)
	f := d.flow("f").step("a").step("b", after("a"))
	d.flow("g").step("a").start(`{}`)
	r := f.start(`{}`)
	require.Empty(t, got(), "nobody is idle")

	d.exec(`select flowc.enter_idle($1, '{f,h}')`, second)
	d.flow("h")
	f.start(`{}`)
	require.Equal(t, []string{"flowc_work f"}, got())
	(&flow{d, "g"}).start(`{}`)
	require.Empty(t, got(), "nobody is idle for g")
	r.complete("a", `1`)
	require.Equal(t, []string{"flowc_work f"}, got(), "a step started")
	d.exec(`select flowc.start('f', '{1}', null, start_in => '1 hour')`)
	require.Equal(t, []string{"flowc_work f"}, got(), "a worker has to set its timer")
	r.age("a", 1000)
	for _, sql := range []string{
		`select pgflow.requeue_stalled_tasks()`, `select flowc.start_due('{f}')`,
	} {
		d.exec(sql)
	}
	require.Empty(t, got(), "nothing to do, nobody to wake")

	r.begin().age("b", 1000)
	d.exec(`select pgflow.requeue_stalled_tasks()`)
	require.Equal(t, []string{"flowc_work f"}, got())
	d.exec(`select flowc.leave_idle($1)`, second)
	f.start(`{}`)
	require.Empty(t, got())
}

// TestWakeAtCommit: who is idle when an answer or a request is committed is woken, whoever was
// when it was sent.
func TestWakeAtCommit(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	got := listen(t, d)
	f := d.approval(`, "settings": {"key": ["run"]}`)
	for _, send := range []string{
		`select from flowc.signal($1, 'approve', '1')`,
		`select from flowc.request($1, 'cancel', 'why', false)`,
		`select flowc.signal_by('f', 'approve', $1::uuid::text, '1')`,
	} {
		r := f.start(`{}`)
		caller, tx := d.transaction()
		caller.exec(send, r.id)
		d.exec(`select flowc.enter_idle($1, '{f}')`, second)
		require.NoError(t, tx.Commit(context.Background()))
		require.Equal(t, []string{"flowc_work f"}, got(), send)

		caller, tx = d.transaction()
		caller.exec(send, f.start(`{}`).id)
		got()
		d.exec(`select flowc.leave_idle($1)`, second)
		require.NoError(t, tx.Commit(context.Background()))
		require.Empty(t, got(), send)
	}
}

// TestDueAfterALateCommit: what was sent long ago is due now, unless the worker has just tried.
func TestDueAfterALateCommit(t *testing.T) {
	t.Parallel()
	for table, column := range map[string]string{"signals": "pending_at", "keyed_signals": "pending_at", "requests": "requested_at", "waits": "due_at"} {
		d := newDB(t)
		r := d.approval(`, "settings": {"key": ["run"]}, "options": {"timeout": 60}`).start(`"k"`)
		d.apply("f")
		due := func(tried bool) string {
			return d.table(`select flowc.enter_idle($1, '{f}', $2) <= clock_timestamp()`, second, tried)
		}
		require.NotEqual(t, "t", due(false))
		switch table {
		case "signals":
			r.signal(`1`)
		case "keyed_signals":
			d.exec(`select flowc.signal_by('f', 'approve', 'k', '1')`)
		case "requests":
			d.exec(`select from flowc.request($1, 'cancel', 'why', false)`, r.id)
		}
		d.exec(`update flowc.` + table + ` set ` + column + ` = clock_timestamp() - interval '1 hour'`)
		require.Equal(t, "t", due(false), table)
		require.NotEqual(t, "t", due(true), table)
	}
}

// TestIdle says when the next thing is due.
func TestIdle(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		idle := func(flows ...string) string {
			return d.table(`select round(extract(epoch from flowc.enter_idle($1, $2) - clock_timestamp()))`, second, flows)
		}
		d.flow("f").step("a", startDelay(100)).start(`{}`)
		d.flow("g").step("a")
		require.Equal(t, "-", idle("g"))
		require.Equal(t, "100", idle("f", "g"))
		d.exec(`select flowc.start('g', '{1}', null, start_in => '50 s')`)
		require.Equal(t, "50", idle("f", "g"))
		require.Equal(t, "100", idle("f"))
	})
}

// TestAwaitRun: the end of a run is announced if somebody waits for it, once.
func TestAwaitRun(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	got := listen(t, d)
	f := d.flow("f", attempts(1)).step("a")
	completes, fails, cancelled, unwatched := f.start(`{}`), f.start(`{}`), f.start(`{}`), f.start(`{}`)
	for _, r := range []*run{completes, completes, fails, cancelled} {
		d.exec(`select flowc.await_run($1)`, r.id)
	}
	require.Equal(t, "3", d.table(`select count(*) from flowc.run_waiters`))
	completes.complete("a", `1`)
	fails.exhaust("a")
	unwatched.complete("a", `1`)
	d.exec(`select flowc.cancel_run($1)`, cancelled.id)
	done := func(r *run) string { return "flowc_done " + inner.DoneKey(uuid.MustParse(r.id)) }
	require.Equal(t, []string{done(completes), done(fails), done(cancelled)}, got(), "and says nothing by which it could be read")
	require.Equal(t, "0", d.table(`select count(*) from flowc.run_waiters`))
	d.exec(`select flowc.await_run($1)`, completes.id)
	d.exec(`select flowc.await_run(gen_random_uuid())`)
	require.Equal(t, "0", d.table(`select count(*) from flowc.run_waiters`), "nobody waits for what is over")
}
