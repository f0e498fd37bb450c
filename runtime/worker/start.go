package worker

import "context"

// Start runs the worker in the background. The returned function drains the worker,
// waits for that, and returns the error of [Worker.Run]; it may be called more than
// once. The end of ctx drains the worker, too.
//
//	stop := w.Start(ctx)
//	defer stop()
func (w *Worker) Start(ctx context.Context) (stop func() error) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	var err error
	go func() {
		defer close(ended)
		defer cancel()
		err = w.Run(ctx)
	}()
	return func() error {
		cancel()
		<-ended
		return err
	}
}
