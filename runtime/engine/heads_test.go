package engine_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// head is where claims of a flow begin to look.
func (d *db) head(flow string) int64 {
	d.t.Helper()
	return value[int64](d, `select message_id from flowc.heads where flow_slug = $1`, flow)
}

func (d *db) advanceHeads() {
	d.t.Helper()
	d.exec(`select flowc.advance_heads(array(select flow_slug from pgflow.flows))`)
}

// advanceHeadTo moves heads on until that of a flow has come to a message: other tests
// have transactions open, too.
func (d *db) advanceHeadTo(flow string, message int64) {
	d.t.Helper()
	require.Eventually(d.t, func() bool {
		d.advanceHeads()
		return d.head(flow) >= message
	}, time.Minute, time.Millisecond)
}

// TestHeadsWaitForOpenTransactions: a run whose messages have lower numbers than
// others that are long done may be committed late.
func TestHeadsWaitForOpenTransactions(t *testing.T) {
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
		d.advanceHeads()
	}
	require.LessOrEqual(t, d.head("f"), id)
	require.NoError(t, tx.Commit(t.Context()))
	d.advanceHeadTo("f", id)
	d.advanceHeads()
	require.Equal(t, id, d.head("f"), "it is the first now")
	require.Equal(t, `"late"`, work())

	d.exec(`select pgflow.complete_task(run_id, step_slug, 0, '1') from pgflow.step_tasks where message_id = $1`, id)
	d.advanceHeadTo("f", id+1)
	f.start(`2`)
	require.Equal(t, "2", work())
}

// TestHeadsNeedATransactionOfTheirOwn: one that has written cannot tell which began
// before.
func TestHeadsNeedATransactionOfTheirOwn(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	d.flow("f").step("a")
	tx, err := d.pool.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = tx.Rollback(t.Context()) }()
	one := &db{t: t, q: tx}
	one.exec(`select flowc.start('f', '{1}', null)`)
	one.advanceHeads()
	require.Equal(t, "0", one.table(`select count(*) from flowc.heads`))
}

// TestHeadsStartOver: a database whose sequence was not restored gives numbers again
// that were used before.
func TestHeadsStartOver(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	f := d.flow("f").step("a")
	for range 5 {
		f.start(`1`)
	}
	d.exec(`select flowc.claim($1::uuid, '{f}', '{9}')`, worker)
	d.exec(`select pgflow.complete_task(run_id, step_slug, 0, '1') from pgflow.step_tasks`)
	d.advanceHeadTo("f", 6)
	d.exec(`delete from pgflow.step_tasks`)
	d.exec(`select setval('flowc.message_ids', 1, false)`)
	f.start(`2`)
	d.advanceHeads()
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
		s.finish(`1`)
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
	s.advanceHeadTo("f", 5001)
	after := claim()
	t.Logf("%d blocks, and %d when the head was moved on", before, after)
	require.Greater(t, before, 5*after)
}
