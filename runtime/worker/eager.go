package worker

import (
	"context"

	"github.com/flowc-dev/flowc/runtime/internal/eager"
	"github.com/flowc-dev/flowc/runtime/internal/pgerr"
	"github.com/flowc-dev/flowc/runtime/worker/internal/backend"
)

// eagerSlots is how many slots a claim takes that goes with a start. Most starts make one
// task; a claim that gets all it asked for notifies others, since there may be more.
const eagerSlots = 2

// eagerStarts has starts in this process claim for the worker while it is idle.
type eagerStarts struct {
	dbCtx      context.Context
	backend    backend.Backend
	claimer    *claimer
	dispatcher *dispatcher
	refusals   *refusals
}

var _ eager.Worker = (*eagerStarts)(nil)

// register has starts claim until stop is called. Such a claim notifies nobody of what it
// cannot take, so it is made only for flows of which the worker runs every step at once.
func (e *eagerStarts) register() (stop func()) {
	s := e.dispatcher.settings
	if !e.backend.SupportsEagerClaims() || s.groups.Limited() || len(s.groups.Except()) > 0 {
		return func() {}
	}
	var flows []string
	for _, slug := range s.slugs {
		if !s.services[slug].delays {
			flows = append(flows, slug)
		}
	}
	return eager.Register(s.pool, flows, e)
}

// Idle reports whether the worker has found no work. It may be looking again, which takes a
// while for thousands of flows.
func (e *eagerStarts) Idle() bool { return e.claimer.idle.Load() }

// ReserveClaim returns a claim of tasks of a flow that goes with a start, nil if there is
// no free slot or the worker stops.
func (e *eagerStarts) ReserveClaim(flow string) *eager.Claim {
	if e.refusals.unexplained() {
		return nil
	}
	c := e.dispatcher.reserve(eagerSlots)
	if c == nil {
		return nil
	}
	// The scheduler is not told of it: this claim says nothing about the flow's backlog.
	c.Groups, c.Limits = []string{flow}, []int32{int32(c.free)}
	return e.backend.EagerClaim(e.dbCtx, c.ClaimRequest, func(claimed []*backend.Claimed, err error) {
		e.dispatcher.finish(c, claimed, err == nil || !pgerr.Transient(err))
	})
}
