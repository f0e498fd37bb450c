package gen

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/flowtest"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/testdata/golden/effects"
	"github.com/flowc-dev/flowc/testdata/golden/effects/book"
	closejob "github.com/flowc-dev/flowc/testdata/golden/effects/close"
)

// bookkeeper writes a note for each of its steps; its first charge is a failure.
type bookkeeper struct{}

const note = `INSERT INTO notes (note) VALUES ($1)`

func (bookkeeper) Charge(ctx context.Context, tx pgx.Tx, in effects.Order) (effects.Receipt, error) {
	if _, err := tx.Exec(ctx, note, "charge"); err != nil {
		return effects.Receipt{}, err
	}
	if task, _ := handler.TaskFromContext(ctx); task.Attempt == 1 {
		return effects.Receipt{}, errors.New("not yet")
	}
	_, err := closejob.EnqueueClose(ctx, tx, in)
	return effects.Receipt{Number: "x"}, err
}

func (bookkeeper) Lines(ctx context.Context, tx *sql.Tx, in effects.Order) ([]effects.Line, error) {
	_, err := tx.ExecContext(ctx, note, "lines")
	return in.Lines, err
}

func (bookkeeper) Count(ctx context.Context, tx *sql.Tx, item effects.Line) error {
	_, err := tx.ExecContext(ctx, note, item.SKU)
	return err
}

func (bookkeeper) Mark(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, note, "mark")
	return err
}

func (bookkeeper) Stamp(ctx context.Context, tx *sql.Tx) (string, error) {
	_, err := tx.ExecContext(ctx, note, "stamp")
	return "stamped", err
}

func (bookkeeper) Tell(context.Context, effects.Receipt) error { return nil }

// TestEffects runs generated steps that commit with what their handlers write, also one
// that was enqueued there.
func TestEffects(t *testing.T) {
	t.Parallel()
	services := []handler.Service{
		book.Serve(bookkeeper{}, handler.NoDelays()),
		closejob.Serve(func(ctx context.Context, tx pgx.Tx, in effects.Order) error {
			_, err := tx.Exec(ctx, note, "close")
			return err
		}),
	}
	pool := flowtest.Database(t, services...)
	_, err := pool.Exec(t.Context(), `CREATE TABLE notes (note text)`)
	require.NoError(t, err)
	receipt, err := book.StartBookSync(t.Context(), pool, effects.Order{Lines: []effects.Line{{SKU: "a"}, {SKU: "b"}}})
	require.NoError(t, err)
	require.Equal(t, effects.Receipt{Number: "x"}, receipt)
	var closed string
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT run_id::text FROM pgflow.runs WHERE flow_slug = 'close'`).Scan(&closed))
	run, err := closejob.GetClose(t.Context(), pool, closed)
	require.NoError(t, err)
	_, err = run.Wait(t.Context())
	require.NoError(t, err)
	rows, err := pool.Query(t.Context(), `SELECT note FROM notes`)
	require.NoError(t, err)
	notes, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"charge", "lines", "a", "b", "mark", "stamp", "close"}, notes)

	require.PanicsWithError(t, `flowc: flowtest: step charge of flow book commits with its effects (tx:"pgx"), `+
		runtime.ErrNeedsEngine.Error()+`: use flowtest.Database`, func() { flowtest.Inline(services...) })
}
