package runtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/dsl"
	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/internal/pgerr"
	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// allCalls returns a call of each function of the package that queries the database, with
// valid arguments.
func allCalls(ctx context.Context, db runtime.DB, id string) map[string]func() error {
	var none []runtime.StartOption
	return map[string]func() error{
		"StartFlow":         func() error { return second(runtime.StartFlow(ctx, db, "greeting", greet{}, none...)) },
		"StartMany":         func() error { return second(runtime.StartMany(ctx, db, "greeting", []any{greet{}, greet{}})) },
		"Enqueue":           func() error { return second(runtime.Enqueue(ctx, db, "greeting", greet{})) },
		"EnqueueIn":         func() error { return second(runtime.EnqueueIn(ctx, db, "greeting", greet{}, time.Hour)) },
		"EnqueueAt":         func() error { return second(runtime.EnqueueAt(ctx, db, "greeting", greet{}, time.Now())) },
		"Flow.Start":        func() error { return second(typed.Start(ctx, db, greet{})) },
		"Flow.StartMany":    func() error { return second(typed.StartMany(ctx, db, []greet{{}})) },
		"Flow.Get":          func() error { return second(typed.Get(ctx, db, id)) },
		"Flow.Upsert":       func() error { return second(typed.Upsert(ctx, db)) },
		"Flow.Delete":       func() error { return second(typed.Delete(ctx, db)) },
		"Flow.Exists":       func() error { return second(typed.Exists(ctx, db)) },
		"UpsertFlow":        func() error { return second(runtime.UpsertFlow(ctx, db, greeting.As("more"))) },
		"DeleteFlow":        func() error { return second(runtime.DeleteFlow(ctx, db, "greeting")) },
		"FlowExists":        func() error { return second(runtime.FlowExists(ctx, db, "greeting")) },
		"GetRun":            func() error { return second(runtime.GetRun(ctx, db, id)) },
		"CancelRun":         func() error { return runtime.CancelRun(ctx, db, id, "") },
		"RetryRun":          func() error { return runtime.RetryRun(ctx, db, id) },
		"RescheduleRun":     func() error { return runtime.RescheduleRun(ctx, db, id, time.Now()) },
		"SetPriority":       func() error { return runtime.SetPriority(ctx, db, id, runtime.High) },
		"RetryStep":         func() error { return runtime.RetryStep(ctx, db, id, "greet") },
		"UpsertServed":      func() error { return runtime.UpsertServed(ctx, db, handler.Serve(typed.Definition(), nil)) },
		"Signal":            func() error { return second(runtime.Signal(ctx, db, id, "greet", 1)) },
		"FailWait":          func() error { return second(runtime.FailWait(ctx, db, id, "greet", "no")) },
		"Flow.Signal":       func() error { return second(typed.Signal(ctx, db, id, "greet", 1)) },
		"SignalBy":          func() error { return runtime.SignalBy(ctx, db, "greeting", "greet", "k", 1) },
		"Flow.SignalBy":     func() error { return typed.SignalBy(ctx, db, "greet", "k", 1) },
		"ListWaiting":       func() error { return second(runtime.ListWaiting(ctx, db, runtime.WaitingFilter{})) },
		"ExplainRun":        func() error { return second(runtime.ExplainRun(ctx, db, id)) },
		"PauseFlow":         func() error { return second(ops.PauseFlow(ctx, db, "greeting", "")) },
		"ResumeFlow":        func() error { return second(ops.ResumeFlow(ctx, db, "greeting")) },
		"ListTasksInFlight": func() error { return second(ops.ListTasksInFlight(ctx, db, 1)) },
		"Flow.StartIn":      func() error { return second(typed.StartIn(ctx, db, greet{}, time.Hour)) },
		"Flow.StartAt":      func() error { return second(typed.StartAt(ctx, db, greet{}, time.Now())) },
		"RunNow":            func() error { return second(ops.RunNow(ctx, db, id, "")) },
		"DeleteRun":         func() error { return second(runtime.DeleteRun(ctx, db, id)) },
		"Prune":             func() error { return second(ops.Prune(ctx, db, ops.PruneOptions{OlderThan: time.Hour})) },
		"ListRuns":          func() error { return second(ops.ListRuns(ctx, db, ops.RunFilter{})) },
		"ListTasks":         func() error { return second(ops.ListTasks(ctx, db, id, ops.TaskFilter{OutputBytes: ops.AllOutputs})) },
		"ListFlows":         func() error { return second(ops.ListFlows(ctx, db, time.Now())) },
		"ListWorkers":       func() error { return second(ops.ListWorkers(ctx, db, time.Now())) },
		"CountWaits":        func() error { return second(ops.CountWaits(ctx, db)) },
		"ListRequests":      func() error { return second(ops.ListRequests(ctx, db, time.Now(), 1)) },
		"ListGates":         func() error { return second(ops.ListGates(ctx, db, ops.GateFilter{})) },
		"SetGate":           func() error { return ops.SetGate(ctx, db, "greeting.greet", ops.GateLimits{}) },
		"HoldGate":          func() error { return ops.HoldGate(ctx, db, "greeting.greet", nil, 0) },
		"ListFailures":      func() error { return second(ops.ListFailures(ctx, db, time.Now(), 10)) },
		"Throughput":        func() error { return second(ops.Throughput(ctx, db, time.Now(), time.Hour)) },
		"ListPayloads":      func() error { return second(ops.ListPayloads(ctx, db, id, 1)) },
		"GetPayload": func() error {
			return second(ops.GetPayload(ctx, db, id, ops.PayloadFilter{Kind: ops.PayloadRunInput}))
		},
		"GetDefinition":  func() error { return second(ops.GetDefinition(ctx, db, "greeting")) },
		"ListSchedules":  func() error { return second(ops.ListSchedules(ctx, db)) },
		"PauseSchedule":  func() error { return second(ops.PauseSchedule(ctx, db, "nightly", "")) },
		"ResumeSchedule": func() error { return second(ops.ResumeSchedule(ctx, db, "nightly")) },
		"RunSchedule":    func() error { return second(runtime.RunSchedule(ctx, db, "nightly")) },
		"NextTicks":      func() error { return second(ops.NextTicks(ctx, db, "@daily", 1)) },
		"AdjacentRuns":   func() error { _, _, err := ops.AdjacentRuns(ctx, db, id); return err },
	}
}

// reads are the calls that change nothing.
var reads = []string{"ExplainRun",
	"Flow.Get", "Flow.Exists", "FlowExists", "GetRun", "ListRuns", "ListTasks", "ListFlows",
	"ListWorkers", "ListFailures", "Throughput", "ListPayloads", "GetPayload", "GetDefinition", "AdjacentRuns", "ListSchedules", "NextTicks", "ListTasksInFlight", "CountWaits", "ListRequests", "ListGates",
	"ListWaiting",
}

// Whatever is wrong with the database or the context, each call says what, in an
// error that errors.Is finds, and leaves nothing behind.
func TestOddDatabases(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	run, err := typed.Start(ctx, pool, greet{})
	require.NoError(t, err)

	closed, err := pgxpool.NewWithConfig(ctx, pool.Config())
	require.NoError(t, err)
	closed.Close()
	gone, err := pgx.ConnectConfig(ctx, pool.Config().ConnConfig)
	require.NoError(t, err)
	require.NoError(t, gone.Close(ctx))
	begin := func(sql string) pgx.Tx {
		tx, err := pool.Begin(ctx)
		require.NoError(t, err)
		t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
		_, _ = tx.Exec(ctx, sql)
		return tx
	}
	ended := begin(`SELECT`)
	require.NoError(t, ended.Commit(ctx))
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	late, cancel := context.WithDeadline(ctx, time.Now().Add(-time.Second))
	defer cancel()

	code := func(want string) func(error) bool {
		return func(err error) bool { return pgerr.Code(err) == want }
	}
	is := func(want error) func(error) bool {
		return func(err error) bool { return errors.Is(err, want) }
	}
	for name, c := range map[string]struct {
		ctx  context.Context
		db   runtime.DB
		says func(error) bool
	}{
		"nil":                    {ctx, nil, is(runtime.ErrNoDB)},
		"a nil pool":             {ctx, (*pgxpool.Pool)(nil), is(runtime.ErrNoDB)},
		"a nil connection":       {ctx, (*pgx.Conn)(nil), is(runtime.ErrNoDB)},
		"a closed pool":          {ctx, closed, func(err error) bool { return strings.HasSuffix(err.Error(), ": closed pool") }},
		"a closed connection":    {ctx, gone, func(err error) bool { return pgconn.SafeToRetry(err) }},
		"a failed transaction":   {ctx, begin(`SELECT 1/0`), code("25P02")},
		"an ended transaction":   {ctx, ended, is(pgx.ErrTxClosed)},
		"a cancelled context":    {cancelled, pool, is(context.Canceled)},
		"a context that is over": {late, pool, is(context.DeadlineExceeded)},
	} {
		for call, do := range allCalls(c.ctx, c.db, run.ID()) {
			err := do()
			require.Error(t, err, "%s: %s", name, call)
			require.True(t, c.says(err), "%s: %s: %v", name, call, err)
			require.True(t, strings.HasPrefix(err.Error(), "flowc: "), "%s: %s: %v", name, call, err)
			require.Equal(t, 1, strings.Count(err.Error(), "flowc: "), "%s: %s: %v", name, call, err)
		}
	}
	require.Equal(t, 1, count(t, pool, `SELECT count(*) FROM pgflow.runs`))
	require.Equal(t, 1, count(t, pool, `SELECT count(*) FROM pgflow.flows`))

	// What only reads may be done in a transaction that may only read. Each other call
	// is made behind a savepoint, so that none hides behind the failure of another.
	readOnly := begin(`SET TRANSACTION READ ONLY`)
	for call := range allCalls(ctx, readOnly, run.ID()) {
		if slices.Contains(reads, call) {
			continue
		}
		tx, err := readOnly.Begin(ctx)
		require.NoError(t, err)
		err = allCalls(ctx, tx, run.ID())[call]()
		nothing := runtime.ErrNoSchedule // what the call finds before it writes
		switch call {
		case "Signal", "Flow.Signal", "FailWait":
			nothing = runtime.ErrRunNotFound
		case "SignalBy", "Flow.SignalBy":
			nothing = runtime.ErrInvalidOption
		}
		require.True(t, code("25006")(err) || errors.Is(err, nothing), "%s: %v", call, err)
		require.NoError(t, tx.Rollback(ctx))
	}
	for _, call := range reads {
		require.NoError(t, allCalls(ctx, readOnly, run.ID())[call](), call)
	}
}

// untouched is a database that must not be asked.
type untouched struct{ runtime.DB }

var errTouched = errors.New("the database was asked")

func (untouched) Exec(context.Context, string, ...any) (pgconn.CommandTag, error) {
	return pgconn.CommandTag{}, errTouched
}
func (untouched) Query(context.Context, string, ...any) (pgx.Rows, error) { return nil, errTouched }
func (untouched) QueryRow(context.Context, string, ...any) pgx.Row        { panic(errTouched) }

type faulty struct{}

func (faulty) MarshalJSON() ([]byte, error) { return nil, errFaulty }

var errFaulty = errors.New("no JSON today")

type circle struct{ Next *circle }

// What cannot be is refused before the database is asked, with an error that says
// which argument it is.
func TestOddArguments(t *testing.T) {
	t.Parallel()
	ctx, db := context.Background(), untouched{}
	around := &circle{}
	around.Next = around
	for name, input := range map[string]any{
		"a NUL":                   "a\x00",
		"a NUL, escaped":          raw(`{"a": "\u0000"}`),
		"a NUL in a key":          map[string]int{"\x00": 1},
		"not UTF-8":               "\xff",
		"not UTF-8, raw":          raw("\"\xff\""),
		"not JSON":                raw(`{"a":`),
		"two values":              raw(`1 2`),
		"no value":                raw(``),
		"not a number":            math.NaN(),
		"infinity":                []float64{math.Inf(1)},
		"less than any":           map[string]float64{"a": math.Inf(-1)},
		"a function":              func() {},
		"a channel":               make(chan int),
		"a complex number":        1i,
		"a circle":                around,
		"a marshaler with faults": faulty{},
		"300 MB":                  strings.Repeat("a", 300<<20),
	} {
		_, err := runtime.StartFlow(ctx, db, "greeting", input)
		var refused *runtime.InputError
		require.ErrorAs(t, err, &refused, name)
		require.Equal(t, "greeting", refused.Flow, name)
		if name == "300 MB" {
			require.ErrorIs(t, err, runtime.ErrTooLong)
			continue // its copies take long
		}
		_, err = runtime.StartMany(ctx, db, "greeting", []any{1, input}, runtime.WithDelay(time.Hour))
		require.ErrorAs(t, err, &refused, name)
		require.Equal(t, 1, refused.Index, name)
		_, err = runtime.EnqueueIn(ctx, db, "greeting", input, time.Hour)
		require.ErrorAs(t, err, &refused, name)
		_, err = runtime.StartFlowSync(ctx, db, "greeting", input)
		require.ErrorAs(t, err, &refused, name)
	}

	id, now, never := uuid.NewString(), time.Now(), time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)
	filter := func(f ops.RunFilter) error { return second(ops.ListRuns(ctx, db, f)) }
	tasks := func(f ops.TaskFilter) error { return second(ops.ListTasks(ctx, db, id, f)) }
	enqueueIn := func(d time.Duration, opts ...runtime.StartOption) error {
		return second(runtime.EnqueueIn(ctx, db, "greeting", nil, d, opts...))
	}
	enqueueAt := func(at time.Time, opts ...runtime.StartOption) error {
		return second(runtime.EnqueueAt(ctx, db, "greeting", nil, at, opts...))
	}
	for name, err := range map[string]error{
		"EnqueueIn, negative":          enqueueIn(-1),
		"EnqueueIn, least":             enqueueIn(math.MinInt64),
		"EnqueueIn, a time as well":    enqueueIn(time.Hour, runtime.WithStartAt(now)),
		"EnqueueIn, a nil option":      enqueueIn(time.Hour, nil),
		"EnqueueAt, the zero time":     enqueueAt(time.Time{}),
		"EnqueueAt, zero elsewhere":    enqueueAt(time.Time{}.In(time.FixedZone("far", 3600))),
		"EnqueueAt, a delay as well":   enqueueAt(now, runtime.WithDelay(0)),
		"EnqueueAt, too late":          enqueueAt(never),
		"EnqueueAt, beyond the clock":  enqueueAt(time.Unix(1<<60, 0)),
		"RescheduleRun, the zero time": runtime.RescheduleRun(ctx, db, id, time.Time{}),
		"RescheduleRun, too late":      runtime.RescheduleRun(ctx, db, id, never),
		"CancelRun, NUL":               runtime.CancelRun(ctx, db, id, "a\x00"),
		"CancelRun, not UTF-8":         runtime.CancelRun(ctx, db, id, "\xff"),
		"RetryStep, NUL":               runtime.RetryStep(ctx, db, id, "\x00"),
		"ListTasksInFlight, limit":     second(ops.ListTasksInFlight(ctx, db, 1001)),
		"RunNow, NUL":                  second(ops.RunNow(ctx, db, id, "\x00")),
		"PauseSchedule, NUL":           second(ops.PauseSchedule(ctx, db, "nightly", "\x00")),
		"ListSchedules, NUL":           second(ops.ListSchedules(ctx, db, "\x00")),
		"NextTicks, none":              second(ops.NextTicks(ctx, db, "@daily", 0)),
		"NextTicks, NUL":               second(ops.NextTicks(ctx, db, "\x00", 1)),
		"Prune, nothing said":          second(ops.Prune(ctx, db, ops.PruneOptions{})),
		"Prune, negative":              second(ops.Prune(ctx, db, ops.PruneOptions{OlderThan: -time.Hour})),
		"Prune, NUL":                   second(ops.Prune(ctx, db, ops.PruneOptions{OlderThan: time.Hour, Flows: []string{"\x00"}})),
		"ListRuns, limit":              filter(ops.RunFilter{Limit: -1}),
		"ListRuns, large limit":        filter(ops.RunFilter{Limit: math.MaxInt}),
		"ListRuns, status":             filter(ops.RunFilter{Statuses: []runtime.RunStatus{"pending"}}),
		"ListRuns, not JSON":           filter(ops.RunFilter{InputContains: raw(`{`)}),
		"ListRuns, no JSON":            filter(ops.RunFilter{InputContains: raw(``)}),
		"ListRuns, flow":               filter(ops.RunFilter{Flows: []string{"a\x00"}}),
		"ListRuns, from":               filter(ops.RunFilter{StartedFrom: never}),
		"ListRuns, before":             filter(ops.RunFilter{StartedBefore: time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC)}),
		"ListTasks, per step":          tasks(ops.TaskFilter{PerStep: -1}),
		"ListTasks, status":            tasks(ops.TaskFilter{Statuses: []ops.TaskStatus{"done"}}),
		"ListTasks, step":              tasks(ops.TaskFilter{Step: "\x00"}),
		"GetPayload, step":             second(ops.GetPayload(ctx, db, id, ops.PayloadFilter{Kind: ops.PayloadStepOutput, Step: "\xff"})),
		"GetPayload, AtMost":           second(ops.GetPayload(ctx, db, id, ops.PayloadFilter{Kind: ops.PayloadRunInput, AtMost: -1})),
		"ListFailures, limit":          second(ops.ListFailures(ctx, db, now, 0)),
		"ListFailures, since":          second(ops.ListFailures(ctx, db, never, 1)),
		"ListFlows, since":             second(ops.ListFlows(ctx, db, never)),
		"ListWorkers, since":           second(ops.ListWorkers(ctx, db, never)),
		"ListRequests, before":         second(ops.ListRequests(ctx, db, never, 1)),
		"ListRequests, limit":          second(ops.ListRequests(ctx, db, time.Now(), 0)),
		"ListGates, limit":             second(ops.ListGates(ctx, db, ops.GateFilter{Limit: -1})),
		"ListGates, NUL":               second(ops.ListGates(ctx, db, ops.GateFilter{Flow: "\x00"})),
		"SetGate, concurrency":         ops.SetGate(ctx, db, "gate", ops.GateLimits{Concurrency: -1}),
		"SetGate, tokens":              ops.SetGate(ctx, db, "gate", ops.GateLimits{Rate: spec.Rate{Burst: 1, Per: time.Second}}),
		"SetGate, per":                 ops.SetGate(ctx, db, "gate", ops.GateLimits{Rate: spec.Rate{Tokens: 1, Per: time.Millisecond}}),
		"SetGate, NUL":                 ops.SetGate(ctx, db, "\x00", ops.GateLimits{}),
		"HoldGate, time":               ops.HoldGate(ctx, db, "gate", nil, -time.Second),
		"HoldGate, NUL":                ops.HoldGate(ctx, db, "\x00", nil, 0),
		"Throughput, stretch":          second(ops.Throughput(ctx, db, now, time.Millisecond)),
		"Throughput, many":             second(ops.Throughput(ctx, db, time.Time{}, time.Second)),
		"Throughput, since":            second(ops.Throughput(ctx, db, never, time.Hour)),
		"UpsertFlow, nil":              second(runtime.UpsertFlow(ctx, db, greeting.As("greeting"), nil)),
		"DeleteFlow, nil":              second(runtime.DeleteFlow(ctx, db, "greeting", nil)),
	} {
		require.ErrorIs(t, err, runtime.ErrInvalidOption, name)
		require.True(t, strings.HasPrefix(err.Error(), "flowc: invalid option: "), err)
	}

	for _, slug := range []string{"", "run", "a-b", "1a", "ä", "a b", "a\x00", "\xff", strings.Repeat("a", 48), `a"; DROP TABLE x; --`} {
		for name, err := range map[string]error{
			"StartFlow":     second(runtime.StartFlow(ctx, db, slug, nil)),
			"StartMany":     second(runtime.StartMany(ctx, db, slug, []any{1})),
			"StartMany, 0":  second(runtime.StartMany(ctx, db, slug, nil)),
			"StartFlowSync": second(runtime.StartFlowSync(ctx, db, slug, nil)),
			"Enqueue":       second(runtime.Enqueue(ctx, db, slug, nil)),
			"DeleteFlow":    second(runtime.DeleteFlow(ctx, db, slug)),
			"FlowExists":    second(runtime.FlowExists(ctx, db, slug)),
			"PauseFlow":     second(ops.PauseFlow(ctx, db, slug, "")),
			"PauseSchedule": second(ops.PauseSchedule(ctx, db, slug, "")),
			"RunSchedule":   second(runtime.RunSchedule(ctx, db, slug)),
		} {
			require.ErrorIs(t, err, runtime.ErrInvalidSlug, "%s %q", name, slug)
		}
		_, err := ops.GetDefinition(ctx, db, slug)
		require.ErrorIs(t, err, runtime.ErrFlowNotFound, slug)
		_, err = runtime.UpsertFlow(ctx, db, greeting.As(slug))
		require.ErrorAs(t, err, new(*spec.InvalidFlowError), slug)
	}

	for _, id := range []string{"", "7", "nonsense", "{" + id + "}", strings.ReplaceAll(id, "-", ""), id + "\x00", id + " ", string(make([]byte, 16)), strings.Repeat("g", 36)} {
		for name, do := range allCalls(ctx, db, id) {
			err := do()
			if strings.Contains(name, "Run") && name != "ListRuns" && name != "RunSchedule" || slices.Contains([]string{"Flow.Get", "ListTasks", "ListPayloads", "GetPayload", "AdjacentRuns"}, name) {
				require.ErrorIs(t, err, runtime.ErrInvalidRunID, "%s %q", name, id)
			}
		}
		_, err := runtime.StartFlow(ctx, db, "greeting", nil, runtime.WithRunID(id))
		require.ErrorIs(t, err, runtime.ErrInvalidRunID, id)
		err = filter(ops.RunFilter{After: &ops.RunSummary{ID: id}})
		require.ErrorIs(t, err, runtime.ErrInvalidRunID, id)
	}
}

// Every JSON value is an input, and is there as it was given.
func TestOddInputs(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	type named struct {
		N int `json:"n"`
	}
	for name, c := range map[string]struct {
		input any
		want  string
	}{
		"nil":               {nil, `{}`},
		"none":              {dsl.None{}, `{}`},
		"null":              {raw(`null`), `null`},
		"a nil pointer":     {(*named)(nil), `null`},
		"a nil map":         {map[string]int(nil), `null`},
		"a nil slice":       {[]int(nil), `[]`},
		"a pointer":         {&named{7}, `{"n": 7}`},
		"a string":          {"text", `"text"`},
		"an empty string":   {"", `""`},
		"a truth":           {true, `true`},
		"a number":          {1.5, `1.5`},
		"a list":            {[]any{1, "a", nil}, `[1, "a", null]`},
		"the largest uint":  {uint64(math.MaxUint64), `18446744073709551615`},
		"the least int":     {int64(math.MinInt64), `-9223372036854775808`},
		"a large number":    {json.Number("123456789012345678901234567890"), `123456789012345678901234567890`},
		"bytes":             {[]byte("ab"), `"YWI="`},
		"a backslash and u": {`\u0000`, `"\\u0000"`},
		"U+FFFD":            {"\uFFFD", "\"\uFFFD\""},
		"HTML":              {"<&>", `"<&>"`},
		"a time":            {time.Date(2024, 2, 29, 12, 0, 0, 1, time.UTC), `"2024-02-29T12:00:00.000000001Z"`},
	} {
		run, err := runtime.StartFlow(ctx, pool, "greeting", c.input)
		require.NoError(t, err, name)
		info, err := run.Info(ctx)
		require.NoError(t, err, name)
		require.Equal(t, c.want, string(info.Input), name)
	}
}

// Of an option that is given twice the last one counts; what EnqueueIn and EnqueueAt
// take by themselves counts before all.
func TestOddOptions(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	hours := func(run *runtime.Run[json.RawMessage], err error) int {
		t.Helper()
		require.NoError(t, err)
		return int(time.Until(run.ScheduledAt()).Round(time.Hour).Hours())
	}
	require.Equal(t, 2, hours(runtime.StartFlow(ctx, pool, "greeting", nil, runtime.WithDelay(time.Hour), runtime.WithDelay(2*time.Hour))))
	require.Equal(t, 3, hours(runtime.EnqueueIn(ctx, pool, "greeting", nil, 3*time.Hour, runtime.WithDelay(time.Hour))))
	in4 := time.Now().Add(4 * time.Hour)
	require.Equal(t, 4, hours(runtime.EnqueueAt(ctx, pool, "greeting", nil, in4, runtime.WithStartAt(time.Now()))))

	// Never early: what the database's clock cannot tell is rounded up.
	at := time.Date(2999, 1, 1, 0, 0, 0, 1, time.UTC)
	for _, mode := range []runtime.DB{pool, begun(t, pool)} {
		run, err := runtime.EnqueueAt(ctx, mode, "greeting", nil, at)
		require.NoError(t, err)
		require.Equal(t, time.Microsecond, run.ScheduledAt().Sub(at.Truncate(time.Microsecond)))
		require.NoError(t, runtime.RescheduleRun(ctx, mode, run.ID(), at.Add(2*time.Microsecond)))
		info, err := runtime.GetRun(ctx, mode, run.ID())
		require.NoError(t, err)
		require.Equal(t, 3*time.Microsecond, info.ScheduledAt.Sub(at.Truncate(time.Microsecond)))
	}
	// The longest delay, and the last and the first time there are.
	run, err := runtime.EnqueueIn(ctx, pool, "greeting", nil, math.MaxInt64)
	require.NoError(t, err)
	require.Greater(t, run.ScheduledAt().Year(), 2300)
	run, err = runtime.EnqueueAt(ctx, pool, "greeting", nil, time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC))
	require.NoError(t, err)
	require.Equal(t, 9999, run.ScheduledAt().UTC().Year())
	for _, past := range []time.Time{time.Unix(0, 0), time.Date(-9999, 1, 1, 0, 0, 0, 0, time.UTC), time.Unix(-1<<60, 0), time.Time{}.Add(1)} {
		run, err := runtime.EnqueueAt(ctx, pool, "greeting", nil, past)
		require.NoError(t, err)
		require.Zero(t, run.ScheduledAt(), past)
	}

	// A key may be any text.
	for _, key := range []string{"\x00", "\xff", "ä", strings.Repeat("k", 1<<20), "/", " "} {
		first, err := typed.Start(ctx, pool, greet{}, runtime.WithIdempotencyKey(key))
		require.NoError(t, err)
		again, err := typed.Start(ctx, pool, greet{}, runtime.WithIdempotencyKey(key))
		require.NoError(t, err)
		require.False(t, first.Existed())
		require.True(t, again.Existed())
		require.Equal(t, first.ID(), again.ID())
	}

	// Numbers that are larger than the database's are as large as those can be.
	after := math.MaxInt
	tasks, err := ops.ListTasks(ctx, pool, run.ID(), ops.TaskFilter{After: &after, OutputBytes: math.MaxInt})
	require.NoError(t, err)
	require.Empty(t, tasks)
	_, err = ops.ListPayloads(ctx, pool, run.ID(), math.MaxInt)
	require.NoError(t, err)
	_, err = ops.ListPayloads(ctx, pool, run.ID(), math.MinInt)
	require.NoError(t, err)
	payload, err := ops.GetPayload(ctx, pool, run.ID(), ops.PayloadFilter{Kind: ops.PayloadTaskOutput, Step: "greet", Index: math.MaxInt, AtMost: math.MaxInt})
	require.NoError(t, err)
	require.Nil(t, payload)
	payload, err = ops.GetPayload(ctx, pool, run.ID(), ops.PayloadFilter{Kind: "everything"})
	require.NoError(t, err)
	require.Nil(t, payload)
}

func begun(t *testing.T, pool *pgxpool.Pool) pgx.Tx {
	t.Helper()
	tx, err := pool.Begin(context.Background())
	require.NoError(t, err)
	t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	return tx
}

// A definition that the database would refuse is one that is not valid.
func TestOddDefinitions(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	for name, pattern := range map[string]string{
		"a NUL":            `{"a": "\u0000"}`,
		"not UTF-8":        "{\"a\": \"\xff\"}",
		"a lone surrogate": `{"a": "\ud800"}`,
		"too large":        `{"a": 1e200000}`,
	} {
		flow := spec.Flow{Steps: []spec.Step{{Slug: "step", If: raw(pattern)}}}
		_, err := runtime.UpsertFlow(ctx, pool, flow.As("odd"))
		var invalid *spec.InvalidFlowError
		require.ErrorAs(t, err, &invalid, name)
		require.NotEmpty(t, invalid.Faults, name)
	}
	exists, err := runtime.FlowExists(ctx, pool, "odd")
	require.NoError(t, err)
	require.False(t, exists)
}
