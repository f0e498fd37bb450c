package runtime

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Starts of one flow through one pool that come while others are under way are
// sent together, in one statement and one commit: most of what a single start
// costs, it costs only once for all of them. A start that finds none under way
// is sent at once and alone.
const (
	// startsUnderWay is how many statements may be under way before starts wait
	// for each other.
	startsUnderWay = 2
	// togetherBytes is how much one statement carries; a longer input goes alone.
	togetherBytes = 1 << 20
	// togetherWait bounds a statement that has no caller's context.
	togetherWait = 30 * time.Second
)

// errAlone says that starts which were sent together failed, and that each has
// to be sent alone to learn why.
var errAlone = errors.New("flowc: sent together with others")

type startGroupKey struct {
	pool *pgxpool.Pool
	slug string
}

// A startGroup is the starts of a flow through a pool that are under way or wait.
type startGroup struct {
	key      startGroupKey
	underWay int
	waiting  []waitingStart
}

type waitingStart struct {
	id, input string
	chosen    bool // whether somebody else may use the id as well
	headers   *headers
	reply     chan startReply
}

type startReply struct {
	started
	err error
}

var (
	startGroupsMu sync.Mutex
	startGroups   = map[startGroupKey]*startGroup{} // those with starts under way
	spareGroup    *startGroup                       // one that has ended
)

// startTogether starts a run, perhaps together with others.
func startTogether(ctx context.Context, pool *pgxpool.Pool, slug string, w waitingStart) (started, error) {
	key := startGroupKey{pool, slug}
	startGroupsMu.Lock()
	g := startGroups[key]
	if g == nil {
		if g, spareGroup = spareGroup, nil; g == nil {
			g = new(startGroup)
		}
		g.key = key
		startGroups[key] = g
	}
	if g.underWay < startsUnderWay || len(w.input) > togetherBytes {
		g.underWay++
		startGroupsMu.Unlock()
		defer g.next()
		return startAlone(ctx, pool, slug, w)
	}
	w.reply = make(chan startReply, 1)
	g.waiting = append(g.waiting, w)
	startGroupsMu.Unlock()

	select {
	case r := <-w.reply:
		if r.err == errAlone {
			return startAlone(ctx, pool, slug, w)
		}
		return r.started, r.err
	case <-ctx.Done():
		g.withdraw(w)
		return started{}, context.Cause(ctx)
	}
}

// withdraw takes back a start that was not sent yet.
func (g *startGroup) withdraw(w waitingStart) {
	startGroupsMu.Lock()
	defer startGroupsMu.Unlock()
	g.waiting = slices.DeleteFunc(g.waiting, func(other waitingStart) bool { return other.reply == w.reply })
}

func startAlone(ctx context.Context, pool *pgxpool.Pool, slug string, w waitingStart) (started, error) {
	s := starting{flow: slug, inputs: []string{w.input}, ids: []string{w.id}, chosen: w.chosen}
	if w.headers != nil {
		s.headers = []*headers{w.headers}
	}
	if rows, ok := startEagerly(ctx, pool, s); ok {
		return rows[0], nil
	}
	rows, err := startRows(ctx, pool, s)
	if err != nil {
		return started{}, err
	}
	return rows[0], nil
}

// next follows a statement that has ended with one for those that wait.
func (g *startGroup) next() {
	startGroupsMu.Lock()
	defer startGroupsMu.Unlock()
	if len(g.waiting) > 0 && g.underWay <= startsUnderWay {
		batch := g.batch()
		go g.send(batch)
		return
	}
	if g.underWay--; g.underWay == 0 {
		delete(startGroups, g.key)
		*g = startGroup{} // which a pool must not be kept by
		spareGroup = g
	}
}

// batch takes as many of those that wait as one statement carries.
func (g *startGroup) batch() []waitingStart {
	n, size := 0, 0
	for n < len(g.waiting) && (n == 0 || size+len(g.waiting[n].input) <= togetherBytes) {
		size += len(g.waiting[n].input)
		n++
	}
	batch := g.waiting[:n]
	g.waiting = g.waiting[n:]
	return batch
}

// send starts a batch and tells everybody in it.
func (g *startGroup) send(batch []waitingStart) {
	defer g.next()
	ctx, cancel := context.WithTimeout(context.Background(), togetherWait)
	defer cancel()
	all := starting{flow: g.key.slug}
	for _, w := range batch {
		all.ids, all.inputs, all.headers = append(all.ids, w.id), append(all.inputs, w.input), append(all.headers, w.headers)
		all.chosen = all.chosen || w.chosen
	}
	rows, err := startRows(ctx, g.key.pool, all)
	for i, w := range batch {
		if err != nil {
			w.reply <- startReply{err: errAlone}
			continue
		}
		w.reply <- startReply{started: rows[i]}
	}
}
