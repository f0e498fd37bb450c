package runtime

import (
	"context"
	"sync/atomic"
)

// A Tracer observes every start of runs and every wait for one. Package otelflow has one
// that records spans.
type Tracer interface {
	// Start is called before runs of a flow are started, with their ids. The call
	// continues with the context that it returns, the runs carry the headers, and end is
	// called when the call has ended.
	Start(ctx context.Context, flow string, ids []string) (_ context.Context, headers map[string]string, end func(error))
	// Wait is called before a run is waited for, and end when the wait has ended.
	Wait(ctx context.Context, flow, id string) (_ context.Context, end func(error))
}

var tracer atomic.Pointer[Tracer]

// SetTracer sets the tracer of the program; nil is none. It is called once, before runs
// are started.
func SetTracer(t Tracer) {
	if t == nil {
		tracer.Store(nil)
		return
	}
	tracer.Store(&t)
}

// traceStart reports runs that are about to start to the tracer, if there is one, and
// returns the headers that they carry.
func traceStart(ctx context.Context, flow string, ids []string) (_ context.Context, headers map[string]string, end func(error)) {
	if t := tracer.Load(); t != nil {
		return (*t).Start(ctx, flow, ids)
	}
	return ctx, nil, func(error) {}
}

func traceWait(ctx context.Context, flow, id string) (_ context.Context, end func(error)) {
	if t := tracer.Load(); t != nil {
		return (*t).Wait(ctx, flow, id)
	}
	return ctx, func(error) {}
}
