package dashboard

import (
	"cmp"
	"context"
	"html/template"
	"net/http"
	"slices"
	"time"

	"github.com/flowc-dev/flowc/runtime/ops"
)

// A timeRange is how far back figures go.
type timeRange struct {
	Key, Words string
	Span       time.Duration
	stretch    time.Duration // of a bar in the chart
}

// ranges are the choices; the first is the default.
var ranges = []timeRange{
	{"24h", "24 hours", 24 * time.Hour, 20 * time.Minute},
	{"1h", "hour", time.Hour, time.Minute},
	{"6h", "6 hours", 6 * time.Hour, 5 * time.Minute},
	{"7d", "7 days", 7 * 24 * time.Hour, 2 * time.Hour},
}

// rangesByLength are the choices in the order in which they are shown.
var rangesByLength = func() []timeRange {
	sorted := slices.Clone(ranges)
	slices.SortFunc(sorted, func(a, b timeRange) int { return cmp.Compare(a.Span, b.Span) })
	return sorted
}()

func chosenRange(r *http.Request) timeRange {
	for _, choice := range ranges {
		if choice.Key == r.URL.Query().Get("range") {
			return choice
		}
	}
	return ranges[0]
}

// flows returns all flows with their figures in a range of time.
func (h *Handler) flows(ctx context.Context, span time.Duration) ([]ops.FlowInfo, error) {
	return cached(ctx, h, "flows "+span.String(), func(ctx context.Context) ([]ops.FlowInfo, error) {
		return ops.ListFlows(ctx, h.db, time.Now().Add(-span))
	})
}

// workers returns the workers that are alive or were seen in the last hour.
func (h *Handler) workers(ctx context.Context) ([]ops.WorkerInfo, error) {
	return cached(ctx, h, "workers", func(ctx context.Context) ([]ops.WorkerInfo, error) {
		return ops.ListWorkers(ctx, h.db, time.Now().Add(-time.Hour))
	})
}

// failures returns the runs that failed last.
func (h *Handler) failures(ctx context.Context) ([]ops.RunSummary, error) {
	return cached(ctx, h, "failures", func(ctx context.Context) ([]ops.RunSummary, error) {
		runs, err := ops.ListFailures(ctx, h.db, time.Now().Add(-7*24*time.Hour), 6)
		h.redactRuns(runs)
		return runs, err
	})
}

// totals are the sums over all flows.
type totals struct {
	Started, Completed, Failed, Running int
	Waiting, Delayed, InFlight          int
	OldestWaiting                       time.Time
}

func total(flows []ops.FlowInfo) totals {
	var t totals
	for _, f := range flows {
		t.Started, t.Completed, t.Failed, t.Running = t.Started+f.Started, t.Completed+f.Completed, t.Failed+f.Failed, t.Running+f.Running
		t.Waiting, t.Delayed, t.InFlight = t.Waiting+f.Waiting, t.Delayed+f.Delayed, t.InFlight+f.InFlight
		if !f.OldestWaiting.IsZero() && (t.OldestWaiting.IsZero() || f.OldestWaiting.Before(t.OldestWaiting)) {
			t.OldestWaiting = f.OldestWaiting
		}
	}
	return t
}

// An overviewPage is the first page.
type overviewPage struct {
	Range    timeRange
	Ranges   []timeRange
	Totals   totals
	Alive    int // workers
	Silent   int
	Chart    template.HTML
	Worst    []ops.FlowInfo
	Failures []ops.RunSummary
	Workers  []ops.WorkerInfo
	Flows    int
	Warnings []warning
	Waits    int             // steps that wait for an answer
	Oldest   time.Time       // since when the first of them waits
	Shards   []ops.ShardInfo // none if there is one database
}

func (h *Handler) overview(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	choice := chosenRange(r)
	flows, err := h.flows(ctx, choice.Span)
	if err != nil {
		return err
	}
	points, err := cached(ctx, h, "throughput "+choice.Key, func(ctx context.Context) ([]ops.ThroughputPoint, error) {
		// Bars begin at round times, so that they stay the same as time goes by.
		from := time.Now().Add(-choice.Span).Truncate(choice.stretch).Add(choice.stretch)
		return ops.Throughput(ctx, h.db, from, choice.stretch)
	})
	if err != nil {
		return err
	}
	workers, err := h.workers(ctx)
	if err != nil {
		return err
	}
	failures, err := h.failures(ctx)
	if err != nil {
		return err
	}
	schedules, err := h.schedules(ctx)
	if err != nil {
		return err
	}
	shards, err := h.shards(ctx, choice.Span)
	if err != nil {
		return err
	}
	page := overviewPage{
		Shards: shards,
		Range:  choice, Ranges: rangesByLength, Totals: total(flows), Chart: chart(points, choice.stretch),
		Worst: worst(flows), Failures: failures, Flows: len(flows), Warnings: append(warnings(flows), scheduleWarnings(schedules)...),
	}
	waits, err := h.waitCounts(ctx)
	if err != nil {
		return err
	}
	page.Waits, page.Oldest = waitTotal(waits)
	requests, err := h.overdueRequests(ctx)
	if err != nil {
		return err
	}
	page.Warnings = append(page.Warnings, h.requestWarnings(requests)...)
	for _, worker := range workers {
		switch worker.Status {
		case ops.WorkerWorking, ops.WorkerDraining:
			page.Alive++
		case ops.WorkerSilent:
			page.Silent++
		case ops.WorkerStopped:
			continue
		}
		page.Workers = append(page.Workers, worker)
	}
	page.Workers, _ = firstRows(page.Workers)
	page.Warnings, _ = firstRows(page.Warnings)
	f := h.frame(r, "overview", "Overview", page)
	f.Refresh = true
	return h.render(w, http.StatusOK, "overview", f)
}

// worst returns the flows that need attention: those with the most failures first, then
// those whose tasks wait longest, then the busiest.
func worst(flows []ops.FlowInfo) []ops.FlowInfo {
	sorted := slices.Clone(flows)
	slices.SortStableFunc(sorted, func(a, b ops.FlowInfo) int {
		return cmp.Or(cmp.Compare(b.Failed, a.Failed), cmp.Compare(b.Waiting, a.Waiting), cmp.Compare(b.Started, a.Started))
	})
	return sorted[:min(len(sorted), 6)]
}
