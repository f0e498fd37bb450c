package shards_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/flowtest"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/internal/conformance"
	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
	"github.com/flowc-dev/flowc/runtime/shards"
)

// engine is two databases: what goes to one shard alone, or to the wrong one, shows with two as
// it does with more.
var engine = conformance.Engine{
	Open: func(t *testing.T, services ...handler.Service) (runtime.DB, error) {
		pools := map[string]*pgxpool.Pool{"a": dbtest.Pool(t), "b": dbtest.Pool(t)}
		if err := shards.Init(t.Context(), pools); err != nil {
			return nil, err
		}
		db, err := shards.Open(t.Context(), pools)
		if err != nil {
			return nil, err
		}
		if err := runtime.UpsertServed(t.Context(), db, services...); err != nil {
			return nil, err
		}
		w, err := shards.NewWorker(db, quiet, services...)
		if err != nil {
			return nil, err
		}
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- w.Run(ctx) }()
		t.Cleanup(func() {
			stop()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
		return db, nil
	},
	Declines: withGates(map[string]conformance.Difference{
		"start in the user's transaction": {Why: "a transaction is one of one shard, see DB.In", Says: "the engine has no transactions of the user's"},
		"answer by key":                   {Why: "a key may be on any shard"},
		"answers by key that are kept":    {Why: "a key may be on any shard"},
		"key that is none":                {Why: "a key may be on any shard"},
		"list workers":                    {Why: "a worker is one of each shard", Says: "list workers did not do its part"},
	}),
}

// withGates adds the rows of limits, which are of one shard.
func withGates(declines map[string]conformance.Difference) map[string]conformance.Difference {
	for _, row := range conformance.OfGates {
		declines[row] = conformance.Difference{Why: "each shard would have limits of its own"}
	}
	return declines
}

func init() {
	for _, row := range conformance.OfUnique {
		engine.Declines[row] = conformance.Difference{Why: "runs would be unique on each shard only, see DB.On"}
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	conformance.Test(t, engine)
}

// Whatever a flow does inline, it does on shards.
func TestRandomFlows(t *testing.T) {
	t.Parallel()
	inline := conformance.Engine{Open: func(_ *testing.T, services ...handler.Service) (runtime.DB, error) {
		return flowtest.Inline(services...), nil
	}}
	conformance.TestRandom(t, 60, inline, engine)
}
