package dashboard

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// index is a flow with limits: two tasks of each tenant at once, and a rate that it shares.
var index = spec.Flow{Slug: "index", Steps: []spec.Step{
	{Slug: "store", Concurrency: 2, Key: spec.Path{spec.RunKey, "tenant"}},
	{Slug: "embed", Deps: []string{"store"}, Gate: "openai", Rate: spec.Rate{Tokens: 500, Per: time.Minute}},
	{Slug: "tell", Deps: []string{"embed"}, Key: spec.Path{spec.RunKey, "tenant"}},
}}

// newIndex opens a dashboard of a database in which a worker has two tasks of the tenant acme
// in flight, and others wait. It returns a run that waits for its turn.
func newIndex(t *testing.T, config Config) (s *site, id string) {
	t.Helper()
	s = newSite(t, config)
	return s, s.index()
}

func (s *site) index() (id string) {
	s.Helper()
	_, err := runtime.UpsertFlow(s.ctx, s.pool, index)
	require.NoError(s, err)
	start := func(tenant string) string {
		run, err := runtime.StartFlow(s.ctx, s.pool, index.Slug, json.RawMessage(fmt.Sprintf(`{"tenant": %q}`, tenant)))
		require.NoError(s, err)
		return run.ID()
	}
	for range 2 {
		start("acme")
	}
	worker := uuid.New()
	_, err = s.pool.Exec(s.ctx, `INSERT INTO pgflow.workers (worker_id, queue_name, function_name) VALUES ($1, '*', 'indexer')`, worker)
	require.NoError(s, err)
	_, err = s.pool.Exec(s.ctx, `INSERT INTO flowc.worker_flows (worker_id, flow_slug) VALUES ($1, 'index')`, worker)
	require.NoError(s, err)
	_, err = s.pool.Exec(s.ctx, `SELECT flowc.claim_gated($1::uuid, '{index.store}', '{2}')`, worker)
	require.NoError(s, err)
	start("<b>")
	return start("acme")
}

func (s *site) gate(name, key string) ops.Gate {
	s.Helper()
	gates, err := ops.ListGates(s.ctx, s.pool, ops.GateFilter{})
	require.NoError(s, err)
	for _, g := range gates {
		if g.Name == name && g.Key == key {
			return g
		}
	}
	s.Fatal("no such gate: ", name, key)
	return ops.Gate{}
}

func TestGatesPage(t *testing.T) {
	t.Parallel()
	s, id := newIndex(t, Config{})
	page := s.get("/gates")
	for _, want := range []string{
		`<b title="index.store">index.store</b>`, "<code>acme</code>", "<code>&lt;b&gt;</code>", "2 at once", "2 of 2", `<span class="badge queue-behind">full</span>`,
		`<b title="index.embed">openai</b>`, "500/m", `<td class="num wide-only">100</td>`, `<b title="index.tell">index.tell</b>`, `<span class="soft">in turn</span>`,
	} {
		require.Contains(t, page, want)
	}
	require.Equal(t, 3, strings.Count(page, `<div class="dialog" id="set-`), "a gate has limits, not a key")
	require.Equal(t, 4, strings.Count(page, `<div class="dialog" id="hold-`))
	require.Contains(t, s.get("/gates?flow=shop"), "No step or flow has limits or takes turns.")
	require.Contains(t, s.get("/gates?flow=index"), "openai")
	require.NotContains(t, s.get("/gates?after=index.tell"), "index.store")
	require.Contains(t, s.get("/queues"), `href="/gates"`)

	require.Regexp(t, `store waits for its turn, for \d+ s: 2 at once, key &#34;acme&#34;, and 2 are in flight`, s.get("/runs/"+id))
	require.Contains(t, s.get("/runs/"+id), "2 at once for each run.tenant")
	flow := s.get("/flows/index")
	require.Contains(t, flow, `href="/gates?flow=index">500/m at gate openai</a>`)
	require.Contains(t, flow, "in turn by run.tenant")

	for i := range gatesPerPage {
		_, err := runtime.StartFlow(s.ctx, s.pool, index.Slug, json.RawMessage(fmt.Sprintf(`{"tenant": "t%03d"}`, i)))
		require.NoError(t, err)
	}
	page = s.get("/gates?flow=index")
	next := regexp.MustCompile(`href="([^"]+)" rel="next"`).FindStringSubmatch(page)
	require.NotNil(t, next)
	rest := s.get(strings.ReplaceAll(next[1], "&amp;", "&"))
	require.Equal(t, gatesPerPage+4, strings.Count(page, `<tr data-row>`)+strings.Count(rest, `<tr data-row>`))
	require.Contains(t, rest, "openai")
}

// The page of a flow says which of its runs are alike, and what commits with its handler.
func TestFlowPageShowsUniqueAndTx(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	by := []spec.Path{{spec.RunKey, "account"}, {spec.RunKey, "region", "code"}}
	const name = "Unique by run.account, run.region.code"
	tests := []struct {
		unique *spec.Unique
		want   string
	}{
		{nil, ""},
		{&spec.Unique{By: by}, name + " until it ends: a start like it returns it."},
		{&spec.Unique{By: by, Per: time.Hour}, name + " for 1 h: a start like it returns it."},
		{&spec.Unique{By: by, OnDuplicate: spec.DuplicateReplace}, name + " until it ends: a start like it replaces it."},
		{&spec.Unique{By: by, OnDuplicate: spec.DuplicateError}, name + " until it ends: a start like it is an error."},
		{&spec.Unique{By: by, Debounce: 5 * time.Second}, name + ": a run begins 5 s after the last start like it, at most 50 s after the first."},
		{&spec.Unique{By: by, Debounce: 5 * time.Second, DebounceMax: time.Minute}, name + ": a run begins 5 s after the last start like it, at most 1 min after the first."},
	}
	for i, test := range tests {
		_, err := runtime.UpsertFlow(s.ctx, s.pool, spec.Flow{Slug: fmt.Sprint("settle_", i), Unique: test.unique, Steps: []spec.Step{
			{Slug: "check"}, {Slug: "charge", Deps: []string{"check"}, Tx: spec.TxPgx}, {Slug: "book", Deps: []string{"charge"}, Tx: spec.TxSQL}}})
		require.NoError(t, err)
	}
	for i, test := range tests {
		page := s.get(fmt.Sprint("/flows/settle_", i))
		require.Equal(t, test.unique != nil, strings.Contains(page, `id="unique"`))
		require.Contains(t, page, test.want)
		require.Equal(t, 1, strings.Count(page, ">tx pgx<"))
		require.Equal(t, 1, strings.Count(page, ">tx sql<"))
	}
}

func TestGateActions(t *testing.T) {
	t.Parallel()
	s, _ := newIndex(t, Config{})
	page := s.post("/gates/set_gate", url.Values{"gate": {"openai"}, "rate": {" 100/m,5 "}, "concurrency": {"7"}, "flow": {"index"}})
	require.Contains(t, page, "The limits of the gate were changed.")
	require.Contains(t, page, `title="Declared: 500/m">changed</span>`)
	require.Contains(t, page, "7 at once, 100/m (burst 5)")
	require.Equal(t, ops.GateLimits{Concurrency: 7, Rate: spec.Rate{Tokens: 100, Per: time.Minute, Burst: 5}}, s.gate("openai", "").Limits)
	s.post("/gates/set_gate", url.Values{"gate": {"openai"}, "declared": {"1"}, "rate": {"100/m,5"}})
	require.False(t, s.gate("openai", "").Overridden)

	hold := func(action string, form url.Values) string {
		form.Set("gate", "index.store")
		return s.post("/gates/"+action, form)
	}
	require.Contains(t, hold("hold_gate", url.Values{"key": {"<b>"}, "for": {"10m"}}), "The gate is held")
	require.NotZero(t, s.gate("index.store", "<b>").HeldUntil)
	require.Zero(t, s.gate("index.store", "acme").HeldUntil)
	require.Contains(t, hold("free_gate", url.Values{"key": {"<b>"}}), "The gate is not held any more.")
	require.Zero(t, s.gate("index.store", "<b>").HeldUntil)
	require.Contains(t, hold("hold_gate", url.Values{"key": {"<b>"}, "all": {"1"}, "for": {"10m"}}), "End hold")
	require.NotZero(t, s.gate("index.store", "acme").HeldUntil)
	hold("free_gate", url.Values{"key": {"acme"}})
	require.Zero(t, s.gate("index.store", "<b>").HeldUntil)

	for name, form := range map[string]url.Values{
		"no rate":       {"gate": {"openai"}, "rate": {"fast"}},
		"no number":     {"gate": {"openai"}, "concurrency": {"few"}},
		"zero":          {"gate": {"openai"}, "concurrency": {"0"}},
		"larger number": {"gate": {"openai"}, "concurrency": {"2147483648"}},
	} {
		require.Equal(t, http.StatusBadRequest, s.do(s.request(http.MethodPost, "/gates/set_gate", form)).status, name)
	}
	for name, form := range map[string]url.Values{"no time": {"gate": {"openai"}}, "a time ago": {"gate": {"openai"}, "for": {"-1s"}}, "too long": {"gate": {"openai"}, "for": {"1000000h"}}} {
		require.Equal(t, http.StatusBadRequest, s.do(s.request(http.MethodPost, "/gates/hold_gate", form)).status, name)
	}
	require.Equal(t, http.StatusNotFound, s.do(s.request(http.MethodPost, "/gates/set_gate", url.Values{"gate": {"nowhere"}})).status)
	require.Equal(t, http.StatusNotFound, s.do(s.request(http.MethodPost, "/gates/cancel", url.Values{"gate": {"openai"}})).status)

	s.serve(Config{Authorize: func(_ *http.Request, action Action) error {
		if action == ActionSetGate {
			return errors.New("ask the owner")
		}
		return nil
	}})
	require.Equal(t, http.StatusForbidden, s.do(s.request(http.MethodPost, "/gates/set_gate", url.Values{"gate": {"openai"}, "rate": {"1/s"}})).status)
	require.NotContains(t, s.get("/gates"), "/gates/set_gate")
	require.Contains(t, s.get("/gates"), "/gates/hold_gate")
	s.serve(Config{ReadOnly: true})
	require.NotContains(t, s.get("/gates"), "<form")
	require.Equal(t, http.StatusForbidden, s.do(s.request(http.MethodPost, "/gates/hold_gate", url.Values{"gate": {"openai"}, "for": {"1m"}})).status)
}

// TestBrowserGates changes a gate and holds it, in dialogs that ask first.
func TestBrowserGates(t *testing.T) {
	t.Parallel()
	s, _ := newIndex(t, Config{})
	b := newBrowser(s)
	b.size(1440, "light")
	b.open("/gates")
	row := func(gate, key string) string {
		return fmt.Sprintf(`[...document.querySelectorAll("#gates tr[data-row]")].find((r) => r.querySelector("b").textContent === %q && (r.querySelector("code")?.textContent ?? "") === %q)`, gate, key)
	}
	dialog := func(gate, key, what string) string {
		return js[string](b, row(gate, key)+`.querySelector("[popovertarget^=`+what+`]").getAttribute("popovertarget")`)
	}
	set := dialog("openai", "", "set")
	b.click(`[popovertarget=` + set + `].button`)
	require.True(t, js[bool](b, `document.querySelector("#`+set+`").matches(":popover-open")`))
	require.Equal(t, "500/m", js[string](b, `document.querySelector("#`+set+` [name=rate]").value`))
	require.NoError(t, chromedp.Do(b.ctx, chromedp.SetValue("#"+set+" [name=rate]", "60/m")))
	b.submit(`#` + set + ` button.primary`)
	require.Contains(t, js[string](b, `document.querySelector(".notice").textContent`), "The limits of the gate were changed.")
	require.Contains(t, js[string](b, row("openai", "")+`.textContent`), "60/m changed")
	require.Equal(t, 60, s.gate("openai", "").Limits.Rate.Tokens)

	hold := dialog("index.store", "acme", "hold")
	b.click(`[popovertarget=` + hold + `].button`)
	require.NoError(t, chromedp.Do(b.ctx, chromedp.SetValue("#"+hold+" [name=for]", "1h30m")))
	b.submit(`#` + hold + ` button[type=submit]:not(.primary)`)
	require.Contains(t, js[string](b, row("index.store", "acme")+`.textContent`), "held")
	require.NotContains(t, js[string](b, row("index.store", "<b>")+`.textContent`), "held")
	require.True(t, s.gate("index.store", "acme").HeldUntil.After(time.Now().Add(time.Hour)))
	b.submit(`form[action="/gates/free_gate"] button`)
	require.Zero(t, s.gate("index.store", "acme").HeldUntil)
}
