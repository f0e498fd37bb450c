package worker

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/flowc-dev/flowc/runtime/internal/try"
)

// maxExhaust is how many tries a permanent failure may use up.
const maxExhaust = 1000

// What is reported is reported in the order of the runs, whose rows the functions
// lock. A task that is not this worker's any more, or a later try of it, is left
// alone: the functions would take a report for it as long as somebody has it.
const (
	reportedSQL = `
FROM (
  SELECT i.*, t.status, t.attempts_count, t.flow_slug,
         coalesce(t.status = 'started' AND t.message_id = i.message_id AND t.attempts_count = i.attempt
                  AND t.last_worker_id = ANY ($5::text[]::uuid[]), false) AS mine
  FROM unnest($1::text[]::uuid[], $2::text[], $3::int[], $4::bigint[], $6::text[], $7::float8[], $8::int[]) WITH ORDINALITY
       i(run_id, step_slug, task_index, message_id, value, delay, attempt, n)
  LEFT JOIN pgflow.step_tasks t ON t.run_id = i.run_id AND t.step_slug = i.step_slug AND t.task_index = i.task_index
  ORDER BY i.run_id, i.n
  OFFSET 0) u`

	completeSQL = `
SELECT u.n::int, u.mine, CASE WHEN u.mine THEN (
         SELECT t.status FROM pgflow.complete_task(
           run_id => u.run_id, step_slug => u.step_slug, task_index => u.task_index, output => u.value::jsonb) t)
       ELSE u.status END, NULL::float8` + reportedSQL

	failSQL = `
SELECT f.n, f.mine, f.now, CASE
         WHEN NOT f.mine OR f.now <> 'queued' THEN NULL
         WHEN f.delay IS NULL THEN pgflow.calculate_retry_delay(coalesce(s.opt_base_delay, w.opt_base_delay), f.attempts_count)
         ELSE (SELECT f.delay + 0 * count(*) FROM pgmq.set_vt(f.flow_slug, f.message_id, least(ceil(f.delay), 2147483647)::int)) END
FROM (
  SELECT u.n::int, u.mine, u.flow_slug, u.step_slug, u.message_id, u.delay, u.attempts_count, CASE WHEN u.mine THEN (
           SELECT t.status FROM pgflow.fail_task(
             run_id => u.run_id, step_slug => u.step_slug, task_index => u.task_index, error_message => u.value) t)
         ELSE u.status END AS now` + reportedSQL + `
  OFFSET 0) f
LEFT JOIN pgflow.flows w ON w.flow_slug = f.flow_slug
LEFT JOIN pgflow.steps s ON s.flow_slug = f.flow_slug AND s.step_slug = f.step_slug`

	startAgainSQL = `SELECT count(*) FROM pgflow.start_tasks(flow_slug => $1, msg_ids => ARRAY[$2::bigint], worker_id => $3::text::uuid)`
)

func (d *contractCalls) claimsAlong() bool   { return false }
func (d *contractCalls) claimsEagerly() bool { return false }

func (d *contractCalls) finish(ctx context.Context, _ uuid.UUID, r report, _ *ask) (a answer, err error) {
	limit := time.Minute + time.Duration(r.bytes)*time.Second/slowest
	completed, failed, final := r.split()
	for _, one := range []struct {
		sql  string
		part []int
	}{{completeSQL, completed}, {failSQL, failed}} {
		if len(one.part) == 0 {
			continue
		}
		err := d.transact(ctx, "finish", limit, func(ctx context.Context, tx pgx.Tx) error {
			told, err := d.reported(ctx, tx, one.sql, r, one.part, 0)
			a.verdicts = append(a.verdicts, told...)
			return err
		})
		if err != nil {
			return a, err
		}
	}
	for _, i := range final {
		err := d.transact(ctx, "finish", limit, func(ctx context.Context, tx pgx.Tx) error {
			told, err := d.exhaust(ctx, tx, r, i)
			a.verdicts = append(a.verdicts, told)
			return err
		})
		if err != nil {
			return a, err
		}
	}
	return a, nil
}

// split are the places of the tries that completed, that failed, and that failed for
// good.
func (r report) split() (completed, failed, final []int) {
	for i, outcome := range r.outcomes {
		switch outcome {
		case try.Completed:
			completed = append(completed, i)
		case try.Failed:
			failed = append(failed, i)
		default:
			final = append(final, i)
		}
	}
	return completed, failed, final
}

// reported reports the tries at some places, or later ones of the same tasks.
func (d *contractCalls) reported(ctx context.Context, tx pgx.Tx, sql string, r report, places []int, later int32) ([]verdict, error) {
	var (
		runs, steps []string
		indexes     []int32
		messages    []int64
		values      []*string
		delays      []*float64
		attempts    []int32
	)
	for _, i := range places {
		runs, steps, indexes, messages = append(runs, r.runs[i]), append(steps, r.steps[i]), append(indexes, r.indexes[i]), append(messages, r.messages[i])
		value := r.errors[i]
		if r.outcomes[i] == try.Completed {
			value = r.outputs[i]
		}
		values, delays, attempts = append(values, value), append(delays, r.delays[i]), append(attempts, r.claims[i]+later)
	}
	answer, err := tx.Query(ctx, sql, runs, steps, indexes, messages, d.mine, values, delays, attempts)
	if err != nil {
		return nil, err
	}
	verdicts, err := pgx.CollectRows(answer, pgx.RowToStructByPos[verdict])
	for i := range verdicts {
		verdicts[i].N = places[verdicts[i].N-1] + 1
	}
	return verdicts, err
}

// exhaust fails a task until it has no try left. The transaction keeps others from
// starting it in between.
func (d *contractCalls) exhaust(ctx context.Context, tx pgx.Tx, r report, i int) (v verdict, err error) {
	for later := range int32(maxExhaust) {
		told, err := d.reported(ctx, tx, failSQL, r, []int{i}, later)
		if err != nil {
			return v, err
		}
		if v = told[0]; !v.Accepted || v.RetryIn == nil {
			return v, nil
		}
		var flow string
		var started int
		err = tx.QueryRow(ctx, `SELECT flow_slug FROM pgflow.runs WHERE run_id = $1::text::uuid`, r.runs[i]).Scan(&flow)
		if err == nil {
			err = tx.QueryRow(ctx, startAgainSQL, flow, r.messages[i], d.ids[flow]).Scan(&started)
		}
		if err != nil || started == 0 {
			return v, err
		}
	}
	return v, nil
}
