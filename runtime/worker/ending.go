package worker

import (
	"sync"
	"time"
)

// noticeTime is how long a handler may take to return after its context ended.
// The lease lasts two seconds longer than the timeout.
const noticeTime = 500 * time.Millisecond

// An ending is who ends a try: its handler, by returning, or a timer, when the
// handler has not returned in time.
type ending struct {
	mu        sync.Mutex
	timer     *time.Timer
	over      bool
	keepsSlot bool // whether the slot is free only when the handler returns
}

// watch has the try abandoned unless its handler returns soon after its context
// ends.
func (t *task) watch(abandon func()) {
	t.ending.mu.Lock()
	defer t.ending.mu.Unlock()
	wait := noticeTime
	if deadline, ok := t.ctx.Deadline(); ok && t.ctx.Err() == nil {
		wait += time.Until(deadline)
	}
	t.ending.timer = time.AfterFunc(wait, abandon)
}

// revoke ends the context of a try.
func (t *task) revoke(cause error) {
	t.cancel(cause)
	t.ending.mu.Lock()
	defer t.ending.mu.Unlock()
	if t.ending.timer != nil {
		t.ending.timer.Reset(noticeTime)
	}
}

// returned notes that the handler returned. It reports whether that ended the try,
// and if not, whether the slot is still to be given back.
func (e *ending) returned() (ends, keepsSlot bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.timer.Stop()
	ends = !e.over
	e.over = true
	return ends, e.keepsSlot
}

// abandoned notes that the handler is left alone. It reports whether that ended the
// try; stray then says whether the slot has to wait for the handler.
func (e *ending) abandoned(stray func() bool) (ends, keepsSlot bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.over {
		return false, false
	}
	e.over, e.keepsSlot = true, stray()
	return true, e.keepsSlot
}
