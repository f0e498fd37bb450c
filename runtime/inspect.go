package runtime

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// What is here reads runs in portions, whatever the size of their payloads and
// the number of their tasks. It is for those who look at runs rather than use
// what they give.

// GetRunProgress is [GetRunWithStates] without payloads: [RunInfo.Input],
// [RunInfo.Output] and [StepState.Output] are nil. [StepState.Attempts] is
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
		       completed_at, failed_at, cancelled_at, cancel_reason, failed_step, error_message, states
		FROM flowc.run_progress($1::text::uuid)`, parsed.String())
	switch {
	case err != nil:
		return nil, fmt.Errorf("flowc: reading run %s: %w", id, err)
	case !found:
		return nil, fmt.Errorf("flowc: %w: %s", ErrRunNotFound, id)
	}
	return info, nil
}

// TaskFilter says which tasks of a run [FindTasks] returns.
type TaskFilter struct {
	// Step limits it to the tasks of one step. Empty means those of all.
	Step string
	// Statuses are the statuses that the tasks may have. Empty means any.
	Statuses []TaskStatus
	// After leaves out tasks up to this index; nil means none.
	After *int
	// PerStep is how many tasks of each step there are at most, 1 to 1000.
	// Defaults to 50.
	PerStep int
	// OutputBytes is how many bytes of the table an output may take; longer ones
	// are left out. 0 leaves all out.
	OutputBytes int
}

// FoundTask is a task with the size of its output.
type FoundTask struct {
	TaskInfo
	// OutputBytes is what the output takes in the table, compressed if it is
	// long; 0 if there is none.
	OutputBytes int
}

// FindTasks returns some of the tasks of a run in the order of the steps, then of
// the elements. A run that is not there has none.
//
// Errors: [ErrInvalidRunID]; [ErrInvalidOption].
func FindTasks(ctx context.Context, db DB, id string, filter TaskFilter) ([]FoundTask, error) {
	parsed, err := parseRunID(id)
	if err != nil {
		return nil, err
	}
	if filter.PerStep == 0 {
		filter.PerStep = 50
	}
	if filter.PerStep < 1 || filter.PerStep > 1000 {
		return nil, optionError("PerStep of a TaskFilter is %d, it must be 1 to 1000", filter.PerStep)
	}
	if err := checkText("Step of a TaskFilter", filter.Step); err != nil {
		return nil, err
	}
	for _, status := range filter.Statuses {
		if !slices.Contains(taskStatuses, status) {
			return nil, optionError("there is no status %q of tasks", status)
		}
	}
	var step *string
	if filter.Step != "" {
		step = &filter.Step
	}
	after := filter.After
	if after != nil {
		after = Set(int(asInt4(*after)))
	}
	scan := func(row pgx.CollectableRow) (FoundTask, error) {
		var found FoundTask
		task, err := scanTask(withLast{row, &found.OutputBytes})
		found.TaskInfo = task
		return found, err
	}
	tasks, err := collect(ctx, db, scan, `
		SELECT step_slug, task_index, status, attempts, error_message, queued_at, started_at, completed_at, failed_at,
		       worker_id::text, visible_at, output, failed_tries, bytes
		FROM flowc.find_tasks($1::text::uuid, $2, $3, $4, $5, $6)`,
		parsed.String(), step, nilIfEmpty(filter.Statuses), after, filter.PerStep, asInt4(filter.OutputBytes))
	if err != nil {
		return nil, fmt.Errorf("flowc: finding tasks of run %s: %w", id, err)
	}
	return tasks, nil
}

// asInt4 is the nearest number that the database's integer holds.
func asInt4(n int) int32 { return int32(max(math.MinInt32, min(n, math.MaxInt32))) }

// withLast is a row whose last column goes to a place of its own.
type withLast struct {
	pgx.CollectableRow
	last any
}

func (r withLast) Scan(dest ...any) error { return r.CollectableRow.Scan(append(dest, r.last)...) }

// A PayloadKind says what in a run a payload is.
type PayloadKind string

// The kinds of payloads.
const (
	// RunInputPayload is what the run was started with.
	RunInputPayload PayloadKind = "run_input"
	// RunOutputPayload is what the run gave.
	RunOutputPayload PayloadKind = "run_output"
	// StepOutputPayload is what a step gave.
	StepOutputPayload PayloadKind = "step_output"
	// TaskOutputPayload is what a task gave.
	TaskOutputPayload PayloadKind = "task_output"
)

var payloadKinds = []PayloadKind{RunInputPayload, RunOutputPayload, StepOutputPayload, TaskOutputPayload}

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

// ListPayloads returns the run's input, its output and the outputs of its steps,
// as far as they are there; those that take more than atMost bytes in the table
// come without their value. A run that is not there has none.
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

// GetPayload returns one payload, however long it is; nil if it is not there, as one
// of a kind that does not exist never is.
// step is the step's slug for outputs of steps and tasks, index that of the task.
//
// Errors: [ErrInvalidRunID]; [ErrInvalidOption] for a step that is no text.
func GetPayload(ctx context.Context, db DB, id string, kind PayloadKind, step string, index int) (json.RawMessage, error) {
	parsed, err := parseRunID(id)
	if err != nil {
		return nil, err
	}
	if err := checkText("the step", step); err != nil {
		return nil, err
	}
	if !slices.Contains(payloadKinds, kind) {
		return nil, nil
	}
	payload, _, err := collectOne(ctx, db, pgx.RowTo[[]byte],
		`SELECT flowc.payload($1::text::uuid, $2, $3, $4)`, parsed.String(), kind, step, asInt4(index))
	if err != nil {
		return nil, fmt.Errorf("flowc: reading a payload of run %s: %w", id, err)
	}
	return payload, nil
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
		`SELECT newer::text, older::text FROM flowc.neighbours($1::text::uuid)`, parsed.String())
	if err != nil {
		return "", "", fmt.Errorf("flowc: looking around run %s: %w", id, err)
	}
	return orZero(p.Newer), orZero(p.Older), nil
}

// ListFailures returns the runs that failed last, newest first, as far as they
// failed after a time. Cancelled runs are not among them. Unlike [ListRuns] with
// a status, it is quick however rare failures are.
//
// Errors: [ErrInvalidOption] unless limit is 1 to 1000, and since in a year with four
// digits.
func ListFailures(ctx context.Context, db DB, since time.Time, limit int) ([]RunSummary, error) {
	if limit < 1 || limit > 1000 {
		return nil, optionError("the limit of ListFailures is %d, it must be 1 to 1000", limit)
	}
	if err := checkTime("since", since); err != nil {
		return nil, err
	}
	runs, err := collect(ctx, db, scanSummary, `
		SELECT run_id::text, flow_slug, status, steps, remaining_steps, started_at, ended_at, scheduled_at, failed_step, error_message
		FROM flowc.recent_failures($1, $2)`, since, limit)
	if err != nil {
		return nil, fmt.Errorf("flowc: listing failures: %w", err)
	}
	return runs, nil
}

// GetDefinition reads a flow's definition from the database.
//
// Errors: [ErrFlowNotFound].
func GetDefinition(ctx context.Context, db DB, slug string) (Definition, error) {
	if checkFlowSlug(slug) != nil {
		return Definition{}, &FlowNotFoundError{Flow: slug} // for it cannot be there
	}
	doc, _, err := collectOne(ctx, db, pgx.RowTo[[]byte], `SELECT flowc.get_definition($1)`, slug)
	if err != nil {
		return Definition{}, fmt.Errorf("flowc: reading flow %s: %w", slug, err)
	}
	if doc == nil {
		return Definition{}, &FlowNotFoundError{Flow: slug}
	}
	return ParseDefinition(slug, doc)
}

// ParseDefinition reads the document that [Definition.Payload] makes, and
// [FlowInfo] has.
func ParseDefinition(slug string, payload []byte) (Definition, error) {
	var doc shape
	if err := json.Unmarshal(payload, &doc); err != nil {
		return Definition{}, fmt.Errorf("flowc: the definition of flow %s: %w", slug, err)
	}
	d := Definition{Slug: slug, FlowOptions: FlowOptions{
		MaxAttempts: doc.Options.MaxAttempts,
		BaseDelay:   duration(doc.Options.BaseDelay),
		Timeout:     duration(doc.Options.Timeout),
		Cron:        doc.Options.Cron,
	}}
	for _, s := range doc.Steps {
		if !s.If.Defined && !s.IfNot.Defined {
			s.WhenUnmet = "" // which a definition may not say then
		}
		d.Steps = append(d.Steps, StepOptions{
			Slug: s.Slug, Type: s.Type, Deps: s.Deps,
			MaxAttempts: s.Options.MaxAttempts, BaseDelay: duration(s.Options.BaseDelay),
			Timeout: duration(s.Options.Timeout), StartDelay: duration(s.Options.StartDelay),
			If: s.If.Value, IfNot: s.IfNot.Value, WhenUnmet: s.WhenUnmet, WhenExhausted: s.WhenExhausted,
		})
	}
	return d, nil
}

func duration(seconds *int) *time.Duration {
	if seconds == nil {
		return nil
	}
	return Set(time.Duration(*seconds) * time.Second)
}
