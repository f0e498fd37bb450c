package temporalflow_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/flowc-dev/flowc/runtime/temporalflow"
)

// The tests whose names begin with TestServer need a Temporal server: make temporal starts
// one, and TEMPORAL_ADDRESS names one that runs. Each test has a namespace of its own. What
// takes how long is logged, and not asserted: stuck is how long nothing takes that is not
// stuck.
const stuck = 2 * time.Minute

// poll is how often is looked for what nobody tells.
const poll = 20 * time.Millisecond

var quiet = slog.New(slog.DiscardHandler)

// address returns where the server is.
func address(t *testing.T) string {
	t.Helper()
	a := os.Getenv("TEMPORAL_ADDRESS")
	if a == "" {
		t.Skip("TEMPORAL_ADDRESS is not set: make temporal runs this test")
	}
	return a
}

// A namespace is one of a server, for one test.
type namespace struct {
	name   string
	client client.Client
	db     *temporalflow.DB
}

// newNamespace makes a namespace on the server.
func newNamespace(t *testing.T) *namespace {
	t.Helper()
	return namespaceAt(t, address(t))
}

func namespaceAt(t *testing.T, address string) *namespace {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), stuck)
	defer cancel()
	n := &namespace{name: "flowc-test-" + uuid.NewString()[:8]}
	register(t, ctx, address, n.name)
	n.client, n.db = dial(t, address, n.name)
	for { // all parts of the server have to know the namespace
		_, err := n.client.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{PageSize: 1})
		if err == nil {
			return n
		}
		require.ErrorAs(t, err, new(*serviceerror.NamespaceNotFound))
		time.Sleep(poll)
	}
}

func register(t *testing.T, ctx context.Context, address, name string) {
	t.Helper()
	c, err := client.NewNamespaceClient(client.Options{HostPort: address, Logger: temporalflow.Logger(quiet)})
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.Register(ctx, &workflowservice.RegisterNamespaceRequest{
		Namespace: name, WorkflowExecutionRetentionPeriod: durationpb.New(24 * time.Hour),
	}))
}

func dial(t *testing.T, address, name string) (client.Client, *temporalflow.DB) {
	t.Helper()
	c, err := client.Dial(client.Options{HostPort: address, Namespace: name, Logger: temporalflow.Logger(quiet)})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c, temporalflow.New(c, name)
}

// open makes a namespace with the flows of some services, and a worker for them until the
// test ends.
func open(t *testing.T, services ...handler.Service) *namespace {
	t.Helper()
	n := newNamespace(t)
	require.NoError(t, runtime.UpsertServed(t.Context(), n.db, services...))
	work(t, n.db, services...)
	return n
}

// work runs a worker until it is stopped, or the test ends.
func work(t *testing.T, db *temporalflow.DB, services ...handler.Service) (stop func()) {
	t.Helper()
	w, err := temporalflow.NewWorker(db, temporalflow.Config{Logger: quiet, Grace: time.Second}, services...)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// A function does the work of a step.
type function = func(ctx context.Context, v handler.Values) (any, error)

func give(v any) function {
	return func(context.Context, handler.Values) (any, error) { return v, nil }
}

// serve returns the service of a flow, with a function for each step.
func serve(flow spec.Flow, functions map[string]function, opts ...handler.ServeOption) handler.Service {
	var handlers []handler.Handler
	for step, fn := range functions {
		handlers = append(handlers, handler.HandleValues(step, fn))
	}
	return handler.Serve(flow, handlers, opts...)
}

// job returns the service of a flow with one step.
func job(slug string, fn function) handler.Service {
	return serve(spec.Flow{Slug: slug, Steps: []spec.Step{{Slug: "work"}}}, map[string]function{"work": fn})
}

// eventually waits until something holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for began := time.Now(); !holds(); time.Sleep(poll) {
		require.Less(t, time.Since(began), stuck, "stuck: "+what)
	}
}

// end waits for the end of a run, and returns it with the states of its steps.
func end[Out any](t *testing.T, db runtime.DB, run *runtime.Run[Out]) *runtime.RunInfo {
	t.Helper()
	_, err := run.Via(db).Wait(t.Context(), runtime.WithTimeout(stuck))
	if err != nil && !errors.As(err, new(*runtime.RunFailedError)) {
		require.NoError(t, err)
	}
	info, err := runtime.GetRun(t.Context(), db, run.ID(), runtime.WithStates())
	require.NoError(t, err)
	return info
}

// counts counts calls by name.
type counts struct {
	mu  sync.Mutex
	all map[string]int
}

func (c *counts) add(name ...any) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil {
		c.all = map[string]int{}
	}
	key := strings.TrimSuffix(fmt.Sprintln(name...), "\n")
	c.all[key]++
	return c.all[key]
}

func (c *counts) of(name ...any) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all[strings.TrimSuffix(fmt.Sprintln(name...), "\n")]
}
