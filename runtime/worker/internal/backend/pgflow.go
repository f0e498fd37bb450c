package backend

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/internal/eager"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/flowc-dev/flowc/runtime/worker/internal/dbconn"
)

const (
	// readFor is how many seconds a message that was read is hidden if its task cannot be
	// started.
	readFor = 5
	// requeueEvery is how often stalled tasks are looked for, as pgflow's own workers do.
	requeueEvery = 15 * time.Second
)

// PGFlow makes calls where pgflow is installed without the engine: to the functions of
// its contract, with plain reads, and to the table of workers, which the contract has
// workers write themselves. A worker has a row for each flow that it serves, since a
// worker of pgflow's serves one.
//
// Nobody notifies there, so it polls. Tasks cannot be released: those in flight when a
// worker stops or dies come back through requeue_stalled_tasks, half a minute after their
// timeout. A permanent failure uses up the attempts that are left.
type PGFlow struct {
	db       *dbconn.DB
	worker   *Worker
	flows    map[string]Flow
	ids      map[string]string // of the rows, by flow
	rows     []string          // all of them
	turn     int               // of flows that are served in part
	requeued time.Time         // when stalled tasks were last looked for
}

var _ Backend = (*PGFlow)(nil)

// NewPGFlow returns the backend of a worker where pgflow is installed without the engine.
func NewPGFlow(db *dbconn.DB, worker *Worker) *PGFlow {
	p := &PGFlow{db: db, worker: worker, flows: map[string]Flow{}, ids: map[string]string{}}
	for _, flow := range worker.Flows {
		id := uuid.NewSHA1(worker.ID, []byte(flow.Slug)).String()
		p.flows[flow.Slug], p.ids[flow.Slug] = flow, id
		p.rows = append(p.rows, id)
	}
	return p
}

// Verify refuses what nobody would do here: keep to limits, start flows by schedule, and
// delete old runs.
// That the database has pgflow has been checked before.
func (p *PGFlow) Verify(context.Context) error {
	for _, flow := range p.worker.Flows {
		if flow.Cron != "" {
			return fmt.Errorf("flowc: worker: flow %s has a schedule: %w", flow.Slug, runtime.ErrNeedsEngine)
		}
	}
	if limited := p.worker.limited(); len(limited) > 0 {
		return fmt.Errorf("flowc: worker: flow %s limits its runs in progress: %w", limited[0], runtime.ErrNeedsEngine)
	}
	if len(p.worker.Gated) > 0 {
		return fmt.Errorf("flowc: worker: step %s has limits or a key: %w", p.worker.Gated[0], runtime.ErrNeedsEngine)
	}
	if p.worker.Prunes {
		return fmt.Errorf("flowc: worker: Retention is set: %w", runtime.ErrNeedsEngine)
	}
	return nil
}

func (p *PGFlow) LeaveUnknown(context.Context, []*Claimed) error { return nil }

func (p *PGFlow) Crons(context.Context) (map[string]string, error) { return nil, nil }

func (p *PGFlow) Prune(context.Context, time.Duration, int) (int, error) { return 0, nil }

func (p *PGFlow) CompareFlow(ctx context.Context, slug string, definition json.RawMessage) (differences []string, found bool, err error) {
	err = p.db.QueryRow(ctx, dbconn.Call{Name: "compare_flow", Timeout: longCall}, []any{&differences}, `
SELECT CASE WHEN EXISTS (SELECT FROM pgflow.flows WHERE flow_slug = $1)
       THEN pgflow._compare_flow_shapes($2::text::jsonb, pgflow._get_flow_shape($1)) END`, slug, string(definition))
	return differences, differences != nil, err
}

func (p *PGFlow) Register(ctx context.Context) error {
	return p.db.Exec(ctx, dbconn.Call{Name: "register_worker", Timeout: shortCall}, `
INSERT INTO pgflow.workers (worker_id, queue_name, function_name)
SELECT u.id::uuid, u.flow, $3 FROM unnest($1::text[], $2::text[]) u(id, flow)
ON CONFLICT (worker_id) DO UPDATE SET last_heartbeat_at = clock_timestamp()`, p.rows, p.worker.slugs(), p.worker.Name)
}

// pgflowHeartbeatSQL: a task is a worker's as long as it is started, by it, in a run that
// has not ended.
const pgflowHeartbeatSQL = `
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

func (p *PGFlow) Heartbeat(ctx context.Context, inFlight []*Claimed) (r HeartbeatResult, err error) {
	runs, steps, indexes := []string{}, []string{}, []int32{}
	for _, t := range inFlight {
		runs, steps, indexes = append(runs, t.RunID), append(steps, t.Step), append(indexes, int32(t.Index))
	}
	var lost []int
	err = p.db.QueryRow(ctx, dbconn.Call{Name: "heartbeat", Timeout: shortCall}, []any{&r.Deprecated, &lost},
		pgflowHeartbeatSQL, p.rows, runs, steps, indexes)
	for _, n := range lost {
		r.Lost = append(r.Lost, n-1)
	}
	// Stalled tasks are always worth looking for, and which workers are dead is not for
	// this one to say.
	r.DeadWorkers, r.SilentFor, r.ServerUptime = true, new(float64), DeadAfter.Seconds()
	return r, err
}

func (p *PGFlow) Stop(ctx context.Context) error {
	return p.db.Exec(ctx, dbconn.Call{Name: "stop_worker", Timeout: shortCall}, `SELECT pgflow.mark_worker_stopped(u.id::uuid) FROM unnest($1::text[]) u(id)`, p.rows)
}

// readSQL reads messages, starts their tasks and hides the messages for as long as
// the attempts may take, which start_tasks may leave undone. What was committed while
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
       NULL::timestamptz, NULL::jsonb, NULL::float8, NULL::float8, NULL::jsonb
FROM started t
LEFT JOIN pgflow.flows f ON f.flow_slug = t.flow_slug
LEFT JOIN pgflow.steps s ON s.flow_slug = t.flow_slug AND s.step_slug = t.step_slug
LEFT JOIN pgflow.step_tasks k ON k.run_id = t.run_id AND k.step_slug = t.step_slug AND k.task_index = t.task_index
CROSS JOIN LATERAL (
  SELECT coalesce(s.opt_max_attempts, f.opt_max_attempts, 3), coalesce(s.opt_timeout, f.opt_timeout, 60)) o(max_attempts, timeout)
CROSS JOIN LATERAL (SELECT count(*) FROM pgmq.set_vt(t.flow_slug, t.msg_id, o.timeout + 2)) v(hidden)
WHERE v.hidden >= 0
ORDER BY t.msg_id`

func (p *PGFlow) Claim(ctx context.Context, r ClaimRequest) (tasks []*Claimed, err error) {
	flows, limits, conditions := p.reads(r)
	workers := make([]string, len(flows))
	for i, flow := range flows {
		workers[i] = p.ids[flow]
	}
	read, err := dbconn.Query[Claimed](ctx, p.db, dbconn.Call{Name: "claim", Timeout: longCall, OwnErrors: true}, readSQL, flows, limits, workers, conditions, readFor)
	for i := range read {
		tasks = append(tasks, &read[i])
	}
	return tasks, err
}

// reads returns which messages to read, and how many. A queue is read as a whole, or the
// messages of one step: if only some steps of a flow are asked for, each in turn gets its
// part of the limit.
func (p *PGFlow) reads(r ClaimRequest) (flows []string, limits []int32, conditions []string) {
	p.turn++
	of := func(flow, step string, n int32) {
		if n > 0 {
			flows, limits, conditions = append(flows, flow), append(limits, n), append(conditions, fmt.Sprintf(`{"step_slug": %q}`, step))
		}
	}
	for i, group := range r.Groups {
		if flow, step, one := strings.Cut(group, "."); one {
			of(flow, step, r.Limits[i])
			continue
		}
		all := p.flows[group].Steps
		var steps []string
		for _, step := range all {
			if !slices.Contains(p.worker.Except, group+"."+step) {
				steps = append(steps, step)
			}
		}
		if len(steps) == len(all) {
			flows, limits, conditions = append(flows, group), append(limits, r.Limits[i]), append(conditions, `{}`)
			continue
		}
		parts := int32(len(steps))
		for j := range parts {
			of(group, steps[(p.turn+int(j))%len(steps)], (r.Limits[i]+parts-1-j)/parts)
		}
	}
	return flows, limits, conditions
}

// FailUnclaimable finds nothing: of tasks that have not been claimed, nothing is known.
func (p *PGFlow) FailUnclaimable(context.Context, []string) ([]Unclaimable, error) { return nil, nil }

func (p *PGFlow) ReadValues(ctx context.Context, runs, sources []string) ([]Value, error) {
	return dbconn.Query[Value](ctx, p.db, dbconn.Call{Name: "read_values", Timeout: urgentCall}, `
SELECT u.run_id::text, u.source, CASE WHEN u.source = $3
         THEN (SELECT r.input FROM pgflow.runs r WHERE r.run_id = u.run_id)
         ELSE (SELECT st.output FROM pgflow.step_states st WHERE st.run_id = u.run_id AND st.step_slug = u.source) END
FROM unnest($1::text[]::uuid[], $2::text[]) u(run_id, source)`, runs, sources, spec.RunKey)
}

// Release does nothing: the contract has no way to return an attempt.
func (p *PGFlow) Release(context.Context, []*Claimed, []string) error { return nil }

// ReleaseLost does nothing, like Release.
func (p *PGFlow) ReleaseLost(context.Context, []*Claimed) error { return nil }

var errNoNotifications = errors.New("flowc: nobody notifies without the engine")

func (p *PGFlow) EnterIdle(context.Context, bool) (time.Duration, error) {
	return 0, errNoNotifications
}

func (p *PGFlow) LeaveIdle(context.Context) error { return nil }

func (p *PGFlow) MaxPoll() time.Duration { return 200 * time.Millisecond }

// ClaimSuspects claims nothing: which task a worker died of is not known here.
func (p *PGFlow) ClaimSuspects(context.Context, ClaimRequest) ([]*Claimed, error) { return nil, nil }

func (p *PGFlow) Drain(context.Context) error { return nil }

func (p *PGFlow) DeliverLarge(context.Context) error { return nil }

func (p *PGFlow) StartDue(context.Context) (int, error) { return 0, nil }

func (p *PGFlow) AdvanceWatermarks(context.Context) error { return nil }

func (p *PGFlow) Recover(ctx context.Context) error {
	if time.Since(p.requeued) < requeueEvery {
		return nil
	}
	p.requeued = time.Now()
	return p.db.Exec(ctx, dbconn.Call{Name: "requeue_stalled_tasks", Timeout: longCall}, `SELECT pgflow.requeue_stalled_tasks()`)
}

func (p *PGFlow) SupportsPiggyback() bool { return false }

func (p *PGFlow) SupportsKeep() bool { return false }

func (p *PGFlow) SupportsEagerClaims() bool { return false }

func (p *PGFlow) EagerClaim(context.Context, ClaimRequest, func([]*Claimed, error)) *eager.Claim {
	return nil
}
