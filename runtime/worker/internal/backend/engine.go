package backend

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/flowc-dev/flowc/runtime/engine"
	"github.com/flowc-dev/flowc/runtime/internal/eager"
	"github.com/flowc-dev/flowc/runtime/worker/internal/dbconn"
)

// What calls may take at first; see [dbconn.Call].
const (
	shortCall = 3 * time.Second
	longCall  = 5 * time.Second
	pruneCall = 30 * time.Second

	// urgentCall is for calls that tasks and the claimer wait for.
	urgentCall = 2 * time.Second

	// heartbeatCall leaves time for some more if the connection is dead, before the
	// worker is presumed dead.
	heartbeatCall = time.Second

	// largeCall is for answers that are delivered by themselves, and take longer the more
	// tasks they start: minAnswerBytesPerSecond.
	largeCall               = 30 * time.Second
	minAnswerBytesPerSecond = 1 << 16
	// minBytesPerSecond is how many bytes of a report are sent a second, at least.
	minBytesPerSecond = 1 << 20

	// maxReadBytes is how many bytes of values are read at once, as they are stored,
	// unless it is a single one. As text they may be several times as large.
	maxReadBytes = 256 << 10
)

// Engine makes calls to the engine, each of one statement. Ids are sent as text, which
// all ways of executing a statement can carry.
type Engine struct {
	db     *dbconn.DB
	worker *Worker
	id     string
	slugs  []string
	except []string
	gated  map[string]bool // claim groups that are gated steps

	limited []string // flows whose runs have a limit
}

var _ Backend = (*Engine)(nil)

// NewEngine returns the backend of a worker where the engine is installed.
func NewEngine(db *dbconn.DB, worker *Worker) *Engine {
	gated := map[string]bool{}
	for _, name := range worker.Gated {
		gated[name] = true
	}
	return &Engine{db: db, worker: worker, id: worker.ID.String(), slugs: worker.slugs(), except: notNil(worker.Except), gated: gated, limited: worker.limited()}
}

func (e *Engine) Verify(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, longCall)
	defer cancel()
	return engine.Check(ctx, e.db.Pool())
}

func (e *Engine) MaxPoll() time.Duration { return 2 * time.Second }

func (e *Engine) SupportsPiggyback() bool { return true }

func (e *Engine) SupportsKeep() bool { return true }

// SupportsEagerClaims: a start uses the program's connections as they are. Behind a
// pooler in transaction mode it could not be prepared together with a claim.
func (e *Engine) SupportsEagerClaims() bool { return e.db.Prepared() && !e.db.Strict() }

const claimSQL = `
SELECT flow_slug, run_id::text, step_slug, task_index, message_id, claim_number, attempt, max_attempts, timeout, input, run_input, array_from,
       tick, headers, waited, isolated_for, kept
FROM flowc.claim($1::text::uuid, $2, $3, $4, $5, $6)`

// claimArgs returns the arguments of claimSQL. With wake, other workers are notified of
// what the claim leaves.
func (e *Engine) claimArgs(r ClaimRequest, wake bool) []any {
	return []any{e.id, r.Groups, r.Limits, e.except, wake, r.First}
}

// readClaimed reads the rows of claimSQL.
func readClaimed(rows pgx.Rows) (tasks []*Claimed, err error) {
	var c Claimed
	_, err = pgx.ForEachRow(rows, []any{
		(*slug)(&c.Flow), &c.RunID, (*slug)(&c.Step), &c.Index, &c.MessageID, &c.ClaimNumber, &c.Attempt, &c.MaxAttempts, &c.Timeout, &c.Input, &c.RunInput, &c.ArrayFrom,
		&c.Tick, &c.Headers, &c.Waited, &c.IsolatedFor, &c.Kept,
	}, func() error {
		task := c
		tasks = append(tasks, &task)
		return nil
	})
	return tasks, err
}

// A slug is a name that is mostly the same as in the row before, and then not allocated
// again.
type slug string

func (s *slug) ScanBytes(text []byte) error {
	if string(*s) != string(text) {
		*s = slug(text)
	}
	return nil
}

// claimGatedSQL is claimSQL with another function.
var claimGatedSQL = strings.Replace(claimSQL, "flowc.claim($1::text::uuid, $2, $3, $4, $5, $6)", "flowc.claim_gated($1::text::uuid, $2, $3, $4)", 1)

// queueClaim adds a claim to a batch, which adds what it claims to tasks. Gated steps have a
// function of their own. Runs that wait in line begin before it, as far as there is room.
func (e *Engine) queueClaim(b *pgx.Batch, r ClaimRequest, wake bool, tasks *[]*Claimed) {
	add := func(rows pgx.Rows) error {
		claimed, err := readClaimed(rows)
		*tasks = append(*tasks, claimed...)
		return err
	}
	if len(e.limited) > 0 {
		b.Queue(`SELECT flowc.begin_runs($1)`, e.limited)
	}
	plain, gated := r, ClaimRequest{}
	if len(e.gated) > 0 {
		plain = ClaimRequest{}
		for i, name := range r.Groups {
			some := &plain
			if e.gated[name] {
				some = &gated
			}
			some.Groups, some.Limits = append(some.Groups, name), append(some.Limits, r.Limits[i])
			if r.First != nil {
				some.First = append(some.First, r.First[i])
			}
		}
	}
	if len(plain.Groups) > 0 {
		b.Queue(claimSQL, e.claimArgs(plain, wake)...).Query(add)
	}
	if len(gated.Groups) > 0 {
		b.Queue(claimGatedSQL, e.id, gated.Groups, gated.Limits, wake).Query(add)
	}
}

func (e *Engine) Claim(ctx context.Context, r ClaimRequest) (tasks []*Claimed, err error) {
	var b pgx.Batch
	e.queueClaim(&b, r, true, &tasks)
	err = e.db.Send(ctx, dbconn.Call{Name: "claim", Timeout: urgentCall, OwnErrors: true}, &b)
	return tasks, err
}

// claimSuspectsSQL is claimSQL with another function.
var claimSuspectsSQL = strings.Replace(claimSQL, "flowc.claim($1::text::uuid, $2, $3, $4, $5, $6)", "flowc.claim_suspects($1::text::uuid, $2, $3, $4)", 1)

func (e *Engine) ClaimSuspects(ctx context.Context, r ClaimRequest) (tasks []*Claimed, err error) {
	var b pgx.Batch
	b.Queue(claimSuspectsSQL, e.id, r.Groups, r.Limits, e.except).Query(func(rows pgx.Rows) (err error) {
		tasks, err = readClaimed(rows)
		return err
	})
	err = e.db.Send(ctx, dbconn.Call{Name: "claim_suspects", Timeout: urgentCall, OwnErrors: true}, &b)
	return tasks, err
}

func (e *Engine) EagerClaim(alive context.Context, r ClaimRequest, done func([]*Claimed, error)) *eager.Claim {
	var tasks []*Claimed
	return &eager.Claim{
		SQL:   claimSQL,
		Args:  e.claimArgs(r, true),
		Limit: urgentCall,
		Alive: alive,
		Read: func(rows pgx.Rows) (err error) {
			tasks, err = readClaimed(rows)
			return err
		},
		Done: func(err error) {
			if err != nil {
				tasks = nil
			}
			done(tasks, err)
		},
	}
}

const reportSQL = `
SELECT n, accepted, task_status, retry_in
FROM flowc.report($1::text::uuid, $2::text[]::uuid[], $3, $4, $5, $6, $7, $8, $9, $10, $11, $12::text[]::jsonb[])`

// reportArgs returns the arguments of reportSQL.
func (e *Engine) reportArgs(r *Report, suppressNotify bool) []any {
	args := []any{e.id, r.RunIDs, r.Steps, r.Indexes, r.MessageIDs, r.ClaimNumbers, r.Outcomes, r.Outputs, r.Errors, r.Delays, suppressNotify, r.Kept}
	if r.completed() {
		args[6], args[8], args[9] = nil, nil, nil // the defaults
	}
	return args
}

func (e *Engine) Report(ctx context.Context, r *Report, piggyback *ClaimRequest) (result ReportReply, err error) {
	suppressNotify := piggyback != nil && piggyback.SuppressNotify
	var batch pgx.Batch
	batch.Queue(reportSQL, e.reportArgs(r, suppressNotify)...).Query(func(rows pgx.Rows) (err error) {
		result.Results, err = pgx.CollectRows(rows, pgx.RowToStructByPos[ReportResult])
		return err
	})
	if piggyback != nil {
		e.queueClaim(&batch, *piggyback, suppressNotify, &result.Claimed)
	}
	limit := urgentCall + time.Duration(r.Bytes)*time.Second/minBytesPerSecond
	err = e.db.Send(ctx, dbconn.Call{Name: "report", Timeout: limit, OwnErrors: true}, &batch)
	return result, err
}

func (e *Engine) SupportsTransactions() bool { return true }

const completeInTxSQL = `
SELECT accepted, coalesce(failure, '')
FROM flowc.complete_in_transaction($1::text::uuid, $2::text::uuid, $3, $4, $5, $6, $7::text::jsonb)`

// Complete is not repeated: its transaction is lost if it fails.
func (e *Engine) Complete(ctx context.Context, conn *pgx.Conn, c *Claimed, output string) (accepted bool, failure string, err error) {
	args := []any{e.id, c.RunID, c.Step, c.Index, c.MessageID, c.ClaimNumber, output}
	if !e.db.Prepared() {
		args = append([]any{pgx.QueryExecModeExec}, args...)
	}
	began := time.Now()
	err = conn.QueryRow(ctx, completeInTxSQL, args...).Scan(&accepted, &failure)
	e.db.Called("complete_in_transaction", time.Since(began), err)
	return accepted, failure, err
}

// Tasks that another transaction has locked are released once it has ended, if it does within
// releaseWait. Mostly it is a claim that came too late for them, which takes milliseconds.
const (
	releaseWait  = time.Second
	releasePause = 10 * time.Millisecond
)

func (e *Engine) Release(ctx context.Context, tasks []*Claimed, kept []string) error {
	flows, messages, claims := keys(tasks)
	for began := time.Now(); ; {
		var locked int
		err := e.db.QueryRow(ctx, dbconn.Call{Name: "release", Timeout: shortCall}, []any{&locked}, `
SELECT flowc.release($1::text::uuid, $2, $3, $4, array(SELECT nullif(k.value, '')::jsonb FROM unnest($5::text[]) WITH ORDINALITY k(value, n) ORDER BY k.n))`,
			e.id, flows, messages, claims, notNil(kept))
		switch {
		case err != nil || locked == 0:
			return err
		case time.Since(began) > releaseWait:
			return fmt.Errorf("%d of %d tasks are locked by other transactions", locked, len(tasks))
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(releasePause):
		}
	}
}

func (e *Engine) ReleaseLost(ctx context.Context, inFlight []*Claimed) error {
	_, messages, _ := keys(inFlight)
	return e.db.Exec(ctx, dbconn.Call{Name: "release_unknown", Timeout: longCall}, `SELECT flowc.release_unknown($1::text::uuid, $2)`, e.id, messages)
}

func (e *Engine) LeaveUnknown(ctx context.Context, inFlight []*Claimed) error {
	_, messages, _ := keys(inFlight)
	return e.db.Exec(ctx, dbconn.Call{Name: "leave_unknown", Timeout: longCall}, `SELECT flowc.leave_unknown($1::text::uuid, $2)`, e.id, messages)
}

const heartbeatSQL = `
SELECT lost, deprecated, silent, extract(epoch FROM clock_timestamp() - pg_postmaster_start_time())::float8, dead, due, suspects
FROM flowc.heartbeat($1::text::uuid, $2, $3, $4, $5)`

func (e *Engine) Heartbeat(ctx context.Context, inFlight []*Claimed) (r HeartbeatResult, err error) {
	flows, messages, claims := keys(inFlight)
	var lost []int64
	err = e.db.QueryRow(ctx, dbconn.Call{Name: "heartbeat", Timeout: heartbeatCall},
		[]any{&lost, &r.Deprecated, &r.SilentFor, &r.ServerUptime, &r.DeadWorkers, &r.DueRuns, &r.Suspects},
		heartbeatSQL, e.id, flows, messages, claims, e.slugs)
	for i, t := range inFlight {
		if slices.Contains(lost, t.MessageID) {
			r.Lost = append(r.Lost, i)
		}
	}
	return r, err
}

func (e *Engine) Register(ctx context.Context) error {
	return e.db.Exec(ctx, dbconn.Call{Name: "register_worker", Timeout: shortCall}, `SELECT flowc.register_worker($1::text::uuid, $2, $3)`, e.id, e.worker.Name, e.slugs)
}

func (e *Engine) Drain(ctx context.Context) error {
	return e.db.Exec(ctx, dbconn.Call{Name: "drain_worker", Timeout: shortCall}, `SELECT flowc.drain_worker($1::text::uuid)`, e.id)
}

func (e *Engine) Stop(ctx context.Context) error {
	return e.db.Exec(ctx, dbconn.Call{Name: "stop_worker", Timeout: shortCall}, `SELECT flowc.stop_worker($1::text::uuid)`, e.id)
}

func (e *Engine) EnterIdle(ctx context.Context, tried bool) (due time.Duration, err error) {
	// The database computes the difference, so that clocks need not agree. It may be
	// negative by now; only NULL means that nothing is due.
	var seconds *float64
	err = e.db.QueryRow(ctx, dbconn.Call{Name: "enter_idle", Timeout: urgentCall}, []any{&seconds}, `
SELECT extract(epoch FROM s.due - clock_timestamp())::float8
FROM flowc.enter_idle($1::text::uuid, $2, $3) s(due)`, e.id, e.slugs, tried)
	if seconds == nil {
		return -1, err
	}
	return Seconds(max(*seconds, 0)), err
}

func (e *Engine) LeaveIdle(ctx context.Context) error {
	return e.db.Exec(ctx, dbconn.Call{Name: "leave_idle", Timeout: shortCall}, `SELECT flowc.leave_idle($1::text::uuid)`, e.id)
}

func (e *Engine) StartDue(ctx context.Context) (done int, err error) {
	err = e.db.QueryRow(ctx, dbconn.Call{Name: "start_due", Timeout: longCall}, []any{&done}, `SELECT flowc.start_due($1)`, e.slugs)
	return done, err
}

func (e *Engine) DeliverLarge(ctx context.Context) error {
	for {
		var bytes *int64
		err := e.db.QueryRow(ctx, dbconn.Call{Name: "large_answer", Timeout: shortCall}, []any{&bytes}, `SELECT flowc.large_answer($1)`, e.slugs)
		if err != nil || bytes == nil {
			return err
		}
		limit := largeCall + time.Duration(*bytes)*time.Second/minAnswerBytesPerSecond
		var delivered bool
		err = e.db.QueryRow(ctx, dbconn.Call{Name: "deliver_large", Timeout: limit}, []any{&delivered}, `SELECT flowc.deliver_large($1)`, e.slugs)
		if err != nil || !delivered {
			return err
		}
	}
}

func (e *Engine) Recover(ctx context.Context) error {
	return e.db.Exec(ctx, dbconn.Call{Name: "recover", Timeout: longCall}, `SELECT flowc.recover($1)`, e.worker.MaxCrashes)
}

func (e *Engine) AdvanceWatermarks(ctx context.Context) error {
	return e.db.Exec(ctx, dbconn.Call{Name: "advance_watermarks", Timeout: longCall}, `SELECT flowc.advance_watermarks($1)`, e.slugs)
}

func (e *Engine) FailUnclaimable(ctx context.Context, groups []string) ([]Unclaimable, error) {
	return dbconn.Query[Unclaimable](ctx, e.db, dbconn.Call{Name: "fail_unclaimable", Timeout: pruneCall},
		`SELECT flow_slug, run_id::text, step_slug, task_index, error_message FROM flowc.fail_unclaimable($1, $2)`, groups, e.except)
}

func (e *Engine) ReadValues(ctx context.Context, runs, sources []string) ([]Value, error) {
	return dbconn.Query[Value](ctx, e.db, dbconn.Call{Name: "read_values", Timeout: urgentCall},
		`SELECT run_id::text, source, value FROM flowc.read_values($1::text[]::uuid[], $2, $3)`, runs, sources, maxReadBytes)
}

func (e *Engine) CompareFlow(ctx context.Context, slug string, definition json.RawMessage) (differences []string, found bool, err error) {
	err = e.db.QueryRow(ctx, dbconn.Call{Name: "compare_flow", Timeout: longCall}, []any{&differences},
		`SELECT flowc.compare_flow($1, $2::text::jsonb)`, slug, string(definition))
	return differences, differences != nil, err
}

func (e *Engine) Prune(ctx context.Context, keep time.Duration, limit int) (deleted int, err error) {
	err = e.db.QueryRow(ctx, dbconn.Call{Name: "prune", Timeout: pruneCall}, []any{&deleted},
		`SELECT flowc.prune_served($1::text::uuid, $2, $3, $4)`, e.id, e.slugs, keep, limit)
	return deleted, err
}

func (e *Engine) Crons(ctx context.Context) (map[string]string, error) {
	type schedule struct{ Flow, Cron string }
	all, err := dbconn.Query[schedule](ctx, e.db, dbconn.Call{Name: "list_crons", Timeout: longCall}, `SELECT flow_slug, cron FROM flowc.list_crons($1)`, e.slugs)
	crons := map[string]string{}
	for _, s := range all {
		crons[s.Flow] = s.Cron
	}
	return crons, err
}

// notNil returns the slice, or an empty one instead of nil, which would be NULL.
func notNil[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
