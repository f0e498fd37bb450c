package worker

import (
	"context"
	"errors"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/internal/background"
)

// A Worker runs the handlers of the flows it serves. [New] returns one, [Worker.Run] runs it.
type Worker struct {
	settings *settings
	recorder *recorder
	running  atomic.Bool
	session  atomic.Pointer[session] // the last one
	stopper  atomic.Pointer[stopper] // of the last run
}

// New returns a worker for the given services. It uses the pool's configuration only:
// a worker opens connections of its own, usually four and at most eight, and the
// workers of a pool share one that listens, so that busy handlers cannot starve
// heartbeats. The transactions of handlers that commit with their effects are the
// exception: they are begun on the pool itself, which must have more connections than such
// handlers run at once.
//
// The error lists everything that is wrong with the configuration and the services;
// the database is not touched.
func New(pool *pgxpool.Pool, config Config, services ...handler.Service) (*Worker, error) {
	s, err := newSettings(pool, config, services)
	if err != nil {
		return nil, err
	}
	return &Worker{settings: s, recorder: &recorder{metrics: s.config.Metrics}}, nil
}

// Run runs the worker until ctx ends. Then it claims no more tasks, waits for handlers
// up to the grace period, reports their results, releases what is left, and
// returns nil. A worker that is deprecated in the database does the same.
//
// It returns an error if it cannot start, because the engine or a flow is
// missing or is not what the program was built for, or if results could not be
// reported when it stopped. It never returns because the database is unreachable.
func (w *Worker) Run(ctx context.Context) error {
	if !w.running.CompareAndSwap(false, true) {
		return errors.New("flowc: worker: already running")
	}
	defer w.running.Store(false)
	now := time.Now()
	w.recorder.started.Store(&now)
	w.recorder.become(StateStarting)
	defer w.recorder.become(StateStopped)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stopper := &stopper{force: make(chan struct{}), drain: cancel}
	w.stopper.Store(stopper)
	log, flows := w.settings.config.Logger, strings.Join(w.settings.slugs, ",")
	s, err := openSession(ctx, w.settings, w.recorder, stopper.force)
	if err != nil { // logged at once, since Start returns it only when the worker is stopped
		log.Error("worker cannot start", "flows", flows, "error", err)
		return err
	}
	if s == nil {
		return nil
	}
	defer s.close()
	w.session.Store(s)
	w.recorder.heartbeat.Store(&now)
	w.recorder.become(StateWorking)
	log.Info("worker started", "worker_id", s.id.String(), "flows", flows, "concurrency", w.settings.config.Concurrency)
	err = s.run(ctx)
	log.Info("worker stopped", "worker_id", s.id.String())
	return err
}

// Start runs the worker in the background. The returned function drains the worker,
// waits for that, and returns the error of [Worker.Run]; it may be called more than
// once. The end of ctx drains the worker, too.
//
//	stop := w.Start(ctx)
//	defer stop()
func (w *Worker) Start(ctx context.Context) (stop func() error) {
	return background.Start(ctx, w.Run)
}

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
			w.settings.config.Logger.Info("received signal, draining; signal again to stop immediately", "signal", s.String(), "grace", w.settings.config.Grace)
			cancel()
		case <-ended:
			return
		}
		select {
		case s := <-signals:
			w.settings.config.Logger.Warn("received second signal, stopping immediately", "signal", s.String())
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
	if s := w.stopper.Load(); s != nil {
		s.once.Do(func() {
			close(s.force)
			s.drain()
		})
	}
}

// A stopper stops a run immediately.
type stopper struct {
	once  sync.Once
	force chan struct{} // closed to stop
	drain context.CancelFunc
}

// Stats returns what the worker did so far. It may be called at any time.
func (w *Worker) Stats() Stats { return w.recorder.stats() }

// Health returns a snapshot of the worker's state. It does not query the database, and
// may be called at any time.
func (w *Worker) Health() Health {
	h := w.recorder.health()
	h.Concurrency = w.settings.config.Concurrency
	if s := w.session.Load(); s != nil {
		s.health(&h)
	}
	return h
}

// HealthHandler serves [Health] as JSON, for an orchestrator's probes. A path that
// ends in "live" is answered with 503 if the process should be restarted, see
// [Health.Live]; any other path if the worker cannot run tasks now, see
// [Health.Ready].
//
//	mux.Handle("/health/", w.HealthHandler()) // /health/live and /health/ready
func (w *Worker) HealthHandler() http.Handler { return healthHandler(w.Health) }
