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

// What handlers can do wrong has the outcome that it has in a worker.
func TestInlineOutcomes(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		handler  func(context.Context, int) (string, error)
		outcomes []worker.Outcome
		retryIn  []time.Duration
		message  string
	}{
		"retries": {func(context.Context, int) (string, error) { return "", errors.New("no") },
			[]worker.Outcome{worker.OutcomeRetried, worker.OutcomeRetried, worker.OutcomeFailed}, []time.Duration{2 * time.Hour, 4 * time.Hour, 0}, "no"},
		"retry after": {func(context.Context, int) (string, error) {
			return "", handler.RetryAfter(time.Second, errors.New("busy"))
		},
			[]worker.Outcome{worker.OutcomeRetried, worker.OutcomeRetried, worker.OutcomeFailed}, []time.Duration{time.Second, time.Second, 0}, "busy"},
		"permanent": {func(context.Context, int) (string, error) { return "", handler.Permanent(errors.New("no")) },
			[]worker.Outcome{worker.OutcomeFailed}, []time.Duration{0}, "no"},
		"panic": {func(context.Context, int) (string, error) { panic(handler.Permanent(errors.New("no"))) },
			[]worker.Outcome{worker.OutcomeRetried, worker.OutcomeRetried, worker.OutcomeFailed}, nil, "flowtest_test.go:"},
		"skip without leave": {func(context.Context, int) (string, error) { return "", handler.Skip("not today") },
			[]worker.Outcome{worker.OutcomeFailed}, nil, `flowc: the handler asked to skip step one (not today), which does not allow it: add when_exhausted:"skip" to the step`},
		"timeout": {func(ctx context.Context, _ int) (string, error) {
			<-ctx.Done()
			return "", handler.Permanent(ctx.Err())
		},
			[]worker.Outcome{worker.OutcomeFailed}, nil, "context deadline exceeded"},
		"unstorable": {func(context.Context, int) (string, error) { return "\x00", nil },
			[]worker.Outcome{worker.OutcomeFailed}, nil, "flowc: output of step one: it contains the character"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := flowtest.Inline(serveOne(tt.handler))
			_, err := one.StartSync(t.Context(), db, 1)
			var failed *runtime.RunFailedError
			require.ErrorAs(t, err, &failed)
			require.Contains(t, failed.Message, tt.message)
			var outcomes []worker.Outcome
			var retryIn []time.Duration
			for i, attempt := range db.Attempts("one", "one") {
				require.Equal(t, i+1, attempt.Attempt)
				outcomes, retryIn = append(outcomes, attempt.Outcome), append(retryIn, attempt.RetryIn)
			}
			require.Equal(t, tt.outcomes, outcomes)
			if tt.retryIn != nil {
				require.Equal(t, tt.retryIn, retryIn)
			}
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
	require.ErrorContains(t, err, `flow "two" is not inline: give the service that its package makes to Inline`)
	_, err = ops.ListRuns(ctx, db, ops.RunFilter{})
	require.ErrorContains(t, err, "use flowtest.Database")
	require.ErrorContains(t, runtime.CancelRun(ctx, db, "01890a5d-ac96-774b-bcce-b302099a8057", ""), "use flowtest.Database")
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

	list := spec.Flow{Slug: "list", Steps: []spec.Step{{Slug: "m", Type: spec.TypeMap}}}
	db = flowtest.Inline(handler.Serve(list, nil))
	_, err = runtime.StartFlow(ctx, db, "list", map[string]int{})
	var input *runtime.InputError
	require.ErrorAs(t, err, &input)
	require.ErrorContains(t, err, "input is not an array (got object)")
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
