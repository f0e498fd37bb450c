package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/devdb"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/flowc-dev/flowc/runtime/worker"
)

// records writes down what it is told.
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

// awaitEnds waits for so many tries to end, and gives them.
func (r *records) awaitEnds(t *testing.T, n int) (ended []string) {
	t.Helper()
	eventually(t, func() bool {
		r.see(func() { ended = append([]string{}, r.ended...) })
		return len(ended) >= n
	}, "tries end")
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

	// Its task is taken away; another is given back when it stops.
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
	eventually(t, func() bool { return count(t, pool, `SELECT count(*) FROM flowc.idle_workers`) == 1 }, "it sleeps")
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
	require.Contains(t, w.log.String(), "observed_test.go:", "the stack says where")
}

type panicking struct{}

func (panicking) AttemptBegan(handler.Task, time.Duration)                 { panic("began") }
func (panicking) AttemptEnded(handler.Task, worker.Outcome, time.Duration) { panic("ended") }
func (panicking) Woke(worker.WakeReason)                                   { panic("woke") }
func (panicking) Called(string, time.Duration, error)                      { panic("called") }

func TestHealth(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	server, url := dbtest.Server(t, nil)
	pool := dbtest.Connect(t, url)
	began, finish := make(chan struct{}), make(chan struct{})
	flow := job[int, int]("work", spec.Flow{})
	service := serve(flow, func(_ context.Context, n int) (int, error) { began <- struct{}{}; <-finish; return n, nil })
	upsert(t, pool, service)

	idle, err := worker.New(pool, worker.Config{}, service)
	require.NoError(t, err)
	require.Equal(t, worker.Health{State: worker.StateIdle, Concurrency: worker.DefaultConcurrency}, idle.Health())
	require.EqualError(t, idle.Health().Ready(), "flowc: worker: state is idle")
	require.NoError(t, idle.Health().Live())

	_, err = flow.Start(ctx, pool, 1)
	require.NoError(t, err)
	w := run(t, pool, worker.Config{Concurrency: 3}, service)
	receive(t, began)
	h := w.Health()
	require.NoError(t, h.Ready())
	require.Equal(t, worker.StateWorking, h.State)
	require.True(t, h.Connected)
	require.Equal(t, 1, h.InFlight)
	require.Equal(t, 3, h.Concurrency)
	require.Equal(t, 1, count(t, pool, `SELECT count(*) FROM pgflow.workers WHERE worker_id = $1`, h.WorkerID))
	require.WithinDuration(t, time.Now(), h.StartedAt, patience)
	eventually(t, func() bool { return w.Health().LastHeartbeat.After(h.LastHeartbeat) }, "its heart beats")

	probe := func(path string) (int, map[string]any) {
		rec := httptest.NewRecorder()
		w.HealthHandler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
		var body map[string]any
		require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &body), rec.Body.String())
		return rec.Code, body
	}
	code, body := probe("/health/ready")
	require.Equal(t, http.StatusOK, code)
	require.Equal(t, "working", body["state"])
	require.EqualValues(t, 1, body["in_flight"])
	require.NotContains(t, body, "problem")

	// While the database is away it is alive, but not ready.
	require.NoError(t, server.Stop(devdb.Immediate))
	eventually(t, func() bool { code, _ := probe("/health/ready"); return code == http.StatusServiceUnavailable }, "it is not ready")
	_, body = probe("/health")
	require.Equal(t, "flowc: worker: database unreachable", body["problem"])
	code, _ = probe("/health/live")
	require.Equal(t, http.StatusOK, code)
	require.NoError(t, server.Resume(ctx))
	eventually(t, func() bool { code, _ := probe("/health/ready"); return code == http.StatusOK }, "it is ready again")

	w.stop()
	eventually(t, func() bool { return w.Health().State == worker.StateStopping }, "it stops")
	code, body = probe("/health/ready")
	require.Equal(t, http.StatusServiceUnavailable, code)
	require.Equal(t, "flowc: worker: state is stopping", body["problem"])
	require.NoError(t, w.Health().Live())
	close(finish)
	require.NoError(t, w.stopped())
	require.Equal(t, worker.StateStopped, w.Health().State)
	require.Zero(t, w.Health().InFlight)
	code, body = probe("/health/live")
	require.Equal(t, http.StatusServiceUnavailable, code)
	require.Equal(t, "flowc: worker: stopped", body["problem"])
}

// The lag is how long what was claimed last had waited. With all slots taken, no claim
// that finds nothing comes after it.
func TestHealthLag(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	began, finish := make(chan struct{}), make(chan struct{})
	flow := job[int, int]("work", spec.Flow{})
	service := serve(flow, func(_ context.Context, n int) (int, error) { began <- struct{}{}; <-finish; return n, nil })
	pool := database(t, service)
	_, err := flow.Start(ctx, pool, 1)
	require.NoError(t, err)
	time.Sleep(100 * time.Millisecond)
	w := run(t, pool, worker.Config{Concurrency: 1}, service)
	receive(t, began)
	require.GreaterOrEqual(t, w.Health().Lag, 100*time.Millisecond)
	close(finish)
	eventually(t, func() bool { return w.Health().Lag == 0 }, "nothing waits")
}

// Handlers that never return are a reason to start the process again, when they
// have become too many.
func TestHealthOfAWorkerThatStandsStill(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	release := make(chan struct{})
	deaf := job[int, int]("deaf", spec.Flow{MaxAttempts: 1, Timeout: time.Second})
	service := serve(deaf, func(context.Context, int) (int, error) { <-release; return 0, nil })
	pool := database(t, service)
	w := run(t, pool, worker.Config{Concurrency: 1}, service)
	for range 2 {
		require.NoError(t, w.Health().Live())
		_, err := deaf.StartSync(ctx, pool, 0)
		failure(t, err)
	}
	eventually(t, func() bool { return w.Health().Live() != nil }, "it stands still")
	require.ErrorContains(t, w.Health().Ready(), "no free slots, 2 handlers ignore their ended contexts")
	close(release)
	eventually(t, func() bool { return w.Health().Ready() == nil }, "it goes on")
}

// Headers reach every try of every step of their run, and no other's.
func TestHeaders(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	flow := runtime.NewFlow[int](spec.Flow{Slug: "carry",
		BaseDelay: spec.Set(time.Duration(0)),
		Steps:     []spec.Step{{Slug: "one"}, {Slug: "two", Deps: []string{"one"}}},
	}, handler.Output[string]("two"))
	headers := func(ctx context.Context) string {
		task, _ := handler.TaskFromContext(ctx)
		return fmt.Sprint(task.Headers)
	}
	service := handler.Serve(flow.Definition(), []handler.Handler{
		handler.Handle("one", handler.Nothing(), handler.NoInput(func(ctx context.Context) (string, error) {
			if task, _ := handler.TaskFromContext(ctx); task.Attempt == 1 {
				return "", errors.New("not yet")
			}
			return headers(ctx), nil
		})),
		handler.Handle("two", handler.Output[string]("one"), func(ctx context.Context, one string) (string, error) {
			return one + " " + headers(ctx), nil
		}),
	})
	pool := database(t, service)
	run(t, pool, worker.Config{}, service)
	for _, tt := range []struct {
		opts []runtime.StartOption
		want string
	}{
		{nil, "map[] map[]"},
		{[]runtime.StartOption{runtime.WithHeaders(map[string]string{"tenant": "acme"})}, "map[tenant:acme] map[tenant:acme]"},
		{[]runtime.StartOption{runtime.WithHeaders(map[string]string{"a": "1", "b": "2"}), runtime.WithHeaders(map[string]string{"b": "3"}),
			runtime.WithDelay(time.Millisecond)}, "map[a:1 b:3] map[a:1 b:3]"},
	} {
		out, err := flow.StartSync(ctx, pool, 1, tt.opts...)
		require.NoError(t, err)
		require.Equal(t, tt.want, out)
	}
	many, err := flow.StartMany(ctx, pool, []int{1, 2}, runtime.WithHeaders(map[string]string{"k": "v"}))
	require.NoError(t, err)
	for _, r := range many {
		out, err := r.Wait(ctx)
		require.NoError(t, err)
		require.Equal(t, "map[k:v] map[k:v]", out)
	}
	require.Equal(t, 4, count(t, pool, `SELECT count(*) FROM flowc.run_headers`), "who has none pays nothing")

	// Starts that are sent together each keep their own.
	var all sync.WaitGroup
	outs := make([]string, 100)
	for i := range outs {
		all.Go(func() {
			var opts []runtime.StartOption
			if i%3 > 0 {
				opts = append(opts, runtime.WithHeaders(map[string]string{"i": fmt.Sprint(i)}))
			}
			outs[i], _ = flow.StartSync(ctx, pool, i, opts...)
		})
	}
	all.Wait()
	for i, out := range outs {
		want := "map[]"
		if i%3 > 0 {
			want = fmt.Sprintf("map[i:%d]", i)
		}
		require.Equal(t, want+" "+want, out)
	}
	for name, values := range map[string]map[string]string{"no name": {"": "x"}, "cannot be stored": {"a": "\x00"}} {
		_, err := flow.Start(ctx, pool, 1, runtime.WithHeaders(values))
		require.ErrorIs(t, err, runtime.ErrInvalidOption)
		require.ErrorContains(t, err, strings.TrimPrefix(name, ""))
	}
}
