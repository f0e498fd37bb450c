package dashboard

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
)

func TestActionsOnARun(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	id := s.start(`{}`)
	path := "/runs/" + id

	s.work("failed", "not yet")
	require.Contains(t, s.post(path+"/run_now", url.Values{"step": {"lines"}}), "Nothing was waiting")
	require.Contains(t, s.post(path+"/run_now", url.Values{"step": {"check"}}), "starts now")
	require.Equal(t, "check", s.work("completed", `{}`), "it could be claimed an hour early")

	page := s.post(path+"/cancel", url.Values{"reason": {"changed my mind"}})
	require.Contains(t, page, "The run was cancelled.")
	require.Contains(t, page, "changed my mind")
	require.Equal(t, runtime.RunCancelled, s.status(id))
	require.Contains(t, s.post(path+"/cancel", nil), "Nothing was cancelled")

	require.Contains(t, s.post(path+"/retry", nil), "The run goes on.")
	require.Equal(t, runtime.RunStarted, s.status(id))
	require.Contains(t, s.post(path+"/retry", nil), "Nothing was retried")

	require.Contains(t, s.post(path+"/delete", nil), "The run was deleted.")
	_, err := runtime.GetRun(s.ctx, s.pool, id)
	require.ErrorIs(t, err, runtime.ErrRunNotFound)
	for _, wrong := range []string{path + "/cancel", "/runs/nonsense/cancel", path + "/explode"} {
		require.Equal(t, http.StatusNotFound, s.do(s.request(http.MethodPost, wrong, nil)).status, wrong)
	}
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
	require.Equal(t, runtime.RunStarted, s.status(ids[2]))

	page = s.post("/runs", url.Values{"action": {"cancel"}, "id": append(ids[1:3:3], uuid.NewString())})
	require.Contains(t, page, "The run was cancelled. 2 others were not in the right state for it.")

	page = s.post("/runs", url.Values{"action": {"delete"}, "scope-delete": {"all"}, "id": {ids[3]}, "back": {"status=cancelled"}})
	require.Contains(t, page, "3 runs were deleted.")
	require.Equal(t, runtime.RunStarted, s.status(ids[3]), "all that the filters meet, and nothing else")

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
	require.Equal(t, runtime.RunStarted, s.status(ids[3]))
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
