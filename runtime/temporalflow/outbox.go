package temporalflow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/internal/runid"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// OutboxSlug is the slug of the job that starts a run on Temporal.
const OutboxSlug = "flowc_outbox"

// outboxFlow is that job. It is attempted until Temporal has the run.
var outboxFlow = runtime.NewFlow[json.RawMessage](spec.Flow{
	Slug: OutboxSlug, MaxAttempts: 1_000_000, BaseDelay: spec.Set(time.Second), Timeout: 30 * time.Second,
	Steps: []spec.Step{{Slug: OutboxSlug}},
}, handler.Output[json.RawMessage](OutboxSlug))

// outboxed is its input.
type outboxed struct {
	Flow    string            `json:"flow"`
	ID      string            `json:"id"`
	Input   json.RawMessage   `json:"input"`
	Headers map[string]string `json:"headers,omitempty"`
	At      time.Time         `json:"at,omitzero"`
	// Priority is empty for that of the flow.
	Priority spec.Priority `json:"priority,omitempty"`
}

// An Outbox starts runs on Temporal when transactions of a PostgreSQL with flowc's engine
// commit: a start in a transaction is a job, which a worker of that database does, see
// [Outbox.Service].
//
//	run, err := processorder.StartProcessOrder(ctx, outbox.In(tx), order)
//	err = tx.Commit(ctx)
//	shipment, err := run.Via(db).Wait(ctx)
//
// The DB finds runs that are still in the outbox, too: a program that reads or waits for
// such runs makes the outbox as well.
type Outbox struct {
	db *DB
	pg runtime.DB
}

// NewOutbox returns the outbox of a DB in a PostgreSQL, a pool usually. A DB has one.
func NewOutbox(db *DB, pg runtime.DB) *Outbox {
	o := &Outbox{db, pg}
	db.outbox.Store(o)
	return o
}

// Upsert puts the job into the PostgreSQL, see [runtime.UpsertFlow].
func (o *Outbox) Upsert(ctx context.Context) error {
	_, err := outboxFlow.Upsert(ctx, o.pg)
	return err
}

// In returns a DB that starts runs when a transaction of the PostgreSQL commits. Whether a
// key has been used on Temporal before, and whether the flow is there, shows only then.
func (o *Outbox) In(tx runtime.DB) runtime.DB {
	return &outboxDB{NoTables: o.db.NoTables, outbox: &Outbox{o.db, tx}}
}

// Service returns the service that hands runs to Temporal, for a worker of the PostgreSQL:
//
//	w, err := worker.New(pool, worker.Config{}, outbox.Service())
//
// Handing over a run again changes nothing.
func (o *Outbox) Service() handler.Service {
	return outboxFlow.Serve([]handler.Handler{
		handler.Handle(OutboxSlug, handler.Input[outboxed](), handler.NoOutput(o.relay)),
	})
}

// relay hands a run to Temporal.
func (o *Outbox) relay(ctx context.Context, s outboxed) error {
	b := backend{o.db}
	known, err := b.known(ctx, s.Flow)
	if err == nil && known == nil {
		err = notStored(s.Flow)
	}
	if err == nil {
		if err := checkInputs(known.flow, runtime.StartRequest{Flow: s.Flow, Runs: []runtime.NewRun{{Input: s.Input}}}, b.limit); err != nil {
			return handler.Permanent(err)
		}
		_, err = b.start(ctx, s.Flow, s.ID, known.priority(s.Priority), begin{Input: s.Input, Headers: s.Headers, At: s.At})
	}
	switch {
	case err == nil:
		return o.unlessCancelled(ctx, s.ID)
	case errors.Is(err, runtime.ErrRunIDTaken):
		return handler.Permanent(err)
	}
	task, _ := handler.TaskFromContext(ctx)
	return handler.RetryAfter(time.Duration(min(task.Attempt, 10))*time.Second, startError(s.Flow, 0, err))
}

// unlessCancelled cancels a run on Temporal whose job was cancelled while the run was handed
// over. Whoever cancels later finds the run on Temporal.
func (o *Outbox) unlessCancelled(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second) // a cancellation ends the handler's
	defer cancel()
	boxed, err := runtime.GetRun(ctx, o.pg, job(id))
	if err != nil {
		return handler.RetryAfter(time.Second, err) // handing over again changes nothing
	}
	if boxed.Status != runtime.RunCancelled {
		return nil
	}
	_, err = backend{o.db}.CancelRun(ctx, id, boxed.CancelReason)
	return err
}

// job returns the id of the job that starts a run.
func job(runID string) string { return runid.Derive("/outbox/" + runID).String() }

// findAnywhere returns the last execution of a run or, if it is still in the outbox, what
// is known of it.
func (b backend) findAnywhere(ctx context.Context, id string) (*execution, *runtime.RunInfo, error) {
	e, err := b.find(ctx, id)
	o := b.outbox.Load()
	if o == nil || !errors.Is(err, runtime.ErrRunNotFound) {
		return e, nil, err
	}
	boxed, boxErr := runtime.GetRun(ctx, o.pg, job(id))
	switch {
	case errors.Is(boxErr, runtime.ErrRunNotFound):
		return nil, nil, err
	case boxErr != nil:
		return nil, nil, boxErr
	case boxed.Status == runtime.RunCompleted: // just now, or it was deleted
		e, err := b.find(ctx, id)
		return e, nil, err
	}
	run, err := asRun(id, boxed)
	if err == nil {
		if known, err := b.known(ctx, run.Flow); err == nil && known != nil {
			run.RemainingSteps = len(known.def.Steps)
		}
	}
	return nil, run, err
}

// explain returns why a run is still in the outbox.
func (o *Outbox) explain(ctx context.Context, run *runtime.RunInfo) ([]runtime.Reason, error) {
	reasons, err := runtime.ExplainRun(ctx, o.pg, job(run.ID))
	for i := range reasons {
		reasons[i] = inOutbox(run.Flow, reasons[i])
	}
	return reasons, err
}

// inOutbox returns the reason of a run whose job waits for another.
func inOutbox(flow string, job runtime.Reason) runtime.Reason {
	r := runtime.Reason{Kind: runtime.ReasonOutbox, Flow: flow, Message: job.String(), Until: job.Until, Since: job.Since, At: job.At}
	switch job.Kind {
	case runtime.ReasonNoWorker:
		r.Message = "no worker of the PostgreSQL serves temporalflow.Outbox.Service"
	case runtime.ReasonRetry:
		r.Attempt, r.Message = job.Attempt, fmt.Sprintf("attempt %d failed: %s", job.Attempt, job.Message)
	}
	return r
}

// await waits until a run is out of the outbox.
func (o *Outbox) await(ctx context.Context, id string) error {
	run, err := outboxFlow.Get(ctx, o.pg, job(id))
	if err == nil {
		_, err = run.Wait(ctx)
	}
	return err
}

// asRun returns the run of a job that Temporal does not have.
func asRun(id string, job *runtime.RunInfo) (*runtime.RunInfo, error) {
	var s outboxed
	if err := json.Unmarshal(job.Input, &s); err != nil {
		return nil, err
	}
	r := &runtime.RunInfo{
		ID: id, Flow: s.Flow, Status: job.Status, Input: s.Input, StartedAt: job.StartedAt, ScheduledAt: s.At,
		FailedAt: job.FailedAt, CancelledAt: job.CancelledAt, CancelReason: job.CancelReason,
	}
	if s.Priority != spec.PriorityNormal {
		r.Priority = s.Priority
	}
	if job.Status == runtime.RunFailed {
		r.Error = "flowc: Temporal did not take the run out of the outbox: " + job.Error
	}
	return r, nil
}

// outboxDB is a transaction with an outbox.
type outboxDB struct {
	runtime.NoTables
	outbox *Outbox
}

var _ runtime.BackendDB = (*outboxDB)(nil)

func (o *outboxDB) Backend() runtime.Backend { return outboxBackend{backend{o.outbox.db}, o.outbox} }

// InTx returns true, so that nobody waits in the transaction.
func (o *outboxDB) InTx() bool { return true }

// outboxBackend starts runs through the outbox, and is else that of the DB.
type outboxBackend struct {
	backend
	outbox *Outbox
}

// Start writes the starts into the transaction.
func (b outboxBackend) Start(ctx context.Context, r runtime.StartRequest) ([]runtime.StartedRun, error) {
	at := r.At
	if r.In > 0 {
		at = time.Now().Add(r.In)
	}
	jobs := runtime.StartRequest{Flow: OutboxSlug, Priority: r.Priority}
	for i, n := range r.Runs {
		if len(n.Input) > b.limit {
			return nil, &runtime.InputError{Flow: r.Flow, Index: i, Err: tooLong("the input", len(n.Input))}
		}
		input, err := json.Marshal(outboxed{r.Flow, n.ID, n.Input, headersOf(n.Headers), at, r.Priority})
		if err != nil {
			return nil, &runtime.InputError{Flow: r.Flow, Index: i, Err: err}
		}
		jobs.Runs = append(jobs.Runs, runtime.NewRun{ID: job(n.ID), Input: input, Chosen: n.Chosen})
	}
	started, err := runtime.BackendOf(b.outbox.pg).Start(ctx, jobs)
	if err != nil {
		return nil, fmt.Errorf("flowc: starting flow %s through the outbox: %w", r.Flow, err)
	}
	for i := range started {
		started[i] = runtime.StartedRun{Existed: started[i].Existed, ScheduledAt: at}
	}
	return started, nil
}
