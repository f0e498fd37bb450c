package shards_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
	"github.com/flowc-dev/flowc/runtime/internal/faultnet"
	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/flowc-dev/flowc/runtime/shards"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// behindProxy makes the database of a shard one that can be cut off.
func (s *system) behindProxy(name string) *faultnet.Proxy {
	s.Helper()
	direct := s.pools[name].Config().ConnConfig
	proxy, err := faultnet.NewProxy(direct.ConnString())
	s.NoError(err)
	s.Cleanup(func() { proxy.Close() })
	s.pools[name] = dbtest.Connect(s.T, proxy.URL(direct.User, direct.Database))
	return proxy
}

// pages reads all runs of a filter, page by page.
func (s *system) pages(filter ops.RunFilter) (all []ops.RunSummary) {
	s.Helper()
	for {
		runs, err := ops.ListRuns(s.ctx, s.db, filter)
		s.NoError(err)
		s.LessOrEqual(len(runs), filter.Limit)
		all = append(all, runs...)
		if len(runs) < filter.Limit {
			return all
		}
		filter.After = &runs[len(runs)-1]
	}
}

// All runs are on one of the pages, and none is on two, newest first, however many start at
// the same time.
func TestListRuns(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "a", "b", "c")
	want := map[string]string{}
	for i := range 100 {
		run, err := greet.Start(s.ctx, s.db, fmt.Sprint(i), runtime.WithIdempotencyKey(fmt.Sprint(i)))
		s.NoError(err)
		on, err := ops.ShardOf(s.ctx, s.db, run.ID())
		s.NoError(err)
		want[run.ID()] = on
	}
	for _, pool := range s.pools { // three at a time, on each
		_, err := pool.Exec(s.ctx, `
			UPDATE pgflow.runs r SET started_at = n.at FROM (
			  SELECT run_id, timestamptz '2026-01-01' + (row_number() OVER (ORDER BY run_id) / 3) * interval '1 second' AS at FROM pgflow.runs) n
			WHERE n.run_id = r.run_id`)
		s.NoError(err)
	}
	for _, limit := range []int{1, 7, 50, 1000} {
		got := map[string]string{}
		all := s.pages(ops.RunFilter{Limit: limit})
		for _, r := range all {
			s.NotContains(got, r.ID, "on two pages")
			got[r.ID] = r.Shard
		}
		s.Equal(want, got)
		s.True(slices.IsSortedFunc(all, func(a, b ops.RunSummary) int { return b.StartedAt.Compare(a.StartedAt) }))
	}
	one := s.pages(ops.RunFilter{Limit: 10, InputContains: json.RawMessage(`"42"`)})
	s.Len(one, 1)
	found := s.pages(ops.RunFilter{Limit: 10, Search: one[0].ID[:18]})
	s.Equal(one, found)
	_, err := ops.ListRuns(s.ctx, s.db, ops.RunFilter{InputContains: json.RawMessage(`1e400000`)})
	s.ErrorIs(err, runtime.ErrInvalidOption)
	s.NotContains(err.Error(), "shard")
}

// Figures are sums, lists are in order, and what is about one run goes to its shard.
func TestListsOfAllShards(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "a", "b", "c")
	since := time.Now().Add(-time.Minute)
	worker := s.work(service())
	var ids []string
	for range 12 {
		run, err := greet.Start(s.ctx, s.db, "ada")
		s.NoError(err)
		_, err = run.Wait(s.ctx)
		s.NoError(err)
		ids = append(ids, run.ID())
	}
	_ = worker

	flows, err := ops.ListFlows(s.ctx, s.db, since)
	s.NoError(err)
	s.Len(flows, 1)
	s.Equal([]int{12, 12, 0, 3}, []int{flows[0].Started, flows[0].Completed, flows[0].Running, flows[0].Workers})
	var mean, p95 time.Duration
	for _, pool := range s.pools {
		own, err := ops.ListFlows(s.ctx, pool, since)
		s.NoError(err)
		mean += own[0].MeanTime / 3
		p95 = max(p95, own[0].P95Time)
	}
	s.InDelta(mean.Seconds(), flows[0].MeanTime.Seconds(), 1e-6)
	s.Equal(p95, flows[0].P95Time)

	points, err := ops.Throughput(s.ctx, s.db, since, 10*time.Second)
	s.NoError(err)
	completed := 0
	for _, p := range points {
		completed += p.Completed
	}
	s.Equal(12, completed)
	s.Equal(since.Add(10*time.Second).UnixMicro(), points[1].From.UnixMicro())

	workers, err := ops.ListWorkers(s.ctx, s.db, since)
	s.NoError(err)
	var on []string
	for _, w := range workers {
		on = append(on, w.Shard)
	}
	s.ElementsMatch([]string{"a", "b", "c"}, on)

	infos, err := ops.ListShards(s.ctx, s.db, since)
	s.NoError(err)
	for i, name := range []string{"a", "b", "c"} {
		s.Equal(ops.ShardInfo{Name: name, State: ops.ShardActive, Started: 4, Completed: 4, Workers: 1}, infos[i])
	}

	for _, id := range ids {
		tasks, err := ops.ListTasks(s.ctx, s.db, id, ops.TaskFilter{OutputBytes: ops.AllOutputs})
		s.NoError(err)
		s.JSONEq(`"hello ada"`, string(tasks[0].Output))
		payloads, err := ops.ListPayloads(s.ctx, s.db, id, 1000)
		s.NoError(err)
		s.Len(payloads, 4)
		input, err := ops.GetPayload(s.ctx, s.db, id, ops.PayloadFilter{Kind: ops.PayloadRunInput})
		s.NoError(err)
		s.JSONEq(`"ada"`, string(input.JSON))
	}
	for i, id := range ids {
		newer, older, err := ops.AdjacentRuns(s.ctx, s.db, id)
		s.NoError(err)
		s.Equal([]string{append(ids, "")[i+1], append([]string{""}, ids...)[i]}, []string{newer, older})
	}
	none := "01890a5d-ac96-774b-bcce-b302099a8057"
	newer, older, err := ops.AdjacentRuns(s.ctx, s.db, none)
	s.NoError(err)
	s.Empty(newer + older)
	tasks, err := ops.ListTasks(s.ctx, s.db, none, ops.TaskFilter{})
	s.NoError(err)
	s.Empty(tasks)
	n, err := ops.RunNow(s.ctx, s.db, none, "")
	s.NoError(err)
	s.Zero(n)
	_, err = ops.ShardOf(s.ctx, s.db, none)
	s.ErrorIs(err, runtime.ErrRunNotFound)

	left, err := ops.Prune(s.ctx, s.db, ops.PruneOptions{OlderThan: time.Hour})
	s.NoError(err)
	s.Zero(left)
	most := 0
	for _, pool := range s.pools {
		_, err := pool.Exec(s.ctx, `UPDATE pgflow.runs SET started_at = started_at - interval '2 hours', completed_at = completed_at - interval '2 hours'`)
		s.NoError(err)
	}
	pruned, err := ops.Prune(s.ctx, s.db, ops.PruneOptions{OlderThan: time.Hour, Progress: func(n int) { most = max(most, n) }})
	s.NoError(err)
	s.Equal(12, pruned)
	s.Equal(12, most)
}

// Tasks in flight of all shards are in the order in which they started.
func TestListTasksInFlightOfAllShards(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "a", "b", "c")
	for range 6 {
		_, err := greet.Start(s.ctx, s.db, "ada")
		s.NoError(err)
	}
	for name, pool := range s.pools {
		_, err := pool.Exec(s.ctx, `SELECT flowc.register_worker($1::text::uuid, $2, '{greet}')`, "00000000-0000-0000-0000-00000000000"+name, name)
		s.NoError(err)
		_, err = pool.Exec(s.ctx, `SELECT * FROM flowc.claim($1::text::uuid, '{greet}', '{2}')`, "00000000-0000-0000-0000-00000000000"+name)
		s.NoError(err)
	}
	tasks, err := ops.ListTasksInFlight(s.ctx, s.db, 5)
	s.NoError(err)
	s.Len(tasks, 5)
	s.True(slices.IsSortedFunc(tasks, func(a, b ops.TaskInFlight) int { return a.StartedAt.Compare(b.StartedAt) }))
	on := map[string]bool{}
	for _, task := range tasks {
		on[task.Shard] = true
	}
	s.Len(on, 3)
}

// Without one shard, lists and sums are those of the others, with an error that names it;
// what needs it is an error.
func TestListsWithoutOneShard(t *testing.T) {
	t.Parallel()
	s := newDatabases(t, "a", "b", "c")
	proxy := s.behindProxy("b")
	s.NoError(shards.Init(s.ctx, s.pools))
	s.db = s.open()
	_, err := greet.Upsert(s.ctx, s.db)
	s.NoError(err)
	ids := map[string]string{}
	for range 9 {
		run, err := greet.Start(s.ctx, s.db, "ada")
		s.NoError(err)
		on, err := ops.ShardOf(s.ctx, s.db, run.ID())
		s.NoError(err)
		ids[on] = run.ID()
	}
	proxy.Refuse()
	since := time.Now().Add(-time.Minute)
	calls := map[string]func() (int, error){
		"ListRuns":          func() (int, error) { list, err := ops.ListRuns(s.ctx, s.db, ops.RunFilter{}); return len(list), err },
		"ListFlows":         func() (int, error) { list, err := ops.ListFlows(s.ctx, s.db, since); return list[0].Started, err },
		"ListFailures":      func() (int, error) { list, err := ops.ListFailures(s.ctx, s.db, since, 10); return len(list) + 6, err },
		"ListWorkers":       func() (int, error) { list, err := ops.ListWorkers(s.ctx, s.db, since); return len(list) + 6, err },
		"ListTasksInFlight": func() (int, error) { list, err := ops.ListTasksInFlight(s.ctx, s.db, 10); return len(list) + 6, err },
		"ListSchedules":     func() (int, error) { list, err := ops.ListSchedules(s.ctx, s.db); return len(list) + 6, err },
		"Prune": func() (int, error) {
			n, err := ops.Prune(s.ctx, s.db, ops.PruneOptions{OlderThan: time.Hour})
			return n + 6, err
		},
		"Throughput": func() (n int, _ error) {
			list, err := ops.Throughput(s.ctx, s.db, since, time.Minute)
			for _, p := range list {
				n += p.Started
			}
			return n, err
		},
	}
	for name, call := range calls {
		n, err := call()
		s.Equal(6, n, name)
		partial := ops.Partial(err)
		s.NotNil(partial, "%s: %v", name, err)
		s.Len(partial.Shards, 1, name)
		s.Equal("b", partial.Shards[0].Shard, name)
		s.Regexp("^flowc: [^:]+: shard b: ", err.Error(), name)
		s.Equal(1, strings.Count(err.Error(), "flowc: "), err.Error())
	}
	def, err := ops.GetDefinition(s.ctx, s.db, "greet")
	s.NoError(err)
	s.Equal("greet", def.Slug)
	_, err = ops.GetDefinition(s.ctx, s.db, "other")
	s.ErrorContains(err, "shard b: ", "which may have it")
	s.NotErrorIs(err, runtime.ErrFlowNotFound)
	ticks, err := ops.NextTicks(s.ctx, s.db, "@daily", 2)
	s.NoError(err)
	s.Len(ticks, 2)
	infos, err := ops.ListShards(s.ctx, s.db, since)
	s.NoError(err)
	s.Equal([]bool{true, false, true}, []bool{infos[0].Error == "", infos[1].Error == "", infos[2].Error == ""})
	_, err = ops.ListTasks(s.ctx, s.db, ids["b"], ops.TaskFilter{})
	s.ErrorContains(err, "shard b: ")
	_, err = ops.ListTasks(s.ctx, s.db, ids["a"], ops.TaskFilter{})
	s.NoError(err)
	changed, err := ops.PauseFlow(s.ctx, s.db, "greet", "ada")
	s.True(changed)
	s.NotNil(ops.Partial(err))
	s.NoError(proxy.Accept())
	s.eventually(func() bool { _, err := ops.ListFlows(s.ctx, s.db, time.Now()); return err == nil }, "shard b is back")
	flows, err := ops.ListFlows(s.ctx, s.db, time.Now())
	s.NoError(err)
	s.Equal([]string{"a", "c"}, flows[0].PausedOn)
	s.Equal("ada", flows[0].PausedBy)
	changed, err = ops.PauseFlow(s.ctx, s.db, "greet", "ada")
	s.NoError(err)
	s.True(changed, "on b")
	flows, err = ops.ListFlows(s.ctx, s.db, time.Now())
	s.NoError(err)
	s.Empty(flows[0].PausedOn)
	s.False(flows[0].PausedAt.IsZero())
	changed, err = ops.ResumeFlow(s.ctx, s.db, "greet")
	s.NoError(err)
	s.True(changed)
	_, err = ops.PauseFlow(s.ctx, s.db, "other", "ada")
	s.ErrorIs(err, runtime.ErrFlowNotFound)
}

// A shard that hangs holds up the others for a moment only.
func TestListsWhileOneShardHangs(t *testing.T) {
	t.Parallel()
	s := newDatabases(t, "a", "b")
	proxy := s.behindProxy("b")
	s.NoError(shards.Init(s.ctx, s.pools))
	s.db = s.open()
	proxy.Freeze()
	_, err := ops.ListRuns(s.ctx, s.db, ops.RunFilter{})
	s.NotNil(ops.Partial(err))
	s.ErrorContains(err, "shard b: it did not answer within 2s")
	s.eventually(func() bool { _, err := ops.ListRuns(s.ctx, s.db, ops.RunFilter{}); return err == nil }, "new connections work")
	proxy.Reset() // or those that hang would be in use for a while
}

// Without any shard there is nothing to show.
func TestListsWithoutAnyShard(t *testing.T) {
	t.Parallel()
	s := newDatabases(t, "a", "b")
	proxies := []*faultnet.Proxy{s.behindProxy("a"), s.behindProxy("b")}
	s.NoError(shards.Init(s.ctx, s.pools))
	s.db = s.open()
	for _, p := range proxies {
		p.Refuse()
	}
	_, err := ops.ListRuns(s.ctx, s.db, ops.RunFilter{})
	s.ErrorContains(err, "shard a: ")
	s.ErrorContains(err, "shard b: ")
	s.Nil(ops.Partial(err))
}

// A schedule is listed once, by the shard that starts its runs, and paused there.
func TestListSchedules(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "a", "b", "c")
	on := map[string]bool{}
	for i := range 12 {
		_, err := runtime.UpsertFlow(s.ctx, s.db, spec.Flow{Slug: fmt.Sprintf("nightly_%02d", i), Cron: "@daily", Steps: []spec.Step{{Slug: "report"}}})
		s.NoError(err)
	}
	list, err := ops.ListSchedules(s.ctx, s.db)
	s.NoError(err)
	s.Len(list, 12)
	for i, schedule := range list {
		s.Equal(fmt.Sprintf("nightly_%02d", i), schedule.Flow)
		on[schedule.Shard] = true
	}
	s.Len(on, 3)
	changed, err := ops.PauseSchedule(s.ctx, s.db, list[3].Flow, "holidays")
	s.NoError(err)
	s.True(changed)
	one, err := ops.ListSchedules(s.ctx, s.db, list[3].Flow)
	s.NoError(err)
	s.Len(one, 1)
	s.Equal("holidays", one[0].PauseReason)
	changed, err = ops.ResumeSchedule(s.ctx, s.db, list[3].Flow)
	s.NoError(err)
	s.True(changed)
	_, err = ops.PauseSchedule(s.ctx, s.db, "greet", "")
	s.ErrorIs(err, runtime.ErrNoSchedule)
	run, err := runtime.RunSchedule(s.ctx, s.db, list[3].Flow)
	s.NoError(err)
	_, err = ops.ShardOf(s.ctx, s.db, run.ID())
	s.NoError(err)
}

// A process that lists learns of a shard that another has added.
func TestListsLearnOfShards(t *testing.T) {
	t.Parallel()
	s := newDatabases(t, "a", "b")
	s.NoError(shards.Init(s.ctx, map[string]*pgxpool.Pool{"a": s.pools["a"]}))
	s.db = s.open()
	other := s.open()
	_, err := greet.Upsert(s.ctx, s.db)
	s.NoError(err)
	s.NoError(other.Add(s.ctx, "b", s.pools["b"]))
	run, err := greet.Start(s.ctx, other.On("b"), "ada")
	s.NoError(err)
	runs, err := ops.ListRuns(s.ctx, s.db, ops.RunFilter{})
	s.NoError(err)
	require.Len(t, runs, 1)
	s.Equal([]string{run.ID(), "b"}, []string{runs[0].ID, runs[0].Shard})
}
