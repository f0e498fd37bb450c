package main

import (
	"fmt"
	"io"
)

// A goal is what a figure has to be.
type goal struct {
	name   string
	atMost bool // else at least
	target float64
	figure func(results map[string]*result) (float64, bool)
}

var goals = []goal{
	{"jobs-vs-river", false, 1, rates("jobs/flowc", "jobs/River")},
	{"start-vs-river", false, 1.5, rates("start/flowc", "start/River")},
	{"diamond-vs-dbos", false, 8, rates("diamond/flowc", "diamond/DBOS")},
	{"diamond-vs-one-call-a-task", false, 5, rates("diamond/flowc", "diamond/one call a task")},
	// 12 470 µs is what upstream's own SQL needs, measured elsewhere.
	{"diamond-cpu-vs-upstream", false, 15, func(r map[string]*result) (float64, bool) {
		ours, ok := r["diamond/flowc"]
		if !ok {
			return 0, false
		}
		return 12470 / median(ours.db), true
	}},
	{"map-vs-jobs", false, 0.8, rates("map/10000", "jobs/flowc")},
	{"map-10000-vs-100", true, 1.2, costs("map/10000", "map/100")},
	{"latency-p50-vs-river-p50", true, 1, latencies("latency/flowc", 0.5, "latency/River", 0.5, 1)},
	{"latency-p99-vs-river-p50", true, 2, latencies("latency/flowc", 0.99, "latency/River", 0.5, 1)},
	{"chain-vs-job", true, 4, latencies("latency/chain of 4", 0.5, "latency/flowc", 0.5, 1)},
	{"backlog-1000000-vs-1000", true, 2, latencies("backlog/1000000", 0.99, "backlog/1000", 0.99, 1)},
	{"idle-core", true, 0.005, func(r map[string]*result) (float64, bool) {
		ours, alone := r["idle/flowc"], r["idle/no worker"]
		if ours == nil || alone == nil {
			return 0, false
		}
		return (median(ours.db) + median(ours.client) - median(alone.db) - median(alone.client)) / 1e6, true
	}},
	{"job-wal-bytes", true, 2700, func(r map[string]*result) (float64, bool) {
		ours, ok := r["jobs/flowc"]
		if !ok {
			return 0, false
		}
		return median(ours.wal), true
	}},
	{"job-db-us", true, 70, func(r map[string]*result) (float64, bool) {
		ours, ok := r["jobs/flowc"]
		if !ok {
			return 0, false
		}
		return median(ours.db), true
	}},
	{"job-total-us", true, 106, func(r map[string]*result) (float64, bool) {
		ours, ok := r["jobs/flowc"]
		if !ok {
			return 0, false
		}
		return median(ours.db) + median(ours.client), true
	}},
	{"claim-1000-flows-vs-10", true, 3, latencies("flows/1000", 0.5, "flows/10", 0.5, 1)},
	{"history-1000000-vs-1000", true, 1.5, costs("history/1000000", "history/1000")},
	{"delayed-500000-vs-none", true, 1.1, costs("delayed/500000", "delayed/none")},
	{"writer-vs-none", true, 1.2, costs("writer/beside", "writer/none")},
	{"typed-vs-pgx", true, 1.03, latencies("typed/StartX", 0.5, "typed/plain pgx", 0.5, 1)},
}

// print says how a goal was met; one that was not measured is left out.
func (g goal) print(out io.Writer, results map[string]*result) {
	value, ok := g.figure(results)
	if !ok {
		return
	}
	sign, met := ">=", value >= g.target
	if g.atMost {
		sign, met = "<=", value <= g.target
	}
	verdict := "missed"
	if met {
		verdict = "met"
	}
	fmt.Fprintf(out, "goal %s %.4g %s%.4g %s\n", g.name, value, sign, g.target, verdict)
}

func rates(a, b string) func(map[string]*result) (float64, bool) {
	return func(r map[string]*result) (float64, bool) {
		if r[a] == nil || r[b] == nil {
			return 0, false
		}
		return median(r[a].rates) / median(r[b].rates), true
	}
}

// costs compares processor time of server and client a unit.
func costs(a, b string) func(map[string]*result) (float64, bool) {
	return func(r map[string]*result) (float64, bool) {
		if r[a] == nil || r[b] == nil {
			return 0, false
		}
		return (median(r[a].db) + median(r[a].client)) / (median(r[b].db) + median(r[b].client)), true
	}
}

func latencies(a string, pa float64, b string, pb, times float64) func(map[string]*result) (float64, bool) {
	return func(r map[string]*result) (float64, bool) {
		if r[a] == nil || r[b] == nil {
			return 0, false
		}
		return ms(percentile(r[a].latencies, pa)) / (times * ms(percentile(r[b].latencies, pb))), true
	}
}
