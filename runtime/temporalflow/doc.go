// Package temporalflow runs flows on Temporal. What starts, waits for and retries runs, and
// the handlers that do their tasks, are the same code as on PostgreSQL:
//
//	c, err := client.Dial(client.Options{HostPort: "temporal:7233", Namespace: "shop"})
//	db := temporalflow.New(c, "shop") // a runtime.DB
//	_, err = processorder.UpsertProcessOrder(ctx, db)
//	w, err := temporalflow.NewWorker(db, temporalflow.Config{}, processorder.Serve(handlers))
//	stop := w.Start(ctx)
//	run, err := processorder.StartProcessOrder(ctx, db, order)
//	shipment, err := run.Wait(ctx)
//
// A run is a workflow: its type is the slug of the flow, its id that of the run. It keeps
// the definition that the worker had which began it. A task is an activity, its type is
// the slug of the step; the tasks of a map over many elements are those of child workflows.
// A flow has a task queue with its slug as its name, so that a namespace for flows alone
// keeps them apart from other workflows.
//
// A start is not part of a transaction of yours, since Temporal has none; [Outbox] makes it
// one. What Temporal cannot do returns a [runtime.ErrNeedsEngine] that says what to do
// instead: the lists and counts of package ops are in Temporal's own UI.
package temporalflow
