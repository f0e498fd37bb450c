package temporalflow_test

import (
	"context"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/examples/orders/day"
	"github.com/flowc-dev/flowc/examples/orders/fulfil"
	"github.com/flowc-dev/flowc/examples/orders/shop"
	"github.com/flowc-dev/flowc/examples/orders/shop/processorder"
	"github.com/flowc-dev/flowc/examples/orders/shop/sendreceipt"
	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/flowtest"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/worker"
)

// An order's run, without what differs from run to run: ids and times.
type outcome struct {
	Order     string
	Status    runtime.RunStatus
	Result    json.RawMessage
	Output    json.RawMessage
	Failed    string
	Error     string
	Remaining int
	Steps     []stepOutcome
}

type stepOutcome struct {
	Step       string
	Status     runtime.StepStatus
	Output     json.RawMessage
	Attempts   int
	Error      string
	SkipReason string
}

// A day of orders ends on Temporal as it does on PostgreSQL.
func TestServerOrders(t *testing.T) {
	n := newNamespace(t)
	today, err := day.Today()
	require.NoError(t, err)
	var orders []shop.Order
	for _, o := range today.Orders {
		orders = append(orders, o.Order)
	}
	require.Len(t, orders, 25)

	pool := flowtest.Database(t)
	began := time.Now()
	want := trade(t, pool, today.Stock, orders, func(services []handler.Service) {
		w, err := worker.New(pool, worker.Config{Logger: quiet}, services...)
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- w.Run(ctx) }()
		t.Cleanup(func() { cancel(); require.NoError(t, <-ended) })
	})
	t.Logf("on PostgreSQL: %s", time.Since(began).Round(time.Millisecond))
	began = time.Now()
	got := trade(t, n.db, today.Stock, orders, func(services []handler.Service) { work(t, n.db, services...) })
	t.Logf("on Temporal: %s", time.Since(began).Round(time.Millisecond))
	wanted, err := json.MarshalIndent(want, "", " ")
	require.NoError(t, err)
	have, err := json.MarshalIndent(got, "", " ")
	require.NoError(t, err)
	require.Equal(t, string(wanted), string(have))
}

// trade runs the orders on a database, and returns how they ended.
func trade(t *testing.T, db runtime.DB, stock map[string]int, orders []shop.Order, work func([]handler.Service)) (all []outcome) {
	t.Helper()
	ctx := t.Context()
	handlers := &fulfil.Handlers{DB: db, Stock: stock, Terminal: &fulfil.Terminal{}}
	services := []handler.Service{processorder.Serve(handlers), sendreceipt.Serve(handlers.SendReceipt)}
	require.NoError(t, runtime.UpsertServed(ctx, db, services...))
	work(services)
	runs, err := processorder.StartManyProcessOrder(ctx, db, orders)
	require.NoError(t, err)
	for i, run := range runs {
		info := end(t, db, run)
		o := outcome{
			Order: orders[i].ID, Status: info.Status, Result: normal(t, info.Result), Output: normal(t, info.Output),
			Failed: info.Failed(), Error: info.Error, Remaining: info.RemainingSteps,
		}
		for _, s := range info.States {
			o.Steps = append(o.Steps, stepOutcome{s.Step, s.Status, normal(t, s.Output), s.Attempts, s.Error, s.SkipReason})
		}
		all = append(all, o)
	}
	mails := handlers.Receipts()
	require.NotEmpty(t, mails)
	require.Len(t, slices.Compact(slices.Sorted(slices.Values(mails))), len(mails))
	for _, id := range mails {
		run, err := sendreceipt.GetSendReceipt(ctx, db, id)
		require.NoError(t, err)
		require.Equal(t, runtime.RunCompleted, end(t, db, run).Status)
	}
	return all
}

// normal returns JSON with its members in the order of their names, as PostgreSQL may order
// them otherwise.
func normal(t *testing.T, raw json.RawMessage) json.RawMessage {
	t.Helper()
	if raw == nil {
		return nil
	}
	var v any
	require.NoError(t, json.Unmarshal(raw, &v))
	out, err := json.Marshal(v)
	require.NoError(t, err)
	return out
}
