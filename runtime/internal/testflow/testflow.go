// Package testflow has a flow for the tests of packages runtime and ops, and a worker
// that does its tasks one by one, when it is told to.
package testflow

import (
	"context"
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

// Patience is how long a test waits for what must happen, on the slowest machine.
const Patience = time.Minute

// Greeting is a flow of two steps: greet says something, shout says it louder.
var Greeting = spec.Flow{Steps: []spec.Step{
	{Slug: "shout", Deps: []string{"greet"}},
	{Slug: "greet"},
}}

// Typed is the same with the types that its generated package would have.
var Typed = runtime.NewFlow[Greet](
	Greeting.As("greeting"), handler.Output[string]("shout"))

// Greet is the input of the flow.
type Greet struct {
	Name string `json:"name"`
}

// Service returns what a worker needs for it.
func Service() handler.Service {
	return handler.Serve(Typed.Definition(), []handler.Handler{
		handler.Handle("greet", handler.Input[Greet](), func(_ context.Context, in Greet) (string, error) {
			return "hello " + in.Name, nil
		}),
		handler.Handle("shout", handler.Output[string]("greet"), func(_ context.Context, in string) (string, error) {
			return strings.ToUpper(in), nil
		}),
	})
}

// Open returns a database that has the flow greeting.
func Open(t *testing.T) (context.Context, *pgxpool.Pool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*Patience)
	t.Cleanup(cancel)
	pool := dbtest.Pool(t)
	_, err := Typed.Upsert(ctx, pool)
	require.NoError(t, err)
	return ctx, pool
}

// OpenThrough returns the same, and a pool that goes through a network.
func OpenThrough(t *testing.T) (ctx context.Context, direct *pgxpool.Pool, network *faultnet.Network, pool *pgxpool.Pool) {
	t.Helper()
	ctx, direct = Open(t)
	network = new(faultnet.Network)
	pool, err := network.Through(direct)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return ctx, direct, network, pool
}

// A Hand is a worker that does one task at a time, when it is told to.
type Hand struct {
	T    *testing.T
	Pool *pgxpool.Pool
	ID   uuid.UUID
}

// NewHand registers a hand.
func NewHand(t *testing.T, pool *pgxpool.Pool) *Hand {
	t.Helper()
	h := &Hand{T: t, Pool: pool, ID: uuid.New()}
	_, err := pool.Exec(context.Background(), `SELECT flowc.register_worker($1, 'hand', '{greeting}')`, h.ID)
	require.NoError(t, err)
	return h
}

// Finish runs one task of a flow: outcome is completed, failed or permanent, and value
// its output or error.
func (h *Hand) Finish(flow, outcome, value string) (run, step string) {
	h.T.Helper()
	var output, message *string
	if outcome == "completed" {
		output = &value
	} else {
		message = &value
	}
	err := h.Pool.QueryRow(context.Background(), `
WITH task AS MATERIALIZED (SELECT * FROM flowc.claim($1::uuid, ARRAY[$2], '{1}')),
     done AS MATERIALIZED (
       SELECT count(f.n) FROM task t, flowc.report($1::uuid, ARRAY[t.run_id], ARRAY[t.step_slug], ARRAY[t.task_index],
         ARRAY[t.message_id], ARRAY[t.claim_number], ARRAY[$3], ARRAY[$4::jsonb], ARRAY[$5], ARRAY[NULL::float8]) f)
SELECT t.run_id::text, t.step_slug FROM task t, done`,
		h.ID, flow, outcome, output, message).Scan(&run, &step)
	require.NoError(h.T, err)
	return run, step
}
