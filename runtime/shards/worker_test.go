package shards_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
	"github.com/flowc-dev/flowc/runtime/shards"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/flowc-dev/flowc/runtime/worker"
)

var quiet = worker.Config{Logger: slog.New(slog.DiscardHandler)}

// A worker takes up shards that are added while it runs, and leaves those that are removed.
func TestWorkerTakesUpShard(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "a", "b")
	s.pools["c"] = dbtest.Pool(t)
	w := s.work(service())
	other := s.open()
	s.NoError(s.db.AddPool("c", s.pools["c"]))
	s.NoError(other.Add(s.ctx, "c", nil))
	for range 3 {
		run, err := greet.Start(s.ctx, other, "ada")
		s.NoError(err)
		_, err = run.Wait(s.ctx)
		s.NoError(err)
	}
	s.Equal(1, s.count("c"))
	s.Len(w.Workers(), 3)
	s.eventually(func() bool { return w.Workers()["c"].Stats().Completed == 1 }, "it counts the run")
	s.NoError(other.Remove(s.ctx, "c", runtime.AllowDataLoss()))
	s.eventually(func() bool { return w.Workers()["c"] == nil }, "the worker knows the new map")
	s.eventually(func() bool {
		return one[int](s, "c", `select count(*) from pgflow.workers where stopped_at is null`) == 0
	}, "the worker of the removed shard stops")
}

// A shard that is down when the worker starts is taken up when it is there.
func TestWorkerStartsWithoutShard(t *testing.T) {
	t.Parallel()
	s := newDatabases(t, "a")
	b := s.through("b")
	s.NoError(shards.Init(s.ctx, s.pools))
	s.db = s.open()
	_, err := greet.Upsert(s.ctx, s.db)
	s.NoError(err)
	on := func(number int) *runtime.Run[string] {
		run, err := greet.Start(s.ctx, s.db, "ada", runtime.WithRunID(moving([]int{1, 2}, []int{1, 2}, number, number)))
		s.NoError(err)
		return run
	}
	here, there := on(1), on(2)
	b.Refuse()
	s.db = s.open()
	w := s.work(service())
	_, err = here.Via(s.db).Wait(s.ctx)
	s.NoError(err)
	status, health := probe(w, "/health/ready")
	s.Equal(http.StatusOK, status, "one shard is enough: %s", health)
	s.Contains(health, `"a":{"state":"working"`)
	s.NoError(b.Accept())
	_, err = there.Via(s.db).Wait(s.ctx)
	s.NoError(err)
}

// probe asks a worker's health handler.
func probe(w *shards.Worker, path string) (status int, body string) {
	answer := httptest.NewRecorder()
	w.HealthHandler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, path, nil))
	return answer.Code, answer.Body.String()
}

// A worker that no shard can have returns why.
func TestWorkerCannotStart(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "a", "b")
	nobodys := greet.As("nobodys")
	w, err := shards.NewWorker(s.db, quiet, nobodys.Serve(service().Handlers()))
	s.NoError(err)
	status, health := probe(w, "/health/live")
	s.Equal(http.StatusOK, status, "it may still start: %s", health)
	status, health = probe(w, "/health/ready")
	s.Equal(http.StatusServiceUnavailable, status)
	s.Contains(health, "no shard is ready")
	err = w.Run(s.ctx)
	status, health = probe(w, "/health/live")
	s.Equal(http.StatusServiceUnavailable, status)
	s.Contains(health, "stopped")
	s.ErrorContains(err, "flowc: shard a: ")
	s.ErrorContains(err, "flowc: shard b: ")
	s.ErrorContains(err, "nobodys")
	_, err = shards.NewWorker(s.db, worker.Config{})
	s.ErrorContains(err, "no services")
}

func TestWorkerStopNow(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "a", "b")
	began := make(chan struct{}, 10)
	w, err := shards.NewWorker(s.db, quiet, greet.Serve([]handler.Handler{
		handler.Handle("hello", handler.Input[string](), func(ctx context.Context, in string) (string, error) {
			began <- struct{}{}
			<-ctx.Done()
			return "", ctx.Err()
		}),
	}))
	s.NoError(err)
	ended := make(chan error, 1)
	go func() { ended <- w.Run(s.ctx) }()
	for range 2 {
		_, err := greet.Start(s.ctx, s.db, "ada")
		s.NoError(err)
		<-began
	}
	w.StopNow()
	s.NoError(<-ended)
}

// ticking returns a flow that the clock starts each second, and what its handler saw.
func ticking() (handler.Service, func() []time.Time) {
	var mu sync.Mutex
	var ticks []time.Time
	service := handler.Serve(spec.Flow{Slug: "sweep", Cron: "@every 1s", Steps: []spec.Step{{Slug: "sweep"}}}, []handler.Handler{
		handler.HandleValues("sweep", func(ctx context.Context, _ handler.Values) (any, error) {
			mu.Lock()
			defer mu.Unlock()
			ticks = append(ticks, handler.Tick(ctx))
			return nil, nil
		}),
	})
	return service, func() []time.Time {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(ticks)
	}
}

// ticksOn returns the names of the databases on which a schedule starts runs.
func (s *system) ticksOn(slug string) (names []string) {
	s.T.Helper()
	for _, name := range []string{"a", "b", "c", "d"} {
		if s.pools[name] != nil && one[int](s, name, `select count(*) from flowc.schedules where flow_slug = $1 and suspended_by is null`, slug) > 0 {
			names = append(names, name)
		}
	}
	return names
}

// A schedule starts its runs on one shard. When it moves, no tick is missed or comes twice.
func TestScheduleMoves(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "a", "b")
	flow, ticks := ticking()
	s.NoError(runtime.UpsertServed(s.ctx, s.db, flow))
	first := s.ticksOn("sweep")
	s.Len(first, 1)
	s.work(flow)
	more := func() {
		n := len(ticks())
		s.eventually(func() bool { return len(ticks()) >= n+2 }, "two ticks more")
	}
	more()
	s.NoError(s.db.Drain(s.ctx, first[0]))
	second := s.ticksOn("sweep")
	s.Len(second, 1)
	s.NotEqual(first, second)
	more()
	s.NoError(s.db.Add(s.ctx, first[0], nil))
	s.Equal(first, s.ticksOn("sweep"))
	more()
	s.NoError(s.db.Drain(s.ctx, first[0]))
	more()
	all := ticks()
	slices.SortFunc(all, time.Time.Compare)
	for i := range all[1:] {
		gap := all[i+1].Sub(all[i])
		s.Greater(gap, time.Millisecond, "a tick came twice: %v", all)
		s.Zero(gap.Round(time.Microsecond)%time.Second, "the ticks of one shard go on on the other: %v", all)
	}
}

// A schedule takes along that it is paused, and the tick that is due.
func TestScheduleKeepsState(t *testing.T) {
	t.Parallel()
	s := newDatabases(t, "a")
	daily := spec.Flow{Slug: "daily", Cron: "0 3 * * *", Steps: []spec.Step{{Slug: "work"}}}
	var slugs []string
	for i := range 12 {
		f := daily
		f.Slug = "daily" + string(rune('a'+i))
		slugs = append(slugs, f.Slug)
		_, err := runtime.UpsertFlow(s.ctx, s.pools["a"], f)
		s.NoError(err)
	}
	_, err := s.pools["a"].Exec(s.ctx, `update flowc.schedules set next_at = '2020-01-01', last_at = '2019-12-31', last_run_id = '01890a5d-ac96-774b-bcce-b302099a8057'`)
	s.NoError(err)
	paused := map[string]bool{}
	for _, slug := range slugs[:6] {
		paused[slug] = true
		_, err := s.pools["a"].Exec(s.ctx, `select flowc.pause_schedule($1, 'holidays')`, slug)
		s.NoError(err)
	}
	s.NoError(shards.Init(s.ctx, s.pools))
	s.db = s.open()
	s.pools["b"] = dbtest.Pool(t)
	s.NoError(s.db.Add(s.ctx, "b", s.pools["b"]))
	moved := 0
	for _, slug := range slugs {
		on := s.ticksOn(slug)
		s.Len(on, 1, slug)
		if on[0] == "b" {
			moved++
		}
		want := `{"last": "2019-12-31", "next": "2020-01-01", "why": null}`
		if paused[slug] {
			want = `{"last": "2019-12-31", "next": null, "why": "holidays"}`
		}
		s.JSONEq(want, one[string](s, on[0], `select json_build_object('last', last_at::date, 'next', next_at::date, 'why', pause_reason)::text from flowc.schedules where flow_slug = $1`, slug))
	}
	s.Greater(moved, 2)
	s.Less(moved, 10)
	// Whoever upserts a flow on a shard does not make it tick there.
	for _, name := range []string{"a", "b"} {
		_, err := runtime.UpsertFlow(s.ctx, s.pools[name], daily)
		s.NoError(err)
	}
	s.Len(s.ticksOn("daily"), 1)
}

// A change that was interrupted before schedules had moved is completed by any worker.
func TestWorkerCompletesChange(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "a", "b")
	flow, ticks := ticking()
	s.NoError(runtime.UpsertServed(s.ctx, s.db, flow))
	on := s.ticksOn("sweep")[0]
	maps := s.maps("a")
	next := slices.Clone(maps[0])
	for i := range next {
		if next[i].Name == on {
			next[i].State = "draining"
		}
	}
	s.publishAt(on, map[string]int{"a": 1, "b": 2}[on], append(maps, next))
	s.Empty(s.ticksOn("sweep"), "nobody starts it now")
	s.work(flow)
	s.eventually(func() bool { return len(ticks()) >= 2 }, "ticks on the other shard")
	s.NotEqual(on, s.ticksOn("sweep")[0])
}

// A run of a schedule by hand is one like any other.
func TestRunSchedule(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "a", "b", "c")
	flow := spec.Flow{Slug: "nightly", Cron: "@daily", Steps: []spec.Step{{Slug: "work"}}}
	s.NoError(runtime.UpsertServed(s.ctx, s.db, handler.Serve(flow, []handler.Handler{
		handler.HandleValues("work", func(context.Context, handler.Values) (any, error) { return json.RawMessage(`1`), nil }),
	})))
	for range 3 {
		run, err := runtime.RunSchedule(s.ctx, s.db, "nightly")
		s.NoError(err)
		s.Equal([]string{"", "a", "b", "c"}[number(run.ID())], s.has(run.ID()))
	}
	_, err := runtime.RunSchedule(s.ctx, s.db, "greet")
	s.ErrorIs(err, runtime.ErrNoSchedule)
}
