package worker

import (
	"sync/atomic"
	"time"

	"github.com/flowc-dev/flowc/runtime/internal/attempt"
)

const (
	// reporters is how many reports may be in flight, besides one of a large result: while
	// one waits for the disk, the database can work on another. Each has runs of its own,
	// since reports of the same run would wait for each other.
	reporters = 2
	// smallConcurrency is up to how many handlers a worker has only one reporter: with few
	// results, two reports of half of them cost more than one.
	smallConcurrency = 128
	// largeBytes is from what size a result is reported by itself, so that small ones need
	// not wait while it is being sent.
	largeBytes = 1 << 20
	// maxWaitingBytes is how many bytes of results may wait to be reported before slots
	// stay taken until they have been, so that less is claimed.
	maxWaitingBytes = 64 << 20
	// waitingPerSlot is how many results for each slot may wait to be reported before slots
	// stay taken: one for each report in flight, and one that waits for its turn. With
	// fewer, claims and reports of small workers become so small that they cost more.
	// What a worker had in flight is run again if it dies, so this bounds that as well.
	waitingPerSlot = reporters + 1
)

// A result is the result of an attempt, which is to be reported.
type result struct {
	task *task
	attempt.Result
	took      time.Duration
	size      int  // its bytes when it was enqueued
	keepsSlot bool // whether the slot is freed only when it has been reported
	repeated  bool // whether it may have been reported before
	committed bool // whether the task was completed in its transaction: there is nothing to report
	// mayBeCommitted says the same of a failure: nobody knows whether the transaction was
	// committed.
	mayBeCommitted bool

	// If its run was locked, it is reported again at a time, after so long a wait.
	again time.Time
	wait  time.Duration
}

func (r *result) bytes() int { return len(r.Output) + len(r.Err) + len(r.Kept) }

// resultQueues are the results that wait to be reported.
type resultQueues struct {
	small []chan result // by run
	large chan result   // those whose report takes long
	bytes atomic.Int64  // of all
	freed atomic.Int64  // how many of them have freed their slots

	maxFreed int64
}

func newResultQueues(concurrency int) *resultQueues {
	n := reporters
	if concurrency <= smallConcurrency {
		n = 1
	}
	q := &resultQueues{small: make([]chan result, n), large: make(chan result, concurrency), maxFreed: int64(waitingPerSlot * concurrency)}
	for i := range q.small {
		q.small[i] = make(chan result, concurrency)
	}
	return q
}

// of returns the queue for a result.
func (q *resultQueues) of(r *result) chan<- result {
	if r.bytes() >= largeBytes {
		return q.large
	}
	return q.small[int(r.task.RunID[len(r.task.RunID)-1])%len(q.small)]
}

// enqueue enqueues a result.
func (q *resultQueues) enqueue(r result) {
	r.size = r.bytes()
	q.bytes.Add(int64(r.size))
	q.of(&r) <- r
}

// freeSlot reports whether a result may wait with its slot freed: unless too many do, or
// too many bytes wait.
func (q *resultQueues) freeSlot(r *result) bool {
	if q.bytes.Load()+int64(r.bytes()) > maxWaitingBytes {
		return false
	}
	if q.freed.Add(1) > q.maxFreed {
		q.freed.Add(-1)
		return false
	}
	return true
}

// reported notes that a result need no longer be kept.
func (q *resultQueues) reported(r *result) {
	q.bytes.Add(-int64(r.size))
	if !r.keepsSlot {
		q.freed.Add(-1)
	}
}
