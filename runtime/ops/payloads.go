package ops

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/internal/pgcall"
	"github.com/flowc-dev/flowc/runtime/internal/valid"
	"github.com/jackc/pgx/v5"
)

// asInt4 returns the nearest number that the database's integer holds.
func asInt4(n int) int32 { return int32(max(math.MinInt32, min(n, math.MaxInt32))) }

// A PayloadKind is what a payload is in its run.
type PayloadKind string

// The kinds of payloads.
const (
	// PayloadRunInput is the input of the run.
	PayloadRunInput PayloadKind = "run_input"
	// PayloadRunResult is the result of the run, see [runtime.RunInfo.Result].
	PayloadRunResult PayloadKind = "run_result"
	// PayloadRunOutput holds the outputs of the steps that no other waits for, see
	// [runtime.RunInfo.Output].
	PayloadRunOutput PayloadKind = "run_output"
	// PayloadStepOutput is the output of a step.
	PayloadStepOutput PayloadKind = "step_output"
	// PayloadTaskOutput is the output of a task.
	PayloadTaskOutput PayloadKind = "task_output"
)

var payloadKinds = []PayloadKind{PayloadRunInput, PayloadRunResult, PayloadRunOutput, PayloadStepOutput, PayloadTaskOutput}

// A Payload is a value in a run.
type Payload struct {
	Kind PayloadKind
	// Step is the slug of the step for the output of one.
	Step string
	// Bytes is the size of the value in the table, compressed if it is long.
	Bytes int
	// JSON is the value, nil if it is longer than the limit.
	JSON json.RawMessage
}

// PayloadFilter selects the payload that [GetPayload] returns.
type PayloadFilter struct {
	Kind PayloadKind
	// Step is the step's slug for outputs of steps and tasks.
	Step string
	// Index is the index of the task for the output of one.
	Index int
	// AtMost is the limit of the value's size as text, in bytes. 0 means no limit.
	AtMost int
}

// ListPayloads returns the run's input, its result, its output and the outputs of its steps,
// as far as they exist; those that take more than atMost bytes in the table, or more than
// four times as many as text, are returned without their value. For a run that does not
// exist, it returns none.
//
// Errors: [runtime.ErrInvalidRunID].
func ListPayloads(ctx context.Context, db runtime.DB, id string, atMost int) ([]Payload, error) {
	parsed, err := valid.RunID(id)
	if err != nil {
		return nil, err
	}
	if r, ok := backendOf[runtime.Router](db); ok {
		return route(ctx, r, id, func(db runtime.DB) ([]Payload, error) { return ListPayloads(ctx, db, id, atMost) })
	}
	if b, ok := backendOf[Inspector](db); ok {
		return b.ListPayloads(ctx, parsed.String(), atMost)
	}
	scan := func(row pgx.CollectableRow) (Payload, error) {
		var p Payload
		var step *string
		err := row.Scan(&p.Kind, &step, &p.Bytes, (*[]byte)(&p.JSON))
		p.Step = pgcall.OrZero(step)
		return p, err
	}
	payloads, err := pgcall.Engine(ctx, db, scan, `SELECT kind, step_slug, bytes, payload FROM flowc.payloads($1::text::uuid, $2)`, parsed.String(), asInt4(atMost))
	if err != nil {
		return nil, fmt.Errorf("flowc: reading the payloads of run %s: %w", id, err)
	}
	return payloads, nil
}

// GetPayload returns one payload, nil if it does not exist or its kind is unknown. One that
// is longer than [PayloadFilter.AtMost] is returned without its value.
//
// Errors: [runtime.ErrInvalidRunID]; [runtime.ErrInvalidOption] for a step that is no text, and a
// negative AtMost.
func GetPayload(ctx context.Context, db runtime.DB, id string, filter PayloadFilter) (*Payload, error) {
	parsed, err := valid.RunID(id)
	if err != nil {
		return nil, err
	}
	if err := valid.Text("the step", filter.Step); err != nil {
		return nil, err
	}
	if filter.AtMost < 0 {
		return nil, valid.Option("AtMost of a PayloadFilter is %d, it cannot be negative", filter.AtMost)
	}
	if !slices.Contains(payloadKinds, filter.Kind) {
		return nil, nil
	}
	if r, ok := backendOf[runtime.Router](db); ok {
		return route(ctx, r, id, func(db runtime.DB) (*Payload, error) { return GetPayload(ctx, db, id, filter) })
	}
	if b, ok := backendOf[Inspector](db); ok {
		return b.GetPayload(ctx, parsed.String(), filter)
	}
	atMost := int64(filter.AtMost)
	if atMost == 0 {
		atMost = math.MaxInt64
	}
	p := &Payload{Kind: filter.Kind}
	if filter.Kind == PayloadStepOutput || filter.Kind == PayloadTaskOutput {
		p.Step = filter.Step
	}
	scan := func(row pgx.CollectableRow) (*Payload, error) { return p, row.Scan(&p.Bytes, (*[]byte)(&p.JSON)) }
	found, _, err := pgcall.EngineOne(ctx, db, scan,
		`SELECT bytes, payload FROM flowc.payload($1::text::uuid, $2, $3, $4, $5)`, parsed.String(), filter.Kind, filter.Step, asInt4(filter.Index), atMost)
	if err != nil {
		return nil, fmt.Errorf("flowc: reading a payload of run %s: %w", id, err)
	}
	return found, nil
}

// AdjacentRuns returns the ids of the runs of the same flow that started just after and just
// before a run; empty if there is none.
//
// Errors: [runtime.ErrInvalidRunID].
func AdjacentRuns(ctx context.Context, db runtime.DB, id string) (newer, older string, err error) {
	parsed, err := valid.RunID(id)
	if err != nil {
		return "", "", err
	}
	if b, ok := backendOf[Lister](db); ok {
		return b.AdjacentRuns(ctx, parsed.String())
	}
	type pair struct{ Newer, Older *string }
	if b, ok := backendOf[Inspector](db); ok {
		return b.AdjacentRuns(ctx, parsed.String())
	}
	p, _, err := pgcall.EngineOne(ctx, db, pgx.RowToStructByPos[pair],
		`SELECT newer::text, older::text FROM flowc.adjacent_runs($1::text::uuid)`, parsed.String())
	if err != nil {
		return "", "", fmt.Errorf("flowc: finding the runs adjacent to run %s: %w", id, err)
	}
	return pgcall.OrZero(p.Newer), pgcall.OrZero(p.Older), nil
}
