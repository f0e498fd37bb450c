package ops

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/internal/pgcall"
	"github.com/flowc-dev/flowc/runtime/internal/valid"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// ErrGateNotFound says that no step of the flows in the database has the gate.
var ErrGateNotFound = errors.New("gate not found: no step in the database has it")

// GateLimits are the limits of a gate, or of each of its keys.
type GateLimits struct {
	// Concurrency is how many tasks may be in flight, or runs in progress, at once, Rate how
	// many attempts may begin. Zero is no limit.
	Concurrency int       `json:"concurrency,omitzero"`
	Rate        spec.Rate `json:"rate,omitzero"`
}

// String returns the limits in words, as [spec.Limits] does.
func (l GateLimits) String() string {
	return spec.Limits{Concurrency: l.Concurrency, Rate: l.Rate}.String()
}

// A Gate limits the tasks of some steps, see [spec.Step], or the runs of a flow, see
// [spec.Flow]: what ListGates returns is a gate with one of its keys.
type Gate struct {
	// Name is that of the gate; a step that names none has its own: flow.step. That of a
	// flow's runs is flow.run.
	Name string `json:"name"`
	// Steps are those that have the gate, as flow.step; or flow.run.
	Steps []string `json:"steps"`
	// Key is the key of the tasks that are counted here, empty for those that have none.
	Key string `json:"key"`
	// Active reports whether there are tasks: a gate without any is listed once, with no
	// key.
	Active bool `json:"active"`
	// InFlight is how many tasks workers have in flight, those included that were cancelled
	// and whose handlers still run; or how many runs are in progress.
	InFlight int `json:"in_flight"`
	// Waiting is how many tasks are in the queue, of each step at most 10,000, and OldestAt
	// when the first of them was queued; or the runs in line, and when the first was due.
	Waiting  int       `json:"waiting"`
	OldestAt time.Time `json:"oldest_at,omitzero"`
	// Limits are those that count now, Declared those of the definition; they differ while
	// they are Overridden, see [SetGate].
	Limits     GateLimits `json:"limits"`
	Declared   GateLimits `json:"declared"`
	Overridden bool       `json:"overridden"`
	// Tokens is how many attempts may begin at once now, as far as Rate says.
	Tokens float64 `json:"tokens,omitzero"`
	// HeldUntil is when attempts may begin again, see [HoldGate].
	HeldUntil time.Time `json:"held_until,omitzero"`
	// Shard is the database of the gate, if there are several.
	Shard string `json:"shard,omitempty"`
}

// A GateFilter says which gates [ListGates] returns.
type GateFilter struct {
	// Flow limits it to gates of steps of this flow. Empty means any.
	Flow string
	// AfterGate and AfterKey continue behind a gate with a key: the last one of the page
	// before.
	AfterGate, AfterKey string
	// Limit is how many it returns at most, up to 1000. Zero means 100.
	Limit int
}

// A GateKeeper is a [runtime.Backend] that lists gates and changes them.
type GateKeeper interface {
	// ListGates is called with a valid filter that has a limit.
	ListGates(ctx context.Context, filter GateFilter) ([]Gate, error)
	// SetGate and HoldGate return [ErrGateNotFound] if there is no such gate. HoldGate is
	// called with nil for all keys.
	SetGate(ctx context.Context, name string, limits GateLimits) error
	HoldGate(ctx context.Context, name string, key *string, d time.Duration) error
}

// ListGates returns gates with their keys, sorted by names and keys.
//
// Errors: [runtime.ErrInvalidOption].
func ListGates(ctx context.Context, db runtime.DB, filter GateFilter) ([]Gate, error) {
	if filter.Limit == 0 {
		filter.Limit = 100
	}
	if filter.Limit < 1 || filter.Limit > 1000 {
		return nil, valid.Option("the limit of ListGates is %d, it must be 1 to 1000", filter.Limit)
	}
	if err := errors.Join(valid.Text("a slug", filter.Flow), valid.Text("a gate", filter.AfterGate), valid.Text("a key", filter.AfterKey)); err != nil {
		return nil, err
	}
	if b, ok := backendOf[GateKeeper](db); ok {
		return b.ListGates(ctx, filter)
	}
	gates, err := pgcall.Engine(ctx, db, scanGate, `
		SELECT gate, steps, key, in_flight, concurrency, tokens, rate_tokens, rate_seconds, burst, waiting, oldest_at, held_until, overridden, declared::text
		FROM flowc.list_gates(nullif($1, ''), nullif($2, ''), $3, $4)`, filter.Flow, filter.AfterGate, filter.AfterKey, filter.Limit)
	if err != nil {
		return nil, fmt.Errorf("flowc: listing gates: %w", err)
	}
	return gates, nil
}

func scanGate(row pgx.CollectableRow) (g Gate, err error) {
	var key *string
	var concurrency, tokens, seconds, burst *int
	var left *float64
	var oldest, held *time.Time
	var declared string
	err = row.Scan(&g.Name, &g.Steps, &key, &g.InFlight, &concurrency, &left, &tokens, &seconds, &burst, &g.Waiting, &oldest, &held, &g.Overridden, &declared)
	if err != nil {
		return g, err
	}
	g.Key, g.Active, g.Tokens = pgcall.OrZero(key), key != nil, pgcall.OrZero(left)
	g.OldestAt, g.HeldUntil = pgcall.OrZero(oldest), pgcall.OrZero(held)
	g.Limits = GateLimits{Concurrency: pgcall.OrZero(concurrency), Rate: rateOf(pgcall.OrZero(tokens), pgcall.OrZero(seconds), pgcall.OrZero(burst))}
	var said struct {
		Concurrency int
		Rate        struct{ Tokens, Seconds, Burst int }
	}
	if err := json.Unmarshal([]byte(declared), &said); err != nil {
		return g, fmt.Errorf("reading what gate %s declares: %w", g.Name, err)
	}
	g.Declared = GateLimits{Concurrency: said.Concurrency, Rate: rateOf(said.Rate.Tokens, said.Rate.Seconds, said.Rate.Burst)}
	return g, nil
}

// rateOf returns a rate with its burst, the zero one without tokens.
func rateOf(tokens, seconds, burst int) spec.Rate {
	if tokens == 0 {
		return spec.Rate{}
	}
	return spec.Rate{Tokens: tokens, Per: time.Duration(seconds) * time.Second, Burst: burst}.WithBurst()
}

// SetGate overrides the limits of a gate, with all its keys, until an upsert changes what the
// definition declares. Limits that are zero stay as declared; if all are, the override ends.
// What is in flight already goes on if there is room for less. The gate of a flow's runs has no
// rate.
//
// Errors: [runtime.ErrInvalidOption]; [ErrGateNotFound].
func SetGate(ctx context.Context, db runtime.DB, name string, limits GateLimits) error {
	if err := valid.Text("a gate", name); err != nil {
		return err
	}
	r := limits.Rate
	switch {
	case limits.Concurrency < 0 || limits.Concurrency > math.MaxInt32:
		return valid.Option("the concurrency of a gate is %d, it must be at least 1, or 0 to leave it as declared", limits.Concurrency)
	case r != (spec.Rate{}) && (r.Tokens < 1 || r.Tokens > math.MaxInt32 || r.Burst < 0 || r.Burst > math.MaxInt32):
		return valid.Option("the rate of a gate has %d tokens and a burst of %d, it must have at least one token", r.Tokens, r.Burst)
	case r != (spec.Rate{}) && (r.Per < time.Second || r.Per%time.Second != 0 || r.Per/time.Second > math.MaxInt32):
		return valid.Option("the rate of a gate is per %s, it must be whole seconds", r.Per)
	}
	if b, ok := backendOf[GateKeeper](db); ok {
		return b.SetGate(ctx, name, limits)
	}
	r = r.WithBurst()
	found, _, err := pgcall.EngineOne(ctx, db, pgx.RowTo[bool], `SELECT flowc.set_gate($1, nullif($2::int, 0), nullif($3::int, 0), nullif($4::int, 0), nullif($5::int, 0))`,
		name, limits.Concurrency, r.Tokens, int(r.Per/time.Second), r.Burst)
	return gateError("setting", name, found, err)
}

// HoldGate has no attempt begin at a gate for a time from now on: with nil as the key of no
// task, else of none with that key. What is in flight goes on. With 0 it ends a hold that is
// there.
//
// Errors: [runtime.ErrInvalidOption]; [ErrGateNotFound].
func HoldGate(ctx context.Context, db runtime.DB, name string, key *string, d time.Duration) error {
	if err := errors.Join(valid.Text("a gate", name), valid.Text("a key", pgcall.OrZero(key))); err != nil {
		return err
	}
	if d < 0 || d > math.MaxInt32*time.Second {
		return valid.Option("a gate cannot be held for %s, but for 0 to %s", d, math.MaxInt32*time.Second)
	}
	if b, ok := backendOf[GateKeeper](db); ok {
		return b.HoldGate(ctx, name, key, d)
	}
	found, _, err := pgcall.EngineOne(ctx, db, pgx.RowTo[bool], `SELECT flowc.hold_gate($1, $2, $3)`, name, key, d.Seconds())
	return gateError("holding", name, found, err)
}

func gateError(doing, name string, found bool, err error) error {
	if err == nil && !found {
		err = ErrGateNotFound
	}
	if err != nil {
		return fmt.Errorf("flowc: %s gate %s: %w", doing, name, err)
	}
	return nil
}
