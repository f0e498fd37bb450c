package worker

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flowc-dev/flowc/runtime/engine"
	"github.com/flowc-dev/flowc/runtime/internal/try"
)

// How long calls may take.
const (
	shortCall = 3 * time.Second
	claimCall = 5 * time.Second
	pruneCall = 30 * time.Second

	// What tasks and the claimer wait for may take least at first, since a
	// connection whose other end is gone has to be given up soon, and up to most
	// once it took too long, since a database may be slow and values large.
	least, most = 2 * time.Second, time.Minute

	// A heartbeat may take this at first, so that one on a dead connection leaves
	// time for some more before the worker is taken for dead.
	leastBeat = time.Second

	// slowest is how many bytes a second go to the database at least.
	slowest = 1 << 20
)

// engineCalls are the calls where there is the engine, each one statement. Ids
// travel as text, which every way of executing a statement can carry.
type engineCalls struct {
	*database

	// How long these calls may take.
	claims, reports, values, sleeps, beats limit

	missed bool // whether the last heartbeat failed
}

// verify is not observed: whoever calls it does that.
func (d *engineCalls) verify(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, claimCall)
	defer cancel()
	return engine.Check(ctx, d.Pool)
}

func (d *engineCalls) maxPoll() time.Duration { return 2 * time.Second }

// A limit is how long one kind of call may take. It learns from how long they took.
type limit struct {
	mu  sync.Mutex
	now time.Duration
}

func (l *limit) get() time.Duration { return l.atLeast(least) }

func (l *limit) atLeast(d time.Duration) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(l.now, d)
}

// learn learns from a call that began at a time, with a limit.
func (l *limit) learn(began time.Time, had time.Duration, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err == nil:
		l.now = min(2*time.Since(began), most)
	case errors.Is(err, context.DeadlineExceeded):
		l.now = min(2*had, most)
	}
}

func (d *engineCalls) claimsAlong() bool { return true }

// A start goes over the program's connections, as they are. Behind a pooler it could
// not be prepared with what goes with it.
func (d *engineCalls) claimsEagerly() bool { return d.prepared && !d.strict.Load() }

const claimSQL = `
SELECT flow_slug, run_id::text, step_slug, task_index, message_id, attempt, tries, max_attempts, timeout, input, run_input, array_from,
       scheduled_at, headers, waited
FROM flowc.claim($1::text::uuid, $2, $3, $4, $5)`

// claimArgs are the arguments of claimSQL. With wake, others are woken for what it leaves.
func claimArgs(id uuid.UUID, a ask, wake bool) []any {
	return []any{id.String(), a.names, a.limits, notNil(a.except), wake}
}

// readClaimed reads what claimSQL gives.
func readClaimed(rows pgx.Rows) (tasks []*task, err error) {
	var c claimed
	_, err = pgx.ForEachRow(rows, []any{
		(*slug)(&c.Flow), &c.RunID, (*slug)(&c.Step), &c.Index, &c.MessageID, &c.Attempt, &c.Tries, &c.MaxAttempts, &c.Timeout, &c.Input, &c.RunInput, &c.ArrayFrom,
		&c.ScheduledAt, &c.Headers, &c.Waited,
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
	began, limit := time.Now(), d.claims.get()
	err = d.call(ctx, "claim", limit, func(ctx context.Context, pool *pgxpool.Pool) error {
		rows, err := pool.Query(ctx, claimSQL, claimArgs(id, a, true)...)
		if err != nil {
			return err
		}
		tasks, err = readClaimed(rows)
		return err
	})
	d.claims.learn(began, limit, err)
	return tasks, err
}

const finishSQL = `
SELECT n, accepted, task_status, retry_in
FROM flowc.finish($1::text::uuid, $2::text[]::uuid[], $3, $4, $5, $6, $7, $8, $9, $10, $11)`

// finishArgs are the arguments of finishSQL. With quiet, nobody is woken for what the
// reports make work of.
func finishArgs(id uuid.UUID, r report, quiet bool) []any {
	args := []any{id.String(), r.runs, r.steps, r.indexes, r.messages, r.attempts, r.outcomes, r.outputs, r.errors, r.delays, quiet}
	if !slices.ContainsFunc(r.outcomes, func(outcome string) bool { return outcome != try.Completed }) {
		args[6], args[8], args[9] = nil, nil, nil // what is usual need not be said
	}
	return args
}

func (d *engineCalls) finish(ctx context.Context, id uuid.UUID, r report, next *ask) (a answer, err error) {
	quiet := next != nil && next.quiet
	// Statements that are sent together are one transaction, and one round trip.
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
	began, limit := time.Now(), d.reports.get()
	err = d.call(ctx, "finish", limit+time.Duration(r.bytes)*time.Second/slowest, func(ctx context.Context, pool *pgxpool.Pool) error {
		return pool.SendBatch(ctx, &batch).Close()
	})
	d.reports.learn(began, limit, err)
	return a, err
}

func (d *engineCalls) release(ctx context.Context, id uuid.UUID, tasks []*task) error {
	flows, messages, attempts := keys(tasks)
	return d.exec(ctx, "release", shortCall, `SELECT flowc.release($1::text::uuid, $2, $3, $4)`, id.String(), flows, messages, attempts)
}

func (d *engineCalls) releaseUnknown(ctx context.Context, id uuid.UUID, tasks []*task) error {
	_, known, _ := keys(tasks)
	return d.exec(ctx, "release_unknown", claimCall, `SELECT flowc.release_unknown($1::text::uuid, $2)`, id.String(), known)
}

const heartbeatSQL = `
SELECT lost, deprecated, silent, extract(epoch FROM clock_timestamp() - pg_postmaster_start_time())::float8, dead, due
FROM flowc.heartbeat($1::text::uuid, $2, $3, $4, $5)`

func (d *engineCalls) heartbeat(ctx context.Context, id uuid.UUID, served []string, tasks []*task) (p pulse, err error) {
	flows, messages, attempts := keys(tasks)
	var lost []int64
	began, limit := time.Now(), min(d.beats.atLeast(leastBeat), shortCall)
	err = d.call(ctx, "heartbeat", limit, func(ctx context.Context, pool *pgxpool.Pool) error {
		row := pool.QueryRow(ctx, heartbeatSQL, id.String(), flows, messages, attempts, served)
		return row.Scan(&lost, &p.Deprecated, &p.Silent, &p.ServerUp, &p.Dead, &p.Due)
	})
	// One may have met a dead connection, and is repeated as soon; only if the next takes
	// too long as well, the database is slow.
	if err == nil || d.missed {
		d.beats.learn(began, limit, err)
	}
	d.missed = err != nil
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

func (d *engineCalls) stop(ctx context.Context, id uuid.UUID) error {
	return d.exec(ctx, "stop_worker", shortCall, `SELECT flowc.stop_worker($1::text::uuid)`, id.String())
}

func (d *engineCalls) sleep(ctx context.Context, id uuid.UUID, flows []string) (due time.Duration, err error) {
	began, limit := time.Now(), d.sleeps.get()
	err = d.call(ctx, "sleep", limit, func(ctx context.Context, pool *pgxpool.Pool) error {
		var seconds *float64
		// The difference is the database's, so that clocks need not agree. It may
		// be negative by now; only NULL means that nothing is due.
		row := pool.QueryRow(ctx, `
SELECT extract(epoch FROM s.due - clock_timestamp())::float8
FROM flowc.sleep($1::text::uuid, $2) s(due)`, id.String(), flows)
		if err := row.Scan(&seconds); err != nil {
			return err
		}
		due = -1
		if seconds != nil {
			due = secondsToDuration(max(*seconds, 0))
		}
		return nil
	})
	d.sleeps.learn(began, limit, err)
	return due, err
}

func (d *engineCalls) awake(ctx context.Context, id uuid.UUID) error {
	return d.exec(ctx, "awake", shortCall, `SELECT flowc.awake($1::text::uuid)`, id.String())
}

func (d *engineCalls) startDue(ctx context.Context, flows []string) (started int, err error) {
	err = d.call(ctx, "start_due", claimCall, func(ctx context.Context, pool *pgxpool.Pool) error {
		return pool.QueryRow(ctx, `SELECT flowc.start_due($1)`, flows).Scan(&started)
	})
	return started, err
}

func (d *engineCalls) recover(ctx context.Context) error {
	return d.exec(ctx, "recover", claimCall, `SELECT flowc.recover()`)
}

func (d *engineCalls) advanceHeads(ctx context.Context, flows []string) error {
	return d.exec(ctx, "advance_heads", claimCall, `SELECT flowc.advance_heads($1)`, flows)
}

func (d *engineCalls) readValues(ctx context.Context, runs, sources []string) (values []value, err error) {
	began, limit := time.Now(), d.values.get()
	err = d.call(ctx, "read_values", limit, func(ctx context.Context, pool *pgxpool.Pool) error {
		values, err = rows(ctx, pool, pgx.RowToStructByPos[value],
			`SELECT run_id::text, source, value FROM flowc.read_values($1::text[]::uuid[], $2)`, runs, sources)
		return err
	})
	d.values.learn(began, limit, err)
	return values, err
}

func (d *engineCalls) compare(ctx context.Context, slug string, definition json.RawMessage) (differences []string, found bool, err error) {
	err = d.call(ctx, "compare_flow", claimCall, func(ctx context.Context, pool *pgxpool.Pool) error {
		row := pool.QueryRow(ctx, `SELECT flowc.compare_flow($1, $2::text::jsonb)`, slug, string(definition))
		return row.Scan(&differences)
	})
	return differences, differences != nil, err
}

func (d *engineCalls) prune(ctx context.Context, id uuid.UUID, flows []string, keep time.Duration, most int) (deleted int, err error) {
	err = d.call(ctx, "prune", pruneCall, func(ctx context.Context, pool *pgxpool.Pool) error {
		return pool.QueryRow(ctx, `SELECT flowc.prune_served($1::text::uuid, $2, $3, $4)`, id.String(), flows, keep, most).Scan(&deleted)
	})
	return deleted, err
}

func (d *engineCalls) crons(ctx context.Context, flows []string) (map[string]string, error) {
	type schedule struct{ flow, cron string }
	crons := map[string]string{}
	err := d.call(ctx, "crons", claimCall, func(ctx context.Context, pool *pgxpool.Pool) error {
		all, err := rows(ctx, pool, func(row pgx.CollectableRow) (s schedule, err error) {
			return s, row.Scan(&s.flow, &s.cron)
		}, `SELECT flow_slug, cron FROM flowc.crons($1)`, flows)
		for _, s := range all {
			crons[s.flow] = s.cron
		}
		return err
	})
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
