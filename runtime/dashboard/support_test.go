package dashboard

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// patience is how long a test waits for what must happen, on the slowest machine.
const patience = time.Minute

// shop is a flow with one of everything: a map, a condition, a join, options.
var shop = spec.Flow{Slug: "shop",
	BaseDelay: spec.Set(time.Hour), // what fails stays delayed
	Steps: []spec.Step{
		{Slug: "check", MaxAttempts: 5},
		{Slug: "lines", Deps: []string{"check"}},
		{Slug: "pack", Type: spec.TypeMap, Deps: []string{"lines"}},
		{Slug: "mail", Deps: []string{"check"}, If: json.RawMessage(`{"check": {"mail": true}}`)},
		{Slug: "ship", Deps: []string{"pack", "check"}},
	},
}

// A site is a dashboard over a database of its own, with a hand to do the work.
type site struct {
	*testing.T
	ctx    context.Context
	db     runtime.DB // what the dashboard shows, if that is not pool
	pool   *pgxpool.Pool
	hand   uuid.UUID
	server *httptest.Server
	h      *Handler
}

// newSite opens a dashboard of a database that has the flow shop.
func newSite(t *testing.T, config Config) *site {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*patience)
	t.Cleanup(cancel)
	s := &site{T: t, ctx: ctx, pool: dbtest.Pool(t), hand: uuid.New()}
	_, err := runtime.UpsertFlow(ctx, s.pool, shop)
	require.NoError(t, err)
	_, err = s.pool.Exec(ctx, `SELECT flowc.register_worker($1, 'hand', '{}')`, s.hand)
	require.NoError(t, err)
	s.serve(config)
	return s
}

// serve serves another dashboard of the same database.
func (s *site) serve(config Config) {
	s.Helper()
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	var db runtime.DB = s.pool
	if s.db != nil {
		db = s.db
	}
	h, err := New(db, config)
	require.NoError(s, err)
	server := httptest.NewServer(h)
	s.h, s.server = h, server
	s.Cleanup(func() {
		h.Close()
		server.Close()
	})
}

// start starts a run of shop.
func (s *site) start(input string, opts ...runtime.StartOption) string {
	s.Helper()
	run, err := runtime.StartFlow(s.ctx, s.pool, shop.Slug, json.RawMessage(input), opts...)
	require.NoError(s, err)
	return run.ID()
}

// work runs the next task of shop: outcome is completed, failed or permanent, and value
// its output or error.
func (s *site) work(outcome, value string) (step string) {
	s.Helper()
	var output, message *string
	if outcome == "completed" {
		output = &value
	} else {
		message = &value
	}
	err := s.pool.QueryRow(s.ctx, `
WITH task AS MATERIALIZED (SELECT * FROM flowc.claim($1::uuid, '{shop}', '{1}')),
     done AS MATERIALIZED (
       SELECT count(f.n) FROM task t, flowc.report($1::uuid, ARRAY[t.run_id], ARRAY[t.step_slug], ARRAY[t.task_index],
         ARRAY[t.message_id], ARRAY[t.claim_number], ARRAY[$2], ARRAY[$3::jsonb], ARRAY[$4], ARRAY[NULL::float8]) f)
SELECT t.step_slug FROM task t, done`, s.hand, outcome, output, message).Scan(&step)
	require.NoError(s, err)
	return step
}

// complete works a run of shop to its end.
func (s *site) complete() {
	s.Helper()
	outputs := map[string]string{"check": `{"mail": false}`, "lines": `["a", "b"]`, "pack": `{"weight": 12345678901234567890123}`, "ship": `"sent"`}
	for range 5 {
		// Which of two tasks comes next is not known before it is claimed.
		var step string
		err := s.pool.QueryRow(s.ctx, `
			SELECT step_slug FROM flowc.queue WHERE queue_name = 'shop' AND vt <= clock_timestamp() ORDER BY msg_id LIMIT 1`).Scan(&step)
		require.NoError(s, err)
		require.Equal(s, step, s.work("completed", outputs[step]))
	}
}

// answer is what came of a request.
type answer struct {
	status int
	header http.Header
	body   string
}

func (s *site) do(r *http.Request) answer {
	s.Helper()
	client := s.server.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	response, err := client.Do(r)
	require.NoError(s, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(s, err)
	return answer{response.StatusCode, response.Header, string(body)}
}

func (s *site) request(method, path string, form url.Values) *http.Request {
	s.Helper()
	r, err := http.NewRequestWithContext(s.ctx, method, s.server.URL+path, strings.NewReader(form.Encode()))
	require.NoError(s, err)
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", s.server.URL)
	}
	return r
}

// get reads a page, which has to be there.
func (s *site) get(path string) string {
	s.Helper()
	got := s.do(s.request(http.MethodGet, path, nil))
	require.Equal(s, http.StatusOK, got.status, "%s: %s", path, got.body)
	return got.body
}

// refused reads a page that has to be refused with a status.
func (s *site) refused(status int, path string) string {
	s.Helper()
	got := s.do(s.request(http.MethodGet, path, nil))
	require.Equal(s, status, got.status, "%s: %s", path, got.body)
	return got.body
}

// post sends a form and follows the redirect to what the page says of it.
func (s *site) post(path string, form url.Values) string {
	s.Helper()
	got := s.do(s.request(http.MethodPost, path, form))
	require.Equal(s, http.StatusSeeOther, got.status, got.body)
	return s.get(got.header.Get("Location"))
}

func (s *site) status(id string) runtime.RunStatus {
	s.Helper()
	info, err := runtime.GetRun(s.ctx, s.pool, id)
	require.NoError(s, err)
	return info.Status
}
