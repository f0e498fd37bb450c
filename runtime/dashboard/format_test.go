package dashboard

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/flowc-dev/flowc/runtime/spec"
)

func TestTook(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		-time.Second: "<1 ms", 0: "<1 ms", 999 * time.Microsecond: "<1 ms", time.Millisecond: "1 ms", 999 * time.Millisecond: "999 ms",
		time.Second: "1 s", 1234 * time.Millisecond: "1.23 s", 59900 * time.Millisecond: "59.9 s", time.Minute: "1 min",
		200 * time.Second: "3 min 20 s", 125 * time.Minute: "2 h 5 min", 50 * time.Hour: "2 d 2 h", 24 * time.Hour: "1 d",
	} {
		require.Equal(t, want, took(d))
	}
}

func TestAgo(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for d, want := range map[time.Duration]string{
		0: "just now", 5 * time.Second: "5 s ago", 90 * time.Second: "1 min ago", 47 * time.Hour: "47 h ago", 72 * time.Hour: "3 days ago",
		-30 * time.Minute: "in 30 min", -time.Millisecond: "in 1 s",
	} {
		require.Equal(t, want, ago(now.Add(-d), now))
	}
}

func TestNumbers(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1234: "−1,234"} {
		require.Equal(t, want, count(n))
	}
	require.Equal(t, "0 %", percent(0, 0))
	require.Equal(t, "<0.1 %", percent(1, 100_000))
	require.Equal(t, ">99.9 %", percent(99_999, 100_000))
	require.Equal(t, "6.2 %", percent(62, 1000))
	require.Equal(t, "100 %", percent(3, 3))
	require.Equal(t, "1.5 kB", byteCount(1500))
	require.Equal(t, "1 run", plural(1, "run", "runs"))
	require.Equal(t, "0 runs", plural(0, "run", "runs"))
}

func TestErrorLines(t *testing.T) {
	t.Parallel()
	require.Equal(t, "one", firstLine("\none\ntwo\nthree\n"))
	require.Equal(t, "two\nthree", moreLines("one\ntwo\nthree\n"))
	require.Empty(t, moreLines("one"))
	long := strings.Repeat("x", longestLine+1)
	require.Equal(t, longestLine+1, len([]rune(firstLine(long))))
	require.Equal(t, long, moreLines(long), "what is cut can be opened")
}

func TestJSONView(t *testing.T) {
	t.Parallel()
	view := func(raw string) string { return string(jsonView(json.RawMessage(raw))) }
	for _, exact := range []string{"12345678901234567890123456789", "1.10", "1e400", "-0", "0.1"} {
		require.Contains(t, view(`{"n": `+exact+`}`), `<span class="json-number">`+exact+`</span>`)
		require.Contains(t, view(exact), exact)
	}
	require.Contains(t, view(`["a<b>\n\"ü"]`), `&#34;a&lt;b&gt;\n\&#34;ü&#34;`)
	require.Contains(t, view(`{"a<b": 1}`), `&#34;a&lt;b&#34;`)
	require.Contains(t, view(`null`), "null")
	require.Contains(t, view(`{}`), "{}")
	require.Contains(t, view(`not JSON <b>`), "not JSON &lt;b&gt;")
	require.Contains(t, view(`{"a": [1`), "{&#34;a&#34;: [1", "what is cut off is shown as it is")

	many := view("[" + strings.TrimSuffix(strings.Repeat("1,", 10_000), ",") + "]")
	require.Contains(t, many, "10,000 items")
	require.Contains(t, many, "8,501 more not shown")
	require.Less(t, len(many), 300_000)
	require.Contains(t, view(`"`+strings.Repeat("ü", 5000)+`"`), "4,400 more characters")

	deep := view(strings.Repeat("[", 5000) + "1" + strings.Repeat("]", 5000))
	require.LessOrEqual(t, strings.Count(deep, "<details"), mostDepth+1)
	require.Equal(t, strings.Count(deep, "<details"), strings.Count(deep, "</details>"))
	require.Equal(t, strings.Count(deep, "<div"), strings.Count(deep, "</div>"))
}

func TestNiceStep(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]time.Duration{
		3 * time.Microsecond: 5 * time.Microsecond, 70 * time.Millisecond: 100 * time.Millisecond, 600 * time.Millisecond: time.Second,
		11 * time.Second: 15 * time.Second, 40 * time.Minute: time.Hour, 5 * time.Hour: 6 * time.Hour, 30 * time.Hour: 48 * time.Hour,
	} {
		require.Equal(t, want, niceStep(d), d)
	}
	for n, want := range map[int]int{0: 4, 4: 4, 5: 6, 11: 20, 60: 60, 61: 80, 999: 1000} {
		require.Equal(t, want, niceTop(n))
	}
}

func TestTimelineHasABarForEachAttempt(t *testing.T) {
	t.Parallel()
	at := func(s int) time.Time { return time.Unix(1_000_000+int64(s), 0) }
	run := &runtime.RunInfo{
		Status: runtime.RunCompleted, CompletedAt: at(100), StartedAt: at(0),
		States: []runtime.StepState{{Step: "a", Status: runtime.StepCompleted, InitialTasks: spec.Set(1)}, {Step: "b", Status: runtime.StepSkipped, SkipReason: "condition_unmet"}},
	}
	task := ops.TaskInfo{
		Step: "a", Status: ops.TaskCompleted, Attempts: 3, QueuedAt: at(0), StartedAt: at(60), CompletedAt: at(100),
		FailedAttempts: []ops.FailedAttempt{{Attempt: 1, StartedAt: at(10), FailedAt: at(20), Error: "one"}, {Attempt: 2, FailedAt: at(50)}},
	}
	line := newTimeline(run, []ops.TaskInfo{task}, at(500))
	require.Equal(t, 100*time.Second, line.Total)
	require.Len(t, line.Lanes, 2)
	var got []string
	for _, b := range line.Lanes[0].Bars {
		got = append(got, b.Class+" "+b.X+" "+b.Width)
	}
	require.Equal(t, []string{
		"wait 0.00% 10.00%", "failed 10.00% 10.00%", "wait 20.00% 30.00%", "failed 50.00% 0.10%", "wait 50.00% 10.00%", "completed 60.00% 40.00%",
	}, got)
	require.Equal(t, "1 min 30 s", line.Lanes[0].Took)
	require.Equal(t, "condition not met", line.Lanes[1].Note)
	require.Nil(t, newTimeline(run, nil, at(0)))
}

func TestChart(t *testing.T) {
	t.Parallel()
	from := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var points []ops.ThroughputPoint
	for i := range 72 {
		points = append(points, ops.ThroughputPoint{From: from.Add(time.Duration(i) * 20 * time.Minute), Started: i, Completed: i / 2, Failed: i % 3})
	}
	svg := string(chart(points, 20*time.Minute))
	require.Contains(t, svg, "2,556 started, 1,260 completed, 72 failed")
	require.Equal(t, 72, strings.Count(svg, `class="slot"`))
	require.Contains(t, svg, ">06:00<")
	require.NotContains(t, svg, "NaN")
	require.NotContains(t, svg, "-0.")
	require.NotContains(t, string(chart(nil, time.Minute)), "NaN")
}
