package worker

import (
	"encoding/json"
	"errors"
	"log/slog"
	"time"

	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/internal/try"
)

// A result is what a try gave.
type result struct {
	task *task
	try.Result
	took      time.Duration
	size      int  // what it counted when it began to wait for its report
	keepsSlot bool // whether the slot is free only when it has been reported
	repeated  bool // whether it may have been reported before
	// If its run was locked, it is reported again at a time, after so long a wait.
	again time.Time
	wait  time.Duration
}

func (r *result) bytes() int { return len(r.Output) + len(r.Err) }

// do runs one try to its end and hands on what it gave. A handler that ends its
// goroutine, as a failing test helper does, has failed like any other. What its error
// does when it is read is part of the try, too.
func (s *session) do(t *task, v handler.Values) {
	began := t.watch()
	var r result
	defer func() {
		if ends, keepsSlot := t.ending.returned(); ends {
			if r.task == nil {
				r = judge(t, nil, errEnded, time.Since(began))
			}
			s.settle(r)
			return
		} else if keepsSlot {
			s.slots <- struct{}{}
		}
		s.strays.Add(-1)
	}()
	output, err := try.Call(t.ctx, t.handler, v)
	r = judge(t, output, err, time.Since(began))
}

var errEnded = errors.New("flowc: the handler called runtime.Goexit")

// abandon ends a try whose handler goes on although its context has ended. If too
// many do, the slot stays taken: better to stand still than to pile up more.
func (s *session) abandon(t *task) {
	ends, keepsSlot := t.ending.abandoned(func() bool { return s.strays.Add(1) > int64(s.config.Concurrency) })
	if !ends {
		return
	}
	s.log.LogAttrs(t.ctx, slog.LevelWarn, "handler ignores its ended context", t.attrs()...)
	r := judge(t, nil, t.ctx.cause(), time.Since(t.ending.began))
	if keepsSlot {
		s.handOn(r)
	} else {
		s.settle(r)
	}
}

// settle hands a result to the reporter and gives the slot to the next task: before,
// so that the report can claim for it, unless many results wait already. If they are
// large, the slot is free only when the result has been reported.
func (s *session) settle(r result) {
	results := s.reporter(&r)
	switch {
	case s.waiting.Load()+int64(r.bytes()) > maxWaitingBytes:
		r.keepsSlot = true
		s.handOn(r)
	case 2*len(results) < cap(results):
		s.slots <- struct{}{}
		s.handOn(r)
	default:
		s.handOn(r)
		s.slots <- struct{}{}
	}
}

// handOn hands a result to the reporter, after which the try is over.
func (s *session) handOn(r result) {
	r.task.ctx.end()
	r.task.Input, r.task.RunInput = nil, nil // they may be large, and reporting may take a while
	if s.lanes.leave(r.task) {
		s.nudge()
	}
	r.size = r.bytes()
	s.waiting.Add(int64(r.size))
	s.reporter(&r) <- r
	s.running.Done()
}

// reporter takes the results of a task's run, or those that are large.
func (s *session) reporter(r *result) chan<- result {
	if r.bytes() >= largeBytes {
		return s.large
	}
	return s.results[int(r.task.RunID[len(r.task.RunID)-1])%reporters]
}

// judge says what becomes of a try.
func judge(t *task, output json.RawMessage, err error, took time.Duration) result {
	return result{task: t, Result: try.Judge(t.ctx.cause(), time.Duration(t.Timeout)*time.Second, output, err), took: took}
}

// attrs are what the log says about a task.
func (t *task) attrs() []slog.Attr {
	return []slog.Attr{
		slog.String("flow", t.Flow), slog.String("run_id", t.RunID), slog.String("step", t.Step),
		slog.Int("index", t.Index), slog.Int("attempt", t.Attempt), slog.Int("max_attempts", t.MaxAttempts),
	}
}
