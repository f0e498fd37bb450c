package runtime

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"github.com/jackc/pgx/v5"
)

// Paged, size-limited reads for dashboards and tools.

// GetRunProgress is [GetRunWithStates] without payloads: [RunInfo.Input],
// [RunInfo.Result], [RunInfo.Output] and [StepState.Output] are nil. [StepState.Attempts] is
// counted for steps with up to 100 tasks and is 0 for others. It is cheap enough
// to be called every second.
//
// Errors: [ErrInvalidRunID]; [ErrRunNotFound].
func GetRunProgress(ctx context.Context, db DB, id string) (*RunInfo, error) {
	parsed, err := parseRunID(id)
	if err != nil {
		return nil, err
	}
	info, found, err := collectOne(ctx, db, scanRun, `
		SELECT run_id::text, flow_slug, status, NULL::jsonb, NULL::jsonb, remaining_steps, scheduled_at, started_at,
		       completed_at, failed_at, cancelled_at, cancel_reason, failed_step, failed_index, error_message, states, NULL::jsonb
		FROM flowc.run_progress($1::text::uuid)`, parsed.String())
	switch {
	case err != nil:
		return nil, fmt.Errorf("flowc: reading run %s: %w", id, err)
	case !found:
		return nil, fmt.Errorf("flowc: %w: %s", ErrRunNotFound, id)
	}
	return info, nil
}

// asInt4 is the nearest number that the database's integer holds.
func asInt4(n int) int32 { return int32(max(math.MinInt32, min(n, math.MaxInt32))) }

// A PayloadKind is where in a run a payload belongs.
type PayloadKind string

// The kinds of payloads.
const (
	// RunInputPayload is what the run was started with.
	RunInputPayload PayloadKind = "run_input"
	// RunResultPayload is what the run gave, see [RunInfo.Result].
	RunResultPayload PayloadKind = "run_result"
	// RunOutputPayload is the outputs of the steps that no other waits for, see
	// [RunInfo.Output].
	RunOutputPayload PayloadKind = "run_output"
	// StepOutputPayload is what a step gave.
	StepOutputPayload PayloadKind = "step_output"
	// TaskOutputPayload is what a task gave.
	TaskOutputPayload PayloadKind = "task_output"
)

var payloadKinds = []PayloadKind{RunInputPayload, RunResultPayload, RunOutputPayload, StepOutputPayload, TaskOutputPayload}

// Payload is a value in a run.
type Payload struct {
	Kind PayloadKind
	// Step is the slug of the step whose output it is, if it is one's.
	Step string
	// Bytes is what the value takes in the table, compressed if it is long.
	Bytes int
	// JSON is the value, nil if it is longer than was asked for.
	JSON json.RawMessage
}

// PayloadFilter selects the payload that [GetPayload] returns.
type PayloadFilter struct {
	Kind PayloadKind
	// Step is the step's slug for outputs of steps and tasks.
	Step string
	// Index is that of the task for the output of one.
	Index int
	// AtMost is how many bytes the value may have as text. 0 means any number.
	AtMost int
}

// ListPayloads returns the run's input, its result, its output and the outputs of its
// steps, as far as they are there; those that take more than atMost bytes in the table,
// or more than four times as many as text, come without their value. A run that is
// not there has none.
//
// Errors: [ErrInvalidRunID].
func ListPayloads(ctx context.Context, db DB, id string, atMost int) ([]Payload, error) {
	parsed, err := parseRunID(id)
	if err != nil {
		return nil, err
	}
	scan := func(row pgx.CollectableRow) (Payload, error) {
		var p Payload
		var step *string
		err := row.Scan(&p.Kind, &step, &p.Bytes, (*[]byte)(&p.JSON))
		p.Step = orZero(step)
		return p, err
	}
	payloads, err := collect(ctx, db, scan, `SELECT kind, step_slug, bytes, payload FROM flowc.payloads($1::text::uuid, $2)`, parsed.String(), asInt4(atMost))
	if err != nil {
		return nil, fmt.Errorf("flowc: reading the payloads of run %s: %w", id, err)
	}
	return payloads, nil
}

// GetPayload returns one payload; nil if it is not there, as one of a kind that does
// not exist never is. One that is longer than [PayloadFilter.AtMost] comes without its
// value.
//
// Errors: [ErrInvalidRunID]; [ErrInvalidOption] for a step that is no text, and a
// negative AtMost.
func GetPayload(ctx context.Context, db DB, id string, filter PayloadFilter) (*Payload, error) {
	parsed, err := parseRunID(id)
	if err != nil {
		return nil, err
	}
	if err := checkText("the step", filter.Step); err != nil {
		return nil, err
	}
	if filter.AtMost < 0 {
		return nil, optionError("AtMost of a PayloadFilter is %d, it cannot be negative", filter.AtMost)
	}
	if !slices.Contains(payloadKinds, filter.Kind) {
		return nil, nil
	}
	atMost := int64(filter.AtMost)
	if atMost == 0 {
		atMost = math.MaxInt64
	}
	p := &Payload{Kind: filter.Kind}
	if filter.Kind == StepOutputPayload || filter.Kind == TaskOutputPayload {
		p.Step = filter.Step
	}
	scan := func(row pgx.CollectableRow) (*Payload, error) { return p, row.Scan(&p.Bytes, (*[]byte)(&p.JSON)) }
	found, _, err := collectOne(ctx, db, scan,
		`SELECT bytes, payload FROM flowc.payload($1::text::uuid, $2, $3, $4, $5)`, parsed.String(), filter.Kind, filter.Step, asInt4(filter.Index), atMost)
	if err != nil {
		return nil, fmt.Errorf("flowc: reading a payload of run %s: %w", id, err)
	}
	return found, nil
}

// Neighbours returns the ids of the runs of the same flow that started just
// after and just before a run; empty where there is none.
//
// Errors: [ErrInvalidRunID].
func Neighbours(ctx context.Context, db DB, id string) (newer, older string, err error) {
	parsed, err := parseRunID(id)
	if err != nil {
		return "", "", err
	}
	type pair struct{ Newer, Older *string }
	p, _, err := collectOne(ctx, db, pgx.RowToStructByPos[pair],
		`SELECT newer::text, older::text FROM flowc.adjacent_runs($1::text::uuid)`, parsed.String())
	if err != nil {
		return "", "", fmt.Errorf("flowc: looking around run %s: %w", id, err)
	}
	return orZero(p.Newer), orZero(p.Older), nil
}
