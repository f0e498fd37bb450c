// Watermarks: when they advance, and what they save claims.

package engine_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime/engine"
	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
)

// watermark is where claims of a flow begin to look.
func (d *db) watermark(flow string) int64 {
	d.t.Helper()
	return value[int64](d, `select message_id from flowc.watermarks where flow_slug = $1`, flow)
}

func (d *db) advanceWatermarks() {
	d.t.Helper()
	d.exec(`select flowc.advance_watermarks(array(select flow_slug from pgflow.flows))`)
}

// advanceWatermarkTo advances watermarks until that of a flow has come to a message: other tests
// have transactions open, too.
func (d *db) advanceWatermarkTo(flow string, message int64) {
	d.t.Helper()
	require.Eventually(d.t, func() bool {
		d.advanceWatermarks()
		return d.watermark(flow) >= message
	}, time.Minute, time.Millisecond)
}

// TestWatermarksWaitForOpenTransactions: a run whose messages have lower numbers than
// others that are long done may be committed late.
func TestWatermarksWaitForOpenTransactions(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	f := d.flow("f").step("a")
	tx, err := d.pool.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = tx.Rollback(t.Context()) }()
	late := &db{t: t, q: tx}
	late.exec(`select flowc.start('f', array['"late"'::jsonb], null)`)
	id := value[int64](late, `select message_id from pgflow.step_tasks`)

	work := func() string {
		return d.claim("run_input", []string{"f"}, []int{9})
	}
	for range 3 {
		r := f.start(`1`)
		require.Equal(t, "1", work())
		r.completeTask("a", 0, `1`)
		d.advanceWatermarks()
	}
	require.LessOrEqual(t, d.watermark("f"), id)
	require.NoError(t, tx.Commit(t.Context()))
	d.advanceWatermarkTo("f", id)
	d.advanceWatermarks()
	require.Equal(t, id, d.watermark("f"), "it is the first now")
	require.Equal(t, `"late"`, work())

	d.exec(`select pgflow.complete_task(run_id, step_slug, 0, '1') from pgflow.step_tasks where message_id = $1`, id)
	d.advanceWatermarkTo("f", id+1)
	f.start(`2`)
	require.Equal(t, "2", work())
}

// TestWatermarksNeedATransactionOfTheirOwn: one that has written cannot tell which began
// before.
func TestWatermarksNeedATransactionOfTheirOwn(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	d.flow("f").step("a")
	tx, err := d.pool.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = tx.Rollback(t.Context()) }()
	one := &db{t: t, q: tx}
	one.exec(`select flowc.start('f', '{1}', null)`)
	one.advanceWatermarks()
	require.Equal(t, "0", one.table(`select count(*) from flowc.watermarks`))
}

// TestWatermarksStartOver: a database whose sequence was not restored gives numbers again
// that were used before.
func TestWatermarksStartOver(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	f := d.flow("f").step("a")
	for range 5 {
		f.start(`1`)
	}
	d.exec(`select flowc.claim($1::uuid, '{f}', '{9}')`, worker)
	d.exec(`select pgflow.complete_task(run_id, step_slug, 0, '1') from pgflow.step_tasks`)
	d.advanceWatermarkTo("f", 6)
	d.exec(`delete from pgflow.step_tasks`)
	d.exec(`select setval('flowc.message_ids', 1, false)`)
	f.start(`2`)
	d.advanceWatermarks()
	require.Equal(t, "2", d.claim("run_input", []string{"f"}, []int{9}))
}

// TestClaimBesideAnOldSnapshot: rows that vacuum may not remove yet do not make claims
// slow.
func TestClaimBesideAnOldSnapshot(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	s.flow("f").step("a")
	snapshot, err := s.pool.BeginTx(t.Context(), pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	require.NoError(t, err)
	defer func() { _ = snapshot.Rollback(t.Context()) }()
	require.Equal(t, "0", (&db{t: t, q: snapshot}).table(`select count(*) from pgflow.runs`))

	for range 5 {
		s.exec(`select flowc.start('f', array_fill('1'::jsonb, array[1000]), null)`)
		s.claim("f", 1000)
		s.report(`1`)
	}
	claim := func() int {
		least := 1 << 30
		for range 3 { // one may have its plan made anew
			s.exec(`select flowc.start('f', '{1}', null)`)
			least = min(least, s.claim("f", 1))
		}
		return least
	}
	before := claim()
	s.advanceWatermarkTo("f", 5001)
	after := claim()
	t.Logf("%d blocks, and %d when the watermark was advanced", before, after)
	require.Greater(t, before, 5*after)
}

// TestWatermarksWaitForStartsOnly: transactions that wrote, but made no tasks, do not
// hold them up, be they of this database or of another.
func TestWatermarksWaitForStartsOnly(t *testing.T) {
	t.Parallel()
	d, other := newDB(t), newDB(t)
	f := d.flow("f").step("a")
	d.exec(`create table notes (text text)`)
	other.flow("f").step("a")
	idle := func(pool *db, sql string) pgx.Tx {
		tx, err := pool.pool.Begin(t.Context())
		require.NoError(t, err)
		t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
		_, err = tx.Exec(t.Context(), sql)
		require.NoError(t, err)
		return tx
	}
	idle(d, `insert into notes values ('idle')`)
	idle(d, `select pgflow.create_flow('g')`)
	idle(other, `select flowc.start('f', '{1}', null)`)
	work := func() {
		for range 5 {
			f.start(`1`)
		}
		d.exec(`select flowc.claim($1::uuid, '{f}', '{9}')`, worker)
		d.exec(`select pgflow.complete_task(run_id, step_slug, 0, '1') from pgflow.step_tasks where status = 'started'`)
		for range 2 {
			d.advanceWatermarks()
		}
	}
	work()
	require.Equal(t, int64(6), d.watermark("f"))
	require.Empty(t, d.table(`select * from flowc.enqueuing_transactions()`))

	tx := idle(d, `select flowc.start('f', '{2}', null)`)
	xid := value[string](d, `select xid::text from flowc.enqueuing_transactions()`)
	work()
	work()
	require.Equal(t, int64(6), d.watermark("f"), "one that made a task does")
	require.Equal(t, xid, value[string](d, `select xid::text from flowc.enqueuing_transactions()`))
	require.NoError(t, tx.Rollback(t.Context()))
	work()
	require.Equal(t, int64(22), d.watermark("f"))
}

// TestWatermarksWaitForPreparedTransactions: these are nobody's session, and may still
// be committed.
func TestWatermarksWaitForPreparedTransactions(t *testing.T) {
	t.Parallel()
	_, url := dbtest.Server(t, map[string]string{"max_prepared_transactions": "2"})
	pool, err := pgxpool.New(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	require.NoError(t, engine.Migrate(t.Context(), pool))
	d := &db{t: t, pool: pool, q: pool}
	f := d.flow("f").step("a")
	c, err := d.pool.Acquire(t.Context())
	require.NoError(t, err)
	defer c.Release()
	for _, sql := range []string{`begin`, `select flowc.start('f', array['"late"'::jsonb], null)`, `prepare transaction 'flowc_test'`} {
		_, err := c.Exec(t.Context(), sql)
		require.NoError(t, err, sql)
	}
	for range 3 {
		r := f.start(`1`)
		require.Equal(t, "1", d.claim("run_input", []string{"f"}, []int{9}))
		r.completeTask("a", 0, `1`)
		d.advanceWatermarks()
	}
	require.LessOrEqual(t, d.watermark("f"), int64(1))
	_, err = c.Exec(t.Context(), `commit prepared 'flowc_test'`)
	require.NoError(t, err)
	require.Equal(t, `"late"`, d.claim("run_input", []string{"f"}, []int{9}))
}
