package flowtest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/internal/machine"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// A WaitingError says that a run goes no further by itself, so that to wait for its end would
// be in vain: it waits for an answer, or for its time.
type WaitingError struct {
	RunID string
	Flow  string
	// Step is the slug of the step that waits.
	Step string
	// Until is when it goes on by itself, by the clock of [DB.Advance]; zero if it does not.
	Until time.Time
	// Answer reports whether it waits for an answer.
	Answer bool
}

func (e *WaitingError) Error() string {
	text := fmt.Sprintf("flowc: flowtest: run %s of flow %s waits in step %s", e.RunID, e.Flow, e.Step)
	switch {
	case e.Answer && e.Until.IsZero():
		return text + " for an answer: send it with its Signal function"
	case e.Answer:
		return text + " for an answer: send it with its Signal function, or let it expire with db.Advance"
	}
	return text + " for its time: move the clock with db.Advance"
}

// waiting returns for what a run waits that has no task to be done now, nil if it has ended.
func (r *run) waiting() error {
	if waits := r.Waits(); len(waits) > 0 {
		return &WaitingError{RunID: r.id, Flow: r.flow.Slug, Step: waits[0].Slug, Until: waits[0].Until, Answer: true}
	}
	if t := r.timed(); t != nil {
		return &WaitingError{RunID: r.id, Flow: r.flow.Slug, Step: t.Slug, Until: r.due()}
	}
	return nil
}

// Advance moves the clock of the database, which stands still otherwise: what comes due
// happens, in its order, before it returns. Waits that nobody has answered expire, runs fail
// that are beyond their deadlines, and tasks run that were snoozed or wait for the start of
// their step. A run whose handler is running meanwhile goes on when it returns. Delays between attempts, and the starts of scheduled runs, are not waited for
// at all. It panics if d is negative.
func (db *DB) Advance(d time.Duration) {
	if d < 0 {
		panic(fmt.Sprintf("flowc: flowtest: Advance(%s): the clock cannot be set back", d))
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	until := db.now.Add(d)
	for {
		next, due := db.nextDue()
		if next == nil || due.After(until) {
			break
		}
		if due.After(db.now) {
			db.now = due
		}
		next.Expire(db.now)
		db.work(next)
	}
	if until.After(db.now) { // a handler may have moved it further
		db.now = until
	}
}

// nextDue returns the run that goes on next by itself, and when; nil if none does. It leaves
// out those that work.
func (db *DB) nextDue() (next *run, due time.Time) {
	for _, r := range db.order {
		if at := r.due(); !r.working && !at.IsZero() && (next == nil || at.Before(due)) {
			next, due = r, at
		}
	}
	return next, due
}

// Now returns the time of the clock that [DB.Advance] moves.
func (db *DB) Now() time.Time {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.now
}

// Signal answers a step of a run, and runs what comes after it.
func (b backend) Signal(ctx context.Context, s runtime.SignalRequest) (runtime.Signalled, error) {
	r, unlock, err := b.run(ctx, s.RunID)
	if err != nil {
		return "", err
	}
	defer unlock()
	if s.Flow != "" && base(s.Flow) != base(r.flow.Slug) {
		return "", runtime.ErrRunNotFound
	}
	result, known, err := r.Signal(s, b.db.now)
	if !known {
		return "", runtime.ErrRunNotFound
	}
	b.db.work(r)
	return result, err
}

// A keptAnswer is an answer by key that no run has taken.
type keptAnswer struct {
	runtime.KeyedSignal
	until time.Time
}

// SignalBy answers the runs that wait with a key, or keeps the answer.
func (b backend) SignalBy(ctx context.Context, s runtime.KeyedSignal) (ok bool, _ error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	db := b.db
	db.mu.Lock()
	defer db.mu.Unlock()
	f := db.flows[s.Flow]
	if f == nil {
		return false, unknownFlow(s.Flow)
	}
	step := f.Step(s.Step)
	if step == nil || step.Type != spec.TypeWait || step.Key == nil {
		return false, nil
	}
	var waiting []*run
	for _, r := range db.order {
		if r.flow == f && r.waitsWith(s) {
			waiting = append(waiting, r)
		}
	}
	for _, r := range waiting {
		db.answer(r, s)
	}
	if waiting == nil {
		db.kept = append(db.kept, keptAnswer{s, db.now.Add(cmp.Or(step.Keep, spec.DefaultKeep))})
	}
	return true, nil
}

// waitsWith reports whether a run waits with the key of an answer.
func (r *run) waitsWith(s runtime.KeyedSignal) bool {
	return slices.ContainsFunc(r.Waits(), func(w machine.Wait) bool { return w.Slug == s.Step && w.Key == s.Key })
}

// answer answers a step of a run that waits with a key, and runs what comes after it.
func (db *DB) answer(r *run, s runtime.KeyedSignal) {
	_, _, _ = r.Signal(runtime.SignalRequest{RunID: r.id, Step: s.Step, Answer: s.Answer, Sender: s.Sender}, db.now) // it waits
	db.work(r)
}

// takeKept gives the steps of a run that wait the answers by key that were kept.
func (db *DB) takeKept(r *run) {
	db.kept = slices.DeleteFunc(db.kept, func(k keptAnswer) bool { return !k.until.After(db.now) })
	i := slices.IndexFunc(db.kept, func(k keptAnswer) bool { return k.Flow == r.flow.Slug && r.waitsWith(k.KeyedSignal) })
	if i >= 0 {
		kept := db.kept[i]
		db.kept = slices.Delete(db.kept, i, i+1)
		db.answer(r, kept.KeyedSignal) // which takes others, too
	}
}

// ListWaiting returns the steps that wait.
func (b backend) ListWaiting(ctx context.Context, filter runtime.WaitingFilter) (all []runtime.Waiting[handler.Values], _ error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b.db.mu.Lock()
	defer b.db.mu.Unlock()
	wanted := func(list []string, one string) bool { return len(list) == 0 || slices.Contains(list, one) }
	var flows []string // in any version
	for _, f := range filter.Flows {
		flows = append(flows, base(f))
	}
	for _, r := range b.db.order {
		for _, w := range r.Waits() {
			if !wanted(flows, base(r.flow.Slug)) || !wanted(filter.Steps, w.Slug) || filter.RunID != "" && filter.RunID != r.id ||
				filter.Key != "" && filter.Key != w.Key {
				continue
			}
			all = append(all, runtime.Waiting[handler.Values]{
				RunID: r.id, Flow: r.flow.Slug, Step: w.Slug, Since: w.Since, Until: w.Until, Key: w.Key, Input: r.WaitValues(w),
			})
		}
	}
	slices.SortFunc(all, func(a, b runtime.Waiting[handler.Values]) int { return compareCursors(*a.Cursor(), *b.Cursor()) })
	if after := filter.After; after != nil {
		all = slices.DeleteFunc(all, func(w runtime.Waiting[handler.Values]) bool { return compareCursors(*w.Cursor(), *after) <= 0 })
	}
	return all[:min(len(all), filter.Limit)], nil
}

// compareCursors compares the places of two steps in the list: those that expire first come
// first.
func compareCursors(a, b runtime.WaitingCursor) int {
	switch {
	case a.Until.IsZero() && !b.Until.IsZero():
		return 1
	case b.Until.IsZero() && !a.Until.IsZero():
		return -1
	}
	return cmp.Or(a.Until.Compare(b.Until), cmp.Compare(a.RunID, b.RunID), cmp.Compare(a.Step, b.Step))
}
