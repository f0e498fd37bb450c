package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/spec"
)

const (
	// readFor is how many seconds a message that was read is hidden if its task
	// cannot be started.
	readFor = 5
	// requeueEvery is how often stalled tasks are looked for, as others do it.
	requeueEvery = 15 * time.Second
)

// contractCalls are the calls where there is pgflow without the engine: functions of
// its contract, plain reads, and the rows of workers, which the contract has workers
// write themselves. A worker has a row for each flow that it serves, as a worker of
// pgflow's, which serves one, would have.
//
// Nobody notifies there, so it polls. A try cannot be given back: what a worker that
// stops or dies has in hand comes back through requeue_stalled_tasks, half a minute
// after its timeout. A permanent failure uses up the tries that are left.
type contractCalls struct {
	*database
	services map[string]*service
	retains  bool              // whether old runs should be deleted
	ids      map[string]string // of the rows, by flow; set when they are written
	mine     []string          // all of them
	turn     int               // of flows that are served in part
	requeued time.Time         // when stalled tasks were looked for last
}

// verify refuses what nobody would do here: starting flows by the clock, and
// deleting old runs. What the database has was looked at before.
func (d *contractCalls) verify(context.Context) error {
	for _, slug := range slices.Sorted(maps.Keys(d.services)) {
		if d.services[slug].definition.Cron != "" {
			return fmt.Errorf("flowc: worker: flow %s has a schedule: %w", slug, runtime.ErrNeedsEngine)
		}
	}
	if d.retains {
		return fmt.Errorf("flowc: worker: Retention is set: %w", runtime.ErrNeedsEngine)
	}
	return nil
}

func (d *contractCalls) crons(context.Context, []string) (map[string]string, error) { return nil, nil }

func (d *contractCalls) prune(context.Context, uuid.UUID, []string, time.Duration, int) (int, error) {
	return 0, nil
}

func (d *contractCalls) compare(ctx context.Context, slug string, definition json.RawMessage) (differences []string, found bool, err error) {
	err = d.row(ctx, "compare_flow", claimCall, []any{&differences}, `
SELECT CASE WHEN EXISTS (SELECT FROM pgflow.flows WHERE flow_slug = $1)
       THEN pgflow._compare_flow_shapes($2::text::jsonb, pgflow._get_flow_shape($1)) END`, slug, string(definition))
	return differences, differences != nil, err
}

func (d *contractCalls) register(ctx context.Context, id uuid.UUID, name string, flows []string) error {
	if d.ids == nil {
		d.ids = map[string]string{}
		for _, flow := range flows {
			d.ids[flow] = uuid.NewSHA1(id, []byte(flow)).String()
			d.mine = append(d.mine, d.ids[flow])
		}
	}
	return d.exec(ctx, "register_worker", shortCall, `
INSERT INTO pgflow.workers (worker_id, queue_name, function_name)
SELECT u.id::uuid, u.flow, $3 FROM unnest($1::text[], $2::text[]) u(id, flow)
ON CONFLICT (worker_id) DO UPDATE SET last_heartbeat_at = clock_timestamp()`, d.mine, flows, name)
}

// A task is a worker's as long as it is started, by it, in a run that goes on.
const beatSQL = `
WITH beat AS (
  UPDATE pgflow.workers w SET last_heartbeat_at = clock_timestamp()
  WHERE w.worker_id = ANY ($1::text[]::uuid[])
  RETURNING w.deprecated_at IS NOT NULL AS deprecated)
SELECT (SELECT bool_or(deprecated) FROM beat HAVING count(*) = cardinality($1::text[])),
       ARRAY(
         SELECT u.n::int
         FROM unnest($2::text[]::uuid[], $3::text[], $4::int[]) WITH ORDINALITY u(run_id, step_slug, task_index, n)
         WHERE NOT EXISTS (
           SELECT FROM pgflow.step_tasks t JOIN pgflow.runs r ON r.run_id = t.run_id AND r.status = 'started'
           WHERE t.run_id = u.run_id AND t.step_slug = u.step_slug AND t.task_index = u.task_index
             AND t.status = 'started' AND t.last_worker_id = ANY ($1::text[]::uuid[])))`

func (d *contractCalls) heartbeat(ctx context.Context, _ uuid.UUID, _ []string, tasks []*task) (p pulse, err error) {
	runs, steps, indexes := []string{}, []string{}, []int32{}
	for _, t := range tasks {
		runs, steps, indexes = append(runs, t.RunID), append(steps, t.Step), append(indexes, int32(t.Index))
	}
	var lost []int
	err = d.row(ctx, "heartbeat", shortCall, []any{&p.Deprecated, &lost}, beatSQL, d.mine, runs, steps, indexes)
	for _, n := range lost {
		p.Lost = append(p.Lost, tasks[n-1])
	}
	p.Dead = true                                            // to be looked for, that is
	p.Silent, p.ServerUp = new(float64), deadAfter.Seconds() // who is dead is not for this worker to say
	return p, err
}

func (d *contractCalls) stop(ctx context.Context, _ uuid.UUID) error {
	return d.exec(ctx, "stop_worker", shortCall, `SELECT pgflow.mark_worker_stopped(u.id::uuid) FROM unnest($1::text[]) u(id)`, d.mine)
}

// readSQL reads messages, starts their tasks and hides the messages for as long as
// the tries may take, which start_tasks may leave undone. What was committed while
// it runs, the functions see and the tables here do not: hence the outer joins.
const readSQL = `
WITH asked AS MATERIALIZED (
  SELECT u.*
  FROM unnest($1::text[], $2::int[], $3::text[]::uuid[], $4::text[]::jsonb[]) u(flow_slug, qty, worker_id, wanted)
  WHERE EXISTS (SELECT FROM pgflow.flows f WHERE f.flow_slug = u.flow_slug)),
messages AS MATERIALIZED (
  SELECT a.flow_slug, a.worker_id, (SELECT array_agg(m.msg_id) FROM pgmq.read(a.flow_slug, $5::int, a.qty, a.wanted) m) AS ids
  FROM asked a),
started AS MATERIALIZED (
  SELECT t.* FROM messages m, pgflow.start_tasks(flow_slug => m.flow_slug, msg_ids => m.ids, worker_id => m.worker_id) t
  WHERE m.ids IS NOT NULL)
SELECT t.flow_slug, t.run_id::text, t.step_slug, t.task_index, t.msg_id,
       coalesce(k.attempts_count, 0) + 1, coalesce(k.attempts_count, 0) + 1, o.max_attempts, o.timeout, t.input, t.flow_input, NULL::text,
       NULL::timestamptz, NULL::jsonb, NULL::float8, NULL::float8
FROM started t
LEFT JOIN pgflow.flows f ON f.flow_slug = t.flow_slug
LEFT JOIN pgflow.steps s ON s.flow_slug = t.flow_slug AND s.step_slug = t.step_slug
LEFT JOIN pgflow.step_tasks k ON k.run_id = t.run_id AND k.step_slug = t.step_slug AND k.task_index = t.task_index
CROSS JOIN LATERAL (
  SELECT coalesce(s.opt_max_attempts, f.opt_max_attempts, 3), coalesce(s.opt_timeout, f.opt_timeout, 60)) o(max_attempts, timeout)
CROSS JOIN LATERAL (SELECT count(*) FROM pgmq.set_vt(t.flow_slug, t.msg_id, o.timeout + 2)) v(hidden)
WHERE v.hidden >= 0
ORDER BY t.msg_id`

func (d *contractCalls) claim(ctx context.Context, _ uuid.UUID, a ask) (tasks []*task, err error) {
	flows, limits, wanted := d.ask(a.names, a.limits, a.except)
	workers := make([]string, len(flows))
	for i, flow := range flows {
		workers[i] = d.ids[flow]
	}
	read, err := rows(ctx, d.database, "claim", claimCall, pgx.RowToStructByPos[claimed], readSQL, flows, limits, workers, wanted, readFor)
	for _, c := range read {
		tasks = append(tasks, &task{claimed: c})
	}
	return tasks, err
}

// ask says of which messages to read how many. A queue is read as a whole, or those
// messages of it that are of one step: if only some steps of a flow are asked for,
// their part of the limit goes to each in turn.
func (d *contractCalls) ask(lanes []string, limits []int32, except []string) (flows []string, most []int32, wanted []string) {
	d.turn++
	of := func(flow, step string, n int32) {
		if n > 0 {
			flows, most, wanted = append(flows, flow), append(most, n), append(wanted, fmt.Sprintf(`{"step_slug": %q}`, step))
		}
	}
	for i, lane := range lanes {
		if flow, step, one := strings.Cut(lane, "."); one {
			of(flow, step, limits[i])
			continue
		}
		all := d.services[lane].definition.Steps
		var steps []string
		for _, step := range all {
			if !slices.Contains(except, lane+"."+step.Slug) {
				steps = append(steps, step.Slug)
			}
		}
		if len(steps) == len(all) {
			flows, most, wanted = append(flows, lane), append(most, limits[i]), append(wanted, `{}`)
			continue
		}
		parts := int32(len(steps))
		for j := range parts {
			of(lane, steps[(d.turn+int(j))%len(steps)], (limits[i]+parts-1-j)/parts)
		}
	}
	return flows, most, wanted
}

// Nothing is known of tasks that have not been claimed.
func (d *contractCalls) failUnclaimable(context.Context, []string, []string) ([]unclaimable, error) {
	return nil, nil
}

func (d *contractCalls) readValues(ctx context.Context, runs, sources []string) ([]value, error) {
	return rows(ctx, d.database, "read_values", waitedCall, pgx.RowToStructByPos[value], `
SELECT u.run_id::text, u.source, CASE WHEN u.source = $3
         THEN (SELECT r.input FROM pgflow.runs r WHERE r.run_id = u.run_id)
         ELSE (SELECT st.output FROM pgflow.step_states st WHERE st.run_id = u.run_id AND st.step_slug = u.source) END
FROM unnest($1::text[]::uuid[], $2::text[]) u(run_id, source)`, runs, sources, spec.RunKey)
}

// There is no way to give a try back.
func (d *contractCalls) release(context.Context, uuid.UUID, []*task) error        { return nil }
func (d *contractCalls) releaseUnknown(context.Context, uuid.UUID, []*task) error { return nil }

var errNobodyNotifies = errors.New("flowc: nobody notifies where there is no engine")

func (d *contractCalls) sleep(context.Context, uuid.UUID, []string) (time.Duration, error) {
	return 0, errNobodyNotifies
}

func (d *contractCalls) awake(context.Context, uuid.UUID) error { return nil }

func (d *contractCalls) maxPoll() time.Duration { return 200 * time.Millisecond }

// Who dies with what is not for this worker to say.
func (d *contractCalls) claimSuspects(context.Context, uuid.UUID, ask) ([]*task, error) {
	return nil, nil
}
func (d *contractCalls) draining(context.Context, uuid.UUID) error { return nil }

func (d *contractCalls) startDue(context.Context, []string) (int, error) { return 0, nil }

func (d *contractCalls) advanceWatermarks(context.Context, []string) error { return nil }

func (d *contractCalls) recover(ctx context.Context) error {
	if time.Since(d.requeued) < requeueEvery {
		return nil
	}
	d.requeued = time.Now()
	return d.exec(ctx, "requeue_stalled_tasks", claimCall, `SELECT pgflow.requeue_stalled_tasks()`)
}
