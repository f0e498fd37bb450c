package runtime

// The statements of [pgflowBackend], which call the functions of the contract or just read.
// Each takes the same arguments and returns the same columns as that of the engine.

// pgflowStartSQL starts runs, unless they exist already. It returns no row for runs that are
// to start later, which the contract does not support.
//
// It also starts a run whose id another flow has, or that somebody else is starting at the
// same time: that fails with a unique violation.
const pgflowStartSQL = pgflowStarting + `
FROM unnest($2::text[]::jsonb[], $3::text[]::uuid[]) WITH ORDINALITY u(input, run_id, n)` + pgflowUnlessStarted

// pgflowStartChosenSQL is [pgflowStartSQL] for ids that somebody else may use as well.
const pgflowStartChosenSQL = pgflowStarting + `
FROM (` + pgflowLock + `$3` + pgflowInOrder + `) l
JOIN unnest($2::text[]::jsonb[], $3::text[]::uuid[]) WITH ORDINALITY u(input, run_id, n) ON l.taken` + pgflowUnlessStarted

// pgflowLockSQL waits until nobody else is about to start runs of the ids, and prevents it
// until the transaction ends: in a transaction, a start must not meet a duplicate that is
// being created.
const pgflowLockSQL = pgflowLock + `$1` + pgflowInOrder

// pgflowStarting gives another run than was to start where the role may not use flowc's
// engine, and that says that one is enough.
const pgflowStarting = `
SELECT o.n, o.started IS DISTINCT FROM o.run_id, NULL::timestamptz, $1::text, coalesce(o.started, o.run_id)::text, false
FROM (
SELECT u.n::int, u.run_id,
       CASE WHEN r.flow_slug IS DISTINCT FROM $1
            THEN (SELECT s.run_id FROM pgflow.start_flow(flow_slug => $1, input => u.input, run_id => u.run_id) s) END AS started`

const pgflowUnlessStarted = `
LEFT JOIN pgflow.runs r ON r.run_id = u.run_id
WHERE coalesce($4::timestamptz, clock_timestamp() + coalesce($5::interval, '0')) <= clock_timestamp()
ORDER BY u.n OFFSET 0) o
ORDER BY o.n`

// pgflowLock takes one of a thousand locks for each id, in order: the server's lock table
// has no room for a lock per id.
const (
	pgflowLock = `
SELECT count(pg_catalog.pg_advisory_xact_lock(72057594, k.key)) >= 0 AS taken
FROM (SELECT DISTINCT pg_catalog.uuid_hash(i.id::uuid) & 1023 AS key FROM unnest(`
	pgflowInOrder = `::text[]) i(id) ORDER BY 1 OFFSET 0) k`
)

// pgflowStatus is the status of a run r.
const pgflowStatus = `CASE r.status WHEN 'started' THEN 'running' ELSE r.status END`

// pgflowFailedStep is the step that made a run r fail.
const pgflowFailedStep = `
LEFT JOIN LATERAL (
  SELECT st.step_slug, st.error_message, (
    SELECT t.task_index FROM pgflow.step_tasks t JOIN pgflow.steps s ON s.flow_slug = t.flow_slug AND s.step_slug = t.step_slug
    WHERE s.step_type = 'map' AND t.run_id = r.run_id AND t.step_slug = st.step_slug AND t.status = 'failed'
    ORDER BY t.failed_at, t.task_index LIMIT 1) AS task_index
  FROM pgflow.step_states st
  WHERE r.status = 'failed' AND st.run_id = r.run_id AND st.status = 'failed'
  ORDER BY st.failed_at, st.step_slug LIMIT 1) f ON true`

// pgflowOutcomeSQL reads what a waiter needs.
const pgflowOutcomeSQL = `
SELECT r.flow_slug, ` + pgflowStatus + `,
       CASE WHEN $3::boolean AND r.status = 'completed' THEN r.input END,
       CASE WHEN r.status = 'completed' THEN (
         SELECT coalesce(jsonb_object_agg(st.step_slug, coalesce(st.output, 'null')), '{}')
         FROM pgflow.step_states st
         WHERE st.run_id = r.run_id AND st.step_slug = ANY ($2::text[]) AND st.status = 'completed') END,
       f.step_slug, f.task_index, f.error_message
FROM pgflow.runs r` + pgflowFailedStep + `
WHERE r.run_id = $1::text::uuid`

// pgflowGetRunSQL reads a run, with the states of its steps if $2.
const pgflowGetRunSQL = `
SELECT r.run_id::text, r.flow_slug, ` + pgflowStatus + `, r.input, r.output, r.remaining_steps, NULL::timestamptz, NULL::timestamptz, r.started_at,
       r.completed_at, r.failed_at, NULL::timestamptz, NULL::text, f.step_slug, f.task_index, f.error_message,
       CASE WHEN $2::boolean THEN (
         SELECT coalesce(jsonb_agg(to_jsonb(st) || jsonb_build_object(
           'step_index', s.step_index, 'step_type', s.step_type, 'attempts', (
             SELECT coalesce(sum(t.attempts_count), 0) FROM pgflow.step_tasks t
             WHERE t.run_id = st.run_id AND t.step_slug = st.step_slug)) ORDER BY s.step_index), '[]')
         FROM pgflow.step_states st
         JOIN pgflow.steps s ON s.flow_slug = st.flow_slug AND s.step_slug = st.step_slug
         WHERE st.run_id = r.run_id) END,
       NULL::jsonb, NULL::text, NULL::text
FROM pgflow.runs r` + pgflowFailedStep + `
WHERE r.run_id = $1::text::uuid`

// pgflowUpsertSQL upserts a flow. Unless $3, a flow of another shape is left alone:
// ensure_flow_compiled itself would delete it where it takes the database for a local one.
const pgflowUpsertSQL = `
SELECT CASE
  WHEN NOT $3::boolean AND f.known AND f.differences <> '{}' THEN
    jsonb_build_object('status', 'mismatch', 'differences', f.differences, 'deleted_runs', 0)
  ELSE (
    SELECT e.result || jsonb_build_object('deleted_runs', CASE e.result ->> 'status' WHEN 'recompiled' THEN f.runs ELSE 0 END)
    FROM pgflow.ensure_flow_compiled(flow_slug => $1, shape => $2::text::jsonb, allow_data_loss => $3) e(result)) END
FROM (
  SELECT EXISTS (SELECT FROM pgflow.flows WHERE flow_slug = $1) AS known,
         pgflow._compare_flow_shapes($2::text::jsonb, pgflow._get_flow_shape($1)) AS differences,
         (SELECT count(*) FROM pgflow.runs WHERE flow_slug = $1) AS runs
  OFFSET 0) f`

// pgflowDeleteSQL deletes a flow with all its runs; unless $2, not if some have not ended.
// It does nothing for a flow that does not exist: the contract's function would drop a
// queue of that name, which may belong to somebody else.
const pgflowDeleteSQL = `
SELECT jsonb_build_object(
  'existed', f.known, 'runs', f.runs, 'steps', f.steps, 'active', CASE WHEN $2::boolean THEN 0 ELSE f.active END,
  'done', CASE WHEN f.known AND ($2 OR f.active = 0) THEN pgflow.delete_flow_and_data(p_flow_slug => $1)::text END)
FROM (
  SELECT EXISTS (SELECT FROM pgflow.flows WHERE flow_slug = $1) AS known,
         (SELECT count(*) FROM pgflow.runs WHERE flow_slug = $1) AS runs,
         (SELECT count(*) FROM pgflow.runs WHERE flow_slug = $1 AND status = 'started') AS active,
         (SELECT count(*) FROM pgflow.steps WHERE flow_slug = $1) AS steps
  OFFSET 0) f`

// pgflowExistsSQL reports whether there is a flow.
const pgflowExistsSQL = `SELECT EXISTS (SELECT FROM pgflow.flows WHERE flow_slug = $1)`
