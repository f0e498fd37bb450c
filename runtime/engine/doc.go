// Package engine is the database side: the SQL that keeps definitions, runs,
// tasks and the queue, and its installation.
//
// Three schemas belong to it. pgflow and pgmq are the contract that workers and
// clients in other languages use too; flowc is what the packages runtime and
// worker call. The SQL is in sql/migrations, which changes tables and runs once,
// and sql/functions, one file a subject, which is installed anew whenever it
// differs:
//
//   - queue.sql: the queues of the contract, which are views of tasks
//   - definitions.sql: creating, comparing, changing and deleting flows
//   - start.sql: starting and scheduling runs
//   - cron.sql: reading cron expressions and finding their ticks
//   - schedules.sql: flows that the clock starts
//   - steps.sql: what happens to steps and runs, each transition once, over sets
//   - conditions.sql: conditions on steps
//   - claim.sql: handing tasks to workers, and where in a queue to look for them
//   - finish.sql: reporting tasks; the order of locks is written there
//   - recover.sql: what dead workers held
//   - workers.sql: workers, leases, waking
//   - control.sql: cancelling, retrying, rescheduling and deleting runs
//   - read.sql: reading one run
//   - explain.sql: what a run waits for
//   - lists.sql: lists and figures
//   - events.sql: events for realtime.send
//   - supabase.sql: what exists for hosted Supabase only
//   - roles.sql: what roles that are not the owner may call
//   - attributes.sql: search path, privileges and plan settings of them all
//
// A release that changes the arguments or the result of a function drops the old
// one in a migration.
//
// # Rights
//
// Nothing in the three schemas is open to PUBLIC. The owner may do everything;
// programs that only start, work, look or steer log in as roles with fewer rights,
// which [GrantRoles] and `flowc migrate roles` set up. They can call functions,
// which run with the owner's rights, and nothing else:
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
//
// # What was tried for speed
//
// What a run costs is statements, row versions and index entries, in this order:
//
//   - Positions in arrays of text or jsonb are found by walking, and a CTE without
//     a hash join is scanned for each row of the other side: both made a report
//     quadratic in its batch. Arrays are unnested together now, once: 123 to 50 µs
//     a task.
//   - One statement for the start of a plain run instead of five: 340 to 215 µs
//     for a single start. Starts that come together in one process are sent as one
//     (see runtime): 0.8 to 2.2 times the rate of River's Insert.
//   - A call of a function with settings costs 2 to 4 µs more than one without, so
//     that small helpers are not called once a row.
//   - Plans are kept, and must be good for tables of any size: attributes.sql says how
//     that is seen to, growth_test.go holds it. Reports of a session that began on an
//     empty database cost a tenth of what they did.
//   - SQL functions are planned anew in every statement that calls them: what is hot
//     is plpgsql.
//   - No index on what changes: all updates of runs, states and tasks are HOT, but for
//     the one by which a task leaves the queue.
//   - A task and its message are one row, and the queue is a partial index of the table
//     of tasks. Before, a message was a row of its own, that was inserted, locked, hidden,
//     and moved to an archive: a job 62 to 54 µs of the database's time, 2180 to 1850
//     bytes of WAL, a diamond 290 to 250 µs. That completing a task is not HOT any more
//     costs one index entry of it.
//   - What has left the queue stays in that index until a vacuum, which a large table
//     seldom gets, and for as long as a snapshot is open: claims begin behind it, where
//     flowc.watermarks says. Beside a snapshot, 60,000 jobs made a claim of 500 take 12 ms
//     instead of 5, and a million would make it 100. A task that waits for hours holds its
//     head where it is: 200,000 that are done meanwhile cost a claim less than 1 ms, and
//     vacuum clears them away.
//   - A claim is one statement, which looks at no row twice, and knows the steps by their
//     names: 54 to 50 µs a job, a diamond 250 to 230. What it rests on is that tasks in
//     the queue belong to runs and steps that go on, which the other functions see to.
//   - Rejected: claims that commit asynchronously. They would save a flush for each
//     step of a chain, and do a task twice when the server crashes.
//   - A claim returns from the update that begins the tasks, and does not read them
//     again: 19 to 15 µs a task. No input passes through the subquery that the update
//     joins: an update keeps each joined row in one piece, and unpacks large values for
//     that, once for every task of a map.
//   - Steps behind finished ones are looked for only where the definition has some,
//     waiters only if there are any: 30 to 27 µs a report.
//   - A quarter of the processor's time went into index lookups. Rows that were found
//     and are locked, or whose run is, are changed by their ctid; what is needed of a
//     step is looked up once; a report whose runs were all alive when they were locked
//     does not look at them again; lookups in subqueries, which nothing can reorder,
//     use = instead of = any (array[x]), which costs half as much again. Claims 18 to
//     13 µs a task, reports 28 to 23, a diamond alone 290 to 235.
//   - Each of a worker's two reporters has runs of its own. Before, reports of the same
//     run waited for each other for a whole report, and then looked at every row again:
//     in a diamond 527 to 350 µs.
//   - Many runs are inserted without looking for each id first, in a subtransaction
//     that falls back to `on conflict`; order by and generate_series are not used for
//     what has one task; runs that simply started are not told of: 16 to 13.7 µs a start.
//   - Inputs and outputs come as jsonb[] and not as text[] that is cast: 0.4 instead of
//     2.0 µs an element in a statement that does nothing else, 15.5 to 14.8 µs a start;
//     in reports no gain that was more than the noise. Ids as uuid[] would save 0.26 in
//     that statement; as the text of an array they would cost 0.12 more than the cast.
//   - Not tried: large starts in portions that are sent while the next is encoded. It
//     could save at most the client's part, 1.5 of 17 µs, less a statement a portion.
//   - Checks of tables are read from their text, and prepared, in every statement that
//     writes to the table, for 5 µs each: 17 in a start, 31 in a report that claims along.
//     With the two that the contract's tests look at, 1170 to 1000 µs for such a report
//     of one task; two on counters were kept besides.
//   - Whether somebody listens for events is the lookup of a schema, 1 µs, instead of a
//     function call that reads a signature, 16 µs and 43 after a rest.
//   - Several steps of one run in a report are completed at once, unless a condition or a
//     map makes their order matter; what a step leads to is remembered for all runs; the
//     output of a map is put together apart: a diamond 325 to 290 µs.
//   - Autovacuum waits for more changes: vacuuming and analyzing have all connections make
//     their plans anew, and a start just after it took 4 to 9 ms. While the tables are
//     small it costs as much as a sixth of the work.
//   - Without gain: the leaves of a flow, remembered, instead of looking for steps behind
//     each completed one when a run ends (0.3 µs less for a diamond, 0.4 more for a job);
//     a shorter statement to settle; claims that begin behind what their session claimed
//     last. Leaving out what a claim does for maps, headers and ticks would save 22 of
//     134 µs of a claim of one task.
//   - Without gain: updating or deleting by = any (ids) without a join, an ascending
//     index of the newest runs, reports and claims of at most 250 or 500.
//   - Small reports claim along, as one transaction (see the worker's documentation):
//     a chain of four took 3.4 to 3.6 times as long as one job instead of 5.4. Starts do
//     so too for a worker of their process that rests: a job takes 1.65 ms instead of 2.4.
//   - Rejected: claiming before reporting in that transaction, so that runs are
//     locked for less long. It would take tasks before runs, against the order of locks.
//   - Rejected: settings on entry points only, which was no faster in a claim and a
//     report of five tasks, and join_collapse_limit = 1, which made a first call on a
//     new connection no shorter.
//   - Not done: what a call costs whatever it carries, 0.3 ms for a report and 0.25
//     for a claim, is mostly the start of eight statements with wide plans, and a first
//     call on a new connection takes 5 to 9 ms. See the worker's documentation for what
//     it does about that.
//   - What is left of a job, 13 µs for its start and 37 for its work, is three inserted
//     rows with five index entries, then a locked and changed row in a claim, a locked and
//     three changed ones in a report, of which one gets an index entry again. River's job
//     is one row with four index entries, inserted by COPY in half the time, and changed
//     twice.
package engine
