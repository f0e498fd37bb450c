package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"
	"text/tabwriter"
	"time"
)

// A cell is one comparison: some systems that do the same work.
type cell struct {
	name    string
	title   string
	unit    string
	systems []system
}

// A system does the work of a cell.
type system struct {
	name string
	// prepare makes what the work needs, in a database of its own that is kept
	// for all rounds. work does it once and says how many units that was, or
	// how long each took.
	prepare func(ctx context.Context, s *server) (work func(ctx context.Context) (sample, error), tidy func(), err error)
}

// A sample is what one round of work gave.
type sample struct {
	units     int
	latencies []time.Duration // where they are what matters
	took      time.Duration   // 0: as long as the call

	since, until *usage // nil: from the begin of the call to its end
}

// result is what a system needed, over all rounds.
type result struct {
	system    string
	unit      string
	rates     []float64 // units a second, a round each
	db        []float64 // µs of the server's processor a unit
	client    []float64 // µs of this process's
	wal       []float64 // bytes a unit
	latencies []time.Duration
}

// measure takes the rounds of all systems in turn.
func (c cell) measure(ctx context.Context, s *server, rounds int) ([]*result, error) {
	var works []func(context.Context) (sample, error)
	var results []*result
	for _, sys := range c.systems {
		work, tidy, err := sys.prepare(ctx, s)
		if err != nil {
			return nil, fmt.Errorf("preparing %s: %w", sys.name, err)
		}
		defer tidy()
		works = append(works, work)
		results = append(results, &result{system: sys.name, unit: c.unit})
	}
	for range rounds {
		for i, work := range works {
			if err := results[i].round(ctx, s, work); err != nil {
				return nil, fmt.Errorf("%s: %w", c.systems[i].name, err)
			}
		}
	}
	return results, nil
}

func (r *result) round(ctx context.Context, s *server, work func(context.Context) (sample, error)) error {
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
	r.rates = append(r.rates, n/took.Seconds())
	r.db = append(r.db, float64((after.db-before.db).Microseconds())/n)
	r.client = append(r.client, float64((after.client-before.client).Microseconds())/n)
	r.wal = append(r.wal, float64(after.wal-before.wal)/n)
	r.latencies = append(r.latencies, got.latencies...)
	return nil
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	if len(sorted) == 0 {
		return 0
	}
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// spread is how far the rounds are apart, as a part of their median.
func spread(values []float64) float64 {
	if m := median(values); m > 0 {
		return (slices.Max(values) - slices.Min(values)) / m
	}
	return 0
}

func percentile(latencies []time.Duration, p float64) time.Duration {
	sorted := slices.Sorted(slices.Values(latencies))
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(float64(len(sorted))*p), len(sorted)-1)]
}

func printCell(out io.Writer, results []*result) {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	latencies := len(results[0].latencies) > 0
	fmt.Fprint(table, "\trate/s\t±\tdb µs\tclient µs\tWAL B\t")
	if latencies {
		fmt.Fprint(table, "p50 ms\tp99 ms\t")
	}
	fmt.Fprintf(table, "ours is\t\n")
	ours := results[0]
	for _, r := range results {
		fmt.Fprintf(table, "%s\t%.0f\t%.0f%%\t%.1f\t%.1f\t%.0f\t", r.system, median(r.rates), 100*spread(r.rates), median(r.db), median(r.client), median(r.wal))
		if latencies {
			fmt.Fprintf(table, "%.2f\t%.2f\t", ms(percentile(r.latencies, 0.5)), ms(percentile(r.latencies, 0.99)))
		}
		switch {
		case r == ours:
			fmt.Fprint(table, "\t\n")
		case latencies:
			fmt.Fprintf(table, "%.2fx its p50\t\n", ms(percentile(ours.latencies, 0.5))/ms(percentile(r.latencies, 0.5)))
		default:
			fmt.Fprintf(table, "%.2fx as fast\t\n", median(ours.rates)/median(r.rates))
		}
	}
	table.Flush()
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
