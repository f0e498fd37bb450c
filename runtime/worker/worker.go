package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Defaults for zero [Config] fields.
const (
	DefaultConcurrency = 16
	DefaultGrace       = 15 * time.Second
	DefaultMaxCrashes  = 3
)

// Config configures a [Worker]. The zero value is ready to use.
type Config struct {
	// Name is what the worker is listed under. Defaults to the program's name.
	Name string
	// Concurrency is how many handlers run at once, of all flows together.
	// Defaults to [DefaultConcurrency]. A flow or a step can have less, see
	// [handler.Limit].
	Concurrency int
	// Grace is how long handlers may go on after the context of Run ended,
	// before their contexts end as well and their tasks are released. Defaults
	// to [DefaultGrace]; negative means no grace.
	Grace time.Duration
	// Retention is how long runs of the worker's flows are kept after they have
	// ended. What is older is deleted with all that belongs to it, its idempotency
	// key included, in small portions and by one worker at a time. 0, the default,
	// keeps them for ever; [runtime.Prune] deletes runs when it is called.
	Retention time.Duration
	// MaxCrashes is how often the worker may die while a task is all that it has in
	// flight before the task fails for good, or its step is skipped, as when_exhausted
	// says. Attempts that end so do not count otherwise. A task that was beside others is
	// first tried among fewer, until it is known to be the reason, and costs those
	// nothing; nor does one that a worker had when it was told to stop. Give all workers
	// of a flow the same: whichever finds another dead counts. Defaults to
	// [DefaultMaxCrashes]; negative is never.
	MaxCrashes int
	// Middleware wraps every handler; the first is outermost, and all of it is
	// outside of that of [handler.Use].
	Middleware []handler.Middleware
	// Metrics observes what the worker does. Defaults to [NoMetrics].
	Metrics Metrics
	// Logger receives events of tasks and of the database, with the keys flow,
	// run_id, step, index, attempt, max_attempts, error, retry_in and duration.
	// Defaults to [slog.Default].
	Logger *slog.Logger
}

// A Worker runs the handlers of the flows it serves. [New] returns one, [Worker.Run] runs it.
type Worker struct {
	pool     *pgxpool.Pool
	config   Config
	services map[string]*service
	slugs    []string // of the flows, sorted
	lanes    *lanes
	log      *slog.Logger
	running  atomic.Bool
	stats    counters
	health   health
	session  atomic.Pointer[session] // the last one
	urgency  atomic.Pointer[urgency] // of the last run
}

// service is a flow that the worker serves.
type service struct {
	definition spec.Flow
	steps      map[string]served // those that have a handler
	delays     bool              // whether a step begins only some time after it could
}

// served is a step with its handler.
type served struct {
	handler handler.Handler
	isMap   bool
}

// New returns a worker for the given services. It uses the pool's configuration only:
// a worker opens connections of its own, usually four and at most eight, and the
// workers of a pool share one that listens, so that busy handlers cannot starve
// heartbeats.
//
// The error lists everything that is wrong with the configuration and the services;
// the database is not touched.
func New(pool *pgxpool.Pool, config Config, services ...handler.Service) (*Worker, error) {
	if pool == nil {
		return nil, errors.New("flowc: worker: the pool is nil")
	}
	if config.Concurrency < 0 {
		return nil, fmt.Errorf("flowc: worker: Concurrency is %d, it must be at least 1", config.Concurrency)
	}
	if config.Concurrency == 0 {
		config.Concurrency = DefaultConcurrency
	}
	if config.Retention < 0 {
		return nil, fmt.Errorf("flowc: worker: Retention is %s, it must be positive, or 0 to keep runs for ever", config.Retention)
	}
	if config.Grace == 0 {
		config.Grace = DefaultGrace
	}
	config.Grace = max(config.Grace, 0)
	if config.MaxCrashes == 0 {
		config.MaxCrashes = DefaultMaxCrashes
	}
	if config.Name == "" {
		config.Name = filepath.Base(os.Args[0])
	}
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	if config.Metrics == nil {
		config.Metrics = NoMetrics{}
	} else {
		config.Metrics = &guarded{metrics: config.Metrics, log: config.Logger}
	}
	w := &Worker{pool: pool, config: config, services: map[string]*service{}, lanes: newLanes(), log: config.Logger}
	if len(services) == 0 {
		return nil, errors.New("flowc: worker: no services, pass New the result of a generated Serve function")
	}
	var faults []error
	for _, s := range services {
		faults = append(faults, w.add(s))
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	slices.Sort(w.slugs)
	w.lanes.sort()
	return w, nil
}

func (w *Worker) add(s handler.Service) error {
	def := s.Definition()
	if err := def.Validate(); err != nil {
		return err
	}
	if w.services[def.Slug] != nil {
		return fmt.Errorf("flowc: worker: flow %s is served twice", def.Slug)
	}
	steps := map[string]served{}
	for _, h := range s.Handlers() {
		i := slices.IndexFunc(def.Steps, func(step spec.Step) bool { return step.Slug == h.Step() })
		if i < 0 {
			return fmt.Errorf("flowc: worker: there is a handler for step %q, which flow %s does not have", h.Step(), def.Slug)
		}
		if _, twice := steps[h.Step()]; twice {
			return fmt.Errorf("flowc: worker: there are two handlers for step %s of flow %s", h.Step(), def.Slug)
		}
		steps[h.Step()] = served{handler: h.Inside(w.config.Middleware...), isMap: def.Steps[i].Type == spec.TypeMap}
	}
	if len(steps) == 0 {
		return fmt.Errorf("flowc: worker: flow %s has no handlers", def.Slug)
	}
	var all []string
	for _, step := range def.Steps {
		all = append(all, step.Slug)
	}
	w.lanes.add(def.Slug, all, slices.Collect(maps.Keys(steps)), s.Limit)
	w.services[def.Slug] = &service{definition: def, steps: steps, delays: slices.ContainsFunc(def.Steps, func(s spec.Step) bool { return s.StartDelay != 0 })}
	w.slugs = append(w.slugs, def.Slug)
	return nil
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
	w.health.started.Store(&now)
	w.health.become(Starting)
	defer w.health.become(Stopped)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	urgency := &urgency{now: make(chan struct{}), stop: cancel}
	w.urgency.Store(urgency)
	s, err := w.begin(ctx, urgency.now)
	if err != nil { // told at once, for Start hands it over only when the worker is stopped
		w.log.Error("worker cannot start", "flows", strings.Join(w.slugs, ","), "error", err)
		return err
	}
	if s == nil {
		return nil
	}
	defer s.close()
	w.health.beat.Store(&now)
	w.health.become(Working)
	w.log.Info("worker started", "worker_id", s.id.String(), "flows", strings.Join(w.slugs, ","), "concurrency", w.config.Concurrency)
	err = s.run(ctx)
	w.log.Info("worker stopped", "worker_id", s.id.String())
	return err
}
