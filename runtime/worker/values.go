package worker

import (
	"container/list"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/flowc-dev/flowc/runtime"
)

// cacheBytes is how much of what was read is kept for later tasks of the same
// runs. The newest value is kept whatever its size.
const cacheBytes = 32 << 20

// errGone says that what a task works on is not there any more.
var errGone = runtime.Permanent(errors.New("flowc: what the task works on is not in the database, the run may have been deleted"))

// A source is a value of a run: its input, or what one of its steps gave.
type source struct{ run, name string }

// needs is what a task needs besides what the claim gave.
func (t *task) needs() (sources []source) {
	if t.ArrayFrom != nil {
		sources = append(sources, source{t.RunID, *t.ArrayFrom})
	}
	if t.handler.NeedsInput() && t.RunInput == nil {
		sources = append(sources, source{t.RunID, runtime.RunKey})
	}
	return sources
}

// given is what the claim gave.
func (t *task) given() runtime.Values {
	v := runtime.Values{Input: t.RunInput}
	if t.isMap {
		v.Item = t.Input
	} else {
		v.Outputs = t.Input
	}
	return v
}

// fetch reads what tasks need, all of it at once, and starts their handlers.
func (s *session) fetch(tasks []*task) {
	var wanted []source
	for _, t := range tasks {
		wanted = append(wanted, t.needs()...)
	}
	s.values.read(wanted)
	for _, t := range tasks {
		go func() {
			v, err := s.fill(t)
			if err != nil {
				s.settle(judge(t, nil, err, 0))
				return
			}
			s.do(t, v)
		}()
	}
}

// fill adds to what the claim gave what was read.
func (s *session) fill(t *task) (runtime.Values, error) {
	v := t.given()
	if t.ArrayFrom != nil {
		cached, err := s.values.get(t.ctx, source{t.RunID, *t.ArrayFrom})
		if err != nil {
			return v, err
		}
		items, err := cached.elements()
		switch {
		case err != nil:
			return v, runtime.Permanent(fmt.Errorf("flowc: the list that step %s maps over: %w", t.Step, err))
		case t.Index >= len(items):
			return v, runtime.Permanent(fmt.Errorf("flowc: the list that step %s maps over has %d elements, no element %d", t.Step, len(items), t.Index))
		}
		v.Item = items[t.Index]
	}
	if t.handler.NeedsInput() && t.RunInput == nil {
		cached, err := s.values.get(t.ctx, source{t.RunID, runtime.RunKey})
		if err != nil {
			return v, err
		}
		v.Input = cached.raw
	}
	return v, nil
}

// values reads values of runs, each once, and keeps the last ones.
type values struct {
	db calls

	mu    sync.Mutex
	known map[source]*cached
	order *list.List // of sources that were read, the oldest first
	bytes int
}

// cached is a value that was read, or is being read.
type cached struct {
	ready chan struct{}
	raw   json.RawMessage
	err   error

	split sync.Once
	items []json.RawMessage
	bad   error
}

// elements are the elements of a value that is an array.
func (c *cached) elements() ([]json.RawMessage, error) {
	c.split.Do(func() { c.bad = json.Unmarshal(c.raw, &c.items) })
	return c.items, c.bad
}

func newValues(db calls) *values {
	return &values{db: db, known: map[source]*cached{}, order: list.New()}
}

// read begins to read those of the wanted values that nobody has read yet.
func (v *values) read(wanted []source) {
	v.mu.Lock()
	defer v.mu.Unlock()
	var missing []source
	for _, s := range wanted {
		if v.known[s] == nil {
			v.known[s] = &cached{ready: make(chan struct{})}
			missing = append(missing, s)
		}
	}
	if len(missing) > 0 {
		go v.load(missing)
	}
}

// get is a value; if reading it fails it is read again, until ctx ends.
func (v *values) get(ctx context.Context, s source) (*cached, error) {
	var pause backoff
	for {
		v.mu.Lock()
		c := v.known[s]
		v.mu.Unlock()
		if c == nil {
			v.read([]source{s})
			continue
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-c.ready:
		}
		if c.err == nil || c.err == errGone {
			return c, c.err
		}
		if !pause.wait(ctx, v.db) {
			return nil, context.Cause(ctx)
		}
	}
}

// load reads values and announces them.
func (v *values) load(missing []source) {
	var runs, names []string
	for _, s := range missing {
		runs, names = append(runs, s.run), append(names, s.name)
	}
	rows, err := v.db.readValues(context.Background(), runs, names)
	found := map[source]json.RawMessage{}
	for _, row := range rows {
		if row.Value != nil {
			found[source{row.RunID, row.Source}] = row.Value
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, s := range missing {
		c := v.known[s]
		c.raw, c.err = found[s], err
		if err == nil && c.raw == nil {
			c.err = errGone
		}
		if c.err != nil {
			delete(v.known, s) // the next one asks again
		} else {
			v.order.PushBack(s)
			v.bytes += len(c.raw)
		}
		close(c.ready)
	}
	for v.bytes > cacheBytes && v.order.Len() > 1 {
		oldest := v.order.Remove(v.order.Front()).(source)
		v.bytes -= len(v.known[oldest].raw)
		delete(v.known, oldest)
	}
}
