package dashboard

import (
	"context"
	"sync"
	"time"
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
}

// cached returns a value from the cache, or loads it; at most one load runs for a key. A
// load continues when the request that began it is gone, since others wait for it. Keys
// are few.
func cached[T any](ctx context.Context, c *cache, key string, load func(context.Context) (T, error)) (T, error) {
	c.mu.Lock()
	e := c.entries[key]
	if e == nil {
		e = &entry{}
		c.entries[key] = e
	}
	c.mu.Unlock()

	e.mu.Lock()
	defer e.mu.Unlock()
	if value, ok := e.value.(T); ok && time.Since(e.at) < fresh {
		return value, nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), queryTime)
	defer cancel()
	value, err := load(ctx)
	if err == nil {
		e.value, e.at = value, time.Now()
	}
	return value, err
}
