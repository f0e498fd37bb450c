package runtime_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/dsl"
	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/engine"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
	"github.com/flowc-dev/flowc/runtime/spec"
)

func TestStart(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	run, err := typed.Start(ctx, pool, greet{Name: "Ada"})
	require.NoError(t, err)
	require.False(t, run.Existed())
	require.Zero(t, run.ScheduledAt())
	require.Equal(t, uuid.Version(7), uuid.MustParse(run.ID()).Version())

	info, err := runtime.GetRun(ctx, pool, run.ID())
	require.NoError(t, err)
	require.Equal(t, run.ID(), info.ID)
	require.Equal(t, "greeting", info.Flow)
	require.Equal(t, runtime.RunRunning, info.Status)
	require.JSONEq(t, `{"name": "Ada"}`, string(info.Input))
	require.Nil(t, info.Output)
	require.Equal(t, 2, info.RemainingSteps)
	require.WithinDuration(t, time.Now(), info.StartedAt, time.Minute)
	require.Zero(t, info.CompletedAt)
	require.Nil(t, info.States)
}

// TestStartWithNil checks that nil is nil where a flow has a type for its input, and
// no input where it has none.
func TestStartWithNil(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	input := func(id string, err error) string {
		require.NoError(t, err)
		info, err := runtime.GetRun(ctx, pool, id)
		require.NoError(t, err)
		return string(info.Input)
	}
	id := func(run interface{ ID() string }, err error) (string, error) {
		require.NoError(t, err)
		return run.ID(), nil
	}
	anything := runtime.NewFlow[any](typed.Definition(), handler.Nothing())
	require.Equal(t, "null", input(id(anything.Start(ctx, pool, nil))))
	runs, err := anything.StartMany(ctx, pool, []any{nil, 1})
	require.NoError(t, err)
	require.Equal(t, "null", input(runs[0].ID(), nil))
	require.Equal(t, "1", input(runs[1].ID(), nil))
	none := runtime.NewFlow[dsl.None](typed.Definition(), handler.Nothing())
	require.Equal(t, "{}", input(id(none.Start(ctx, pool, dsl.None{}))))
	require.Equal(t, "{}", input(id(runtime.StartFlow(ctx, pool, "greeting", nil))))
}

func TestGetRunWithStates(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	run, err := typed.Start(ctx, pool, greet{Name: "Ada"})
	require.NoError(t, err)
	newHand(t, pool).Finish("greeting", "completed", `null`)

	info, err := runtime.GetRun(ctx, pool, run.ID(), runtime.WithStates())
	require.NoError(t, err)
	require.Len(t, info.States, 2)
	first, second := info.States[0], info.States[1]
	require.Equal(t, "greet", first.Step)
	require.Equal(t, spec.TypeSingle, first.Type)
	require.Equal(t, runtime.StepCompleted, first.Status)
	require.Equal(t, raw(`null`), first.Output, "null is an output")
	require.NotZero(t, first.CompletedAt)
	require.Equal(t, "shout", second.Step)
	require.Equal(t, 1, second.Index)
	require.Equal(t, runtime.StepStarted, second.Status)
	require.Nil(t, second.Output, "there is no output yet")
}

func TestGetRunErrors(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	for _, id := range []string{"", "x", "0190", strings.ReplaceAll(uuid.NewString(), "-", ""), "{" + uuid.NewString() + "}"} {
		_, err := runtime.GetRun(ctx, nil, id)
		require.ErrorIs(t, err, runtime.ErrInvalidRunID, id)
	}
	_, err := runtime.GetRun(ctx, pool, uuid.NewString())
	require.ErrorIs(t, err, runtime.ErrRunNotFound)
}

func TestGetOfAnotherFlow(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	other := runtime.NewFlow[greet](greeting.As("other"), handler.Nothing())
	_, err := other.Upsert(ctx, pool)
	require.NoError(t, err)
	run, err := other.Start(ctx, pool, greet{})
	require.NoError(t, err)

	_, err = typed.Get(ctx, pool, run.ID())
	require.ErrorIs(t, err, runtime.ErrRunNotFound)
	got, err := other.Get(ctx, pool, strings.ToUpper(run.ID()))
	require.NoError(t, err)
	require.Equal(t, run.ID(), got.ID())
	require.True(t, got.Existed())
}

func TestStartUnknownFlow(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	_, err := runtime.StartFlow(ctx, pool, "nothing", nil)
	require.ErrorIs(t, err, runtime.ErrFlowNotFound)
	require.ErrorContains(t, err, `flow "nothing" is not in the database`)
	require.ErrorContains(t, err, "flowc generate --sql")

	for _, slug := range []string{"", "run", "a-b", strings.Repeat("a", 48)} {
		_, err := runtime.StartFlow(ctx, nil, slug, nil)
		require.ErrorIs(t, err, runtime.ErrInvalidSlug, slug)
	}
}

func TestStartRefusesInputBeforeTheDatabase(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		input any
		err   error
	}{
		"NUL":           {"a\x00", runtime.ErrNUL},
		"invalid UTF-8": {"\xff", runtime.ErrInvalidUTF8},
		"too long":      {json.RawMessage(`"` + strings.Repeat("a", runtime.MaxValueBytes) + `"`), runtime.ErrTooLong},
		"a bomb":        {raw(`[1e131071]`), runtime.ErrLongNumbers},
		"many of them":  {raw("[" + strings.Repeat("1e308,", 200_000) + "0]"), runtime.ErrLongNumbers},
		"json.Number":   {json.Number("1e-16383"), runtime.ErrLongNumbers},
	} {
		_, err := runtime.StartFlow(context.Background(), nil, "greeting", tt.input)
		require.ErrorIs(t, err, tt.err, name)
		var input *runtime.InputError
		require.ErrorAs(t, err, &input)
		require.Equal(t, "greeting", input.Flow)
	}
	_, err := runtime.StartFlow(context.Background(), nil, "greeting", func() {})
	require.ErrorAs(t, err, new(*json.UnsupportedTypeError))
	_, err = runtime.StartMany(context.Background(), nil, "greeting", []any{1, "\x00"})
	require.ErrorContains(t, err, "input 1 of flow")
	_, err = runtime.StartMany(context.Background(), nil, "greeting", []any{1, raw(`{"n": 0e-16383}`)})
	require.ErrorIs(t, err, runtime.ErrLongNumbers)
	require.ErrorContains(t, err, "input 1 of flow")
}

// What only the database can refuse is the same kind of error.
func TestStartRefusesInputInTheDatabase(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	for name, input := range map[string]string{
		"a lone surrogate": `"\ud800"`,
		"too deep":         strings.Repeat("[", 60_000) + strings.Repeat("]", 60_000),
		"too large":        "1" + strings.Repeat("0", 200_000),
	} {
		_, err := runtime.StartFlow(ctx, pool, "greeting", raw(input))
		require.ErrorAs(t, err, new(*runtime.InputError), name)
	}
	require.Zero(t, count(t, pool, `SELECT count(*) FROM pgflow.runs`))
}

func TestStartKeepsNumbersAndNesting(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	input := `{"big": 12345678901234567890123, "exp": 1e400, "text": "\\u0000 �"}`
	run, err := runtime.StartFlow(ctx, pool, "greeting", raw(input))
	require.NoError(t, err)
	info, err := run.Info(ctx)
	require.NoError(t, err)
	require.Contains(t, string(info.Input), "12345678901234567890123")
	var got struct{ Text string }
	require.NoError(t, json.Unmarshal(info.Input, &got))
	require.Equal(t, `\u0000 �`, got.Text)
}

func TestStartMapNeedsAList(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	_, err := runtime.UpsertFlow(ctx, pool, spec.Flow{Slug: "each",
		Steps: []spec.Step{{Slug: "one", Type: spec.TypeMap}},
	})
	require.NoError(t, err)
	_, err = runtime.StartFlow(ctx, pool, "each", map[string]int{})
	require.ErrorAs(t, err, new(*runtime.InputError))
	require.ErrorContains(t, err, "is not an array")

	run, err := runtime.StartFlow(ctx, pool, "each", []int{})
	require.NoError(t, err)
	out, err := run.Wait(ctx)
	require.NoError(t, err)
	require.JSONEq(t, `{"one": []}`, string(out))
}

func TestStartInTransaction(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	rolledBack, err := pool.Begin(ctx)
	require.NoError(t, err)
	run, err := typed.Start(ctx, rolledBack, greet{Name: "nobody"})
	require.NoError(t, err)
	_, err = runtime.GetRun(ctx, pool, run.ID())
	require.ErrorIs(t, err, runtime.ErrRunNotFound, "not before the commit")
	require.NoError(t, rolledBack.Rollback(ctx))
	_, err = runtime.GetRun(ctx, pool, run.ID())
	require.ErrorIs(t, err, runtime.ErrRunNotFound)

	committed, err := pool.Begin(ctx)
	require.NoError(t, err)
	run, err = typed.Start(ctx, committed, greet{Name: "Ada"})
	require.NoError(t, err)
	_, err = run.Wait(ctx)
	require.ErrorIs(t, err, runtime.ErrWaitInTx)
	require.ErrorContains(t, err, "Via")
	for name, err := range map[string]error{
		"StartFlowSync": second(runtime.StartFlowSync(ctx, committed, "greeting", nil)),
		"StartSync":     second(typed.StartSync(ctx, committed, greet{})),
	} {
		require.ErrorIs(t, err, runtime.ErrWaitInTx, name)
	}
	require.Zero(t, count(t, pool, `SELECT count(*) FROM pgflow.runs`), "what cannot be waited for is not started")
	require.NoError(t, committed.Commit(ctx))
	require.Equal(t, 1, count(t, pool, `SELECT count(*) FROM pgflow.runs`))
	wait := waiting(ctx, run.Via(pool))
	h := newHand(t, pool)
	h.Finish("greeting", "completed", `"hello"`)
	h.Finish("greeting", "completed", `"HELLO"`)
	got := receive(t, wait)
	require.NoError(t, got.err)
	require.Equal(t, "HELLO", got.out)
}

// A key that was used before must not abort the transaction it is used in.
func TestDuplicateKeyInTransaction(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	key := runtime.WithIdempotencyKey("order 1")
	first, err := typed.Start(ctx, pool, greet{Name: "Ada"}, key)
	require.NoError(t, err)
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		second, err := typed.Start(ctx, tx, greet{Name: "Bob"}, key)
		require.NoError(t, err)
		require.True(t, second.Existed())
		require.Equal(t, first.ID(), second.ID())
		_, err = typed.Start(ctx, tx, greet{Name: "Cy"})
		return err
	})
	require.NoError(t, err)
	require.Equal(t, 2, count(t, pool, `SELECT count(*) FROM pgflow.runs`))
}

func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	const callers = 20
	ids := make(chan *runtime.Run[string], callers)
	for range callers {
		go func() {
			run, err := typed.Start(ctx, pool, greet{}, runtime.WithIdempotencyKey("k"))
			if err != nil {
				t.Error(err)
			}
			ids <- run
		}()
	}
	fresh := 0
	first := receive(t, ids)
	for i := range callers {
		run := first
		if i > 0 {
			run = receive(t, ids)
		}
		require.Equal(t, first.ID(), run.ID())
		if !run.Existed() {
			fresh++
		}
	}
	require.Equal(t, 1, fresh)
	require.Equal(t, uuid.Version(5), uuid.MustParse(first.ID()).Version())
	require.Equal(t, "19c8c6d7-4e60-540e-8836-49205e41e623", first.ID(), "ids of keys must never change")

	other, err := runtime.StartFlow(ctx, pool, "greeting", nil, runtime.WithIdempotencyKey("K"))
	require.NoError(t, err)
	require.NotEqual(t, first.ID(), other.ID())
}

func TestWithRunID(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	id := uuid.NewString()
	run, err := typed.Start(ctx, pool, greet{}, runtime.WithRunID(id))
	require.NoError(t, err)
	require.Equal(t, id, run.ID())
	require.False(t, run.Existed())
	run, err = typed.Start(ctx, pool, greet{}, runtime.WithRunID(strings.ToUpper(id)))
	require.NoError(t, err)
	require.True(t, run.Existed())

	_, err = runtime.UpsertFlow(ctx, pool, greeting.As("other"))
	require.NoError(t, err)
	_, err = runtime.StartFlow(ctx, pool, "other", nil, runtime.WithRunID(id))
	require.ErrorIs(t, err, runtime.ErrRunIDTaken)
	_, err = runtime.StartFlow(ctx, pool, "other", nil, runtime.WithRunID("seven"))
	require.ErrorIs(t, err, runtime.ErrInvalidRunID)
}

func TestStartMany(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	runs, err := typed.StartMany(ctx, pool, nil)
	require.NoError(t, err)
	require.Empty(t, runs)

	var in []greet
	for _, name := range []string{"a", "b", "c"} {
		in = append(in, greet{Name: name})
	}
	runs, err = typed.StartMany(ctx, pool, in)
	require.NoError(t, err)
	for i, run := range runs {
		info, err := run.Info(ctx)
		require.NoError(t, err)
		require.JSONEq(t, `{"name": "`+in[i].Name+`"}`, string(info.Input))
	}

	again, err := typed.StartMany(ctx, pool, in, runtime.WithKeys("x", "y", "x"))
	require.NoError(t, err)
	require.Equal(t, again[0].ID(), again[2].ID())
	require.Equal(t, []bool{false, false, true}, []bool{again[0].Existed(), again[1].Existed(), again[2].Existed()})
	info, err := again[2].Info(ctx)
	require.NoError(t, err)
	require.JSONEq(t, `{"name": "a"}`, string(info.Input), "the first input of a key counts")
	require.Equal(t, 5, count(t, pool, `SELECT count(*) FROM pgflow.runs`))

	_, err = typed.StartMany(ctx, pool, in, runtime.WithKeys("x", "y"))
	require.ErrorIs(t, err, runtime.ErrInvalidOption)
	_, err = runtime.StartMany(ctx, pool, "greeting", []any{1, raw(`1e200000`)})
	require.ErrorAs(t, err, new(*runtime.InputError))
	require.Equal(t, 5, count(t, pool, `SELECT count(*) FROM pgflow.runs`), "all or none")
}

func TestScheduledStart(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	run, err := typed.StartIn(ctx, pool, greet{}, time.Hour)
	require.NoError(t, err)
	require.WithinDuration(t, time.Now().Add(time.Hour), run.ScheduledAt(), time.Minute)
	info, err := run.Info(ctx)
	require.NoError(t, err)
	require.Equal(t, runtime.RunScheduled, info.Status)
	require.Equal(t, run.ScheduledAt(), info.ScheduledAt)
	again, err := typed.Get(ctx, pool, run.ID())
	require.NoError(t, err)
	require.Equal(t, run.ScheduledAt(), again.ScheduledAt())

	at := time.Now().Add(48 * time.Hour).Truncate(time.Microsecond)
	run, err = typed.StartAt(ctx, pool, greet{}, at)
	require.NoError(t, err)
	require.True(t, at.Equal(run.ScheduledAt()))

	for _, past := range []runtime.StartOption{
		runtime.WithDelay(0), runtime.WithStartAt(time.Now().Add(-time.Hour)), runtime.WithStartAt(time.Unix(0, 0)),
	} {
		run, err := typed.Start(ctx, pool, greet{}, past)
		require.NoError(t, err)
		require.Zero(t, run.ScheduledAt())
		info, err := run.Info(ctx)
		require.NoError(t, err)
		require.Equal(t, runtime.RunRunning, info.Status)
	}
}

func TestEnqueue(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	_, err := runtime.UpsertFlow(ctx, pool, spec.Flow{Slug: "mail", Steps: []spec.Step{{Slug: "mail"}}})
	require.NoError(t, err)
	run, err := runtime.Enqueue(ctx, pool, "mail", map[string]string{"to": "ada"})
	require.NoError(t, err)
	require.Zero(t, run.ScheduledAt())
	run, err = runtime.EnqueueIn(ctx, pool, "mail", nil, time.Minute)
	require.NoError(t, err)
	require.NotZero(t, run.ScheduledAt())
	run, err = runtime.EnqueueAt(ctx, pool, "mail", nil, time.Now().Add(time.Minute))
	require.NoError(t, err)
	require.NotZero(t, run.ScheduledAt())
	_, err = runtime.EnqueueIn(ctx, pool, "mail", nil, -time.Second)
	require.ErrorIs(t, err, runtime.ErrInvalidOption)
}

func TestOptionsThatCannotBe(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	now := time.Now()
	for name, opts := range map[string][]runtime.StartOption{
		"both delays":           {runtime.WithDelay(time.Second), runtime.WithStartAt(now)},
		"a negative delay":      {runtime.WithDelay(-time.Nanosecond)},
		"the zero time":         {runtime.WithStartAt(time.Time{})},
		"id and key":            {runtime.WithRunID(uuid.NewString()), runtime.WithIdempotencyKey("k")},
		"an empty key":          {runtime.WithIdempotencyKey("")},
		"keys for one":          {runtime.WithKeys("k")},
		"a timeout, not waited": {runtime.WithTimeout(time.Second)},
		"nil":                   {nil},
	} {
		_, err := typed.Start(ctx, nil, greet{}, opts...)
		require.ErrorIs(t, err, runtime.ErrInvalidOption, name)
	}
	for name, opts := range map[string][]runtime.StartOption{
		"a negative timeout": {runtime.WithTimeout(-1)},
		"no poll interval":   {runtime.WithPollInterval(0)},
	} {
		_, err := typed.StartSync(ctx, nil, greet{}, opts...)
		require.ErrorIs(t, err, runtime.ErrInvalidOption, name)
	}
	for name, opts := range map[string][]runtime.StartOption{
		"one key for many": {runtime.WithIdempotencyKey("k")},
		"one id for many":  {runtime.WithRunID(uuid.NewString())},
		"an empty key":     {runtime.WithKeys("")},
	} {
		_, err := typed.StartMany(ctx, nil, []greet{{}}, opts...)
		require.ErrorIs(t, err, runtime.ErrInvalidOption, name)
	}
}

func TestNoDatabase(t *testing.T) {
	t.Parallel()
	_, err := typed.Start(context.Background(), nil, greet{})
	require.ErrorContains(t, err, "db is nil")
}

func TestEngineMissing(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	pool := dbtest.Connect(t, dbtest.Empty(t))
	_, err := typed.Start(ctx, pool, greet{})
	require.ErrorIs(t, err, runtime.ErrEngineMissing)
	require.ErrorContains(t, err, "flowc migrate up")
	_, err = runtime.GetRun(ctx, pool, uuid.NewString())
	require.ErrorIs(t, err, runtime.ErrEngineMissing)
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		_, err := typed.Start(ctx, tx, greet{})
		return err
	})
	require.ErrorIs(t, err, runtime.ErrEngineMissing, "in a transaction")

	require.NoError(t, engine.Migrate(ctx, pool))
	_, err = typed.Upsert(ctx, pool)
	require.NoError(t, err, "that it was missing is not remembered")
}

// A start whose connection breaks is executed once, however often it is retried.
func TestStartSurvivesBrokenConnections(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	const starts, betweenCuts = 300, 3
	progress := make(chan struct{}, starts)
	cuts := make(chan int, 1)
	go func() {
		// Somebody else's connection, who cuts all of the pool's at whatever moment.
		other, err := pgx.ConnectConfig(ctx, pool.Config().ConnConfig)
		if err != nil {
			t.Error(err)
			cuts <- 0
			return
		}
		defer other.Close(ctx)
		n, cut := 0, 0
		for range progress {
			if n++; n%betweenCuts == 0 {
				_, err := other.Exec(ctx, `
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`)
				if err != nil {
					t.Error(err)
				}
				cut++
			}
		}
		cuts <- cut
	}()
	seen := map[string]bool{}
	for range starts {
		run, err := typed.Start(ctx, pool, greet{})
		progress <- struct{}{}
		if err != nil {
			t.Error(err)
			break
		}
		seen[run.ID()] = true
		if run.Existed() {
			t.Error("nobody else can have started it")
		}
	}
	close(progress)
	require.Equal(t, starts/betweenCuts, receive(t, cuts))
	require.Len(t, seen, starts)
	pool.Reset() // count asks once, and must not meet a connection that was cut
	require.Equal(t, starts, count(t, pool, `SELECT count(*) FROM pgflow.runs`))
}

func TestDBKinds(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	acquired, err := pool.Acquire(ctx)
	require.NoError(t, err)
	defer acquired.Release()
	for name, db := range map[string]runtime.DB{"pool": pool, "pool's connection": acquired, "connection": acquired.Conn()} {
		run, err := typed.Start(ctx, db, greet{})
		require.NoError(t, err, name)
		_, err = run.Wait(ctx, runtime.WithTimeout(0))
		require.ErrorIs(t, err, runtime.ErrTimeout, name)
	}
	_, err = acquired.Exec(ctx, `BEGIN`)
	require.NoError(t, err)
	_, err = typed.StartSync(ctx, acquired.Conn(), greet{})
	require.ErrorIs(t, err, runtime.ErrWaitInTx, "a transaction begun by hand")
	_, err = acquired.Exec(ctx, `ROLLBACK`)
	require.NoError(t, err)
	require.Equal(t, 3, count(t, pool, `SELECT count(*) FROM pgflow.runs`))
}

// Behind a pooler every statement has to work without being prepared.
func TestExecMode(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	config := pool.Config()
	config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec
	conn, err := pgx.ConnectConfig(ctx, config.ConnConfig)
	require.NoError(t, err)
	defer conn.Close(ctx)
	run, err := typed.Start(ctx, conn, greet{Name: "Ada"}, runtime.WithDelay(0))
	require.NoError(t, err)
	_, err = typed.StartMany(ctx, conn, []greet{{}, {}}, runtime.WithStartAt(time.Now()), runtime.WithKeys("a", "b"))
	require.NoError(t, err)
	_, err = runtime.GetRun(ctx, conn, run.ID(), runtime.WithStates())
	require.NoError(t, err)
	_, err = run.Wait(ctx, runtime.WithTimeout(0))
	require.ErrorIs(t, err, runtime.ErrTimeout)
	_, err = typed.Get(ctx, conn, run.ID())
	require.NoError(t, err)
	_, err = typed.Upsert(ctx, conn)
	require.NoError(t, err)
	exists, err := typed.Exists(ctx, conn)
	require.NoError(t, err)
	require.True(t, exists)
	_, err = typed.Delete(ctx, conn, runtime.AllowDataLoss())
	require.NoError(t, err)
}

// TestScheduledAtOfARunThatExisted: a start that finds a run returns when that starts, and
// not when a new one would.
func TestScheduledAtOfARunThatExisted(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	key := runtime.WithIdempotencyKey("k")
	first, err := typed.Start(ctx, pool, greet{}, key, runtime.WithDelay(time.Hour))
	require.NoError(t, err)
	require.NotZero(t, first.ScheduledAt())
	again, err := typed.Start(ctx, pool, greet{}, key)
	require.NoError(t, err)
	require.True(t, again.Existed())
	require.Equal(t, first.ScheduledAt(), again.ScheduledAt())

	running, err := typed.Start(ctx, pool, greet{}, runtime.WithIdempotencyKey("l"))
	require.NoError(t, err)
	again, err = typed.Start(ctx, pool, greet{}, runtime.WithIdempotencyKey("l"), runtime.WithDelay(time.Hour))
	require.NoError(t, err)
	require.Equal(t, running.ID(), again.ID())
	require.Zero(t, again.ScheduledAt())
}
