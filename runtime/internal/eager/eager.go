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

type key struct {
	pool *pgxpool.Pool
	flow string
}

var (
	mu      sync.Mutex
	workers = map[key][]Worker{}
	inUse   atomic.Bool // whether there are workers: most programs that start have none
)

// Register has starts of flows through a pool claim for a worker until unregister is
// called.
func Register(pool *pgxpool.Pool, flows []string, w Worker) (unregister func()) {
	mu.Lock()
	defer mu.Unlock()
	for _, flow := range flows {
		workers[key{pool, flow}] = append(workers[key{pool, flow}], w)
	}
	inUse.Store(true)
	return func() {
		mu.Lock()
		defer mu.Unlock()
		for _, flow := range flows {
			k := key{pool, flow}
			// The slice may be in use.
			left := slices.DeleteFunc(slices.Clone(workers[k]), func(other Worker) bool { return other == w })
			if workers[k] = left; len(left) == 0 {
				delete(workers, k)
			}
		}
		inUse.Store(len(workers) > 0)
	}
}

// FindIdle returns an idle worker that serves a flow, nil if there is none.
func FindIdle(pool *pgxpool.Pool, flow string) Worker {
	if !inUse.Load() {
		return nil
	}
	mu.Lock()
	all := workers[key{pool, flow}]
	mu.Unlock()
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
