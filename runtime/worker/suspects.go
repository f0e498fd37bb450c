package worker

import (
	"context"
	"log/slog"
	"time"

	"github.com/flowc-dev/flowc/runtime/worker/internal/backend"
	"github.com/flowc-dev/flowc/runtime/worker/internal/dbconn"
	"github.com/flowc-dev/flowc/runtime/worker/internal/fair"
)

// isolateTime is how long the claimer waits for the tasks in flight to end before it
// claims suspects beside those that do not.
const isolateTime = 10 * time.Second

// suspects runs tasks that other workers had in flight when they died. It belongs to the
// claimer's goroutine.
type suspects struct {
	backend    backend.Backend
	log        *slog.Logger
	groups     *fair.Groups
	slots      slots
	inflight   *inflight
	dispatcher *dispatcher
	refusals   *refusals
}

// run claims suspects until ctx ends, one batch after the other, and nothing beside them:
// if the worker dies, what it had in flight narrows down the cause. Calls end with dbCtx.
func (s *suspects) run(ctx, dbCtx context.Context) {
	s.dispatcher.isolate(true)
	defer s.dispatcher.isolate(false)
	s.inflight.waitFor(ctx, s.inflight.all(), isolateTime)
	for ctx.Err() == nil {
		free := s.slots.take(cap(s.slots))
		if free == 0 {
			return // what is in flight does not end
		}
		began := time.Now()
		a := s.groups.Each(free)
		claimed, err := s.backend.ClaimSuspects(dbCtx, backend.ClaimRequest{Groups: a.Groups, Limits: a.Limits})
		if dbconn.IsRefused(err) && s.refusals.failCauses(dbCtx, a.Groups, err) {
			s.slots.release(free)
			continue
		}
		if err != nil {
			s.dispatcher.lostClaim()
		}
		s.slots.release(free - len(claimed))
		if len(claimed) == 0 {
			return
		}
		tasks, _ := s.dispatcher.accept(fair.Allocation{}, claimed, began)
		var alone time.Duration
		for _, t := range tasks {
			alone = max(alone, backend.Seconds(*t.IsolatedFor))
			s.log.LogAttrs(ctx, slog.LevelWarn, "worker died with the task in flight, running it apart from others", append(t.attrs(), slog.Int("together", len(tasks)))...)
		}
		s.dispatcher.executor.start(tasks)
		if !s.inflight.waitFor(ctx, tasks, alone) {
			return
		}
	}
}
