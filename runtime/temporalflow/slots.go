package temporalflow

import (
	"context"
	"sync"
	"time"

	"go.temporal.io/sdk/worker"
)

// slotWait is how long a task that a worker has taken may wait for a slot.
const slotWait = 30 * time.Second

// Slots are the limits that the handlers of a step count against, each a channel with as
// many places.
type slots []chan struct{}

// take takes a place in each of them for a task of a queue, and returns a function that
// gives them back. ok is false if ctx ends first, or if none becomes free in time.
func (s slots) take(ctx context.Context, q *queueSlots) (release func(), ok bool) {
	timer := time.NewTimer(slotWait)
	defer timer.Stop()
	for i, places := range s {
		select {
		case places <- struct{}{}:
			continue
		case <-ctx.Done():
		case <-timer.C:
		}
		s[:i].release()
		return nil, false
	}
	q.change(0, 1)
	return func() {
		s.release()
		q.change(0, -1)
	}, true
}

func (s slots) release() {
	for _, places := range s {
		<-places
	}
}

// spare is how many tasks of a queue a worker may have, or poll for, besides those whose
// handlers are running: pollers of one queue must not take the slots that another needs, as
// they would if all polled with the same slots.
const spare = 2

// A queueSlots is the SDK's view of the limits of one task queue.
type queueSlots struct {
	most int           // how many tasks may be in flight
	all  chan struct{} // the slots of the worker

	mu       sync.Mutex
	freed    chan struct{} // closed when a place becomes free
	reserved int           // polls and tasks
	running  int           // handlers
}

var _ worker.SlotSupplier = (*queueSlots)(nil)

func newQueueSlots(most int, all chan struct{}) *queueSlots {
	return &queueSlots{most: most, all: all, freed: make(chan struct{})}
}

func (q *queueSlots) reserve() (ok bool, freed <-chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.reserved >= q.most || q.reserved-q.running >= spare {
		return false, q.freed
	}
	q.reserved++
	return true, nil
}

// change changes the counts, and wakes who waits for them.
func (q *queueSlots) change(reserved, running int) {
	if q == nil {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.reserved += reserved
	q.running += running
	close(q.freed)
	q.freed = make(chan struct{})
}

// ReserveSlot waits until the worker may poll.
func (q *queueSlots) ReserveSlot(ctx context.Context, _ worker.SlotReservationInfo) (*worker.SlotPermit, error) {
	for {
		ok, freed := q.reserve()
		if ok {
			return &worker.SlotPermit{}, nil
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// TryReserveSlot reserves a slot for a task that the server gives with the answer to a
// workflow task, without a poll: one whose handler can be called at once.
func (q *queueSlots) TryReserveSlot(worker.SlotReservationInfo) *worker.SlotPermit {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.reserved >= q.most || len(q.all) == cap(q.all) {
		return nil
	}
	q.reserved++
	return &worker.SlotPermit{}
}

// MarkSlotUsed does nothing: a task that has come may have to wait for its handler.
func (q *queueSlots) MarkSlotUsed(worker.SlotMarkUsedInfo) {}

// ReleaseSlot frees the slot of a poll without a task, or of a task that has ended.
func (q *queueSlots) ReleaseSlot(worker.SlotReleaseInfo) { q.change(-1, 0) }

// MaxSlots returns how many slots there are.
func (q *queueSlots) MaxSlots() int { return q.most }

// tuner returns the SDK's tuner for a queue.
func (q *queueSlots) tuner() (worker.WorkerTuner, error) {
	others, err := worker.NewFixedSizeSlotSupplier(1000) // the SDK's default
	if err != nil {
		return nil, err
	}
	return worker.NewCompositeTuner(worker.CompositeTunerOptions{
		WorkflowSlotSupplier: others, ActivitySlotSupplier: q, LocalActivitySlotSupplier: others,
		NexusSlotSupplier: others, SessionActivitySlotSupplier: others,
	})
}

// separateQueue returns the task queue of a step that has one of its own.
func separateQueue(flow, step string) string { return flow + "/" + step }
