package runtime_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

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
