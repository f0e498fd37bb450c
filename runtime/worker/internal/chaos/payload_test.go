//go:build unix

package chaos

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/ops"
)

// Among many runs, some have inputs that their handlers cannot read, and the
// queue has messages that nobody can make anything of.
func TestChaosPoison(t *testing.T) {
	a := newArena(t, nil, "sum")
	runs, bad := scaled(5000, 500), scaled(100, 20)
	f := newFleet(t, errand{URL: a.url, Flow: "sum"}, 2)
	l := a.start(a.url, sum, runs, 2*time.Second)
	for i := range bad {
		inputs := []any{[]int{1}, "text", map[string]any{"n": "one"}, map[string]any{"n": 1.5}}
		_, err := runtime.StartFlow(a.ctx, a.pool, "sum", inputs[i%len(inputs)])
		require.NoError(t, err)
		_, err = a.pool.Exec(a.ctx, `SELECT pgmq.send('sum', '{"flow_slug": "sum", "run_id": 7, "garbage": true}')`)
		require.NoError(t, err)
	}
	a.settled(l)
	require.Equal(t, bad, ask[int](a, `SELECT count(*) FROM pgflow.runs WHERE status = 'failed'`))
	require.Equal(t, bad, ask[int](a, `
SELECT count(*) FROM pgflow.step_states WHERE status = 'failed' AND error_message LIKE 'flowc: input of step prepare: the run''s input is not a %'`))
	require.Equal(t, bad, ask[int](a, `SELECT count(*) FROM pgflow.step_tasks WHERE status = 'failed' AND attempts_count = 1`), "no second attempt")
	require.Equal(t, bad, ask[int](a, `SELECT count(*) FROM flowc.queue`), "what somebody else sent stays")
	f.stop()
	_, err := a.pool.Exec(a.ctx, `
SELECT flowc.delete_runs(array(SELECT run_id FROM pgflow.runs WHERE status = 'failed')), pgmq.delete('sum', array(SELECT msg_id FROM flowc.queue))`)
	require.NoError(t, err)
	a.audit(runs)
}

// A task that ends its process whenever it runs fails when it has done so three times
// alone. The tasks beside it run again, and use up no attempts.
func TestChaosPoisonousProcess(t *testing.T) {
	a := newArena(t, nil, "job")
	innocent := scaled(11, 2)
	poison, err := job.Start(a.ctx, a.pool, number{N: -1, Millis: 200, Do: "exit"})
	require.NoError(t, err)
	for n := range innocent {
		_, err = job.Start(a.ctx, a.pool, number{N: n, Millis: 1000})
		require.NoError(t, err)
	}
	f := newFleet(t, errand{URL: a.url, Flow: "job", Concurrency: 16}, 1)
	deaths := 0
	for over := 0; over <= innocent; {
		if len(f.running()) == 0 {
			deaths++
			f.add() // as a supervisor does
		}
		time.Sleep(20 * time.Millisecond)
		over = ask[int](a, `SELECT count(*) FROM pgflow.runs WHERE status <> 'started'`)
	}
	f.stop()
	t.Logf("%d deaths", deaths)
	_, err = poison.Wait(a.ctx)
	require.ErrorContains(t, err, "the worker died 3 times while it ran nothing but task 0 of step job")
	require.Equal(t, innocent, ask[int](a, `SELECT count(*) FROM pgflow.runs WHERE status = 'completed'`))
	require.Equal(t, innocent, ask[int](a, `SELECT count(*) FROM pgflow.step_tasks WHERE status = 'completed' AND attempts_count - requeued_count = 1`))
	for one := range f.attempts() {
		require.Equal(t, "1", one.attempt, "handlers are told the same attempt again")
	}
}

// Large values go through; those that are too large are told so before the
// database is bothered.
func TestChaosLargeValues(t *testing.T) {
	a := newArena(t, nil, "echo")
	f := newFleet(t, errand{URL: a.url, Flow: "echo", Concurrency: 1}, 1)
	for _, size := range scaled([]int{1 << 20, 10 << 20, 100 << 20}, []int{1 << 20, 4 << 20}) {
		in := json.RawMessage(`"` + strings.Repeat("x", size) + `"`)
		began := time.Now()
		run, err := echo.Start(a.ctx, a.pool, in)
		require.NoError(t, err)
		started := time.Since(began)
		out, err := run.Wait(a.ctx)
		require.NoError(t, err)
		took := time.Since(began)
		require.Equal(t, len(in), len(out))
		began = time.Now()
		_, err = ops.ListRuns(a.ctx, a.pool, ops.RunFilter{})
		require.NoError(t, err)
		listed := time.Since(began)
		most := peak(t, f.all[0].cmd.Process.Pid)
		t.Logf("%d MB: started in %s, ended after %s, listed in %s; the worker has had %d MB", size>>20,
			started.Round(time.Millisecond), took.Round(time.Millisecond), listed.Round(time.Microsecond), most>>20)
		require.Less(t, listed, goal(200*time.Millisecond), "lists do not read values")
		// Six copies are made: as it is received, scanned, decoded, kept for the
		// report, encoded as an argument and sent. The collector is not always in time.
		if !raceDetector() { // which has memory of its own
			require.Less(t, most, 64<<20+7*size)
		}
	}
	_, err := echo.Start(a.ctx, a.pool, json.RawMessage(`"`+strings.Repeat("x", runtime.MaxValueBytes)+`"`))
	var input *runtime.InputError
	require.ErrorAs(t, err, &input)
	require.ErrorIs(t, err, runtime.ErrTooLong)
	f.stop()
	a.auditTables()
}

func raceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// peak is how much memory a process has had at most, in bytes.
func peak(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Skip("needs Linux to look at the memory of a process")
	}
	m := regexp.MustCompile(`VmHWM:\s*(\d+) kB`).FindSubmatch(text)
	require.NotNil(t, m)
	kB, err := strconv.Atoi(string(m[1]))
	require.NoError(t, err)
	return kB << 10
}

// Values that are hard to store come back as they were, or are refused with an
// error that says why.
func TestChaosOddValues(t *testing.T) {
	a := newArena(t, nil, "echo")
	f := newFleet(t, errand{URL: a.url, Flow: "echo"}, 1)
	for in, want := range map[string]string{
		`9223372036854775808`:                                 `9223372036854775808`,
		`12345678901234567890123.25`:                          `12345678901234567890123.25`,
		`{"a":1,"a":2}`:                                       `{"a": 2}`, // jsonb keeps the last
		`"\u00e9\ud83d\ude00\\u0000 "`:                        `"é😀\\u0000 "`,
		`[[],{},null,"",0,false]`:                             `[[], {}, null, "", 0, false]`,
		strings.Repeat("[", 3000) + strings.Repeat("]", 3000): strings.Repeat("[", 3000) + strings.Repeat("]", 3000),
	} {
		out, err := echo.StartSync(a.ctx, a.pool, json.RawMessage(in))
		require.NoError(t, err, in)
		require.Equal(t, want, string(out))
	}
	for in, want := range map[string]error{
		`"a\u0000b"`: runtime.ErrNUL,
		"\"a\xff\"":  runtime.ErrInvalidUTF8,
		`1e131071`:   runtime.ErrLongNumbers,
		`"\ud800"`:   nil,
		`{"a":`:      nil,
		strings.Repeat("[", 60_000) + strings.Repeat("]", 60_000): nil,
	} {
		_, err := echo.Start(a.ctx, a.pool, json.RawMessage(in))
		var input *runtime.InputError
		require.ErrorAs(t, err, &input, in)
		if want != nil {
			require.ErrorIs(t, err, want)
		}
	}
	_, err := runtime.StartFlow(a.ctx, a.pool, "echo", math.NaN())
	var input *runtime.InputError
	require.ErrorAs(t, err, &input)
	require.True(t, errors.As(err, new(*json.UnsupportedValueError)), err)
	f.stop()
	a.auditTables()
}
