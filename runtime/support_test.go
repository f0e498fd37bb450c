package runtime_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
	"github.com/flowc-dev/flowc/runtime/internal/faultnet"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// patience is how long a test waits for what must happen, on the slowest machine.
const patience = time.Minute

// greeting is a flow of two steps: greet says something, shout says it louder.
var greeting = spec.Flow{Steps: []spec.Step{
	{Slug: "shout", Deps: []string{"greet"}},
	{Slug: "greet"},
}}

// typed is the same with the types that its generated package would have.
var typed = runtime.NewFlow[greet](
	greeting.As("greeting"), handler.Output[string]("shout"))

type greet struct {
	Name string `json:"name"`
}

// service is what a worker needs for it.
func service() handler.Service {
	return handler.Serve(typed.Definition(), []handler.Handler{
		handler.Handle("greet", handler.Input[greet](), func(_ context.Context, in greet) (string, error) {
			return "hello " + in.Name, nil
		}),
		handler.Handle("shout", handler.Output[string]("greet"), func(_ context.Context, in string) (string, error) {
			return strings.ToUpper(in), nil
		}),
	})
}

// open is a database that has the flow greeting.
func open(t *testing.T) (context.Context, *pgxpool.Pool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*patience)
	t.Cleanup(cancel)
	pool := dbtest.Pool(t)
	_, err := typed.Upsert(ctx, pool)
	require.NoError(t, err)
	return ctx, pool
}

// openThrough is the same, and a pool that goes through a network.
func openThrough(t *testing.T) (ctx context.Context, direct *pgxpool.Pool, network *faultnet.Network, pool *pgxpool.Pool) {
	t.Helper()
	ctx, direct = open(t)
	network = new(faultnet.Network)
	pool, err := network.Through(direct)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return ctx, direct, network, pool
}

// A hand is a worker that does one task at a time, when it is told to.
type hand struct {
	t    *testing.T
	pool *pgxpool.Pool
	id   uuid.UUID
}

func newHand(t *testing.T, pool *pgxpool.Pool) *hand {
	t.Helper()
	h := &hand{t: t, pool: pool, id: uuid.New()}
	_, err := pool.Exec(context.Background(), `SELECT flowc.register_worker($1, 'hand', '{greeting}')`, h.id)
	require.NoError(t, err)
	return h
}

// finish does one task of a flow: outcome is completed, failed or permanent, and
// value its output or error.
func (h *hand) finish(flow, outcome, value string) (run, step string) {
	h.t.Helper()
	var output, message *string
	if outcome == "completed" {
		output = &value
	} else {
		message = &value
	}
	err := h.pool.QueryRow(context.Background(), `
WITH task AS MATERIALIZED (SELECT * FROM flowc.claim($1::uuid, ARRAY[$2], '{1}')),
     done AS MATERIALIZED (
       SELECT count(f.n) FROM task t, flowc.report($1::uuid, ARRAY[t.run_id], ARRAY[t.step_slug], ARRAY[t.task_index],
         ARRAY[t.message_id], ARRAY[t.claim_number], ARRAY[$3], ARRAY[$4::jsonb], ARRAY[$5], ARRAY[NULL::float8]) f)
SELECT t.run_id::text, t.step_slug FROM task t, done`,
		h.id, flow, outcome, output, message).Scan(&run, &step)
	require.NoError(h.t, err)
	return run, step
}

// waiting starts waiting for a run, and is a channel with what came of it.
func waiting[Out any](ctx context.Context, run *runtime.Run[Out], opts ...runtime.WaitOption) <-chan waited[Out] {
	c := make(chan waited[Out], 1)
	go func() {
		out, err := run.Wait(ctx, opts...)
		c <- waited[Out]{out, err, time.Now()}
	}()
	return c
}

type waited[Out any] struct {
	out Out
	err error
	at  time.Time
}

func receive[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		require.FailNow(t, "nothing came")
		panic("unreachable")
	}
}

func count(t *testing.T, pool *pgxpool.Pool, sql string, args ...any) (n int) {
	t.Helper()
	require.NoError(t, pool.QueryRow(context.Background(), sql, args...).Scan(&n))
	return n
}

func raw(v string) json.RawMessage { return json.RawMessage(v) }
