package dashboard

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// inline finds script and style that the content security policy would block, so
// that a page which relies on them is noticed here.
var inline = regexp.MustCompile(`(?i)<style|<script(?:>| [^>]*(?:[^"]>))[^<]|<[a-z][^<>]* (?:style|on[a-z]+)="`)

func TestPages(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{Name: "testing"})
	id := s.start(`{"order": 1}`)
	s.complete()
	for path, want := range map[string]string{
		"/":                           "Runs over time",
		"/?range=7d":                  "in the last 7 days",
		"/runs":                       shortID(id),
		"/runs/" + id:                 "Timeline",
		"/runs/" + id + "/steps/pack": "12345678901234567890123",
		"/flows":                      "shop",
		"/flows/shop":                 `<td class="num">5</td>`,
		"/queues":                     "idle",
		"/schedules":                  "No flow has a schedule.",
		"/workers":                    "hand",
	} {
		got := s.do(s.request(http.MethodGet, path, nil))
		require.Equal(t, http.StatusOK, got.status, path)
		require.Contains(t, got.body, want, path)
		require.Contains(t, got.body, "testing", path)
		require.NotContains(t, got.body, "ZgotmplZ", "%s: a template refused a value", path)
		require.Empty(t, inline.FindString(got.body), path)
		require.Equal(t, policy, got.header.Get("Content-Security-Policy"))
		require.Equal(t, "nosniff", got.header.Get("X-Content-Type-Options"))
		require.Equal(t, "DENY", got.header.Get("X-Frame-Options"))
		require.Equal(t, "no-store", got.header.Get("Cache-Control"))
	}
	require.NotContains(t, policy, "unsafe")
	for _, path := range []string{"/nowhere", "/runs/" + uuid.NewString(), "/runs/nonsense", "/flows/nothing", "/runs/" + id + "/steps/nothing", "/flows/a%2Fb%22%3E", "/runs/..%2f..%2fx"} {
		s.refused(http.StatusNotFound, path)
	}
	require.Equal(t, http.StatusNotFound, s.do(s.request(http.MethodPut, "/runs", nil)).status)
}

func TestInlineIsFound(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{`<style>a{}</style>`, `<p style="x">`, `<a href="x" onclick="y">`, `<script>x</script>`} {
		require.NotEmpty(t, inline.FindString(bad), bad)
	}
	require.Empty(t, inline.FindString(`<script src="/x.js" defer></script><p title="one">`))
}

func TestEmptyDatabase(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	_, err := runtime.DeleteFlow(s.ctx, s.pool, shop.Slug)
	require.NoError(t, err)
	require.Contains(t, s.get("/"), "There are no flows")
	require.Contains(t, s.get("/runs"), "No runs here")
	require.Contains(t, s.get("/flows"), "There are no flows")
}

func TestRunPage(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	older := s.start(`{}`)
	require.NoError(t, runtime.CancelRun(s.ctx, s.pool, older, "a <reason>"))
	id := s.start(`{"order": 98765432109876543210987, "price": 1.10}`)

	page := s.get("/runs/" + id)
	require.Contains(t, page, `data-events="/runs/`+id+`/events"`)
	require.Contains(t, page, "data-refresh")
	require.Contains(t, page, "98765432109876543210987")
	require.Contains(t, page, `<span class="json-number">1.10</span>`)
	require.Contains(t, page, `rel="next"`)
	require.NotContains(t, page, `rel="prev"`)
	require.Contains(t, s.get("/runs/"+older), `rel="prev"`)
	require.Contains(t, s.get("/runs/"+older), "a &lt;reason&gt;")

	s.work("failed", "the first line\nand a stack\n\tmain.go:1")
	page = s.get("/runs/" + id)
	require.Contains(t, page, "attempt 1 failed")
	require.Contains(t, page, `class="bar failed"`)
	require.Contains(t, page, "the first line")
	require.Contains(t, page, "main.go:1")
	require.Contains(t, page, "Run now")
	require.Contains(t, page, "next attempt")

	_, err := ops.RunNow(s.ctx, s.pool, id, "")
	require.NoError(t, err)
	s.complete()
	page = s.get("/runs/" + id)
	require.NotContains(t, page, "data-events", "it has ended")
	require.NotContains(t, page, "data-refresh")
	require.Contains(t, page, `class="node completed" data-node="pack"`)
	require.Contains(t, page, `class="node skipped" data-node="mail"`)
	require.Contains(t, page, "condition not met")
	require.Contains(t, page, "2 × in")
	require.Equal(t, 2, strings.Count(page, "pack<small>["), "a lane for each task of a map")
	require.Contains(t, page, "4/5, 1 skipped")
	require.Contains(t, page, "12345678901234567890123")
}

func TestFailedRunPage(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	id := s.start(`{}`)
	s.work("permanent", "panic: at the disco\n\ngoroutine 7 [running]:")
	page := s.get("/runs/" + id)
	require.Contains(t, page, `class="banner failed"`)
	require.Contains(t, page, "panic: at the disco")
	require.Contains(t, page, "goroutine 7 [running]:")
	require.Contains(t, page, "not reached")
	require.NotContains(t, page, `class="node started"`, "nothing runs in a run that has ended")
	overview := s.get("/")
	require.Contains(t, overview, "panic: at the disco")
	require.NotContains(t, overview, "goroutine 7", "a list has one line of an error")
}

func TestScheduledRunPage(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	id := s.start(`{}`, runtime.WithDelay(3*time.Hour))
	page := s.get("/runs/" + id)
	require.Contains(t, page, "scheduled for")
	require.Contains(t, page, "(in 3 hours)")
	require.Contains(t, page, "Nothing has happened yet")
}

func TestRunsFilters(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	_, err := runtime.UpsertFlow(s.ctx, s.pool, spec.Flow{Slug: "other", Steps: []spec.Step{{Slug: "only"}}})
	require.NoError(t, err)
	shopping := s.start(`{"order": {"id": "A&B"}}`)
	cancelled := s.start(`{"order": {"id": "C"}}`)
	require.NoError(t, runtime.CancelRun(s.ctx, s.pool, cancelled, ""))
	other, err := runtime.StartFlow(s.ctx, s.pool, "other", nil)
	require.NoError(t, err)
	old := s.start(`{"old": true}`)
	_, err = s.pool.Exec(s.ctx, `UPDATE pgflow.runs SET started_at = now() - interval '3 days' WHERE run_id = $1`, old)
	require.NoError(t, err)

	has := func(path string, want ...string) {
		t.Helper()
		page := s.get(path)
		for _, id := range []string{shopping, cancelled, other.ID(), old} {
			require.Equal(t, slices.Contains(want, id), strings.Contains(page, "/runs/"+id), "%s: %s", path, id)
		}
	}
	has("/runs", shopping, cancelled, other.ID())
	has("/runs?flow=other", other.ID())
	has("/runs?status=cancelled", cancelled)
	has("/runs?status=cancelled&status=running&flow=shop", shopping, cancelled)
	has("/runs?time=7d", shopping, cancelled, other.ID(), old)
	has("/runs?time=all&flow=shop&status=running", shopping, old)
	has("/runs?contains="+url.QueryEscape(`{"order": {"id": "A&B"}}`), shopping)
	require.Contains(t, s.get("/runs?flow=nothing"), "Look further back")
	for _, bad := range []string{"time=ever", "status=lost", "contains=%7B", "after=1_2", "after=x"} {
		s.refused(http.StatusBadRequest, "/runs?"+bad)
	}
}

func TestRunsPages(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	inputs := make([]any, 2*runsPerPage+7)
	started, err := runtime.StartMany(s.ctx, s.pool, shop.Slug, inputs)
	require.NoError(t, err)
	seen := map[string]int{}
	path, pages := "/runs?flow=shop", 0
	for path != "" {
		page := s.get(path)
		for _, m := range regexp.MustCompile(`name="id" value="([^"]+)"`).FindAllStringSubmatch(page, -1) {
			seen[m[1]]++
		}
		path, pages = "", pages+1
		if m := regexp.MustCompile(`href="([^"]+)" rel="next"`).FindStringSubmatch(page); m != nil {
			path = strings.ReplaceAll(m[1], "&amp;", "&")
			require.Contains(t, path, "flow=shop", "the next page has the same filters")
		}
	}
	require.Equal(t, 3, pages)
	require.Len(t, seen, len(started))
	for id, n := range seen {
		require.Equal(t, 1, n, id)
	}
}

func TestStepPage(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	id := s.start(`{}`)
	s.work("completed", `{"mail": false}`)
	elements := strings.TrimSuffix(strings.Repeat("1,", tasksPerPage+20), ",")
	s.work("completed", "["+elements+"]")
	s.work("failed", "once")
	path := "/runs/" + id + "/steps/pack"
	page := s.get(path)
	require.Contains(t, page, "after="+fmt.Sprint(tasksPerPage-1))
	require.Equal(t, tasksPerPage, strings.Count(page, `<tr class="queued"`))
	require.Equal(t, 20, strings.Count(s.get(path+"?after="+fmt.Sprint(tasksPerPage-1)), `<tr class="queued"`))
	require.Contains(t, s.get(path+"?status=completed"), "No tasks here")
	s.refused(http.StatusBadRequest, path+"?status=lost")
	s.refused(http.StatusBadRequest, path+"?after=x")
	run := s.get("/runs/" + id)
	require.Contains(t, run, "All 120 tasks")
	require.Contains(t, run, "112 more of pack")
}

func TestPayload(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	long := strings.Repeat("0123456789 abcdefghij ", 20_000)
	id := s.start(fmt.Sprintf(`{"n": 12345678901234567890, "random": %q}`, randomText(60_000)+long))
	page := s.get("/runs/" + id)
	require.Contains(t, page, "too long to show here")
	require.Less(t, len(page), 60_000)
	raw := s.do(s.request(http.MethodGet, "/runs/"+id+"/payload?of=run_input", nil))
	require.Equal(t, http.StatusOK, raw.status)
	require.Contains(t, raw.body, "12345678901234567890")
	require.Contains(t, raw.body, long)
	require.Equal(t, "application/json; charset=utf-8", raw.header.Get("Content-Type"))
	s.work("completed", `{"x": 1}`)
	require.JSONEq(t, `{"x": 1}`, s.get("/runs/"+id+"/payload?of=step_output&step=check"))
	require.JSONEq(t, `{"x": 1}`, s.get("/runs/"+id+"/payload?of=task_output&step=check&index=0"))
	s.refused(http.StatusNotFound, "/runs/"+id+"/payload?of=step_output&step=lines")
	s.refused(http.StatusNotFound, "/runs/"+id+"/payload?of=anything")
	s.refused(http.StatusBadRequest, "/runs/"+id+"/payload?of=task_output&index=x")
}

// randomText returns text that does not compress.
func randomText(n int) string {
	var b strings.Builder
	for b.Len() < n {
		b.WriteString(uuid.NewString())
	}
	return b.String()
}

func TestDriftIsShown(t *testing.T) {
	t.Parallel()
	changed := shop
	changed.Steps = append([]spec.Step(nil), shop.Steps...)
	changed.Steps[0].MaxAttempts = 9
	missing := spec.Flow{Slug: "missing", Steps: []spec.Step{{Slug: "only"}}}
	s := newSite(t, Config{Definitions: []spec.Flow{changed, missing}})
	require.Contains(t, s.get("/flows"), "drift")
	require.Contains(t, s.get("/flows"), "missing")
	require.Contains(t, s.get("/flows/shop"), "max_attempts is 9 in the program and 5 in the database")
	s.serve(Config{Definitions: []spec.Flow{shop}})
	require.NotContains(t, s.get("/flows"), "drift")
	require.Contains(t, s.get("/flows/shop"), "as declared")
}

func TestEngineMissing(t *testing.T) {
	t.Parallel()
	s := &site{T: t, ctx: t.Context(), pool: dbtest.Connect(t, dbtest.Empty(t))}
	s.serve(Config{})
	for _, path := range []string{"/", "/runs", "/runs/" + uuid.NewString(), "/flows", "/workers"} {
		require.Contains(t, s.refused(http.StatusServiceUnavailable, path), "flowc migrate up", path)
	}
}

func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	require.Equal(t, "ok\n", s.get("/healthz"))
	s.pool.Close()
	s.refused(http.StatusServiceUnavailable, "/healthz")
	page := s.refused(http.StatusInternalServerError, "/runs")
	require.Contains(t, page, "The log of this program says why")
	require.NotContains(t, page, "closed pool", "what the database says is for the log")
	require.Contains(t, s.get("/metrics"), "flowc_up 0")
}

func TestRunsByFields(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{"a": 1}`: `{"a": 1}`, `a=1`: `{"a":1}`, `a=x b=true`: `{"a":"x","b":true}`,
		`customer.mail=i@example.com customer.age=30`: `{"customer":{"age":30,"mail":"i@example.com"}}`,
		`id="1001"`: `{"id":"1001"}`, `big=12345678901234567890`: `{"big":12345678901234567890}`,
	} {
		got, err := containsOf(text)
		require.NoError(t, err, text)
		require.JSONEq(t, want, string(got), text)
		require.Equal(t, strings.Contains(want, "12345678901234567890"), strings.Contains(string(got), "12345678901234567890"))
	}
	for _, text := range []string{`{"a": `, `a`, `=1`, `a=1 b`, `{a=1}`} {
		_, err := containsOf(text)
		require.ErrorContains(t, err, "order_id=1001", text)
	}
	s := newSite(t, Config{})
	id := s.start(`{"customer": {"mail": "i@example.com"}, "n": 7}`)
	s.start(`{"n": 7}`)
	page := s.get("/runs?contains=" + url.QueryEscape("n=7 customer.mail=i@example.com"))
	require.Equal(t, 1, strings.Count(page, `name="id"`))
	require.Contains(t, page, id)
}

func TestWorkersPageShowsTasksInFlight(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	id := s.start(`{}`)
	_, err := s.pool.Exec(s.ctx, `SELECT flowc.register_worker($1, 'hand', '{shop}')`, s.hand)
	require.NoError(t, err)
	_, err = s.pool.Exec(s.ctx, `SELECT flowc.claim($1::uuid, '{shop}', '{1}')`, s.hand)
	require.NoError(t, err)
	page := s.get("/workers")
	require.Contains(t, page, `href="/runs/`+id+`#step-check"`)
	require.Contains(t, page, `<a href="/flows/shop">shop</a>`)
}

// TestRunsAreTold: runs with skipped steps and with steps that gave up can be told from
// clean ones, in their row, its bar and by filters, and are found by id and error.
func TestRunsAreTold(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	def := spec.Flow{Slug: "marked", MaxAttempts: 1, Result: &spec.Result{From: "a"}, Steps: []spec.Step{
		{Slug: "a"},
		{Slug: "b", If: json.RawMessage(`{"b": true}`)},
		{Slug: "c", Type: spec.TypeMap, Deps: []string{"a"}, WhenExhausted: spec.ModeSkip},
	}}
	_, err := runtime.UpsertFlow(s.ctx, s.pool, def)
	require.NoError(t, err)
	run, err := runtime.StartFlow(s.ctx, s.pool, def.Slug, json.RawMessage(`{}`))
	require.NoError(t, err)
	id := run.ID()
	page := s.get("/runs/" + id)
	require.Contains(t, page, "no worker serves marked")
	_, err = s.pool.Exec(s.ctx, `INSERT INTO flowc.worker_flows VALUES ($1, 'marked')`, s.hand)
	require.NoError(t, err)
	_, err = ops.PauseFlow(s.ctx, s.pool, def.Slug, "ann <b>")
	require.NoError(t, err)
	require.Contains(t, s.get("/runs/"+id), "ago by ann &lt;b&gt;</li>")
	_, err = ops.ResumeFlow(s.ctx, s.pool, def.Slug)
	require.NoError(t, err)
	for _, outcome := range []string{"completed", "failed"} {
		_, err = s.pool.Exec(s.ctx, `
WITH task AS MATERIALIZED (SELECT * FROM flowc.claim($1::uuid, ARRAY['marked'], '{1}'))
SELECT count(f.n) FROM task t, flowc.report($1::uuid, ARRAY[t.run_id], ARRAY[t.step_slug], ARRAY[t.task_index],
  ARRAY[t.message_id], ARRAY[t.attempt], ARRAY[$2], ARRAY['["x"]'::jsonb], ARRAY['No box'], ARRAY[NULL::float8]) f`, s.hand, outcome)
		require.NoError(t, err)
	}
	page = s.get("/runs/" + id)
	require.Contains(t, page, "1/3, 1 skipped, 1 gave up")
	require.Contains(t, page, "Gave up after its last attempt, at element 0")
	require.Contains(t, page, "<span>Result</span>")
	require.Contains(t, page, "of=run_result")
	require.NotContains(t, page, `class="waits"`)
	require.JSONEq(t, `["x"]`, s.get("/runs/"+id+"/payload?of=run_result"))

	for query, found := range map[string]bool{
		"": true, "with=skipped": true, "with=gave_up": true, "with=clean": false, "with=clean&with=gave_up": true,
		"q=no+box": true, "q=" + id[:20]: true, "q=" + id[24:]: true, "q=no+bix": false, "q=" + id[24:] + "&time=1h": true,
	} {
		page := s.get("/runs?flow=marked&" + query)
		require.Equal(t, found, strings.Contains(page, `href="/runs/`+id+`"`), query)
		if found {
			require.Contains(t, page, "1/3, 1 skipped, 1 gave up")
			require.Contains(t, page, `class="gave-up"`)
		}
	}
	response, err := http.Get(s.server.URL + "/runs?q=" + strings.ToUpper(id))
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, "/runs/"+id, response.Request.URL.Path, "a whole id leads to the run")
}

// TestBadFiltersKeepThePage: what was typed stays there, to be put right.
func TestBadFiltersKeepThePage(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	for query, problem := range map[string]string{
		"contains=%7B%22a&flow=shop":        "What the input has to contain is not understood.",
		"status=done&flow=shop":             "There is no status",
		"with=dirt&flow=shop":               "Runs cannot be filtered by",
		"time=never&flow=shop":              "There is no time range",
		"after=x&flow=shop":                 "begin again at the first page of runs.",
		"contains=%22%5Cu0000%22&flow=shop": "The filters cannot be used: ",
	} {
		response, err := http.Get(s.server.URL + "/runs?" + query)
		require.NoError(t, err)
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, http.StatusBadRequest, response.StatusCode, query)
		require.Contains(t, string(body), problem, query)
		require.Contains(t, string(body), `<option selected>shop</option>`, query)
		require.Contains(t, string(body), `class="filters"`, query)
	}
	page := s.get // only good ones are 200
	require.NotContains(t, page("/runs?flow=shop"), `id="problem"`)
}

// TestReplacedFlowsAreMarked: in the list, on their page and those of their runs.
func TestReplacedFlowsAreMarked(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	_, err := runtime.UpsertFlow(s.ctx, s.pool, shop.As("shop_v2"))
	require.NoError(t, err)
	id := s.start(`{}`)
	for _, path := range []string{"/flows", "/runs/" + id} {
		require.Contains(t, s.get(path), "replaced by shop_v2", path)
	}
	require.Contains(t, s.get("/flows/shop"), `<b>Replaced</b> by <a href="/flows/shop_v2">`)
	require.NotContains(t, s.get("/flows/shop_v2"), "Replaced")
	require.Contains(t, s.get("/runs"), `title="Replaced by shop_v2"`)
}

// TestReplacedFlowsAreWarnedOf holds that a flow whose runs nobody would go on with is said
// first, also if these runs only wait for answers.
func TestReplacedFlowsAreWarnedOf(t *testing.T) {
	t.Parallel()
	require.Equal(t, []warning{
		{"pack", "2 tasks wait and no worker serves it; pack_v2 has replaced it", true},
		{"claims", "was replaced by claims_v2, and no worker serves its 3 unfinished runs", false},
	}, warnings([]ops.FlowInfo{
		{Slug: "pack", ReplacedBy: "pack_v2", Waiting: 2, Running: 1},
		{Slug: "claims", ReplacedBy: "claims_v2", Running: 3},
		{Slug: "served", ReplacedBy: "served_v2", Running: 3, Workers: 1},
		{Slug: "ended", ReplacedBy: "ended_v2"},
		{Slug: "newest", Running: 3},
	}))
}

// TestUniqueRun: the page of a run says what makes it unique, and why it cannot be retried.
func TestUniqueRun(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	_, err := runtime.UpsertFlow(s.ctx, s.pool, spec.Flow{
		Slug: "sync", Unique: &spec.Unique{By: []spec.Path{{spec.RunKey, "account"}}}, Steps: []spec.Step{{Slug: "fetch"}}})
	require.NoError(t, err)
	first, err := runtime.StartFlow(s.ctx, s.pool, "sync", map[string]int{"account": 7})
	require.NoError(t, err)
	require.Contains(t, s.get("/runs/"+first.ID()), ">account=7</dd>")
	require.NoError(t, runtime.CancelRun(s.ctx, s.pool, first.ID(), ""))
	second, err := runtime.StartFlow(s.ctx, s.pool, "sync", map[string]int{"account": 7})
	require.NoError(t, err)
	page := s.do(s.request(http.MethodPost, "/runs/"+first.ID()+"/retry", nil))
	require.Equal(t, http.StatusConflict, page.status)
	require.Contains(t, page.body, "Run "+second.ID()+" has the same unique values")
	page = s.do(s.request(http.MethodPost, "/runs", url.Values{"action": {"retry"}, "id": {first.ID()}}))
	require.Equal(t, http.StatusSeeOther, page.status)
	require.Equal(t, runtime.RunCancelled, s.status(first.ID()))

	hidden := func(string, string, json.RawMessage) json.RawMessage { return json.RawMessage(`"hidden"`) }
	s.serve(Config{Redact: hidden})
	require.NotContains(t, s.get("/runs/"+first.ID()), "account=7")
}
