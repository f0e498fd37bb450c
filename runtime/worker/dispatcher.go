package worker

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/worker/internal/backend"
	"github.com/flowc-dev/flowc/runtime/worker/internal/fair"
)

const (
	// piggybackResults is how many results a report may have to carry a claim. For few
	// tasks, a transaction and a round trip cost much; for many, it matters more that
	// reports and claims do not wait for each other.
	piggybackResults = 100
	// piggybackBytes is how large such a report may be: the claim waits until all of it
	// has been sent.
	piggybackBytes = 1 << 20
)

// releaseLostAfter are the times after a claim whose reply was lost at which its tasks are
// released: the database may have gone on with it, mostly for a moment, seldom for longer.
var releaseLostAfter = []time.Duration{0, 250 * time.Millisecond, 10 * time.Second}

// A dispatcher accepts claimed tasks, whether the claimer claimed them or a report or a
// start that carried a claim, and starts them.
type dispatcher struct {
	ctx      context.Context // of all attempts
	settings *settings
	recorder *recorder
	slots    slots
	signals  *signals
	inflight *inflight
	executor *executor
	refusals *refusals
	// piggybacks reports whether reports carry claims.
	piggybacks bool
	// keeps reports whether handlers can keep values for the next attempts.
	keeps bool

	mu        sync.Mutex
	scheduler *fair.Scheduler
	releases  []time.Time // when to release what lost claims may have taken
	carried   int         // claims in flight that reports and starts carry
	closed    bool        // whether the worker stops: no handler is started any more
	isolated  bool        // whether suspects run, and nothing else is claimed
}

// allocate allocates free slots to claim groups.
func (d *dispatcher) allocate(free int) fair.Allocation {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.scheduler.Allocate(free, d.settings.groups.Capacity())
}

// drained reports whether everything there was has been claimed.
func (d *dispatcher) drained() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.scheduler.Drained(d.settings.groups.Capacity())
}

// expect notes that flows may have work.
func (d *dispatcher) expect(flows ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.scheduler.Expect(flows...)
}

// expectAll notes that all flows may have work.
func (d *dispatcher) expectAll() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.scheduler.ExpectAll()
}

// accept makes claimed tasks tasks in flight. began is when the claim began, and a what it
// asked for. partial is whether it came short without having looked at the whole queue.
func (d *dispatcher) accept(a fair.Allocation, claimed []*backend.Claimed, began time.Time) (tasks []*task, partial bool) {
	d.recorder.counters.claimed.Add(int64(len(claimed)))
	tasks = make([]*task, len(claimed))
	perGroup := map[string]fair.Claimed{}
	var lag time.Duration
	for i, c := range claimed {
		// The lease began after the claim did, so the deadline is never after its end.
		t := newTask(d.ctx, c, d.settings.services[c.Flow].steps[c.Step], began.Add(time.Duration(c.Timeout)*time.Second))
		tasks[i] = t
		if !d.keeps {
			t.ctx.Carried().Begin(nil, errKeepNeedsEngine)
		}
		d.inflight.add(t)
		d.settings.groups.Begin(c.Flow, c.Step)
		waited := c.WaitedFor()
		lag = max(lag, waited)
		d.recorder.metrics.AttemptBegan(t.info(), waited)
		group := d.settings.groups.Of(c.Flow, c.Step)
		of, some := perGroup[group]
		if !some || c.MessageID < of.First {
			of.First = c.MessageID
		}
		of.Count++
		perGroup[group] = of
	}
	d.recorder.lag.Store(int64(lag))
	d.mu.Lock()
	defer d.mu.Unlock()
	return tasks, d.scheduler.Record(a, perGroup)
}

// errKeepNeedsEngine is what [handler.Keep] returns where pgflow stands alone.
var errKeepNeedsEngine = handler.Permanent(errors.New("flowc: Keep needs flowc's engine: the database has pgflow alone"))

// lostClaim notes that the reply to a claim was lost.
func (d *dispatcher) lostClaim() {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	d.releases = nil
	for _, after := range releaseLostAfter {
		d.releases = append(d.releases, now.Add(after))
	}
}

// mustReleaseLost reports whether it is time to release what lost claims took. It is not
// while a claim is in flight, which may have taken what is not accepted yet.
func (d *dispatcher) mustReleaseLost() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.releaseDue() && d.carried == 0
}

func (d *dispatcher) releaseDue() bool {
	return len(d.releases) > 0 && !time.Now().Before(d.releases[0])
}

// releasedLost notes that what lost claims took was released.
func (d *dispatcher) releasedLost() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.releases = d.releases[1:]
}

// isolate has only the claimer claim, or ends that.
func (d *dispatcher) isolate(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.isolated = on
}

// close has no more handlers started.
func (d *dispatcher) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
}

// A carriedClaim is a claim that a report or a start carries.
type carriedClaim struct {
	backend.ClaimRequest
	allocation fair.Allocation // what the scheduler is told of; none for a start
	free       int             // slots taken for it
	began      time.Time
}

// flows returns those of which the claim is.
func (c *carriedClaim) flows() (flows []string) {
	for _, name := range c.Groups {
		flow, _, _ := strings.Cut(name, ".")
		flows = append(flows, flow)
	}
	return flows
}

// reserve takes up to limit free slots for a claim that a report or a start carries. It
// returns nil if there are none, or if no such claim may be made now. The caller must call
// finish.
func (d *dispatcher) reserve(limit int) *carriedClaim {
	free := d.slots.take(limit)
	if free == 0 {
		return nil
	}
	if !d.beginCarried() {
		d.slots.release(free)
		return nil
	}
	return &carriedClaim{free: free, began: time.Now()}
}

func (d *dispatcher) beginCarried() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed || d.isolated || d.releaseDue() {
		return false
	}
	d.executor.active.Add(1)
	d.carried++
	return true
}

func (d *dispatcher) endCarried() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.carried--
	d.executor.active.Done()
}

// piggyback returns a claim to send with a report of results, whose slots are free. It
// returns nil if that is left to the claimer: if there are many results, no free slots, or
// limits, which two claims at once could exceed.
func (d *dispatcher) piggyback(results []result, bytes int) *carriedClaim {
	groups := d.settings.groups
	if !d.piggybacks || len(results) > piggybackResults || bytes > piggybackBytes || d.refusals.unexplained() || groups.Limited() {
		return nil
	}
	c := d.reserve(d.settings.config.Concurrency)
	if c == nil {
		return nil
	}
	d.expect(flowsOf(results)...)
	c.allocation = d.allocate(c.free)
	c.Groups, c.Limits, c.First = c.allocation.Groups, c.allocation.Limits, c.allocation.First
	// Nobody needs to be notified if the claim takes whatever the report makes ready.
	c.SuppressNotify = len(groups.Except()) == 0
	asked := map[string]bool{}
	for _, name := range c.Groups {
		asked[name] = true
	}
	for _, r := range results {
		c.SuppressNotify = c.SuppressNotify && asked[r.task.Flow] && !d.settings.services[r.task.Flow].delays
	}
	return c
}

// gated returns those of the results that are of gated steps.
func (d *dispatcher) gated(results []result) (of []result) {
	gated := d.settings.groups.Gated()
	if len(gated) == 0 {
		return nil
	}
	for _, r := range results {
		if slices.Contains(gated, d.settings.groups.Of(r.task.Flow, r.task.Step)) {
			of = append(of, r)
		}
	}
	return of
}

// freesOthers reports whether results free room at gates that a claim does not ask for. It
// may be that of another step, with which they share the gate.
func (d *dispatcher) freesOthers(results []result, c *carriedClaim) bool {
	return len(d.gated(results)) > 0 &&
		slices.ContainsFunc(d.settings.groups.Gated(), func(name string) bool { return !slices.Contains(c.Groups, name) })
}

// finish accepts and starts what a carried claim claimed. ok is false if its reply was
// lost, so that nobody knows what that is.
func (d *dispatcher) finish(c *carriedClaim, claimed []*backend.Claimed, ok bool) {
	defer d.endCarried()
	if !ok {
		d.lostClaim()
		d.slots.release(c.free)
		d.signals.wakeClaimer()
		return
	}
	tasks, partial := d.accept(c.allocation, claimed, c.began)
	d.slots.release(c.free - len(tasks))
	if !d.startUnlessClosed(tasks) {
		return // they are released with what is still in flight
	}
	if len(tasks) >= c.free || partial || d.signals.retryPending.Load() {
		d.expect(c.flows()...)
		d.signals.wakeClaimer() // there may be more, or something may be due
	}
}

// startUnlessClosed starts tasks, and reports whether it did. The worker does not get past
// waiting for handlers meanwhile.
func (d *dispatcher) startUnlessClosed(tasks []*task) bool {
	d.mu.Lock()
	closed := d.closed
	d.mu.Unlock()
	if !closed {
		d.executor.start(tasks)
	}
	return !closed
}
