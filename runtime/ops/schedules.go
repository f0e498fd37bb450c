package ops

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/internal/pgcall"
	"github.com/flowc-dev/flowc/runtime/internal/pgerr"
	"github.com/flowc-dev/flowc/runtime/internal/valid"
)

// A ScheduleInfo is the schedule of a flow, see [spec.Flow.Cron]. Times that have not come
// are zero.
type ScheduleInfo struct {
	Flow string `json:"flow"`
	// Cron is the expression as it was written.
	Cron      string    `json:"cron"`
	CreatedAt time.Time `json:"created_at"`
	// NextAt is when the next run is started; zero while the schedule is paused.
	NextAt time.Time `json:"next_at,omitzero"`
	// PausedAt is when it was paused, PauseReason the reason, if one was given.
	PausedAt    time.Time `json:"paused_at,omitzero"`
	PauseReason string    `json:"pause_reason,omitempty"`
	// LastAt is the last tick for which a run was started, with its run. The run's status
	// is empty if it was deleted.
	LastAt     time.Time         `json:"last_at,omitzero"`
	LastRunID  string            `json:"last_run_id,omitempty"`
	LastStatus runtime.RunStatus `json:"last_status,omitempty"`
	// Error is why no run could be started for the last tick; it is retried every minute.
	Error string `json:"error,omitempty"`
	// Overdue is how long ago NextAt was, by the database's clock. More than a few seconds
	// means that no worker serves the flow.
	Overdue time.Duration `json:"overdue"`
	// Shard is the database that starts the runs, if there are several.
	Shard string `json:"shard,omitempty"`
}

// ListSchedules returns the schedules of flows, sorted by slug; without slugs, those of all
// flows.
func ListSchedules(ctx context.Context, db runtime.DB, slugs ...string) ([]ScheduleInfo, error) {
	for _, slug := range slugs {
		if err := valid.Text("a slug", slug); err != nil {
			return nil, err
		}
	}
	if b, ok := backendOf[Scheduler](db); ok {
		return b.ListSchedules(ctx, slugs...)
	}
	schedules, err := pgcall.Engine(ctx, db, scanSchedule, `
		SELECT flow_slug, cron, created_at, next_at, paused_at, pause_reason, last_at, last_run_id::text, last_status, error_message, overdue_seconds
		FROM flowc.list_schedules($1)`, pgcall.NilIfEmpty(slugs))
	if err != nil {
		return nil, fmt.Errorf("flowc: listing schedules: %w", err)
	}
	return schedules, nil
}

func scanSchedule(row pgx.CollectableRow) (ScheduleInfo, error) {
	var s ScheduleInfo
	var next, paused, last *time.Time
	var reason, run, status, message *string
	var overdue *float64
	err := row.Scan(&s.Flow, &s.Cron, &s.CreatedAt, &next, &paused, &reason, &last, &run, &status, &message, &overdue)
	s.NextAt, s.PausedAt, s.LastAt = pgcall.OrZero(next), pgcall.OrZero(paused), pgcall.OrZero(last)
	s.PauseReason, s.LastRunID, s.LastStatus, s.Error = pgcall.OrZero(reason), pgcall.OrZero(run), runtime.RunStatus(pgcall.OrZero(status)), pgcall.OrZero(message)
	s.Overdue = time.Duration(pgcall.OrZero(overdue) * float64(time.Second))
	return s, err
}

// PauseSchedule stops a schedule from starting runs of a flow, until [ResumeSchedule];
// upserting the flow does not resume it. reason may be empty. It reports whether the
// schedule was not paused before.
//
// Errors: [runtime.ErrInvalidSlug]; [runtime.ErrInvalidOption] for a reason that is no text;
// [runtime.ErrNoSchedule].
func PauseSchedule(ctx context.Context, db runtime.DB, slug, reason string) (bool, error) {
	if err := valid.Text("the reason", reason); err != nil {
		return false, err
	}
	if err := valid.FlowSlug(slug); err != nil {
		return false, err
	}
	if b, ok := backendOf[Scheduler](db); ok {
		return b.PauseSchedule(ctx, slug, reason)
	}
	return steerSchedule(ctx, db, "pausing", slug, `SELECT flowc.pause_schedule($1, nullif($2, ''))`, reason)
}

// ResumeSchedule resumes a paused schedule at its next tick; missed ticks are not made up
// for. It reports whether the schedule was paused.
//
// Errors: [runtime.ErrInvalidSlug]; [runtime.ErrNoSchedule].
func ResumeSchedule(ctx context.Context, db runtime.DB, slug string) (bool, error) {
	if err := valid.FlowSlug(slug); err != nil {
		return false, err
	}
	if b, ok := backendOf[Scheduler](db); ok {
		return b.ResumeSchedule(ctx, slug)
	}
	return steerSchedule(ctx, db, "resuming", slug, `SELECT flowc.resume_schedule($1)`)
}

// steerSchedule calls a function that returns whether it changed something, and NULL if
// there is no such schedule. If the call was repeated because its reply was lost, the first
// one may have done it.
func steerSchedule(ctx context.Context, db runtime.DB, doing, slug, sql string, args ...any) (bool, error) {
	rows, again, err := pgcall.EngineAgain(ctx, db, pgx.RowTo[*bool], sql, append([]any{slug}, args...)...)
	switch {
	case err != nil:
		return false, fmt.Errorf("flowc: %s the schedule of flow %s: %w", doing, slug, err)
	case rows[0] == nil:
		return false, fmt.Errorf("flowc: %s the schedule of flow %s: %w", doing, slug, runtime.ErrNoSchedule)
	}
	return *rows[0] || again, nil
}

// NextTicks returns the next times at which a flow with this [spec.Flow.Cron] would be
// started, at most 1000, to show to somebody who writes one.
//
// Errors: [runtime.ErrInvalidOption] with what is wrong with the expression.
func NextTicks(ctx context.Context, db runtime.DB, cron string, n int) ([]time.Time, error) {
	if n < 1 || n > 1000 {
		return nil, valid.Option("NextTicks is asked for %d times, it must be 1 to 1000", n)
	}
	if err := valid.Text("a cron expression", cron); err != nil {
		return nil, err
	}
	if b, ok := backendOf[Scheduler](db); ok {
		return b.NextTicks(ctx, cron, n)
	}
	ticks, err := pgcall.Engine(ctx, db, pgx.RowTo[time.Time], `SELECT flowc.next_ticks($1, $2)`, cron, n)
	switch {
	case pgerr.InvalidCron(err):
		return nil, valid.Option("%s", pgerr.CronProblem(cron, err))
	case err != nil:
		return nil, fmt.Errorf("flowc: finding ticks: %w", err)
	}
	return ticks, nil
}
