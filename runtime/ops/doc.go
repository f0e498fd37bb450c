// Package ops is for operating flows: it lists runs, tasks, flows, workers and schedules,
// reads payloads, pauses flows and schedules, and prunes old runs. The command flowc and
// the dashboard are built on it.
//
//	runs, err := ops.ListRuns(ctx, pool, ops.RunFilter{Statuses: []runtime.RunStatus{runtime.RunFailed}})
//
// Lists are paged and leave out large values, so that they are cheap on a database with many
// runs. On PostgreSQL every function needs flowc's engine, and returns a
// runtime.ErrNeedsEngine without. Another runtime.Backend may implement Lister and the
// other interfaces; a function that it does not implement returns a runtime.ErrNeedsEngine.
package ops
