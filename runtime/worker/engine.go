package worker

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/flowc-dev/flowc/runtime/engine"
	"github.com/flowc-dev/flowc/runtime/internal/try"
)

// How long calls may take at least; see [timeouts].
const (
	shortCall = 3 * time.Second
	claimCall = 5 * time.Second
	pruneCall = 30 * time.Second

	// What tasks and the claimer wait for may take this at first.
	waitedCall = 2 * time.Second

	// A heartbeat may take this at first, so that one on a dead connection leaves
	// time for some more before the worker is taken for dead.
	leastBeat = time.Second

	// maxReadBytes is how much of what claims left out is read at once, as it is stored,
	// unless it is one value. It may be some times as much as text.
	maxReadBytes = 256 << 10

	// slowest is how many bytes a second go to the database at least.
	slowest = 1 << 20
)

// engineCalls are the calls where there is the engine, each one statement. Ids
// travel as text, which every way of executing a statement can carry.
type engineCalls struct {
	*database
}

// verify is not observed: whoever calls it does that.
func (d *engineCalls) verify(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, claimCall)
	defer cancel()
	return engine.Check(ctx, d.Pool)
}

func (d *engineCalls) maxPoll() time.Duration { return 2 * time.Second }

func (d *engineCalls) claimsAlong() bool { return true }

// A start goes over the program's connections, as they are. Behind a pooler it could
// not be prepared with what goes with it.
func (d *engineCalls) claimsEagerly() bool { return d.prepared && !d.strict.Load() }

const claimSQL = `
SELECT flow_slug, run_id::text, step_slug, task_index, message_id, claim_number, attempt, max_attempts, timeout, input, run_input, array_from,
       scheduled_at, headers, waited, isolated_for
FROM flowc.claim($1::text::uuid, $2, $3, $4, $5)`

// claimArgs are the arguments of claimSQL. With wake, others are woken for what it leaves.
func claimArgs(id uuid.UUID, a ask, wake bool) []any {
	return []any{id.String(), a.names, a.limits, notNil(a.except), wake}
}

// readClaimed reads what claimSQL gives.
func readClaimed(rows pgx.Rows) (tasks []*task, err error) {
	var c claimed
	_, err = pgx.ForEachRow(rows, []any{
		(*slug)(&c.Flow), &c.RunID, (*slug)(&c.Step), &c.Index, &c.MessageID, &c.ClaimNumber, &c.Attempt, &c.MaxAttempts, &c.Timeout, &c.Input, &c.RunInput, &c.ArrayFrom,
		&c.ScheduledAt, &c.Headers, &c.Waited, &c.IsolatedFor,
	}, func() error {
		tasks = append(tasks, &task{claimed: c})
		return nil
	})
	return tasks, err
}

// A slug is a name that mostly is the one of the row before, and then not made anew.
type slug string

func (s *slug) ScanBytes(text []byte) error {
	if string(*s) != string(text) {
		*s = slug(text)
	}
	return nil
}

func (d *engineCalls) claim(ctx context.Context, id uuid.UUID, a ask) (tasks []*task, err error) {
	var b pgx.Batch
	b.Queue(claimSQL, claimArgs(id, a, true)...).Query(func(rows pgx.Rows) (err error) {
		tasks, err = readClaimed(rows)
		return err
	})
	err = d.send(ctx, "claim", waitedCall, &b)
	return tasks, err
}

// claimSuspectsSQL is claimSQL with another function.
var claimSuspectsSQL = strings.Replace(claimSQL, "flowc.claim($1::text::uuid, $2, $3, $4, $5)", "flowc.claim_suspects($1::text::uuid, $2, $3, $4)", 1)

func (d *engineCalls) claimSuspects(ctx context.Context, id uuid.UUID, a ask) (tasks []*task, err error) {
	var b pgx.Batch
	b.Queue(claimSuspectsSQL, id.String(), a.names, a.limits, notNil(a.except)).Query(func(rows pgx.Rows) (err error) {
		tasks, err = readClaimed(rows)
		return err
	})
	err = d.send(ctx, "claim_suspects", waitedCall, &b)
	return tasks, err
}

const finishSQL = `
SELECT n, accepted, task_status, retry_in
FROM flowc.report($1::text::uuid, $2::text[]::uuid[], $3, $4, $5, $6, $7, $8, $9, $10, $11)`

// finishArgs are the arguments of finishSQL. With quiet, nobody is woken for what the
// reports make work of.
func finishArgs(id uuid.UUID, r report, quiet bool) []any {
	args := []any{id.String(), r.runs, r.steps, r.indexes, r.messages, r.claims, r.outcomes, r.outputs, r.errors, r.delays, quiet}
	if !slices.ContainsFunc(r.outcomes, func(outcome string) bool { return outcome != try.Completed }) {
		args[6], args[8], args[9] = nil, nil, nil // what is usual need not be said
	}
	return args
}

func (d *engineCalls) finish(ctx context.Context, id uuid.UUID, r report, next *ask) (a answer, err error) {
	quiet := next != nil && next.quiet
	var batch pgx.Batch
	batch.Queue(finishSQL, finishArgs(id, r, quiet)...).Query(func(rows pgx.Rows) (err error) {
		a.verdicts, err = pgx.CollectRows(rows, pgx.RowToStructByPos[verdict])
		return err
	})
	if next != nil {
		batch.Queue(claimSQL, claimArgs(id, *next, quiet)...).Query(func(rows pgx.Rows) (err error) {
			a.tasks, err = readClaimed(rows)
			return err
		})
	}
	err = d.send(ctx, "finish", waitedCall+time.Duration(r.bytes)*time.Second/slowest, &batch)
	return a, err
}

func (d *engineCalls) release(ctx context.Context, id uuid.UUID, tasks []*task) error {
	flows, messages, claims := keys(tasks)
	return d.exec(ctx, "release", shortCall, `SELECT flowc.release($1::text::uuid, $2, $3, $4)`, id.String(), flows, messages, claims)
}

func (d *engineCalls) releaseUnknown(ctx context.Context, id uuid.UUID, tasks []*task) error {
	_, known, _ := keys(tasks)
	return d.exec(ctx, "release_unknown", claimCall, `SELECT flowc.release_unknown($1::text::uuid, $2)`, id.String(), known)
}

const heartbeatSQL = `
SELECT lost, deprecated, silent, extract(epoch FROM clock_timestamp() - pg_postmaster_start_time())::float8, dead, due, suspects
FROM flowc.heartbeat($1::text::uuid, $2, $3, $4, $5)`

func (d *engineCalls) heartbeat(ctx context.Context, id uuid.UUID, served []string, tasks []*task) (p pulse, err error) {
	flows, messages, claims := keys(tasks)
	var lost []int64
	err = d.row(ctx, "heartbeat", leastBeat, []any{&lost, &p.Deprecated, &p.Silent, &p.ServerUp, &p.Dead, &p.Due, &p.Suspects},
		heartbeatSQL, id.String(), flows, messages, claims, served)
	for _, t := range tasks {
		if slices.Contains(lost, t.MessageID) {
			p.Lost = append(p.Lost, t)
		}
	}
	return p, err
}

func (d *engineCalls) register(ctx context.Context, id uuid.UUID, name string, flows []string) error {
	return d.exec(ctx, "register_worker", shortCall, `SELECT flowc.register_worker($1::text::uuid, $2, $3)`, id.String(), name, flows)
}

func (d *engineCalls) draining(ctx context.Context, id uuid.UUID) error {
	return d.exec(ctx, "draining", shortCall, `SELECT flowc.drain_worker($1::text::uuid)`, id.String())
}

func (d *engineCalls) stop(ctx context.Context, id uuid.UUID) error {
	return d.exec(ctx, "stop_worker", shortCall, `SELECT flowc.stop_worker($1::text::uuid)`, id.String())
}

func (d *engineCalls) sleep(ctx context.Context, id uuid.UUID, flows []string) (due time.Duration, err error) {
	// The difference is the database's, so that clocks need not agree. It may be
	// negative by now; only NULL means that nothing is due.
	var seconds *float64
	err = d.row(ctx, "sleep", waitedCall, []any{&seconds}, `
SELECT extract(epoch FROM s.due - clock_timestamp())::float8
FROM flowc.enter_idle($1::text::uuid, $2) s(due)`, id.String(), flows)
	if seconds == nil {
		return -1, err
	}
	return secondsToDuration(max(*seconds, 0)), err
}

func (d *engineCalls) awake(ctx context.Context, id uuid.UUID) error {
	return d.exec(ctx, "awake", shortCall, `SELECT flowc.leave_idle($1::text::uuid)`, id.String())
}

func (d *engineCalls) startDue(ctx context.Context, flows []string) (started int, err error) {
	err = d.row(ctx, "start_due", claimCall, []any{&started}, `SELECT flowc.start_due($1)`, flows)
	return started, err
}

func (d *engineCalls) recover(ctx context.Context) error {
	return d.exec(ctx, "recover", claimCall, `SELECT flowc.recover($1)`, d.config.MaxCrashes)
}

func (d *engineCalls) advanceWatermarks(ctx context.Context, flows []string) error {
	return d.exec(ctx, "advance_watermarks", claimCall, `SELECT flowc.advance_watermarks($1)`, flows)
}

func (d *engineCalls) failUnclaimable(ctx context.Context, names, except []string) ([]unclaimable, error) {
	return rows(ctx, d.database, "fail_unclaimable", pruneCall, pgx.RowToStructByPos[unclaimable],
		`SELECT flow_slug, run_id::text, step_slug, task_index, error_message FROM flowc.fail_unclaimable($1, $2)`, names, notNil(except))
}

func (d *engineCalls) readValues(ctx context.Context, runs, sources []string) ([]value, error) {
	return rows(ctx, d.database, "read_values", waitedCall, pgx.RowToStructByPos[value],
		`SELECT run_id::text, source, value FROM flowc.read_values($1::text[]::uuid[], $2, $3)`, runs, sources, maxReadBytes)
}

func (d *engineCalls) compare(ctx context.Context, slug string, definition json.RawMessage) (differences []string, found bool, err error) {
	err = d.row(ctx, "compare_flow", claimCall, []any{&differences}, `SELECT flowc.compare_flow($1, $2::text::jsonb)`, slug, string(definition))
	return differences, differences != nil, err
}

func (d *engineCalls) prune(ctx context.Context, id uuid.UUID, flows []string, keep time.Duration, most int) (deleted int, err error) {
	err = d.row(ctx, "prune", pruneCall, []any{&deleted}, `SELECT flowc.prune_served($1::text::uuid, $2, $3, $4)`, id.String(), flows, keep, most)
	return deleted, err
}

func (d *engineCalls) crons(ctx context.Context, flows []string) (map[string]string, error) {
	type schedule struct{ Flow, Cron string }
	all, err := rows(ctx, d.database, "crons", claimCall, pgx.RowToStructByPos[schedule], `SELECT flow_slug, cron FROM flowc.list_crons($1)`, flows)
	crons := map[string]string{}
	for _, s := range all {
		crons[s.Flow] = s.Cron
	}
	return crons, err
}

// notNil is the slice, or an empty one instead of NULL.
func notNil[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

func secondsToDuration(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
