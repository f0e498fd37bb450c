// Package engine installs the database side of flowc: the SQL that keeps
// definitions, runs, tasks and the queue.
//
//	err := engine.Migrate(ctx, pool) // at deployment: installs the engine, or upgrades it
//	err := engine.Check(ctx, pool)   // in a program: is it there, and of the right version?
//
// `flowc migrate up` does the same from a shell, and [Script] returns the SQL for
// migration tools. [GetStatus] tells what is installed, and [GrantRoles] lets roles
// that are not the owner start, work, view or operate.
//
// Three schemas belong to the engine. pgflow and pgmq are the contract of pgflow,
// which workers and clients in other languages use too; flowc holds what the packages
// runtime and worker call. A release that changes the arguments or the result of a
// function drops the old one in a migration.
//
// # Rights
//
// PUBLIC has no rights in the three schemas. The owner may do everything; programs
// that only start, work, view or operate log in as roles with fewer rights, which
// [GrantRoles] and `flowc migrate roles` set up. They can call functions, which run
// with the owner's rights, and nothing else:
//
//   - a starter: start, schedule, cancel, wait for and read runs whose ids it knows;
//     of the contract start_flow, start_flow_with_states and get_run_with_states
//   - a worker: claim, report, recover, prune what its Retention says; of the contract
//     pgmq.read, read_with_poll and set_vt, start_tasks, complete_task, fail_task,
//     set_vt_batch, mark_worker_stopped and track_worker_function, and select, insert
//     and update of pgflow.workers, which workers in other languages write themselves
//   - a viewer: all lists and figures, inputs and outputs included; it cannot lock
//     anything, and so polls where others are told of the end of a run
//   - an operator: what a viewer may, and start, cancel, retry, prune, delete and pause
//
// Who may do no more than connect can listen, and learns that a flow has work, by its
// slug, and that some run has ended. Nothing waits for an advisory lock, which anybody
// may hold, but the first migration of a database.
//
// Definitions are the owner's: UpsertFlow, DeleteFlow, and ensure_flow_compiled,
// which a worker of pgflow calls when it starts and which can destroy runs. Grant it
// to the role of such workers if they are to compile flows themselves.
package engine
