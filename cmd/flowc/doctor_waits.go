package main

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/flowc-dev/flowc/runtime/ops"
)

// longWait is how long a step may wait for an answer, if nothing ends the wait.
const longWait = 30 * 24 * time.Hour

// checkWaits looks for steps that may have been forgotten, and for those of which the database
// does not know any more that they wait for an answer.
func checkWaits(ctx context.Context, d *doctor) ([]finding, error) {
	counts, err := ops.CountWaits(ctx, d.db)
	if err != nil {
		return nil, err
	}
	var found []finding
	for _, c := range counts {
		if c.OldestEndless.IsZero() || time.Since(c.OldestEndless) < longWait {
			continue
		}
		found = append(found, finding{Severity: warning,
			What: fmt.Sprintf("step %s of %s waits for an answer in %s, without a timeout, the first since %s", c.Step, c.Flow, count(c.Endless, "run", "runs"), ago(c.OldestEndless)),
			Do:   fmt.Sprintf("`flowc waits --flow %s --step %s` lists them; `flowc runs signal` answers one, and the tag timeout ends the next", c.Flow, c.Step)})
	}
	rows, err := d.db.Query(ctx, `
		SELECT w.flow_slug, w.step_slug, count(*)
		FROM (SELECT flow_slug, step_slug FROM flowc.waits WHERE step_slug <> '' AND since_at < clock_timestamp() - $1::interval
		      UNION ALL SELECT flow_slug, step_slug FROM flowc.signals WHERE delivered_at IS NULL AND sent_at < clock_timestamp() - $1::interval) w
		WHERE NOT EXISTS (SELECT FROM flowc.settings k WHERE k.flow_slug = w.flow_slug AND k.step_slug = w.step_slug AND k.kind = 'wait')
		GROUP BY w.flow_slug, w.step_slug ORDER BY w.flow_slug, w.step_slug`, gracePeriod)
	if err != nil {
		return nil, err
	}
	var flow, step string
	var n int
	_, err = pgx.ForEachRow(rows, []any{&flow, &step, &n}, func() error {
		found = append(found, finding{Severity: problem,
			What: fmt.Sprintf("step %s of %s waits for an answer, but the database calls it a task: a client in another language compiled the flow", step, flow),
			Do:   "upsert the flow again, with `flowc flows upsert`, and compile it nowhere else"})
		return nil
	})
	return found, err
}

// longKept is how long an answer by key may be kept without being a finding: the run that
// waits for it may be on its way.
const longKept = time.Hour

// checkKeptAnswers looks for answers by key that no run takes.
func checkKeptAnswers(ctx context.Context, d *doctor) ([]finding, error) {
	rows, err := d.db.Query(ctx, `
		SELECT flow_slug, step_slug, pending_at IS NOT NULL, count(*), min(sent_at), min(key)
		FROM flowc.keyed_signals
		WHERE sent_at < clock_timestamp() - CASE WHEN pending_at IS NULL THEN $1::interval ELSE $2::interval END
		GROUP BY 1, 2, 3 ORDER BY 1, 2, 3`, longKept, gracePeriod)
	if err != nil {
		return nil, err
	}
	var found []finding
	var flow, step, key string
	var pending bool
	var n int
	var first time.Time
	_, err = pgx.ForEachRow(rows, []any{&flow, &step, &pending, &n, &first, &key}, func() error {
		f := finding{Severity: warning,
			What: fmt.Sprintf("%s by key to step %s of %s that no run took, the first from %s, one with the key %s", count(n, "answer", "answers"), step, flow, ago(first), key),
			Do:   fmt.Sprintf("compare the keys with those of `flowc waits --flow %s --step %s`; answers are dropped when their time, keep, is over", flow, step)}
		if pending {
			f.Severity = problem
			f.What = fmt.Sprintf("%s by key to step %s of %s that nobody delivers, the first from %s", count(n, "answer", "answers"), step, flow, ago(first))
			f.Do = "start a worker that serves " + flow + ": workers deliver answers"
		}
		found = append(found, f)
		return nil
	})
	if err != nil {
		return nil, err
	}
	pendingAnswers, err := checkPendingAnswers(ctx, d)
	return append(found, pendingAnswers...), err
}

// checkPendingAnswers looks for answers to runs that no worker delivers.
func checkPendingAnswers(ctx context.Context, d *doctor) ([]finding, error) {
	rows, err := d.db.Query(ctx, `
		SELECT flow_slug, count(*), min(pending_at) FROM flowc.signals
		WHERE pending_at < clock_timestamp() - $1::interval GROUP BY 1 ORDER BY 1`, gracePeriod)
	if err != nil {
		return nil, err
	}
	var found []finding
	var flow string
	var n int
	var first time.Time
	_, err = pgx.ForEachRow(rows, []any{&flow, &n, &first}, func() error {
		found = append(found, finding{Severity: problem,
			What: fmt.Sprintf("%s to runs of %s that nobody delivers, the first from %s", count(n, "answer", "answers"), flow, ago(first)),
			Do:   "start a worker that serves " + flow + ": workers deliver answers"})
		return nil
	})
	return found, err
}

// checkRequests looks for what was asked of runs in transactions and is not done.
func checkRequests(ctx context.Context, d *doctor) ([]finding, error) {
	requests, err := ops.ListRequests(ctx, d.db, time.Now().Add(-gracePeriod), 1000)
	if err != nil {
		return nil, err
	}
	var found []finding
	for _, r := range requests {
		if len(found) == 10 {
			found = append(found, finding{Severity: problem, What: fmt.Sprintf("and %d more", len(requests)-len(found)), Do: "do the same about them"})
			break
		}
		f := finding{Severity: problem,
			What: fmt.Sprintf("%s of run %s of %s was requested %s, and nobody has done it", r.Action, r.RunID, r.Flow, ago(r.At)),
			Do:   "start a worker that serves " + r.Flow + ": workers do what was requested in transactions"}
		if r.Error != "" {
			f.What = fmt.Sprintf("%s of run %s of %s was requested %s, and could not be done: %s", r.Action, r.RunID, r.Flow, ago(r.At), shorten(r.Error, 200))
			f.Do = "do it again by hand, outside of a transaction, then DELETE FROM flowc.requests WHERE run_id = '" + r.RunID + "' AND error IS NOT NULL;"
		}
		found = append(found, f)
	}
	return found, nil
}
