package runtime_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/flowc-dev/flowc/runtime/worker"
)

// openUpstream returns a database that has pgflow's contract, the flow greeting and no
// visible engine.
func openUpstream(t *testing.T) (ctx context.Context, pool, direct *pgxpool.Pool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*patience)
	t.Cleanup(cancel)
	pool, direct = dbtest.Upstream(t)
	result, err := typed.Upsert(ctx, pool)
	require.NoError(t, err)
	require.Equal(t, runtime.UpsertCompiled, result.Status)
	return ctx, pool, direct
}

// handOver runs one task of the flow greeting with the functions of the contract, as a
// worker in another language would.
func handOver(t *testing.T, pool *pgxpool.Pool, call string, value string) {
	t.Helper()
	ctx := context.Background()
	worker := uuid.New()
	_, err := pool.Exec(ctx, `INSERT INTO pgflow.workers (worker_id, queue_name, function_name) VALUES ($1, 'greeting', 'hand')`, worker)
	require.NoError(t, err)
	var message int64
	require.NoError(t, pool.QueryRow(ctx, `SELECT msg_id FROM pgmq.read('greeting', 5, 1)`).Scan(&message))
	var run, step string
	require.NoError(t, pool.QueryRow(ctx, `SELECT run_id::text, step_slug FROM pgflow.start_tasks('greeting', ARRAY[$1::bigint], $2)`,
		message, worker).Scan(&run, &step))
	_, err = pool.Exec(ctx, call, run, step, value)
	require.NoError(t, err)
}

const (
	completeTask = `SELECT pgflow.complete_task($1::text::uuid, $2, 0, $3::text::jsonb)`
	failTask     = `SELECT pgflow.fail_task($1::text::uuid, $2, 0, $3)`
)

func TestContractHidesTheEngine(t *testing.T) {
	t.Parallel()
	ctx, pool, _ := openUpstream(t)
	_, err := pool.Exec(ctx, `SELECT flowc.version()`)
	require.ErrorContains(t, err, "permission denied for schema flowc", "else these tests test nothing")
}

func TestContractStartAndWait(t *testing.T) {
	t.Parallel()
	ctx, pool, _ := openUpstream(t)
	run, err := typed.Start(ctx, pool, greet{Name: "Ada"})
	require.NoError(t, err)
	require.False(t, run.Existed())
	wait := waiting(ctx, run, runtime.WithPollInterval(10*time.Millisecond))
	handOver(t, pool, completeTask, `"hello"`)

	info, err := runtime.GetRun(ctx, pool, run.ID(), runtime.WithStates())
	require.NoError(t, err)
	require.Equal(t, runtime.RunRunning, info.Status)
	require.JSONEq(t, `{"name": "Ada"}`, string(info.Input))
	require.Equal(t, 1, info.RemainingSteps)
	require.Len(t, info.States, 2)
	require.Equal(t, "greet", info.States[0].Step)
	require.Equal(t, raw(`"hello"`), info.States[0].Output)
	require.Equal(t, 1, info.States[0].Attempts)
	require.Equal(t, runtime.StepStarted, info.States[1].Status)

	handOver(t, pool, completeTask, `"HELLO"`)
	got := receive(t, wait)
	require.NoError(t, got.err)
	require.Equal(t, "HELLO", got.out)
	again, err := typed.Get(ctx, pool, run.ID())
	require.NoError(t, err)
	out, err := again.Wait(ctx)
	require.NoError(t, err)
	require.Equal(t, "HELLO", out)
	whole, err := runtime.StartFlowSync(ctx, pool, "greeting", nil, runtime.WithRunID(run.ID()))
	require.NoError(t, err)
	require.JSONEq(t, `{"shout": "HELLO"}`, string(whole.Output))
	require.NotZero(t, whole.CompletedAt)
}

func TestContractFailedRun(t *testing.T) {
	t.Parallel()
	ctx, pool, direct := openUpstream(t)
	flow := greeting
	flow.MaxAttempts = 1
	_, err := runtime.DeleteFlow(ctx, direct, "greeting")
	require.NoError(t, err)
	_, err = runtime.UpsertFlow(ctx, pool, flow.As("greeting"))
	require.NoError(t, err)
	run, err := runtime.Enqueue(ctx, pool, "greeting", nil)
	require.NoError(t, err)
	handOver(t, pool, failTask, "no voice")
	_, err = run.Wait(ctx)
	var failed *runtime.RunFailedError
	require.ErrorAs(t, err, &failed)
	require.Equal(t, runtime.RunFailedError{
		RunID: run.ID(), Flow: "greeting", Status: runtime.RunFailed, Step: "greet", Message: "no voice",
	}, *failed)
	info, err := run.Info(ctx)
	require.NoError(t, err)
	require.Equal(t, "greet", info.FailedStep)
	require.Equal(t, "no voice", info.Error)
}

// Keys and ids mean what they mean with the engine, in a transaction too, whose
// end a duplicate must not be.
func TestContractIdempotency(t *testing.T) {
	t.Parallel()
	ctx, pool, direct := openUpstream(t)
	key := runtime.WithIdempotencyKey("k")
	const callers = 20
	type result struct {
		run *runtime.Run[string]
		err error
	}
	results := make(chan result, callers)
	for i := range callers {
		go func() {
			var r result
			if i%2 == 0 {
				r.run, r.err = typed.Start(ctx, pool, greet{}, key)
			} else {
				r.err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) (err error) {
					r.run, err = typed.Start(ctx, tx, greet{}, key)
					if err == nil {
						_, err = typed.Start(ctx, tx, greet{}) // the transaction goes on
					}
					return err
				})
			}
			results <- r
		}()
	}
	fresh := 0
	for range callers {
		r := receive(t, results)
		require.NoError(t, r.err)
		if !r.run.Existed() {
			fresh++
		}
	}
	require.Equal(t, 1, fresh)
	require.Equal(t, 1+callers/2, count(t, direct, `SELECT count(*) FROM pgflow.runs`))

	runs, err := typed.StartMany(ctx, pool, []greet{{Name: "a"}, {Name: "b"}, {Name: "a"}}, runtime.WithKeys("a", "k", "a"))
	require.NoError(t, err)
	require.Equal(t, []bool{false, true, true}, []bool{runs[0].Existed(), runs[1].Existed(), runs[2].Existed()})

	_, err = runtime.UpsertFlow(ctx, pool, greeting.As("other"))
	require.NoError(t, err)
	_, err = runtime.StartFlow(ctx, pool, "other", nil, runtime.WithRunID(runs[0].ID()))
	require.ErrorIs(t, err, runtime.ErrRunIDTaken)
}

func TestContractInTransaction(t *testing.T) {
	t.Parallel()
	ctx, pool, _ := openUpstream(t)
	config := pool.Config()
	fresh, err := pgxpool.NewWithConfig(ctx, config) // of which nothing is known yet
	require.NoError(t, err)
	defer fresh.Close()
	tx, err := fresh.Begin(ctx)
	require.NoError(t, err)
	run, err := typed.Start(ctx, tx, greet{Name: "nobody"})
	require.NoError(t, err)
	_, err = run.Info(ctx)
	require.NoError(t, err)
	require.ErrorIs(t, runtime.CancelRun(ctx, tx, run.ID(), ""), runtime.ErrNeedsEngine)
	_, err = run.Info(ctx)
	require.NoError(t, err, "what was refused did not reach the database")
	require.NoError(t, tx.Rollback(ctx))
	_, err = runtime.GetRun(ctx, fresh, run.ID())
	require.ErrorIs(t, err, runtime.ErrRunNotFound)

	conn, err := fresh.Acquire(ctx)
	require.NoError(t, err)
	defer conn.Release()
	_, err = typed.Start(ctx, conn.Conn(), greet{})
	require.NoError(t, err, "a connection of its own")
}

func TestContractErrors(t *testing.T) {
	t.Parallel()
	ctx, pool, direct := openUpstream(t)
	_, err := runtime.StartFlow(ctx, pool, "nothing", nil)
	require.ErrorIs(t, err, runtime.ErrFlowNotFound)
	_, err = runtime.GetRun(ctx, pool, uuid.NewString())
	require.ErrorIs(t, err, runtime.ErrRunNotFound)
	_, err = runtime.UpsertFlow(ctx, pool, spec.Flow{Slug: "each", Steps: []spec.Step{{Slug: "one", Type: spec.TypeMap}}})
	require.NoError(t, err)
	_, err = runtime.StartMany(ctx, pool, "each", []any{[]int{1}, map[string]int{}})
	require.ErrorAs(t, err, new(*runtime.InputError))
	require.ErrorContains(t, err, "is not an array")
	_, err = runtime.StartFlow(ctx, pool, "each", raw(`1e200000`))
	require.ErrorAs(t, err, new(*runtime.InputError))
	require.Zero(t, count(t, direct, `SELECT count(*) FROM pgflow.runs`), "all or none")
}

func TestContractNeedsEngine(t *testing.T) {
	t.Parallel()
	ctx, pool, direct := openUpstream(t)
	for name, opt := range map[string]runtime.StartOption{
		"a delay": runtime.WithDelay(time.Second), "a time": runtime.WithStartAt(time.Now().Add(time.Hour)),
		"a priority": runtime.WithPriority(runtime.High),
	} {
		_, err := typed.Start(ctx, pool, greet{}, opt)
		require.ErrorIs(t, err, runtime.ErrNeedsEngine, name)
	}
	require.Zero(t, count(t, direct, `SELECT count(*) FROM pgflow.runs`))
	for name, opt := range map[string]runtime.StartOption{
		"no delay": runtime.WithDelay(0), "a past time": runtime.WithStartAt(time.Now().Add(-time.Hour)),
	} {
		_, err := typed.Start(ctx, pool, greet{}, opt)
		require.NoError(t, err, name)
	}
	run, err := typed.Start(ctx, pool, greet{})
	require.NoError(t, err)
	for name, call := range map[string]func() error{
		"CancelRun":     func() error { return runtime.CancelRun(ctx, pool, run.ID(), "") },
		"RetryRun":      func() error { return runtime.RetryRun(ctx, pool, run.ID()) },
		"RetryStep":     func() error { return runtime.RetryStep(ctx, pool, run.ID(), "greet") },
		"RescheduleRun": func() error { return runtime.RescheduleRun(ctx, pool, run.ID(), time.Now()) },
		"SetPriority":   func() error { return runtime.SetPriority(ctx, pool, run.ID(), runtime.High) },
		"Signal":        func() error { _, err := runtime.Signal(ctx, pool, run.ID(), "greet", 1); return err },
		"SignalBy":      func() error { return runtime.SignalBy(ctx, pool, "greeting", "greet", "k", 1) },
		"ListWaiting":   func() error { _, err := runtime.ListWaiting(ctx, pool, runtime.WaitingFilter{}); return err },
		"UpsertFlow with a wait": func() error {
			_, err := runtime.UpsertFlow(ctx, pool, spec.Flow{Slug: "approval", Steps: []spec.Step{{Slug: "approve", Type: spec.TypeWait}}})
			return err
		},
		"UpsertFlow with a limit": func() error {
			_, err := runtime.UpsertFlow(ctx, pool, spec.Flow{Slug: "limited", Steps: []spec.Step{{Slug: "charge", Concurrency: 5}}})
			return err
		},
		"UpsertFlow with a priority": func() error {
			_, err := runtime.UpsertFlow(ctx, pool, spec.Flow{Slug: "urgent", Steps: []spec.Step{{Slug: "hurry", Priority: runtime.High}}})
			return err
		},
		"UpsertFlow with a deadline": func() error {
			_, err := runtime.UpsertFlow(ctx, pool, spec.Flow{Slug: "urgent", Deadline: time.Hour, Steps: []spec.Step{{Slug: "hurry"}}})
			return err
		},
		"RunNow":    func() error { _, err := ops.RunNow(ctx, pool, run.ID(), ""); return err },
		"DeleteRun": func() error { _, err := runtime.DeleteRun(ctx, pool, run.ID()); return err },
		"Prune": func() error {
			_, err := ops.Prune(ctx, pool, ops.PruneOptions{OlderThan: time.Hour})
			return err
		},
		"ListRuns": func() error { _, err := ops.ListRuns(ctx, pool, ops.RunFilter{}); return err },
		"ListTasks": func() error {
			_, err := ops.ListTasks(ctx, pool, run.ID(), ops.TaskFilter{OutputBytes: ops.AllOutputs})
			return err
		},
		"ListFlows":         func() error { _, err := ops.ListFlows(ctx, pool, time.Now()); return err },
		"ListWorkers":       func() error { _, err := ops.ListWorkers(ctx, pool, time.Now()); return err },
		"CountWaits":        func() error { _, err := ops.CountWaits(ctx, pool); return err },
		"ListGates":         func() error { _, err := ops.ListGates(ctx, pool, ops.GateFilter{}); return err },
		"SetGate":           func() error { return ops.SetGate(ctx, pool, "gate", ops.GateLimits{}) },
		"HoldGate":          func() error { return ops.HoldGate(ctx, pool, "gate", nil, 0) },
		"ListRequests":      func() error { _, err := ops.ListRequests(ctx, pool, time.Now(), 1); return err },
		"PauseFlow":         func() error { _, err := ops.PauseFlow(ctx, pool, "greeting", ""); return err },
		"ListTasksInFlight": func() error { _, err := ops.ListTasksInFlight(ctx, pool, 1); return err },
		"UpsertFlow with a schedule": func() error {
			_, err := runtime.UpsertFlow(ctx, pool, spec.Flow{Slug: "nightly", Cron: "@daily", Steps: []spec.Step{{Slug: "report"}}})
			return err
		},
		"ListSchedules":  func() error { _, err := ops.ListSchedules(ctx, pool); return err },
		"PauseSchedule":  func() error { _, err := ops.PauseSchedule(ctx, pool, "greeting", ""); return err },
		"ResumeSchedule": func() error { _, err := ops.ResumeSchedule(ctx, pool, "greeting"); return err },
		"RunSchedule":    func() error { _, err := runtime.RunSchedule(ctx, pool, "greeting"); return err },
		"NextTicks":      func() error { _, err := ops.NextTicks(ctx, pool, "@daily", 1); return err },
	} {
		err := call()
		require.ErrorIs(t, err, runtime.ErrNeedsEngine, name)
		require.ErrorContains(t, err, "flowc: ", name)
	}
}

func TestContractUpsertAndDelete(t *testing.T) {
	t.Parallel()
	ctx, pool, direct := openUpstream(t)
	result, err := typed.Upsert(ctx, pool)
	require.NoError(t, err)
	require.Equal(t, runtime.UpsertResult{Status: runtime.UpsertVerified, Differences: []string{}}, result)
	run, err := typed.Start(ctx, pool, greet{})
	require.NoError(t, err)

	// A local database of the reference's cloud is one whose flows may be deleted.
	_, err = direct.Exec(ctx, `CREATE OR REPLACE FUNCTION pgflow.is_local() RETURNS boolean LANGUAGE sql AS 'SELECT true'`)
	require.NoError(t, err)
	shorter := spec.Flow{Steps: []spec.Step{{Slug: "greet"}}}
	_, err = runtime.UpsertFlow(ctx, pool, shorter.As("greeting"))
	var mismatch *runtime.MismatchError
	require.ErrorAs(t, err, &mismatch)
	require.NotEmpty(t, mismatch.Differences)
	_, err = run.Info(ctx)
	require.NoError(t, err, "the run is kept")

	result, err = runtime.UpsertFlow(ctx, pool, shorter.As("greeting"), runtime.AllowDataLoss())
	require.NoError(t, err)
	require.Equal(t, runtime.UpsertRecompiled, result.Status)
	require.Equal(t, 1, result.DeletedRuns)

	_, err = runtime.StartFlow(ctx, pool, "greeting", nil)
	require.NoError(t, err)
	_, err = runtime.DeleteFlow(ctx, pool, "greeting")
	var active *runtime.ActiveRunsError
	require.ErrorAs(t, err, &active)
	require.Equal(t, 1, active.Active)
	for _, want := range []runtime.Deleted{{Existed: true, Runs: 1, Steps: 1}, {}} {
		exists, err := runtime.FlowExists(ctx, pool, "greeting")
		require.NoError(t, err)
		require.Equal(t, want.Existed, exists)
		deleted, err := runtime.DeleteFlow(ctx, pool, "greeting", runtime.AllowDataLoss())
		require.NoError(t, err)
		require.Equal(t, want, deleted)
	}
}

// A pgflow of another version is told from one that has the contract, wherever the
// call is made, and nothing is done there.
func TestOtherPgflow(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	pool := dbtest.Connect(t, dbtest.Empty(t))
	_, err := pool.Exec(ctx, `
CREATE SCHEMA pgflow;
CREATE TABLE pgflow.runs (run_id uuid PRIMARY KEY);
CREATE FUNCTION pgflow.start_flow(flow_slug text, input jsonb, run_id uuid DEFAULT NULL) RETURNS SETOF pgflow.runs
LANGUAGE sql AS 'INSERT INTO pgflow.runs VALUES (gen_random_uuid()) RETURNING *'`)
	require.NoError(t, err)
	tx, err := pool.Begin(ctx)
	require.NoError(t, err)
	defer tx.Rollback(ctx)
	for name, db := range map[string]runtime.DB{"pool": pool, "transaction": tx} {
		for call, err := range map[string]error{
			"start":  second(typed.Start(ctx, db, greet{})),
			"many":   second(typed.StartMany(ctx, db, []greet{{}}, runtime.WithKeys("k"))),
			"upsert": second(typed.Upsert(ctx, db)),
			"get":    second(runtime.GetRun(ctx, db, uuid.NewString())),
			"delete": second(typed.Delete(ctx, db)),
			"list":   second(ops.ListRuns(ctx, db, ops.RunFilter{})),
		} {
			require.ErrorIs(t, err, runtime.ErrOtherPgflow, name+" "+call)
		}
	}
	_, err = tx.Exec(ctx, `SELECT`)
	require.NoError(t, err, "the transaction goes on")
	require.Zero(t, count(t, pool, `SELECT count(*) FROM pgflow.runs`))

	w, err := worker.New(pool, worker.Config{}, service())
	require.NoError(t, err)
	require.ErrorIs(t, w.Run(ctx), runtime.ErrOtherPgflow)
}

func second[T any](_ T, err error) error { return err }
