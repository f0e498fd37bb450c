package worker

import (
	"context"
	"sync"
	"time"
)

// noticeTime is how long a handler may take to return after its context ended.
// The lease lasts two seconds longer than the timeout.
const noticeTime = 500 * time.Millisecond

// lookEvery is how often the worker looks for such handlers. A timer for each try
// would cost more than the looking.
const lookEvery = 100 * time.Millisecond

// An ending is who ends a try: its handler, by returning, or the worker, when the
// handler has not returned in time.
type ending struct {
	mu        sync.Mutex
	began     time.Time // zero until the handler is called
	notice    time.Time // when the try is abandoned
	over      bool
	keepsSlot bool // whether the slot is free only when the handler returns
}

// watch has the try abandoned unless its handler, which is about to be called,
// returns soon after its context ends.
func (t *task) watch() (began time.Time) {
	t.ending.mu.Lock()
	defer t.ending.mu.Unlock()
	t.ending.began = time.Now()
	t.ending.notice = t.ctx.deadline.Add(noticeTime)
	if t.ctx.cause() != nil {
		t.ending.notice = t.ending.began.Add(noticeTime)
	}
	return t.ending.began
}

// revoke ends the context of a try.
func (t *task) revoke(cause error) {
	t.ctx.revoke(cause)
	t.ending.mu.Lock()
	defer t.ending.mu.Unlock()
	t.ending.notice = time.Now().Add(noticeTime)
}

// overdue reports whether the handler had the time to return, and did not.
func (e *ending) overdue(now time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return !e.began.IsZero() && !e.over && now.After(e.notice)
}

// watch abandons tries whose handlers do not return, until ctx ends.
func (s *session) watch(ctx context.Context) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for _, t := range s.hand.overdue() {
			go s.abandon(t)
		}
	}
}

// returned notes that the handler returned. It reports whether that ended the try,
// and if not, whether the slot is still to be given back.
func (e *ending) returned() (ends, keepsSlot bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
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
