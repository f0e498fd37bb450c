package runtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/flowc-dev/flowc/runtime/worker"
)

// serving runs a worker for services until the test ends.
func serving(t *testing.T, pool *pgxpool.Pool, services ...handler.Service) {
	t.Helper()
	for _, s := range services {
		_, err := runtime.UpsertFlow(t.Context(), pool, s.Definition())
		require.NoError(t, err)
	}
	w, err := worker.New(pool, worker.Config{Name: "mill"}, services...)
	require.NoError(t, err)
	stop := w.Start(context.Background())
	t.Cleanup(func() { require.NoError(t, stop()) })
}

// gives returns the handler of a step whose output is a value.
func gives(step string, value any) handler.Handler {
	return handler.HandleValues(step, func(context.Context, handler.Values) (any, error) { return value, nil })
}

// TestResult: what a run gave is what its definition says, whatever its leaves are.
func TestResult(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	for name, c := range map[string]struct {
		result *spec.Result
		want   string
	}{
		"open":    {nil, ""},
		"nothing": {&spec.Result{}, ""},
		"step":    {&spec.Result{From: "ship"}, `{"id": "TRK", "kg": 3}`},
		"map":     {&spec.Result{From: "pack"}, `["p", "p"]`},
		"input":   {&spec.Result{From: spec.RunKey}, `{"order": 1}`},
		"skipped": {&spec.Result{From: "never"}, `null`},
		"object": {
			&spec.Result{Fields: []spec.ResultField{{Name: "shipment", From: "ship"}, {Name: "order", From: spec.RunKey}, {Name: "no", From: "never"}}},
			`{"shipment": {"id": "TRK", "kg": 3}, "order": {"order": 1}, "no": null}`,
		},
		"embedded": {
			&spec.Result{Fields: []spec.ResultField{{Name: "kg", From: "list"}, {From: "ship"}, {From: "never"}, {From: "pack"}}},
			`{"id": "TRK", "kg": ["a", "b"]}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			def := spec.Flow{Slug: "given_" + name, Result: c.result, Steps: []spec.Step{
				{Slug: "list"},
				{Slug: "pack", Type: spec.TypeMap, Deps: []string{"list"}},
				{Slug: "ship", Deps: []string{"pack"}},
				{Slug: "never", Deps: []string{"ship"}, If: json.RawMessage(`{"ship": {"id": "other"}}`)},
				{Slug: "notify", Deps: []string{"ship"}},
			}}
			serving(t, pool, handler.Serve(def, []handler.Handler{
				gives("list", []string{"a", "b"}), gives("pack", "p"), gives("ship", map[string]any{"id": "TRK", "kg": 3}),
				gives("never", 1), gives("notify", nil),
			}))
			run, err := runtime.StartFlow(ctx, pool, def.Slug, json.RawMessage(`{"order": 1}`))
			require.NoError(t, err)
			before, err := runtime.GetRun(ctx, pool, run.ID())
			require.NoError(t, err)
			if before.Status != runtime.RunCompleted {
				require.Nil(t, before.Result)
			}
			given, err := run.Wait(ctx)
			require.NoError(t, err)
			info, err := runtime.GetRun(ctx, pool, run.ID(), runtime.WithStates())
			require.NoError(t, err)
			require.JSONEq(t, `{"notify": null}`, string(info.Output), "the contract's is there as well")
			payload, err := ops.GetPayload(ctx, pool, run.ID(), ops.PayloadFilter{Kind: ops.PayloadRunResult})
			require.NoError(t, err)
			if c.want == "" {
				require.Nil(t, info.Result)
				require.Nil(t, payload)
				require.JSONEq(t, string(info.Output), string(given))
			} else {
				require.JSONEq(t, c.want, string(info.Result))
				require.JSONEq(t, c.want, string(payload.JSON))
				require.JSONEq(t, c.want, string(given))
			}
			require.Equal(t, "4/5, 1 skipped", info.Progress())
			stored, err := ops.GetDefinition(ctx, pool, def.Slug)
			require.NoError(t, err)
			require.Equal(t, c.result, stored.Result)
		})
	}
}

// explained returns what a run waits for, as text.
func explained(ctx context.Context, t *testing.T, pool *pgxpool.Pool, id string) []string {
	t.Helper()
	reasons, err := runtime.ExplainRun(ctx, pool, id)
	require.NoError(t, err)
	words := []string{}
	for _, r := range reasons {
		words = append(words, r.String())
	}
	return words
}

// TestExplainRun: every reason for which a run does not move is told, also by Wait.
func TestExplainRun(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	exec := func(sql string, args ...any) {
		t.Helper()
		_, err := pool.Exec(ctx, sql, args...)
		require.NoError(t, err)
	}
	run, err := typed.Start(ctx, pool, greet{Name: "ann"})
	require.NoError(t, err)
	require.Equal(t, []string{"no worker serves greeting"}, explained(ctx, t, pool, run.ID()))
	_, err = run.Wait(ctx, runtime.WithTimeout(0))
	require.ErrorIs(t, err, runtime.ErrTimeout)
	require.ErrorContains(t, err, "(it is running, 2 steps remain: no worker serves greeting)")
	var waited *runtime.WaitError
	require.ErrorAs(t, err, &waited)
	require.Equal(t, runtime.ReasonNoWorker, waited.Reasons[0].Kind)
	short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	_, err = run.Wait(short)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "no worker serves greeting")

	// A worker of another version does not help.
	_, err = runtime.UpsertFlow(ctx, pool, greeting.As("greeting_v2"))
	require.NoError(t, err)
	h := newHand(t, pool)
	exec(`UPDATE flowc.worker_flows SET flow_slug = 'greeting_v2' WHERE worker_id = $1`, h.ID)
	require.Equal(t, []string{"no worker serves greeting, only greeting_v2"}, explained(ctx, t, pool, run.ID()))
	exec(`UPDATE flowc.worker_flows SET flow_slug = 'greeting' WHERE worker_id = $1`, h.ID)
	reasons := explained(ctx, t, pool, run.ID())
	require.Len(t, reasons, 1)
	require.Regexp(t, `^greet waits for a free worker, for \d+ s$`, reasons[0])

	// A worker that gave no sign of life, or stops, serves nothing.
	exec(`UPDATE pgflow.workers SET last_heartbeat_at = now() - interval '1 min' WHERE worker_id = $1`, h.ID)
	require.Equal(t, []string{"no worker serves greeting"}, explained(ctx, t, pool, run.ID()))
	exec(`UPDATE pgflow.workers SET last_heartbeat_at = now() + interval '1 hour', deprecated_at = now() WHERE worker_id = $1`, h.ID)
	require.Equal(t, []string{"no worker serves greeting"}, explained(ctx, t, pool, run.ID()))
	exec(`UPDATE pgflow.workers SET deprecated_at = null WHERE worker_id = $1`, h.ID)

	// A pause says since when, and by whom.
	_, err = ops.PauseFlow(ctx, pool, "greeting", "ann")
	require.NoError(t, err)
	exec(`UPDATE flowc.paused_flows SET paused_at = clock_timestamp() - interval '3.5 min'`)
	require.Equal(t, []string{"paused 3 minutes ago by ann"}, explained(ctx, t, pool, run.ID()))
	flows, err := ops.ListFlows(ctx, pool, time.Now())
	require.NoError(t, err)
	require.Equal(t, "ann", flows[0].PausedBy)
	require.Equal(t, "greeting_v2", flows[0].ReplacedBy)
	require.Empty(t, flows[1].ReplacedBy)
	_, err = ops.ResumeFlow(ctx, pool, "greeting")
	require.NoError(t, err)
	_, err = ops.PauseFlow(ctx, pool, "greeting", "")
	require.NoError(t, err)
	require.Regexp(t, `^paused \d+ s ago by \w+$`, explained(ctx, t, pool, run.ID())[0], "the database's user")
	_, err = ops.ResumeFlow(ctx, pool, "greeting")
	require.NoError(t, err)

	// A retry says when, and why.
	h.Finish("greeting", "failed", "503 from the bank\nand a stack")
	exec(`UPDATE pgflow.step_tasks SET visible_at = clock_timestamp() + interval '40.5 min' WHERE run_id = $1`, run.ID())
	require.Equal(t, []string{"greet retries in 40 minutes: 503 from the bank (1 of 3 attempts failed)"}, explained(ctx, t, pool, run.ID()))
	exec(`UPDATE pgflow.step_tasks SET attempts_count = 0 WHERE run_id = $1`, run.ID())
	require.Regexp(t, `^greet waits for the start delay, [\d-]* ?\d\d:\d\d \(in 40 minutes\)$`, explained(ctx, t, pool, run.ID())[0])

	// A worker that is at it, and one that is not any more.
	exec(`UPDATE pgflow.step_tasks SET visible_at = clock_timestamp() - interval '1 s', due_at = clock_timestamp() - interval '1 s' WHERE run_id = $1`, run.ID())
	exec(`SELECT flowc.claim($1::uuid, '{greeting}', '{1}')`, h.ID)
	require.Regexp(t, `^greet runs, for \d+ s, on hand [0-9a-f]{12}$`, explained(ctx, t, pool, run.ID())[0])
	exec(`UPDATE pgflow.workers SET last_heartbeat_at = clock_timestamp() - interval '12.5 min' WHERE worker_id = $1`, h.ID)
	require.Regexp(t, `^greet is with worker hand [0-9a-f]{12}, last seen 12 minutes ago$`, explained(ctx, t, pool, run.ID())[1])

	// Nothing to be done in a run that has not ended.
	exec(`UPDATE pgflow.workers SET last_heartbeat_at = now() + interval '1 hour' WHERE worker_id = $1`, h.ID)
	exec(`UPDATE pgflow.step_tasks SET in_queue = false WHERE run_id = $1`, run.ID())
	require.Equal(t, []string{"nothing of it is queued: `flowc doctor` says more"}, explained(ctx, t, pool, run.ID()))

	// What has ended waits for nothing.
	require.NoError(t, runtime.CancelRun(ctx, pool, run.ID(), ""))
	require.Empty(t, explained(ctx, t, pool, run.ID()))

	// A run whose time has not come.
	later, err := typed.Start(ctx, pool, greet{}, runtime.WithDelay(48*time.Hour+10*time.Minute))
	require.NoError(t, err)
	require.Regexp(t, `^scheduled for \d{4}-\d\d-\d\d \d\d:\d\d \(in 2 days\)$`, explained(ctx, t, pool, later.ID())[0])
	text, err := json.Marshal(runtime.Reason{Kind: runtime.ReasonNoWorker, Flow: "f"})
	require.NoError(t, err)
	require.Contains(t, string(text), `"text":"no worker serves f"`)
}

// TestExplainMap: of the tasks of a map the first is named, and how many there are.
func TestExplainMap(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	_, err := runtime.UpsertFlow(ctx, pool, spec.Flow{Slug: "many", Steps: []spec.Step{{Slug: "each", Type: spec.TypeMap}}})
	require.NoError(t, err)
	h := newHand(t, pool)
	_, err = pool.Exec(ctx, `UPDATE flowc.worker_flows SET flow_slug = 'many' WHERE worker_id = $1`, h.ID)
	require.NoError(t, err)
	run, err := runtime.StartFlow(ctx, pool, "many", []int{1, 2, 3})
	require.NoError(t, err)
	h.Finish("many", "failed", "no box")
	_, err = pool.Exec(ctx, `UPDATE pgflow.step_tasks SET visible_at = clock_timestamp() + interval '40.5 min' WHERE attempts_count > 0`)
	require.NoError(t, err)
	reasons := explained(ctx, t, pool, run.ID())
	require.Len(t, reasons, 2)
	require.Equal(t, "each[0] retries in 40 minutes: no box (1 of 3 attempts failed)", reasons[0])
	require.Regexp(t, `^each\[1\] and 1 more wait for a free worker, for \d+ s$`, reasons[1])
}

// TestExplainSuspects: why what a dead worker had in flight does not run at once.
func TestExplainSuspects(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	_, err := runtime.UpsertFlow(ctx, pool, spec.Flow{Slug: "many", Steps: []spec.Step{{Slug: "each", Type: spec.TypeMap}}})
	require.NoError(t, err)
	h := newHand(t, pool)
	die := func(claimed int) {
		id := uuid.NewString()
		_, err := pool.Exec(ctx, `SELECT flowc.register_worker($1, 'dies', '{many}')`, id)
		require.NoError(t, err)
		_, err = pool.Exec(ctx, `SELECT flowc.claim($1::uuid, '{many}', ARRAY[$2::int]), flowc.claim_suspects($1::uuid, '{many}', '{1}')`, id, claimed)
		require.NoError(t, err)
		_, err = pool.Exec(ctx, `UPDATE pgflow.workers SET last_heartbeat_at = now() - interval '1 min' WHERE worker_id = $1`, id)
		require.NoError(t, err)
		_, err = pool.Exec(ctx, `SELECT flowc.recover()`)
		require.NoError(t, err)
	}
	_, err = pool.Exec(ctx, `UPDATE flowc.worker_flows SET flow_slug = 'many' WHERE worker_id = $1`, h.ID)
	require.NoError(t, err)
	run, err := runtime.StartFlow(ctx, pool, "many", []int{1, 2})
	require.NoError(t, err)
	die(2)
	require.Equal(t, []string{"each[0] and 1 more wait to run apart from others: a worker died with them in flight"}, explained(ctx, t, pool, run.ID()))
	die(0)
	require.Equal(t, []string{"each[0] and 1 more wait to run apart from others: a worker died with them in flight, once with nothing else"}, explained(ctx, t, pool, run.ID()))
}

// TestMarks: runs with skipped steps, and with steps that gave up, can be told from
// clean ones, and a failed map names its element.
func TestMarks(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	def := spec.Flow{Slug: "marked", MaxAttempts: 1, Steps: []spec.Step{
		{Slug: "list"},
		{Slug: "each", Type: spec.TypeMap, Deps: []string{"list"}, WhenExhausted: spec.ModeSkip},
		{Slug: "maybe", Deps: []string{"list"}, If: json.RawMessage(`{"list": ["maybe"]}`)},
		{Slug: "must", Type: spec.TypeMap, Deps: []string{"list"}},
	}}
	each := func(step string) handler.Handler {
		return handler.Handle(step, handler.Item[string](), func(_ context.Context, item string) (string, error) {
			if item == "bad for "+step {
				return "", errors.New("No box for IT")
			}
			return item, nil
		})
	}
	serving(t, pool, handler.Serve(def, []handler.Handler{
		handler.Handle("list", handler.Input[[]string](), func(_ context.Context, in []string) ([]string, error) { return in, nil }),
		each("each"), each("must"), gives("maybe", 1),
	}))
	ids := map[string]string{}
	for name, input := range map[string][]string{
		"clean": {"maybe"}, "skipped": {"a"}, "both": {"a", "bad for each"}, "gave up": {"maybe", "bad for each"}, "failed": {"maybe", "a", "bad for must"},
	} {
		run, err := runtime.StartFlow(ctx, pool, def.Slug, input)
		require.NoError(t, err)
		_, err = run.Wait(ctx)
		if name == "failed" {
			require.ErrorContains(t, err, "failed in step must[2]: No box for IT")
		} else {
			require.NoError(t, err, name)
		}
		ids[name] = run.ID()
	}
	find := func(filter ops.RunFilter) map[string]string {
		t.Helper()
		filter.Flows = []string{def.Slug}
		runs, err := ops.ListRuns(ctx, pool, filter)
		require.NoError(t, err)
		found := map[string]string{}
		for _, r := range runs {
			for name, id := range ids {
				if id == r.ID {
					found[name] = strings.TrimSpace(r.Progress() + " " + r.Failed())
				}
			}
		}
		return found
	}
	completed := ops.RunFilter{Statuses: []runtime.RunStatus{runtime.RunCompleted}}
	require.Equal(t, map[string]string{
		"clean": "4/4", "skipped": "3/4, 1 skipped", "both": "2/4, 1 skipped, 1 gave up", "gave up": "3/4, 1 gave up",
	}, find(completed))
	marked := func(marks ...ops.RunMark) map[string]string {
		filter := completed
		filter.Marks = marks
		return find(filter)
	}
	require.Equal(t, map[string]string{"skipped": "3/4, 1 skipped", "both": "2/4, 1 skipped, 1 gave up"}, marked(ops.MarkSkipped))
	require.Equal(t, map[string]string{"gave up": "3/4, 1 gave up", "both": "2/4, 1 skipped, 1 gave up"}, marked(ops.MarkGaveUp))
	require.Equal(t, map[string]string{"clean": "4/4"}, marked(ops.MarkClean))
	require.Len(t, marked(ops.MarkClean, ops.MarkSkipped, ops.MarkGaveUp), 4)
	_, err := ops.ListRuns(ctx, pool, ops.RunFilter{Marks: []ops.RunMark{"dirty"}})
	require.ErrorIs(t, err, runtime.ErrInvalidOption)
	require.ErrorContains(t, err, "only skipped, gave_up, clean")

	require.Contains(t, find(ops.RunFilter{Statuses: []runtime.RunStatus{runtime.RunFailed}})["failed"], "must[2]")
	failures, err := ops.ListFailures(ctx, pool, time.Now().Add(-time.Hour), 1)
	require.NoError(t, err)
	require.Equal(t, "must[2]", failures[0].Failed())
	for _, read := range [][]runtime.GetOption{{runtime.WithStates()}, {runtime.WithStates(), runtime.WithoutPayloads()}} {
		info, err := runtime.GetRun(ctx, pool, ids["failed"], read...)
		require.NoError(t, err)
		require.Equal(t, "must[2]", info.Failed())
		require.Equal(t, "must[2]", info.States[3].Failed())
		info, err = runtime.GetRun(ctx, pool, ids["both"], read...)
		require.NoError(t, err)
		require.Equal(t, "2/4, 1 skipped, 1 gave up", info.Progress())
		require.Equal(t, "each[1] gave up", info.States[1].Failed()+" "+info.States[1].Word())
		require.Equal(t, "skipped", info.States[2].Word())
	}

	// By a part of the id, or of an error, in whatever case.
	id := ids["failed"]
	for _, search := range []string{
		id, strings.ToUpper(id), id[:24], id[24:], id[30:], strings.ReplaceAll(id, "-", ""), "no box FOR it",
	} {
		require.Contains(t, find(ops.RunFilter{Search: search}), "failed", search)
	}
	require.Len(t, find(ops.RunFilter{Search: id[24:]}), 1)
	require.Len(t, find(ops.RunFilter{Search: "No box"}), 3, "those that gave up have errors, too")
	for _, search := range []string{id[3:20], "no such error", "%", "_", `\`, "-"} {
		require.Empty(t, find(ops.RunFilter{Search: search}), search)
	}
	later, err := runtime.StartFlow(ctx, pool, def.Slug, []string{}, runtime.WithDelay(time.Hour))
	require.NoError(t, err)
	require.NoError(t, runtime.CancelRun(ctx, pool, later.ID(), "Not Wanted"))
	runs, err := ops.ListRuns(ctx, pool, ops.RunFilter{Search: "not wanted"})
	require.NoError(t, err)
	require.Equal(t, later.ID(), runs[0].ID)
	_, err = ops.ListRuns(ctx, pool, ops.RunFilter{Search: "a\x00b"})
	require.ErrorIs(t, err, runtime.ErrInvalidOption)
}

// TestMarshalRun: a handle in JSON says which run it is, by value and by pointer.
func TestMarshalRun(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	run, err := typed.Start(ctx, pool, greet{}, runtime.WithIdempotencyKey("k"), runtime.WithDelay(time.Hour))
	require.NoError(t, err)
	for _, v := range []any{run, *run} {
		text, err := json.Marshal(map[string]any{"run": v})
		require.NoError(t, err)
		var back struct {
			Run struct {
				ID, Flow    string
				Existed     bool
				ScheduledAt time.Time `json:"scheduled_at"`
			}
		}
		require.NoError(t, json.Unmarshal(text, &back))
		require.Equal(t, run.ID()+" greeting", back.Run.ID+" "+back.Run.Flow)
		require.True(t, back.Run.ScheduledAt.Equal(run.ScheduledAt()))
	}
}
