// Package eager lets a start also claim what it starts, for an idle worker of the same
// process. Start and claim are one transaction: one round trip and one flush instead of
// two, and nobody needs to be notified.
package eager

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flowc-dev/flowc/runtime/internal/perpool"
)

// A Worker is a worker for which starts can claim.
type Worker interface {
	// Idle reports whether the worker waits for work. It is called often.
	Idle() bool
	// ReserveClaim returns a claim of tasks of a flow, nil if the worker does not want one
	// after all.
	ReserveClaim(flow string) *Claim
}

// A Claim is sent with a start. It may take up to Limit, and ends when Alive does.
type Claim struct {
	SQL   string
	Args  []any
	Limit time.Duration
	Alive context.Context
	// Read reads what was claimed. Done is called once, after Read, with the error of both.
	Read func(pgx.Rows) error
	Done func(error)
}

// A registry has the workers of a pool, by flow.
type registry struct {
	mu      sync.Mutex
	workers map[string][]Worker
	any     atomic.Bool // most programs that start have none
}

// Register makes starts of flows through a pool claim for a worker until unregister is
// called.
func Register(pool *pgxpool.Pool, flows []string, w Worker) (unregister func()) {
	r := perpool.Of[registry](pool)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.workers == nil {
		r.workers = map[string][]Worker{}
	}
	for _, flow := range flows {
		r.workers[flow] = append(r.workers[flow], w)
	}
	r.any.Store(true)
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, flow := range flows {
			// The slice may be in use.
			left := slices.DeleteFunc(slices.Clone(r.workers[flow]), func(other Worker) bool { return other == w })
			if r.workers[flow] = left; len(left) == 0 {
				delete(r.workers, flow)
			}
		}
		r.any.Store(len(r.workers) > 0)
	}
}

// FindIdle returns an idle worker that serves a flow, nil if there is none.
func FindIdle(pool *pgxpool.Pool, flow string) Worker {
	r := perpool.Of[registry](pool)
	if !r.any.Load() {
		return nil
	}
	r.mu.Lock()
	all := r.workers[flow]
	r.mu.Unlock()
	for _, w := range all {
		if w.Idle() {
			return w
		}
	}
	return nil
}

// Start sends a statement that starts a run together with a claim for a worker. It
// reports whether it started the run. If it did not, which may only mean that the worker
// wants no claim, the caller starts the run by itself, and learns from that what is wrong.
func Start(ctx context.Context, pool *pgxpool.Pool, flow string, w Worker, read func(pgx.Rows) error, sql string, args ...any) bool {
	// First the connection: slots must not be reserved while waiting for one.
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return false
	}
	defer conn.Release()
	claim := w.ReserveClaim(flow)
	if claim == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, claim.Limit)
	defer cancel()
	defer context.AfterFunc(claim.Alive, cancel)()
	// Statements that are sent together are one transaction, and one round trip.
	var batch pgx.Batch
	batch.Queue(sql, args...).Query(read)
	batch.Queue(claim.SQL, claim.Args...).Query(claim.Read)
	err = conn.SendBatch(ctx, &batch).Close()
	claim.Done(err)
	return err == nil
}
