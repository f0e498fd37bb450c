package worker

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"time"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/internal/try"
)

// noticeTime is how long a handler may take to return after its context ended.
// The lease lasts two seconds longer than the timeout.
const noticeTime = 500 * time.Millisecond

// A result is what a try gave.
type result struct {
	task *task
	try.Result
	took time.Duration
}

// do runs one try to its end and hands on what it gave.
func (s *session) do(t *task, v runtime.Values) {
	began := time.Now()
	returned := make(chan result, 1)
	go call(t, v, returned)
	r, stray := await(t, returned)
	r.took = time.Since(began)
	if !stray {
		s.settle(r)
		return
	}
	s.log.LogAttrs(t.ctx, slog.LevelWarn, "the handler did not return when its context ended", t.attrs()...)
	if s.strays.Add(1) > int64(s.config.Concurrency) {
		// Too many are astray: better to stand still than to pile up more. The
		// slot is free when the handler returns.
		s.handOn(r)
		<-returned
		s.strays.Add(-1)
		s.slots <- struct{}{}
		return
	}
	s.settle(r)
	<-returned
	s.strays.Add(-1)
}

// settle hands a result to the reporter and gives the slot to the next task: before,
// so that the report can claim for it, unless many results wait already.
func (s *session) settle(r result) {
	if results := s.reporter(r.task); 2*len(results) < cap(results) {
		s.slots <- struct{}{}
		s.handOn(r)
		return
	}
	s.handOn(r)
	s.slots <- struct{}{}
}

// handOn hands a result to the reporter, after which the try is over.
func (s *session) handOn(r result) {
	r.task.stop()
	r.task.Input, r.task.RunInput = nil, nil // they may be large, and reporting may take a while
	if s.lanes.leave(r.task) {
		s.nudge()
	}
	s.reporter(r.task) <- r
	s.running.Done()
}

// reporter takes the results of a task's run.
func (s *session) reporter(t *task) chan<- result {
	return s.results[int(t.RunID[len(t.RunID)-1])%reporters]
}

// await waits for a handler to return. If its context ends it gets a moment to
// notice that; stray is true if it did not.
func await(t *task, returned <-chan result) (r result, stray bool) {
	select {
	case r = <-returned:
		return r, false
	case <-t.ctx.Done():
	}
	timer := time.NewTimer(noticeTime)
	defer timer.Stop()
	select {
	case r = <-returned:
		return r, false
	case <-timer.C:
		return judge(t, nil, context.Cause(t.ctx)), true
	}
}

// call runs the handler. One that ends its goroutine, as a failing test helper
// does, has failed like any other.
func call(t *task, v runtime.Values, returned chan<- result) {
	r := judge(t, nil, errEnded)
	defer func() { returned <- r }()
	output, err := try.Call(t.ctx, t.handler, v)
	r = judge(t, output, err)
}

var errEnded = errors.New("flowc: the handler ended its goroutine")

// judge says what becomes of a try.
func judge(t *task, output json.RawMessage, err error) result {
	return result{task: t, Result: try.Judge(t.ctx, time.Duration(t.Timeout)*time.Second, output, err)}
}

// attrs are what the log says about a task.
func (t *task) attrs() []slog.Attr {
	return []slog.Attr{
		slog.String("flow", t.Flow), slog.String("run_id", t.RunID), slog.String("step", t.Step),
		slog.Int("index", t.Index), slog.Int("attempt", t.Tries), slog.Int("max_attempts", t.MaxAttempts),
	}
}
