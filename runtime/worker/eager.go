package worker

import (
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/flowc-dev/flowc/runtime/internal/eager"
	"github.com/flowc-dev/flowc/runtime/internal/pgerr"
)

// eagerSlots is how many slots a claim takes that goes with a start. One that gets
// all it asked for wakes others, since there may be more; most starts make one task.
const eagerSlots = 2

// beEager has starts in this process claim for the worker while it rests, until stop
// is called. Such a claim wakes nobody for what it cannot take, so it is made only
// for flows that the worker does as a whole and at once.
func (s *session) beEager() (stop func()) {
	if !s.db.claimsEagerly() || s.lanes.limited() || len(s.lanes.except) > 0 {
		return func() {}
	}
	var flows []string
	for _, slug := range s.slugs {
		if !s.services[slug].delays {
			flows = append(flows, slug)
		}
	}
	return eager.Register(s.pool, flows, s)
}

// Rests reports whether the claimer is idle.
func (s *session) Rests() bool { return s.resting.Load() }

// Offer returns a claim of tasks of a flow that goes with a start, nil if there is no
// free slot or the worker stops.
func (s *session) Offer(flow string) *eager.Claim {
	if s.claimsRefused.Load() {
		return nil
	}
	a := &along{free: s.takeSlots(eagerSlots), began: time.Now()}
	if a.free == 0 {
		return nil
	}
	if !s.beginAlong() {
		s.giveSlots(a.free)
		return nil
	}
	var tasks []*task
	return &eager.Claim{
		SQL:   claimSQL,
		Args:  claimArgs(s.id, ask{deal: deal{[]string{flow}, []int32{int32(a.free)}}}, true),
		Limit: waitedCall,
		Alive: s.hard,
		Read: func(r pgx.Rows) (err error) {
			tasks, err = readClaimed(r)
			return err
		},
		// The deal is not told of it: what else there is of the flow, nobody asked.
		Done: func(err error) {
			if err != nil {
				tasks = nil
			}
			s.claimedWith(a, tasks, err == nil || !pgerr.Transient(err))
		},
	}
}
