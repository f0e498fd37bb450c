package worker

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/flowc-dev/flowc/runtime/worker/internal/backend"
	"github.com/flowc-dev/flowc/runtime/worker/internal/dbconn"
	"github.com/flowc-dev/flowc/runtime/worker/internal/fair"
)

// searchEvery is how long the task that causes a refusal is not looked for again when it
// was not found.
const searchEvery = 10 * time.Second

// refusals deals with claims that the database refuses because of a task's data. It
// belongs to the claimer's goroutine, but for unexplained.
type refusals struct {
	backend backend.Backend
	log     *slog.Logger

	active   atomic.Bool // whether claims are refused, and nobody knows which task is the cause
	searched time.Time   // when the cause was last looked for and not found
}

// unexplained reports whether claims are refused for an unknown reason.
func (r *refusals) unexplained() bool { return r.active.Load() }

// resolved notes that a claim was not refused.
func (r *refusals) resolved() { r.active.Store(false) }

// failCauses fails the tasks for which the database refuses a claim of groups, and reports
// whether it found any.
func (r *refusals) failCauses(ctx context.Context, groups []string, refused error) bool {
	if time.Since(r.searched) < searchEvery {
		return false
	}
	failed, err := r.backend.FailUnclaimable(ctx, groups)
	if len(failed) == 0 {
		r.searched = time.Now()
		r.log.Error("the database refuses a claim, but no task was found to be the cause; claiming each flow by itself",
			"flows", groups, "error", refused.Error(), "search_error", err)
	}
	for _, f := range failed {
		r.log.LogAttrs(ctx, slog.LevelError, "task cannot be claimed, failed it", slog.String("flow", f.Flow),
			slog.String("run_id", f.RunID), slog.String("step", f.Step), slog.Int("index", f.Index), slog.String("error", f.Err))
	}
	return len(failed) > 0
}

// retry repeats a claim that the database refused: without the tasks that are the cause,
// which fail, or, if they cannot be found, of each group by itself, so that only those
// wait that cannot be claimed.
func (r *refusals) retry(ctx context.Context, a fair.Allocation, refused error) (tasks []*backend.Claimed, err error) {
	if r.failCauses(ctx, a.Groups, refused) {
		tasks, refused = r.backend.Claim(ctx, backend.ClaimRequest{Groups: a.Groups, Limits: a.Limits})
		if !dbconn.IsRefused(refused) {
			return tasks, refused
		}
	}
	r.active.Store(true)
	err = refused
	for i := range a.Groups {
		some, refused := r.backend.Claim(ctx, backend.ClaimRequest{Groups: a.Groups[i : i+1], Limits: a.Limits[i : i+1]})
		switch {
		case refused == nil:
			tasks, err = append(tasks, some...), nil
		case !dbconn.IsRefused(refused):
			return tasks, refused
		}
	}
	return tasks, err
}
