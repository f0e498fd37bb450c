package dashboard

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/engine"
	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// newLog returns a logger and the buffer that it writes to.
func newLog() (*slog.Logger, func() string) {
	b := &lockedBuffer{}
	return slog.New(slog.NewTextHandler(b, nil)), b.String
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestNew(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	for _, prefix := range []string{"admin", "//evil.example", "/a?b", "/a#b", "/%2e"} {
		_, err := New(pool, Config{Prefix: prefix})
		require.ErrorContains(t, err, "Prefix", prefix)
	}
	_, err := New(nil, Config{})
	require.ErrorContains(t, err, "db is nil")
	err = pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		_, err := New(tx, Config{})
		return err
	})
	require.ErrorContains(t, err, "pass a *pgxpool.Pool")
	_, err = New(pool, Config{Definitions: []spec.Flow{{Slug: "not a slug"}}})
	require.Error(t, err)
}

func TestHosts(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{Hosts: []string{"Flows.example.com"}})
	for host, want := range map[string]int{
		"":                       http.StatusOK, // the server's own address
		"localhost:8080":         http.StatusOK,
		"LOCALHOST":              http.StatusOK,
		"127.0.0.1:1":            http.StatusOK,
		"[::1]:8080":             http.StatusOK,
		"10.0.0.7":               http.StatusOK,
		"flows.example.com":      http.StatusOK,
		"flows.example.com.:443": http.StatusOK,
		"evil.example":           http.StatusMisdirectedRequest,
		"localhost.evil.example": http.StatusMisdirectedRequest,
		"127.0.0.1.evil.example": http.StatusMisdirectedRequest,
	} {
		r := s.request(http.MethodGet, "/runs", nil)
		r.Host = host
		require.Equal(t, want, s.do(r).status, host)
	}
	r := s.request(http.MethodGet, "/healthz", nil)
	r.Host = "probe"
	require.Equal(t, http.StatusOK, s.do(r).status, "a probe may come by any name")
	s.serve(Config{Hosts: []string{"*"}})
	r = s.request(http.MethodGet, "/runs", nil)
	r.Host = "anything.example"
	require.Equal(t, http.StatusOK, s.do(r).status)
}

func TestFormsComeFromHere(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	id := s.start(`{}`)
	for name, header := range map[string]http.Header{
		"no origin":       {},
		"another origin":  {"Origin": {"https://evil.example"}},
		"null origin":     {"Origin": {"null"}},
		"another site":    {"Sec-Fetch-Site": {"cross-site"}, "Origin": {s.server.URL}},
		"another port":    {"Sec-Fetch-Site": {"same-site"}},
		"typed by nobody": {"Sec-Fetch-Site": {"none-of-these"}},
	} {
		r := s.request(http.MethodPost, "/runs/"+id+"/delete", nil)
		r.Header.Del("Origin")
		for k, v := range header {
			r.Header[k] = v
		}
		require.Equal(t, http.StatusForbidden, s.do(r).status, name)
	}
	require.Equal(t, runtime.RunRunning, s.status(id))
	require.NotEqual(t, http.StatusSeeOther, s.do(s.request(http.MethodGet, "/runs/"+id+"/delete", nil)).status)
	r := s.request(http.MethodPost, "/runs/"+id+"/delete", nil)
	r.Header.Del("Origin")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	require.Equal(t, http.StatusSeeOther, s.do(r).status)
}

func TestReadOnly(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{ReadOnly: true})
	id := s.start(`{}`)
	page := s.get("/runs/"+id) + s.get("/runs")
	require.NotContains(t, page, `method="post" action="/runs/`)
	require.NotContains(t, page, `type="checkbox" name="id"`)
	for _, action := range []string{"cancel", "retry", "run_now", "delete"} {
		require.Equal(t, http.StatusForbidden, s.do(s.request(http.MethodPost, "/runs/"+id+"/"+action, nil)).status)
		if action != "run_now" {
			require.Equal(t, http.StatusForbidden, s.do(s.request(http.MethodPost, "/runs", url.Values{"action": {action}, "id": {id}})).status)
		}
	}
	require.Equal(t, runtime.RunRunning, s.status(id))
	s.get("/metrics")
}

func TestAuthorize(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{Authorize: func(r *http.Request, action Action) error {
		if may := strings.Split(r.Header.Get("May"), ","); r.Header.Get("May") != "" {
			for _, a := range may {
				if a == string(action) {
					return nil
				}
			}
		}
		return errors.New("ask <the owner>")
	}})
	id := s.start(`{}`)
	with := func(method, path, may string) answer {
		r := s.request(method, path, nil)
		r.Header.Set("May", may)
		return s.do(r)
	}
	for _, path := range []string{"/", "/runs", "/runs/" + id, "/runs/" + id + "/events", "/runs/" + id + "/payload?of=run_input", "/runs/" + id + "/steps/pack", "/flows", "/flows/shop", "/gates", "/schedules", "/workers"} {
		got := with(http.MethodGet, path, "cancel,retry,metrics,delete,run_now")
		require.Equal(t, http.StatusForbidden, got.status, path)
		require.Contains(t, got.body, "ask &lt;the owner&gt;")
		require.NotContains(t, got.body, id)
	}
	require.Equal(t, http.StatusForbidden, with(http.MethodGet, "/metrics", "view").status)
	require.Equal(t, http.StatusOK, with(http.MethodGet, "/metrics", "metrics").status)

	page := with(http.MethodGet, "/runs/"+id, "view,cancel").body
	require.Contains(t, page, "/runs/"+id+"/cancel")
	require.NotContains(t, page, "/runs/"+id+"/delete")
	require.Equal(t, http.StatusForbidden, with(http.MethodPost, "/runs/"+id+"/delete", "view,cancel").status)
	require.Equal(t, http.StatusForbidden, with(http.MethodPost, "/runs/"+id+"/cancel", "cancel").status, "who may not see may not do")
	require.Equal(t, http.StatusSeeOther, with(http.MethodPost, "/runs/"+id+"/cancel", "view,cancel").status)
	require.Equal(t, runtime.RunCancelled, s.status(id))
}

func TestRedact(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{Redact: func(flow, step string, payload json.RawMessage) json.RawMessage {
		return json.RawMessage(strings.ReplaceAll(string(payload), "4111111111111111", flow+"/"+step+" hidden"))
	}})
	id := s.start(`{"card": "4111111111111111"}`)
	s.work("completed", `{"mail": false, "card": "4111111111111111"}`)
	s.work("completed", `["4111111111111111"]`)
	s.work("completed", `"4111111111111111"`)
	s.work("completed", `"4111111111111111"`)
	require.Equal(t, runtime.RunCompleted, s.status(id))
	for _, path := range []string{"", "/steps/pack", "/steps/ship", "/payload?of=run_input", "/payload?of=run_output", "/payload?of=step_output&step=check", "/payload?of=task_output&step=pack&index=0"} {
		page := s.get("/runs/" + id + path)
		require.NotContains(t, page, "4111111111111111", path)
		require.Contains(t, page, "hidden", path)
	}
	require.Contains(t, s.get("/runs/"+id), "shop/check hidden")
	require.Contains(t, s.get("/runs/"+id), "shop/ hidden")
	// Errors and reasons may repeat what is hidden.
	failed := s.start(`{}`)
	s.work("failed", "no 4111111111111111 here")
	_, err := ops.RunNow(s.ctx, s.pool, failed, "")
	require.NoError(t, err)
	require.NotContains(t, s.get("/runs/"+failed), "4111111111111111")
	s.work("permanent", "no 4111111111111111 there")
	require.Equal(t, runtime.RunFailed, s.status(failed))
	cancelled := s.start(`{}`)
	require.NoError(t, runtime.CancelRun(s.ctx, s.pool, cancelled, "4111111111111111 was a typo"))
	for _, path := range []string{"/", "/runs", "/flows/shop", "/runs/" + failed, "/runs/" + failed + "/steps/check", "/runs/" + cancelled} {
		page := s.get(path)
		require.NotContains(t, page, "4111111111111111", path)
		require.Contains(t, page, " hidden", path)
	}
	// Whether a run is found would tell what is hidden.
	require.NotContains(t, s.get("/runs"), `name="contains"`)
	search := "contains=" + url.QueryEscape(`{"card": "4111111111111111"}`)
	s.refused(http.StatusForbidden, "/runs?"+search)
	form := url.Values{"action": {"cancel"}, "scope-cancel": {"all"}, "back": {search}}
	require.Equal(t, http.StatusForbidden, s.do(s.request(http.MethodPost, "/runs", form)).status)
}

// TestHostile puts markup wherever a user's data comes to a page.
func TestHostile(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{Name: `<script>alert("name")</script>`})
	const evil = `</script><script>alert(1)</script><img src=x onerror=alert(2)>"'`
	text, err := json.Marshal(evil)
	require.NoError(t, err)
	id := s.start(`{` + string(text) + `: ` + string(text) + `}`)
	s.work("failed", evil)
	_, err = ops.RunNow(s.ctx, s.pool, id, "")
	require.NoError(t, err)
	s.work("completed", string(text))
	s.work("permanent", evil+"\n"+evil)
	other := s.start(`{}`)
	require.NoError(t, runtime.CancelRun(s.ctx, s.pool, other, evil))
	_, err = s.pool.Exec(s.ctx, `SELECT flowc.register_worker(gen_random_uuid(), $1, '{}')`, evil)
	require.NoError(t, err)
	for _, path := range []string{
		"/", "/runs", "/runs/" + id, "/runs/" + other, "/runs/" + id + "/steps/check", "/flows", "/flows/shop", "/workers",
		"/runs?contains=" + url.QueryEscape(string(text)), "/runs?flow=" + url.QueryEscape(evil),
	} {
		page := s.get(path)
		require.NotContains(t, page, "<script>", path)
		require.NotContains(t, page, "<img src=x", path)
		require.Empty(t, inline.FindString(page), path)
	}
	s.refused(http.StatusNotFound, "/"+url.PathEscape(evil))
	for _, status := range []string{"status", "time", "after"} {
		require.NotContains(t, s.refused(http.StatusBadRequest, "/runs?"+status+"="+url.QueryEscape(evil)), "<script>")
	}
	r := s.request(http.MethodGet, "/", nil)
	r.Host = `evil"><script>`
	require.NotContains(t, s.do(r).body, "<script>")
	raw := s.do(s.request(http.MethodGet, "/runs/"+id+"/payload?of=run_input", nil))
	require.Equal(t, "application/json; charset=utf-8", raw.header.Get("Content-Type"), "a browser must not read it as a page")
	require.Equal(t, "nosniff", raw.header.Get("X-Content-Type-Options"))
}

func TestPrefix(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	h, err := New(s.pool, Config{Prefix: "/admin/flowc/", Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	defer h.Close()
	id := s.start(`{}`)
	mux := http.NewServeMux()
	mux.Handle("/admin/flowc/", h)
	mux.Handle("/stripped/", http.StripPrefix("/stripped", h))
	server := httptest.NewServer(mux)
	defer server.Close()
	s.server = server

	for _, path := range []string{"/admin/flowc/", "/admin/flowc/runs", "/admin/flowc/runs/" + id, "/stripped/", "/stripped/runs"} {
		page := s.get(path)
		require.Contains(t, page, `href="/admin/flowc/runs"`, path)
		require.Contains(t, page, `src="/admin/flowc/assets/app.js`, path)
		require.NotContains(t, page, `="/runs`, path)
		require.NotContains(t, page, `//runs`, path)
	}
	s.get("/admin/flowc/assets/app.css")
	got := s.do(s.request(http.MethodPost, "/admin/flowc/runs/"+id+"/cancel", nil))
	require.Equal(t, "/admin/flowc/runs/"+id+"?did=cancel&n=1&of=1", got.header.Get("Location"))
	require.Contains(t, s.get("/admin/flowc/runs/"+id), "/admin/flowc/runs/"+id+"/payload?of=run_input")

	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(context.Background(), http.MethodGet, "http://localhost/admin/flowcx/runs", nil))
	require.Equal(t, http.StatusNotFound, w.Code, "another path that only begins alike")
}

func TestAssets(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	for name, kind := range map[string]string{"app.css": "text/css", "app.js": "text/javascript", "theme.js": "text/javascript", "mark.svg": "image/svg+xml"} {
		got := s.do(s.request(http.MethodGet, "/assets/"+name+"?v="+s.h.assets.version, nil))
		require.Equal(t, http.StatusOK, got.status)
		require.Contains(t, got.header.Get("Content-Type"), kind)
		require.Contains(t, got.header.Get("Cache-Control"), "immutable")
		got = s.do(s.request(http.MethodGet, "/assets/"+name+"?v=old", nil))
		require.Equal(t, "no-store", got.header.Get("Cache-Control"), "what is of another version must not be kept")
	}
	s.refused(http.StatusNotFound, "/assets/..%2fdashboard.go")
}

// TestViewerRole serves with a role of the database that may only look.
func TestViewerRole(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	id := s.start(`{}`)
	viewer := s.pool.Config().ConnConfig.Database + "_viewer"
	_, err := engine.GrantRoles(s.ctx, s.pool, engine.Roles{Viewer: viewer})
	require.NoError(t, err)
	t.Cleanup(func() {
		name := pgx.Identifier{viewer}.Sanitize()
		_, err := s.pool.Exec(context.Background(), `drop owned by `+name+`; drop role `+name, pgx.QueryExecModeSimpleProtocol)
		require.NoError(t, err)
	})
	owner := s.pool
	s.pool = dbtest.With(t, owner, map[string]string{"role": viewer})
	s.serve(Config{})
	s.pool = owner
	for _, path := range []string{"/", "/runs", "/runs/" + id, "/runs/" + id + "/steps/check", "/flows", "/flows/shop", "/queues", "/schedules", "/workers", "/metrics"} {
		s.get(path)
	}
	for _, action := range []string{"/runs/" + id + "/cancel", "/runs/" + id + "/delete", "/flows/shop/pause"} {
		got := s.do(s.request(http.MethodPost, action, nil))
		require.Equal(t, http.StatusForbidden, got.status, action)
		require.Contains(t, got.body, "The database role of this dashboard may not do that.")
	}
	require.Equal(t, runtime.RunRunning, s.status(id))
}

// TestNoText: what PostgreSQL takes for no text is the request's fault.
func TestNoText(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	id := s.start(`{}`)
	for _, bad := range []string{"%00", "a%00b", "%ff", "%c3%28", "%ed%a0%80"} {
		for _, path := range []string{
			"/runs?flow=", "/runs?contains=", "/runs?status=", "/runs?after=", "/runs?" + bad + "=", "/flows/", "/runs/", "/runs/" + id + "/steps/",
			"/runs/" + id + "/steps/check?after=", "/runs/" + id + "/payload?of=", "/runs/" + id + "/payload?of=step_output&step=", "/schedules?x=",
		} {
			require.Equal(t, http.StatusBadRequest, s.do(s.request(http.MethodGet, path+bad, nil)).status, path+bad)
		}
		text, err := url.PathUnescape(bad)
		require.NoError(t, err)
		for path, form := range map[string]url.Values{
			"/runs/" + id + "/cancel":    {"reason": {text}},
			"/runs/" + id + "/retry":     {"step": {text}},
			"/runs/" + id + "/run_now":   {"step": {text}},
			"/runs":                      {"action": {"cancel"}, "id": {text}},
			"/flows/shop/start":          {"input": {"{}"}, "key": {text}},
			"/flows/shop/pause_schedule": {"reason": {text}},
		} {
			require.Equal(t, http.StatusBadRequest, s.do(s.request(http.MethodPost, path, form)).status, "%s %q", path, form)
		}
		require.Equal(t, http.StatusBadRequest, s.do(s.request(http.MethodPost, "/flows/"+bad+"/pause", nil)).status)
	}
	require.Equal(t, runtime.RunRunning, s.status(id))
}
