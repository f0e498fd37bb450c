package runtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/spec"
)

type account struct {
	Account int `json:"account"`
	N       int `json:"n"`
}

// unique puts a flow into a database of its own whose runs are alike by their account.
func unique(t *testing.T, u spec.Unique) (context.Context, *pgxpool.Pool) {
	t.Helper()
	ctx, pool := open(t)
	u.By = []spec.Path{{spec.RunKey, "account"}}
	_, err := runtime.UpsertFlow(ctx, pool, spec.Flow{Slug: "sync", Unique: &u, Steps: []spec.Step{{Slug: "fetch"}}})
	require.NoError(t, err)
	return ctx, pool
}

func startSync(ctx context.Context, t *testing.T, db runtime.DB, in account, opts ...runtime.StartOption) *runtime.Run[json.RawMessage] {
	t.Helper()
	run, err := runtime.StartFlow(ctx, db, "sync", in, opts...)
	require.NoError(t, err)
	return run
}

// requireDuplicate holds that an error names a run.
func requireDuplicate(t *testing.T, err error, id string) {
	t.Helper()
	var duplicate *runtime.DuplicateRunError
	require.ErrorAs(t, err, &duplicate)
	require.Equal(t, id, duplicate.RunID)
	require.Equal(t, "sync", duplicate.Flow)
}

func TestUnique(t *testing.T) {
	t.Parallel()
	ctx, pool := unique(t, spec.Unique{})
	first := startSync(ctx, t, pool, account{7, 1})
	require.False(t, first.Existed())
	again := startSync(ctx, t, pool, account{7, 2})
	require.True(t, again.Existed())
	require.Equal(t, first.ID(), again.ID())
	require.False(t, startSync(ctx, t, pool, account{8, 1}).Existed())
	info, err := again.Info(ctx)
	require.NoError(t, err)
	require.JSONEq(t, `{"account": 7, "n": 1}`, string(info.Input))
	require.Equal(t, "account=7", info.Unique)
	states, err := runtime.GetRun(ctx, pool, again.ID(), runtime.WithStates(), runtime.WithoutPayloads())
	require.NoError(t, err)
	require.Equal(t, "account=7", states.Unique)

	// With a key, the run that is there is returned, and the key stays free; a run that has the
	// key is returned whatever its input. An id cannot be another one.
	keyed := startSync(ctx, t, pool, account{7, 3}, runtime.WithIdempotencyKey("k"))
	require.True(t, keyed.Existed())
	require.Equal(t, first.ID(), keyed.ID())
	nine := startSync(ctx, t, pool, account{9, 1}, runtime.WithIdempotencyKey("k"))
	require.False(t, nine.Existed())
	require.Equal(t, nine.ID(), startSync(ctx, t, pool, account{7, 4}, runtime.WithIdempotencyKey("k")).ID())
	_, err = runtime.StartFlow(ctx, pool, "sync", account{7, 5}, runtime.WithRunID(uuid.NewString()))
	requireDuplicate(t, err, first.ID())
	require.True(t, startSync(ctx, t, pool, account{7, 5}, runtime.WithRunID(first.ID())).Existed())

	// A run that is scheduled is one, too.
	later := startSync(ctx, t, pool, account{10, 1}, runtime.WithDelay(time.Hour))
	require.False(t, later.ScheduledAt().IsZero())
	again = startSync(ctx, t, pool, account{10, 2})
	require.Equal(t, later.ID(), again.ID())
	require.Equal(t, later.ScheduledAt(), again.ScheduledAt())

	runs, err := runtime.StartMany(ctx, pool, "sync", []any{account{7, 6}, account{11, 1}, account{11, 2}, account{12, 1}})
	require.NoError(t, err)
	require.Equal(t, first.ID(), runs[0].ID())
	require.Equal(t, runs[1].ID(), runs[2].ID())
	require.Equal(t, []bool{true, false, true, false}, []bool{runs[0].Existed(), runs[1].Existed(), runs[2].Existed(), runs[3].Existed()})

	beside := startSync(ctx, t, pool, account{7, 7}, runtime.WithoutUnique())
	require.False(t, beside.Existed())
	require.NotEqual(t, first.ID(), beside.ID())

	// A retry needs the key.
	require.NoError(t, runtime.CancelRun(ctx, pool, first.ID(), ""))
	second := startSync(ctx, t, pool, account{7, 8})
	require.False(t, second.Existed())
	requireDuplicate(t, runtime.RetryRun(ctx, pool, first.ID()), second.ID())
	requireDuplicate(t, runtime.RetryStep(ctx, pool, first.ID(), "fetch"), second.ID())
	require.NoError(t, runtime.CancelRun(ctx, pool, second.ID(), ""))
	require.NoError(t, runtime.RetryRun(ctx, pool, first.ID()))
	require.Equal(t, first.ID(), startSync(ctx, t, pool, account{7, 9}).ID())
}

// TestUniqueInTx: an error of a duplicate ends no transaction, and a run counts when its
// transaction commits.
func TestUniqueInTx(t *testing.T) {
	t.Parallel()
	ctx, pool := unique(t, spec.Unique{OnDuplicate: spec.DuplicateError})
	tx, err := pool.Begin(ctx)
	require.NoError(t, err)
	first := startSync(ctx, t, tx, account{7, 1})
	_, err = runtime.StartFlow(ctx, tx, "sync", account{7, 2})
	requireDuplicate(t, err, first.ID())
	_, err = runtime.StartMany(ctx, tx, "sync", []any{account{8, 1}, account{7, 3}})
	requireDuplicate(t, err, first.ID())
	_, err = runtime.StartFlow(ctx, tx, "sync", account{7, 4}, runtime.WithRunID(uuid.NewString()))
	requireDuplicate(t, err, first.ID())
	second := startSync(ctx, t, tx, account{8, 2})
	// After a cancellation that is only requested, another takes its place.
	require.NoError(t, runtime.CancelRun(ctx, tx, second.ID(), ""))
	require.False(t, startSync(ctx, t, tx, account{8, 3}).Existed())
	require.NoError(t, tx.Rollback(ctx))
	require.False(t, startSync(ctx, t, pool, account{7, 1}).Existed())
	_, err = runtime.StartFlowSync(ctx, pool, "sync", account{7, 2})
	require.True(t, errors.As(err, new(*runtime.DuplicateRunError)))
}

// TestUniqueTogether: of starts that come together, some in one statement, one is a run. The
// errors of some are not those of others.
func TestUniqueTogether(t *testing.T) {
	t.Parallel()
	for _, on := range []spec.Duplicate{spec.DuplicateKeep, spec.DuplicateError} {
		ctx, pool := unique(t, spec.Unique{OnDuplicate: on})
		const n, accounts = 200, 10
		var mu sync.Mutex
		started, told := map[int]string{}, map[int]map[string]bool{}
		var all sync.WaitGroup
		for i := range n {
			all.Go(func() {
				run, err := runtime.StartFlow(ctx, pool, "sync", account{i % accounts, i})
				mu.Lock()
				defer mu.Unlock()
				var duplicate *runtime.DuplicateRunError
				var id string
				switch {
				case errors.As(err, &duplicate) && on == spec.DuplicateError:
					id = duplicate.RunID
				case err != nil:
					t.Error(err)
				default:
					if id = run.ID(); !run.Existed() {
						if started[i%accounts] != "" {
							t.Errorf("account %d was started twice", i%accounts)
						}
						started[i%accounts] = id
					}
				}
				if told[i%accounts] == nil {
					told[i%accounts] = map[string]bool{}
				}
				told[i%accounts][id] = true
			})
		}
		all.Wait()
		require.Len(t, started, accounts)
		for i, id := range started {
			require.Equal(t, map[string]bool{id: true}, told[i])
		}
		require.Equal(t, accounts, count(t, pool, `SELECT count(*) FROM pgflow.runs`))
	}
}

// TestUniqueReplaces: the older run is cancelled by a worker, and those who wait for it learn
// why.
func TestUniqueReplaces(t *testing.T) {
	t.Parallel()
	ctx, pool := unique(t, spec.Unique{OnDuplicate: spec.DuplicateReplace})
	first := startSync(ctx, t, pool, account{7, 1})
	second := startSync(ctx, t, pool, account{7, 2}, runtime.WithRunID(uuid.NewString()))
	require.False(t, second.Existed())
	_, err := pool.Exec(ctx, `SELECT flowc.start_due('{sync}')`)
	require.NoError(t, err)
	_, err = first.Wait(ctx)
	var failed *runtime.RunFailedError
	require.ErrorAs(t, err, &failed)
	require.Equal(t, runtime.RunCancelled, failed.Status)
	require.Equal(t, "replaced by run "+second.ID(), failed.Message)
}

func TestDebounce(t *testing.T) {
	t.Parallel()
	ctx, pool := unique(t, spec.Unique{Debounce: time.Hour})
	first := startSync(ctx, t, pool, account{7, 1}, runtime.WithHeaders(map[string]string{"a": "1"}))
	require.False(t, first.Existed())
	require.WithinDuration(t, time.Now().Add(time.Hour), first.ScheduledAt(), time.Minute)
	again := startSync(ctx, t, pool, account{7, 2})
	require.True(t, again.Existed())
	require.Equal(t, first.ID(), again.ID())
	require.True(t, again.ScheduledAt().After(first.ScheduledAt()))
	info, err := again.Info(ctx)
	require.NoError(t, err)
	require.Equal(t, runtime.RunScheduled, info.Status)
	require.JSONEq(t, `{"account": 7, "n": 2}`, string(info.Input))

	_, err = runtime.StartFlow(ctx, pool, "sync", account{7, 3}, runtime.WithRunID(uuid.NewString()))
	requireDuplicate(t, err, first.ID())
	require.False(t, startSync(ctx, t, pool, account{7, 4}, runtime.WithoutUnique()).Existed())

	require.NoError(t, runtime.RescheduleRun(ctx, pool, first.ID(), time.Now()))
	_, err = pool.Exec(ctx, `SELECT flowc.start_due('{sync}')`)
	require.NoError(t, err)
	next := startSync(ctx, t, pool, account{7, 5})
	require.False(t, next.Existed())
	require.NotEqual(t, first.ID(), next.ID())
}

func TestUniqueSchedule(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	_, err := runtime.UpsertFlow(ctx, pool, spec.Flow{
		Slug: "sync", Cron: "@hourly", Unique: &spec.Unique{By: []spec.Path{{spec.RunKey}}}, Steps: []spec.Step{{Slug: "fetch"}}})
	require.NoError(t, err)
	run, err := runtime.RunSchedule(ctx, pool, "sync")
	require.NoError(t, err)
	_, err = runtime.RunSchedule(ctx, pool, "sync")
	requireDuplicate(t, err, run.ID())
	again, err := runtime.StartFlow(ctx, pool, "sync", nil)
	require.NoError(t, err)
	require.Equal(t, run.ID(), again.ID(), "all runs of a flow that takes nothing are alike")
}

// TestUniqueOfTheContract: pgflow alone knows of no unique runs; where the engine is there and
// the program's role may not use it, a start returns the run that is there all the same.
func TestUniqueOfTheContract(t *testing.T) {
	t.Parallel()
	ctx, pool, direct := openUpstream(t)
	def := spec.Flow{Slug: "sync", Unique: &spec.Unique{By: []spec.Path{{spec.RunKey, "account"}}}, Steps: []spec.Step{{Slug: "fetch"}}}
	_, err := runtime.UpsertFlow(ctx, pool, def)
	require.ErrorIs(t, err, runtime.ErrNeedsEngine)
	_, err = runtime.UpsertFlow(ctx, direct, def)
	require.NoError(t, err)
	first := startSync(ctx, t, pool, account{7, 1})
	require.False(t, first.Existed())
	again := startSync(ctx, t, pool, account{7, 2})
	require.True(t, again.Existed())
	require.Equal(t, first.ID(), again.ID())
	require.Equal(t, first.ID(), startSync(ctx, t, direct, account{7, 3}).ID())
	require.False(t, startSync(ctx, t, pool, account{8, 1}, runtime.WithIdempotencyKey("k")).Existed())
	require.True(t, startSync(ctx, t, pool, account{9, 1}, runtime.WithIdempotencyKey("k")).Existed())
	_, err = runtime.StartFlow(ctx, pool, "sync", account{7, 4}, runtime.WithoutUnique())
	require.ErrorIs(t, err, runtime.ErrNeedsEngine)
}
