package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/flowc-dev/flowc/runtime/spec"
)

func cancels(r *rows) {
	began, causes := make(chan struct{}), make(chan error, 10)
	r.open(
		serve(spec.Flow{Slug: "quick", Steps: []spec.Step{{Slug: "work"}}}, map[string]function{"work": give(`1`)}),
		serve(spec.Flow{Slug: "slow", Timeout: time.Hour, Steps: []spec.Step{{Slug: "work"}}}, map[string]function{
			"work": func(ctx context.Context, _ handler.Values) (any, error) {
				close(began)
				<-ctx.Done()
				causes <- context.Cause(ctx)
				return nil, ctx.Err()
			}}),
	)
	r.row("cancel a run that has ended", func(c *check) {
		c.is(runtime.CancelRun(c.ctx, c.db, c.run("quick", `{}`).ID, ""), runtime.ErrWrongStatus)
		c.is(runtime.CancelRun(c.ctx, c.db, uuid.NewString(), ""), runtime.ErrRunNotFound)
	})
	r.row("cancel before the start", func(c *check) {
		run := c.start("quick", `{}`, runtime.WithDelay(time.Hour))
		c.ok(runtime.CancelRun(c.ctx, c.db, run.ID(), "not needed"))
		info := c.end(run)
		c.Equal([]any{runtime.RunCancelled, "not needed"}, []any{info.Status, info.CancelReason})
		c.False(info.CancelledAt.IsZero())
		_, err := run.Wait(c.ctx)
		var failed *runtime.RunFailedError
		c.as(err, &failed)
		c.Equal([]any{runtime.RunCancelled, "not needed"}, []any{failed.Status, failed.Message})
	})
	r.row("cancel reaches the handler", func(c *check) {
		c.is(runtime.CancelRun(c.ctx, c.db, uuid.NewString(), ""), runtime.ErrRunNotFound) // or it cannot be
		id := uuid.NewString()
		ended := make(chan struct{})
		go func() { // where runs are done by whoever starts them, this takes as long as the handler
			defer close(ended)
			_, _ = runtime.StartFlow(c.ctx, c.db, "slow", json.RawMessage(`{}`), runtime.WithRunID(id))
		}()
		select {
		case <-began:
		case <-c.ctx.Done():
			c.ok(c.ctx.Err())
		}
		c.ok(runtime.CancelRun(c.ctx, c.db, id, "too slow"))
		select {
		case cause := <-causes:
			c.Equal(handler.ErrTaskLost, cause)
		case <-c.ctx.Done():
			c.ok(c.ctx.Err())
		}
		<-ended
		c.Equal(runtime.RunCancelled, c.get(id).Status)
	})
}

func retries(r *rows) {
	note := new(record)
	var repaired atomic.Bool
	repairable := func(ctx context.Context, v handler.Values) (any, error) {
		task := note.note(ctx)
		if task.Index == 1 && !repaired.Load() {
			return nil, errors.New("broken")
		}
		return task.Index, nil
	}
	noted := func(ctx context.Context, _ handler.Values) (any, error) { note.note(ctx); return []int{7, 8, 9}, nil }
	flow := spec.Flow{Slug: "repair", MaxAttempts: 1, Steps: []spec.Step{
		{Slug: "list"}, {Slug: "each", Type: spec.TypeMap, Deps: []string{"list"}}, {Slug: "beside"}, {Slug: "last", Deps: []string{"each"}},
	}}
	r.open(serve(flow, map[string]function{"list": noted, "each": repairable, "beside": give(`1`), "last": outputsOf}))
	count := func(id, step string) int { return len(note.of(id, step)) }

	r.row("retry a run that has not failed", func(c *check) {
		repaired.Store(true)
		c.is(runtime.RetryRun(c.ctx, c.db, c.run("repair", `{}`).ID), runtime.ErrWrongStatus)
		c.is(runtime.RetryRun(c.ctx, c.db, uuid.NewString()), runtime.ErrRunNotFound)
	})
	r.row("retry a run", func(c *check) {
		repaired.Store(false)
		run := c.start("repair", `{}`)
		c.failed(c.end(run), "each[1]", "broken")
		repaired.Store(true)
		c.ok(runtime.RetryRun(c.ctx, c.db, run.ID()))
		c.completed(c.end(run), `{"beside": 1, "last": {"each": [0, 1, 2]}}`)
		c.Equal(1, count(run.ID(), "list"), "what completed is kept")
	})
	r.row(retryStep, func(c *check) {
		repaired.Store(true)
		run := c.start("repair", `{}`)
		c.completed(c.end(run), `{"beside": 1, "last": {"each": [0, 1, 2]}}`)
		c.ok(runtime.RetryStep(c.ctx, c.db, run.ID(), "each"))
		c.completed(c.end(run), `{"beside": 1, "last": {"each": [0, 1, 2]}}`)
		c.Equal([]int{1, 6}, []int{count(run.ID(), "list"), count(run.ID(), "each")})
		c.is(runtime.RetryStep(c.ctx, c.db, run.ID(), "nothing"), runtime.ErrRunNotFound)
	})
	r.row("delete a run", func(c *check) {
		info := c.run("repair", `{}`, runtime.WithIdempotencyKey("deleted"))
		deleted, err := runtime.DeleteRun(c.ctx, c.db, info.ID)
		c.ok(err)
		c.True(deleted)
		_, err = runtime.GetRun(c.ctx, c.db, info.ID)
		c.is(err, runtime.ErrRunNotFound)
		c.False(c.start("repair", `{}`, runtime.WithIdempotencyKey("deleted")).Existed(), "its key is free again")
		deleted, err = runtime.DeleteRun(c.ctx, c.db, uuid.NewString())
		c.ok(err)
		c.False(deleted)
	})
}

func definitions(r *rows) {
	shape := func(slug string) spec.Flow {
		return spec.Flow{Slug: slug, MaxAttempts: 2, Steps: []spec.Step{{Slug: "work"}}}
	}
	// Nobody does the second step of parked, so that its runs do not end.
	parked := shape("parked")
	parked.Steps = append(parked.Steps, spec.Step{Slug: "wait"})
	r.open(
		serve(shape("kept"), map[string]function{"work": give(`1`)}),
		serve(shape("removed"), map[string]function{"work": give(`1`)}),
		serve(parked, map[string]function{"work": give(`1`)}),
	)
	upsert := func(c *check, change func(*spec.Flow), opts ...runtime.UpsertOption) (runtime.UpsertResult, error) {
		flow := shape("kept")
		change(&flow)
		return runtime.UpsertFlow(c.ctx, c.db, flow, opts...)
	}
	r.row("flow exists", func(c *check) {
		for slug, want := range map[string]bool{"kept": true, "nobodys": false} {
			exists, err := runtime.FlowExists(c.ctx, c.db, slug)
			c.ok(err)
			c.Equal(want, exists, slug)
		}
	})
	r.row("upsert verified", func(c *check) {
		result, err := upsert(c, func(*spec.Flow) {})
		c.ok(err)
		c.Equal(runtime.UpsertVerified, result.Status)
	})
	r.row("upsert of an invalid flow", func(c *check) {
		_, err := upsert(c, func(f *spec.Flow) { f.Steps = nil })
		c.as(err, new(*spec.InvalidFlowError))
	})
	r.row("upsert mismatch", func(c *check) {
		result, err := upsert(c, func(f *spec.Flow) { f.Steps = append(f.Steps, spec.Step{Slug: "more"}) })
		var mismatch *runtime.MismatchError
		c.as(err, &mismatch)
		c.NotEmpty(mismatch.Differences)
		c.Equal(runtime.UpsertMismatch, result.Status)
		c.completed(c.run("kept", `{}`), `{"work": 1}`)
	})
	r.row("upsert of other options", func(c *check) {
		result, err := upsert(c, func(f *spec.Flow) { f.MaxAttempts = 5 })
		c.ok(err)
		c.Equal(runtime.UpsertOptionsUpdated, result.Status)
	})
	r.row("upsert a flow that is new", func(c *check) {
		result, err := runtime.UpsertFlow(c.ctx, c.db, shape("fresh"))
		c.ok(err)
		c.Equal(runtime.UpsertCompiled, result.Status)
		exists, err := runtime.FlowExists(c.ctx, c.db, "fresh")
		c.ok(err)
		c.True(exists)
	})
	r.row("upsert of another shape, with data loss", func(c *check) {
		flow := shape("reshaped")
		_, err := runtime.UpsertFlow(c.ctx, c.db, flow)
		c.ok(err)
		run := c.start("reshaped", `{}`)
		flow.Steps = append(flow.Steps, spec.Step{Slug: "more"})
		result, err := runtime.UpsertFlow(c.ctx, c.db, flow, runtime.AllowDataLoss())
		c.ok(err)
		c.Equal(runtime.UpsertRecompiled, result.Status)
		c.Equal(1, result.DeletedRuns)
		_, err = run.Info(c.ctx)
		c.is(err, runtime.ErrRunNotFound)
	})
	r.row("delete a flow with runs that have not ended", func(c *check) {
		c.start("parked", `{}`)
		_, err := runtime.DeleteFlow(c.ctx, c.db, "parked")
		c.as(err, new(*runtime.ActiveRunsError))
		deleted, err := runtime.DeleteFlow(c.ctx, c.db, "parked", runtime.AllowDataLoss())
		c.ok(err)
		c.Equal(runtime.Deleted{Existed: true, Runs: 1, Steps: 2}, deleted)
	})
	r.row("delete a flow", func(c *check) {
		run := c.start("removed", `{}`)
		c.end(run)
		deleted, err := runtime.DeleteFlow(c.ctx, c.db, "removed")
		c.ok(err)
		c.Equal(runtime.Deleted{Existed: true, Runs: 1, Steps: 1}, deleted)
		exists, err := runtime.FlowExists(c.ctx, c.db, "removed")
		c.ok(err)
		c.False(exists)
		_, err = run.Info(c.ctx)
		c.is(err, runtime.ErrRunNotFound)
		deleted, err = runtime.DeleteFlow(c.ctx, c.db, "removed")
		c.ok(err)
		c.False(deleted.Existed)
	})
}

func schedules(r *rows) {
	note := new(record)
	tick := func(ctx context.Context, _ handler.Values) (any, error) {
		note.note(ctx)
		return handler.Tick(ctx).IsZero(), nil
	}
	r.open(serve(spec.Flow{Slug: "yearly", Cron: "@yearly", Steps: []spec.Step{{Slug: "work"}}}, map[string]function{"work": tick}))
	r.row("tick of a schedule", func(c *check) {
		run, err := runtime.RunSchedule(c.ctx, c.db, "yearly")
		c.ok(err)
		info := c.end(run)
		c.completed(info, `{"work": false}`)
		c.JSONEq(`{}`, orNull(info.Input))
		c.WithinDuration(info.Tick, note.of(info.ID, "work")[0].Tick, 0)
	})
	r.row("run of a scheduled flow by hand", func(c *check) {
		c.completed(c.run("yearly", `{}`), `{"work": true}`)
	})
	r.row("flow without a schedule", func(c *check) {
		_, err := runtime.RunSchedule(c.ctx, c.db, "nobodys")
		c.is(err, runtime.ErrNoSchedule)
	})
}

// operations are the functions of package ops: each does its part, or says what it needs.
func operations(r *rows) {
	r.open(serve(spec.Flow{Slug: "observed", MaxAttempts: 1, Steps: []spec.Step{{Slug: "work"}}}, map[string]function{
		"work": func(_ context.Context, v handler.Values) (any, error) {
			if string(v.Input) == `"fail"` {
				return nil, errors.New("broken")
			}
			return v.Input, nil
		}}))
	past := time.Now().Add(-time.Hour)
	for name, does := range map[string]func(c *check, id string) (bool, error){
		"list runs": func(c *check, id string) (bool, error) {
			all, err := ops.ListRuns(c.ctx, c.db, ops.RunFilter{Search: id})
			return len(all) == 1 && all[0].ID == id && all[0].Status == runtime.RunCompleted, err
		},
		"list failures": func(c *check, _ string) (bool, error) {
			id := c.run("observed", `"fail"`).ID
			all, err := ops.ListFailures(c.ctx, c.db, past, 10)
			return slices.ContainsFunc(all, func(s ops.RunSummary) bool { return s.ID == id && s.Error == "broken" }), err
		},
		"runs beside a run": func(c *check, _ string) (bool, error) {
			older, newer := c.run("observed", `1`).ID, c.run("observed", `2`).ID
			_, got, err := ops.AdjacentRuns(c.ctx, c.db, newer)
			return got == older, err
		},
		"list tasks": func(c *check, id string) (bool, error) {
			all, err := ops.ListTasks(c.ctx, c.db, id, ops.TaskFilter{})
			return len(all) == 1 && all[0].Step == "work", err
		},
		"list tasks in flight": func(c *check, _ string) (bool, error) {
			_, err := ops.ListTasksInFlight(c.ctx, c.db, 10)
			return true, err
		},
		"list flows": func(c *check, _ string) (bool, error) {
			all, err := ops.ListFlows(c.ctx, c.db, past)
			return len(all) == 1 && all[0].Slug == "observed", err
		},
		"read a definition": func(c *check, _ string) (bool, error) {
			flow, err := ops.GetDefinition(c.ctx, c.db, "observed")
			return flow.MaxAttempts == 1, err
		},
		"list workers": func(c *check, _ string) (bool, error) {
			all, err := ops.ListWorkers(c.ctx, c.db, past)
			return len(all) == 1, err
		},
		"read a payload": func(c *check, id string) (bool, error) {
			p, err := ops.GetPayload(c.ctx, c.db, id, ops.PayloadFilter{Kind: ops.PayloadRunInput})
			return p != nil && string(p.JSON) == "7", err
		},
		"list payloads": func(c *check, id string) (bool, error) {
			all, err := ops.ListPayloads(c.ctx, c.db, id, ops.AllOutputs)
			return len(all) > 1, err
		},
		"throughput": func(c *check, _ string) (bool, error) {
			all, err := ops.Throughput(c.ctx, c.db, past, 10*time.Minute)
			return len(all) > 0, err
		},
		"pause and resume a flow": func(c *check, _ string) (bool, error) {
			paused, err := ops.PauseFlow(c.ctx, c.db, "observed", "ada")
			if err != nil {
				return false, err
			}
			run := c.start("observed", `1`)
			resumed, err := ops.ResumeFlow(c.ctx, c.db, "observed")
			c.Equal(runtime.RunCompleted, c.end(run).Status)
			return paused && resumed, err
		},
		"list schedules": func(c *check, _ string) (bool, error) {
			all, err := ops.ListSchedules(c.ctx, c.db)
			return len(all) == 0, err
		},
		"pause a schedule": func(c *check, _ string) (bool, error) {
			_, err := ops.PauseSchedule(c.ctx, c.db, "observed", "")
			return errors.Is(err, runtime.ErrNoSchedule), unless(err, runtime.ErrNoSchedule)
		},
		"resume a schedule": func(c *check, _ string) (bool, error) {
			_, err := ops.ResumeSchedule(c.ctx, c.db, "observed")
			return errors.Is(err, runtime.ErrNoSchedule), unless(err, runtime.ErrNoSchedule)
		},
		"next ticks": func(c *check, _ string) (bool, error) {
			all, err := ops.NextTicks(c.ctx, c.db, "@hourly", 3)
			return len(all) == 3, err
		},
		"run now": func(c *check, id string) (bool, error) {
			n, err := ops.RunNow(c.ctx, c.db, id, "")
			return n == 0, err
		},
		"prune": func(c *check, _ string) (bool, error) {
			n, err := ops.Prune(c.ctx, c.db, ops.PruneOptions{OlderThan: time.Hour})
			return n == 0, err
		},
		"explain a run": func(c *check, id string) (bool, error) {
			reasons, err := runtime.ExplainRun(c.ctx, c.db, id)
			return len(reasons) == 0, err
		},
	} {
		r.row(name, func(c *check) {
			done, err := does(c, c.run("observed", `7`).ID)
			c.ok(err)
			c.True(done, fmt.Sprintf("%s did not do its part", name))
		})
	}
}

// unless returns an error unless it is the one that is expected.
func unless(err, expected error) error {
	if errors.Is(err, expected) {
		return nil
	}
	return err
}
