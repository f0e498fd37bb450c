package worker_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/flowc-dev/flowc/runtime/worker"
)

// TestRefusedClaims: a task that the database does not let anybody claim fails, and all
// others go on; if nobody can say which task it is, all other flows do.
func TestRefusedClaims(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	bad, good, stuck := job[int, int]("bad", spec.Flow{}), job[int, int]("good", spec.Flow{}), job[int, int]("stuck", spec.Flow{})
	twice := func(_ context.Context, n int) (int, error) { return 2 * n, nil }
	services := []handler.Service{serve(bad, twice), serve(good, twice), serve(stuck, twice)}
	pool := database(t, services...)
	bads, err := bad.StartMany(ctx, pool, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9})
	require.NoError(t, err)
	_, err = pool.Exec(ctx, `update pgflow.step_tasks set attempts_count = 2147483647 where run_id = any ($1::text[]::uuid[])`, []string{bads[3].ID(), bads[7].ID()})
	require.NoError(t, err)
	w := run(t, pool, worker.Config{Concurrency: 4}, services...)
	for n, started := range bads {
		out, err := started.Wait(ctx)
		if n == 3 || n == 7 {
			require.Contains(t, failure(t, err).Message, "flowc: the task cannot be claimed: integer out of range")
			continue
		}
		require.NoError(t, err)
		require.Equal(t, 2*n, out)
	}
	require.Contains(t, w.log.String(), "task cannot be claimed, failed it")

	// A trigger refuses whatever is done to the tasks of a flow, their failure as well.
	_, err = pool.Exec(ctx, `
		create function refuse() returns trigger language plpgsql as $$ begin raise exception 'not this one'; end $$;
		create trigger refuse before update on pgflow.step_tasks for each row when (old.flow_slug = 'stuck') execute function refuse()`)
	require.NoError(t, err)
	_, err = stuck.StartMany(ctx, pool, []int{1, 2, 3})
	require.NoError(t, err)
	for n := range 20 {
		out, err := good.StartSync(ctx, pool, n)
		require.NoError(t, err, fmt.Sprint(n))
		require.Equal(t, 2*n, out)
	}
	eventually(t, func() bool { return strings.Contains(w.log.String(), "the database refuses a claim") }, "it says so")
	_, err = pool.Exec(ctx, `drop trigger refuse on pgflow.step_tasks`)
	require.NoError(t, err)
	eventually(t, func() bool { return count(t, pool, `select count(*) from pgflow.runs where status = 'started'`) == 0 }, "all is done in the end")
	require.Equal(t, 2, count(t, pool, `select count(*) from pgflow.runs where status = 'failed'`))
}
