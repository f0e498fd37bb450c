//go:build unix

package chaos

import (
	"bytes"
	"context"
	"database/sql"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/devdb"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// pay is a flow whose steps commit with what they write: pay and each ship write a row, and
// a letter is started with each pay.
var pay = runtime.NewFlow[number](spec.Flow{Slug: "pay",
	BaseDelay: spec.Set(time.Duration(0)), MaxAttempts: 1000,
	Timeout: 5 * time.Second, // which is how long an attempt takes whose connection is silent
	Steps: []spec.Step{
		{Slug: "pay", Tx: spec.TxPgx},
		{Slug: "ship", Type: spec.TypeMap, Deps: []string{"pay"}, Tx: spec.TxSQL},
		{Slug: "count", Deps: []string{"ship"}},
	},
}, handler.Output[int]("count"))

const payTasks = 4 // those with a transaction

func payService(h *hands) handler.Service {
	const write = `INSERT INTO chaos.written VALUES ($1::text::uuid, $2, $3)`
	return handler.Serve(pay.Definition(), []handler.Handler{
		handler.HandleTx("pay", handler.Input[number](), func(ctx context.Context, tx pgx.Tx, in number) ([]int, error) {
			task, err := h.begin(ctx)
			if err != nil {
				return nil, err
			}
			if _, err := job.Start(ctx, tx, in); err != nil {
				return nil, err
			}
			_, err = tx.Exec(ctx, write, task.RunID, task.Step, task.Index)
			return []int{1, 2, 3}, err
		}),
		handler.HandleTx("ship", handler.Item[int](), func(ctx context.Context, tx *sql.Tx, n int) (int, error) {
			task, err := h.begin(ctx)
			if err != nil {
				return 0, err
			}
			_, err = tx.ExecContext(ctx, write, task.RunID, task.Step, task.Index)
			return n, err
		}),
		handler.Handle("count", handler.Output[[]int]("ship"), func(_ context.Context, all []int) (int, error) { return len(all), nil }),
	})
}

// unequal counts the tasks that are completed without what they wrote, or more than once,
// and what was written by tasks that are not completed.
const unequal = `
WITH written AS (SELECT run_id, step_slug, task_index, count(*) AS n FROM chaos.written GROUP BY 1, 2, 3),
     completed AS (SELECT run_id, step_slug, task_index FROM pgflow.step_tasks WHERE flow_slug = 'pay' AND step_slug <> 'count' AND status = 'completed'),
     letters AS (SELECT count(*) AS n FROM pgflow.runs WHERE flow_slug = 'job')
SELECT count(*) FILTER (WHERE w.run_id IS NULL OR c.run_id IS NULL OR w.n <> 1)
       + abs(count(*) FILTER (WHERE c.step_slug = 'pay') - (SELECT n FROM letters))
FROM written w FULL JOIN completed c USING (run_id, step_slug, task_index)`

// Workers die and lose their connections at every point of the transactions of their
// handlers, others kill them, and the server goes down. At every moment, what a handler
// wrote is there if and only if its task is completed.
func TestChaosEffects(t *testing.T) {
	r := chances(t)
	a := newArena(t, nil, "pay", "job")
	_, err := a.pool.Exec(a.ctx, `CREATE TABLE chaos.written (run_id uuid, step_slug text, task_index int)`)
	require.NoError(t, err)
	runs := scaled(2500, 80)
	f := newFleet(t, errand{URL: a.url, Flow: "pay", Concurrency: 8, Most: 5 * time.Millisecond, MaxCrashes: -1,
		Dies: scaled(1000, 300), Cuts: scaled(200, 50)}, 4)
	l := a.start(a.url, pay, runs, scaled(60*time.Second, 2*time.Second))
	deaths, looks, restarts := 0, 0, 0
	next := time.Now().Add(time.Second)
	replace := func() {
		for range 4 - len(f.running()) {
			deaths++
			f.add()
		}
		if looks%10 == 0 {
			require.Zero(t, ask[int](a, unequal), "look %d", looks)
		}
		looks++
		if !l.running() || time.Now().Before(next) {
			return
		}
		if restarts++; restarts%5 == 0 {
			require.NoError(t, a.server.Stop(devdb.Killed))
			require.Eventually(t, func() bool { return a.server.Resume(a.ctx) == nil }, patience, 500*time.Millisecond) // once all of the old one are gone
		} else if running := f.running(); len(running) > 0 {
			_ = running[r.IntN(len(running))].cmd.Process.Kill() // unless it has just killed itself
		}
		next = time.Now().Add(between(r, time.Second, 3*time.Second))
	}
	a.untilDone(l, "pay", runs, replace)
	for range 4 - len(f.running()) {
		f.add()
	}
	cuts := 0
	for _, p := range f.all {
		cuts += bytes.Count([]byte(p.log.String()), []byte(cutNote))
	}
	t.Logf("%d processes died, %d connections were cut, %d attempts repeated, %d looks", deaths, cuts, f.repeated(), looks)
	require.Equal(t, runs, ask[int](a, `SELECT count(*) FROM pgflow.runs WHERE flow_slug = 'pay' AND status = 'completed' AND output = '{"count": 3}'`))
	require.Zero(t, ask[int](a, unequal))
	require.Equal(t, runs*payTasks, ask[int](a, `SELECT count(*) FROM chaos.written`))
	require.Equal(t, runs, ask[int](a, `SELECT count(*) FROM pgflow.runs WHERE flow_slug = 'job'`))
	require.NotZero(t, deaths)
	require.NotZero(t, cuts)
}

// untilDone does something again and again until all runs of a flow have ended.
func (a *arena) untilDone(l *load, flow string, runs int, meanwhile func()) {
	a.t.Helper()
	last, done := time.Now(), -1
	for {
		meanwhile()
		now := ask[int](a, `SELECT count(*) FROM pgflow.runs WHERE flow_slug = $1 AND status <> 'started'`, flow)
		if now != done {
			last, done = time.Now(), now
		}
		if now == runs && !l.running() {
			return
		}
		require.NoError(a.t, a.ctx.Err())
		require.Less(a.t, time.Since(last), 2*patience, "%d of %d runs have ended", done, runs)
		time.Sleep(20 * time.Millisecond)
	}
}

// connect returns the pool of a worker process.
func (e errand) connect(ctx context.Context) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(e.URL)
	if err != nil {
		return nil, err
	}
	config.MaxConns = max(config.MaxConns, int32(e.Concurrency)+1)
	if e.Dies > 0 || e.Cuts > 0 {
		config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec // so that each message has its text
		dial := config.ConnConfig.DialFunc
		config.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dial(ctx, network, addr)
			return &mortal{Conn: conn, errand: e}, err
		}
	}
	return pgxpool.NewWithConfig(ctx, config)
}

// mortal is a connection with which the process dies, or that is cut, now and then.
type mortal struct {
	net.Conn
	errand errand
	waits  atomic.Bool // for the reply to a message of a transaction
	silent atomic.Bool // whether nothing is sent any more
}

const cutNote = "a connection is cut"

// fate kills the process, or cuts the connection, or does neither.
func (m *mortal) fate() (cut bool) {
	if m.errand.Dies > 0 && rand.N(m.errand.Dies) == 0 {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
	if m.errand.Cuts > 0 && rand.N(m.errand.Cuts) == 0 {
		_, _ = io.WriteString(os.Stderr, cutNote+"\n")
		if rand.N(4) == 0 {
			m.silent.Store(true) // as when a network swallows what is sent
		} else {
			_ = m.Conn.Close()
		}
		return true
	}
	return false
}

func (m *mortal) Write(p []byte) (int, error) {
	ofTransaction := false
	for _, text := range []string{"chaos.written", "flowc.complete_in_transaction", "commit\x00"} {
		ofTransaction = ofTransaction || bytes.Contains(p, []byte(text))
	}
	if ofTransaction {
		m.fate()
	}
	if m.silent.Load() {
		return len(p), nil
	}
	n, err := m.Conn.Write(p)
	if ofTransaction && err == nil {
		m.waits.Store(true)
		m.fate()
	}
	return n, err
}

func (m *mortal) Read(p []byte) (int, error) {
	for {
		n, err := m.Conn.Read(p)
		if err == nil && n > 0 && m.waits.CompareAndSwap(true, false) {
			m.fate()
		}
		if err == nil && m.silent.Load() {
			continue // what came is lost
		}
		return n, err
	}
}
