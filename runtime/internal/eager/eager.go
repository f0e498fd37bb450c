// Package eager lets a start claim what it starts for a worker of the same process
// that has nothing to do. Both go to the database as one transaction: with one round
// trip and one flush instead of two, and nobody has to be notified.
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

// A Worker may have claims made for it.
type Worker interface {
	// Rests reports whether the worker would offer a claim. It is called often.
	Rests() bool
	// Offer is a claim of tasks of a flow, nil if the worker does not want one after all.
	Offer(flow string) *Claim
}

// A Claim goes with a start. It must not last longer than Limit, nor than Alive.
type Claim struct {
	SQL   string
	Args  []any
	Limit time.Duration
	Alive context.Context
	// Read reads what was claimed, and Done is told what became of it: once, and after Read.
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

// Register has starts of flows through a pool claim for a worker, until the function
// that it returns is called.
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

// Resting is a worker that does a flow and rests, nil if there is none.
func Resting(pool *pgxpool.Pool, flow string) Worker {
	if !inUse.Load() {
		return nil
	}
	mu.Lock()
	all := workers[key{pool, flow}]
	mu.Unlock()
	for _, w := range all {
		if w.Rests() {
			return w
		}
	}
	return nil
}

// Start sends a statement that starts a run together with a claim for a worker. It
// reports whether it started the run; if not, be it that the worker wants no claim,
// the run may still be started alone, which will tell what is wrong, if something is.
func Start(ctx context.Context, pool *pgxpool.Pool, flow string, w Worker, read func(pgx.Rows) error, sql string, args ...any) bool {
	// First the connection: nothing must be kept from a worker while we wait for that.
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return false
	}
	defer conn.Release()
	claim := w.Offer(flow)
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
