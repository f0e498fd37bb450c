package gen

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/testdata/golden/none/sweep"
	"github.com/flowc-dev/flowc/testdata/golden/shop"
	"github.com/flowc-dev/flowc/testdata/golden/shop/processorder"
	"github.com/flowc-dev/flowc/testdata/golden/shop/sendreceipt"
	"github.com/flowc-dev/flowc/testdata/golden/skips"
	"github.com/flowc-dev/flowc/testdata/golden/skips/review"
)

// work has a service do the task of a step.
func work(t *testing.T, s handler.Service, step string, v handler.Values) (json.RawMessage, error) {
	t.Helper()
	for _, h := range s.Handlers() {
		if h.Step() == step {
			return h.Work(context.Background(), v)
		}
	}
	require.Fail(t, "no handler", step)
	return nil, nil
}

func raw(s string) json.RawMessage { return json.RawMessage(s) }

// shopHandlers give back what they take, so that a test sees it.
type shopHandlers struct{ notified *shop.NotifyInput }

func (shopHandlers) Validate(_ context.Context, in shop.Order) (shop.Checked, error) {
	return shop.Checked{NotifyByMail: in.ID == "mail"}, nil
}
func (shopHandlers) Lines(_ context.Context, in shop.Checked) ([]shop.Line, error) {
	return []shop.Line{{SKU: "a"}, {SKU: "b"}}, nil
}
func (shopHandlers) Charge(context.Context, shop.Checked) (shop.Receipt, error) {
	return shop.Receipt{}, errors.New("no money")
}
func (shopHandlers) Pack(_ context.Context, item shop.Line) (shop.Parcel, error) {
	return shop.Parcel{ID: item.SKU}, nil
}
func (shopHandlers) Ship(_ context.Context, in shop.ShipInput) (shop.Shipment, error) {
	id := in.Input.ID + "/" + in.Charge.ID
	for _, p := range in.Pack {
		id += "/" + p.ID
	}
	return shop.Shipment{ID: id}, nil
}
func (h shopHandlers) Notify(_ context.Context, in shop.NotifyInput) error {
	*h.notified = in
	return nil
}

// TestServedFlow works tasks as the database hands them out.
func TestServedFlow(t *testing.T) {
	t.Parallel()
	h := shopHandlers{notified: new(shop.NotifyInput)}
	s := processorder.Serve(h)
	require.Equal(t, "process_order", s.Definition().Slug)

	out, err := work(t, s, "validate", handler.Values{Input: raw(`{"id":"mail"}`)})
	require.NoError(t, err)
	require.JSONEq(t, `{"notify_by_mail":true}`, string(out))

	out, err = work(t, s, "pack", handler.Values{Item: raw(`{"SKU":"x"}`)})
	require.NoError(t, err)
	require.JSONEq(t, `{"ID":"x"}`, string(out))

	out, err = work(t, s, "ship", handler.Values{
		Input:   raw(`{"id":"o1"}`),
		Outputs: raw(`{"charge":{"ID":"c1"},"pack":[{"ID":"p1"},{"ID":"p2"}]}`),
	})
	require.NoError(t, err)
	require.JSONEq(t, `{"ID":"o1/c1/p1/p2"}`, string(out))

	out, err = work(t, s, "notify", handler.Values{Outputs: raw(`{"validate":{"notify_by_mail":true},"ship":{"ID":"s"}}`)})
	require.NoError(t, err)
	require.Equal(t, "null", string(out))
	require.Equal(t, shop.NotifyInput{Validate: shop.Checked{NotifyByMail: true}, Ship: shop.Shipment{ID: "s"}}, *h.notified)

	_, err = work(t, s, "charge", handler.Values{Outputs: raw(`{"validate":{}}`)})
	require.EqualError(t, err, "no money")

	needs := map[string]bool{}
	for _, handler := range s.Handlers() {
		needs[handler.Step()] = handler.NeedsInput()
	}
	require.Equal(t, map[string]bool{
		"validate": true, "lines": false, "charge": false, "pack": false, "ship": true, "notify": false,
	}, needs)

	require.Equal(t, "other", processorder.ServeAs("other", h).Definition().Slug)
	require.Len(t, processorder.Serve(h, handler.Without("charge")).Handlers(), 5)
}

// reviewHandlers keep what Read and Alarm take.
type reviewHandlers struct {
	review.Handlers
	read  *skips.ReadInput
	alarm **skips.Verdict
}

func (h reviewHandlers) Read(_ context.Context, in skips.ReadInput) (skips.Verdict, error) {
	*h.read = in
	return skips.Verdict{}, nil
}

func (h reviewHandlers) Alarm(_ context.Context, in *skips.Verdict) error {
	*h.alarm = in
	return nil
}

// TestServedSkips works tasks behind steps that were skipped.
func TestServedSkips(t *testing.T) {
	t.Parallel()
	h := reviewHandlers{read: new(skips.ReadInput), alarm: new(*skips.Verdict)}
	s := review.Serve(h)
	_, err := work(t, s, "read", handler.Values{Input: raw(`{"kind":"pdf"}`), Outputs: raw(`{"spell":[]}`)})
	require.NoError(t, err)
	require.Equal(t, skips.ReadInput{Document: skips.Document{Kind: "pdf"}, Spell: []skips.Finding{}}, *h.read)

	_, err = work(t, s, "alarm", handler.Values{Outputs: raw(`{"scan":{"Bad":true}}`)})
	require.NoError(t, err)
	require.Equal(t, &skips.Verdict{Bad: true}, *h.alarm)
}

// TestServedJob works the one task of a job.
func TestServedJob(t *testing.T) {
	t.Parallel()
	var to string
	s := sendreceipt.Serve(func(_ context.Context, in shop.ReceiptMail) error { to = in.To; return nil })
	_, err := work(t, s, "send_receipt", handler.Values{Input: raw(`{"To":"me"}`)})
	require.NoError(t, err)
	require.Equal(t, "me", to)
}

type sweepHandlers struct{}

func (sweepHandlers) List(context.Context) ([]string, error)      { return []string{"x"}, nil }
func (sweepHandlers) Remove(_ context.Context, item string) error { return errors.New(item) }
func (sweepHandlers) Report(context.Context) error                { return nil }

// TestServedNothing works steps that take or give nothing.
func TestServedNothing(t *testing.T) {
	t.Parallel()
	s := sweep.Serve(sweepHandlers{})
	out, err := work(t, s, "list", handler.Values{Input: raw(`{}`)})
	require.NoError(t, err)
	require.JSONEq(t, `["x"]`, string(out))
	_, err = work(t, s, "remove", handler.Values{Item: raw(`"y"`)})
	require.EqualError(t, err, "y")
	out, err = work(t, s, "report", handler.Values{})
	require.NoError(t, err)
	require.Equal(t, "null", string(out))
}
