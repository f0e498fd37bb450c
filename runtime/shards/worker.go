package shards

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/internal/background"
	"github.com/flowc-dev/flowc/runtime/worker"
)

const (
	// watchEvery is how often a worker looks for shards that were added.
	watchEvery = 2 * time.Second
	// restartAfter is how soon a worker that could not start tries again.
	restartAfter = 5 * time.Second
)

// A Worker runs handlers for all shards: it is a [worker.Worker] for each, in one process.
type Worker struct {
	db       *DB
	config   worker.Config
	services []handler.Service

	mu       sync.Mutex
	workers  map[int]*worker.Worker // by the numbers of the shards
	stopped  bool                   // by StopNow
	returned bool                   // Run has returned
}

// NewWorker returns a worker for the given services. The configuration is that of each
// shard's worker: Concurrency is how many handlers run at once for one shard, and limits of
// flows and steps count for each shard, too.
//
// The error lists everything that is wrong with the configuration and the services; the
// databases are not touched.
func NewWorker(db *DB, config worker.Config, services ...handler.Service) (*Worker, error) {
	w := &Worker{db: db, config: config, services: services, workers: map[int]*worker.Worker{}}
	if _, err := worker.New(db.all()[0].pool, config, services...); err != nil { // all are of one configuration
		return nil, err
	}
	return w, nil
}

// Run runs a worker on each shard until ctx ends, also on those that are added meanwhile,
// and drains them as [worker.Worker.Run] does. A shard that is down, or whose worker cannot
// start, does not affect the others: its worker starts when it can. If no shard's worker can
// start, and not because they are down, Run returns their errors.
func (w *Worker) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w.mu.Lock()
	w.stopped, w.returned = false, false
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		w.returned = true
		w.mu.Unlock()
	}()
	log := w.config.Logger
	if log == nil {
		log = slog.Default()
	}
	var runs sync.WaitGroup
	r := &running{w: w, log: log, cancel: cancel, stops: map[int]func(){}, ended: map[int]error{}}
	watch := time.NewTicker(watchEvery)
	defer watch.Stop()
	for ctx.Err() == nil {
		for _, s := range w.db.Shards() {
			if r.stops[s.Number] == nil {
				on, stop := context.WithCancel(ctx)
				r.stops[s.Number] = stop
				runs.Go(func() { r.runOn(on, s) })
			}
		}
		for number, stop := range r.stops {
			if _, there := w.db.known.Load().numbered(number); !there { // it was removed
				stop()
				delete(r.stops, number)
			}
		}
		select {
		case <-ctx.Done():
		case <-watch.C:
			if err := w.db.tend(ctx); err != nil && ctx.Err() == nil {
				log.Debug("watching the shards", "error", err)
			}
		}
	}
	runs.Wait()
	for _, stop := range r.stops {
		stop()
	}
	return errors.Join(slices.Collect(maps.Values(r.ended))...)
}

// running is the state of [Worker.Run].
type running struct {
	w      *Worker
	log    *slog.Logger
	cancel context.CancelFunc
	stops  map[int]func() // by the numbers of the shards

	mu    sync.Mutex
	ended map[int]error // how the workers ended that do not run now
}

// runOn runs the worker of a shard until ctx ends. One that is deprecated in its database
// is not started again.
func (r *running) runOn(ctx context.Context, s Shard) {
	log := r.log.With("shard", s.Name)
	for {
		err := r.runOnce(ctx, s, log)
		r.end(s.Number, err)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(restartAfter):
		}
	}
}

func (r *running) runOnce(ctx context.Context, s Shard, log *slog.Logger) error {
	m, err := r.w.db.byName(r.w.db.nameOf(s.Number))
	if err != nil {
		log.Warn("no worker for a shard", "error", err)
		return err
	}
	config := r.w.config
	config.Logger = log
	one, err := worker.New(m.pool, config, r.w.services...)
	if err != nil {
		return err
	}
	r.w.mu.Lock()
	r.w.workers[s.Number] = one
	stopped := r.w.stopped
	r.w.mu.Unlock()
	if stopped {
		return nil
	}
	r.mu.Lock()
	delete(r.ended, s.Number)
	r.mu.Unlock()
	if err := one.Run(ctx); err != nil {
		return &Error{Shard: s.Name, Err: err}
	}
	return nil
}

// end notes how the worker of a shard ended. If none is left, Run ends.
func (r *running) end(number int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended[number] = err
	for _, e := range r.w.db.known.Load().version {
		if _, ended := r.ended[e.Number]; !ended {
			return
		}
	}
	r.cancel()
}

// Start runs the worker in the background. The returned function drains it, waits for that,
// and returns the error of [Worker.Run]; it may be called more than once.
func (w *Worker) Start(ctx context.Context) (stop func() error) {
	return background.Start(ctx, w.Run)
}

// StopNow ends [Worker.Run] at once, see [worker.Worker.StopNow].
func (w *Worker) StopNow() {
	w.mu.Lock()
	w.stopped = true
	all := slices.Collect(maps.Values(w.workers))
	w.mu.Unlock()
	for _, one := range all {
		one.StopNow()
	}
}

// Workers returns the worker of each shard by its name, for their [worker.Worker.Stats].
func (w *Worker) Workers() map[string]*worker.Worker {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := map[string]*worker.Worker{}
	for _, s := range w.db.Shards() {
		if one := w.workers[s.Number]; one != nil {
			all[s.Name] = one
		}
	}
	return all
}
