// Package ops is for those who operate flows: it lists runs, tasks, flows, workers and
// schedules, reads payloads, pauses flows and schedules, and prunes old runs. The command
// flowc and the dashboard are made of it.
//
//	runs, err := ops.ListRuns(ctx, pool, ops.RunFilter{Statuses: []runtime.RunStatus{runtime.RunFailed}})
//
// Lists come in pages and leave out what is large, so that none of it is dear on a
// database with many runs. All of it needs flowc's engine: elsewhere it is a
// runtime.ErrNeedsEngine.
package ops
