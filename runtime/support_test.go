package runtime_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/internal/testflow"
)

const patience = testflow.Patience

type greet = testflow.Greet

var (
	greeting    = testflow.Greeting
	typed       = testflow.Typed
	service     = testflow.Service
	open        = testflow.Open
	openThrough = testflow.OpenThrough
	newHand     = testflow.NewHand
)

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
