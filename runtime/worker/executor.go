package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/internal/attempt"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/flowc-dev/flowc/runtime/worker/internal/backend"
	"github.com/flowc-dev/flowc/runtime/worker/internal/dbconn"
	"github.com/flowc-dev/flowc/runtime/worker/internal/fair"
	"github.com/flowc-dev/flowc/runtime/worker/internal/inputs"
)

// stuckEvery is how often the worker looks for handlers that ignore their ended contexts.
// A timer for each attempt would cost more than looking.
const stuckEvery = 100 * time.Millisecond

// An executor runs handlers, a goroutine for each, and enqueues their results.
type executor struct {
	log      *slog.Logger
	groups   *fair.Groups
	slots    slots
	signals  *signals
	inflight *inflight
	inputs   *inputs.Cache
	results  *resultQueues
	maxStuck int64

	// For tasks with a transaction.
	dbCtx        context.Context
	db           *dbconn.DB
	backend      backend.Backend
	transactions *transactions

	active sync.WaitGroup // what may still enqueue a result: attempts, and claims that lead to some
	stuck  atomic.Int64   // handlers that ignore their ended contexts
}

// start starts the handlers of tasks. Those that need more than the claim gave get it in
// a goroutine of their own.
func (e *executor) start(tasks []*task) {
	var incomplete []*task
	for _, t := range tasks {
		e.active.Add(1)
		if len(missingInputs(t)) > 0 {
			incomplete = append(incomplete, t)
			continue
		}
		go func() { e.run(t, claimedInputs(t)) }()
	}
	if len(incomplete) > 0 {
		go e.startIncomplete(incomplete)
	}
}

// startIncomplete reads what tasks need, all of it at once, and starts their handlers.
func (e *executor) startIncomplete(tasks []*task) {
	var keys []inputs.Key
	for _, t := range tasks {
		keys = append(keys, missingInputs(t)...)
	}
	e.inputs.Prefetch(keys)
	for _, t := range tasks {
		go func() {
			v, err := e.readInputs(t)
			if err != nil {
				e.complete(classify(t, nil, err, 0))
				return
			}
			e.run(t, v)
		}()
	}
}

var errGoexit = errors.New("flowc: the handler called runtime.Goexit")

// run runs an attempt. A handler that ends its goroutine, as a failing test helper does,
// has failed like any other. Reading its error is part of the attempt, too.
func (e *executor) run(t *task, v handler.Values) {
	if t.step.tx != "" {
		e.runInTx(t, v)
		return
	}
	began := t.completion.Begin(t.ctx)
	var r result
	defer func() {
		if ended, freesSlot := t.completion.Return(); ended {
			if r.task == nil {
				r = classify(t, nil, errGoexit, time.Since(began))
			}
			e.complete(r)
			return
		} else if freesSlot {
			e.slots.release(1)
		}
		e.stuck.Add(-1)
	}()
	output, err := attempt.Call(t.ctx, t.step.handler, v)
	r = classify(t, output, err, time.Since(began))
}

// watchStuck abandons attempts whose handlers ignore their ended contexts, until ctx ends.
func (e *executor) watchStuck(ctx context.Context) {
	ticker := time.NewTicker(stuckEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for _, t := range e.inflight.overdue() {
			go e.abandon(t)
		}
	}
}

// abandon ends an attempt whose handler is stuck. If too many are, the slot stays taken:
// it is better to stop working than to pile up more.
func (e *executor) abandon(t *task) {
	ended, keepsSlot := t.completion.Abandon(func() bool { return e.stuck.Add(1) > e.maxStuck })
	if !ended {
		return
	}
	if tx := t.tx.Load(); tx != nil {
		tx.cut()
	}
	e.log.LogAttrs(t.ctx, slog.LevelWarn, "handler ignores its ended context", t.attrs()...)
	r := classify(t, nil, t.ctx.Cause(), time.Since(t.completion.Began()))
	if keepsSlot {
		e.results.freed.Add(1) // its handler frees the slot, perhaps before the report
		e.enqueue(r)
	} else {
		e.complete(r)
	}
}

// complete enqueues the result of an attempt and frees its slot: at once, so that the
// report can piggyback a claim for it, or if too much waits already, when the result has
// been reported.
func (e *executor) complete(r result) {
	r.keepsSlot = !e.results.freeSlot(&r)
	if !r.keepsSlot {
		e.slots.release(1)
	}
	e.enqueue(r)
}

// enqueue enqueues the result of an attempt, which has then ended.
func (e *executor) enqueue(r result) {
	r.task.ctx.End()
	r.task.Input, r.task.RunInput = nil, nil // they may be large, and reporting may take a while
	if e.groups.End(r.task.Flow, r.task.Step) {
		e.signals.wakeClaimer()
	}
	e.results.enqueue(r)
	e.active.Done()
}

// classify returns the result of an attempt from what its handler returned.
func classify(t *task, output json.RawMessage, err error, took time.Duration) result {
	r := result{task: t, Result: attempt.Classify(t.ctx.Cause(), time.Duration(t.Timeout)*time.Second, output, err), took: took}
	if r.Outcome != attempt.Completed {
		r.Kept = string(t.ctx.Carried().Left())
	}
	return r
}

// missingInputs returns what a task needs besides what the claim gave.
func missingInputs(t *task) (keys []inputs.Key) {
	if t.ArrayFrom != nil {
		for name := range strings.SplitSeq(*t.ArrayFrom, ",") {
			keys = append(keys, inputs.Key{RunID: t.RunID, Source: name})
		}
	}
	if t.step.handler.NeedsInput() && t.RunInput == nil {
		keys = append(keys, inputs.Key{RunID: t.RunID, Source: spec.RunKey})
	}
	return keys
}

// claimedInputs returns what the claim gave.
func claimedInputs(t *task) handler.Values {
	v := handler.Values{Input: t.RunInput}
	if t.step.isMap {
		v.Item = t.Input
	} else {
		v.Outputs = t.Input
	}
	return v
}

// readInputs returns what the claim gave, and what it left out.
func (e *executor) readInputs(t *task) (handler.Values, error) {
	v := claimedInputs(t)
	switch {
	case t.ArrayFrom != nil && !t.step.isMap:
		outputs, err := e.joinOutputs(t)
		if err != nil {
			return v, err
		}
		v.Outputs = outputs
	case t.ArrayFrom != nil:
		list, err := e.inputs.Get(t.ctx, inputs.Key{RunID: t.RunID, Source: *t.ArrayFrom})
		if err != nil {
			return v, err
		}
		items, err := list.Elements()
		switch {
		case err != nil:
			return v, handler.Permanent(fmt.Errorf("flowc: the list that step %s maps over: %w", t.Step, err))
		case t.Index >= len(items):
			return v, handler.Permanent(fmt.Errorf("flowc: the list that step %s maps over has %d elements, no element %d", t.Step, len(items), t.Index))
		}
		v.Item = items[t.Index]
	}
	if t.step.handler.NeedsInput() && t.RunInput == nil {
		input, err := e.inputs.Get(t.ctx, inputs.Key{RunID: t.RunID, Source: spec.RunKey})
		if err != nil {
			return v, err
		}
		v.Input = input.JSON()
	}
	return v, nil
}

// joinOutputs returns the outputs that the claim gave, and those that it left out.
func (e *executor) joinOutputs(t *task) (json.RawMessage, error) {
	var b bytes.Buffer
	b.Write(bytes.TrimSuffix(bytes.TrimSpace(t.Input), []byte("}")))
	for name := range strings.SplitSeq(*t.ArrayFrom, ",") {
		output, err := e.inputs.Get(t.ctx, inputs.Key{RunID: t.RunID, Source: name})
		if err != nil {
			return nil, err
		}
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Quote(name)) // a slug has nothing to be escaped
		b.WriteByte(':')
		b.Write(output.JSON())
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}
