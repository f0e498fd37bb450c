package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/flowc-dev/flowc/cmd/flowbench/pairs"
)

// A cell is one comparison: some systems that do the same work.
type cell struct {
	name    string
	title   string
	systems []system
	// temporal reports that it needs a Temporal server, whose first build takes minutes.
	temporal bool
}

// A system does the work of a cell.
type system struct {
	name string
	// prepare makes what the work needs, in a database of its own that is kept for all
	// turns. work is one turn of a second or two: it says how many units that was, or
	// how long each took.
	prepare func(ctx context.Context, s *server) (work func(ctx context.Context) (sample, error), tidy func(), err error)
}

// A sample is what one turn gave.
type sample struct {
	units     int
	latencies []time.Duration // where they are what matters
	took      time.Duration   // 0: as long as the call
	bytes     int64           // of memory that a unit took, where that is what matters

	since, until *usage // nil: from the begin of the call to its end
}

// A result is what a system needed, a value for each turn.
type result struct {
	system   string
	rates    []float64 // units a second
	db       []float64 // µs of the server's processor a unit
	client   []float64 // µs of this process's
	total    []float64 // of both
	wal      []float64 // bytes a unit
	p50, p99 []float64 // ms
	bytes    []float64 // of memory a unit
}

// measure has the systems take turns: A B A B. The first turn of each warms up and does not
// count. host is how fast the host itself was before each turn, against its fastest.
func (c cell) measure(ctx context.Context, s *server, rounds int) (results []*result, host []float64, _ error) {
	var works []func(context.Context) (sample, error)
	for _, sys := range c.systems {
		work, tidy, err := sys.prepare(ctx, s)
		if err != nil {
			return nil, nil, fmt.Errorf("preparing %s: %w", sys.name, err)
		}
		defer tidy()
		works = append(works, work)
		results = append(results, &result{system: sys.name})
	}
	for round := range rounds + 1 {
		for i, work := range works {
			host = append(host, spin())
			r := results[i]
			if round == 0 {
				r = new(result)
			}
			if err := r.turn(ctx, s, work); err != nil {
				return nil, nil, fmt.Errorf("%s: %w", c.systems[i].name, err)
			}
		}
	}
	fastest := slices.Max(host)
	for i := range host {
		host[i] /= fastest
	}
	return results, host, nil
}

// spin returns how fast the host is just now: rounds of a loop that nothing else slows down.
func spin() float64 {
	const turns = 5_000_000
	x := uint64(1)
	began := time.Now()
	for range turns {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
	}
	runtime.KeepAlive(x)
	return turns / time.Since(began).Seconds()
}

// turn measures one turn of a system.
func (r *result) turn(ctx context.Context, s *server, work func(context.Context) (sample, error)) error {
	runtime.GC()
	before, err := s.usage(ctx)
	if err != nil {
		return err
	}
	got, err := work(ctx)
	if err != nil {
		return err
	}
	after, err := s.usage(ctx)
	if err != nil {
		return err
	}
	if got.since != nil {
		before, after = *got.since, *got.until
	}
	took := got.took
	if took == 0 {
		took = after.at.Sub(before.at)
	}
	n := float64(got.units)
	db, client := float64((after.db-before.db).Microseconds())/n, float64((after.client-before.client).Microseconds())/n
	r.rates = append(r.rates, n/took.Seconds())
	r.db, r.client, r.total = append(r.db, db), append(r.client, client), append(r.total, db+client)
	r.wal = append(r.wal, float64(after.wal-before.wal)/n)
	if got.latencies != nil {
		r.p50, r.p99 = append(r.p50, ms(percentile(got.latencies, 0.5))), append(r.p99, ms(percentile(got.latencies, 0.99)))
	}
	if got.bytes > 0 {
		r.bytes = append(r.bytes, float64(got.bytes)/n)
	}
	return nil
}

func percentile(latencies []time.Duration, p float64) time.Duration {
	sorted := slices.Sorted(slices.Values(latencies))
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(float64(len(sorted))*p), len(sorted)-1)]
}

// printCell prints the medians of all systems, and how ours compares pair by pair.
func printCell(out io.Writer, results []*result, host []float64) {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	ours := results[0]
	latencies, memory := ours.p50 != nil, ours.bytes != nil
	fmt.Fprint(table, "\trate/s\tdb µs\tclient µs\tWAL B\t")
	if latencies {
		fmt.Fprint(table, "p50 ms\tp99 ms\t")
	}
	if memory {
		fmt.Fprint(table, "memory B\t")
	}
	fmt.Fprintf(table, "ours, pair by pair\t\n")
	for _, r := range results {
		fmt.Fprintf(table, "%s\t%.0f\t%.1f\t%.1f\t%.0f\t", r.system, pairs.Median(r.rates), pairs.Median(r.db), pairs.Median(r.client), pairs.Median(r.wal))
		if latencies {
			fmt.Fprintf(table, "%.2f\t%.2f\t", pairs.Median(r.p50), pairs.Median(r.p99))
		}
		if memory {
			fmt.Fprintf(table, "%.0f\t", pairs.Median(r.bytes))
		}
		switch {
		case r == ours:
			fmt.Fprint(table, "\t\n")
		case latencies:
			fmt.Fprintf(table, "%s of its p50\t\n", pairs.Spread(pairs.Of(ours.p50, r.p50)))
		default:
			fmt.Fprintf(table, "%s of its rate\t\n", pairs.Spread(pairs.Of(ours.rates, r.rates)))
		}
	}
	table.Flush()
	fmt.Fprintf(out, "  the host itself: %.0f%% of its fastest, %.0f%% at least\n", 100*pairs.Median(host), 100*slices.Min(host))
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
