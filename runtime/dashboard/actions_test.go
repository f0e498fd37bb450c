package dashboard

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/ops"
)

func TestActionsOnARun(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	id := s.start(`{}`)
	path := "/runs/" + id

	s.work("failed", "not yet")
	require.Contains(t, s.post(path+"/run_now", url.Values{"step": {"lines"}}), "No task was delayed")
	require.Contains(t, s.post(path+"/run_now", url.Values{"step": {"check"}}), "start now")
	require.Equal(t, "check", s.work("completed", `{}`), "it could be claimed an hour early")

	page := s.post(path+"/cancel", url.Values{"reason": {"changed my mind"}})
	require.Contains(t, page, "The run was cancelled.")
	require.Contains(t, page, "changed my mind")
	require.Equal(t, runtime.RunCancelled, s.status(id))
	require.Contains(t, s.post(path+"/cancel", nil), "Nothing was cancelled")

	require.Contains(t, s.post(path+"/retry", nil), "The run was resumed.")
	require.Equal(t, runtime.RunRunning, s.status(id))
	require.Contains(t, s.post(path+"/retry", nil), "Nothing was retried")

	require.Contains(t, s.post(path+"/delete", nil), "The run was deleted.")
	_, err := runtime.GetRun(s.ctx, s.pool, id)
	require.ErrorIs(t, err, runtime.ErrRunNotFound)
	for _, wrong := range []string{path + "/cancel", "/runs/nonsense/cancel", path + "/explode"} {
		require.Equal(t, http.StatusNotFound, s.do(s.request(http.MethodPost, wrong, nil)).status, wrong)
	}
}

func TestPriority(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	id := s.start(`{}`, runtime.WithPriority(runtime.Low))
	path := "/runs/" + id
	const low, high = `low priority</span>`, `high priority</span>`
	require.Contains(t, s.get("/runs"), low)
	page := s.get(path)
	require.Equal(t, 2, strings.Count(page, low), "of the run, and of its task")
	require.Contains(t, page, `value="low" required checked`)
	page = s.post(path+"/set_priority", url.Values{"priority": {"high"}})
	require.Contains(t, page, "The priority was changed.")
	require.Equal(t, 2, strings.Count(page, high))
	require.Equal(t, http.StatusBadRequest, s.do(s.request(http.MethodPost, path+"/set_priority", url.Values{"priority": {"1"}})).status)
	require.Equal(t, http.StatusBadRequest, s.do(s.request(http.MethodPost, path+"/set_priority", nil)).status)
	page = s.post(path+"/set_priority", url.Values{"priority": {"normal"}})
	require.NotContains(t, page, "priority</span>")
	require.Contains(t, page, `value="normal" required checked`)
	s.complete()
	require.NotContains(t, s.get(path), `id="priority"`)
	require.Contains(t, s.post(path+"/set_priority", url.Values{"priority": {"low"}}), "Nothing was changed: the run has completed.")
}

func TestActionsOnMany(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	var ids []string
	for range 4 {
		ids = append(ids, s.start(`{}`))
	}
	page := s.post("/runs", url.Values{"action": {"cancel"}, "id": ids[:2], "back": {"flow=shop"}})
	require.Contains(t, page, "2 runs were cancelled.")
	require.Contains(t, page, "<option selected>shop</option>", "the list is the one it was")
	require.Equal(t, runtime.RunCancelled, s.status(ids[1]))
	require.Equal(t, runtime.RunRunning, s.status(ids[2]))

	page = s.post("/runs", url.Values{"action": {"cancel"}, "id": append(ids[1:3:3], uuid.NewString())})
	require.Contains(t, page, "The run was cancelled. 2 others were not in the right state for it.")

	page = s.post("/runs", url.Values{"action": {"delete"}, "scope-delete": {"all"}, "id": {ids[3]}, "back": {"status=cancelled"}})
	require.Contains(t, page, "3 runs were deleted.")
	require.Equal(t, runtime.RunRunning, s.status(ids[3]), "all that the filters meet, and nothing else")

	for _, form := range []url.Values{
		{"action": {"run_now"}, "id": ids}, {"action": {"explode"}, "id": ids}, {},
	} {
		require.Equal(t, http.StatusNotFound, s.do(s.request(http.MethodPost, "/runs", form)).status)
	}
	for _, form := range []url.Values{
		{"action": {"delete"}, "scope-delete": {"all"}, "back": {"status=lost"}}, // a filter that is not understood is none
		{"action": {"delete"}, "scope-delete": {"all"}, "back": {"%zz"}},
		{"action": {"delete"}, "id": {strings.Repeat("x", 2*formBytes)}},
	} {
		require.Equal(t, http.StatusBadRequest, s.do(s.request(http.MethodPost, "/runs", form)).status)
	}
	require.Equal(t, runtime.RunRunning, s.status(ids[3]))
}

func TestNoticeSaysOnlyWhatItKnows(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	page := s.get("/runs?did=You+were+hacked&n=1&of=1")
	require.NotContains(t, page, "hacked")
	require.NotContains(t, page, `role="status"`)
	require.Contains(t, s.get("/runs?did=cancel&n=x&of=y"), "Nothing was cancelled")
}

func TestActionsAreLogged(t *testing.T) {
	t.Parallel()
	log, lines := newLog()
	s := newSite(t, Config{Logger: log})
	id := s.start(`{}`, runtime.WithDelay(time.Hour))
	s.post("/runs/"+id+"/cancel", nil)
	require.Contains(t, lines(), "action=cancel on="+id)
}

func TestRetryStepAction(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	id := s.start(`{}`)
	require.NotContains(t, s.get("/runs/"+id), "Run again from here", "it has not ended")
	s.complete()
	require.Contains(t, s.get("/runs/"+id), "Run again from pack")
	require.Contains(t, s.post("/runs/"+id+"/retry_step", url.Values{"step": {"pack"}}), "The run was resumed from that step.")
	require.Equal(t, runtime.RunRunning, s.status(id))
	require.Contains(t, s.post("/runs/"+id+"/retry_step", url.Values{"step": {"pack"}}), "Nothing was retried")
	require.Equal(t, "pack", s.work("completed", `1`))
	require.Equal(t, http.StatusNotFound, s.do(s.request(http.MethodPost, "/runs/"+id+"/retry_step", url.Values{"step": {"nowhere"}})).status)
	require.Equal(t, http.StatusNotFound, s.do(s.request(http.MethodPost, "/runs", url.Values{"action": {"retry_step"}, "id": {id}})).status)
}

func TestStartAction(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	page := s.post("/flows/shop/start", url.Values{"input": {`{"order": 12345678901234567890}`}})
	require.Contains(t, page, "The run was started.")
	require.Contains(t, page, "12345678901234567890")
	require.Contains(t, s.get("/flows/shop"), "&#34;order&#34;: 12345678901234567890", "the newest input is one to begin with")
	runs, err := ops.ListRuns(s.ctx, s.pool, ops.RunFilter{})
	require.NoError(t, err)
	require.Contains(t, s.post("/flows/shop/start", url.Values{"like": {runs[0].ID}}), "12345678901234567890", "with the input of another run")

	for form, status := range map[string]int{"input={": 400, "input=": 400, "input=[1e131071]": 400, "like=" + uuid.NewString(): 404, "like=nonsense": 404} {
		values, err := url.ParseQuery(form)
		require.NoError(t, err)
		require.Equal(t, status, s.do(s.request(http.MethodPost, "/flows/shop/start", values)).status, form)
	}
	require.Equal(t, http.StatusNotFound, s.do(s.request(http.MethodPost, "/flows/nothing/start", url.Values{"input": {"{}"}})).status)
	require.Equal(t, http.StatusNotFound, s.do(s.request(http.MethodPost, "/flows/shop/delete", nil)).status)
	runs, err = ops.ListRuns(s.ctx, s.pool, ops.RunFilter{})
	require.NoError(t, err)
	require.Len(t, runs, 2)

	s.serve(Config{Redact: func(string, string, json.RawMessage) json.RawMessage { return json.RawMessage(`"hidden"`) }})
	require.NotContains(t, s.get("/flows/shop"), "12345678901234567890")
	s.serve(Config{ReadOnly: true})
	require.Equal(t, http.StatusForbidden, s.do(s.request(http.MethodPost, "/flows/shop/start", url.Values{"input": {"{}"}})).status)
	require.NotContains(t, s.get("/flows/shop"), "Start a run")
}

func TestPauseAction(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	s.start(`{}`)
	require.Contains(t, s.get("/queues"), "no worker")
	require.Contains(t, s.get("/"), "1 task waits and no worker serves it")
	page := s.post("/flows/shop/pause", nil)
	require.Contains(t, page, "The flow is paused")
	require.Contains(t, page, "workers get none of its tasks")
	require.Contains(t, s.get("/"), "is paused, 1 task waits")
	require.Contains(t, s.post("/flows/shop/pause", nil), "It was already paused.")
	var claimed int
	require.NoError(t, s.pool.QueryRow(s.ctx, `SELECT count(*) FROM flowc.claim($1::uuid, '{shop}', '{1}')`, s.hand).Scan(&claimed))
	require.Zero(t, claimed)
	page = s.post("/flows/shop/resume", url.Values{"queues": {"1"}})
	require.Contains(t, page, "<h1>Queues</h1>")
	require.Contains(t, page, "The flow was resumed.")
	require.Contains(t, s.post("/flows/shop/resume", nil), "It was not paused.")
	require.Equal(t, "check", s.work("completed", `{}`))
	require.Equal(t, http.StatusNotFound, s.do(s.request(http.MethodPost, "/flows/nothing/pause", nil)).status)
	s.serve(Config{Authorize: func(_ *http.Request, action Action) error {
		if action == ActionPause {
			return errors.New("ask the shop")
		}
		return nil
	}})
	require.Equal(t, http.StatusForbidden, s.do(s.request(http.MethodPost, "/flows/shop/pause", nil)).status)
	require.NotContains(t, s.get("/queues"), "/flows/shop/pause")
}
