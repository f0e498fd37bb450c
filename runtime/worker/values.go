package worker

import (
	"bytes"
	"container/list"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// cacheBytes is how much of what was read is kept for later tasks of the same
// runs. The newest value is kept whatever its size.
const cacheBytes = 32 << 20

// errGone says that what a task works on is not there any more.
var errGone = handler.Permanent(errors.New("flowc: the task's input is not in the database, the run may have been deleted"))

// A source is a value of a run: its input, or what one of its steps gave.
type source struct{ run, name string }

// needs is what a task needs besides what the claim gave.
func (t *task) needs() (sources []source) {
	if t.ArrayFrom != nil {
		for name := range strings.SplitSeq(*t.ArrayFrom, ",") {
			sources = append(sources, source{t.RunID, name})
		}
	}
	if t.handler.NeedsInput() && t.RunInput == nil {
		sources = append(sources, source{t.RunID, spec.RunKey})
	}
	return sources
}

// given is what the claim gave.
func (t *task) given() handler.Values {
	v := handler.Values{Input: t.RunInput}
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
func (s *session) fill(t *task) (handler.Values, error) {
	v := t.given()
	switch {
	case t.ArrayFrom != nil && !t.isMap:
		outputs, err := s.join(t)
		if err != nil {
			return v, err
		}
		v.Outputs = outputs
	case t.ArrayFrom != nil:
		cached, err := s.values.get(t.ctx, source{t.RunID, *t.ArrayFrom})
		if err != nil {
			return v, err
		}
		items, err := cached.elements()
		switch {
		case err != nil:
			return v, handler.Permanent(fmt.Errorf("flowc: the list that step %s maps over: %w", t.Step, err))
		case t.Index >= len(items):
			return v, handler.Permanent(fmt.Errorf("flowc: the list that step %s maps over has %d elements, no element %d", t.Step, len(items), t.Index))
		}
		v.Item = items[t.Index]
	}
	if t.handler.NeedsInput() && t.RunInput == nil {
		cached, err := s.values.get(t.ctx, source{t.RunID, spec.RunKey})
		if err != nil {
			return v, err
		}
		v.Input = cached.raw
	}
	return v, nil
}

// join adds the outputs that the claim left out to those that it gave.
func (s *session) join(t *task) (json.RawMessage, error) {
	var b bytes.Buffer
	b.Write(bytes.TrimSuffix(bytes.TrimSpace(t.Input), []byte("}")))
	for name := range strings.SplitSeq(*t.ArrayFrom, ",") {
		cached, err := s.values.get(t.ctx, source{t.RunID, name})
		if err != nil {
			return nil, err
		}
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Quote(name)) // a slug has nothing to be escaped
		b.WriteByte(':')
		b.Write(cached.raw)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// maxReads is how many reads of values may be under way at once, so that they leave
// connections, and the database's time, to all else.
const maxReads = 2

// values reads values of runs, each once, and keeps the last ones.
type values struct {
	db    calls
	hard  context.Context // ends what is being read
	reads chan struct{}   // holds one for each read that is under way

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
	return &values{db: db, reads: make(chan struct{}, maxReads), known: map[source]*cached{}, order: list.New()}
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
		if c.err == nil || errors.As(c.err, new(*handler.PermanentError)) {
			return c, c.err
		}
		if !pause.wait(ctx, v.db) {
			return nil, context.Cause(ctx)
		}
	}
}

// load reads values and announces them, each as soon as it is there. One that the
// database cannot give keeps nobody from the others.
func (v *values) load(missing []source) {
	together := len(missing)
	for len(missing) > 0 {
		some := missing[:min(together, len(missing))]
		rows, err := v.ask(some)
		switch {
		case isRefused(err) && len(some) > 1:
			together = 1
			continue
		case isRefused(err):
			err = handler.Permanent(fmt.Errorf("flowc: what the task works on cannot be read: %w", err))
		case err != nil:
			some = missing // the next ones ask again
		}
		missing = v.announce(some, rows, err, missing[len(some):])
	}
}

// ask asks for values when it is their turn.
func (v *values) ask(some []source) ([]value, error) {
	v.reads <- struct{}{}
	defer func() { <-v.reads }()
	var runs, names []string
	for _, s := range some {
		runs, names = append(runs, s.run), append(names, s.name)
	}
	return v.db.readValues(v.hard, runs, names)
}

// announce tells those who wait for them of values that were read, or could not be. It
// returns those that were not in the answer, before the others that are missing.
func (v *values) announce(asked []source, rows []value, err error, others []source) (missing []source) {
	found := map[source]value{}
	for _, row := range rows {
		found[source{row.RunID, row.Source}] = row
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, s := range asked {
		row, answered := found[s]
		if err == nil && !answered {
			missing = append(missing, s)
			continue
		}
		c := v.known[s]
		c.raw, c.err = row.Value, err
		if err == nil && row.Value == nil {
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
	return append(missing, others...)
}
