package flowtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// Query answers the statements that package runtime makes to start, read and wait
// for runs.
func (db *DB) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	all, err := db.answer(ctx, sql, args)
	if err != nil {
		return nil, err
	}
	return &rows{rows: all}, nil
}

// QueryRow returns the first row of [DB.Query].
func (db *DB) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	all, err := db.Query(ctx, sql, args...)
	return row{all, err}
}

// Exec does what [DB.Query] does, without rows.
func (db *DB) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	_, err := db.Query(ctx, sql, args...)
	return pgconn.CommandTag{}, err
}

// called finds the function of the engine that a statement calls.
var called = regexp.MustCompile(`flowc\.(\w+)\(`)

func (db *DB) answer(ctx context.Context, sql string, args []any) (all [][]any, err error) {
	name := ""
	if m := called.FindStringSubmatch(sql); m != nil {
		name = m[1]
	}
	switch {
	case name == "start" && (len(args) == 5 || len(args) == 6):
		return db.start(args)
	case name == "result" && len(args) == 3:
		return db.result(args[0].(string), args[1].([]string), args[2].(bool))
	case name == "get_run" && len(args) == 1:
		return db.found(args[0].(string)), nil
	case name == "get_run" && len(args) == 2:
		return db.info(args[0].(string), args[1].(bool)), nil
	case name == "flow_exists" && len(args) == 1:
		return [][]any{{db.flows[args[0].(string)] != nil}}, nil
	case name == "run_schedule" && len(args) == 2:
		return db.runSchedule(ctx, args[0].(string), args[1].(string)), nil
	case name == "upsert_flow" && len(args) > 0:
		return db.upsert(args[0].(string))
	case name != "":
		return nil, fmt.Errorf("flowc: flowtest: an inline database does not know what runtime asks for with flowc.%s: use flowtest.Database", name)
	}
	return nil, errors.New("flowc: flowtest: an inline database has no tables and executes no SQL: use flowtest.Database")
}

// start starts runs, and does all that is to be done for them.
func (db *DB) start(args []any) (all [][]any, err error) {
	slug, inputs, ids := args[0].(string), args[1].([]string), args[2].([]string)
	f := db.flows[slug]
	if f == nil {
		return nil, fmt.Errorf("flowc: flowtest: flow %q is not inline: give the service that its package makes to Inline", slug)
	}
	var due *time.Time
	if at := args[3].(*time.Time); at != nil && at.After(time.Now()) {
		due = at
	}
	if in := args[4].(*time.Duration); in != nil && *in > 0 {
		due = spec.Set(time.Now().Add(*in))
	}
	var headers []*string
	if len(args) == 6 {
		headers = args[5].([]*string)
	}
	for i, input := range inputs {
		if known := db.runs[ids[i]]; known != nil && base(known.flow.slug) != base(slug) {
			return nil, &pgconn.PgError{Code: "23505", ConstraintName: "runs_pkey", Message: "a run of another flow has that id"}
		}
		if _, list := elements(json.RawMessage(input)); f.hasRootMap() && !list {
			return nil, &pgconn.PgError{Code: "P0001", Message: fmt.Sprintf(
				"Flow %s has root map steps but input is not an array (got %s)", slug, typeOf(json.RawMessage(input)))}
		}
	}
	var fresh []*run
	for i, id := range ids {
		known := db.runs[id]
		if known == nil {
			r := newRun(id, f, json.RawMessage(inputs[i]))
			r.scheduledAt = due
			if headers != nil && headers[i] != nil {
				if err := json.Unmarshal([]byte(*headers[i]), &r.headers); err != nil {
					return nil, err
				}
			}
			db.runs[id] = r
			fresh = append(fresh, r)
		}
		of := slug
		if known != nil {
			of = known.flow.slug
		}
		all = append(all, []any{i + 1, known != nil, due, of})
	}
	for _, r := range fresh {
		db.work(r)
	}
	return all, nil
}

func base(slug string) string {
	b, _ := spec.VersionOf(slug)
	return b
}

// tickKey is the key of the tick in the context of [DB.Tick].
type tickKey struct{}

// Tick starts a run of a flow as its schedule would at a time, which the handlers
// find with [handler.ScheduledAt]. Without a schedule that is [runtime.ErrNoSchedule].
// The Get function of the flow's package gives the run typed.
func (db *DB) Tick(ctx context.Context, slug string, at time.Time) (*runtime.Run[json.RawMessage], error) {
	return runtime.RunSchedule(context.WithValue(ctx, tickKey{}, at), db, slug)
}

func (db *DB) runSchedule(ctx context.Context, slug, id string) [][]any {
	f := db.flows[slug]
	if f == nil || f.cron == "" {
		return [][]any{{nil}}
	}
	tick, ok := ctx.Value(tickKey{}).(time.Time)
	if !ok {
		tick = time.Now()
	}
	r := newRun(id, f, json.RawMessage("{}"))
	r.tick = &tick
	db.runs[id] = r
	db.work(r)
	return [][]any{{&tick}}
}

// result is what a waiter needs. A run that stands still would be waited for in vain.
func (db *DB) result(id string, steps []string, withInput bool) ([][]any, error) {
	r := db.runs[id]
	if r == nil {
		return nil, nil
	}
	if stuck := r.stuckAt(); r.status == runtime.RunRunning && stuck != nil {
		return nil, fmt.Errorf("flowc: flowtest: run %s of flow %s waits for step %s, for which no service has a handler", id, r.flow.slug, stuck.slug)
	}
	failed, index, message := r.failure()
	if r.status != runtime.RunCompleted {
		return [][]any{{r.flow.slug, r.status, nil, nil, failed, index, message}}, nil
	}
	outputs := map[string]json.RawMessage{}
	for _, st := range r.states {
		if slices.Contains(steps, st.slug) && st.status == runtime.StepCompleted {
			outputs[st.slug] = st.output
		}
	}
	var input any
	if withInput {
		input = []byte(r.input)
	}
	return [][]any{{r.flow.slug, r.status, input, []byte(object(outputs)), failed, index, message}}, nil
}

// failure is the step that made the run fail, if one did.
func (r *run) failure() (step, index, message any) {
	for _, st := range r.states {
		if st.status == runtime.StepFailed {
			if st.failedIndex != nil {
				index = *st.failedIndex
			}
			return st.slug, index, st.err
		}
	}
	return nil, nil, nil
}

func (db *DB) found(id string) [][]any {
	r := db.runs[id]
	if r == nil {
		return nil
	}
	return [][]any{{r.flow.slug, nil}}
}

func (db *DB) info(id string, withStates bool) [][]any {
	r := db.runs[id]
	if r == nil {
		return nil
	}
	var output, completed, failedAt, states, result any
	if r.output != nil {
		output = []byte(r.output)
	}
	switch r.status {
	case runtime.RunCompleted:
		completed = r.endedAt
		if given := r.result(); given != nil {
			result = []byte(given)
		}
	case runtime.RunFailed:
		failedAt = r.endedAt
	}
	if withStates {
		states = []byte(r.stateTexts())
	}
	failed, index, message := r.failure()
	return [][]any{{
		r.id, r.flow.slug, r.status, []byte(r.input), output, r.remainingSteps(), r.tick, r.startedAt,
		completed, failedAt, nil, nil, failed, index, message, states, result,
	}}
}

// stateTexts are the states of the steps as the database writes them.
func (r *run) stateTexts() json.RawMessage {
	all := make([]runtime.StepState, len(r.states))
	for i, st := range r.states {
		s := runtime.StepState{
			Step: st.slug, Index: i, Type: spec.TypeSingle, Status: st.status, RemainingTasks: st.left, InitialTasks: st.tasks,
			RemainingDeps: st.remainingDeps, Attempts: st.attempts, Output: st.output, Error: st.err, FailedIndex: st.failedIndex, SkipReason: st.skipReason,
			CreatedAt: st.created, StartedAt: st.started,
		}
		if st.isMap {
			s.Type = spec.TypeMap
		}
		switch st.status {
		case runtime.StepCompleted:
			s.CompletedAt = st.ended
		case runtime.StepFailed:
			s.FailedAt = st.ended
		case runtime.StepSkipped:
			s.SkippedAt = st.ended
		}
		all[i] = s
	}
	raw, err := json.Marshal(all)
	if err != nil {
		panic(err) // the outputs have been checked
	}
	return raw
}

// upsert finds that the flow is there as its service has it.
func (db *DB) upsert(slug string) ([][]any, error) {
	if db.flows[slug] == nil {
		return nil, fmt.Errorf("flowc: flowtest: flow %q is not inline: give its service to Inline", slug)
	}
	return [][]any{{[]byte(`{"status": "verified", "differences": [], "deleted_runs": 0}`)}}, nil
}

// InTx reports false: nothing here is part of a transaction. Package runtime asks.
func (db *DB) InTx() bool { return false }

// String returns the names of the flows.
func (db *DB) String() string {
	var slugs []string
	for slug := range db.flows {
		slugs = append(slugs, slug)
	}
	slices.Sort(slugs)
	return "inline database of " + strings.Join(slugs, ", ")
}
