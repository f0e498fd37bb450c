package temporalflow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"testing"
	"time"

	sdkactivity "go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/flowtest"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/internal/conformance"
	"github.com/flowc-dev/flowc/runtime/internal/machine"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/flowc-dev/flowc/runtime/temporalflow/internal/declines"
)

var quiet = slog.New(slog.DiscardHandler)

// A memoryDB runs workflows and activities in the SDK's test environment, without a
// server: what is under test is all that a worker does, and how a record is read.
type memoryDB struct {
	runtime.NoTables
	services map[string]handler.Service
	mu       sync.Mutex
	runs     map[string]*memoryRun
}

type memoryRun struct {
	flow   string
	begin  begin
	ended  chan struct{}
	record *record
}

func newMemoryDB(services ...handler.Service) *memoryDB {
	db := &memoryDB{NoTables: runtime.NoTables{Instead: "memory"}, services: map[string]handler.Service{}, runs: map[string]*memoryRun{}}
	for _, s := range services {
		db.services[s.Definition().Slug] = s
	}
	return db
}

func (db *memoryDB) Backend() runtime.Backend { return memoryBackend{db} }
func (db *memoryDB) InTx() bool               { return false }

type memoryBackend struct{ *memoryDB }

var (
	_ runtime.Awaiter = memoryBackend{}
	_ runtime.Steerer = memoryBackend{}
)

func (b memoryBackend) Start(_ context.Context, r runtime.StartRequest) ([]runtime.StartedRun, error) {
	s, ok := b.services[r.Flow]
	switch {
	case !ok:
		return nil, &runtime.FlowNotFoundError{Flow: r.Flow}
	case !r.At.IsZero() || r.In > 0:
		return nil, b.Unsupported()
	}
	flow, err := machine.New(s.Definition())
	if err == nil {
		err = checkInputs(flow, r, maxValue)
	}
	if err != nil {
		return nil, err
	}
	all := make([]runtime.StartedRun, len(r.Runs))
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, n := range r.Runs {
		if old := b.runs[n.ID]; old != nil {
			known, err := existing(r.Flow, old.flow, time.Time{})
			if err != nil {
				return nil, err
			}
			all[i] = known
			continue
		}
		in := begin{Input: n.Input, Headers: headersOf(n.Headers)}
		run := &memoryRun{flow: r.Flow, begin: in, ended: make(chan struct{})}
		b.runs[n.ID] = run
		go run.work(s, n.ID)
	}
	return all, nil
}

// work runs the workflow of a run.
func (r *memoryRun) work(s handler.Service, id string) {
	defer close(r.ended)
	var err error
	if r.record, err = inMemory(s, id, r.begin); err != nil {
		panic(err)
	}
}

func inMemory(s handler.Service, id string, in begin) (*record, error) {
	env, err := execute(s, id, in)
	if err != nil {
		return nil, err
	}
	r := new(record)
	err = env.GetWorkflowError()
	if err == nil {
		err = env.GetWorkflowResult(r)
		return r, err
	}
	return recordOf(err)
}

// execute runs the workflow of a run to its end.
func execute(s handler.Service, id string, in begin) (*testsuite.TestWorkflowEnvironment, error) {
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(Logger(quiet))
	env := suite.NewTestWorkflowEnvironment()
	env.SetTestTimeout(time.Minute)
	env.SetWorkerOptions(worker.Options{DeadlockDetectionTimeout: time.Minute}) // the machine may be busy
	served, err := newServed(nil, s, Config{Logger: quiet}, make(chan struct{}, 5000))
	if err != nil {
		return nil, err
	}
	env.SetStartWorkflowOptions(startOptions(id, s.Definition().Slug, ""))
	for _, x := range served.executors {
		x.input = func(context.Context, string) (json.RawMessage, error) { return in.Input, nil }
		env.RegisterActivityWithOptions(x.attempt, sdkactivity.RegisterOptions{Name: x.step})
	}
	env.RegisterWorkflowWithOptions(served.run, workflow.RegisterOptions{Name: served.def.Slug})
	env.RegisterWorkflowWithOptions(mapChunk, workflow.RegisterOptions{Name: chunkWorkflow})
	env.ExecuteWorkflow(served.def.Slug, in)
	if !env.IsWorkflowCompleted() {
		return nil, errors.New("the workflow has not ended")
	}
	return env, nil
}

func (r *memoryRun) run(id string) *machine.Run {
	select {
	case <-r.ended:
		flow, err := flowOf(r.flow, r.record.Plan.Definition)
		if err != nil {
			panic(err)
		}
		return flow.Restore(id, r.begin.Input, r.record.Record)
	default:
		return nil
	}
}

func (b memoryBackend) find(id string) (*memoryRun, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r := b.runs[id]; r != nil {
		return r, nil
	}
	return nil, fmt.Errorf("flowc: %w: %s", runtime.ErrRunNotFound, id)
}

func (b memoryBackend) Run(_ context.Context, id string, detail runtime.RunDetail) (*runtime.RunInfo, error) {
	r, err := b.find(id)
	if err != nil {
		return nil, err
	}
	if run := r.run(id); run != nil {
		return run.Info(detail), nil
	}
	if detail.States {
		return nil, b.Unsupported()
	}
	return &runtime.RunInfo{ID: id, Flow: r.flow, Status: runtime.RunRunning, StartedAt: time.Now()}, nil
}

func (b memoryBackend) Outcome(_ context.Context, id string, want runtime.Want) (runtime.Outcome, error) {
	r, err := b.find(id)
	if err != nil {
		return runtime.Outcome{}, err
	}
	if run := r.run(id); run != nil {
		return run.Outcome(want), nil
	}
	return runtime.Outcome{Flow: r.flow, Status: runtime.RunRunning}, nil
}

func (b memoryBackend) AwaitRun(ctx context.Context, id string) error {
	r, err := b.find(id)
	if err != nil {
		return err
	}
	select {
	case <-r.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// retry runs the workflow again, as a retry on a server does.
func (b memoryBackend) retry(id, step string) (runtime.Steered, error) {
	r, err := b.find(id)
	if err != nil {
		return runtime.Steered{}, nil
	}
	run := r.run(id)
	if run == nil {
		return runtime.Steered{Found: true}, nil
	}
	next, done, err := resume(run, r.record.Plan, r.begin, step)
	if errors.Is(err, errNoStep) {
		return runtime.Steered{}, nil
	}
	if done {
		again := &memoryRun{flow: r.flow, begin: next, ended: make(chan struct{})}
		b.mu.Lock()
		b.runs[id] = again
		b.mu.Unlock()
		go again.work(b.services[r.flow], id)
	}
	return runtime.Steered{Found: true, Done: done}, err
}

func (b memoryBackend) RetryRun(_ context.Context, id string) (runtime.Steered, error) {
	return b.retry(id, "")
}

func (b memoryBackend) RetryStep(_ context.Context, id, step string) (runtime.Steered, error) {
	return b.retry(id, step)
}

func (b memoryBackend) CancelRun(context.Context, string, string) (runtime.Steered, error) {
	return runtime.Steered{}, b.Unsupported()
}

func (b memoryBackend) RescheduleRun(context.Context, string, time.Time) (runtime.Steered, error) {
	return runtime.Steered{}, b.Unsupported()
}

func (b memoryBackend) DeleteRun(context.Context, string, runtime.DeleteOptions) (runtime.Steered, error) {
	return runtime.Steered{}, b.Unsupported()
}

func (b memoryBackend) UpsertFlow(_ context.Context, flow spec.Flow, _ runtime.UpsertOptions) (runtime.UpsertResult, error) {
	s, ok := b.services[flow.Slug]
	if !ok || len(spec.Compare(s.Definition(), flow)) > 0 {
		return runtime.UpsertResult{}, b.Unsupported()
	}
	return runtime.UpsertResult{Status: runtime.UpsertVerified}, nil
}

func (b memoryBackend) DeleteFlow(context.Context, string, runtime.DeleteOptions) (runtime.Deleted, error) {
	return runtime.Deleted{}, b.Unsupported()
}

func (b memoryBackend) FlowExists(_ context.Context, slug string) (bool, error) {
	_, ok := b.services[slug]
	return ok, nil
}

const notWaiting = "the environment skips time"

// memory declines what is for a server to do, and what waits.
var memory = conformance.Engine{
	Open: func(_ *testing.T, services ...handler.Service) (runtime.DB, error) {
		for _, s := range services {
			if err := checkSupported(s.Definition()); err != nil {
				return nil, err
			}
		}
		return newMemoryDB(services...), nil
	},
	Declines: func() map[string]conformance.Difference {
		all := maps.Clone(declines.Temporal)
		for row, d := range map[string]conformance.Difference{
			"backoff":               {Why: notWaiting, Says: "it came too early"},
			"start delay of a step": {Why: notWaiting, Says: "it came too early"},
			"priority of a run":     {Why: "it is for a server", Says: "plain high"},
		} {
			all[row] = d
		}
		for _, row := range []string{
			"cancel a run that has ended", "cancel before the start", "cancel reaches the handler", "delete a run", "delayed start", "start at a time", "reschedule",
			"upsert mismatch", "upsert of other options", "upsert a flow that is new", "upsert of another shape, with data loss",
			"delete a flow", "states of a run that goes on", "read a definition", "list schedules", "pause a schedule", "resume a schedule",
			"next ticks", "explain a run", "tick of a schedule", "flow without a schedule",
		} {
			all[row] = conformance.Difference{Why: "it is for a server"}
		}
		return all
	}(),
}

var inline = conformance.Engine{
	Open: func(_ *testing.T, services ...handler.Service) (runtime.DB, error) {
		return flowtest.Inline(services...), nil
	},
}

// TestRandomInMemory runs flows as a worker does it, and compares them with inline runs,
// which are compared with PostgreSQL elsewhere.
func TestRandomInMemory(t *testing.T) {
	t.Parallel()
	conformance.TestRandom(t, 150, inline, memory)
}

// TestRowsInMemory runs the rows of the suite as far as they need no server.
func TestRowsInMemory(t *testing.T) {
	t.Parallel()
	conformance.Test(t, memory)
}
