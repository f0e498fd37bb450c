package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flowc-dev/flowc/runtime/internal/eager"
	"github.com/flowc-dev/flowc/runtime/internal/pgerr"
	"github.com/flowc-dev/flowc/runtime/internal/upstream"
)

// DefaultSyncTimeout is how long [StartFlowSync] waits unless [WithTimeout] says
// something else.
const DefaultSyncTimeout = 60 * time.Second

// StartFlow starts a run of the flow with the given slug. The input is encoded
// as JSON before the database is touched; nil is the empty object, and a
// json.RawMessage is taken as it is.
//
// In a transaction, the run starts when the transaction commits. Through a pool of
// which a worker in the same process has nothing to do, that worker begins what is
// started at once.
//
// Errors: [ErrFlowNotFound], [InputError], [ErrInvalidOption], [ErrInvalidRunID]
// and [ErrRunIDTaken] for [WithRunID], [ErrEngineMissing].
func StartFlow(ctx context.Context, db DB, slug string, input any, opts ...StartOption) (*Run[json.RawMessage], error) {
	return start(ctx, db, slug, input, untypedOutput, opts)
}

// StartMany starts a run for each input in one round trip: all of them, in the
// order of the inputs, or none. Options hold for every run; [WithKeys] gives
// each its own key. Together the inputs may have a gigabyte.
func StartMany(ctx context.Context, db DB, slug string, inputs []any, opts ...StartOption) ([]*Run[json.RawMessage], error) {
	return startMany(ctx, db, slug, inputs, untypedOutput, opts)
}

// StartFlowSync starts a run, waits for its end and returns it.
//
// A run that failed or was cancelled is returned with a [RunFailedError]. It
// waits for [DefaultSyncTimeout] unless [WithTimeout] is given; what ends the
// waiting early is a [WaitError], which has the run's id. db must not be a
// transaction ([ErrWaitInTx]): nothing is started then.
func StartFlowSync(ctx context.Context, db DB, slug string, input any, opts ...StartOption) (*RunInfo, error) {
	run, wait, err := startToWait(ctx, db, slug, input, untypedOutput, opts)
	if err != nil {
		return nil, err
	}
	_, waitErr := run.Wait(ctx, wait...)
	if waitErr != nil && !errors.As(waitErr, new(*RunFailedError)) {
		return nil, waitErr
	}
	info, err := run.Info(ctx)
	if err != nil {
		return nil, &WaitError{RunID: run.ID(), Err: err}
	}
	return info, waitErr
}

func start[Out any](ctx context.Context, db DB, slug string, input any, output output[Out], opts []StartOption) (*Run[Out], error) {
	o, err := startOptionsOf(opts)
	if err != nil {
		return nil, err
	}
	if len(o.wait) > 0 {
		return nil, optionError("WithTimeout and WithPollInterval are for waiting, give them to Wait or to a Sync function")
	}
	return startOne(ctx, db, slug, input, output, o)
}

// startToWait starts a run that is then waited for with the options it returns.
func startToWait[Out any](ctx context.Context, db DB, slug string, input any, output output[Out], opts []StartOption) (*Run[Out], []WaitOption, error) {
	o, err := startOptionsOf(opts)
	if err != nil {
		return nil, nil, err
	}
	if inTx(db) {
		return nil, nil, fmt.Errorf("flowc: %w", ErrWaitInTx)
	}
	wait := append([]WaitOption{WithTimeout(DefaultSyncTimeout)}, o.wait...)
	if _, err := waitOptionsOf(wait); err != nil {
		return nil, nil, err
	}
	run, err := startOne(ctx, db, slug, input, output, o)
	return run, wait, err
}

func startOne[Out any](ctx context.Context, db DB, slug string, input any, output output[Out], o *startOptions) (_ *Run[Out], err error) {
	if o.keys != nil {
		return nil, optionError("WithKeys is for starting many runs, use WithIdempotencyKey for one")
	}
	id, err := o.runID(slug)
	if err != nil {
		return nil, err
	}
	if tracer.Load() != nil {
		traced, carried, end := traceStart(ctx, slug, []string{id.String()})
		defer func() { end(err) }()
		ctx = traced
		o.carry(carried)
	} else {
		o.carry(nil)
	}
	if pool, pooled := db.(*pgxpool.Pool); pooled && o.at == nil && o.in == nil {
		return startInPool(ctx, pool, slug, input, id, output, o)
	}
	runs, err := startAll(ctx, db, slug, []any{input}, []uuid.UUID{id}, output, o)
	if err != nil {
		return nil, err
	}
	return runs[0], nil
}

// startInPool is startAll for one run that starts now, through a pool.
func startInPool[Out any](ctx context.Context, pool *pgxpool.Pool, slug string, input any, id uuid.UUID, output output[Out], o *startOptions) (*Run[Out], error) {
	if err := checkFlowSlug(slug); err != nil {
		return nil, err
	}
	raw, err := encode(input)
	if err != nil {
		return nil, &InputError{Flow: slug, Err: err}
	}
	if len(raw) > maxStartBytes {
		return nil, &InputError{Flow: slug, Err: errTooManyBytes}
	}
	row, err := startTogether(ctx, pool, slug, waitingStart{
		id: id.String(), input: string(raw), chosen: o.chosen(), headers: o.carried,
	})
	if err != nil {
		return nil, startError(slug, 1, err)
	}
	run := &Run[Out]{db: pool, id: id, flow: slug, output: output}
	run.foundAs(row, o.chosen())
	return run, nil
}

func startMany[Out any](ctx context.Context, db DB, slug string, inputs []any, output output[Out], opts []StartOption) (_ []*Run[Out], err error) {
	o, err := startOptionsOf(opts)
	switch {
	case err != nil:
		return nil, err
	case len(o.wait) > 0:
		return nil, optionError("WithTimeout and WithPollInterval are for waiting, give them to Wait")
	case o.id != nil || o.key != nil:
		return nil, optionError("WithRunID and WithIdempotencyKey are for one run, use WithKeys for many")
	case o.keys != nil && len(o.keys) != len(inputs):
		return nil, optionError("WithKeys has %d keys for %d inputs", len(o.keys), len(inputs))
	}
	ids, err := o.manyIDs(slug, len(inputs))
	if err != nil {
		return nil, err
	}
	if tracer.Load() != nil {
		traced, carried, end := traceStart(ctx, slug, uuid.UUIDs(ids).Strings())
		defer func() { end(err) }()
		ctx = traced
		o.carry(carried)
	} else {
		o.carry(nil)
	}
	return startAll(ctx, db, slug, inputs, ids, output, o)
}

// startSQL starts runs. It tells of the first, which says that it was done, and of
// those that did not simply start.
const startSQL = `
SELECT n, existed, scheduled_at, of_flow
FROM flowc.start($1, $2, $3::text[]::uuid[], start_at => $4, start_in => $5)` + worthTelling

const worthTelling = `
WHERE n = 1 OR existed OR scheduled_at IS NOT NULL`

// startChosenSQL is the same for ids that somebody else may use as well. The
// engine makes no difference, pgflow's contract does.
const startChosenSQL = startSQL + `
ORDER BY n`

// startCarryingSQL is the same for runs that carry headers.
const startCarryingSQL = `
SELECT n, existed, scheduled_at, of_flow
FROM flowc.start($1, $2, $3::text[]::uuid[], start_at => $4, start_in => $5, headers => $6)` + worthTelling

// startQuietlySQL is the same for runs that a claim follows.
const startQuietlySQL = `
SELECT n, existed, scheduled_at, of_flow
FROM flowc.start($1, $2, $3::text[]::uuid[], headers => $4, suppress_notify => true)` + worthTelling

type started struct {
	N           int
	Existed     bool
	ScheduledAt *time.Time
	Flow        *string // of which the run is: perhaps another version
}

func scanStarted(row pgx.CollectableRow) (s started, err error) {
	err = row.Scan(&s.N, &s.Existed, &s.ScheduledAt, &s.Flow)
	return s, err
}

// startAll starts a run for each input. Ids that occur twice are one run.
func startAll[Out any](ctx context.Context, db DB, slug string, inputs []any, ids []uuid.UUID, output output[Out], o *startOptions) ([]*Run[Out], error) {
	if err := checkFlowSlug(slug); err != nil {
		return nil, err
	}
	runs, made := make([]*Run[Out], len(inputs)), make([]Run[Out], len(inputs))
	texts, sent := make([]string, 0, len(inputs)), make([]string, 0, len(inputs))
	first := make([]int, 0, len(inputs)) // the place of each sent run among the inputs
	seen := map[uuid.UUID]bool{}         // only keys can give an id twice
	total := 0
	for i, input := range inputs {
		raw, err := encode(input)
		if err != nil {
			return nil, &InputError{Flow: slug, Index: i, Err: err}
		}
		made[i] = Run[Out]{db: db, id: ids[i], flow: slug, output: output, existed: seen[ids[i]]}
		runs[i] = &made[i]
		if made[i].existed {
			continue
		}
		if o.keys != nil {
			seen[ids[i]] = true
		}
		if total += len(raw); total > maxStartBytes {
			return nil, &InputError{Flow: slug, Index: i, Err: errTooManyBytes}
		}
		texts, sent, first = append(texts, string(raw)), append(sent, ids[i].String()), append(first, i)
	}
	if len(sent) == 0 {
		return runs, nil
	}
	rows, err := startRows(ctx, db, starting{
		flow: slug, inputs: texts, ids: sent, chosen: o.chosen(), headers: slices.Repeat([]*headers{o.carried}, len(sent)), at: o.at, in: o.in,
	})
	if err != nil {
		return nil, startError(slug, len(inputs), err)
	}
	scheduled := map[uuid.UUID]time.Time{}
	for i, row := range rows {
		run := runs[first[i]]
		run.foundAs(row, o.chosen())
		if row.ScheduledAt != nil {
			scheduled[run.id] = *row.ScheduledAt
		}
	}
	if len(scheduled) > 0 {
		for _, run := range runs {
			run.scheduledAt = scheduled[run.id]
		}
	}
	return runs, nil
}

// foundAs notes what the database said of a run that was to be started. With an id that
// was chosen, it may be one of another version of the flow.
func (r *Run[Out]) foundAs(row started, chosen bool) {
	r.existed = row.Existed && chosen
	if r.existed && row.Flow != nil && *row.Flow != r.flow {
		r.flow, r.output = *row.Flow, r.output.ofVersion(*row.Flow)
	}
}

// starting is runs that are to be started in one call.
type starting struct {
	flow        string
	inputs, ids []string
	chosen      bool // whether somebody else may use the ids as well
	headers     []*headers
	at          *time.Time
	in          *time.Duration
}

// startRows calls the database, and says of each run what became of it. Where there
// is only pgflow's contract, a run with a chosen id that is started twice at the same
// time is a violation, and not a run that existed; and headers that nobody asked for
// are left out.
func startRows(ctx context.Context, db DB, s starting) ([]started, error) {
	if texts, asked := headerTexts(s.headers); texts != nil {
		rows, err := collect(ctx, db, scanStarted, startCarryingSQL, s.flow, s.inputs, s.ids, s.at, s.in, texts)
		if asked || !errors.Is(err, ErrNeedsEngine) {
			return s.all(rows), err
		}
	}
	sql := startSQL
	if s.chosen {
		sql = startChosenSQL
		if inTx(db) && kindOf(ctx, db) == upstream.Contract {
			if _, err := collect(ctx, db, pgx.RowTo[bool], upstream.LockChosen, s.ids); err != nil {
				return nil, err
			}
		}
	}
	rows, err := collect(ctx, db, scanStarted, sql, s.flow, s.inputs, s.ids, s.at, s.in)
	if isTaken(err) && pooled(db) {
		rows, err = collect(ctx, db, scanStarted, sql, s.flow, s.inputs, s.ids, s.at, s.in)
	}
	if err == nil && len(rows) == 0 {
		return nil, ErrNeedsEngine // the contract knows no later start
	}
	return s.all(rows), err
}

// startEagerly starts runs and claims what they make to be done for a worker of this
// process that rests; ok is false if there is none, or the runs have to be started alone.
func startEagerly(ctx context.Context, pool *pgxpool.Pool, s starting) (_ []started, ok bool) {
	worker := eager.FindIdle(pool, s.flow)
	if worker == nil {
		return nil, false
	}
	var told []started
	texts, _ := headerTexts(s.headers)
	read := func(rows pgx.Rows) (err error) {
		told, err = pgx.CollectRows(rows, scanStarted)
		return err
	}
	ok = eager.Start(ctx, pool, s.flow, worker, read, startQuietlySQL, s.flow, s.inputs, s.ids, texts)
	return s.all(told), ok
}

// all is what became of each run, of which the database told only what is worth it.
func (s starting) all(told []started) []started {
	if len(told) == 1 && len(s.ids) == 1 {
		return told
	}
	all := make([]started, len(s.ids))
	for _, row := range told {
		all[row.N-1] = row
	}
	return all
}

// isTaken reports whether an error says that there is a run with the id.
func isTaken(err error) bool {
	return pgerr.Code(err) == "23505" && pgerr.Constraint(err) == "runs_pkey"
}

// maxStartBytes is what fits into one message to the database.
const maxStartBytes = 1<<30 - 1<<20

var errTooManyBytes = fmt.Errorf("with those before it, it is more than the %d bytes that one call can carry", maxStartBytes)

// startError says what an error of flowc.start means.
func startError(slug string, inputs int, err error) error {
	index := 0
	if inputs > 1 {
		index = -1
	}
	switch {
	case pgerr.Code(err) == "23503" && pgerr.Constraint(err) == "runs_flow_slug_fkey":
		return &FlowNotFoundError{Flow: slug}
	case isTaken(err):
		return fmt.Errorf("flowc: starting flow %s: %w", slug, ErrRunIDTaken)
	case pgerr.Code(err) == "P0001", pgerr.Unstorable(err):
		return &InputError{Flow: slug, Index: index, Err: err}
	}
	return fmt.Errorf("flowc: starting flow %s: %w", slug, err)
}
