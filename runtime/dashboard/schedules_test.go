package dashboard

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// tidy puts a flow into the database that the clock starts.
func (s *site) tidy() {
	s.Helper()
	_, err := runtime.UpsertFlow(s.ctx, s.pool, spec.Flow{Slug: "tidy", Cron: "@every 1h", Steps: []spec.Step{{Slug: "tidy"}}})
	require.NoError(s, err)
}

// schedule returns the schedule of tidy.
func (s *site) schedule() ops.ScheduleInfo {
	s.Helper()
	schedules, err := ops.ListSchedules(s.ctx, s.pool, "tidy")
	require.NoError(s, err)
	require.Len(s, schedules, 1)
	return schedules[0]
}

func TestSchedulesPage(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	s.tidy()
	page := s.get("/schedules")
	require.Contains(t, page, `<a class="row-link" href="/flows/tidy">`)
	require.Contains(t, page, "<code>@every 1h</code>")
	require.Contains(t, page, `<span class="badge schedule-armed">armed</span>`)
	require.Contains(t, page, "never")
	require.Contains(t, page, stamp(s.schedule().NextAt))
	require.Contains(t, s.get("/flows/tidy"), "Scheduled at <code>@every 1h</code>")
	require.NotContains(t, s.get("/flows/shop"), "The clock starts it")

	_, err := s.pool.Exec(s.ctx, `UPDATE flowc.schedules SET next_at = clock_timestamp() - interval '1 hour 5 minutes'`)
	require.NoError(t, err)
	s.serve(Config{}) // without what was cached
	require.Contains(t, s.get("/schedules"), ">overdue<")
	require.Contains(t, s.get("/"), "should have been started by its schedule 1 h 5 min ago")

	// A tick is shown with its run.
	_, err = s.pool.Exec(s.ctx, `SELECT flowc.start_due('{tidy}')`)
	require.NoError(t, err)
	s.serve(Config{})
	schedule := s.schedule()
	page = s.get("/schedules")
	require.Contains(t, page, "/runs/"+schedule.LastRunID)
	require.Contains(t, page, `<span class="badge running" title="It has steps to do.">`)
	require.Contains(t, s.get("/runs/"+schedule.LastRunID), "<dt>Tick</dt>")
	require.Contains(t, s.get("/runs?flow=tidy"), shortID(schedule.LastRunID))

	_, err = s.pool.Exec(s.ctx, `UPDATE flowc.schedules SET error_message = '<b>no room</b>'`)
	require.NoError(t, err)
	s.serve(Config{})
	page = s.get("/schedules")
	require.Contains(t, page, ">failing<")
	require.Contains(t, page, "&lt;b&gt;no room&lt;/b&gt;")
	require.Contains(t, s.get("/"), "cannot be started by its schedule: &lt;b&gt;no room")
}

func TestScheduleActions(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	s.tidy()
	page := s.post("/flows/tidy/pause_schedule", url.Values{"schedules": {"1"}, "reason": {"<i>holidays</i>"}})
	require.Contains(t, page, "<h1>Schedules</h1>")
	require.Contains(t, page, "The schedule is paused")
	require.Contains(t, page, "&lt;i&gt;holidays&lt;/i&gt;")
	require.NotZero(t, s.schedule().PausedAt)
	require.Contains(t, s.post("/flows/tidy/pause_schedule", nil), "It was already paused.")
	require.Contains(t, s.get("/flows/tidy"), "Its schedule <code>@every 1h</code> was paused")

	page = s.post("/flows/tidy/run_schedule", nil)
	require.Contains(t, page, "The run was started, as its schedule would.")
	require.Contains(t, page, "<dt>Tick</dt>")

	page = s.post("/flows/tidy/resume_schedule", nil)
	require.Contains(t, page, "The schedule resumes at its next tick.")
	require.Contains(t, page, "Scheduled at")
	require.Zero(t, s.schedule().PausedAt)
	require.Contains(t, s.post("/flows/tidy/resume_schedule", nil), "It was not paused.")

	for _, path := range []string{"/flows/shop/pause_schedule", "/flows/nothing/run_schedule", "/flows/a%2Fb/resume_schedule"} {
		require.Equal(t, http.StatusNotFound, s.do(s.request(http.MethodPost, path, nil)).status, path)
	}
	// A form of another site does nothing.
	foreign := s.request(http.MethodPost, "/flows/tidy/pause_schedule", nil)
	foreign.Header.Set("Sec-Fetch-Site", "cross-site")
	require.Equal(t, http.StatusForbidden, s.do(foreign).status)
	require.Zero(t, s.schedule().PausedAt)

	s.serve(Config{ReadOnly: true})
	require.Equal(t, http.StatusForbidden, s.do(s.request(http.MethodPost, "/flows/tidy/pause_schedule", nil)).status)
	require.NotContains(t, s.get("/schedules")+s.get("/flows/tidy"), "_schedule")
}

func TestBrowserPausesASchedule(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	s.tidy()
	b := newBrowser(s)
	b.open("/flows/tidy")
	b.click(`[popovertarget=pause-schedule].button`)
	require.Zero(t, s.schedule().PausedAt, "it is asked first")
	require.NoError(t, chromedp.Do(b.ctx, chromedp.SendKeys(chromedp.CSS("#pause-schedule input"), "too loud")))
	b.submit(`#pause-schedule button[type=submit]`)
	require.Contains(t, js[string](b, `document.querySelector("#schedule").textContent`), "too loud")
	require.Equal(t, "too loud", s.schedule().PauseReason)

	b.open("/schedules")
	b.submit(`form[action$="/resume_schedule"] button`)
	require.Contains(t, js[string](b, `document.querySelector(".notice").textContent`), "resumes at its next tick")
	require.WithinDuration(t, time.Now().Add(time.Hour), s.schedule().NextAt, time.Minute)
	b.submit(`form[action$="/run_schedule"] button`)
	require.Contains(t, js[string](b, `location.pathname`), "/runs/")
}
