package dashboard

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
	"github.com/flowc-dev/flowc/runtime/internal/faultnet"
	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/flowc-dev/flowc/runtime/shards"
)

// A shardedSite is a dashboard over three databases, of which b can be cut off.
type shardedSite struct {
	*site
	shards *shards.DB
	pools  map[string]*pgxpool.Pool
	b      *faultnet.Proxy
	runs   map[string]string // one on each shard
}

func newShardedSite(t *testing.T) *shardedSite {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*patience)
	t.Cleanup(cancel)
	s := &shardedSite{site: &site{T: t, ctx: ctx}, pools: map[string]*pgxpool.Pool{}, runs: map[string]string{}}
	for _, name := range []string{"a", "b", "c"} {
		s.pools[name] = dbtest.Pool(t)
	}
	direct := s.pools["b"].Config().ConnConfig
	var err error
	s.b, err = faultnet.NewProxy(direct.ConnString())
	require.NoError(t, err)
	t.Cleanup(func() { s.b.Close() })
	s.pools["b"] = dbtest.Connect(t, s.b.URL(direct.User, direct.Database))
	require.NoError(t, shards.Init(ctx, s.pools))
	s.shards, err = shards.Open(ctx, s.pools)
	require.NoError(t, err)
	_, err = runtime.UpsertFlow(ctx, s.shards, shop)
	require.NoError(t, err)
	for name, pool := range s.pools {
		_, err = pool.Exec(ctx, `SELECT flowc.register_worker($1, $2, '{shop}')`, uuid.New(), "hand "+name)
		require.NoError(t, err)
		run, err := runtime.StartFlow(ctx, s.shards.On(name), shop.Slug, json.RawMessage(`{}`))
		require.NoError(t, err)
		s.runs[name] = run.ID()
	}
	s.db = s.shards
	s.serve(Config{})
	return s
}

// cut cuts shard b off, so that figures are read without it.
func (s *shardedSite) cut() {
	s.b.Refuse()
	s.h.cache.clear()
}

// restore waits until shard b is part of it again.
func (s *shardedSite) restore() {
	s.Helper()
	require.NoError(s, s.b.Accept())
	require.Eventually(s, func() bool {
		_, err := ops.ListFlows(s.ctx, s.shards, time.Now())
		return err == nil
	}, patience, 50*time.Millisecond)
	s.h.cache.clear()
}

// All pages show what all shards have, and where it is.
func TestShards(t *testing.T) {
	t.Parallel()
	s := newShardedSite(t)
	overview := s.get("/")
	for name := range s.pools {
		require.Contains(t, overview, "<tr><td><b>"+name+"</b></td><td><span class=\"badge shard-active\">active</span></td><td><span class=\"badge completed\">yes</span></td><td class=\"num\">1</td>")
	}
	require.Contains(t, overview, `of 3 runs started`)
	require.NotContains(t, overview, "unreachable")
	list := s.get("/runs")
	require.Contains(t, list, `<th class="wide-only">Shard</th>`)
	for name, id := range s.runs {
		require.Contains(t, list, id)
		require.Contains(t, list, `<td class="cell-shard wide-only">`+name+`</td>`)
		page := s.get("/runs/" + id)
		require.Contains(t, page, "<dt>Shard</dt><dd>"+name+"</dd>")
		s.get("/runs/" + id + "/steps/check")
		require.Equal(t, "{}", strings.TrimSpace(s.get("/runs/"+id+"/payload?of=run_input")))
		require.Contains(t, s.get("/workers"), "hand "+name+"</b>")
	}
	s.get("/flows")
	require.Contains(t, s.get("/flows/shop"), "3 running")
	s.get("/queues")
	s.get("/schedules")
	require.Equal(t, "ok\n", s.get("/healthz"))
	metrics := s.get("/metrics")
	require.Contains(t, metrics, "flowc_up 1\n")
	require.Contains(t, metrics, `flowc_runs{flow="shop",status="running"} 3`)
	for name := range s.pools {
		require.Contains(t, metrics, fmt.Sprintf("flowc_shard_up{shard=%q} 1\n", name))
		require.Contains(t, metrics, fmt.Sprintf("flowc_shard_runs{shard=%q,status=\"running\"} 1\n", name))
		require.Contains(t, metrics, fmt.Sprintf("flowc_shard_workers{shard=%q} ", name)) // it may be silent by now
	}

	// One database shows none of that.
	s.pool = s.pools["a"]
	s.db = nil
	s.serve(Config{})
	require.NotContains(t, s.get("/")+s.get("/runs")+s.get("/workers")+s.get("/metrics")+s.get("/runs/"+s.runs["a"]), "hard")
}

// Lists of runs are read page by page.
func TestShardsPages(t *testing.T) {
	t.Parallel()
	s := newShardedSite(t)
	for range 2 * runsPerPage {
		_, err := runtime.StartFlow(s.ctx, s.shards, shop.Slug, json.RawMessage(`{}`))
		require.NoError(t, err)
	}
	seen := map[string]bool{}
	for path := "/runs"; path != ""; {
		page := s.get(path)
		for part := range strings.SplitSeq(page, `name="id" value="`) {
			if id := part[:min(36, len(part))]; uuid.Validate(id) == nil {
				require.False(t, seen[id], "on two pages")
				seen[id] = true
			}
		}
		_, older, found := strings.Cut(page, `class="button" href="/runs?after=`)
		if path = ""; found {
			after, _, _ := strings.Cut(older, `"`)
			path = "/runs?after=" + after
		}
	}
	require.Len(t, seen, 2*runsPerPage+3)
}

// Actions go to the shard of the run, or to all.
func TestShardsActions(t *testing.T) {
	t.Parallel()
	s := newShardedSite(t)
	status := func(name string) runtime.RunStatus {
		info, err := runtime.GetRun(s.ctx, s.pools[name], s.runs[name])
		require.NoError(t, err)
		return info.Status
	}
	require.Contains(t, s.post("/runs/"+s.runs["c"]+"/cancel", url.Values{"reason": {"no more"}}), "The run was cancelled.")
	require.Equal(t, runtime.RunCancelled, status("c"))
	require.Equal(t, runtime.RunRunning, status("a"))
	require.Contains(t, s.post("/runs/"+s.runs["c"]+"/retry", url.Values{}), "The run was resumed.")
	require.Contains(t, s.post("/runs", url.Values{"action": {"cancel"}, "scope-cancel": {"all"}}), "3 runs were cancelled.")
	for name := range s.pools {
		require.Equal(t, runtime.RunCancelled, status(name), name)
	}
	require.Contains(t, s.post("/flows/shop/pause", nil), "The flow is paused")
	for name, pool := range s.pools {
		flows, err := ops.ListFlows(s.ctx, pool, time.Now())
		require.NoError(t, err)
		require.False(t, flows[0].PausedAt.IsZero(), name)
	}
	require.Contains(t, s.post("/flows/shop/resume", nil), "The flow was resumed.")
	require.Contains(t, s.post("/flows/shop/start", url.Values{"input": {"7"}}), "The run was started.")
	require.Contains(t, s.post("/runs/"+s.runs["b"]+"/delete", url.Values{}), "The run was deleted.")
	s.refused(http.StatusNotFound, "/runs/"+s.runs["b"])
}

// Without one shard, pages show what the others have and say which is missing.
func TestShardsWithoutOne(t *testing.T) {
	t.Parallel()
	s := newShardedSite(t)
	s.cut()
	missing := `<div class="banner failed"><b>Shard b</b> is unreachable. This page shows what the others have.</div>`
	for _, path := range []string{"/", "/runs", "/flows", "/flows/shop", "/queues", "/schedules", "/workers", "/runs/" + s.runs["a"]} {
		require.Contains(t, s.get(path), missing, path)
	}
	require.Contains(t, s.get("/"), "<tr><td><b>b</b></td><td><span class=\"badge shard-active\">active</span></td><td><span class=\"badge failed\">no</span></td>")
	list := s.get("/runs")
	require.Contains(t, list, s.runs["a"])
	require.Contains(t, list, s.runs["c"])
	require.NotContains(t, list, s.runs["b"])
	require.Contains(t, s.refused(http.StatusServiceUnavailable, "/runs/"+s.runs["b"]), "This is on a shard that does not answer: shard b is unreachable.")
	require.Equal(t, "ok\nshard b unreachable\n", s.get("/healthz"))
	metrics := s.get("/metrics")
	for _, line := range []string{"flowc_up 1", `flowc_shard_up{shard="a"} 1`, `flowc_shard_up{shard="b"} 0`, `flowc_runs{flow="shop",status="running"} 2`} {
		require.Contains(t, metrics, line+"\n")
	}
	require.Contains(t, metrics, `flowc_shard_active{shard="b"} 1`)
	for _, name := range []string{"flowc_shard_runs", "flowc_shard_tasks_waiting", "flowc_shard_tasks_in_flight", "flowc_shard_workers"} {
		require.Contains(t, metrics, name+`{shard="a"`)
		require.NotContains(t, metrics, name+`{shard="b"`, "they are not known")
	}
	got := s.do(s.request(http.MethodPost, "/flows/shop/pause", nil))
	require.Equal(t, http.StatusServiceUnavailable, got.status)
	require.Contains(t, got.body, "It was done on the other shards, but shard b is unreachable. Repeat it when that has changed.")
	require.Contains(t, s.post("/runs", url.Values{"action": {"cancel"}, "scope-cancel": {"all"}}), "2 runs were cancelled.")
	s.refused(http.StatusNotFound, "/flows/nothing")

	s.restore()
	page := s.get("/flows/shop")
	require.NotContains(t, page, missing)
	require.Contains(t, page, "by the dashboard on a, c only: workers get none of its tasks there.")
	require.Contains(t, page, `action="/flows/shop/resume"`)
	require.Contains(t, page, `popovertarget="pause"`)
	require.Contains(t, s.get("/runs/"+s.runs["b"]), "<dt>Shard</dt><dd>b</dd>")
}

// Without any shard there is nothing to show.
func TestShardsWithoutAny(t *testing.T) {
	t.Parallel()
	s := newShardedSite(t)
	for _, pool := range s.pools {
		pool.Close()
	}
	page := s.refused(http.StatusServiceUnavailable, "/")
	require.Regexp(t, "They do not answer: shard a (is unreachable|did not answer in time), shard b (is unreachable|did not answer in time), shard c (is unreachable|did not answer in time)[.]", page)
	s.refused(http.StatusServiceUnavailable, "/healthz")
	require.Contains(t, s.get("/metrics"), "flowc_up 0\n")
}

// A run is followed on its shard.
func TestShardsEvents(t *testing.T) {
	t.Parallel()
	s := newShardedSite(t)
	request := s.request(http.MethodGet, "/runs/"+s.runs["c"]+"/events", nil)
	response, err := s.server.Client().Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	s.b.Refuse() // which does not matter
	require.NoError(t, runtime.CancelRun(s.ctx, s.shards, s.runs["c"], ""))
	all, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Contains(t, string(all), `"status":"cancelled"`)
	require.Contains(t, string(all), "event: end")
}

// In a browser, pages fit, name the shard that is missing, and notice when it is back.
func TestBrowserShowsShards(t *testing.T) {
	t.Parallel()
	s := newShardedSite(t)
	b := newBrowser(s.site)
	s.cut()
	for _, path := range []string{"/", "/runs", "/runs/" + s.runs["a"], "/flows", "/flows/shop", "/queues", "/schedules", "/workers"} {
		b.open(path)
		require.Equal(t, "Shard b is unreachable. This page shows what the others have.", js[string](b, `document.querySelector("#silent .banner").textContent`), path)
		for _, width := range []int64{390, 820, 1440} {
			b.size(width, "light")
			require.LessOrEqual(t, js[float64](b, `document.documentElement.scrollWidth - innerWidth`), 0.0, "%s is wider than %d", path, width)
			require.Empty(t, js[string](b, clipped), "%s at %d: cut off", path, width)
		}
	}
	b.open("/")
	require.Equal(t, "no", js[string](b, `document.querySelector("#shards tr:nth-child(2) td:nth-child(3)").textContent`))
	b.open("/runs")
	require.Equal(t, 2.0, js[float64](b, `document.querySelectorAll("input[name=id]").length`))
	require.True(t, js[bool](b, `[...document.querySelectorAll(".cell-shard")].every((e) => e.getBoundingClientRect().width > 0 && "ac".includes(e.textContent))`))
	js[bool](b, `window.stayed = true`)
	s.restore()
	b.wait(`!document.querySelector("#silent .banner")`)
	b.wait(`document.querySelectorAll("input[name=id]").length === 3`)
	require.True(t, js[bool](b, `window.stayed === true`), "the page was not loaded anew")

	// Live pages and actions go to the shard of the run.
	b.open("/runs/" + s.runs["b"])
	require.NoError(t, runtime.CancelRun(s.ctx, s.shards, s.runs["b"], ""))
	b.wait(`document.querySelector("#head .badge").textContent === "cancelled"`)
	b.open("/runs/" + s.runs["c"])
	b.click(`[popovertarget=cancel].button`)
	b.submit(`#cancel button[type=submit]`)
	require.Contains(t, js[string](b, `document.querySelector(".notice").textContent`), "The run was cancelled.")
}
