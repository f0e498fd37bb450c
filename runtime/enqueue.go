package runtime

import (
	"context"
	"encoding/json"
	"time"
)

// Enqueue starts a run of a job, which is a flow of one step. It does the same as
// [StartFlow].
func Enqueue(ctx context.Context, db DB, slug string, input any, opts ...StartOption) (*Run[json.RawMessage], error) {
	return StartFlow(ctx, db, slug, input, opts...)
}

// EnqueueIn starts a job after a delay, see [WithDelay].
func EnqueueIn(ctx context.Context, db DB, slug string, input any, delay time.Duration, opts ...StartOption) (*Run[json.RawMessage], error) {
	return StartFlow(ctx, db, slug, input, withOption(opts, WithDelay(delay))...)
}

// EnqueueAt starts a job at a time, see [WithStartAt].
func EnqueueAt(ctx context.Context, db DB, slug string, input any, at time.Time, opts ...StartOption) (*Run[json.RawMessage], error) {
	return StartFlow(ctx, db, slug, input, withOption(opts, WithStartAt(at))...)
}

// withOption returns opts and one more, in a slice of its own.
func withOption(opts []StartOption, opt StartOption) []StartOption {
	return append(opts[:len(opts):len(opts)], opt)
}
