package ops

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/internal/jsontext"
	"github.com/flowc-dev/flowc/runtime/internal/pgcall"
	"github.com/flowc-dev/flowc/runtime/internal/pgerr"
	"github.com/flowc-dev/flowc/runtime/internal/valid"
	"github.com/flowc-dev/flowc/runtime/internal/words"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// A RunFilter selects the runs that [ListRuns] returns. The zero value selects all.
type RunFilter struct {
	// Flows and Statuses limit it to runs of these flows and with these statuses; empty
	// means any.
	Flows    []string
	Statuses []runtime.RunStatus
	// StartedFrom and StartedBefore bound the time the run started at. Zero
	// means no bound.
	StartedFrom, StartedBefore time.Time
	// InputContains is JSON that the run's input has to contain, in the sense of
	// PostgreSQL's operator @>. No index serves it: bound the time as well.
	InputContains json.RawMessage
	// Marks limits it to runs that have one of these marks; empty means any.
	Marks []RunMark
	// Search limits it to runs whose id begins or ends with this text, with dashes or
	// without, or one of whose errors contains it, in any case. No index serves it.
	Search string
	// After is the last run of the previous page; nil means the first page.
	After *RunSummary
	// Limit is how many runs a page has at most, 1 to 1000. Defaults to 50.
	Limit int
}

// A RunMark says whether a run has skipped steps: a completed run may have some.
type RunMark string

// The marks of a run.
const (
	// MarkSkipped marks a run with skipped steps.
	MarkSkipped RunMark = "skipped"
	// MarkGaveUp marks a run with steps that were skipped because their last attempt failed.
	MarkGaveUp RunMark = "gave_up"
	// MarkClean marks a run that has neither.
	MarkClean RunMark = "clean"
)

// Word returns the mark as text for people.
func (m RunMark) Word() string { return strings.ReplaceAll(string(m), "_", " ") }

var runMarks = []RunMark{MarkSkipped, MarkGaveUp, MarkClean}

// A RunSummary is a run in a list, without its input and output. Times that have not come
// are zero.
type RunSummary struct {
	ID     string            `json:"id"`
	Flow   string            `json:"flow"`
	Status runtime.RunStatus `json:"status"`
	// Steps is how many steps the flow has, RemainingSteps how many of them are
	// neither completed nor skipped.
	Steps          int `json:"steps"`
	RemainingSteps int `json:"remaining_steps"`
	// GaveUp counts the steps that were skipped because their last attempt failed, Skipped
	// those that were skipped for another reason.
	Skipped   int       `json:"skipped"`
	GaveUp    int       `json:"gave_up"`
	StartedAt time.Time `json:"started_at,omitzero"`
	EndedAt   time.Time `json:"ended_at,omitzero"`
	// Priority is as in [runtime.RunInfo]: empty means normal.
	Priority runtime.Priority `json:"priority,omitempty"`
	// ScheduledAt is when a run that waits for its start will start.
	ScheduledAt time.Time `json:"scheduled_at,omitzero"`
	// Tick is the time of its schedule that a schedule started the run for.
	Tick time.Time `json:"tick,omitzero"`
	// FailedStep is the step that made the run fail, and Error its last error.
	// FailedIndex is the element that failed, if the step is a map.
	FailedStep  string `json:"failed_step,omitempty"`
	FailedIndex *int   `json:"failed_index,omitempty"`
	Error       string `json:"error,omitempty"`
	// Shard is the database that has it, if there are several.
	Shard string `json:"shard,omitempty"`
}

// Completed returns how many steps completed.
func (s RunSummary) Completed() int { return s.Steps - s.RemainingSteps - s.Skipped - s.GaveUp }

// Progress returns how many steps completed, and how many were skipped or gave up:
// "6/8, 1 skipped, 1 gave up".
func (s RunSummary) Progress() string {
	return words.Progress(s.Completed(), s.Steps, s.Skipped, s.GaveUp)
}

// Failed returns the step that made the run fail, of a map with its element: "pack[3]".
func (s RunSummary) Failed() string { return words.Element(s.FailedStep, s.FailedIndex) }

// ListRuns returns a page of runs, newest first.
//
// Errors: [runtime.ErrInvalidOption]; [runtime.ErrInvalidRunID] for that of [RunFilter.After].
func ListRuns(ctx context.Context, db runtime.DB, filter RunFilter) ([]RunSummary, error) {
	if filter.Limit == 0 {
		filter.Limit = 50
	}
	if filter.Limit < 1 || filter.Limit > 1000 {
		return nil, valid.Option("Limit of a RunFilter is %d, it must be 1 to 1000", filter.Limit)
	}
	for _, flow := range filter.Flows {
		if err := valid.Text("a flow of a RunFilter", flow); err != nil {
			return nil, err
		}
	}
	for what, t := range map[string]time.Time{"StartedFrom": filter.StartedFrom, "StartedBefore": filter.StartedBefore} {
		if err := valid.Time(what+" of a RunFilter", t); err != nil {
			return nil, err
		}
	}
	for _, status := range filter.Statuses {
		if !slices.Contains(runStatuses, status) {
			return nil, valid.Option("there is no status %q of runs, only %s", status, joined(runStatuses))
		}
	}
	for _, mark := range filter.Marks {
		if !slices.Contains(runMarks, mark) {
			return nil, valid.Option("there is no mark %q of runs, only %s", mark, joined(runMarks))
		}
	}
	if err := valid.Text("Search of a RunFilter", filter.Search); err != nil {
		return nil, err
	}
	var contains, search *string
	if filter.Search != "" {
		search = &filter.Search
	}
	if filter.InputContains != nil {
		if !json.Valid(filter.InputContains) {
			return nil, valid.Option("InputContains of a RunFilter is not JSON: %s", filter.InputContains)
		}
		if err := jsontext.Check(filter.InputContains); err != nil {
			return nil, valid.Option("InputContains of a RunFilter is nothing that an input can contain: %v", err)
		}
		contains = spec.Set(string(filter.InputContains))
	}
	var afterTime *time.Time
	var afterID *string
	if filter.After != nil {
		parsed, err := valid.RunID(filter.After.ID)
		if err != nil {
			return nil, err
		}
		afterTime, afterID = &filter.After.StartedAt, spec.Set(parsed.String())
	}
	if b, ok := backendOf[Lister](db); ok {
		return b.ListRuns(ctx, filter)
	}
	runs, err := pgcall.Engine(ctx, db, scanSummary, `
		SELECT `+summaryColumns+`
		FROM flowc.list_runs($1, $2, $3, $4, $5::text::jsonb, $6, $7::text::uuid, $8, $9, $10)`,
		pgcall.NilIfEmpty(filter.Flows), pgcall.NilIfEmpty(filter.Statuses), pgcall.NilIfZero(filter.StartedFrom), pgcall.NilIfZero(filter.StartedBefore),
		contains, afterTime, afterID, filter.Limit, pgcall.NilIfEmpty(filter.Marks), search)
	switch {
	case contains != nil && pgerr.Unstorable(err):
		return nil, valid.Option("InputContains of a RunFilter is nothing that an input can contain: %v", err)
	case err != nil:
		return nil, fmt.Errorf("flowc: listing runs: %w", err)
	}
	return runs, nil
}

var runStatuses = []runtime.RunStatus{runtime.RunScheduled, runtime.RunRunning, runtime.RunWaiting, runtime.RunCompleted, runtime.RunFailed, runtime.RunCancelled}

// joined joins the texts of a list, for people.
func joined[T ~string](list []T) string { return strings.Join(pgcall.NilIfEmpty(list), ", ") }

const summaryColumns = `run_id::text, flow_slug, status, steps, remaining_steps, skipped, gave_up, started_at, ended_at, scheduled_at, tick,
		       failed_step, failed_index, error_message, priority`

func scanSummary(row pgx.CollectableRow) (RunSummary, error) {
	var s RunSummary
	var ended, scheduled, tick *time.Time
	var step, message, priority *string
	err := row.Scan(&s.ID, &s.Flow, &s.Status, &s.Steps, &s.RemainingSteps, &s.Skipped, &s.GaveUp, &s.StartedAt, &ended, &scheduled, &tick,
		&step, &s.FailedIndex, &message, &priority)
	s.EndedAt, s.ScheduledAt, s.Tick = pgcall.OrZero(ended), pgcall.OrZero(scheduled), pgcall.OrZero(tick)
	s.Priority = runtime.Priority(pgcall.OrZero(priority))
	s.FailedStep, s.Error = pgcall.OrZero(step), pgcall.OrZero(message)
	return s, err
}

// ListFailures returns the runs that failed last, newest first, as far as they failed since
// a time. It leaves out cancelled runs. Unlike [ListRuns] with a status, it is fast however
// rare failures are.
//
// Errors: [runtime.ErrInvalidOption] unless limit is 1 to 1000 and the year of since has
// four digits.
func ListFailures(ctx context.Context, db runtime.DB, since time.Time, limit int) ([]RunSummary, error) {
	if limit < 1 || limit > 1000 {
		return nil, valid.Option("the limit of ListFailures is %d, it must be 1 to 1000", limit)
	}
	if err := valid.Time("since", since); err != nil {
		return nil, err
	}
	if b, ok := backendOf[Lister](db); ok {
		return b.ListFailures(ctx, since, limit)
	}
	runs, err := pgcall.Engine(ctx, db, scanSummary, `
		SELECT `+summaryColumns+`
		FROM flowc.recent_failures($1, $2)`, since, limit)
	if err != nil {
		return nil, fmt.Errorf("flowc: listing failures: %w", err)
	}
	return runs, nil
}
