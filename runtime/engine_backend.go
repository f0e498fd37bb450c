package runtime

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flowc-dev/flowc/runtime/internal/eager"
	"github.com/flowc-dev/flowc/runtime/internal/pgcall"
	"github.com/flowc-dev/flowc/runtime/internal/pgerr"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// An engineBackend is a PostgreSQL with flowc's engine: each method is one call of a
// function of the schema flowc.
type engineBackend struct{ db DB }

var (
	_ Steerer     = engineBackend{}
	_ Prioritizer = engineBackend{}
	_ Scheduler   = engineBackend{}
	_ Explainer   = engineBackend{}
)

// startSQL starts runs. It returns a row for the first, as proof that it was executed, and
// for those that did not simply start.
const (
	startSQL = started + `
FROM flowc.start($1, $2, $3::text[]::uuid[], start_at => $4, start_in => $5, map_version => $6, duplicates => $7, priority => $8)` + worthTelling

	startWithHeadersSQL = started + `
FROM flowc.start($1, $2, $3::text[]::uuid[], start_at => $4, start_in => $5, map_version => $6, duplicates => $7, priority => $8, headers => $9)` + worthTelling

	// startQuietlySQL is for runs that a claim follows.
	startQuietlySQL = started + `
FROM flowc.start($1, $2, $3::text[]::uuid[], map_version => $4, duplicates => $5, priority => $6, headers => $7, suppress_notify => true)` + worthTelling

	started = `
SELECT n, existed, scheduled_at, of_flow, CASE WHEN existed THEN run_id::text END, status = 'duplicate'`
	worthTelling = `
WHERE n = 1 OR existed OR scheduled_at IS NOT NULL`
)

func (b engineBackend) Start(ctx context.Context, r StartRequest) ([]StartedRun, error) {
	args, sql := append(r.args(), r.mapVersion(), r.duplicates(), r.priority()), startSQL
	if headers := r.headers(); headers != nil {
		args, sql = append(args, headers), startWithHeadersSQL
	}
	rows, err := pgcall.Engine(ctx, b.db, scanStarted, sql, args...)
	if isTaken(err) && pgcall.Pooled(b.db) {
		rows, err = pgcall.Engine(ctx, b.db, scanStarted, sql, args...)
	}
	if err != nil {
		return nil, startError(r, err)
	}
	return r.started(rows)
}

// startEagerly starts runs and claims their first tasks for an idle worker of this
// process. ok is false if there is none, or if the runs have to be started without a claim.
func startEagerly(ctx context.Context, pool *pgxpool.Pool, r StartRequest) (_ []StartedRun, ok bool, _ error) {
	worker := eager.FindIdle(pool, r.Flow)
	if worker == nil {
		return nil, false, nil
	}
	var rows []startedRow
	read := func(result pgx.Rows) (err error) {
		rows, err = pgx.CollectRows(result, scanStarted)
		return err
	}
	args := r.args()
	ok = eager.Start(ctx, pool, r.Flow, worker, read, startQuietlySQL, args[0], args[1], args[2], r.mapVersion(), r.duplicates(), r.priority(), r.headers())
	if !ok {
		return nil, false, nil
	}
	runs, err := r.started(rows)
	return runs, true, err
}

// args returns the arguments of a statement that starts the runs.
func (r StartRequest) args() []any {
	inputs, ids := make([]string, len(r.Runs)), make([]string, len(r.Runs))
	for i, run := range r.Runs {
		inputs[i], ids[i] = string(run.Input), run.ID
	}
	var in *time.Duration
	if delay := r.In; delay != 0 {
		in = &delay
	}
	return []any{r.Flow, inputs, ids, pgcall.NilIfZero(r.At), in}
}

// mapVersion returns the argument of the version of the map, NULL if there is no map.
func (r StartRequest) mapVersion() *int {
	if r.MapVersion == 0 {
		return nil
	}
	version := r.MapVersion // so that requests without are not moved to the heap
	return &version
}

var allowDuplicates, refuseDuplicates = "allow", "refuse"

// duplicates returns the argument of what to do about runs like others, NULL for what the
// flow says.
func (r StartRequest) duplicates() *string {
	switch {
	case r.WithoutUnique:
		return &allowDuplicates
	case r.ExactIDs:
		return &refuseDuplicates
	}
	return nil
}

// priority returns the argument of the priority, NULL if the runs have that of their flow.
func (r StartRequest) priority() *string {
	if r.Priority == "" {
		return nil
	}
	name := string(r.Priority)
	return &name
}

// headers returns the headers of the runs, nil if none has any.
func (r StartRequest) headers() (texts []*string) {
	for i, run := range r.Runs {
		if run.Headers == nil {
			continue
		}
		if texts == nil {
			texts = make([]*string, len(r.Runs))
		}
		text := string(run.Headers)
		texts[i] = &text
	}
	return texts
}

type startedRow struct {
	N           int
	Existed     bool
	ScheduledAt *time.Time
	Flow        *string // of the run, which may be another version
	ID          *string // of a run that existed
	Duplicate   *bool   // nothing was started, because of the run
}

func scanStarted(row pgx.CollectableRow) (s startedRow, err error) {
	err = row.Scan(&s.N, &s.Existed, &s.ScheduledAt, &s.Flow, &s.ID, &s.Duplicate)
	return s, err
}

// started returns the result for each run; the database returned only those of interest.
func (r StartRequest) started(rows []startedRow) ([]StartedRun, error) {
	all := make([]StartedRun, len(r.Runs))
	for _, row := range rows {
		if pgcall.OrZero(row.Duplicate) {
			return nil, &DuplicateRunError{Flow: pgcall.OrZero(row.Flow), RunID: pgcall.OrZero(row.ID)}
		}
		s := StartedRun{Existed: row.Existed, ScheduledAt: pgcall.OrZero(row.ScheduledAt), Flow: pgcall.OrZero(row.Flow)}
		if row.ID != nil && *row.ID != r.Runs[row.N-1].ID {
			s.ID = *row.ID
		}
		all[row.N-1] = s
	}
	return all, nil
}

// isTaken reports whether an error says that there is a run with the id.
func isTaken(err error) bool {
	return pgerr.Code(err) == "23505" && pgerr.Constraint(err) == "runs_pkey"
}

// duplicateError returns the error that callers see in place of a database error which says
// that another run has the same unique values, else that error.
func duplicateError(err error) error {
	if pgerr.Code(err) != "23505" || pgerr.Constraint(err) != "uniques_pkey" {
		return err
	}
	run, flow, _ := strings.Cut(pgerr.Detail(err), " ")
	return &DuplicateRunError{Flow: flow, RunID: run}
}

// startError turns a database error of a start into the error that callers see.
func startError(r StartRequest, err error) error {
	index := 0
	if len(r.Runs) > 1 {
		index = -1
	}
	switch {
	case err == nil:
		return nil
	case pgerr.Code(err) == "23503" && pgerr.Constraint(err) == "runs_flow_slug_fkey":
		return &FlowNotFoundError{Flow: r.Flow}
	case isTaken(err):
		return fmt.Errorf("flowc: starting flow %s: %w", r.Flow, ErrRunIDTaken)
	case pgerr.Code(err) == "P0001", pgerr.Unstorable(err):
		return &InputError{Flow: r.Flow, Index: index, Err: err}
	}
	return fmt.Errorf("flowc: starting flow %s: %w", r.Flow, err)
}

const (
	getRunSQL = `
SELECT run_id::text, flow_slug, status, input, output, remaining_steps, scheduled_at, tick, started_at,
       completed_at, failed_at, cancelled_at, cancel_reason, failed_step, failed_index, error_message, states, result, unique_values, priority
FROM flowc.get_run($1::text::uuid, $2)`

	runProgressSQL = `
SELECT run_id::text, flow_slug, status, NULL::jsonb, NULL::jsonb, remaining_steps, scheduled_at, tick, started_at,
       completed_at, failed_at, cancelled_at, cancel_reason, failed_step, failed_index, error_message, states, NULL::jsonb, unique_values, priority
FROM flowc.run_progress($1::text::uuid)`

	findRunSQL = `
SELECT run_id::text, flow_slug, status, NULL::jsonb, NULL::jsonb, remaining_steps, scheduled_at, tick, started_at,
       completed_at, failed_at, cancelled_at, cancel_reason, failed_step, failed_index, error_message, NULL::jsonb, NULL::jsonb, unique_values, priority
FROM flowc.get_run($1::text::uuid)`
)

func (b engineBackend) Run(ctx context.Context, id string, detail RunDetail) (*RunInfo, error) {
	args, sql := []any{id}, findRunSQL
	switch {
	case detail.Payloads:
		args, sql = append(args, detail.States), getRunSQL
	case detail.States:
		sql = runProgressSQL
	}
	return foundRun(id)(pgcall.EngineOne(ctx, b.db, scanRun, sql, args...))
}

// foundRun returns a function that says what is wrong when a run was read.
func foundRun(id string) func(*RunInfo, bool, error) (*RunInfo, error) {
	return func(info *RunInfo, found bool, err error) (*RunInfo, error) {
		switch {
		case err != nil:
			return nil, fmt.Errorf("flowc: reading run %s: %w", id, err)
		case !found:
			return nil, fmt.Errorf("flowc: %w: %s", ErrRunNotFound, id)
		}
		return info, nil
	}
}

func scanRun(row pgx.CollectableRow) (*RunInfo, error) {
	var (
		info                                               RunInfo
		scheduled, tick, started, completed, failed, ended *time.Time
		reason, step, message, unique, priority            *string
		states                                             []byte
	)
	err := row.Scan(&info.ID, &info.Flow, &info.Status, (*[]byte)(&info.Input), (*[]byte)(&info.Output),
		&info.RemainingSteps, &scheduled, &tick, &started, &completed, &failed, &ended, &reason, &step,
		&info.FailedIndex, &message, &states, (*[]byte)(&info.Result), &unique, &priority)
	if err != nil {
		return nil, err
	}
	info.ScheduledAt, info.Tick, info.StartedAt = pgcall.OrZero(scheduled), pgcall.OrZero(tick), pgcall.OrZero(started)
	info.CompletedAt, info.FailedAt, info.CancelledAt = pgcall.OrZero(completed), pgcall.OrZero(failed), pgcall.OrZero(ended)
	info.Priority = Priority(pgcall.OrZero(priority))
	info.CancelReason, info.FailedStep, info.Error = pgcall.OrZero(reason), pgcall.OrZero(step), pgcall.OrZero(message)
	info.Unique = pgcall.OrZero(unique)
	if states != nil {
		info.States = []StepState{}
		if err := json.Unmarshal(states, &info.States); err != nil {
			return nil, fmt.Errorf("states of the steps: %w", err)
		}
		for i := range info.States {
			// In the database's result, no output and the output null look the same.
			if s := &info.States[i]; s.Status != StepCompleted {
				s.Output = nil
			}
		}
	}
	return &info, nil
}

const outcomeSQL = `
SELECT flow_slug, status, input, outputs, failed_step, failed_index, error_message
FROM flowc.result($1::text::uuid, $2, $3)`

func (b engineBackend) Outcome(ctx context.Context, id string, want Want) (Outcome, error) {
	o, found, err := pgcall.EngineOne(ctx, b.db, scanOutcome, outcomeSQL, id, want.steps(), want.Input)
	return readOutcome(ctx, b, id, want, o, found, err)
}

// steps returns the steps, which must not be NULL for the database.
func (w Want) steps() []string {
	if w.Steps == nil {
		return []string{}
	}
	return w.Steps
}

// readOutcome adds the result and the output of the run to the row of a statement.
func readOutcome(ctx context.Context, b Backend, id string, want Want, o Outcome, found bool, err error) (Outcome, error) {
	if err == nil && !found {
		err = ErrRunNotFound
	}
	if err != nil || o.Status != RunCompleted || !want.Whole {
		return o, err
	}
	info, err := b.Run(ctx, id, RunDetail{Payloads: true})
	if err == nil {
		o.Result, o.Output = info.Result, info.Output
	}
	return o, err
}

func scanOutcome(row pgx.CollectableRow) (o Outcome, err error) {
	var step, message *string
	err = row.Scan(&o.Flow, &o.Status, (*[]byte)(&o.Values.Input), (*[]byte)(&o.Values.Outputs), &step, &o.FailedIndex, &message)
	o.FailedStep, o.Message = pgcall.OrZero(step), pgcall.OrZero(message)
	return o, err
}

func (b engineBackend) UpsertFlow(ctx context.Context, flow spec.Flow, o UpsertOptions) (UpsertResult, error) {
	payload, err := flow.Payload()
	if err != nil {
		return UpsertResult{}, err
	}
	row, _, err := pgcall.EngineOne(ctx, b.db, pgx.RowTo[[]byte],
		`SELECT flowc.upsert_flow($1, $2::text::jsonb, $3)`, flow.Slug, string(payload), o.AllowDataLoss)
	return readUpsert(flow, row, err)
}

// readUpsert reads the result of an upsert.
func readUpsert(flow spec.Flow, row []byte, err error) (result UpsertResult, _ error) {
	invalid := func(problem string) error {
		return &spec.InvalidFlowError{Flow: flow.Slug, Faults: []spec.Fault{{Problem: problem}}}
	}
	if err == nil {
		err = json.Unmarshal(row, &result)
	}
	switch {
	case pgerr.InvalidCron(err):
		return result, invalid(pgerr.CronProblem(flow.Cron, err))
	case pgerr.Unstorable(err):
		return result, invalid(fmt.Sprintf("the database cannot store it: %v", err))
	case err != nil:
		return result, fmt.Errorf("flowc: upserting flow %s: %w", flow.Slug, err)
	}
	return result, nil
}

func (b engineBackend) DeleteFlow(ctx context.Context, slug string, o DeleteOptions) (Deleted, error) {
	row, _, err := pgcall.EngineOne(ctx, b.db, pgx.RowTo[[]byte], `SELECT flowc.delete_flow($1, $2)`, slug, o.AllowDataLoss)
	return readDelete(slug, row, err)
}

// readDelete reads the result of a delete.
func readDelete(slug string, row []byte, err error) (Deleted, error) {
	var answer struct {
		Deleted
		Active int `json:"active"`
	}
	if err == nil {
		err = json.Unmarshal(row, &answer)
	}
	switch {
	case err != nil:
		return Deleted{}, fmt.Errorf("flowc: deleting flow %s: %w", slug, err)
	case answer.Active > 0:
		return Deleted{}, &ActiveRunsError{Flow: slug, Active: answer.Active}
	}
	return answer.Deleted, nil
}

func (b engineBackend) FlowExists(ctx context.Context, slug string) (bool, error) {
	exists, _, err := pgcall.EngineOne(ctx, b.db, pgx.RowTo[bool], `SELECT flowc.flow_exists($1)`, slug)
	return exists, err
}

func (b engineBackend) CancelRun(ctx context.Context, id, reason string) (Steered, error) {
	return b.request(ctx, `SELECT known, requested, done FROM flowc.request_cancel($1::text::uuid, nullif($2, ''), $3)`, id, reason)
}

func (b engineBackend) RetryRun(ctx context.Context, id string) (Steered, error) {
	return b.request(ctx, `SELECT known, requested, done FROM flowc.request($1::text::uuid, 'retry', $2, $3)`, id, "")
}

func (b engineBackend) RetryStep(ctx context.Context, id, step string) (Steered, error) {
	return b.request(ctx, `SELECT known, requested, done FROM flowc.request($1::text::uuid, 'retry_step', $2, $3)`, id, step)
}

func (b engineBackend) SetPriority(ctx context.Context, id string, priority Priority) (Steered, error) {
	return b.request(ctx, `SELECT known, requested, done FROM flowc.request($1::text::uuid, 'set_priority', $2, $3)`, id, string(priority))
}

// request does something with a run at once, unless that would lock the run for the rest of
// a transaction: then it is requested.
func (b engineBackend) request(ctx context.Context, sql, id, argument string) (Steered, error) {
	rows, again, err := pgcall.EngineAgain(ctx, b.db, scanSteered, sql, id, argument, !pgcall.InTx(b.db))
	if err != nil {
		return Steered{Repeated: again}, duplicateError(err)
	}
	rows[0].Repeated = again
	return rows[0], nil
}

func scanSteered(row pgx.CollectableRow) (s Steered, err error) {
	var done *bool
	err = row.Scan(&s.Found, &s.Requested, &done)
	s.Done = pgcall.OrZero(done)
	return s, err
}

func (b engineBackend) RescheduleRun(ctx context.Context, id string, at time.Time) (Steered, error) {
	return b.steer(ctx, `
		SELECT CASE WHEN flowc.reschedule_run($1::text::uuid, $2) THEN true
		            WHEN EXISTS (SELECT FROM flowc.get_run($1::text::uuid)) THEN false END`, id, at)
}

func (b engineBackend) DeleteRun(ctx context.Context, id string, o DeleteOptions) (Steered, error) {
	return b.steer(ctx, `SELECT flowc.delete_run($1::text::uuid, $2)`, id, o.AllowDataLoss)
}

// steer calls a function that returns true, false if the run is not in the right status,
// and NULL if there is no such run.
func (b engineBackend) steer(ctx context.Context, sql string, args ...any) (Steered, error) {
	rows, again, err := pgcall.EngineAgain(ctx, b.db, pgx.RowTo[*bool], sql, args...)
	if err != nil {
		return Steered{Repeated: again}, err
	}
	return Steered{Found: rows[0] != nil, Done: pgcall.OrZero(rows[0]), Repeated: again}, nil
}

func (b engineBackend) RunSchedule(ctx context.Context, flow, id string) (ok bool, _ error) {
	tick, _, err := pgcall.EngineOne(ctx, b.db, pgx.RowTo[*time.Time], `SELECT flowc.run_schedule($1, $2::text::uuid)`, flow, id)
	return tick != nil, duplicateError(err)
}

func (b engineBackend) ExplainRun(ctx context.Context, id string) ([]Reason, error) {
	return pgcall.Engine(ctx, b.db, scanReason, `
		SELECT kind, flow_slug, step_slug, task_index, tasks, attempt, max_attempts, worker, since_at, until_at, who, message, now_at
		FROM flowc.explain_run($1::text::uuid)`, id)
}

func scanReason(row pgx.CollectableRow) (r Reason, err error) {
	var step, worker, by, message *string
	var since, until *time.Time
	err = row.Scan(&r.Kind, &r.Flow, &step, &r.Index, &r.Tasks, &r.Attempt, &r.MaxAttempts, &worker, &since, &until, &by, &message, &r.At)
	r.Step, r.Worker, r.By, r.Message = pgcall.OrZero(step), pgcall.OrZero(worker), pgcall.OrZero(by), pgcall.OrZero(message)
	r.Since, r.Until = pgcall.OrZero(since), pgcall.OrZero(until)
	return r, err
}
