package runtime

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flowc-dev/flowc/runtime/internal/perpool"
)

// Starts of one flow through one pool coalesce: those that arrive while others are in
// flight are sent together, in one statement and one commit. Most of what a single start
// costs, it then costs only once for all of them. A start that finds none in flight is
// sent at once and alone.
const (
	// maxStartsInFlight is how many statements may be in flight before starts wait.
	maxStartsInFlight = 2
	// maxBatchBytes is how much one statement carries; a longer input is sent alone.
	maxBatchBytes = 1 << 20
	// batchTimeout bounds a statement, which has no caller's context.
	batchTimeout = 30 * time.Second
)

// errSendAlone reports that a batch failed, and that each of its starts has to be sent alone
// to find out why.
var errSendAlone = errors.New("flowc: sent together with others")

// A pendingStarts holds the starts through a pool that are in flight or waiting, by flow.
type pendingStarts struct {
	mu    sync.Mutex
	flows map[startKind]*startGroup
	spare *startGroup // one to use again
}

// A startKind is what starts have in common that coalesce.
type startKind struct {
	flow       string
	priority   Priority
	mapVersion int
	exactIDs   bool
}

// A startGroup holds the starts of a kind through a pool. The mu of its pendingStarts
// guards its fields.
type startGroup struct {
	pending  *pendingStarts
	pool     *pgxpool.Pool
	kind     startKind
	inFlight int
	waiting  []waitingStart
}

type waitingStart struct {
	NewRun
	reply chan startReply
}

type startReply struct {
	started []StartedRun
	err     error
}

// coalesceStart starts the one run of a request, perhaps together with others.
func coalesceStart(ctx context.Context, pool *pgxpool.Pool, r StartRequest) ([]StartedRun, error) {
	p := perpool.Of[pendingStarts](pool)
	p.mu.Lock()
	g := p.group(pool, startKind{r.Flow, r.Priority, r.MapVersion, r.ExactIDs})
	if g.inFlight < maxStartsInFlight || len(r.Runs[0].Input) > maxBatchBytes {
		g.inFlight++
		p.mu.Unlock()
		defer g.next()
		return startAlone(ctx, pool, r)
	}
	w := waitingStart{NewRun: r.Runs[0], reply: make(chan startReply, 1)}
	g.waiting = append(g.waiting, w)
	p.mu.Unlock()

	select {
	case reply := <-w.reply:
		if reply.err == errSendAlone {
			return startAlone(ctx, pool, r)
		}
		return reply.started, reply.err
	case <-ctx.Done():
		p.mu.Lock()
		defer p.mu.Unlock()
		g.waiting = slices.DeleteFunc(g.waiting, func(other waitingStart) bool { return other.reply == w.reply })
		return nil, context.Cause(ctx)
	}
}

// group returns the group of a kind.
func (p *pendingStarts) group(pool *pgxpool.Pool, kind startKind) *startGroup {
	g := p.flows[kind]
	if g == nil {
		if g, p.spare = p.spare, nil; g == nil {
			g = new(startGroup)
		}
		*g = startGroup{pending: p, pool: pool, kind: kind}
		if p.flows == nil {
			p.flows = map[startKind]*startGroup{}
		}
		p.flows[kind] = g
	}
	return g
}

// startAlone starts one run, and claims its task for an idle worker of this process, if
// there is one.
func startAlone(ctx context.Context, pool *pgxpool.Pool, r StartRequest) ([]StartedRun, error) {
	if started, ok, err := startEagerly(ctx, pool, r); ok {
		return started, err
	}
	return sendNow(ctx, pool, r)
}

// next sends the waiting starts when a statement has ended.
func (g *startGroup) next() {
	p := g.pending
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(g.waiting) > 0 && g.inFlight <= maxStartsInFlight {
		batch := g.batch()
		go g.send(batch)
		return
	}
	if g.inFlight--; g.inFlight == 0 {
		delete(p.flows, g.kind)
		*g = startGroup{} // which must not keep the pool
		p.spare = g
	}
}

// batch removes from the queue as many requests as one statement carries.
func (g *startGroup) batch() []waitingStart {
	n, size := 0, 0
	for n < len(g.waiting) && (n == 0 || size+len(g.waiting[n].Input) <= maxBatchBytes) {
		size += len(g.waiting[n].Input)
		n++
	}
	batch := g.waiting[:n]
	g.waiting = g.waiting[n:]
	return batch
}

// send sends a batch and returns the results to its callers.
func (g *startGroup) send(batch []waitingStart) {
	defer g.next()
	ctx, cancel := context.WithTimeout(context.Background(), batchTimeout)
	defer cancel()
	all := StartRequest{Flow: g.kind.flow, Priority: g.kind.priority, MapVersion: g.kind.mapVersion, ExactIDs: g.kind.exactIDs}
	for _, w := range batch {
		all.Runs = append(all.Runs, w.NewRun)
	}
	started, err := sendNow(ctx, g.pool, all)
	for i, w := range batch {
		if err != nil {
			w.reply <- startReply{err: errSendAlone}
			continue
		}
		w.reply <- startReply{started: started[i : i+1]}
	}
}
