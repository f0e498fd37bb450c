package runtime_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
)

// Starts that come together are sent together; each is answered for itself.
func TestStartsTogether(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	const n = 400
	ids := make([]string, n)
	existed := make([]bool, n)
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			// A value that the database refuses and a key that others have are among them.
			in, opts := any(greet{Name: fmt.Sprint(i)}), []runtime.StartOption(nil)
			switch {
			case i%50 == 7:
				in = json.RawMessage(strings.Repeat("[", 30_000) + strings.Repeat("]", 30_000))
			case i%4 == 0:
				opts = append(opts, runtime.WithIdempotencyKey(fmt.Sprint("key ", i%80)))
			}
			run, err := runtime.StartFlow(ctx, pool, "greeting", in, opts...)
			if errs[i] = err; err == nil {
				ids[i], existed[i] = run.ID(), run.Existed()
			}
		})
	}
	all.Wait()

	first := map[string]int{}
	for i := range n {
		if i%50 == 7 {
			var refused *runtime.InputError
			require.ErrorAs(t, errs[i], &refused)
			continue
		}
		require.NoError(t, errs[i])
		if !existed[i] {
			first[ids[i]]++
		}
	}
	var runs, inputs int
	err := pool.QueryRow(ctx, `SELECT count(*), count(DISTINCT input) FROM pgflow.runs`).Scan(&runs, &inputs)
	require.NoError(t, err)
	require.Len(t, first, runs, "every run was somebody's first")
	for id, times := range first {
		require.Equal(t, 1, times, "run %s started twice", id)
	}
	require.Equal(t, runs, inputs, "every run has the input of its caller")
}

func TestStartsTogetherOfUnknownFlow(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	var all sync.WaitGroup
	errs := make([]error, 50)
	for i := range errs {
		all.Go(func() { _, errs[i] = runtime.StartFlow(ctx, pool, "nobody", nil) })
	}
	all.Wait()
	for _, err := range errs {
		require.ErrorIs(t, err, runtime.ErrFlowNotFound)
	}
}

// A start whose caller gave up while it waited for others is not sent any more.
func TestStartsTogetherWithdrawn(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	hold, err := pool.Begin(ctx)
	require.NoError(t, err)
	defer hold.Rollback(ctx)
	_, err = hold.Exec(ctx, `SELECT flowc.lock_definition('greeting')`) // which starts wait for
	require.NoError(t, err)

	var held sync.WaitGroup
	errs := make([]error, 2)
	for i := range errs {
		held.Go(func() { _, errs[i] = runtime.StartFlow(ctx, pool, "greeting", greet{Name: "held"}) })
	}
	require.Eventually(t, func() bool {
		var waiting int
		err := pool.QueryRow(ctx, `
			SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&waiting)
		return err == nil && waiting == 2
	}, patience, 5*time.Millisecond)

	soon, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	_, err = runtime.StartFlow(soon, pool, "greeting", greet{Name: "withdrawn"})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, hold.Commit(ctx))
	held.Wait()
	require.Equal(t, make([]error, 2), errs)

	_, err = runtime.StartFlow(ctx, pool, "greeting", greet{Name: "last"})
	require.NoError(t, err)
	var withdrawn int
	require.NoError(t, pool.QueryRow(ctx, `SELECT count(*) FROM pgflow.runs WHERE input ->> 'name' = 'withdrawn'`).Scan(&withdrawn))
	require.Zero(t, withdrawn)
}
