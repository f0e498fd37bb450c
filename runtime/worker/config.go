package worker

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/flowc-dev/flowc/runtime/worker/internal/backend"
	"github.com/flowc-dev/flowc/runtime/worker/internal/fair"
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
	// keeps them forever; [ops.Prune] deletes runs when it is called.
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

// withDefaults returns the configuration with defaults for zero fields.
func (c Config) withDefaults() (Config, error) {
	var errs []error
	if c.Concurrency < 0 {
		errs = append(errs, fmt.Errorf("flowc: worker: Concurrency is %d, it must be at least 1", c.Concurrency))
	}
	if c.Concurrency == 0 {
		c.Concurrency = DefaultConcurrency
	}
	if c.Retention < 0 {
		errs = append(errs, fmt.Errorf("flowc: worker: Retention is %s, it must be positive, or 0 to keep runs for ever", c.Retention))
	}
	if c.Grace == 0 {
		c.Grace = DefaultGrace
	}
	c.Grace = max(c.Grace, 0)
	if c.MaxCrashes == 0 {
		c.MaxCrashes = DefaultMaxCrashes
	}
	if c.Name == "" {
		c.Name = filepath.Base(os.Args[0])
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Metrics == nil {
		c.Metrics = NoMetrics{}
	} else {
		c.Metrics = &panicSafe{metrics: c.Metrics, log: c.Logger}
	}
	return c, errors.Join(errs...)
}

// settings are what a worker was made with.
type settings struct {
	pool     *pgxpool.Pool
	config   Config
	services map[string]*service
	slugs    []string // of the flows, sorted
	groups   *fair.Groups
}

// A service is a flow that the worker serves.
type service struct {
	definition spec.Flow
	steps      map[string]step // those that have a handler
	delays     bool            // whether a step waits for its time or for an answer, or runs wait in line
	limit      func(step string) int
}

// A step is a step with a handler.
type step struct {
	handler handler.Handler
	isMap   bool
	tx      spec.Tx
}

func newSettings(pool *pgxpool.Pool, config Config, services []handler.Service) (*settings, error) {
	config, err := config.withDefaults()
	errs := []error{err}
	if pool == nil {
		errs = append(errs, errors.New("flowc: worker: the pool is nil"))
	}
	if len(services) == 0 {
		errs = append(errs, errors.New("flowc: worker: no services, pass New the result of a generated Serve function"))
	}
	s := &settings{pool: pool, config: config, services: map[string]*service{}, groups: fair.NewGroups()}
	for _, service := range services {
		errs = append(errs, s.add(service))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if err := s.checkConns(); err != nil {
		return nil, err
	}
	slices.Sort(s.slugs)
	s.groups.Sort()
	return s, nil
}

// add adds a service.
func (s *settings) add(added handler.Service) error {
	def := added.Definition()
	if err := def.Validate(); err != nil {
		return err
	}
	if s.services[def.Slug] != nil {
		return fmt.Errorf("flowc: worker: flow %s is served twice", def.Slug)
	}
	steps := map[string]step{}
	for _, h := range added.Handlers() {
		i := slices.IndexFunc(def.Steps, func(step spec.Step) bool { return step.Slug == h.Step() })
		if i < 0 {
			return fmt.Errorf("flowc: worker: there is a handler for step %q, which flow %s does not have", h.Step(), def.Slug)
		}
		if def.Steps[i].Type == spec.TypeWait {
			return fmt.Errorf("flowc: worker: there is a handler for step %q of flow %s, which waits for an answer", h.Step(), def.Slug)
		}
		if _, twice := steps[h.Step()]; twice {
			return fmt.Errorf("flowc: worker: there are two handlers for step %s of flow %s", h.Step(), def.Slug)
		}
		steps[h.Step()] = step{handler: h.Inside(s.config.Middleware...), isMap: def.Steps[i].Type == spec.TypeMap, tx: def.Steps[i].Tx}
	}
	if len(steps) == 0 && len(taskSlugs(def)) > 0 {
		return fmt.Errorf("flowc: worker: flow %s has no handlers", def.Slug)
	}
	s.groups.Add(def.Slug, taskSlugs(def), slices.Collect(maps.Keys(steps)), gatedSlugs(def), added.Limit)
	s.services[def.Slug] = &service{
		definition: def, steps: steps,
		delays: def.Concurrency != 0 || slices.ContainsFunc(def.Steps, waitsForTime), limit: added.Limit,
	}
	s.slugs = append(s.slugs, def.Slug)
	return nil
}

// waitsForTime reports whether a step is not always queued at once.
func waitsForTime(s spec.Step) bool {
	return s.Type == spec.TypeWait || s.StartDelay != 0 || s.StartAt != nil || s.StartDelayFrom != nil
}

// taskSlugs returns the steps whose tasks are claimed.
func taskSlugs(def spec.Flow) (slugs []string) {
	for _, step := range def.Steps {
		if step.Type != spec.TypeWait {
			slugs = append(slugs, step.Slug)
		}
	}
	return slugs
}

// gatedSlugs returns the steps that have limits or turns by key.
func gatedSlugs(def spec.Flow) (slugs []string) {
	for _, step := range def.Steps {
		if step.IsGated() {
			slugs = append(slugs, step.Slug)
		}
	}
	return slugs
}

func stepSlugs(def spec.Flow) (slugs []string) {
	for _, step := range def.Steps {
		slugs = append(slugs, step.Slug)
	}
	return slugs
}

// backendWorker returns what the database is told of a worker with an id.
func (s *settings) backendWorker(id uuid.UUID) *backend.Worker {
	w := &backend.Worker{
		ID: id, Name: s.config.Name, Except: s.groups.Except(), Gated: s.groups.Gated(), MaxCrashes: s.config.MaxCrashes, Prunes: s.config.Retention > 0,
	}
	for _, slug := range s.slugs {
		def := s.services[slug].definition
		w.Flows = append(w.Flows, backend.Flow{Slug: slug, Steps: stepSlugs(def), Cron: def.Cron, Limited: def.Concurrency != 0})
	}
	return w
}
