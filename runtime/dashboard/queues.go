package dashboard

import (
	"net/http"
	"slices"
	"time"

	"github.com/flowc-dev/flowc/runtime/ops"
)

// behindAfter is how long a task may wait before its queue counts as behind.
const behindAfter = time.Minute

// A queueView is the queue of a flow.
type queueView struct {
	ops.FlowInfo
	State string
}

// States of a queue, each with a badge of its own.
const (
	queuePaused   = "paused"
	queueUnserved = "no worker"
	queueBehind   = "behind"
	queueWorking  = "working"
	queueIdle     = "idle"
)

func queueState(f ops.FlowInfo, now time.Time) string {
	switch {
	case !f.PausedAt.IsZero():
		return queuePaused
	case f.Waiting > 0 && f.Workers == 0:
		return queueUnserved
	case !f.OldestWaiting.IsZero() && now.Sub(f.OldestWaiting) > behindAfter:
		return queueBehind
	case f.Waiting+f.InFlight > 0:
		return queueWorking
	}
	return queueIdle
}

// A queuesPage lists queues.
type queuesPage struct {
	Queues []queueView
	Totals totals
	Hidden int
}

func (h *Handler) listQueues(w http.ResponseWriter, r *http.Request) error {
	flows, err := h.flows(r.Context(), ranges[0].Span)
	if err != nil {
		return err
	}
	page := queuesPage{Totals: total(flows)}
	for _, f := range flows {
		page.Queues = append(page.Queues, queueView{f, queueState(f, time.Now())})
	}
	order := []string{queueUnserved, queueBehind, queuePaused, queueWorking, queueIdle}
	slices.SortStableFunc(page.Queues, func(a, b queueView) int {
		return slices.Index(order, a.State) - slices.Index(order, b.State)
	})
	page.Queues, page.Hidden = firstRows(page.Queues)
	f := h.frame(r, "queues", "Queues", page)
	f.Refresh = true
	return h.render(w, http.StatusOK, "queues", f)
}

// A warning is something that needs attention.
type warning struct {
	Flow, Text string
	Bad        bool
}

// warnings returns what is wrong with the queues of flows.
func warnings(flows []ops.FlowInfo) []warning {
	var all []warning
	for _, f := range flows {
		tasks := plural(f.Waiting, "task waits", "tasks wait")
		switch queueState(f, time.Now()) {
		case queueUnserved:
			text := tasks + " and no worker serves it"
			if f.ReplacedBy != "" {
				text += "; " + f.ReplacedBy + " has replaced it"
			}
			all = append(all, warning{f.Slug, text, true})
		case queueBehind:
			all = append(all, warning{f.Slug, tasks + ", the oldest for " + took(time.Since(f.OldestWaiting)), false})
		case queuePaused:
			all = append(all, warning{f.Slug, "is paused, " + tasks, false})
		default:
			if f.ReplacedBy != "" && f.Running > 0 && f.Workers == 0 { // its runs wait for answers
				all = append(all, warning{f.Slug, "was replaced by " + f.ReplacedBy + ", and no worker serves its " + plural(f.Running, "unfinished run", "unfinished runs"), false})
			}
		}
	}
	return all
}
