package shards

import (
	"cmp"
	"context"
	"time"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/ops"
)

var (
	_ runtime.Signaller = backend{}
	_ ops.WaitLister    = backend{}
)

// Signal answers a step on the shard of its run.
func (b backend) Signal(ctx context.Context, s runtime.SignalRequest) (runtime.Signalled, error) {
	db, err := b.DBOf(ctx, s.RunID)
	if err != nil {
		return "", err
	}
	if s.Failure != "" {
		return runtime.FailWait(ctx, db, s.RunID, s.Step, s.Failure, runtime.WithSender(s.Sender))
	}
	return runtime.Signal(ctx, db, s.RunID, s.Step, s.Answer, runtime.WithSender(s.Sender))
}

// SignalBy is refused: the runs that wait with a key may be on any shard.
func (b backend) SignalBy(context.Context, runtime.KeyedSignal) (bool, error) {
	return false, runtime.ErrNeedsEngine
}

// ListWaiting merges pages, as ListRuns does.
func (b backend) ListWaiting(ctx context.Context, filter runtime.WaitingFilter) ([]runtime.Waiting[handler.Values], error) {
	replies, err := query(ctx, b, "listing the steps that wait", func(ctx context.Context, db runtime.DB) ([]runtime.Waiting[handler.Values], error) {
		return runtime.ListWaiting(ctx, db, filter)
	})
	return merge(replies, func(*runtime.Waiting[handler.Values], string) {}, func(a, b runtime.Waiting[handler.Values]) int {
		return cmp.Or(compareExpiry(a.Until, b.Until), cmp.Compare(a.RunID, b.RunID), cmp.Compare(a.Step, b.Step))
	}, filter.Limit), err
}

// compareExpiry compares times, of which the zero time is never.
func compareExpiry(a, b time.Time) int {
	switch {
	case a.IsZero() && b.IsZero():
		return 0
	case a.IsZero():
		return 1
	case b.IsZero():
		return -1
	}
	return a.Compare(b)
}

// CountWaits adds up the waits of each step.
func (b backend) CountWaits(ctx context.Context) ([]ops.WaitCount, error) {
	replies, err := query(ctx, b, "counting the steps that wait", ops.CountWaits)
	counts := merge(replies, func(*ops.WaitCount, string) {}, func(a, b ops.WaitCount) int {
		return cmp.Or(cmp.Compare(a.Flow, b.Flow), cmp.Compare(a.Step, b.Step))
	}, 0)
	var sums []ops.WaitCount
	for _, c := range counts {
		if n := len(sums); n > 0 && sums[n-1].Flow == c.Flow && sums[n-1].Step == c.Step {
			sum := &sums[n-1]
			sum.Waiting, sum.Endless = sum.Waiting+c.Waiting, sum.Endless+c.Endless
			if c.Oldest.Before(sum.Oldest) {
				sum.Oldest = c.Oldest
			}
			if compareExpiry(c.OldestEndless, sum.OldestEndless) < 0 {
				sum.OldestEndless = c.OldestEndless
			}
			continue
		}
		sums = append(sums, c)
	}
	return sums, err
}

// ListRequests merges those of all shards.
func (b backend) ListRequests(ctx context.Context, before time.Time, limit int) ([]ops.Request, error) {
	replies, err := query(ctx, b, "listing requests", func(ctx context.Context, db runtime.DB) ([]ops.Request, error) {
		return ops.ListRequests(ctx, db, before, limit)
	})
	return merge(replies, func(r *ops.Request, shard string) { r.Shard = shard },
		func(a, b ops.Request) int { return a.At.Compare(b.At) }, limit), err
}
