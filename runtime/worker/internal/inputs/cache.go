// Package inputs reads values of runs that claims left out because they are large or
// shared by many tasks, each once, and caches them for later tasks of the same runs.
package inputs

import (
	"container/list"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/worker/internal/backend"
	"github.com/flowc-dev/flowc/runtime/worker/internal/dbconn"
)

const (
	// cacheBytes is how many bytes are kept. The newest value is kept whatever its size.
	cacheBytes = 32 << 20
	// maxReads is how many reads may be in flight, so that they leave connections, and
	// the database's time, to other calls.
	maxReads = 2
)

// errGone says that what a task works on is not there any more.
var errGone = handler.Permanent(errors.New("flowc: the task's input is not in the database, the run may have been deleted"))

// A Key names a value of a run: its input, as [spec.RunKey], or the output of a step.
type Key struct{ RunID, Source string }

// A ReadFunc reads values of runs: the first, and as many more as fit.
type ReadFunc func(ctx context.Context, runs, sources []string) ([]backend.Value, error)

// A Cache reads values of runs, each once, and keeps the last ones.
type Cache struct {
	ctx       context.Context // ends the reads
	read      ReadFunc
	recovered func() <-chan struct{} // see [dbconn.DB.Recovered]
	reads     chan struct{}          // holds one for each read that is in flight

	mu    sync.Mutex
	known map[Key]*Value
	order *list.List // of keys that were read, oldest first
	bytes int
}

// NewCache returns an empty cache whose reads end with ctx. Failed reads are repeated
// after a backoff that is short once recovered's channel is closed.
func NewCache(ctx context.Context, read ReadFunc, recovered func() <-chan struct{}) *Cache {
	return &Cache{
		ctx: ctx, read: read, recovered: recovered, reads: make(chan struct{}, maxReads),
		known: map[Key]*Value{}, order: list.New(),
	}
}

// A Value is a value that was read, or is being read.
type Value struct {
	ready chan struct{}
	raw   json.RawMessage
	err   error

	split    sync.Once
	elements []json.RawMessage
	splitErr error
}

// JSON returns the value.
func (v *Value) JSON() json.RawMessage { return v.raw }

// Elements returns the elements of a value that is an array.
func (v *Value) Elements() ([]json.RawMessage, error) {
	v.split.Do(func() { v.splitErr = json.Unmarshal(v.raw, &v.elements) })
	return v.elements, v.splitErr
}

// Prefetch begins to read those values that are neither cached nor being read.
func (c *Cache) Prefetch(keys []Key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var missing []Key
	for _, k := range keys {
		if c.known[k] == nil {
			c.known[k] = &Value{ready: make(chan struct{})}
			missing = append(missing, k)
		}
	}
	if len(missing) > 0 {
		go c.load(missing)
	}
}

// Get returns a value. If reading it fails it is read again, until ctx ends.
func (c *Cache) Get(ctx context.Context, k Key) (*Value, error) {
	var pause dbconn.Backoff
	for {
		c.mu.Lock()
		v := c.known[k]
		c.mu.Unlock()
		if v == nil {
			c.Prefetch([]Key{k})
			continue
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-v.ready:
		}
		if v.err == nil || errors.As(v.err, new(*handler.PermanentError)) {
			return v, v.err
		}
		if !pause.Wait(ctx, c.recovered()) {
			return nil, context.Cause(ctx)
		}
	}
}

// load reads values and announces each as soon as it has been read. One that the
// database cannot read does not keep the others from being read.
func (c *Cache) load(missing []Key) {
	batch := len(missing)
	for len(missing) > 0 {
		keys := missing[:min(batch, len(missing))]
		values, err := c.readBatch(keys)
		switch {
		case dbconn.IsRefused(err) && len(keys) > 1:
			batch = 1
			continue
		case dbconn.IsRefused(err):
			err = handler.Permanent(fmt.Errorf("flowc: what the task works on cannot be read: %w", err))
		case err != nil:
			keys = missing // those who wait for them ask again
		}
		missing = c.announce(keys, values, err, missing[len(keys):])
	}
}

// readBatch reads values when fewer than maxReads reads are in flight.
func (c *Cache) readBatch(keys []Key) ([]backend.Value, error) {
	c.reads <- struct{}{}
	defer func() { <-c.reads }()
	var runs, sources []string
	for _, k := range keys {
		runs, sources = append(runs, k.RunID), append(sources, k.Source)
	}
	return c.read(c.ctx, runs, sources)
}

// announce makes known the values that were read, or why they could not be. It returns
// the keys without an answer, followed by the others.
func (c *Cache) announce(asked []Key, values []backend.Value, err error, others []Key) (missing []Key) {
	answers := map[Key]backend.Value{}
	for _, v := range values {
		answers[Key{v.RunID, v.Source}] = v
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range asked {
		answer, answered := answers[k]
		if err == nil && !answered {
			missing = append(missing, k)
			continue
		}
		v := c.known[k]
		v.raw, v.err = answer.Value, err
		if err == nil && answer.Value == nil {
			v.err = errGone
		}
		if v.err != nil {
			delete(c.known, k) // so that it is read again
		} else {
			c.order.PushBack(k)
			c.bytes += len(v.raw)
		}
		close(v.ready)
	}
	for c.bytes > cacheBytes && c.order.Len() > 1 {
		oldest := c.order.Remove(c.order.Front()).(Key)
		c.bytes -= len(c.known[oldest].raw)
		delete(c.known, oldest)
	}
	return append(missing, others...)
}
