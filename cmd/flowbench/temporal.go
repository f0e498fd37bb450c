package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	sdkworker "go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/flowc-dev/flowc/runtime/temporalflow"
	"github.com/flowc-dev/flowc/runtime/temporalflow/temporaldev"
)

// atOnce is how many runs are in flight in the cells that have Temporal: each caller starts
// one, waits for its end and starts the next.
const atOnce = 64

// listed is a flow that maps over the list that its first step gives.
var listed = definition("bench_list",
	spec.Step{Slug: "list"},
	spec.Step{Slug: "each", Type: spec.TypeMap, Deps: []string{"list"}},
	spec.Step{Slug: "last", Deps: []string{"each"}})

// give serves a flow whose handlers give what those of [echo] do, and the first of
// [listed] a list.
func give(def spec.Flow, items int) handler.Service {
	var handlers []handler.Handler
	for _, step := range def.Steps {
		handlers = append(handlers, handler.HandleValues(step.Slug, func(context.Context, handler.Values) (any, error) {
			if step.Slug == "list" {
				return make([]payload, items), nil
			}
			return payload{}, nil
		}))
	}
	return handler.Serve(def, handlers)
}

// A temporal is a Temporal server, of one node, with its data on the PostgreSQL that
// everything is measured on.
type temporal struct {
	server *temporaldev.Server
	client client.Client
}

// temporal starts it, unless it runs already.
func (s *server) temporal(ctx context.Context) (*temporal, error) {
	if s.node != nil {
		return s.node, nil
	}
	programs, err := temporaldev.Build(ctx, os.Stderr)
	if err != nil {
		return nil, err
	}
	db, err := programs.CreateDatabase(ctx, s.db.URL(), "temporal")
	if err != nil {
		return nil, err
	}
	node, err := programs.Start(ctx, temporaldev.Config{Database: db})
	if err != nil {
		return nil, err
	}
	c, err := client.Dial(client.Options{
		HostPort: node.Address(), Namespace: temporaldev.DefaultNamespace, Logger: temporalflow.Logger(slog.New(slog.DiscardHandler)),
	})
	if err != nil {
		return nil, errors.Join(err, node.Close())
	}
	s.node = &temporal{node, c}
	return s.node, nil
}

func (n *temporal) close() {
	if n != nil {
		n.client.Close()
		n.server.Close()
	}
}

// A runner runs a flow to the end, somewhere.
type runner struct {
	run  func(ctx context.Context, i int) error
	tidy func()
}

// A place makes a runner of a flow.
type place func(ctx context.Context, s *server, service handler.Service) (runner, error)

// onPostgres runs flows with flowc's engine.
func onPostgres(ctx context.Context, s *server, service handler.Service) (runner, error) {
	pool, drop, err := install(ctx, s, service.Definition())
	if err != nil {
		return runner{}, err
	}
	stop, err := startWorkers(ctx, pool, 1, atOnce, service)
	if err != nil {
		drop()
		return runner{}, err
	}
	return runner{startAndWait(pool, service), func() { stop(); drop() }}, nil
}

// onTemporal runs flows on Temporal.
func onTemporal(ctx context.Context, s *server, service handler.Service) (runner, error) {
	node, err := s.temporal(ctx)
	if err != nil {
		return runner{}, err
	}
	db := temporalflow.New(node.client, temporaldev.DefaultNamespace)
	if err := runtime.UpsertServed(ctx, db, service); err != nil {
		return runner{}, err
	}
	w, err := temporalflow.NewWorker(db, temporalflow.Config{
		Concurrency: atOnce, Logger: slog.New(slog.DiscardHandler), Options: workerOptions(),
	}, service)
	if err != nil {
		return runner{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	return runner{startAndWait(db, service), func() { cancel(); <-ended }}, nil
}

func startAndWait(db runtime.DB, service handler.Service) func(context.Context, int) error {
	slug := service.Definition().Slug
	return func(ctx context.Context, i int) error {
		run, err := runtime.StartFlow(ctx, db, slug, payload{ID: i})
		if err != nil {
			return err
		}
		_, err = run.Wait(ctx)
		return err
	}
}

// workerOptions are those of all workers on Temporal, ours and the one written by hand.
func workerOptions() sdkworker.Options {
	return sdkworker.Options{
		WorkflowTaskPollerBehavior: sdkworker.NewPollerBehaviorAutoscaling(sdkworker.PollerBehaviorAutoscalingOptions{}),
		ActivityTaskPollerBehavior: sdkworker.NewPollerBehaviorAutoscaling(sdkworker.PollerBehaviorAutoscalingOptions{}),
	}
}

// byHand runs the diamond as one would write it for Temporal.
func byHand(ctx context.Context, s *server, _ handler.Service) (runner, error) {
	const queue, name = "by_hand", "diamond"
	node, err := s.temporal(ctx)
	if err != nil {
		return runner{}, err
	}
	options := workerOptions()
	options.MaxConcurrentActivityExecutionSize = atOnce
	w := sdkworker.New(node.client, queue, options)
	one := func(context.Context, payload) (payload, error) { return payload{}, nil }
	two := func(context.Context, payload, payload) (payload, error) { return payload{}, nil }
	for step, work := range map[string]any{"a": one, "b": one, "c": one, "d": two} {
		w.RegisterActivityWithOptions(work, activity.RegisterOptions{Name: step})
	}
	w.RegisterWorkflowWithOptions(diamondByHand, workflow.RegisterOptions{Name: name})
	if err := w.Start(); err != nil {
		return runner{}, err
	}
	run := func(ctx context.Context, i int) error {
		run, err := node.client.ExecuteWorkflow(ctx, client.StartWorkflowOptions{TaskQueue: queue, EnableEagerStart: true}, name, payload{ID: i})
		if err != nil {
			return err
		}
		var out json.RawMessage
		return run.Get(ctx, &out)
	}
	return runner{run, w.Stop}, nil
}

func diamondByHand(ctx workflow.Context, in payload) (payload, error) {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute})
	var a, b, c, d payload
	if err := workflow.ExecuteActivity(ctx, "a", in).Get(ctx, &a); err != nil {
		return d, err
	}
	left, right := workflow.ExecuteActivity(ctx, "b", a), workflow.ExecuteActivity(ctx, "c", a)
	if err := left.Get(ctx, &b); err != nil {
		return d, err
	}
	if err := right.Get(ctx, &c); err != nil {
		return d, err
	}
	return d, workflow.ExecuteActivity(ctx, "d", b, c).Get(ctx, &d)
}

// runsAtOnce runs a flow n times, a unit each, [atOnce] at once.
func runsAtOnce(at place, service handler.Service, n int) func(context.Context, *server) (func(context.Context) (sample, error), func(), error) {
	return func(ctx context.Context, s *server) (func(context.Context) (sample, error), func(), error) {
		p, err := at(ctx, s, service)
		if err != nil {
			return nil, nil, err
		}
		work := func(ctx context.Context) (sample, error) {
			return sample{units: n}, parallel(atOnce, n, func(i int) error { return p.run(ctx, i) })
		}
		return work, p.tidy, nil
	}
}

// itemsOfMap runs [listed] once, a unit for each item.
func itemsOfMap(at place, items int) func(context.Context, *server) (func(context.Context) (sample, error), func(), error) {
	return func(ctx context.Context, s *server) (func(context.Context) (sample, error), func(), error) {
		p, err := at(ctx, s, give(listed, items))
		if err != nil {
			return nil, nil, err
		}
		work := func(ctx context.Context) (sample, error) { return sample{units: items}, p.run(ctx, 0) }
		return work, p.tidy, nil
	}
}

// idleRuns runs a job n times on an idle system, from the call of its start to its end.
func idleRuns(at place, n int) func(context.Context, *server) (func(context.Context) (sample, error), func(), error) {
	return func(ctx context.Context, s *server) (func(context.Context) (sample, error), func(), error) {
		p, err := at(ctx, s, give(job, 0))
		if err != nil {
			return nil, nil, err
		}
		work := func(ctx context.Context) (sample, error) {
			got := sample{units: n}
			for i := range n {
				began := time.Now()
				if err := p.run(ctx, i); err != nil {
					return got, err
				}
				got.latencies = append(got.latencies, time.Since(began))
				time.Sleep(30 * time.Millisecond)
			}
			return got, nil
		}
		return work, p.tidy, nil
	}
}

// temporalCells compare flows on Temporal with the same on PostgreSQL and with a workflow
// written by hand. On Temporal, what is used of the server's processor is that of the
// PostgreSQL and of the Temporal server together.
func temporalCells(n func(int) int) []cell {
	return []cell{
		{name: "temporal-jobs", title: "jobs of one step, start to end, 64 at once", temporal: true, systems: []system{
			{"on Temporal", runsAtOnce(onTemporal, give(job, 0), n(150))},
			{"on PostgreSQL", runsAtOnce(onPostgres, give(job, 0), n(4_000))},
		}},
		{name: "temporal-diamonds", title: "a diamond of 4 steps, start to end, 64 at once", temporal: true, systems: []system{
			{"on Temporal", runsAtOnce(onTemporal, give(diamond, 0), n(64))},
			{"by hand", runsAtOnce(byHand, handler.Service{}, n(64))},
			{"on PostgreSQL", runsAtOnce(onPostgres, give(diamond, 0), n(2_000))},
		}},
		{name: "temporal-map", title: "a map of 1000", temporal: true, systems: []system{
			{"on Temporal", itemsOfMap(onTemporal, n(1000))},
			{"on PostgreSQL", itemsOfMap(onPostgres, n(1000))},
		}},
		{name: "temporal-idle", title: "one job on an idle system, start to end", temporal: true, systems: []system{
			{"on Temporal", idleRuns(onTemporal, n(20))},
			{"on PostgreSQL", idleRuns(onPostgres, n(20))},
		}},
	}
}
