package gen

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/flowc-dev/flowc/runtime/worker"
	"github.com/flowc-dev/flowc/testdata/golden/embeds"
	"github.com/flowc-dev/flowc/testdata/golden/embeds/weigh"
	"github.com/flowc-dev/flowc/testdata/golden/none/count"
	"github.com/flowc-dev/flowc/testdata/golden/skips"
	"github.com/flowc-dev/flowc/testdata/golden/skips/prunejob"
	"github.com/flowc-dev/flowc/testdata/golden/skips/review"
)

// reviewers do the whole of a review.
type reviewers struct{}

func (reviewers) Scan(_ context.Context, in skips.Document) (skips.Verdict, error) {
	return skips.Verdict{Bad: in.Language == "bad"}, nil
}
func (reviewers) Translate(context.Context, skips.Document) ([]skips.Page, error) {
	return []skips.Page{{Text: "one"}, {Text: "two"}}, nil
}
func (reviewers) Spell(_ context.Context, item skips.Page) (skips.Finding, error) {
	return skips.Finding{Word: item.Text + "!"}, nil
}
func (reviewers) Read(_ context.Context, in skips.ReadInput) (skips.Verdict, error) {
	if in.Document.Language == "xx" {
		return skips.Verdict{}, handler.Permanent(context.Canceled) // exhausted, so it cascades
	}
	return skips.Verdict{Bad: in.Scan != nil && in.Scan.Bad || len(in.Translate) != len(in.Spell)}, nil
}
func (reviewers) Sign(_ context.Context, in skips.Verdict) (skips.Signature, error) {
	if in.Bad {
		return skips.Signature{By: "nobody"}, nil
	}
	return skips.Signature{By: "me"}, nil
}
func (reviewers) Alarm(context.Context, *skips.Verdict) error { return nil }
func (reviewers) Archive(_ context.Context, in skips.Document) (json.RawMessage, error) {
	return json.RawMessage(`{"stored":"` + in.Kind + `"}`), nil
}

// scales weigh parcels.
type scales struct{}

func (scales) Scale(_ context.Context, in int) (embeds.Weight, error) {
	if in < 0 {
		return embeds.Weight{}, handler.Permanent(context.Canceled)
	}
	return embeds.Grams(in), nil
}
func (scales) Charge(_ context.Context, in int) (embeds.Receipt, error) {
	return embeds.Receipt{Cents: in * 100, Currency: "USD"}, nil
}
func (scales) Now(_ context.Context, in int) (time.Time, error) {
	return time.Unix(int64(in), 0).UTC(), nil
}
func (scales) Print(_ context.Context, in embeds.Parcel) (embeds.Label, error) {
	if in.Weight == nil {
		return embeds.Label{Text: fmt.Sprint(in.Receipt, " of air")}, nil
	}
	return embeds.Label{Text: fmt.Sprint(in.Receipt, " ", in.Grams())}, nil
}
func (scales) Stamp(_ context.Context, in embeds.Dated) (string, error) {
	return fmt.Sprint(in.Unix(), " ", in.Text), nil
}

// TestRunGenerated declares nothing and fakes nothing: generated packages start
// runs in a database, a worker does them, and conditions decide there.
func TestRunGenerated(t *testing.T) {
	t.Parallel()
	pool := database(t)
	ctx, stop := context.WithTimeout(t.Context(), 5*time.Minute)
	defer stop()

	// A delay of a minute is too long for a test; it changes in place.
	options := review.Definition()
	options.Steps = append([]spec.Step{}, options.Steps...)
	for i := range options.Steps {
		options.Steps[i].StartDelay = 0
	}
	_, err := review.UpsertReview(ctx, pool)
	require.NoError(t, err)
	_, err = runtime.UpsertFlow(ctx, pool, options)
	require.NoError(t, err)
	_, err = prunejob.UpsertPrune(ctx, pool)
	require.NoError(t, err)
	_, err = count.UpsertCount(ctx, pool)
	require.NoError(t, err)
	_, err = weigh.UpsertWeigh(ctx, pool)
	require.NoError(t, err)

	w, err := worker.New(pool, worker.Config{Concurrency: 4, Logger: slog.New(slog.DiscardHandler)},
		review.Serve(reviewers{}),
		prunejob.Serve(func(_ context.Context, in skips.Prune) (*skips.Pruned, error) { return &skips.Pruned{Files: 3}, nil }),
		count.Serve(func(context.Context) (int, error) { return 42, nil }),
		weigh.Serve(scales{}),
	)
	require.NoError(t, err)
	done := make(chan error, 1)
	working, finish := context.WithCancel(ctx)
	go func() { done <- w.Run(working) }()
	defer func() {
		finish()
		require.NoError(t, <-done)
	}()

	archived := json.RawMessage(`{"stored": "pdf"}`)
	for name, c := range map[string]struct {
		in   skips.Document
		want skips.Report
	}{
		"all": {
			skips.Document{Kind: "pdf", Scan: true, Language: "de"},
			skips.Report{Scan: &skips.Verdict{}, Signature: &skips.Signature{By: "me"}},
		},
		"bad": {
			skips.Document{Kind: "pdf", Scan: true, Language: "bad"},
			skips.Report{Scan: &skips.Verdict{Bad: true}, Signature: &skips.Signature{By: "nobody"}},
		},
		"not translated": {
			skips.Document{Kind: "pdf", Scan: true, Language: "en"},
			skips.Report{Scan: &skips.Verdict{}, Signature: &skips.Signature{By: "me"}},
		},
		"not scanned": {
			skips.Document{Kind: "pdf", Language: "en"},
			skips.Report{Signature: &skips.Signature{By: "me"}},
		},
		"cascade": {
			skips.Document{Kind: "pdf", Scan: true, Language: "xx"},
			skips.Report{Scan: &skips.Verdict{}},
		},
	} {
		got, err := review.StartReviewSync(ctx, pool, c.in)
		require.NoError(t, err, name)
		c.want.Input = c.in
		require.JSONEq(t, string(archived), string(got.Archive), name)
		got.Archive = nil
		require.Equal(t, c.want, got, name)
	}

	// An unmet condition that fails the run.
	_, err = review.StartReviewSync(ctx, pool, skips.Document{Size: 1})
	var failed *runtime.RunFailedError
	require.ErrorAs(t, err, &failed)

	pruned, err := prunejob.EnqueuePrune(ctx, pool, skips.Prune{})
	require.NoError(t, err)
	out, err := pruned.Wait(ctx)
	require.NoError(t, err)
	require.Equal(t, &skips.Pruned{Files: 3}, out)
	dry, err := prunejob.EnqueuePruneIn(ctx, pool, skips.Prune{DryRun: true}, 0)
	require.NoError(t, err)
	out, err = dry.Wait(ctx)
	require.NoError(t, err)
	require.Nil(t, out)

	counts, err := count.EnqueueManyCount(ctx, pool, 3)
	require.NoError(t, err)
	require.Len(t, counts, 3)
	for _, run := range counts {
		n, err := run.Wait(ctx)
		require.NoError(t, err)
		require.Equal(t, 42, n)
	}

	// An embedded type reads what it gave, and leaves the rest alone.
	for in, label := range map[int]string{7: "{700 USD} 7", -7: "{-700 USD} of air"} {
		weighed, err := weigh.StartWeighSync(ctx, pool, in)
		require.NoError(t, err)
		require.Equal(t, embeds.Result{
			Receipt: embeds.Receipt{Cents: in * 100, Currency: "USD"},
			Label:   embeds.Label{Text: label},
			Stamp:   fmt.Sprint(in, " ", label),
		}, weighed)
	}
}
