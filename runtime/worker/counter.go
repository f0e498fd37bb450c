package worker

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
)

// A counter is where workers of one pool meet that want the same of the database. It
// makes one call at a time, as one busy worker would; who comes meanwhile is served by
// the next, together, since a call costs much the same whatever it carries. Who comes
// alone is served at once, by a call of its own; but soon after a call for several, whose
// others mostly come just behind, it waits for them a moment.
//
// A call that takes longer than a turn does not keep the next from being made.
type counter struct {
	// call makes a call for one visit or more, and notes what it brought for each.
	call   func(ctx context.Context, visits []*visit) error
	turn   time.Duration
	gather time.Duration // the moment

	mu      sync.Mutex
	busy    bool
	waiting []*visit
	crowd   time.Time // until when others are waited for
}

// An order is what a worker wants of a call, which it says only when its turn has
// come, so that the call carries whatever has come together until then. Its functions
// must not wait for anything: they hold up everybody at the counter, and may be called
// by any goroutine.
type order struct {
	alone bool // not together with what others want
	// results adds to a report, as far as there is space, and returns how many; ok is
	// false if there are some and the first does not fit, which is then asked for again
	// in the next call.
	results func(r *report, space space) (n int, ok bool)
	// claim is for which slots tasks are claimed; nil for none. A call of many results
	// does not ask for it.
	claim func() *ask
}

// A space is what one call may still carry.
type space struct {
	results, bytes int
	first          bool // whether nothing is in it: then anything fits
}

var wholeCall = space{results: maxReports, bytes: maxReportBytes, first: true}

// An answer is what a call brought for one visit.
type answer struct {
	verdicts []verdict
	tasks    []*task
	shared   bool           // whether others had a part in the call
	dealt    deal           // if others claimed along, what all asked for
	got      map[string]int // and got, by lane
}

// A visit is one worker's part in a call.
type visit struct {
	order
	db     *engineCalls
	id     uuid.UUID
	name   string  // of the call
	limit  *limit  // how long it may take
	report *report // of the call
	count  int     // how many of its results are this worker's, behind those of the visits before
	next   *ask
	answer answer
	err    error

	state state
	ready chan struct{} // closed when the visitor need not wait any more
}

// The states of a visit, under the counter's lock.
type state int

const (
	waits  state = iota // for its turn
	called              // it is its turn, and it makes its call itself
	joined              // it is part of a call that is under way
	over                // that call has ended, or none is needed
	left                // the visitor did not wait for the end of the call
)

// serve gives a visitor what it orders, and returns when that is done or ctx ends,
// which concerns nobody else.
func (c *counter) serve(ctx context.Context, v *visit) (answer, error) {
	c.mu.Lock()
	if gather := !c.busy && time.Now().Before(c.crowd); c.busy || gather {
		v.ready = make(chan struct{})
		c.waiting = append(c.waiting, v)
		if gather {
			c.busy = true
			time.AfterFunc(c.gather, c.next)
		}
	} else {
		c.begin([]*visit{v})
	}
	c.mu.Unlock()
	if v.ready != nil {
		select {
		case <-v.ready:
		case <-ctx.Done():
			c.leave(v)
		}
	}
	switch v.state {
	case called:
		done := c.lasting()
		v.err = c.call(ctx, []*visit{v})
		done()
	case waits, left:
		return answer{}, context.Cause(ctx)
	}
	return v.answer, v.err
}

// begin takes what the first visitors in a row bring, as far as it fits into one call,
// and has that made. It returns how many that were.
func (c *counter) begin(row []*visit) (taken int) {
	var all report
	left := func() space {
		return space{results: maxReports - len(all.runs), bytes: maxReportBytes - all.bytes, first: len(all.runs) == 0}
	}
	for i, v := range row {
		if i > 0 && (v.alone || row[0].alone) {
			break
		}
		v.report = &all
		if v.results != nil {
			var ok bool
			if v.count, ok = v.results(&all, left()); !ok {
				break
			}
		}
		taken++
	}
	var visits []*visit
	for _, v := range row[:taken] {
		if v.claim != nil && len(all.runs) <= claimAlong {
			v.next = v.claim()
		}
		if v.count > 0 || v.next != nil {
			visits = append(visits, v)
			continue
		}
		v.end()
	}
	switch c.busy = len(visits) > 0; len(visits) {
	case 0:
	case 1:
		visits[0].state = called
		visits[0].wake()
	default:
		for _, v := range visits {
			v.state = joined
		}
		go c.together(visits)
	}
	return taken
}

// next makes the next call, if somebody waits for it.
func (c *counter) next() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.busy = false; !c.busy && len(c.waiting) > 0; {
		c.waiting = slices.Delete(c.waiting, 0, c.begin(c.waiting))
	}
}

// lasting begins a turn, which lasts until done is called, unless that is too long.
func (c *counter) lasting() (done func()) {
	var once sync.Once
	next := func() { once.Do(c.next) }
	timer := time.AfterFunc(c.turn, next)
	return func() {
		timer.Stop()
		next()
	}
}

// together makes a call for several. Its context is nobody's, so that nobody can end
// it for the others; what it brings for those who left is given back.
func (c *counter) together(visits []*visit) {
	done := c.lasting()
	err := c.call(context.Background(), visits)
	done()
	var orphans []*visit
	c.mu.Lock()
	c.crowd = time.Now().Add(5 * c.gather)
	for _, v := range visits {
		if v.state == left {
			orphans = append(orphans, v)
			continue
		}
		v.answer.shared, v.err = true, err
		v.end()
	}
	c.mu.Unlock()
	for _, v := range orphans {
		v.giveBack()
	}
}

// leave is for a visitor that waits no more. If its turn has come already, it has to
// use it; if not, it gets to know what it would have brought.
func (c *counter) leave(v *visit) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch v.state {
	case waits:
		c.waiting = slices.DeleteFunc(c.waiting, func(other *visit) bool { return other == v })
		if v.results != nil {
			v.results(&report{}, wholeCall)
		}
	case joined:
		v.state = left
	}
}

func (v *visit) end() {
	v.state = over
	v.wake()
}

func (v *visit) wake() {
	if v.ready != nil {
		close(v.ready)
	}
}

// giveBack gives back what was claimed for a visitor that has left.
func (v *visit) giveBack() {
	if len(v.answer.tasks) > 0 {
		_ = v.db.release(context.Background(), v.id, v.answer.tasks) // else they come back when their leases end
	}
}
