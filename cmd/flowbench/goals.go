package main

import (
	"fmt"
	"io"

	"github.com/flowc-dev/flowc/cmd/flowbench/pairs"
)

// A goal is what a figure has to be, against a peer or against ourselves in the same run.
type goal struct {
	pairs.Goal
	figure func(results map[string]*result) []float64 // a value for each round; nil if it was not measured
}

func atLeast(name string, target float64, figure func(map[string]*result) []float64) goal {
	return goal{pairs.Goal{Name: name, Target: target}, figure}
}

func atMost(name string, target float64, figure func(map[string]*result) []float64) goal {
	return goal{pairs.Goal{Name: name, AtMost: true, Target: target}, figure}
}

var goals = []goal{
	atMost("job-db-cpu-vs-river", 1, ratio("jobs/flowc", "jobs/River", db)),
	atMost("job-cpu-vs-river", 0.85, ratio("jobs/flowc", "jobs/River", total)),
	atLeast("jobs-vs-river", 1.15, ratio("jobs/flowc", "jobs/River", rate)),
	atLeast("start-vs-river", 2, ratio("start/flowc", "start/River", rate)),
	atMost("effect-db-cpu-vs-river", 1.25, ratio("effects/flowc", "effects/River", db)),
	atMost("effect-cpu-vs-river", 1.15, ratio("effects/flowc", "effects/River", total)),
	atLeast("diamond-vs-dbos", 10, ratio("diamond/flowc", "diamond/DBOS", rate)),
	atLeast("diamond-vs-one-call-a-task", 5, ratio("diamond/flowc", "diamond/one call a task", rate)),
	atMost("latency-p50-vs-river", 0.8, ratio("latency/flowc", "latency/River", p50)),
	atMost("latency-p99-vs-river", 1, ratio("latency/flowc", "latency/River", p99)),
	atMost("chain-of-4-vs-job", 4, ratio("latency/chain of 4", "latency/flowc", p50)),
	atMost("map-10000-vs-100", 1.2, ratio("map/10000", "map/100", total)),
	atMost("delayed-500000-vs-none", 1.1, ratio("delayed/500000", "delayed/none", total)),
	atLeast("answers-vs-starts", 0.5, ratio("answers/answers", "answers/starts", rate)),
	atMost("claim-1000000-waits-vs-none", 1.2, ratio("waits/1000000", "waits/none", p50)),
	atMost("gated-db-cpu-vs-plain", 2.5, ratio("gated/gated", "gated/plain", db)),
	atMost("limits-1000-keys-vs-none", 1.2, ratio("limits/1000", "limits/none", p50)),
	atMost("writer-vs-none", 1.2, ratio("writer/beside", "writer/none", total)),
	atLeast("processes-16-vs-1", 0.85, ratio("processes/16", "processes/1", rate)),
	atLeast("processes-16-vs-river", 1, ratio("processes/16", "processes/River, 16", rate)),
	atMost("shards-2-vs-1", 1.1, ratio("shards/2", "shards/1", total)),
	atMost("shards-4-vs-1", 1.1, ratio("shards/4", "shards/1", total)),
	atMost("worker-of-4000-flows-latency", 3, ratio("idle-flows/4000", "idle-flows/10", p50)),
	atLeast("worker-of-4000-flows-rate", 0.7, ratio("busy-flows/4000", "busy-flows/10", rate)),
	atMost("claim-1000-flows-vs-10", 3, ratio("flows/1000", "flows/10", p50)),
	atMost("backlog-1000000-vs-1000", 2, ratio("backlog/1000000", "backlog/1000", p99)),
	atMost("history-1000000-vs-1000", 1.5, ratio("history/1000000", "history/1000", total)),
	atLeast("temporal-diamond-vs-by-hand", 0.85, ratio("temporal-diamonds/on Temporal", "temporal-diamonds/by hand", rate)),
	atMost("typed-vs-pgx", 1.03, ratio("typed/StartX", "typed/plain pgx", p50)),
	atMost("idle-worker-cores", 0.005, func(r map[string]*result) []float64 {
		ours, alone := r["idle/flowc"], r["idle/no worker"]
		if ours == nil || alone == nil {
			return nil
		}
		cores := make([]float64, len(ours.total))
		for i := range cores {
			cores[i] = (ours.total[i] - alone.total[i]) / 1e6
		}
		return cores
	}),
	atMost("memory-1000-tasks-of-1kB", 40e6, func(r map[string]*result) []float64 {
		if r["memory/1000 of 1 kB"] == nil {
			return nil
		}
		return scaled(r["memory/1000 of 1 kB"].bytes, 1000)
	}),
	atMost("memory-64-tasks-of-1MB-vs-held", 4, func(r map[string]*result) []float64 {
		if r["memory/64 of 1 MB"] == nil {
			return nil
		}
		return scaled(r["memory/64 of 1 MB"].bytes, 1./(1<<20))
	}),
}

// What is compared of a result.
func rate(r *result) []float64  { return r.rates }
func db(r *result) []float64    { return r.db }
func total(r *result) []float64 { return r.total }
func p50(r *result) []float64   { return r.p50 }
func p99(r *result) []float64   { return r.p99 }

// ratio returns the figure of one system against that of another, pair by pair.
func ratio(a, b string, of func(*result) []float64) func(map[string]*result) []float64 {
	return func(r map[string]*result) []float64 {
		if r[a] == nil || r[b] == nil {
			return nil
		}
		return pairs.Of(of(r[a]), of(r[b]))
	}
}

func scaled(values []float64, by float64) []float64 {
	all := make([]float64, len(values))
	for i, v := range values {
		all[i] = v * by
	}
	return all
}

// print says whether a goal was met; one that was not measured is left out.
func (g goal) print(out io.Writer, results map[string]*result) {
	if values := g.figure(results); values != nil {
		fmt.Fprintf(out, "%-10s %s: %s\n", g.Judge(values), g.Goal, pairs.Spread(values))
	}
}
