package temporalflow

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"

	"github.com/flowc-dev/flowc/runtime"
)

// A DB is a [runtime.DB] whose runs are on Temporal.
type DB struct {
	runtime.NoTables
	client    client.Client
	namespace string
	limit     int // how many bytes a value may have
	flows     sync.Map
	outbox    atomic.Pointer[Outbox]
	ends      ends
}

var _ runtime.BackendDB = (*DB)(nil)

// An Option configures a [DB].
type Option func(*DB)

// WithExternalStorage says that the client has ExternalStorage, so that values may have more
// than the two megabytes that Temporal takes. All clients and workers of the namespace need
// the same storage.
func WithExternalStorage() Option { return func(db *DB) { db.limit = unlimited } }

// New returns a DB with the runs of a namespace, which has to be the client's.
func New(c client.Client, namespace string, opts ...Option) *DB {
	db := &DB{
		NoTables: runtime.NoTables{Instead: "Temporal has no tables to query: look at its UI, or ask its client"},
		client:   c, namespace: namespace, limit: maxValue,
	}
	for _, opt := range opts {
		opt(db)
	}
	return db
}

// Backend returns the backend for package runtime. Programs do not need it.
func (db *DB) Backend() runtime.Backend { return backend{db} }

// InTx returns false: nothing here is part of a transaction. Package runtime calls it.
func (db *DB) InTx() bool { return false }

// String returns the name of the namespace.
func (db *DB) String() string { return "Temporal namespace " + db.namespace }

// A backend implements [runtime.Backend].
type backend struct{ *DB }

var (
	_ runtime.Steerer     = backend{}
	_ runtime.Prioritizer = backend{}
	_ runtime.Scheduler   = backend{}
	_ runtime.Awaiter     = backend{}
)

// execution is one execution of the workflow of a run; a retry has another.
type execution struct {
	*client.WorkflowExecutionDescription
	id string // of the run
}

func (e *execution) runID() string { return e.WorkflowExecution.RunID }
func (e *execution) flow() string  { return e.WorkflowType.Name }
func (e *execution) running() bool { return e.Status == enums.WORKFLOW_EXECUTION_STATUS_RUNNING }

// unbegun reports whether no worker has done anything for it: that it was started, and that a
// worker should begin it, is all that there is.
func (e *execution) unbegun() bool {
	return e.running() && e.RawResponse.GetWorkflowExecutionInfo().GetHistoryLength() <= 2
}

// startAt returns when a run starts that waits for that, else the zero time.
func (e *execution) startAt() (at time.Time) {
	if e.running() && e.GetMemoValue(startMemo, &at) == nil && at.After(time.Now()) {
		return at.UTC()
	}
	return time.Time{}
}

// find returns the last execution of a run.
func (b backend) find(ctx context.Context, id string) (*execution, error) {
	d, err := b.client.DescribeWorkflow(ctx, id, "")
	if err != nil {
		return nil, notFound(id, err)
	}
	var run bool
	if d.GetMemoValue(runMemo, &run) != nil {
		return nil, fmt.Errorf("flowc: %w: %s", runtime.ErrRunNotFound, id)
	}
	return &execution{d, id}, nil
}

// notFound returns the error of a call about a run.
func notFound(id string, err error) error {
	if isNotFound(err) {
		return fmt.Errorf("flowc: %w: %s", runtime.ErrRunNotFound, id)
	}
	return err
}

func isNotFound(err error) bool { return errors.As(err, new(*serviceerror.NotFound)) }
