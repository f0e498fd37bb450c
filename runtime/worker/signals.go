package worker

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// RunUntilSignal runs the worker until ctx ends or the process receives an interrupt
// (Ctrl-C) or SIGTERM, and then drains; it is [Worker.Run] for a main function. A
// second signal is [Worker.StopNow], and a third ends the process by its default
// action.
func (w *Worker) RunUntilSignal(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	watched := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case s := <-signals:
			w.log.Info("received signal, draining; signal again to stop immediately", "signal", s.String(), "grace", w.config.Grace)
			cancel()
		case <-ended:
			return
		}
		select {
		case s := <-signals:
			w.log.Warn("received second signal, stopping immediately", "signal", s.String())
			signal.Stop(signals)
			w.StopNow()
		case <-ended:
		}
	}()
	defer func() {
		close(ended)
		<-watched
		signal.Stop(signals)
		cancel()
	}()
	return w.Run(ctx)
}

// StopNow ends [Worker.Run] at once, whether it is draining already or not: the
// contexts of handlers end, their tasks are released, and Run returns within two
// seconds, even if handlers ignore their contexts or the database is unreachable.
// Tasks that could not be released run elsewhere once the worker is presumed dead,
// and Run returns an error that says so.
func (w *Worker) StopNow() {
	if u := w.urgency.Load(); u != nil {
		u.once.Do(func() {
			close(u.now)
			u.stop()
		})
	}
}

// urgency tells a run to stop now.
type urgency struct {
	once sync.Once
	now  chan struct{}
	stop context.CancelFunc
}
