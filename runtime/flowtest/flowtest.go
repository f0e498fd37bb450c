package flowtest

import (
	"fmt"
	"sync"
	"time"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/internal/machine"
	"github.com/flowc-dev/flowc/runtime/worker"
)

// DB is an inline database: a [runtime.DB] that runs flows while they are started. It may be
// used concurrently, also by handlers.
type DB struct {
	runtime.NoTables
	flows map[string]*flow

	mu       sync.Mutex
	runs     map[string]*run
	order    []*run // as they were started
	attempts []Attempt
	now      time.Time    // which only Advance moves
	kept     []keptAnswer // answers by key that no run has taken
	unique   map[string]holder
}

var _ runtime.BackendDB = (*DB)(nil)

// Inline returns an inline database with the flows of some services, which runs their tasks.
// A flow may have several services, for steps that one leaves to another. It panics if a
// worker would refuse the services, or if a step commits with its effects (the tag tx): there
// is no database for these, use [Database].
func Inline(services ...handler.Service) *DB {
	db := &DB{
		NoTables: runtime.NoTables{Instead: "an inline database has no tables, use flowtest.Database"},
		flows:    map[string]*flow{}, runs: map[string]*run{}, unique: map[string]holder{}, now: time.Now(),
	}
	for _, s := range services {
		if err := db.add(s); err != nil {
			panic(err)
		}
	}
	return db
}

func (db *DB) add(s handler.Service) error {
	def := s.Definition()
	f := db.flows[def.Slug]
	if f == nil {
		shape, err := machine.New(def)
		if err != nil {
			return err
		}
		f = &flow{Flow: shape, definition: def, handlers: map[string]handler.Handler{}}
		db.flows[def.Slug] = f
	}
	for _, h := range s.Handlers() {
		if f.Step(h.Step()) == nil {
			return fmt.Errorf("flowc: flowtest: there is a handler for step %q, which flow %s does not have", h.Step(), f.Slug)
		}
		if _, twice := f.handlers[h.Step()]; twice {
			return fmt.Errorf("flowc: flowtest: there are two handlers for step %s of flow %s", h.Step(), f.Slug)
		}
		if tx := def.Step(h.Step()).Tx; tx != "" {
			return fmt.Errorf("flowc: flowtest: step %s of flow %s commits with its effects (tx:%q), %w: use flowtest.Database", h.Step(), f.Slug, tx, runtime.ErrNeedsEngine)
		}
		f.handlers[h.Step()] = h
	}
	return nil
}

// An Attempt is one attempt at a task, and how it ended.
type Attempt struct {
	handler.Task
	Outcome worker.Outcome
	// Err is why it did not complete.
	Err string
	// RetryIn is how long the next attempt would have waited, if there was one; after a
	// snooze, how long it waits.
	RetryIn time.Duration
}

// Attempts returns all attempts so far at the tasks of a step of a flow, in order:
//
//	db.Attempts(processorder.Slug, processorder.StepCharge)
//
// It panics if there is no such step.
func (db *DB) Attempts(flow, step string) (attempts []Attempt) {
	if f := db.flows[flow]; f == nil || f.Step(step) == nil {
		panic(fmt.Sprintf("flowc: flowtest: Attempts(%q, %q): the flows of %s have no such step", flow, step, db))
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	for _, t := range db.attempts {
		if t.Flow == flow && t.Step == step {
			attempts = append(attempts, t)
		}
	}
	return attempts
}
