package runtime

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/internal/pgcall"
	"github.com/flowc-dev/flowc/runtime/internal/pgerr"
)

var _ Signaller = engineBackend{}

// Signal inserts the answer. If its reply was lost and the call is repeated, it finds its own
// answer, which is [Already].
func (b engineBackend) Signal(ctx context.Context, s SignalRequest) (Signalled, error) {
	row, _, err := pgcall.EngineOne(ctx, b.db, scanSignalled, `
		SELECT outcome, status
		FROM flowc.signal($1::text::uuid, $2, $3::text::jsonb, nullif($4, ''), nullif($5, ''), nullif($6, ''))`,
		s.RunID, s.Step, orNull(s.Answer), s.Failure, s.Sender, s.Flow)
	switch {
	case pgerr.Unstorable(err):
		return "", &InputError{Flow: s.Flow, Err: err}
	case err != nil:
		return "", err
	case row.outcome == "not_waiting":
		return "", &NotWaitingError{RunID: s.RunID, Step: s.Step, Status: row.status}
	case row.outcome == "no_run" || row.outcome == "no_step":
		return "", ErrRunNotFound
	}
	return Signalled(row.outcome), nil
}

// orNull returns JSON as text, nil if there is none.
func orNull(raw json.RawMessage) *string {
	if raw == nil {
		return nil
	}
	text := string(raw)
	return &text
}

type signalledRow struct{ outcome, status string }

func scanSignalled(row pgx.CollectableRow) (s signalledRow, err error) {
	var status *string
	err = row.Scan(&s.outcome, &status)
	s.status = pgcall.OrZero(status)
	return s, err
}

func (b engineBackend) SignalBy(ctx context.Context, s KeyedSignal) (ok bool, _ error) {
	found, _, err := pgcall.EngineOne(ctx, b.db, pgx.RowTo[*bool],
		`SELECT flowc.signal_by($1, $2, $3, $4::text::jsonb, nullif($5, ''))`, s.Flow, s.Step, s.Key, string(s.Answer), s.Sender)
	switch {
	case pgerr.Unstorable(err):
		return false, &InputError{Flow: s.Flow, Err: err}
	case err != nil:
		return false, err
	case found == nil:
		return false, &FlowNotFoundError{Flow: s.Flow}
	}
	return *found, nil
}

func (b engineBackend) ListWaiting(ctx context.Context, f WaitingFilter) ([]Waiting[handler.Values], error) {
	var until *string
	var run, step *string
	if f.After != nil {
		run, step = &f.After.RunID, &f.After.Step
		text := "infinity"
		if !f.After.Until.IsZero() {
			text = f.After.Until.Format(time.RFC3339Nano)
		}
		until = &text
	}
	return pgcall.Engine(ctx, b.db, scanWaiting, `
		SELECT run_id::text, flow_slug, step_slug, since_at, until_at, key, input, outputs
		FROM flowc.list_waits($1, $2, nullif($3, ''), $4::text::timestamptz, $5::text::uuid, $6, $7, nullif($8, '')::text::uuid)`,
		pgcall.NilIfEmpty(f.Flows), pgcall.NilIfEmpty(f.Steps), f.Key, until, run, step, f.Limit, f.RunID)
}

func scanWaiting(row pgx.CollectableRow) (w Waiting[handler.Values], err error) {
	var until *time.Time
	var key *string
	err = row.Scan(&w.RunID, &w.Flow, &w.Step, &w.Since, &until, &key, (*[]byte)(&w.Input.Input), (*[]byte)(&w.Input.Outputs))
	w.Until, w.Key = pgcall.OrZero(until), pgcall.OrZero(key)
	return w, err
}
