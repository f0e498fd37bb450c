package dashboard

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// mostOfAPage is what a page may have, whatever is in the database.
const mostOfAPage = 4 << 20

// pages returns every page that shows something of a run of shop.
func (s *site) pages(run string) map[string]string {
	s.Helper()
	pages := map[string]string{}
	for _, path := range []string{
		"/", "/flows", "/flows/shop", "/runs", "/runs?status=failed", "/queues", "/workers", "/schedules", "/runs/" + run, "/runs/" + run + "/steps/check",
	} {
		pages[path] = s.get(path)
		require.Less(s, len(pages[path]), mostOfAPage, path)
	}
	return pages
}

// TestDeepPayloadsStaySmall: indented in full, 84 kB of brackets are 168 MB.
func TestDeepPayloadsStaySmall(t *testing.T) {
	t.Parallel()
	for name, input := range map[string]string{
		"84 kB":  strings.Repeat("[", 2000) + strings.Repeat("0,", 40_000) + "0" + strings.Repeat("]", 2000),
		"808 kB": strings.Repeat("[", 4000) + strings.Repeat("0,", 400_000) + "0" + strings.Repeat("]", 4000),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, Config{})
			run := s.start(input)
			s.work("completed", input)
			s.pages(run)
			for _, of := range []string{"run_input", "step_output&step=check", "task_output&step=check&index=0"} {
				got := s.get("/runs/" + run + "/payload?of=" + of)
				require.Less(t, len(got), mostOfAPage)
				var same bytes.Buffer
				require.NoError(t, json.Compact(&same, []byte(got)))
				require.True(t, input == same.String(), "it is the same value")
			}
		})
	}
}

// TestHugePayloadsAreNotShown: what somebody wrote into the tables is as much as the
// database makes of it.
func TestHugePayloadsAreNotShown(t *testing.T) {
	t.Parallel()
	for name, sql := range map[string]string{
		"numbers":           `select ('[' || rtrim(repeat('1e131071,', 1500), ',') || ']')::jsonb`,
		"text":              `select to_jsonb(repeat('long ', 2000000))`,
		"small when stored": `select jsonb_build_object('a', repeat('"', 800000))`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, Config{})
			run := s.start(`{}`)
			_, err := s.pool.Exec(s.ctx, `update pgflow.runs set input = v.value from (`+sql+`) v(value)`)
			require.NoError(t, err)
			pages := s.pages(run)
			require.Contains(t, pages["/runs/"+run], "too long to show here")
			if name == "small when stored" {
				require.Contains(t, s.get("/runs/"+run+"/payload?of=run_input"), `\"\"\"`)
				return
			}
			require.Contains(t, s.refused(http.StatusRequestEntityTooLarge, "/runs/"+run+"/payload?of=run_input"), "flowc runs show")
		})
	}
}

// TestPagesHaveRoomForSomeValuesOnly: the same value is the input of many steps.
func TestPagesHaveRoomForSomeValuesOnly(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	def := spec.Flow{Steps: []spec.Step{{Slug: "first"}}}
	for i := range 600 {
		def.Steps = append(def.Steps, spec.Step{Slug: fmt.Sprint("s", i), Deps: []string{"first"}})
	}
	for i := range 3 {
		var deps []string
		for j := range 600 {
			deps = append(deps, fmt.Sprint("s", j))
		}
		def.Steps = append(def.Steps, spec.Step{Slug: fmt.Sprint("join", i), Deps: deps})
	}
	_, err := runtime.UpsertFlow(s.ctx, s.pool, def.As("wide"))
	require.NoError(t, err)
	run, err := runtime.StartFlow(s.ctx, s.pool, "wide", nil)
	require.NoError(t, err)
	list := `["` + strings.Repeat(`<&\"`, 100) + `"` + strings.Repeat(`,"<&\"<&\"<&\""`, 1000) + `]`
	_, err = s.pool.Exec(s.ctx, `
		select pgflow.start_tasks('wide', array(select msg_id from pgmq.read('wide', 60, 1)), $1);`, s.hand)
	require.NoError(t, err)
	_, err = s.pool.Exec(s.ctx, `select pgflow.complete_task($1, 'first', 0, $2::jsonb)`, run.ID(), list)
	require.NoError(t, err)
	page := s.get("/runs/" + run.ID())
	require.Less(t, len(page), mostOfAPage)
	require.Contains(t, page, "&lt;&amp;", "some are shown")
	require.Contains(t, page, "too long to show here", "others are not")
	require.Contains(t, page, "too many steps to draw")
	require.Contains(t, page, "more steps not shown", "of the timeline")
	require.Contains(t, page, `id="step-s599"`, "each step is there")
	flow := s.get("/flows/wide")
	require.Less(t, len(flow), mostOfAPage)
	require.Contains(t, flow, "104 more not shown", "of the steps")
	require.Less(t, len(s.get("/flows")), mostOfAPage)
}

// TestLongTextsAreCut: errors of other clients and reasons are of any length.
func TestLongTextsAreCut(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	long := "it broke\n" + strings.Repeat("<long text> ", 400_000)
	_, err := runtime.UpsertFlow(s.ctx, s.pool, spec.Flow{Slug: "ticking",
		Cron: "@yearly", Steps: []spec.Step{{Slug: "a", If: json.RawMessage(`{"a": "` + strings.Repeat("<", 500_000) + `"}`)}},
	})
	require.NoError(t, err)
	_, err = ops.PauseSchedule(s.ctx, s.pool, "ticking", long)
	require.NoError(t, err)
	failed := s.start(`{}`)
	for range 4 {
		s.work("failed", long)
		_, err := ops.RunNow(s.ctx, s.pool, failed, "")
		require.NoError(t, err)
	}
	_, err = s.pool.Exec(s.ctx, `
		insert into flowc.failed_attempts (run_id, step_slug, task_index, attempt, failed_at, error_message)
		select $1, 'check', 0, n, now() - interval '1 day' - n * interval '1 second', $2 from generate_series(1, 200) n`, failed, long[:20_000])
	require.NoError(t, err)
	require.Contains(t, s.pages(failed)["/runs/"+failed], "it broke", "while it goes on")
	s.work("failed", long)
	require.Equal(t, runtime.RunFailed, s.status(failed))
	for path, page := range s.pages(failed) {
		if strings.HasPrefix(path, "/runs/"+failed) || path == "/runs" {
			require.Contains(t, page, "it broke", path)
		}
	}

	cancelled := s.start(`{}`)
	require.NoError(t, runtime.CancelRun(s.ctx, s.pool, cancelled, long))
	require.Contains(t, s.pages(cancelled)["/runs/"+cancelled], "it broke")

	require.Less(t, len(s.get("/schedules")), mostOfAPage)
	require.Less(t, len(s.get("/flows/ticking")), mostOfAPage)
}

// TestRowsAreCut: tables that no page turns end somewhere.
func TestRowsAreCut(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	_, err := s.pool.Exec(s.ctx, `
		insert into pgflow.workers (worker_id, queue_name, function_name, last_heartbeat_at)
		select gen_random_uuid(), '*', 'many', clock_timestamp() from generate_series(1, 600);
		insert into flowc.worker_flows (worker_id, flow_slug) select w.worker_id, 'f' || n from pgflow.workers w, generate_series(1, 60) n`)
	require.NoError(t, err)
	for i := range 510 {
		_, err := s.pool.Exec(s.ctx, `select pgflow.create_flow($1), pgflow.add_step($1, 'a')`, fmt.Sprint("f", i))
		require.NoError(t, err)
	}
	s.pages(s.start(`{}`))
	require.Contains(t, s.get("/workers"), "101 more not shown", "and the hand is one")
	require.Contains(t, s.get("/workers"), "and 10 more", "of the flows")
	require.Contains(t, s.get("/flows"), "11 more not shown")
	require.Contains(t, s.get("/queues"), "11 more not shown")
}

// TestSearchForABomb: what no input can have is no search.
func TestSearchForABomb(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	s.refused(http.StatusBadRequest, "/runs?contains="+url.QueryEscape(`{"a": 1e131071}`))
	s.refused(http.StatusBadRequest, "/runs?contains="+url.QueryEscape(`a=1e131071`))
}
