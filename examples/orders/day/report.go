package day

import (
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/flowc-dev/flowc/runtime"
)

// report prints a line for each order, and the totals.
func report(out io.Writer, today Day, results []result, mailed int, took time.Duration) {
	fmt.Fprintln(out)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ORDER\tLINES\tSTATUS\tSTEPS\tATTEMPTS\tTIME\tRESULT")
	var shipped, rejected, parcels, attempts int
	for i, r := range results {
		lines := len(today.Orders[i].Order.Lines)
		steps, made := count(r.info)
		attempts += made
		what := ""
		var failed *runtime.RunFailedError
		if errors.As(r.err, &failed) {
			rejected++
			what = failed.Step + ": " + failed.Message
		} else {
			shipped++
			parcels += r.shipment.Parcels
			what = fmt.Sprintf("%s, %.1f kg", r.shipment.Tracking, float64(r.shipment.Weight)/1000)
		}
		fmt.Fprintf(table, "%s\t%d\t%s\t%s\t%d\t%s\t%s\n",
			today.Orders[i].Order.ID, lines, r.info.Status, steps, made, duration(r.info), what)
	}
	table.Flush()
	fmt.Fprintf(out, "\n%d orders in %.1f s: %d shipped in %d parcels, %d rejected; %d attempts in all, %d receipts mailed\n",
		len(results), took.Seconds(), shipped, parcels, rejected, attempts, mailed)
}

// count returns how many steps of a run are done, of how many, and how many attempts its
// tasks took.
func count(info *runtime.RunInfo) (steps string, attempts int) {
	done, skipped := 0, 0
	for _, s := range info.States {
		attempts += s.Attempts
		switch s.Status {
		case runtime.StepCompleted:
			done++
		case runtime.StepSkipped:
			skipped++
		}
	}
	steps = fmt.Sprintf("%d/%d", done, len(info.States))
	if skipped > 0 {
		steps += fmt.Sprintf(" (%d skipped)", skipped)
	}
	return steps, attempts
}

func duration(info *runtime.RunInfo) string {
	end := info.CompletedAt
	if end.IsZero() {
		end = info.FailedAt
	}
	return end.Sub(info.StartedAt).Round(time.Millisecond).String()
}
