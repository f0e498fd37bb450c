package flowtest_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/examples/orders/shop"
	"github.com/flowc-dev/flowc/examples/orders/shop/processorder"
	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/flowtest"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/flowc-dev/flowc/runtime/worker"
)

// The same test, inline and against a database.
func TestGeneratedFlow(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(t *testing.T, services ...handler.Service) runtime.DB{
		"inline":   func(_ *testing.T, services ...handler.Service) runtime.DB { return flowtest.Inline(services...) },
		"database": func(t *testing.T, services ...handler.Service) runtime.DB { return flowtest.Database(t, services...) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			db := open(t, processorder.Serve(&shelf{}))
			exists, err := processorder.ProcessOrderExists(ctx, db)
			require.NoError(t, err)
			require.True(t, exists)
			result, err := processorder.UpsertProcessOrder(ctx, db)
			require.NoError(t, err)
			require.Equal(t, runtime.UpsertVerified, result.Status)

			order := shop.Order{ID: "7", Lines: []shop.Line{{SKU: "TEA", Quantity: 2}}}
			run, err := processorder.StartProcessOrder(ctx, db, order, runtime.WithIdempotencyKey("7"))
			require.NoError(t, err)
			require.False(t, run.Existed())
			out, err := run.Wait(ctx)
			require.NoError(t, err)
			require.Equal(t, shop.Shipment{Tracking: "7/R-1", Parcels: 1, Weight: 200}, out)
			again, err := processorder.StartProcessOrder(ctx, db, shop.Order{}, runtime.WithIdempotencyKey("7"))
			require.NoError(t, err)
			require.True(t, again.Existed())
			require.Equal(t, run.ID(), again.ID())
			got, err := processorder.GetProcessOrder(ctx, db, run.ID())
			require.NoError(t, err)
			out, err = got.Wait(ctx)
			require.NoError(t, err)
			require.Equal(t, 1, out.Parcels)

			many, err := processorder.StartManyProcessOrder(ctx, db, []shop.Order{order, {}})
			require.NoError(t, err)
			_, err = many[0].Wait(ctx)
			require.NoError(t, err)
			_, err = many[1].Wait(ctx)
			var failed *runtime.RunFailedError
			require.ErrorAs(t, err, &failed)
			require.Equal(t, "nothing was ordered", failed.Message)
			_, err = processorder.GetProcessOrder(ctx, db, "01890a5d-ac96-774b-bcce-b302099a8057")
			require.ErrorIs(t, err, runtime.ErrRunNotFound)

			later, err := processorder.StartProcessOrder(ctx, db, order, runtime.WithDelay(100*time.Millisecond))
			require.NoError(t, err)
			require.WithinDuration(t, time.Now(), later.ScheduledAt(), time.Minute)
			_, err = later.Wait(ctx)
			require.NoError(t, err)
		})
	}
}

// one is a flow of one step.
var one = runtime.NewFlow[int](spec.Flow{Slug: "one",
	BaseDelay: spec.Set(time.Hour), Timeout: time.Second,
	Steps: []spec.Step{{Slug: "one"}},
}, handler.Output[string]("one"))

func serveOne(fn func(context.Context, int) (string, error), opts ...handler.ServeOption) handler.Service {
	return handler.Serve(one.Definition(), []handler.Handler{handler.Handle("one", handler.Input[int](), fn)}, opts...)
}

// Attempts tells of each attempt how it ended, and how long the next one would have waited.
func TestInlineAttempts(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		err     error
		mode    spec.Mode
		want    []flowtest.Attempt // without their tasks
		message string
	}{
		"completed": {nil, "", []flowtest.Attempt{{Outcome: worker.OutcomeCompleted}}, ""},
		"failed": {errors.New("no"), "", []flowtest.Attempt{
			{Outcome: worker.OutcomeRetried, Err: "no", RetryIn: 2 * time.Hour}, {Outcome: worker.OutcomeRetried, Err: "no", RetryIn: 4 * time.Hour},
			{Outcome: worker.OutcomeFailed, Err: "no"}}, "no"},
		"retry after": {handler.RetryAfter(time.Second, errors.New("busy")), "", []flowtest.Attempt{
			{Outcome: worker.OutcomeRetried, Err: "busy", RetryIn: time.Second}, {Outcome: worker.OutcomeRetried, Err: "busy", RetryIn: time.Second},
			{Outcome: worker.OutcomeFailed, Err: "busy"}}, "busy"},
		"permanent": {handler.Permanent(errors.New("no")), "", []flowtest.Attempt{{Outcome: worker.OutcomeFailed, Err: "no"}}, "no"},
		"skipped":   {handler.Skip("not today"), spec.ModeSkip, []flowtest.Attempt{{Outcome: worker.OutcomeSkipped, Err: "not today"}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			def := one.Definition()
			def.Steps = []spec.Step{{Slug: "one", WhenExhausted: tt.mode}}
			db := flowtest.Inline(handler.Serve(def, []handler.Handler{
				handler.Handle("one", handler.Input[int](), func(context.Context, int) (string, error) { return "", tt.err }),
			}))
			run, err := one.Start(t.Context(), db, 1)
			require.NoError(t, err)
			_, err = run.Wait(t.Context())
			if tt.message != "" {
				var failed *runtime.RunFailedError
				require.ErrorAs(t, err, &failed)
				require.Equal(t, tt.message, failed.Message)
			} else {
				require.NoError(t, err)
			}
			attempts := db.Attempts("one", "one")
			for i := range attempts {
				require.Equal(t, handler.Task{RunID: run.ID(), Flow: "one", Step: "one", Attempt: i + 1, MaxAttempts: 3}, attempts[i].Task)
				attempts[i].Task = handler.Task{}
			}
			require.Equal(t, tt.want, attempts)
		})
	}
}

type secretKey struct{}

// Handlers see middleware, headers and the task, and nothing of the caller's
// context, which no worker has. They may start runs themselves.
func TestInlineContext(t *testing.T) {
	t.Parallel()
	var db *flowtest.DB
	note := func(ctx context.Context, _ handler.Task, next func(context.Context) error) error {
		return next(context.WithValue(ctx, secretKey{}, "middleware"))
	}
	db = flowtest.Inline(serveOne(func(ctx context.Context, n int) (string, error) {
		task, _ := handler.TaskFromContext(ctx)
		if n > 0 {
			inner, err := one.StartSync(ctx, db, n-1)
			return fmt.Sprint(n, " ", inner), err
		}
		return fmt.Sprint(task.Step, task.Attempt, "/", task.MaxAttempts, task.Headers, ctx.Value(secretKey{})), nil
	}, handler.Use(note)))
	ctx := context.WithValue(t.Context(), secretKey{}, "caller")
	out, err := one.StartSync(ctx, db, 0, runtime.WithHeaders(map[string]string{"k": "v"}))
	require.NoError(t, err)
	require.Equal(t, "one1/3 map[k:v]middleware", out)
	out, err = one.StartSync(ctx, db, 2)
	require.NoError(t, err)
	require.Equal(t, "2 1 one1/3 map[]middleware", out)
}

// What cannot work says so, and what to do.
func TestInlineMistakes(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	fine := func(context.Context, int) (string, error) { return "fine", nil }
	db := flowtest.Inline(serveOne(fine), processorder.Serve(&shelf{}, handler.Without("pack")))

	_, err := processorder.StartProcessOrderSync(ctx, db, shop.Order{Lines: []shop.Line{{}}})
	require.ErrorContains(t, err, "waits for step pack, for which no service has a handler")
	_, err = runtime.StartFlow(ctx, db, "two", 1)
	require.ErrorContains(t, err, `flow "two" is not inline: pass the service of its package to Inline`)
	_, err = runtime.UpsertFlow(ctx, db, spec.Flow{Slug: "one", Steps: []spec.Step{{Slug: "two"}}})
	require.ErrorContains(t, err, "upserting flow one: it differs from the definition of its service: ")
	_, err = ops.ListRuns(ctx, db, ops.RunFilter{})
	require.ErrorContains(t, err, "use flowtest.Database")
	require.ErrorContains(t, runtime.RescheduleRun(ctx, db, "01890a5d-ac96-774b-bcce-b302099a8057", time.Now()), "use flowtest.Database")
	_, err = db.Exec(ctx, `INSERT INTO orders VALUES (1)`)
	require.ErrorContains(t, err, "an inline database has no tables")
	var n int
	require.ErrorContains(t, db.QueryRow(ctx, `SELECT 1`).Scan(&n), "an inline database has no tables")
	ended, cancel := context.WithCancel(ctx)
	cancel()
	_, err = one.Start(ended, db, 1)
	require.ErrorIs(t, err, context.Canceled)

	require.Panics(t, func() { flowtest.Inline(serveOne(fine).As("1")) })
	require.PanicsWithError(t, "flowc: flowtest: there are two handlers for step one of flow one", func() { flowtest.Inline(serveOne(fine), serveOne(fine)) })
	require.PanicsWithError(t, `flowc: flowtest: there is a handler for step "two", which flow one does not have`, func() {
		flowtest.Inline(handler.Serve(one.Definition(), []handler.Handler{handler.HandleValues("two", nil)}))
	})
	require.Panics(t, func() { db.Attempts("one", "two") })
}

// Services that each do a part of a flow do all of it together.
func TestInlineParts(t *testing.T) {
	t.Parallel()
	whole := processorder.Serve(&shelf{})
	db := flowtest.Inline(
		handler.Serve(whole.Definition(), whole.Handlers(), handler.Without("pack", "ship")),
		handler.Serve(whole.Definition(), whole.Handlers(), handler.Without("validate", "lines", "charge", "notify")),
	)
	out, err := processorder.StartProcessOrderSync(t.Context(), db, shop.Order{ID: "7", Lines: []shop.Line{{Quantity: 1}}})
	require.NoError(t, err)
	require.Equal(t, 1, out.Parcels)
}

// Where DATABASE_URL names a server, the database is made there, and is gone when
// the test is over.
func TestDatabaseOnAnotherServer(t *testing.T) {
	_, url := dbtest.Server(t, nil)
	server := dbtest.Connect(t, url)
	databases := func() (n int) {
		require.NoError(t, server.QueryRow(t.Context(), `SELECT count(*) FROM pg_database WHERE datname LIKE 'flowtest%'`).Scan(&n))
		return n
	}
	t.Setenv("DATABASE_URL", url)
	t.Run("test", func(t *testing.T) {
		db := flowtest.Database(t, serveOne(func(context.Context, int) (string, error) { return "fine", nil }))
		require.Equal(t, 1, databases())
		out, err := one.StartSync(t.Context(), db, 1)
		require.NoError(t, err)
		require.Equal(t, "fine", out)
	})
	require.Zero(t, databases())
}

// Each test has a database of its own.
func TestDatabases(t *testing.T) {
	t.Parallel()
	fine := serveOne(func(context.Context, int) (string, error) { return "fine", nil })
	a, b := flowtest.Database(t, fine), flowtest.Database(t)
	out, err := one.StartSync(t.Context(), a, 1)
	require.NoError(t, err)
	require.Equal(t, "fine", out)
	exists, err := one.Exists(t.Context(), b)
	require.NoError(t, err)
	require.False(t, exists)
}
