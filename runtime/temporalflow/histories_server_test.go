package temporalflow_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/history/v1"
	"go.temporal.io/api/temporalproto"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/flowc-dev/flowc/runtime/temporalflow"
)

var recording = flag.Bool("record", false, "record histories of workflows in testdata/histories, for the test that replays them")

// TestServerRecord records histories with -record: those of each way that a workflow can
// take. Those that are there stay as they are, since runs of former versions have such.
func TestServerRecord(t *testing.T) {
	if !*recording {
		t.Skip("-record is not given")
	}
	const dir = "testdata/histories"
	require.NoError(t, os.MkdirAll(dir, 0o755))
	n := newNamespace(t)
	c, err := client.Dial(client.Options{HostPort: address(t), Namespace: n.name, Identity: "recorder", Logger: temporalflow.Logger(quiet)})
	require.NoError(t, err)
	defer c.Close()
	db := temporalflow.New(c, n.name)

	fails := func(times int) function {
		return func(ctx context.Context, _ handler.Values) (any, error) {
			if task, _ := handler.TaskFromContext(ctx); task.Attempt <= times {
				return nil, errors.New("not yet")
			}
			return "done", nil
		}
	}
	list := func(n int) function {
		return func(context.Context, handler.Values) (any, error) { return make([]int, n), nil }
	}
	never := []byte(`{"never": true}`)
	mapped := func(slug string, items int, each function) handler.Service {
		return serve(spec.Flow{Slug: slug, MaxAttempts: 1, Steps: []spec.Step{
			{Slug: "list"}, {Slug: "each", Type: spec.TypeMap, Deps: []string{"list"}}, {Slug: "after", Deps: []string{"each"}},
		}}, map[string]function{"list": list(items), "each": each, "after": give(1)})
	}
	started := make(chan struct{}, 1)
	repaired := false
	services := map[string]handler.Service{
		"diamond": serve(spec.Flow{Slug: "diamond", Steps: []spec.Step{
			{Slug: "a"}, {Slug: "b", Deps: []string{"a"}}, {Slug: "c", Deps: []string{"a"}}, {Slug: "d", Deps: []string{"b", "c"}},
		}}, map[string]function{"a": give(1), "b": give(2), "c": give(3), "d": give(4)}),
		"map_inline":       mapped("map_inline", 5, give(1)),
		"map_empty":        mapped("map_empty", 0, give(1)),
		"map_chunks":       mapped("map_chunks", 101, give(1)),
		"map_chunks_fails": mapped("map_chunks_fails", 101, fails(1)),
		"skips": serve(spec.Flow{Slug: "skips", MaxAttempts: 1, Steps: []spec.Step{
			{Slug: "given_up", WhenExhausted: spec.ModeSkip}, {Slug: "after", Deps: []string{"given_up"}},
			{Slug: "cascades", WhenExhausted: spec.ModeSkipCascade}, {Slug: "cascaded", Deps: []string{"cascades"}},
			{Slug: "unmet", If: never}, {Slug: "unmet_cascades", If: never, WhenUnmet: spec.ModeSkipCascade}, {Slug: "below", Deps: []string{"unmet_cascades"}},
			{Slug: "asks", WhenExhausted: spec.ModeSkip},
		}}, map[string]function{
			"given_up": fails(9), "after": give(1), "cascades": fails(9), "cascaded": give(1), "unmet": give(1), "unmet_cascades": give(1), "below": give(1),
			"asks": func(context.Context, handler.Values) (any, error) { return nil, handler.Skip("not wanted") },
		}),
		"attempts": serve(spec.Flow{Slug: "attempts", MaxAttempts: 3, BaseDelay: spec.Set(time.Second), Steps: []spec.Step{{Slug: "work"}}},
			map[string]function{"work": fails(2)}),
		"fails": serve(spec.Flow{Slug: "fails", MaxAttempts: 1, Steps: []spec.Step{{Slug: "work"}, {Slug: "beside"}, {Slug: "after", Deps: []string{"work"}}}},
			map[string]function{"work": fails(9), "beside": give(1), "after": give(1)}),
		"delayed": serve(spec.Flow{Slug: "delayed", Steps: []spec.Step{{Slug: "work"}, {Slug: "later", Deps: []string{"work"}, StartDelay: time.Second}}},
			map[string]function{"work": give(1), "later": give(2)}),
		"retried": serve(spec.Flow{Slug: "retried", MaxAttempts: 1, Steps: []spec.Step{{Slug: "first"}, {Slug: "second", Deps: []string{"first"}}}},
			map[string]function{"first": give(1), "second": func(context.Context, handler.Values) (any, error) {
				if !repaired {
					return nil, errors.New("broken")
				}
				return 2, nil
			}}),
		"cancelled": serve(spec.Flow{Slug: "cancelled", Steps: []spec.Step{{Slug: "work"}}}, map[string]function{
			"work": func(ctx context.Context, _ handler.Values) (any, error) {
				started <- struct{}{}
				<-ctx.Done()
				return nil, context.Cause(ctx)
			}}),
		"ticking": serve(spec.Flow{Slug: "ticking", Cron: "@every 1s", Steps: []spec.Step{{Slug: "work"}}}, map[string]function{
			"work": func(context.Context, handler.Values) (any, error) {
				select {
				case started <- struct{}{}:
				default:
				}
				return 1, nil
			}}),
	}
	ctx := t.Context()
	start := func(slug string, options ...runtime.StartOption) *runtime.Run[json.RawMessage] {
		require.NoError(t, runtime.UpsertServed(ctx, db, services[slug]))
		work(t, db, services[slug])
		if slug == "ticking" {
			return nil
		}
		run, err := runtime.StartFlow(ctx, db, slug, map[string]int{"n": 1}, options...)
		require.NoError(t, err)
		return run
	}
	for slug := range services {
		switch slug {
		case "delayed":
			run := start(slug, runtime.WithDelay(time.Hour))
			require.NoError(t, runtime.RescheduleRun(ctx, db, run.ID(), time.Now().Add(time.Second)))
			end(t, db, run)
		case "retried":
			run := start(slug)
			require.Equal(t, runtime.RunFailed, end(t, db, run).Status)
			repaired = true
			require.NoError(t, runtime.RetryRun(ctx, db, run.ID()))
			require.Equal(t, runtime.RunCompleted, end(t, db, run).Status)
			require.NoError(t, runtime.RetryStep(ctx, db, run.ID(), "second"))
			require.Equal(t, runtime.RunCompleted, end(t, db, run).Status)
		case "cancelled":
			run := start(slug)
			<-started
			require.NoError(t, runtime.CancelRun(ctx, db, run.ID(), "not needed"))
			end(t, db, run)
		case "ticking":
			start(slug)
			<-started
			unschedule(t, db, services[slug])
		default:
			end(t, db, start(slug))
		}
	}

	// All workflows of the namespace that have ended, each once for each type.
	host, err := os.Hostname()
	require.NoError(t, err)
	seen := map[string]int{}
	eventually(t, "all workflows are listed", func() bool {
		clear(seen)
		listed, err := c.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{PageSize: 1000})
		require.NoError(t, err)
		for _, e := range listed.Executions {
			kind := e.Type.Name
			if e.Status == enums.WORKFLOW_EXECUTION_STATUS_RUNNING || strings.HasPrefix(kind, "temporal-sys") || kind == "flowc.flow" {
				continue
			}
			if seen[kind]++; seen[kind] > 3 {
				continue
			}
			all := &history.History{}
			for events := c.GetWorkflowHistory(ctx, e.Execution.WorkflowId, e.Execution.RunId, false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT); events.HasNext(); {
				event, err := events.Next()
				require.NoError(t, err)
				all.Events = append(all.Events, event)
			}
			text, err := temporalproto.CustomJSONMarshalOptions{}.Marshal(all)
			require.NoError(t, err)
			name := kind
			if n := seen[kind]; n > 1 {
				name += "_" + string(rune('0'+n))
			}
			path := filepath.Join(dir, name+".json")
			if _, err := os.Stat(path); err == nil {
				continue // it was recorded before
			}
			require.NoError(t, os.WriteFile(path, []byte(strings.ReplaceAll(string(text), host, "host")+"\n"), 0o644))
		}
		for slug := range services {
			if seen[slug] == 0 {
				return false
			}
		}
		return seen["flowc.map"] > 0 && seen["flowc.tick"] > 0
	})
	t.Log(seen)
}
