package inputs

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/worker/internal/backend"
)

// A table reads values of run "r" and notes what was asked for at once.
type table struct {
	mu     sync.Mutex
	values map[string]string
	errs   map[string]error // of reads that ask for a source
	fits   int              // values that one read returns
	asked  [][]string
}

func (t *table) read(_ context.Context, runs, sources []string) (values []backend.Value, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.asked = append(t.asked, slices.Clone(sources))
	for i, source := range sources {
		if err := t.errs[source]; err != nil {
			return nil, err
		}
		if len(values) == t.fits {
			break
		}
		v := backend.Value{RunID: runs[i], Source: source}
		if raw, ok := t.values[source]; ok {
			v.Value = []byte(raw)
		}
		values = append(values, v)
	}
	return values, nil
}

func (t *table) cache(ctx context.Context) *Cache {
	return NewCache(ctx, t.read, func() <-chan struct{} { return nil })
}

func keys(sources ...string) (keys []Key) {
	for _, s := range sources {
		keys = append(keys, Key{"r", s})
	}
	return keys
}

func TestValuesAreReadOnce(t *testing.T) {
	t.Parallel()
	db := &table{values: map[string]string{"a": `[1,2]`, "b": `"b"`, "c": `3`}, fits: 2}
	c := db.cache(t.Context())
	c.Prefetch(keys("a", "b", "c"))
	for source, want := range db.values {
		for range 2 {
			v, err := c.Get(t.Context(), Key{"r", source})
			require.NoError(t, err)
			require.JSONEq(t, want, string(v.JSON()))
		}
	}
	require.Equal(t, [][]string{{"a", "b", "c"}, {"c"}}, db.asked, "what did not fit is asked for again")

	a, err := c.Get(t.Context(), Key{"r", "a"})
	require.NoError(t, err)
	elements, err := a.Elements()
	require.NoError(t, err)
	require.Equal(t, []json.RawMessage{json.RawMessage("1"), json.RawMessage("2")}, elements)
	b, err := c.Get(t.Context(), Key{"r", "b"})
	require.NoError(t, err)
	_, err = b.Elements()
	require.Error(t, err)
}

// A value that the database cannot read fails its tasks, and no others.
func TestUnreadableValue(t *testing.T) {
	t.Parallel()
	db := &table{values: map[string]string{"a": `1`, "c": `3`}, errs: map[string]error{"b": &pgconn.PgError{Code: "XX001"}}, fits: 10}
	c := db.cache(t.Context())
	c.Prefetch(keys("a", "b", "c", "gone"))
	for _, source := range []string{"a", "c"} {
		_, err := c.Get(t.Context(), Key{"r", source})
		require.NoError(t, err)
	}
	for source, want := range map[string]string{"b": "cannot be read", "gone": "is not in the database"} {
		_, err := c.Get(t.Context(), Key{"r", source})
		require.ErrorAs(t, err, new(*handler.PermanentError))
		require.ErrorContains(t, err, want)
	}
}

// While the database is away, a read is repeated until the task's context ends.
func TestReadsAreRepeated(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		db := &table{values: map[string]string{"a": `1`}, errs: map[string]error{"a": errors.New("away")}, fits: 1}
		c := db.cache(t.Context())
		revoked, revoke := context.WithCancelCause(t.Context())
		failed := make(chan error)
		go func() {
			_, err := c.Get(revoked, Key{"r", "a"})
			failed <- err
		}()
		got := make(chan *Value)
		go func() {
			v, _ := c.Get(t.Context(), Key{"r", "a"})
			got <- v
		}()
		synctest.Wait()
		revoke(handler.ErrTaskLost)
		require.Equal(t, handler.ErrTaskLost, <-failed)
		db.mu.Lock()
		db.errs = nil
		db.mu.Unlock()
		require.Equal(t, "1", string((<-got).JSON()))
	})
}

// The oldest values make room for new ones; the newest is kept whatever its size.
func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	big := `"` + strings.Repeat("x", cacheBytes/2) + `"`
	db := &table{values: map[string]string{"a": big, "b": big, "c": big + big}, fits: 1}
	c := db.cache(t.Context())
	for _, source := range []string{"a", "b", "b", "c", "c", "a"} {
		_, err := c.Get(t.Context(), Key{"r", source})
		require.NoError(t, err)
	}
	require.Equal(t, [][]string{{"a"}, {"b"}, {"c"}, {"a"}}, db.asked)
	c.mu.Lock()
	defer c.mu.Unlock()
	require.Len(t, c.known, 1)
}
