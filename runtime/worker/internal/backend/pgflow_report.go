package backend

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/internal/attempt"
	"github.com/flowc-dev/flowc/runtime/worker/internal/dbconn"
)

// maxExhaust is how many attempts a permanent failure may use up.
const maxExhaust = 1000

// Results are reported in the order of their runs, whose rows the functions lock. A task
// that is no longer this worker's, or that has a later attempt, is left alone: the
// functions would accept a report for it as long as any worker has it.
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

// snoozeNeedsEngine is the error of a task whose handler asks to snooze it.
var snoozeNeedsEngine = "flowc: Snooze needs flowc's engine: the database has pgflow alone"

func (p *PGFlow) Report(ctx context.Context, r *Report, _ *ClaimRequest) (result ReportReply, err error) {
	for i, outcome := range r.Outcomes {
		if outcome == attempt.Snoozed {
			r.Errors[i], r.Delays[i] = &snoozeNeedsEngine, nil // it fails for good
		}
	}
	call := dbconn.Call{Name: "report", Timeout: time.Minute + time.Duration(r.Bytes)*time.Second/minBytesPerSecond, OwnErrors: true}
	completed, failed, final := r.split()
	for _, one := range []struct {
		sql     string
		indexes []int
	}{{completeSQL, completed}, {failSQL, failed}} {
		if len(one.indexes) == 0 {
			continue
		}
		err := p.db.Transact(ctx, call, func(ctx context.Context, tx pgx.Tx) error {
			results, err := p.reportSome(ctx, tx, one.sql, r, one.indexes, 0)
			result.Results = append(result.Results, results...)
			return err
		})
		if err != nil {
			return result, err
		}
	}
	for _, i := range final {
		err := p.db.Transact(ctx, call, func(ctx context.Context, tx pgx.Tx) error {
			one, err := p.exhaust(ctx, tx, r, i)
			result.Results = append(result.Results, one)
			return err
		})
		if err != nil {
			return result, err
		}
	}
	return result, nil
}

// split returns the indexes of the attempts that completed, that failed, and that failed
// for good.
func (r *Report) split() (completed, failed, final []int) {
	for i, outcome := range r.Outcomes {
		switch outcome {
		case attempt.Completed:
			completed = append(completed, i)
		case attempt.Failed, heldOff:
			failed = append(failed, i)
		default:
			final = append(final, i)
		}
	}
	return completed, failed, final
}

// reportSome reports the attempts with some indexes, or those of the same tasks that are
// later by some number.
func (p *PGFlow) reportSome(ctx context.Context, tx pgx.Tx, sql string, r *Report, indexes []int, later int32) ([]ReportResult, error) {
	var (
		runs, steps []string
		tasks       []int32
		messages    []int64
		values      []*string
		delays      []*float64
		attempts    []int32
	)
	for _, i := range indexes {
		runs, steps, tasks, messages = append(runs, r.RunIDs[i]), append(steps, r.Steps[i]), append(tasks, r.Indexes[i]), append(messages, r.MessageIDs[i])
		value := r.Errors[i]
		if r.Outcomes[i] == attempt.Completed {
			value = r.Outputs[i]
		}
		values, delays, attempts = append(values, value), append(delays, r.Delays[i]), append(attempts, r.ClaimNumbers[i]+later)
	}
	rows, err := tx.Query(ctx, sql, runs, steps, tasks, messages, p.rows, values, delays, attempts)
	if err != nil {
		return nil, err
	}
	results, err := pgx.CollectRows(rows, pgx.RowToStructByPos[ReportResult])
	for i := range results {
		results[i].N = indexes[results[i].N-1] + 1
	}
	return results, err
}

// exhaust fails a task until it has no attempt left. The transaction keeps others from
// starting it in between.
func (p *PGFlow) exhaust(ctx context.Context, tx pgx.Tx, r *Report, i int) (result ReportResult, err error) {
	for later := range int32(maxExhaust) {
		results, err := p.reportSome(ctx, tx, failSQL, r, []int{i}, later)
		if err != nil {
			return result, err
		}
		if result = results[0]; !result.Accepted || result.RetryIn == nil {
			return result, nil
		}
		var flow string
		var started int
		err = tx.QueryRow(ctx, `SELECT flow_slug FROM pgflow.runs WHERE run_id = $1::text::uuid`, r.RunIDs[i]).Scan(&flow)
		if err == nil {
			err = tx.QueryRow(ctx, startAgainSQL, flow, r.MessageIDs[i], p.ids[flow]).Scan(&started)
		}
		if err != nil || started == 0 {
			return result, err
		}
	}
	return result, nil
}

func (p *PGFlow) SupportsTransactions() bool { return false }

// Complete returns [runtime.ErrNeedsEngine]: the contract's functions do not tell who has a
// task.
func (p *PGFlow) Complete(context.Context, *pgx.Conn, *Claimed, string) (bool, string, error) {
	return false, "", runtime.ErrNeedsEngine
}
