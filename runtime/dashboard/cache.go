package dashboard

import (
	"context"
	"sync"
	"time"

	"github.com/flowc-dev/flowc/runtime/ops"
)

const (
	// fresh is how long figures are cached. Counting them reads every run of their
	// range of time.
	fresh = 5 * time.Second
)

// queryTime bounds the queries of a page. Tests, which may share a slow machine with many
// others, have more.
var queryTime = 10 * time.Second

// A cache keeps figures for a moment.
type cache struct {
	mu      sync.Mutex
	entries map[string]*entry
}

// clear drops all figures, after an action that changes them.
func (c *cache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.entries)
}

type entry struct {
	mu    sync.Mutex
	at    time.Time
	value any
	err   error // about some of the shards
}

// cached returns a value from the cache, or loads it; at most one load runs for a key. A
// load continues when the request that began it is gone, since others wait for it. Keys
// are few. What some of the shards do not have to say is left out.
func cached[T any](ctx context.Context, h *Handler, key string, load func(context.Context) (T, error)) (T, error) {
	value, err := h.cache.get(ctx, key, func(ctx context.Context) (any, error) { return load(ctx) })
	if err = h.tolerate(ctx, err); err != nil {
		return *new(T), err
	}
	return value.(T), nil
}

func (c *cache) get(ctx context.Context, key string, load func(context.Context) (any, error)) (any, error) {
	c.mu.Lock()
	e := c.entries[key]
	if e == nil {
		e = &entry{}
		c.entries[key] = e
	}
	c.mu.Unlock()

	e.mu.Lock()
	defer e.mu.Unlock()
	if e.value != nil && time.Since(e.at) < fresh {
		return e.value, e.err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), queryTime)
	defer cancel()
	value, err := load(ctx)
	if err == nil || ops.Partial(err) != nil {
		e.value, e.err, e.at = value, err, time.Now()
	}
	return value, err
}
