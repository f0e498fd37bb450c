package handler

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
)

// A Middleware wraps handlers: it is called for each attempt, and calls next, which is the
// handler or the next middleware, with a context that it may change. The task says which
// flow, step and attempt it is.
//
// It may return another error than next did, and so make a failure permanent or delay the
// next attempt, but it cannot turn a failure into a success: if it returns nil, the last
// result of next counts. A middleware that does not call next has to return an error.
type Middleware func(ctx context.Context, task Task, next func(context.Context) error) error

// Use wraps all handlers of a service in middleware. The first is the outermost; that of a
// later Use is further inside. The middleware of a worker wraps all of it.
func Use(middleware ...Middleware) ServeOption {
	return serveOption(func(s *Service) {
		handlers := make([]Handler, len(s.handlers))
		for i, h := range s.handlers {
			h.around = slices.Concat(h.around, middleware)
			handlers[i] = h
		}
		s.handlers = handlers
	})
}

// Inside returns the handler wrapped in middleware, outside of what wraps it already. Workers
// call it.
func (h Handler) Inside(middleware ...Middleware) Handler {
	h.around = slices.Concat(middleware, h.around)
	return h
}

var errNextNotCalled = errors.New("flowc: a middleware returned nil although it did not call next: the step has no output")

// through runs one task inside of middleware.
func (h Handler) through(ctx context.Context, v Values, around []Middleware) (json.RawMessage, error) {
	if len(around) == 0 {
		return h.work(ctx, v)
	}
	task, _ := TaskFromContext(ctx)
	var output json.RawMessage
	last := Permanent(errNextNotCalled)
	err := around[0](ctx, task, func(ctx context.Context) error {
		output, last = h.through(ctx, v, around[1:])
		return last
	})
	if err == nil {
		err = last
	}
	if err != nil {
		return nil, err
	}
	return output, nil
}
