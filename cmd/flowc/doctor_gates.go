package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/flowc-dev/flowc/runtime/ops"
)

// checkGates looks for counts of gates that do not add up, for gates that are held while tasks
// wait, and for limited steps that only workers in other languages serve, which are not handed
// tasks with limits.
func checkGates(ctx context.Context, d *doctor) ([]finding, error) {
	found, err := checkGateCounts(ctx, d)
	if err != nil {
		return nil, err
	}
	held, err := checkHeldGates(ctx, d)
	if err != nil {
		return nil, err
	}
	rows, err := d.db.Query(ctx, `
		SELECT s.flow_slug, string_agg(s.step_slug, ', ' ORDER BY s.step_slug) FROM flowc.gated_steps s
		WHERE s.step_slug <> '' AND EXISTS (SELECT FROM pgflow.workers w
		              WHERE w.queue_name = s.flow_slug AND w.stopped_at IS NULL AND w.deprecated_at IS NULL AND w.last_heartbeat_at >= flowc.silent_before())
		  AND NOT EXISTS (SELECT FROM flowc.worker_flows f JOIN pgflow.workers w ON w.worker_id = f.worker_id
		                  WHERE f.flow_slug = s.flow_slug AND w.stopped_at IS NULL AND w.last_heartbeat_at >= flowc.silent_before())
		GROUP BY s.flow_slug ORDER BY s.flow_slug`)
	if err != nil {
		return nil, err
	}
	found = append(found, held...)
	var flow, steps string
	_, err = pgx.ForEachRow(rows, []any{&flow, &steps}, func() error {
		found = append(found, finding{Severity: problem,
			What: fmt.Sprintf("%s of %s with a limit or a key, and only workers in other languages serve the flow: they are not handed the tasks", stepWords(steps), flow),
			Do:   "start a worker of this project that serves " + flow + ", or remove the limits and keys of these steps"})
		return nil
	})
	return found, err
}

// stepWords says which steps there are.
func stepWords(steps string) string {
	if strings.Contains(steps, ", ") {
		return "there are the steps " + steps
	}
	return "there is the step " + steps
}

// checkGateCounts looks for what is wrong with the counts of gates.
func checkGateCounts(ctx context.Context, d *doctor) ([]finding, error) {
	rows, err := d.db.Query(ctx, `
		SELECT gate, key, problem,
		       format('UPDATE flowc.gate_keys k SET in_flight = (SELECT count(*) FROM flowc.held h WHERE h.gate = k.gate AND h.key = k.key)'
		           || ' + (SELECT count(*) FROM flowc.limited_runs l WHERE flowc.own_gate(l.flow_slug, '''') = k.gate AND l.key = k.key)'
		           || ' + (SELECT coalesce(sum(c.departed), 0) FROM flowc.gate_changes c WHERE c.gate = k.gate AND c.key = k.key) WHERE k.gate = %L AND k.key = %L;', gate, key)
		FROM flowc.check_gates() ORDER BY gate, key LIMIT 10`)
	if err != nil {
		return nil, err
	}
	var found []finding
	var gate, key, what, count string
	_, err = pgx.ForEachRow(rows, []any{&gate, &key, &what, &count}, func() error {
		f := finding{Severity: problem, What: gateWords(gate, key) + ": " + what,
			Do: "start a worker that serves its steps: it recovers what dead workers hold"}
		if strings.Contains(what, "counted") {
			f.Do = count
		}
		found = append(found, f)
		return nil
	})
	return found, err
}

// checkHeldGates looks for gates that are held although tasks have waited long.
func checkHeldGates(ctx context.Context, d *doctor) ([]finding, error) {
	gates, err := ops.ListGates(ctx, d.db, ops.GateFilter{Limit: 1000})
	if err != nil {
		return nil, err
	}
	var found []finding
	for _, g := range gates {
		if g.HeldUntil.IsZero() || g.OldestAt.IsZero() || time.Since(g.OldestAt) < d.maxTaskWait {
			continue
		}
		end := "flowc gates hold " + g.Name + " --end"
		if g.Key != "" {
			end += ", with --key " + strconv.Quote(g.Key) + " if it is held for that key only"
		}
		found = append(found, finding{Severity: warning,
			What: fmt.Sprintf("%s is held until %s (%s), and %s there, the oldest from %s",
				gateWords(g.Name, g.Key), clock(g.HeldUntil), ago(g.HeldUntil), count(g.Waiting, "task waits", "tasks wait"), ago(g.OldestAt)),
			Do: end})
		if len(found) == 10 {
			break
		}
	}
	return found, nil
}

// gateWords names a gate, and a key if there is one.
func gateWords(gate, key string) string {
	if key == "" {
		return "gate " + gate
	}
	return fmt.Sprintf("gate %s, key %q", gate, key)
}
