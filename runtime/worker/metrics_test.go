package worker_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/flowc-dev/flowc/runtime/worker"
)

// records keeps what metrics are told.
type records struct {
	worker.NoMetrics
	mu     sync.Mutex
	began  []time.Duration
	ended  []string
	took   map[string]time.Duration // the last, by outcome
	woke   map[worker.WakeReason]int
	called map[string]int
	failed map[string]int
}

func newRecords() *records {
	return &records{took: map[string]time.Duration{}, woke: map[worker.WakeReason]int{}, called: map[string]int{}, failed: map[string]int{}}
}

func (r *records) AttemptBegan(_ handler.Task, waited time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.began = append(r.began, waited)
}

func (r *records) AttemptEnded(task handler.Task, outcome worker.Outcome, took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = append(r.ended, fmt.Sprintf("%s.%s %d %s", task.Flow, task.Step, task.Attempt, outcome))
	r.took[string(outcome)] = took
}

func (r *records) Woke(by worker.WakeReason) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.woke[by]++
}

func (r *records) Called(name string, _ time.Duration, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.called[name]++
	if err != nil {
		r.failed[name]++
	}
}

func (r *records) see(look func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	look()
}

func (r *records) wokenBy(by worker.WakeReason) (n int) {
	r.see(func() { n = r.woke[by] })
	return n
}

// awaitEnds waits for so many attempts to end, and returns them.
func (r *records) awaitEnds(t *testing.T, n int) (ended []string) {
	t.Helper()
	eventually(t, func() bool {
		r.see(func() { ended = append([]string{}, r.ended...) })
		return len(ended) >= n
	}, "attempts end")
	return ended
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	began := make(chan struct{}, 1)
	options := atOnce
	flow := job[string, int]("work", options)
	service := serve(flow, func(ctx context.Context, do string) (int, error) {
		task, _ := handler.TaskFromContext(ctx)
		switch {
		case do == "flaky" && task.Attempt == 1:
			time.Sleep(20 * time.Millisecond)
			return 0, errors.New("not yet")
		case do == "bad":
			return 0, handler.Permanent(errors.New("no"))
		case do == "skip":
			return 0, handler.Skip("no")
		case do == "wait":
			began <- struct{}{}
			<-ctx.Done()
			return 0, ctx.Err()
		}
		return 7, nil
	})
	pool := database(t, service)

	// One waits in the queue before there is a worker.
	waits, err := flow.Start(ctx, pool, "")
	require.NoError(t, err)
	time.Sleep(300 * time.Millisecond)
	m := newRecords()
	w := run(t, pool, worker.Config{Metrics: m, Grace: -1}, service)
	_, err = waits.Wait(ctx)
	require.NoError(t, err)
	require.Equal(t, []string{"work.work 1 completed"}, m.awaitEnds(t, 1))
	m.see(func() {
		require.GreaterOrEqual(t, m.began[0], 300*time.Millisecond)
		require.Less(t, m.began[0], patience)
	})
	eventually(t, func() bool { return m.wokenBy(worker.WakeReasonPoll) > 0 }, "an idle worker polls")

	for do, ends := range map[string][]string{
		"flaky": {"work.work 1 retried", "work.work 2 completed"},
		"bad":   {"work.work 1 failed"},
		"skip":  {"work.work 1 skipped"},
	} {
		before := len(m.awaitEnds(t, 1))
		_, _ = flow.StartSync(ctx, pool, do)
		require.Equal(t, ends, m.awaitEnds(t, before+len(ends))[before:])
	}
	m.see(func() {
		require.GreaterOrEqual(t, m.took["retried"], 20*time.Millisecond)
		require.NotZero(t, m.called["claim"])
		require.Empty(t, m.failed)
	})
	eventually(t, func() bool {
		_, err := flow.StartSync(ctx, pool, "")
		require.NoError(t, err)
		return m.wokenBy(worker.WakeReasonNotification) > 0
	}, "it is woken")
	later, err := flow.StartIn(ctx, pool, "", 100*time.Millisecond)
	require.NoError(t, err)
	_, err = later.Wait(ctx)
	require.NoError(t, err)
	eventually(t, func() bool { return m.wokenBy(worker.WakeReasonTimer) > 0 }, "a timer wakes it")
	eventually(t, func() bool { return w.Health().InFlight == 0 }, "all is reported")
	done := len(m.awaitEnds(t, 6))

	// One task is lost; another is released when the worker stops.
	lost, err := flow.Start(ctx, pool, "wait")
	require.NoError(t, err)
	receive(t, began)
	require.NoError(t, runtime.CancelRun(ctx, pool, lost.ID(), ""))
	require.Equal(t, "work.work 1 lost", m.awaitEnds(t, done+1)[done])
	_, err = flow.Start(ctx, pool, "wait")
	require.NoError(t, err)
	receive(t, began)
	require.NoError(t, w.stopped())
	require.Equal(t, "work.work 1 released", m.awaitEnds(t, done+2)[done+1])
}

// What a retry waits counts from the end of its delay, and what was put off from
// its time.
func TestWaitedCountsFromWhenItIsDue(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	flow := job[int, int]("work", spec.Flow{BaseDelay: spec.Set(time.Hour)})
	const delay = 400 * time.Millisecond
	calls := make(chan time.Time, 2)
	service := serve(flow, func(ctx context.Context, n int) (int, error) {
		calls <- time.Now()
		if task, _ := handler.TaskFromContext(ctx); task.Attempt == 1 {
			return 0, handler.RetryAfter(delay, errors.New("busy"))
		}
		return n, nil
	})
	pool := database(t, service)
	m := newRecords()
	run(t, pool, worker.Config{Metrics: m}, service)
	eventually(t, func() bool { return count(t, pool, `SELECT count(*) FROM flowc.idle_workers`) == 1 }, "it is idle")
	before := time.Now()
	later, err := flow.StartIn(ctx, pool, 1, delay)
	require.NoError(t, err)
	_, err = later.Wait(ctx)
	require.NoError(t, err)
	m.see(func() {
		require.Len(t, m.began, 2)
		for _, waited := range m.began {
			called := <-calls
			require.LessOrEqual(t, waited, called.Sub(before)-delay)
			before = called
		}
	})
}

// Metrics that panic, in whatever they are told, do not end the worker.
func TestMetricsThatPanic(t *testing.T) {
	t.Parallel()
	flow := job[int, int]("work", atOnce)
	service := serve(flow, func(_ context.Context, n int) (int, error) { return n, nil })
	pool := database(t, service)
	w := run(t, pool, worker.Config{Metrics: panicking{}}, service)
	for range 3 {
		_, err := flow.StartSync(testContext(t), pool, 1)
		require.NoError(t, err)
	}
	require.NoError(t, w.stopped())
	require.Equal(t, 1, strings.Count(w.log.String(), "metrics panicked"), "said once")
	require.Contains(t, w.log.String(), "metrics_test.go:", "the stack says where")
}

type panicking struct{}

func (panicking) AttemptBegan(handler.Task, time.Duration) { panic("began") }

func (panicking) AttemptEnded(handler.Task, worker.Outcome, time.Duration) { panic("ended") }

func (panicking) Woke(worker.WakeReason) { panic("woke") }

func (panicking) Called(string, time.Duration, error) { panic("called") }
