package handler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/flowc-dev/flowc/runtime/internal/carried"
	"github.com/flowc-dev/flowc/runtime/internal/jsontext"
)

// MaxKept is the longest value that [Keep] keeps, as JSON in bytes.
const MaxKept = 64 << 10

// Keep keeps a value for the next attempt at a handler's task, which finds it with [Kept]:
// how far a long job has come, or the id of a payment that has been begun. It is stored, as
// JSON of at most [MaxKept] bytes, together with the result of this attempt, if that fails,
// is snoozed or is released, in place of what was kept before. If the worker dies before,
// it is lost, and the next attempt finds what was kept last. When the task completes, it is
// dropped.
//
// Errors: ctx is no handler's context; the value cannot be stored, or is too long; the
// database has no engine.
func Keep(ctx context.Context, v any) error {
	kept, ok := ctx.Value(carried.Key{}).(*carried.Value)
	if !ok {
		return errors.New("flowc: Keep: this is no handler's context")
	}
	raw, err := jsontext.Encode(v)
	switch {
	case err != nil:
		return fmt.Errorf("flowc: Keep: %w", err)
	case len(raw) > MaxKept:
		return fmt.Errorf("flowc: Keep: the value has %d bytes as JSON, the limit is %d", len(raw), MaxKept)
	}
	return kept.Leave(raw)
}

// Kept returns what [Keep] kept last, in this attempt at a handler's task or in one before.
// ok is false if nothing was kept, or if it does not fit the type.
func Kept[T any](ctx context.Context) (v T, ok bool) {
	kept, found := ctx.Value(carried.Key{}).(*carried.Value)
	if !found {
		return v, false
	}
	raw := kept.Latest()
	if raw == nil || json.Unmarshal(raw, &v) != nil {
		return *new(T), false
	}
	return v, true
}

// WithKept returns a context in which [Kept] finds a value, and [Keep] keeps others. Tests of
// handlers may call it; v may be nil, if nothing has been kept. It panics if the value
// cannot be encoded.
func WithKept(ctx context.Context, v any) context.Context {
	kept := new(carried.Value)
	if v != nil {
		raw, err := jsontext.Encode(v)
		if err != nil {
			panic(fmt.Sprintf("flowc: WithKept: %v", err))
		}
		kept.Begin(raw, nil)
	}
	return context.WithValue(ctx, carried.Key{}, kept)
}
