package dashboard

import (
	"context"
	"net/http"
	"time"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/ops"
)

// overdueAfter is how late a schedule may be before it is reported.
const overdueAfter = time.Minute

// A scheduleView shows the schedule of a flow.
type scheduleView struct {
	ops.ScheduleInfo
	State string
}

// States of a schedule, each with a badge of its own.
const (
	scheduleArmed   = "armed"
	schedulePaused  = "paused"
	scheduleFailing = "failing"
	scheduleOverdue = "overdue"
)

func scheduleState(s ops.ScheduleInfo) string {
	switch {
	case !s.PausedAt.IsZero():
		return schedulePaused
	case s.Error != "":
		return scheduleFailing
	case s.Overdue > overdueAfter:
		return scheduleOverdue
	}
	return scheduleArmed
}

// schedules returns those of all flows.
func (h *Handler) schedules(ctx context.Context) ([]scheduleView, error) {
	return cached(ctx, h, "schedules", func(ctx context.Context) ([]scheduleView, error) {
		schedules, err := ops.ListSchedules(ctx, h.db)
		views := []scheduleView{}
		for _, s := range schedules {
			views = append(views, scheduleView{s, scheduleState(s)})
		}
		return views, err
	})
}

// A schedulesPage lists schedules.
type schedulesPage struct {
	Schedules []scheduleView
	Hidden    int
}

func (h *Handler) listSchedules(w http.ResponseWriter, r *http.Request) error {
	schedules, err := h.schedules(r.Context())
	if err != nil {
		return err
	}
	var page schedulesPage
	page.Schedules, page.Hidden = firstRows(schedules)
	f := h.frame(r, "schedules", "Schedules", page)
	f.Refresh = true
	return h.render(w, http.StatusOK, "schedules", f)
}

// scheduleOf returns the schedule of a flow, nil if it has none.
func (h *Handler) scheduleOf(ctx context.Context, slug string) (*scheduleView, error) {
	schedules, err := h.schedules(ctx)
	for i := range schedules {
		if schedules[i].Flow == slug {
			return &schedules[i], nil
		}
	}
	return nil, err
}

// scheduleWarnings returns what is wrong with schedules.
func scheduleWarnings(schedules []scheduleView) []warning {
	var all []warning
	for _, s := range schedules {
		switch s.State {
		case scheduleFailing:
			all = append(all, warning{s.Flow, "cannot be started by its schedule: " + firstLine(s.Error), true})
		case scheduleOverdue:
			all = append(all, warning{s.Flow, "should have been started by its schedule " + took(s.Overdue) + " ago", true})
		}
	}
	return all
}

// actOnSchedule pauses, resumes or runs the schedule of a flow. run is the run that
// was started, if one was.
func (h *Handler) actOnSchedule(ctx context.Context, action Action, slug, reason string) (run string, changed bool, err error) {
	defer h.cache.clear()
	switch action {
	case ActionPauseSchedule:
		changed, err = ops.PauseSchedule(ctx, h.db, slug, reason)
	case ActionResumeSchedule:
		changed, err = ops.ResumeSchedule(ctx, h.db, slug)
	case ActionRunSchedule:
		started, err := runtime.RunSchedule(ctx, h.db, slug)
		if err != nil {
			return "", false, err
		}
		return started.ID(), true, nil
	}
	return "", changed, err
}
