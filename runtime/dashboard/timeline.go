package dashboard

import (
	"fmt"
	"strconv"
	"time"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// lanesPerStep is how many tasks of a map step have a lane of their own.
const lanesPerStep = 8

// mostLanes is how many lanes there are.
const mostLanes = 400

// A timeline shows what happened in a run: a lane for each task, with a bar for each of
// its attempts.
type timeline struct {
	Ticks []tick
	Lanes []lane
	Total time.Duration

	Hidden int // steps that have no lane
}

// A tick is a mark on the time axis.
type tick struct {
	At    string // from the left, in percent
	Label string
	Last  bool // has no room for its label right of it
}

// A lane is a row.
type lane struct {
	Step   string
	Index  int
	Many   bool // has an index worth showing
	Bars   []bar
	Took   string
	Note   string // instead of bars
	Hidden int    // tasks that have no lane, behind this one
}

// A bar is a span of time: an attempt, or the wait for one.
type bar struct {
	X, Width string // in percent
	Class    string
	Title    string
}

// An axis converts times to percent.
type axis struct{ from, to time.Time }

func (a axis) at(t time.Time) float64 {
	if t.Before(a.from) {
		return 0
	}
	return min(100*float64(t.Sub(a.from))/float64(a.to.Sub(a.from)), 100)
}

func percentText(f float64) string { return strconv.FormatFloat(f, 'f', 2, 64) + "%" }

// shortestBar is how much of the axis an attempt takes at least: without a width it would
// not be drawn.
const shortestBar = 0.1

func (a axis) bar(from, to time.Time, class, title string) bar {
	return bar{X: percentText(a.at(from)), Width: percentText(max(a.at(to)-a.at(from), shortestBar)), Class: class, Title: title}
}

// newTimeline builds the timeline of a run from its tasks. It returns nil as long as
// nothing has happened.
func newTimeline(run *runtime.RunInfo, tasks []ops.TaskInfo, now time.Time) *timeline {
	if len(tasks) == 0 {
		return nil
	}
	a := span(run, tasks, now)
	t := &timeline{Total: a.to.Sub(a.from), Ticks: ticks(a)}
	byStep := map[string][]ops.TaskInfo{}
	for _, task := range tasks {
		byStep[task.Step] = append(byStep[task.Step], task)
	}
	for _, state := range run.States {
		if len(t.Lanes) >= mostLanes {
			t.Hidden++
			continue
		}
		own := byStep[state.Step]
		if len(own) == 0 {
			t.Lanes = append(t.Lanes, lane{Step: state.Step, Note: lookOf(run, state).Note})
			continue
		}
		total := max(number(state.InitialTasks), len(own))
		for i, task := range own {
			if i == lanesPerStep {
				t.Lanes[len(t.Lanes)-1].Hidden = total - i
				break
			}
			l := lane{Step: task.Step, Index: task.Index, Many: state.Type == spec.TypeMap, Bars: bars(a, run, task, now)}
			if state.Type == spec.TypeWait {
				l.Bars = waitBars(a, run, task, now)
			}
			if begin, end := worked(task, now, run); !begin.IsZero() {
				l.Took = took(since(begin, end))
			}
			t.Lanes = append(t.Lanes, l)
		}
	}
	return t
}

// span returns the time that a timeline covers: from when the first task became claimable
// to the end of the run, or now.
func span(run *runtime.RunInfo, tasks []ops.TaskInfo, now time.Time) axis {
	a := axis{from: tasks[0].QueuedAt, to: runEnd(run)}
	if a.to.IsZero() {
		a.to = now
	}
	for _, t := range tasks {
		for _, at := range []time.Time{t.QueuedAt, t.StartedAt, t.CompletedAt, t.FailedAt} {
			a.include(at)
		}
		for _, attempt := range t.FailedAttempts {
			a.include(attempt.StartedAt)
			a.include(attempt.FailedAt)
		}
	}
	if a.to.Sub(a.from) < time.Millisecond {
		a.to = a.from.Add(time.Millisecond)
	}
	return a
}

func (a *axis) include(t time.Time) {
	switch {
	case t.IsZero():
	case t.Before(a.from):
		a.from = t
	case t.After(a.to):
		a.to = t
	}
}

func runEnd(run *runtime.RunInfo) time.Time {
	for _, t := range []time.Time{run.CompletedAt, run.CancelledAt, run.FailedAt} {
		if !t.IsZero() {
			return t
		}
	}
	return time.Time{}
}

// worked returns when the first attempt at a task began and when the last one ended.
func worked(t ops.TaskInfo, now time.Time, run *runtime.RunInfo) (begin, end time.Time) {
	begin = t.StartedAt
	for _, attempt := range t.FailedAttempts {
		if !attempt.StartedAt.IsZero() && (begin.IsZero() || attempt.StartedAt.Before(begin)) {
			begin = attempt.StartedAt
		}
		end = attempt.FailedAt
	}
	switch {
	case !t.CompletedAt.IsZero():
		end = t.CompletedAt
	case !t.FailedAt.IsZero():
		end = t.FailedAt
	case t.Status == ops.TaskStarted && run.Status.Ended():
		end = runEnd(run)
	case t.Status == ops.TaskStarted:
		end = now
	}
	return begin, end
}

// bars returns the attempts at a task and the waits before them.
func bars(a axis, run *runtime.RunInfo, t ops.TaskInfo, now time.Time) []bar {
	var all []bar
	ready := t.QueuedAt
	wait := func(until time.Time, what string) {
		if !ready.IsZero() && until.After(ready) {
			all = append(all, a.bar(ready, until, "wait", fmt.Sprintf("%s for %s", what, took(until.Sub(ready)))))
		}
	}
	for _, attempt := range t.FailedAttempts {
		begin := attempt.StartedAt
		if begin.IsZero() {
			begin = attempt.FailedAt
		}
		wait(begin, "waited")
		all = append(all, a.bar(begin, attempt.FailedAt, "failed",
			fmt.Sprintf("attempt %d failed after %s: %s", attempt.Attempt, took(since(begin, attempt.FailedAt)), firstLine(attempt.Error))))
		ready = attempt.FailedAt
	}
	switch {
	case t.Status == ops.TaskCompleted:
		wait(t.StartedAt, "waited")
		all = append(all, a.bar(t.StartedAt, t.CompletedAt, "completed",
			fmt.Sprintf("attempt %d took %s", t.Attempts, took(since(t.StartedAt, t.CompletedAt)))))
	case t.Status == ops.TaskStarted && run.Status.Ended():
		wait(t.StartedAt, "waited")
		all = append(all, a.bar(t.StartedAt, runEnd(run), "stopped", fmt.Sprintf("attempt %d was abandoned when the run ended", t.Attempts)))
	case t.Status == ops.TaskStarted:
		wait(t.StartedAt, "waited")
		all = append(all, a.bar(t.StartedAt, now, "started", fmt.Sprintf("attempt %d is running", t.Attempts)))
	case t.Status == ops.TaskQueued && !run.Status.Ended():
		wait(now, "has waited")
	}
	return all
}

// waitBars returns the wait for an answer.
func waitBars(a axis, run *runtime.RunInfo, t ops.TaskInfo, now time.Time) []bar {
	begin, end := worked(t, now, run)
	class, what := "stopped", "waited until the run ended, for"
	switch {
	case begin.IsZero():
		return nil
	case t.Status == ops.TaskCompleted:
		class, what = "completed", "was answered after"
	case t.Status == ops.TaskFailed:
		class, what = "failed", "was not answered within"
	case !run.Status.Ended():
		class, what = "waiting", "has waited for an answer for"
	}
	return []bar{a.bar(begin, end, class, what+" "+took(since(begin, end)))}
}

// ticks marks round times, four to eight of them.
func ticks(a axis) []tick {
	total := a.to.Sub(a.from)
	step := niceStep(total / 5)
	var all []tick
	for d := time.Duration(0); d <= total; d += step {
		at := a.at(a.from.Add(d))
		label := "0"
		if d > 0 {
			label = took(d)
		}
		all = append(all, tick{At: percentText(at), Label: label, Last: at > 92})
	}
	return all
}

var roundSeconds = []time.Duration{1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 2 * 3600, 3 * 3600, 6 * 3600, 12 * 3600, 24 * 3600}

// niceStep returns the smallest round duration that is at least d.
func niceStep(d time.Duration) time.Duration {
	for unit := time.Microsecond; unit < time.Second; unit *= 10 {
		for _, n := range []time.Duration{1, 2, 5} {
			if n*unit >= d {
				return n * unit
			}
		}
	}
	for _, n := range roundSeconds {
		if n*time.Second >= d {
			return n * time.Second
		}
	}
	const day = 24 * time.Hour
	return (d + day - 1) / day * day
}
