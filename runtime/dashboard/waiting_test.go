package dashboard

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// claims is a flow that waits for a person, who is shown the input, and then for a machine.
var claims = spec.Flow{Slug: "claims", Steps: []spec.Step{
	{Slug: "approve", Type: spec.TypeWait, Timeout: 72 * time.Hour, Key: spec.Path{"run", "claim"}, Answer: json.RawMessage(`{"type": "object", "properties": {
		"approved": {"type": "boolean", "description": "Whether the claim is paid."}, "budget": {"type": "string", "enum": ["travel", "office"], "description": "The budget that pays it."},
		"urgency": {"type": "integer", "enum": [0, 1], "enumNames": ["Whenever", "Now"]}, "cents": {"type": "integer", "minimum": 0, "maximum": 255}, "wait": {"type": "integer", "format": "nanoseconds"},
		"comment": {"type": "string"}, "at": {"type": "string", "format": "date-time"}, "lines": {"type": "array", "items": {"type": "object", "properties": {"text": {"type": "string"}}}}},
		"propertyOrder": ["approved", "budget", "urgency", "cents", "wait", "comment", "at", "lines"], "required": ["approved", "budget"]}`)},
	{Slug: "seen", Type: spec.TypeWait, Deps: []string{"approve"}, Answer: json.RawMessage(`{"type": "object", "properties": {"yes": {"type": "boolean"}}, "propertyOrder": ["yes"], "required": ["yes"]}`)},
	{Slug: "go_on", Type: spec.TypeWait, Deps: []string{"seen"}},
}}

// newClaims opens a dashboard of a database with a run that waits.
func newClaims(t *testing.T, config Config) (s *site, id string) {
	t.Helper()
	s = newSite(t, config)
	_, err := runtime.UpsertFlow(s.ctx, s.pool, claims)
	require.NoError(t, err)
	return s, s.claim()
}

func (s *site) claim() string {
	s.Helper()
	run, err := runtime.StartFlow(s.ctx, s.pool, claims.Slug, json.RawMessage(`{"claim": 7, "purpose": "train to the customer"}`))
	require.NoError(s, err)
	return run.ID()
}

// deliver does what a worker does: it gives answers to the runs that wait for them.
func (s *site) deliver() {
	s.Helper()
	_, err := s.pool.Exec(s.ctx, `SELECT flowc.apply_due('{claims}')`)
	require.NoError(s, err)
}

func (s *site) state(id, step string) runtime.StepState {
	s.Helper()
	run, err := runtime.GetRun(s.ctx, s.pool, id, runtime.WithStates())
	require.NoError(s, err)
	for _, state := range run.States {
		if state.Step == step {
			return state
		}
	}
	s.Fatal("no such step")
	return runtime.StepState{}
}

func TestWaitingPage(t *testing.T) {
	t.Parallel()
	s, id := newClaims(t, Config{})
	page := s.get("/waiting")
	for _, want := range []string{
		"train to the customer", "<b>claims</b> approve <code>7</code>", ", expires ", `name="answer.approved"`, `<option value="&#34;travel&#34;">travel</option>`,
		`<option value="1">Now</option>`, "Whether the claim is paid.", "The budget that pays it.", "A list, as JSON.", `href="/runs/` + id + `"`, "claims approve 1",
	} {
		require.Contains(t, page, want)
	}
	require.Equal(t, 2, strings.Count(page, `<b class="must">required</b>`))
	require.Contains(t, s.get("/waiting?flow=shop"), "No step waits for an answer.")
	require.Contains(t, s.get("/"), `<span class="tile-name">Waiting for answers</span><span class="tile-number">1</span>`)
	metrics := s.get("/metrics")
	require.Contains(t, metrics, `flowc_waits{flow="claims",step="approve"} 1`)
	require.Regexp(t, `flowc_oldest_wait_seconds\{flow="claims",step="approve"\} [0-9.]+`, metrics)
	require.Contains(t, s.get("/runs?status=waiting"), id)

	run := s.get("/runs/" + id)
	for _, want := range []string{`class="node waiting"`, `class="bar waiting"`, "waits for an answer", "Waits at most 3 d for an answer", "by the key <code>run.claim</code>", `name="answer.budget"`, "waiting for approve since"} {
		require.Contains(t, run, want)
	}
	require.Contains(t, s.get("/flows/claims"), "waits at most 3 d")

	for range waitsPerPage {
		s.claim()
	}
	page = s.get("/waiting?flow=claims&step=approve")
	next := regexp.MustCompile(`href="([^"]+)" rel="next"`).FindStringSubmatch(page)
	require.NotNil(t, next)
	rest := s.get(strings.ReplaceAll(next[1], "&amp;", "&"))
	require.Equal(t, waitsPerPage, strings.Count(page, `<form class="answer"`))
	require.Equal(t, 1, strings.Count(rest, `<form class="answer"`))
	s.refused(http.StatusBadRequest, "/waiting?after=nonsense")
	s.refused(http.StatusBadRequest, "/waiting?after="+id+"&until=soon")
}

// TestWhatIsShown: what the step takes, under the names that it has there, and nothing else.
func TestWhatIsShown(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	steps := []string{"check", "weigh", "skipped"}
	flow := spec.Flow{Slug: "shows", Steps: []spec.Step{{Slug: "check"}, {Slug: "weigh"}, {Slug: "skipped", If: json.RawMessage(`{"never": 1}`)}}}
	for slug, shown := range map[string]*spec.Result{
		"all": nil, "nothing": {}, "input": {From: spec.RunKey}, "one": {From: "weigh"},
		"some": {Fields: []spec.ResultField{{Name: "Claim", From: spec.RunKey}, {From: "weigh"}, {Name: "Gone", From: "skipped"}}},
	} {
		flow.Steps = append(flow.Steps, spec.Step{Slug: slug, Type: spec.TypeWait, Deps: steps, Shown: shown})
	}
	_, err := runtime.UpsertFlow(s.ctx, s.pool, flow)
	require.NoError(t, err)
	run, err := runtime.StartFlow(s.ctx, s.pool, "shows", json.RawMessage(`{"purpose": "desk"}`))
	require.NoError(t, err)
	_, err = s.pool.Exec(s.ctx, `SELECT flowc.claim($1::uuid, '{shows}', '{2}')`, s.hand)
	require.NoError(t, err)
	for step, output := range map[string]string{"check": `"checked"`, "weigh": `"heavy"`} {
		_, err = s.pool.Exec(s.ctx, `SELECT pgflow.complete_task($1::text::uuid, $2, 0, $3::text::jsonb)`, run.ID(), step, output)
		require.NoError(t, err)
	}
	for step, want := range map[string][]string{
		"all": {"Input of the run", "Output of check", "Output of weigh"}, "nothing": nil, "input": {"Input of the run"}, "one": {"Output of weigh"},
		"some": {"Claim", "Output of weigh"},
	} {
		page := s.get("/waiting?step=" + step)
		require.Contains(t, page, "<b>shows</b> "+step)
		for _, label := range []string{"Input of the run", "Claim", "Output of check", "Output of weigh", "Gone"} {
			require.Equal(t, slices.Contains(want, label), strings.Contains(page, label), "%s %s", step, label)
		}
		require.Equal(t, slices.Contains(want, "Output of check"), strings.Contains(page, "checked"))
	}
}

func TestAnswerAction(t *testing.T) {
	t.Parallel()
	s, id := newClaims(t, Config{User: func(*http.Request) string { return "ann" }})
	form := url.Values{
		"step": {"approve"}, "answer.approved": {"true"}, "answer.budget": {`"office"`}, "answer.urgency": {"1"}, "answer.cents": {" 200 "},
		"answer.wait": {"1h30m"}, "answer.comment": {`7, "really"`}, "answer.at": {""}, "answer.lines": {`[{"text": "desk"}]`},
	}
	page := s.post("/runs/"+id+"/answer", form)
	require.Contains(t, page, "The answer was sent")
	s.deliver()
	state := s.state(id, "approve")
	require.Equal(t, runtime.StepCompleted, state.Status)
	require.JSONEq(t, `{"approved": true, "budget": "office", "urgency": 1, "cents": 200, "wait": 5400000000000, "comment": "7, \"really\"", "lines": [{"text": "desk"}]}`, string(state.Output))
	page = s.get("/runs/" + id)
	require.Contains(t, page, "Answered by ann, ")
	require.Contains(t, page, "answered after")

	// The only field, a bool, is two buttons.
	require.Regexp(t, `<button class="button primary" type="submit" name="answer.yes" value="true">Yes</button><button class="button" type="submit" name="answer.yes" value="false">No</button>`, page)
	require.Contains(t, s.post("/runs/"+id+"/answer", url.Values{"step": {"approve"}, "answer.approved": {"false"}, "answer.budget": {`"office"`}}), "Nothing was answered", "somebody was faster")
	require.Contains(t, s.post("/runs/"+id+"/answer", url.Values{"step": {"seen"}, "answer.yes": {"false"}, "waiting": {"1"}}), "<h1>Waiting</h1>")
	s.deliver()
	require.JSONEq(t, `{"yes": false}`, string(s.state(id, "seen").Output))

	// Without an answer there is nothing to fill in.
	require.Contains(t, s.get("/runs/"+id), `type="submit">Go on</button>`)
	s.post("/runs/"+id+"/answer", url.Values{"step": {"go_on"}})
	s.deliver()
	require.Equal(t, runtime.RunCompleted, s.status(id))
	require.Contains(t, s.post("/runs/"+id+"/answer", url.Values{"step": {"go_on"}}), "Nothing was answered")

	require.Equal(t, http.StatusNotFound, s.do(s.request(http.MethodPost, "/runs/"+id+"/answer", url.Values{"step": {"nowhere"}})).status)
}

// TestRefusedAnswers sends what the type of the answer refuses. What was written is kept.
func TestRefusedAnswers(t *testing.T) {
	t.Parallel()
	s, id := newClaims(t, Config{})
	for name, row := range map[string]struct{ value, problem string }{
		"approved": {"", "approved: it is required"},
		"budget":   {`"home"`, "budget: it must be one of travel, office"},
		"cents":    {"256", "cents: it must be 0 to 255"},
		"wait":     {"soon", "wait: it must be a whole number"},
		"at":       {"noon <b>", "at: it must be a time such as 2030-01-31T08:00:00Z"},
		"lines":    {`[{"text": 1}]`, "lines: [0].text: it must be a text"},
		"urgency":  {"7", "urgency: it must be one of Whenever, Now"},
	} {
		form := url.Values{"step": {"approve"}, "answer.approved": {"true"}, "answer.budget": {`"travel"`}, "answer.comment": {"kept & shown"}}
		form.Set("answer."+name, row.value)
		got := s.do(s.request(http.MethodPost, "/runs/"+id+"/answer", form))
		require.Equal(t, http.StatusUnprocessableEntity, got.status, name)
		require.Contains(t, got.body, row.problem, name)
		require.Contains(t, got.body, `value="kept &amp; shown"`, name)
		if name == "at" || name == "cents" {
			require.Contains(t, got.body, `value="`+strings.ReplaceAll(strings.ReplaceAll(row.value, "<", "&lt;"), ">", "&gt;")+`"`)
		}
	}
	got := s.do(s.request(http.MethodPost, "/runs/"+id+"/answer", url.Values{"step": {"approve"}, "answer.approved": {"true"}, "answer.budget": {`"travel"`}, "answer.lines": {"[{"}}))
	require.Contains(t, got.body, "lines: it is not JSON")
	require.Contains(t, got.body, ">[{</textarea>")
	s.deliver()
	require.Equal(t, runtime.RunWaiting, s.status(id), "nothing was sent")
}

func TestFailWaitAction(t *testing.T) {
	t.Parallel()
	s, id := newClaims(t, Config{})
	require.Equal(t, http.StatusBadRequest, s.do(s.request(http.MethodPost, "/runs/"+id+"/fail_wait", url.Values{"step": {"approve"}})).status, "it needs a reason")
	require.Contains(t, s.post("/runs/"+id+"/fail_wait", url.Values{"step": {"approve"}, "reason": {"she left"}}), "The wait was ended.")
	s.deliver()
	require.Equal(t, runtime.RunFailed, s.status(id))
	require.Contains(t, s.get("/runs/"+id), "she left")
	require.Contains(t, s.post("/runs/"+id+"/fail_wait", url.Values{"step": {"approve"}, "reason": {"again"}}), "Nothing was ended")
}

// TestWhoMayAnswer checks the permissions, and that what is redacted is not shown.
func TestWhoMayAnswer(t *testing.T) {
	t.Parallel()
	s, id := newClaims(t, Config{ReadOnly: true})
	form := url.Values{"step": {"approve"}, "answer.approved": {"true"}, "answer.budget": {`"travel"`}}
	for _, path := range []string{"/waiting", "/runs/" + id} {
		page := s.get(path)
		require.NotContains(t, page, `<form class="answer"`, path)
		require.NotContains(t, page, "fail_wait", path)
		require.Contains(t, page, "train to the customer", path)
	}
	for _, action := range []string{"answer", "fail_wait"} {
		require.Equal(t, http.StatusForbidden, s.do(s.request(http.MethodPost, "/runs/"+id+"/"+action, form)).status)
	}

	s.serve(Config{Authorize: func(_ *http.Request, action Action) error {
		if action == ActionAnswer || action == ActionView {
			return nil
		}
		return http.ErrNoCookie
	}, Redact: func(flow, step string, payload json.RawMessage) json.RawMessage {
		require.Equal(s, "claims", flow)
		return json.RawMessage(`"hidden"`)
	}})
	page := s.get("/waiting")
	require.NotContains(t, page, "train to the customer")
	require.Contains(t, page, "hidden")
	require.NotContains(t, page, "fail_wait")
	require.Contains(t, page, "</b> approve <code>hidden</code>", "its key is of the input")
	require.Equal(t, http.StatusForbidden, s.do(s.request(http.MethodPost, "/runs/"+id+"/fail_wait", form)).status)
	s.post("/runs/"+id+"/answer", form)
	s.deliver()
	require.Empty(t, s.state(id, "approve").Wait.AnsweredBy, "the program does not say who it is")
}

// TestRequests shows what was requested of runs, and is not done.
func TestRequests(t *testing.T) {
	t.Parallel()
	s, id := newClaims(t, Config{})
	tx, err := s.pool.Begin(s.ctx)
	require.NoError(t, err)
	require.NoError(t, runtime.CancelRun(s.ctx, tx, id, "in a transaction"))
	require.NoError(t, tx.Commit(s.ctx))
	require.Contains(t, s.get("/runs/"+id), "not done yet: cancel: in a transaction")
	require.NotContains(t, s.get("/"), "request is not done yet", "a worker has a minute")
	_, err = s.pool.Exec(s.ctx, `UPDATE flowc.requests SET requested_at = requested_at - interval '1 hour'`)
	require.NoError(t, err)
	s.h.cache.clear()
	require.Contains(t, s.get("/"), "1 request is not done yet, the first (cancel) after 1 h: no worker applies them")
	require.Contains(t, s.get("/metrics"), "flowc_requests_overdue 1")
	s.deliver()
	s.h.cache.clear()
	require.NotContains(t, s.get("/"), "request is not done yet")
	require.Equal(t, runtime.RunCancelled, s.status(id))

	// Somebody else holds the run.
	id = s.claim()
	tx, err = s.pool.Begin(s.ctx)
	require.NoError(t, err)
	_, err = tx.Exec(s.ctx, `SELECT FROM pgflow.runs WHERE run_id = $1::text::uuid FOR UPDATE`, id)
	require.NoError(t, err)
	require.Contains(t, s.post("/runs/"+id+"/cancel", url.Values{"reason": {"later"}}), "It was requested: somebody else holds the run")
	require.NoError(t, tx.Rollback(s.ctx))
	s.deliver()
	require.Equal(t, runtime.RunCancelled, s.status(id))
}
