package worker

import "context"

// Start runs the worker beside what else a program does. The function that it
// returns has the worker drain, waits until it has, and gives what [Worker.Run]
// gave; so does the end of ctx, without the waiting. It may be called more than once.
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
