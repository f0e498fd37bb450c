package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/jackc/pgx/v5"
)

// gracePeriod is how long something has to be wrong before it is reported: a transaction
// may be about to put it right.
const gracePeriod = time.Minute

// maxListedIDs is how many ids a finding lists.
const maxListedIDs = 3

func checkWorkers(ctx context.Context, d *doctor) ([]finding, error) {
	workers, err := ops.ListWorkers(ctx, d.db, time.Now())
	if err != nil {
		return nil, err
	}
	living := 0
	var found []finding
	for _, w := range workers {
		switch {
		case w.Status == ops.WorkerWorking || w.Status == ops.WorkerDraining:
			living++
		case w.Status == ops.WorkerSilent && w.Queue == "*" && time.Since(w.LastHeartbeatAt) > gracePeriod:
			found = append(found, finding{Severity: warning,
				What: fmt.Sprintf("worker %s (%s) was last seen %s with %s in flight", w.Name, w.ID, ago(w.LastHeartbeatAt), count(w.InFlight, "task", "tasks")),
				Do:   "start a worker: any worker recovers the tasks of this one"})
		}
	}
	if len(found) == 0 {
		return []finding{{Severity: fine, What: count(living, "alive", "alive")}}, nil
	}
	return found, nil
}

// checkWaiting looks for tasks that a worker could have started long ago.
func checkWaiting(ctx context.Context, d *doctor) ([]finding, error) {
	flows, err := ops.ListFlows(ctx, d.db, time.Now())
	if err != nil {
		return nil, err
	}
	var found []finding
	for _, f := range flows {
		if f.OldestWaiting.IsZero() || time.Since(f.OldestWaiting) < d.maxTaskWait {
			continue
		}
		what := fmt.Sprintf("%s of %s wait for a worker, the oldest for %s", count(f.Waiting, "task", "tasks"), f.Slug, rough(time.Since(f.OldestWaiting)))
		switch {
		case !f.PausedAt.IsZero():
			found = append(found, finding{Severity: warning, What: fmt.Sprintf("%s; it was paused %s", what, ago(f.PausedAt)),
				Do: "flowc flows resume " + f.Slug})
		case f.Workers == 0:
			found = append(found, finding{Severity: problem, What: what + ", and no worker serves it",
				Do: "start a worker that serves " + f.Slug + "; `flowc workers` lists those that are alive, and what they serve"})
		case f.InFlight > 0:
			found = append(found, finding{Severity: warning, What: fmt.Sprintf("%s; the workers have %d in flight", what, f.InFlight),
				Do: "start more workers, or raise Concurrency in worker.Config"})
		default:
			found = append(found, finding{Severity: problem, What: fmt.Sprintf("%s, and the workers that serve it have none in flight", what),
				Do: "check their logs; a worker that serves only some steps leaves the others to another one"})
		}
	}
	return found, nil
}

// starving is how long tasks may wait behind others with a higher priority.
const starving = time.Hour

// checkPriorities looks for tasks that have waited for long while others with a higher
// priority, which came later, are done.
func checkPriorities(ctx context.Context, d *doctor) ([]finding, error) {
	rows, err := d.db.Query(ctx, `
		SELECT f.flow_slug, flowc.priority_name(p.priority), l.since_at, flowc.priority_name(h.priority)
		FROM (SELECT DISTINCT o.flow_slug FROM flowc.prioritized_flows o) f
		CROSS JOIN (VALUES ('r'::"char", '{h}'::"char"[]), ('l', '{h,r}')) p(priority, higher)
		CROSS JOIN LATERAL (
		  SELECT min(o.visible_at) FROM (
		    (SELECT t.visible_at FROM pgflow.step_tasks t
		     WHERE t.flow_slug = f.flow_slug AND t.subqueue = p.priority AND t.in_queue AND t.status = 'queued' ORDER BY t.message_id LIMIT 1)
		    UNION ALL
		    (SELECT t.visible_at FROM pgflow.step_tasks t
		     WHERE t.flow_slug = f.flow_slug AND t.subqueue = 'd' AND t.priority = p.priority AND t.in_queue AND t.status = 'queued' ORDER BY t.due_at LIMIT 1)
		    ) o) l(since_at)
		CROSS JOIN LATERAL (
		  SELECT t.priority FROM pgflow.step_tasks t
		  WHERE t.flow_slug = f.flow_slug AND t.in_queue AND t.status = 'started' AND t.priority = ANY (p.higher) AND t.queued_at > l.since_at
		  ORDER BY t.priority LIMIT 1) h
		WHERE l.since_at < clock_timestamp() - $1::interval
		  AND NOT EXISTS (SELECT FROM flowc.paused_flows o WHERE o.flow_slug = f.flow_slug)
		ORDER BY f.flow_slug, p.priority DESC`, starving)
	if err != nil {
		return nil, err
	}
	var found []finding
	var flow, of, higher string
	var since time.Time
	_, err = pgx.ForEachRow(rows, []any{&flow, &of, &since, &higher}, func() error {
		found = append(found, finding{Severity: warning,
			What: fmt.Sprintf("tasks of %s with a %s priority have waited for %s while later ones with a %s priority were done", flow, of, rough(time.Since(since)), higher),
			Do:   "start more workers, or change the priority of runs with `flowc runs set-priority`: a lower priority waits for as long as there is a higher one"})
		return nil
	})
	return found, err
}

// checkSchedules looks for schedules that are overdue or cannot start anything, and for
// runs whose time to start has passed.
func checkSchedules(ctx context.Context, d *doctor) ([]finding, error) {
	schedules, err := ops.ListSchedules(ctx, d.db)
	if err != nil {
		return nil, err
	}
	var found []finding
	for _, s := range schedules {
		switch {
		case s.Error != "":
			found = append(found, finding{Severity: problem,
				What: fmt.Sprintf("the schedule of %s cannot start a run: %s", s.Flow, s.Error),
				Do:   "fix what it says; it is retried every minute"})
		case s.Overdue > gracePeriod:
			found = append(found, finding{Severity: problem,
				What: fmt.Sprintf("the schedule of %s should have started a run %s", s.Flow, ago(s.NextAt)),
				Do:   "start a worker that serves " + s.Flow + ", or flowc schedules pause " + s.Flow})
		}
	}
	late, err := checkScheduled(ctx, d)
	return append(found, late...), err
}

// checkScheduled looks for runs whose time to start has passed.
func checkScheduled(ctx context.Context, d *doctor) ([]finding, error) {
	rows, err := d.db.Query(ctx, `
		SELECT flow_slug, count(*), min(due_at) FROM flowc.scheduled_runs
		WHERE turn_key IS NULL AND due_at < clock_timestamp() - $1::interval GROUP BY flow_slug ORDER BY flow_slug`, gracePeriod)
	if err != nil {
		return nil, err
	}
	var found []finding
	var flow string
	var n int
	var due time.Time
	_, err = pgx.ForEachRow(rows, []any{&flow, &n, &due}, func() error {
		found = append(found, finding{Severity: problem,
			What: fmt.Sprintf("%s of %s should have started, the first %s", count(n, "scheduled run", "scheduled runs"), flow, ago(due)),
			Do:   "start a worker that serves " + flow + ": workers start what is due"})
		return nil
	})
	return found, err
}

// checkWedged looks for runs that have not ended and cannot end: they have no task in the
// queue, no time to wait for, and no step that waits for an answer.
func checkWedged(ctx context.Context, d *doctor) ([]finding, error) {
	rows, err := d.db.Query(ctx, `
		SELECT r.flow_slug, count(*), (array_agg(r.run_id::text ORDER BY r.started_at))[1:$2]
		FROM pgflow.runs r
		WHERE r.status = 'started' AND r.started_at < clock_timestamp() - $1::interval
		  AND NOT EXISTS (SELECT FROM flowc.scheduled_runs s WHERE s.run_id = r.run_id)
		  AND NOT EXISTS (SELECT FROM pgflow.step_tasks t WHERE t.run_id = r.run_id AND t.in_queue)
		  AND NOT EXISTS (SELECT FROM flowc.waits w WHERE w.run_id = r.run_id AND w.step_slug <> '')
		GROUP BY r.flow_slug ORDER BY r.flow_slug`, gracePeriod, maxListedIDs)
	if err != nil {
		return nil, err
	}
	var found []finding
	var flow string
	var n int
	var ids []string
	_, err = pgx.ForEachRow(rows, []any{&flow, &n, &ids}, func() error {
		list := strings.Join(ids, " ")
		found = append(found, finding{Severity: problem,
			What: fmt.Sprintf("%s of %s stuck with no task in the queue: %s", count(n, "run", "runs"), flow, abridged(list, n)),
			Do:   fmt.Sprintf("flowc runs cancel %s && flowc runs retry %s, which resumes them where they stopped", list, list)})
		return nil
	})
	return found, err
}

// checkQueue looks for tasks in the queue that have ended, or whose run or step has.
func checkQueue(ctx context.Context, d *doctor) ([]finding, error) {
	rows, err := d.db.Query(ctx, `
		SELECT t.flow_slug, count(*), format('SELECT pgmq.archive(%L, %L::bigint[]);', t.flow_slug, (array_agg(t.message_id ORDER BY t.message_id))[1:1000])
		FROM pgflow.step_tasks t
		WHERE t.in_queue AND t.queued_at < clock_timestamp() - $1::interval
		  AND (t.status NOT IN ('queued', 'started')
		    OR EXISTS (SELECT FROM pgflow.runs r WHERE r.run_id = t.run_id AND r.status <> 'started')
		    OR NOT EXISTS (SELECT FROM pgflow.step_states s WHERE s.run_id = t.run_id AND s.step_slug = t.step_slug AND s.status = 'started'))
		GROUP BY t.flow_slug ORDER BY t.flow_slug`, gracePeriod)
	if err != nil {
		return nil, err
	}
	var found []finding
	var queue, archive string
	var n int
	_, err = pgx.ForEachRow(rows, []any{&queue, &n, &archive}, func() error {
		found = append(found, finding{Severity: warning,
			What: fmt.Sprintf("%s ended, or whose run or step has", count(n, "task in the queue of "+queue+" that has", "tasks in the queue of "+queue+" that have")),
			Do:   archive})
		return nil
	})
	return found, err
}

// checkMessages looks for ids that were used and will be assigned once more, as after a
// restore of the tables without the sequence. Claims look for tasks from the oldest id in
// the queue on, and every message id belongs to one task.
func checkMessages(ctx context.Context, d *doctor) ([]finding, error) {
	var newest *int64
	var next int64
	err := d.db.QueryRow(ctx, `
		SELECT greatest((SELECT max(m.id) FROM pgflow.flows f CROSS JOIN LATERAL (
		                   SELECT t.message_id AS id FROM pgflow.step_tasks t WHERE t.flow_slug = f.flow_slug AND t.in_queue
		                   ORDER BY t.message_id DESC LIMIT 1) m),
		                (SELECT max(w.message_id) - 1 FROM flowc.watermarks w), (SELECT max(m.msg_id) FROM flowc.messages m)),
		       (SELECT s.last_value + s.is_called::int FROM flowc.message_ids s)`).Scan(&newest, &next)
	if err != nil || newest == nil || *newest < next {
		return nil, err
	}
	return []finding{{Severity: problem,
		What: fmt.Sprintf("the ids of messages start again at %d, although %d is in use: the database was restored without its sequence", next, *newest),
		Do:   fmt.Sprintf("SELECT setval('flowc.message_ids', greatest(%d, (SELECT max(message_id) FROM pgflow.step_tasks)));", *newest)}}, nil
}

// orphansSQL selects the ids of runs that do not exist but have rows. Runs are created and
// deleted in one transaction, so that none is seen halfway through.
const orphansSQL = `
	SELECT o.run_id::text FROM (
	  SELECT run_id FROM pgflow.step_states UNION SELECT run_id FROM pgflow.step_tasks
	  UNION SELECT run_id FROM flowc.scheduled_runs UNION SELECT run_id FROM flowc.run_headers UNION SELECT run_id FROM flowc.ticks
	  UNION SELECT run_id FROM flowc.cancelled_runs UNION SELECT run_id FROM flowc.failed_attempts
	  UNION SELECT run_id FROM flowc.suspects UNION SELECT run_id FROM flowc.run_waiters UNION SELECT run_id FROM flowc.uniques UNION SELECT run_id FROM flowc.limited_runs) o
	WHERE NOT EXISTS (SELECT FROM pgflow.runs r WHERE r.run_id = o.run_id)`

// checkOrphans looks for rows of runs that do not exist, as a restore of some tables
// leaves them behind, and deletes them if asked to. Such an id cannot be started again.
func checkOrphans(ctx context.Context, d *doctor) ([]finding, error) {
	rows, err := d.db.Query(ctx, orphansSQL)
	if err != nil {
		return nil, err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	runs := count(len(ids), "run that does", "runs that do") + " not exist"
	if !d.deleteOrphans {
		list := strings.Join(ids[:min(len(ids), maxListedIDs)], " ")
		return []finding{{Severity: problem,
			What: fmt.Sprintf("there are rows of %s, whose ids cannot be started: %s", runs, abridged(list, len(ids))),
			Do:   "flowc doctor --delete-orphans, which deletes these rows"}}, nil
	}
	deleted := 0
	for batch := range slices.Chunk(ids, 1000) {
		var n int
		if err := d.db.QueryRow(ctx, `SELECT flowc.delete_orphans($1::text[]::uuid[])`, batch).Scan(&n); err != nil {
			return nil, err
		}
		deleted += n
	}
	return []finding{{Severity: fine, What: "deleted the rows of " + count(deleted, "run that does", "runs that do") + " not exist"}}, nil
}

// abridged returns some ids out of so many.
func abridged(list string, n int) string {
	if n > maxListedIDs {
		return list + " …"
	}
	return list
}
