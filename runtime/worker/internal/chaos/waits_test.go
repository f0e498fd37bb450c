//go:build unix

package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
)

// Runs are answered, by several at once and in transactions that take their time or are
// rolled back, while their waits expire, they are cancelled and retried, and the workers that
// apply all that are killed. An answer that was accepted is that of its run, unless the server
// says that it came too late; a run that nobody answered skips its step.
func TestChaosAnswers(t *testing.T) {
	r := chances(t)
	a := newArena(t, nil, "approval")
	runs, over := scaled(3000, 160), scaled(60*time.Second, 4*time.Second)
	f := newFleet(t, errand{URL: a.url, Flow: "approval", Most: 20 * time.Millisecond}, 4)
	l := a.start(a.url, approval, runs, over)
	actors := &actors{arena: a, accepted: map[string][]int{}}
	var acting sync.WaitGroup
	for i := range 16 {
		acting.Go(func() { actors.act(rand.New(rand.NewPCG(uint64(i), r.Uint64())), l, i) })
	}
	kills := 0
	for l.running() {
		time.Sleep(between(r, scaled(500*time.Millisecond, 200*time.Millisecond), scaled(2*time.Second, 800*time.Millisecond)))
		running := f.running()
		running[r.IntN(len(running))].kill()
		kills++
		f.add()
	}
	acting.Wait()
	a.settledWhile(l, func() { // whoever was cancelled last is retried
		for _, id := range list[string](a, `SELECT run_id::text FROM pgflow.runs WHERE status = 'failed'`) {
			err := runtime.RetryRun(a.ctx, a.pool, id)
			require.True(t, err == nil || errors.Is(err, runtime.ErrWrongStatus) || errors.Is(err, runtime.ErrRequested), "%v", err)
		}
	})
	f.stop()
	a.auditTables()
	answered, late := actors.audit(runs)
	a.auditEffects(2*runs + answered)
	require.Zero(t, ask[int](a, `SELECT count(*) FROM flowc.waits`), "waits")
	require.Zero(t, ask[int](a, `SELECT count(*) FROM flowc.requests`), "requests")
	require.Zero(t, ask[int](a, `SELECT count(*) FROM flowc.signals WHERE pending_at IS NOT NULL`), "answers that were not delivered")
	t.Logf("%d kills, %d runs answered, %d answers too late, %d actions requested", kills, answered, late, actors.requested)
	require.NotZero(t, answered)
	require.NotEqual(t, runs, answered)
}

// actors answer, cancel and retry runs.
type actors struct {
	*arena
	mu        sync.Mutex
	accepted  map[string][]int // what was accepted and committed, by run
	requested int
}

// act acts upon runs as long as they are started, and a while longer.
func (a *actors) act(r *rand.Rand, l *load, actor int) {
	for until := time.Now().Add(time.Minute); time.Now().Before(until); time.Sleep(5 * time.Millisecond) {
		if !l.running() && time.Until(until) > 2*time.Second {
			until = time.Now().Add(2 * time.Second)
		}
		var id string
		err := a.pool.QueryRow(a.ctx, `
			SELECT run_id::text FROM pgflow.runs WHERE status <> 'completed' AND ('x' || substr(md5(run_id::text), 1, 2))::bit(8)::int % 3 > 0
			ORDER BY md5(run_id::text || $1::text) LIMIT 1`, fmt.Sprint(r.IntN(1000))).Scan(&id)
		if errors.Is(err, pgx.ErrNoRows) {
			continue
		}
		require.NoError(a.t, err)
		switch r.IntN(5) {
		case 0:
			a.steer(r, id)
		default:
			a.answer(r, id, 1000*actor+r.IntN(1000))
		}
	}
}

// answer answers a run, in a transaction or not.
func (a *actors) answer(r *rand.Rand, id string, answer int) {
	var db runtime.DB = a.pool
	commit := func() error { return nil }
	if r.IntN(2) == 0 {
		tx, err := a.pool.Begin(a.ctx)
		require.NoError(a.t, err)
		defer func() { _ = tx.Rollback(context.Background()) }()
		db, commit = tx, func() error {
			time.Sleep(between(r, 0, 100*time.Millisecond))
			if r.IntN(6) == 0 { // until the wait may have expired
				time.Sleep(between(r, 0, 4*time.Second))
			}
			if r.IntN(5) == 0 {
				return pgx.ErrTxCommitRollback
			}
			return tx.Commit(a.ctx)
		}
	}
	result, err := runtime.Signal(a.ctx, db, id, "approve", answer)
	if errors.Is(err, runtime.ErrNotWaiting) {
		return
	}
	require.NoError(a.t, err)
	if commit() == nil && result == runtime.Accepted {
		a.mu.Lock()
		a.accepted[id] = append(a.accepted[id], answer)
		a.mu.Unlock()
	}
}

// steer cancels a run or retries it, or both, in a transaction or not.
func (a *actors) steer(r *rand.Rand, id string) {
	within := func(do func(db runtime.DB, inTx bool) error) error { return do(a.pool, false) }
	if r.IntN(2) == 0 {
		within = func(do func(db runtime.DB, inTx bool) error) error {
			return pgx.BeginFunc(a.ctx, a.pool, func(tx pgx.Tx) error { return do(tx, true) })
		}
	}
	err := within(func(db runtime.DB, inTx bool) error {
		for range 1 + r.IntN(2) {
			act := runtime.CancelRun
			if r.IntN(2) == 0 {
				act = retry
			}
			err := act(a.ctx, db, id, "")
			switch {
			case errors.Is(err, runtime.ErrRequested), err == nil && inTx:
				a.mu.Lock()
				a.requested++
				a.mu.Unlock()
			case err != nil && !errors.Is(err, runtime.ErrWrongStatus):
				return err
			}
		}
		time.Sleep(between(r, 0, 50*time.Millisecond))
		return nil
	})
	require.NoError(a.t, err)
}

// audit compares what was accepted with what the runs have, and returns how many were
// answered, and how many answers the server says came too late.
func (a *actors) audit(runs int) (answered, late int) {
	a.t.Helper()
	log := a.serverLog()
	rows, err := a.pool.Query(a.ctx, `
SELECT r.run_id::text, r.status, (r.output ->> 'ship')::int, st.status, (st.output #>> '{}')::int
FROM pgflow.runs r JOIN pgflow.step_states st ON st.run_id = r.run_id AND st.step_slug = 'approve'`)
	require.NoError(a.t, err)
	var id, status, step string
	var shipped int
	var answer *int
	seen := 0
	_, err = pgx.ForEachRow(rows, []any{&id, &status, &shipped, &step, &answer}, func() error {
		seen++
		accepted := a.accepted[id]
		require.LessOrEqual(a.t, len(accepted), 1, "run %s accepted %v", id, accepted)
		require.Equal(a.t, "completed", status)
		if step == "completed" {
			answered++
			require.Equal(a.t, accepted, []int{*answer}, "run %s", id)
			require.Equal(a.t, *answer, shipped)
			return nil
		}
		require.Equal(a.t, "skipped", step)
		require.Equal(a.t, -1, shipped)
		if len(accepted) > 0 {
			late++
			require.Contains(a.t, strings.ReplaceAll(log, "\n", " "), "step approve of run "+id, "an answer was lost: run %s", id)
		}
		return nil
	})
	require.NoError(a.t, err)
	require.Equal(a.t, runs, seen)
	return answered, late
}
