package ops

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/internal/pgcall"
	"github.com/flowc-dev/flowc/runtime/internal/valid"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/jackc/pgx/v5"
)

// A FlowInfo is a flow in the database, with figures.
type FlowInfo struct {
	Slug string `json:"slug"`
	// Definition is the document that [spec.Flow.Payload] returns.
	Definition json.RawMessage `json:"definition"`
	CreatedAt  time.Time       `json:"created_at"`
	// Started counts the runs that started since the given time; Completed, Failed (which
	// includes cancelled ones) and Running count what became of them.
	Started   int `json:"started"`
	Completed int `json:"completed"`
	Failed    int `json:"failed"`
	Running   int `json:"running"`
	// MeanTime and P95Time are how long the completed ones took; 0 if there are none. Of
	// several databases, P95Time is the longest of theirs.
	MeanTime time.Duration `json:"mean_time"`
	P95Time  time.Duration `json:"p95_time"`
	// Waiting counts tasks that a worker could start now, Delayed those that wait for
	// their time, InFlight those that a worker of this project has.
	Waiting  int `json:"waiting"`
	Delayed  int `json:"delayed"`
	InFlight int `json:"in_flight"`
	// OldestWaiting is when the oldest waiting task was queued; zero if none is waiting.
	OldestWaiting time.Time `json:"oldest_waiting,omitzero"`
	// Workers is how many workers serve it now.
	Workers int `json:"workers"`
	// PausedAt is when it was paused; zero if it is not.
	PausedAt time.Time `json:"paused_at,omitzero"`
	// PausedBy is who paused it.
	PausedBy string `json:"paused_by,omitempty"`
	// PausedOn names the shards on which it is paused, if it is on some of several only: one
	// may have been down.
	PausedOn []string `json:"paused_on,omitempty"`
	// ReplacedBy is the newest version of a flow, if it is not this one: process_order_v2
	// of process_order. Empty if no other is newer.
	ReplacedBy string `json:"replaced_by,omitempty"`
}

// ListFlows returns all flows, sorted by slug, with the figures of runs that started since a
// time. It reads every such run: ask for a day rather than for all time.
//
// Errors: [runtime.ErrInvalidOption] for a time whose year does not have four digits.
func ListFlows(ctx context.Context, db runtime.DB, since time.Time) ([]FlowInfo, error) {
	if err := valid.Time("since", since); err != nil {
		return nil, err
	}
	if b, ok := backendOf[Lister](db); ok {
		return b.ListFlows(ctx, since)
	}
	flows, err := pgcall.Engine(ctx, db, scanFlow, `
		SELECT flow_slug, definition, created_at, started, completed, failed, running, mean_seconds, p95_seconds,
		       waiting, delayed, in_flight, oldest_waiting, workers, paused_at, paused_by
		FROM flowc.list_flows($1)`, since)
	if err != nil {
		return nil, fmt.Errorf("flowc: listing flows: %w", err)
	}
	slugs := make([]string, len(flows))
	for i, f := range flows {
		slugs[i] = f.Slug
	}
	newest := newestVersions(slugs)
	for i, f := range flows {
		if base, _ := spec.VersionOf(f.Slug); newest[base] != f.Slug {
			flows[i].ReplacedBy = newest[base]
		}
	}
	return flows, nil
}

func scanFlow(row pgx.CollectableRow) (FlowInfo, error) {
	var f FlowInfo
	var mean, p95 *float64
	var oldest, paused *time.Time
	var by *string
	err := row.Scan(&f.Slug, (*[]byte)(&f.Definition), &f.CreatedAt, &f.Started, &f.Completed, &f.Failed, &f.Running, &mean, &p95,
		&f.Waiting, &f.Delayed, &f.InFlight, &oldest, &f.Workers, &paused, &by)
	f.MeanTime = time.Duration(pgcall.OrZero(mean) * float64(time.Second))
	f.P95Time = time.Duration(pgcall.OrZero(p95) * float64(time.Second))
	f.OldestWaiting, f.PausedAt, f.PausedBy = pgcall.OrZero(oldest), pgcall.OrZero(paused), pgcall.OrZero(by)
	return f, err
}

// A ThroughputPoint counts runs in an interval that begins at From.
type ThroughputPoint struct {
	From      time.Time `json:"from"`
	Started   int       `json:"started"`
	Completed int       `json:"completed"`
	Failed    int       `json:"failed"`
}

// maxPoints is how many intervals Throughput returns at most.
const maxPoints = 10_000

// Throughput counts, for each interval from a time until now, the runs that started,
// completed and failed in it, of those that started since that time.
//
// Errors: [runtime.ErrInvalidOption] if the interval is less than a second, or there would
// be more than 10 000 of them.
func Throughput(ctx context.Context, db runtime.DB, since time.Time, stretch time.Duration) ([]ThroughputPoint, error) {
	if stretch < time.Second {
		return nil, valid.Option("the stretch of Throughput is %s, it must be at least a second", stretch)
	}
	if err := valid.Time("since", since); err != nil {
		return nil, err
	}
	if time.Since(since)/stretch > maxPoints {
		return nil, valid.Option("since %s there were more than %d stretches of %s", since.Format(time.RFC3339), maxPoints, stretch)
	}
	if b, ok := backendOf[Lister](db); ok {
		return b.Throughput(ctx, since, stretch)
	}
	points, err := pgcall.Engine(ctx, db, pgx.RowToStructByPos[ThroughputPoint],
		`SELECT from_time, started, completed, failed FROM flowc.throughput($1, $2::interval)`, since, stretch)
	if err != nil {
		return nil, fmt.Errorf("flowc: counting runs: %w", err)
	}
	return points, nil
}

// newestVersions returns the slugs of the newest versions, by the part of the slug that
// versions share.
func newestVersions(slugs []string) map[string]string {
	newest := map[string]string{}
	for _, slug := range slugs {
		base, n := spec.VersionOf(slug)
		if _, known := spec.VersionOf(newest[base]); newest[base] == "" || n > known {
			newest[base] = slug
		}
	}
	return newest
}
