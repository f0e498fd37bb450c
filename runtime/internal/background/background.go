// Package background runs workers beside what their callers do.
package background

import "context"

// Start calls run in a goroutine. The returned function ends the context of run, waits for
// it, and returns its error; it may be called more than once.
func Start(ctx context.Context, run func(context.Context) error) (stop func() error) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	var err error
	go func() {
		defer close(ended)
		defer cancel()
		err = run(ctx)
	}()
	return func() error {
		cancel()
		<-ended
		return err
	}
}
