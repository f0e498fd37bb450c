package temporalflow

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	sdkactivity "go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/internal/background"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// Defaults for zero [Config] fields.
const (
	DefaultConcurrency = 16
	DefaultGrace       = 15 * time.Second
)

// Config configures a [Worker]. The zero value is ready to use.
type Config struct {
	// Concurrency is how many handlers run at once, of all flows together. Defaults to
	// [DefaultConcurrency]. A flow or a step can have less, see [handler.Limit].
	Concurrency int
	// Grace is how long handlers may go on after the context of Run ended, before their
	// contexts end as well and their tasks are released. Defaults to [DefaultGrace];
	// negative means no grace.
	Grace time.Duration
	// Middleware wraps every handler; the first is outermost, and all of it is outside of
	// that of [handler.Use].
	Middleware []handler.Middleware
	// Logger receives events of tasks, with the keys flow, run_id, step, index, attempt,
	// max_attempts, error and retry_in. Defaults to [slog.Default]. The SDK logs to the
	// client's, see [Logger].
	Logger *slog.Logger
	// Options tune the SDK's workers, of which there is one for each task queue. Their
	// Tuner, WorkerStopTimeout and OnFatalError are set by this package.
	Options worker.Options
}

func (c Config) withDefaults() (Config, error) {
	if c.Concurrency < 0 {
		return c, fmt.Errorf("flowc: temporalflow: Concurrency is %d, it must be at least 1", c.Concurrency)
	}
	c.Concurrency = cmp.Or(c.Concurrency, DefaultConcurrency)
	c.Grace = max(cmp.Or(c.Grace, DefaultGrace), 0)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c, nil
}

// A Worker does the tasks of the flows that it serves. [NewWorker] returns one,
// [Worker.Run] runs it.
type Worker struct {
	db      *DB
	config  Config
	flows   []*served
	running atomic.Bool
}

// NewWorker returns a worker for the given services. The error lists everything that is
// wrong with them; the server is not asked.
func NewWorker(db *DB, config Config, services ...handler.Service) (*Worker, error) {
	config, err := config.withDefaults()
	faults := []error{err}
	if db == nil {
		faults = append(faults, errors.New("flowc: temporalflow: the DB is nil"))
	}
	if len(services) == 0 {
		faults = append(faults, errors.New("flowc: temporalflow: no services, pass NewWorker the result of a generated Serve function"))
	}
	w := &Worker{db: db, config: config}
	all := make(chan struct{}, max(config.Concurrency, 0))
	for _, s := range services {
		f, err := newServed(db, s, config, all)
		if err == nil && slices.ContainsFunc(w.flows, func(o *served) bool { return o.def.Slug == f.def.Slug }) {
			err = fmt.Errorf("flowc: temporalflow: flow %s is served twice", f.def.Slug)
		}
		if faults = append(faults, err); err == nil {
			w.flows = append(w.flows, f)
		}
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return w, nil
}

// Run runs the worker until ctx ends. Then it takes no more tasks, waits for handlers up to
// the grace period, releases what is left, and returns nil.
//
// It returns an error if it cannot start, because a flow is not stored or is not the one
// that the program was built for, or if the server refuses the worker.
func (w *Worker) Run(ctx context.Context) error {
	if !w.running.CompareAndSwap(false, true) {
		return errors.New("flowc: temporalflow: the worker is running already")
	}
	defer w.running.Store(false)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var slugs []string
	for _, f := range w.flows {
		slugs = append(slugs, f.def.Slug)
	}
	flows := strings.Join(slugs, ",")
	q := &queues{worker: w, fatal: cancel}
	defer q.stop()
	for _, f := range w.flows {
		if err := q.serve(ctx, f); err != nil {
			w.config.Logger.Error("worker cannot start", "flows", flows, "error", err)
			return err
		}
	}
	w.config.Logger.Info("worker started", "flows", flows, "concurrency", w.config.Concurrency)
	defer w.config.Logger.Info("worker stopped", "flows", flows)
	ticker := time.NewTicker(knownTime)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			if err := context.Cause(ctx); errors.As(err, new(*fatalError)) {
				return err
			}
			return nil
		case <-ticker.C:
		}
		for _, f := range w.flows {
			if err := q.refresh(ctx, f); err != nil && ctx.Err() == nil {
				w.config.Logger.Warn("reading a flow failed, trying again", "flow", f.def.Slug, "error", err)
			}
		}
	}
}

// A fatalError is why the server refuses a worker.
type fatalError struct{ err error }

func (e *fatalError) Error() string {
	return "flowc: temporalflow: the worker cannot go on: " + e.err.Error()
}
func (e *fatalError) Unwrap() error { return e.err }

// Start runs the worker in the background. The returned function drains the worker, waits
// for that, and returns the error of [Worker.Run]; it may be called more than once. The
// end of ctx drains the worker, too.
func (w *Worker) Start(ctx context.Context) (stop func() error) {
	return background.Start(ctx, w.Run)
}

// RunUntilSignal runs the worker until ctx ends or the process receives an interrupt
// (Ctrl-C) or SIGTERM, and then drains; it is [Worker.Run] for a main function. A second
// signal ends the process by its default action.
func (w *Worker) RunUntilSignal(ctx context.Context) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	return w.Run(ctx)
}

// A served flow is one that a worker serves.
type served struct {
	def       spec.Flow
	payload   json.RawMessage // without what runs do not need
	executors []*executor
	own       []string // steps that need task queues of their own: others have them, or they have limits
	limit     int
	all       chan struct{}         // the slots of the worker
	most      func(step string) int // how many of its handlers may run at once

	mu       sync.Mutex
	separate []string               // steps that have task queues of their own, as far as is known
	polled   map[string]*queueSlots // by the names of queues
}

func newServed(db *DB, s handler.Service, c Config, all chan struct{}) (*served, error) {
	def := s.Definition()
	if err := errors.Join(def.Validate(), checkSupported(def)); err != nil {
		return nil, err
	}
	lean := def
	lean.Forms, lean.Conditions = nil, nil
	payload, err := lean.Payload()
	if err != nil {
		return nil, err
	}
	f := &served{def: def, payload: payload, limit: maxValue, all: all, polled: map[string]*queueSlots{}}
	stuck := new(atomic.Int64)
	var input func(context.Context, string) (json.RawMessage, error)
	if db != nil {
		f.limit, input = db.limit, backend{db}.inputOf
	}
	limit := func(n int) slots {
		if n == 0 {
			return nil
		}
		return slots{make(chan struct{}, n)}
	}
	ofFlow := limit(s.Limit(""))
	f.most = func(step string) int {
		most := c.Concurrency
		for _, n := range []int{s.Limit(""), s.Limit(step)} {
			if n > 0 {
				most = min(most, n)
			}
		}
		return most
	}
	for _, h := range s.Handlers() {
		switch {
		case def.Step(h.Step()) == nil:
			return nil, fmt.Errorf("flowc: temporalflow: there is a handler for step %q, which flow %s does not have", h.Step(), def.Slug)
		case f.executor(h.Step()) != nil:
			return nil, fmt.Errorf("flowc: temporalflow: there are two handlers for step %s of flow %s", h.Step(), def.Slug)
		}
		f.executors = append(f.executors, &executor{
			step: h.Step(), handler: h.Inside(c.Middleware...), log: c.Logger, input: input, limit: f.limit,
			slots: slices.Concat(limit(s.Limit(h.Step())), ofFlow, slots{all}), polled: f.slotsOf, stuck: stuck, maxStuck: int64(c.Concurrency),
		})
	}
	if len(f.executors) == 0 {
		return nil, fmt.Errorf("flowc: temporalflow: flow %s has no handlers", def.Slug)
	}
	for _, step := range def.Steps {
		if f.executor(step.Slug) == nil || s.Limit(step.Slug) > 0 {
			f.own = append(f.own, step.Slug)
		}
	}
	slices.Sort(f.own)
	f.separate = f.own
	return f, nil
}

// executor returns that of a step, nil if the worker leaves it to others.
func (f *served) executor(step string) *executor {
	for _, x := range f.executors {
		if x.step == step {
			return x
		}
	}
	return nil
}

func (f *served) slotsOf(queue string) *queueSlots {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.polled[queue]
}

// run is the workflow of a run.
func (f *served) run(ctx workflow.Context, in begin) (*record, error) {
	return runWorkflow(ctx, in, f.plan, f.needs)
}

// plan returns that of a run which begins.
func (f *served) plan() plan {
	f.mu.Lock()
	defer f.mu.Unlock()
	return plan{Definition: f.payload, Separate: f.separate, Limit: f.limit}
}

// needs reports whether the handler of a step reads the run's input, or is elsewhere.
func (f *served) needs(step string) bool {
	x := f.executor(step)
	return x == nil || x.handler.NeedsInput()
}

// Queues are the SDK's workers of a [Worker], one for each task queue.
type queues struct {
	worker *Worker
	fatal  context.CancelCauseFunc
	all    []worker.Worker
}

// serve polls the queues of a flow.
func (q *queues) serve(ctx context.Context, f *served) error {
	known, err := backend{q.worker.db}.stored(ctx, f.def.Slug)
	switch {
	case err != nil:
		return err
	case known == nil:
		return notStored(f.def.Slug)
	}
	if differences := shapeDifferences(spec.Compare(known.def, f.def)); len(differences) > 0 {
		return mismatch(f.def.Slug, differences)
	}
	if err := q.refresh(ctx, f); err != nil {
		return err
	}
	return q.poll(f, f.def.Slug, f.most(""), func(w worker.Worker) {
		w.RegisterWorkflowWithOptions(f.run, workflow.RegisterOptions{Name: f.def.Slug})
		w.RegisterWorkflowWithOptions(mapChunk, workflow.RegisterOptions{Name: chunkWorkflow})
		w.RegisterWorkflowWithOptions(runTick, workflow.RegisterOptions{Name: tickWorkflow})
		for _, step := range f.def.Steps {
			activity := elsewhere
			if x := f.executor(step.Slug); x != nil {
				activity = x.attempt
			}
			w.RegisterActivityWithOptions(activity, sdkactivity.RegisterOptions{Name: step.Slug})
		}
	})
}

// refresh learns which steps have queues of their own, tells others of this worker's, and
// polls those that it did not poll before.
func (q *queues) refresh(ctx context.Context, f *served) error {
	b := backend{q.worker.db}
	known, err := b.stored(ctx, f.def.Slug)
	if err != nil || known == nil {
		return err
	}
	separate := slices.Concat(known.separate, f.own)
	slices.Sort(separate)
	if separate = slices.Compact(separate); len(separate) > len(known.separate) {
		if err := b.store(ctx, f.def.Slug, known.payload, separate); err != nil {
			return err
		}
	}
	f.mu.Lock()
	f.separate = separate
	f.mu.Unlock()
	for _, step := range separate {
		x := f.executor(step)
		if x == nil {
			continue
		}
		err := q.poll(f, separateQueue(f.def.Slug, step), f.most(step), func(w worker.Worker) {
			w.RegisterActivityWithOptions(x.attempt, sdkactivity.RegisterOptions{Name: step})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// poll polls a queue of a flow, unless it is polled already.
func (q *queues) poll(f *served, name string, most int, register func(worker.Worker)) error {
	if f.slotsOf(name) != nil {
		return nil
	}
	slots := newQueueSlots(most, f.all)
	f.mu.Lock()
	f.polled[name] = slots
	f.mu.Unlock()
	tuner, err := slots.tuner()
	if err != nil {
		return err
	}
	o := q.worker.config.Options
	o.Tuner, o.WorkerStopTimeout = tuner, q.worker.config.Grace
	o.OnFatalError = func(err error) { q.fatal(&fatalError{err}) }
	// By default the SDK sends a heartbeat when four fifths of the timeout are over.
	o.MaxHeartbeatThrottleInterval = cmp.Or(o.MaxHeartbeatThrottleInterval, heartbeatEvery)
	o.DisableWorkflowWorker = strings.Contains(name, "/")
	w := worker.New(q.worker.db.client, name, o)
	register(w)
	if err := w.Start(); err != nil {
		return fmt.Errorf("flowc: temporalflow: polling the task queue %s: %w", name, err)
	}
	q.all = append(q.all, w)
	return nil
}

// stop stops polling and drains.
func (q *queues) stop() {
	var wait sync.WaitGroup
	for _, w := range q.all {
		wait.Go(w.Stop)
	}
	wait.Wait()
	for _, f := range q.worker.flows {
		clear(f.polled)
	}
}

// Logger adapts a logger for the SDK's client.
func Logger(l *slog.Logger) log.Logger { return log.NewStructuredLogger(l) }
