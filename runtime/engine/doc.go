// Package engine is the database side: the SQL that keeps definitions, runs,
// tasks and the queue, and its installation.
//
// Three schemas belong to it. pgflow and pgmq are the contract that workers and
// clients in other languages use too; flowc is what the packages runtime and
// worker call. The SQL is in sql/migrations, which changes tables and runs once,
// and sql/functions, one file a subject, which is installed anew whenever it
// differs:
//
//   - queue.sql: the queue functions, over one table for all queues
//   - definitions.sql: creating, comparing, changing and deleting flows
//   - start.sql: starting and scheduling runs
//   - steps.sql: what happens to steps and runs, each transition once, over sets
//   - conditions.sql: conditions on steps
//   - claim.sql: handing tasks to workers
//   - finish.sql: reporting tasks; the order of locks is written there
//   - recover.sql: what dead workers held
//   - workers.sql: workers, leases, waking
//   - control.sql: cancelling, retrying, rescheduling and deleting runs
//   - read.sql: reading one run
//   - lists.sql: lists and figures
//   - events.sql: events for realtime.send
//   - supabase.sql: what exists for hosted Supabase only
//   - attributes.sql: search path, privileges and plan settings of them all
package engine
