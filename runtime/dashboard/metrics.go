package dashboard

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/jackc/pgx/v5/pgxpool"
)

// A stats counts what the dashboard itself does.
type stats struct {
	requests, failures, actions atomic.Int64
}

// metricsSpan is the range of time of the figures of runs. They are gauges: a total of all
// runs ever would have to be counted each time.
const metricsSpan = time.Hour

// health responds whether the program and its database work.
func (h *Handler) health(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
	defer cancel()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if h.sharded {
		h.shardsHealth(ctx, w)
		return
	}
	var one int
	if err := h.db.QueryRow(ctx, `SELECT 1`).Scan(&one); err != nil {
		h.log.ErrorContext(ctx, "flowc: dashboard: database unreachable", "error", err)
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, "database unreachable")
		return
	}
	fmt.Fprintln(w, "ok")
}

// metrics responds in the text format of Prometheus.
func (h *Handler) metrics(w http.ResponseWriter, r *http.Request) error {
	began := time.Now()
	m := &exposition{}
	flows, err := h.flows(r.Context(), metricsSpan)
	if err == nil {
		m.flows(flows, began)
		var workers []ops.WorkerInfo
		if workers, err = h.workers(r.Context()); err == nil {
			m.workers(workers, began)
		}
	}
	if err == nil {
		var schedules []scheduleView
		if schedules, err = h.schedules(r.Context()); err == nil {
			m.schedules(schedules)
		}
	}
	if err == nil {
		var waits []ops.WaitCount
		if waits, err = h.waitCounts(r.Context()); err == nil {
			m.waits(waits, began)
		}
	}
	if err == nil {
		var requests []ops.Request
		if requests, err = h.overdueRequests(r.Context()); err == nil {
			m.one("flowc_requests_overdue", "gauge", "Requests, to cancel a run and the like, that were not applied within a minute, or could not be.", float64(len(requests)))
		}
	}
	if err == nil && h.sharded {
		var shards []ops.ShardInfo
		if shards, err = h.shards(r.Context(), metricsSpan); err == nil {
			m.shards(shards)
		}
	}
	up := 1.0
	if err != nil {
		up = 0
		h.log.ErrorContext(r.Context(), "flowc: dashboard: metrics", "error", err)
	}
	m.one("flowc_up", "gauge", "Whether the database could be asked.", up)
	if pool, ok := h.db.(*pgxpool.Pool); ok {
		s := pool.Stat()
		m.one("flowc_pool_connections_max", "gauge", "Connections that the pool may have.", float64(s.MaxConns()))
		m.one("flowc_pool_connections_acquired", "gauge", "Connections of the pool that are in use.", float64(s.AcquiredConns()))
		m.one("flowc_pool_connections_idle", "gauge", "Connections of the pool that are not in use.", float64(s.IdleConns()))
		m.one("flowc_pool_waits_total", "counter", "How often a connection of the pool had to be waited for.", float64(s.EmptyAcquireCount()))
	}
	m.one("flowc_dashboard_requests_total", "counter", "Requests to the dashboard.", float64(h.stats.requests.Load()))
	m.one("flowc_dashboard_errors_total", "counter", "Requests that failed because of the dashboard or its database.", float64(h.stats.failures.Load()))
	m.one("flowc_dashboard_actions_total", "counter", "Actions on runs, taken through the dashboard.", float64(h.stats.actions.Load()))
	m.one("flowc_dashboard_streams", "gauge", "Pages that follow a run.", float64(h.streams.count()))
	m.one("flowc_scrape_duration_seconds", "gauge", "How long these figures took.", time.Since(began).Seconds())
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = m.WriteTo(w) // the client is gone
	return nil
}

// An exposition writes series.
type exposition struct{ bytes.Buffer }

func (m *exposition) family(name, kind, help string) {
	fmt.Fprintf(m, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

func (m *exposition) one(name, kind, help string, value float64) {
	m.family(name, kind, help)
	m.sample(name, value)
}

var labelEscapes = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)

// sample writes a value; labels are names and values in turn.
func (m *exposition) sample(name string, value float64, labels ...string) {
	m.WriteString(name)
	for i := 0; i < len(labels); i += 2 {
		m.WriteByte("{,"[min(i, 1)])
		fmt.Fprintf(m, `%s="%s"`, labels[i], labelEscapes.Replace(labels[i+1]))
	}
	if len(labels) > 0 {
		m.WriteByte('}')
	}
	fmt.Fprintf(m, " %v\n", value)
}

func (m *exposition) flows(flows []ops.FlowInfo, now time.Time) {
	m.one("flowc_flows", "gauge", "Flows in the database.", float64(len(flows)))
	m.family("flowc_runs", "gauge", "Runs that started in the last hour, by what became of them.")
	for _, f := range flows {
		m.sample("flowc_runs", float64(f.Completed), "flow", f.Slug, "status", "completed")
		m.sample("flowc_runs", float64(f.Failed), "flow", f.Slug, "status", "failed")
		m.sample("flowc_runs", float64(f.Running), "flow", f.Slug, "status", "running")
	}
	each := func(name, help string, value func(ops.FlowInfo) float64) {
		m.family(name, "gauge", help)
		for _, f := range flows {
			m.sample(name, value(f), "flow", f.Slug)
		}
	}
	each("flowc_run_duration_mean_seconds", "How long runs of the last hour took on average.", func(f ops.FlowInfo) float64 { return f.MeanTime.Seconds() })
	each("flowc_run_duration_p95_seconds", "How long runs of the last hour took but for the slowest twentieth.", func(f ops.FlowInfo) float64 { return f.P95Time.Seconds() })
	each("flowc_tasks_waiting", "Tasks that a worker could start now.", func(f ops.FlowInfo) float64 { return float64(f.Waiting) })
	each("flowc_flow_workers", "Workers that serve the flow.", func(f ops.FlowInfo) float64 { return float64(f.Workers) })
	each("flowc_flow_paused", "Whether the flow is paused.", func(f ops.FlowInfo) float64 {
		if f.PausedAt.IsZero() {
			return 0
		}
		return 1
	})
	each("flowc_tasks_delayed", "Tasks that wait for their time.", func(f ops.FlowInfo) float64 { return float64(f.Delayed) })
	each("flowc_tasks_in_flight", "Tasks that a worker has.", func(f ops.FlowInfo) float64 { return float64(f.InFlight) })
	each("flowc_oldest_waiting_seconds", "How long the oldest waiting task has been there.", func(f ops.FlowInfo) float64 {
		if f.OldestWaiting.IsZero() {
			return 0
		}
		return max(now.Sub(f.OldestWaiting), 0).Seconds()
	})
}

func (m *exposition) workers(workers []ops.WorkerInfo, now time.Time) {
	byStatus := map[ops.WorkerStatus]int{}
	inFlight, silence := 0, 0.0
	for _, w := range workers {
		byStatus[w.Status]++
		inFlight += w.InFlight
		if w.Status != ops.WorkerStopped {
			silence = max(silence, now.Sub(w.LastHeartbeatAt).Seconds())
		}
	}
	m.family("flowc_workers", "gauge", "Workers of the last hour.")
	for _, status := range []ops.WorkerStatus{ops.WorkerWorking, ops.WorkerDraining, ops.WorkerSilent, ops.WorkerStopped} {
		m.sample("flowc_workers", float64(byStatus[status]), "status", string(status))
	}
	m.one("flowc_workers_tasks_in_flight", "gauge", "Tasks that workers have.", float64(inFlight))
	m.one("flowc_workers_longest_silence_seconds", "gauge", "How long ago the worker that has been silent longest was last seen.", silence)
}

func (m *exposition) schedules(schedules []scheduleView) {
	m.family("flowc_schedule_overdue_seconds", "gauge", "For how long a run should have been started by a schedule.")
	for _, s := range schedules {
		m.sample("flowc_schedule_overdue_seconds", s.Overdue.Seconds(), "flow", s.Flow)
	}
	m.family("flowc_schedule_state", "gauge", "1 for the state that a schedule is in: armed, paused, failing or overdue.")
	for _, s := range schedules {
		m.sample("flowc_schedule_state", 1, "flow", s.Flow, "state", s.State)
	}
}

func (m *exposition) waits(waits []ops.WaitCount, now time.Time) {
	m.family("flowc_waits", "gauge", "Steps that wait for an answer.")
	for _, w := range waits {
		m.sample("flowc_waits", float64(w.Waiting), "flow", w.Flow, "step", w.Step)
	}
	m.family("flowc_oldest_wait_seconds", "gauge", "How long the step that has waited longest for an answer has waited.")
	for _, w := range waits {
		m.sample("flowc_oldest_wait_seconds", max(now.Sub(w.Oldest), 0).Seconds(), "flow", w.Flow, "step", w.Step)
	}
}
