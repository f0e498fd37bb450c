package dashboard

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/internal/pgerr"
	"github.com/flowc-dev/flowc/runtime/ops"
)

// A silentShard is a shard that did not answer. A page shows what the others have.
type silentShard struct{ Name, Why string }

// A silence collects the shards that did not answer while a page was read.
type silence struct {
	mu     sync.Mutex
	shards []silentShard
}

type silenceKey struct{}

// listening returns a request in whose context silent shards are collected.
func listening(r *http.Request) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), silenceKey{}, new(silence)))
}

// tolerate returns an error unless it is about some of the shards only. Those it collects,
// for the page to name them.
func (h *Handler) tolerate(ctx context.Context, err error) error {
	partial := ops.Partial(err)
	collected, ok := ctx.Value(silenceKey{}).(*silence)
	if partial == nil || !ok {
		return err
	}
	collected.mu.Lock()
	defer collected.mu.Unlock()
	for _, s := range partial.Shards {
		if !slices.ContainsFunc(collected.shards, func(known silentShard) bool { return known.Name == s.Shard }) {
			collected.shards = append(collected.shards, silentShard{s.Shard, whyOf(s.Err)})
		}
		h.logSilent(ctx, s)
	}
	return nil
}

// silent returns the shards that did not answer a request so far.
func silent(r *http.Request) []silentShard {
	collected, ok := r.Context().Value(silenceKey{}).(*silence)
	if !ok {
		return nil
	}
	collected.mu.Lock()
	defer collected.mu.Unlock()
	return collected.shards
}

// whyOf returns why a shard does not answer, in words for users: the error itself may say
// where it is and who logs in.
func whyOf(err error) string {
	switch {
	case errors.Is(err, runtime.ErrEngineMissing):
		return "has no flowc engine, or an older one: run flowc migrate up"
	case errors.Is(err, runtime.ErrNeedsEngine):
		return "has a pgflow that was not installed by flowc"
	case pgerr.Code(err) == insufficientPrivilege:
		return "refuses the database role of this dashboard"
	case errors.Is(err, context.DeadlineExceeded):
		return "did not answer in time"
	}
	return "is unreachable"
}

// shardStatus returns the response for an error of shards, nil for any other.
func shardStatus(err error) *statusError {
	faults := shardErrors(err)
	if len(faults) == 0 {
		return nil
	}
	whys := make([]string, len(faults))
	for i, f := range faults {
		whys[i] = "shard " + f.Shard + " " + whyOf(f.Err)
	}
	why := strings.Join(whys, ", ")
	switch {
	case ops.Partial(err) != nil:
		return &statusError{http.StatusServiceUnavailable, "Not on all shards", "It was done on the other shards, but " + why + ". Repeat it when that has changed."}
	case len(faults) == 1:
		return &statusError{http.StatusServiceUnavailable, "Shard " + faults[0].Shard, "This is on a shard that does not answer: " + why + ". What the others have can be seen."}
	}
	return &statusError{http.StatusServiceUnavailable, "Several shards", "They do not answer: " + why + "."}
}

// shardErrors returns the errors of shards in an error.
func shardErrors(err error) (all []*ops.ShardError) {
	switch e := err.(type) {
	case *ops.ShardError:
		return []*ops.ShardError{e}
	case interface{ Unwrap() []error }:
		for _, one := range e.Unwrap() {
			all = append(all, shardErrors(one)...)
		}
	case interface{ Unwrap() error }:
		return shardErrors(e.Unwrap())
	}
	return all
}

// logEvery is how often it is logged that a shard does not answer, which each page finds.
const logEvery = time.Minute

func (h *Handler) logSilent(ctx context.Context, s *ops.ShardError) {
	if last, ok := h.logged.Load(s.Shard); ok && time.Since(last.(time.Time)) < logEvery {
		return
	}
	h.logged.Store(s.Shard, time.Now())
	h.log.WarnContext(ctx, "flowc: dashboard: a shard does not answer", "shard", s.Shard, "error", s.Err)
}

// isSharded reports whether a database consists of several.
func isSharded(db runtime.DB) bool {
	b, ok := db.(runtime.BackendDB)
	if ok {
		_, ok = b.Backend().(ops.Sharder)
	}
	return ok
}

// shards returns the shards with their figures in a range of time, none if there is one
// database.
func (h *Handler) shards(ctx context.Context, span time.Duration) ([]ops.ShardInfo, error) {
	if !h.sharded {
		return nil, nil
	}
	return cached(ctx, h, "shards "+span.String(), func(ctx context.Context) ([]ops.ShardInfo, error) {
		return ops.ListShards(ctx, h.db, time.Now().Add(-span))
	})
}

// shardsHealth writes which shards answer. Without any, nothing can be shown.
func (h *Handler) shardsHealth(ctx context.Context, w http.ResponseWriter) {
	shards, err := ops.ListShards(ctx, h.db, time.Now())
	status, lines := http.StatusServiceUnavailable, ""
	for _, s := range shards {
		if s.Error == "" {
			status = http.StatusOK
			continue
		}
		lines += fmt.Sprintf("shard %s unreachable\n", s.Name)
	}
	if err != nil || status != http.StatusOK {
		h.log.ErrorContext(ctx, "flowc: dashboard: no shard answers", "error", err, "shards", strings.TrimSpace(lines))
	}
	w.WriteHeader(status)
	if status == http.StatusOK {
		lines = "ok\n" + lines
	}
	_, _ = fmt.Fprint(w, lines)
}

// shards writes the figures of each shard.
func (m *exposition) shards(shards []ops.ShardInfo) {
	each := func(name, help string, value func(ops.ShardInfo) float64) {
		m.family(name, "gauge", help)
		for _, s := range shards {
			m.sample(name, value(s), "shard", s.Name)
		}
	}
	each("flowc_shard_up", "Whether the shard answers. The other figures are sums over those that do.", func(s ops.ShardInfo) float64 {
		if s.Error != "" {
			return 0
		}
		return 1
	})
	each("flowc_shard_active", "Whether the shard gets new runs.", func(s ops.ShardInfo) float64 {
		if s.State != ops.ShardActive {
			return 0
		}
		return 1
	})
	shards = slices.DeleteFunc(slices.Clone(shards), func(s ops.ShardInfo) bool { return s.Error != "" }) // whose figures are not known
	m.family("flowc_shard_runs", "gauge", "Runs of the shard that started in the last hour, by what became of them.")
	for _, s := range shards {
		m.sample("flowc_shard_runs", float64(s.Completed), "shard", s.Name, "status", "completed")
		m.sample("flowc_shard_runs", float64(s.Failed), "shard", s.Name, "status", "failed")
		m.sample("flowc_shard_runs", float64(s.Running), "shard", s.Name, "status", "running")
	}
	each("flowc_shard_tasks_waiting", "Tasks of the shard that a worker could start now.", func(s ops.ShardInfo) float64 { return float64(s.Waiting) })
	each("flowc_shard_tasks_in_flight", "Tasks of the shard that a worker has.", func(s ops.ShardInfo) float64 { return float64(s.InFlight) })
	each("flowc_shard_workers", "Workers of the shard.", func(s ops.ShardInfo) float64 { return float64(s.Workers) })
}
