package flowtest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/internal/machine"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// Backend returns the backend for package runtime. Programs do not need it.
func (db *DB) Backend() runtime.Backend { return backend{db} }

// A backend implements [runtime.Backend].
type backend struct{ db *DB }

var (
	_ runtime.Scheduler   = backend{}
	_ runtime.Steerer     = backend{}
	_ runtime.Prioritizer = backend{}
	_ runtime.Signaller   = backend{}
)

// Start starts runs, and runs them as far as they go.
func (b backend) Start(ctx context.Context, r runtime.StartRequest) ([]runtime.StartedRun, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	db := b.db
	db.mu.Lock()
	defer db.mu.Unlock()
	f := db.flows[r.Flow]
	if f == nil {
		return nil, unknownFlow(r.Flow)
	}
	due := r.At
	if r.In > 0 {
		due = time.Now().Add(r.In)
	}
	if !due.After(time.Now()) {
		due = time.Time{}
	}
	for i, n := range r.Runs {
		if known := db.runs[n.ID]; known != nil && base(known.flow.Slug) != base(r.Flow) {
			return nil, fmt.Errorf("flowc: starting flow %s: %w", r.Flow, runtime.ErrRunIDTaken)
		}
		if err := f.CheckInput(n.Input); err != nil {
			return nil, &runtime.InputError{Flow: r.Flow, Index: i, Err: err}
		}
	}
	existing, replaced, err := db.judge(f, r)
	if err != nil {
		return nil, err
	}
	started := make([]runtime.StartedRun, len(r.Runs))
	var fresh []*run
	leaders := db.leaders(f, r)
	for i, n := range r.Runs {
		if known := db.runs[n.ID]; known != nil {
			started[i] = runtime.StartedRun{Existed: true, Flow: known.flow.Slug}
			continue
		}
		key, unique := f.uniqueKey(n.Input)
		unique = unique && !r.WithoutUnique
		if other := existing[i]; other != nil {
			started[i] = runtime.StartedRun{Existed: true, Flow: other.flow.Slug, ID: other.id}
			continue
		}
		if unique && leaders[key] != i {
			started[i] = runtime.StartedRun{Existed: true, Flow: f.Slug, ID: r.Runs[leaders[key]].ID}
			continue
		}
		if replaced[i] != nil {
			replaced[i].cancel("replaced by run "+n.ID, db.now)
		}
		started[i].ScheduledAt = due
		run := db.start(f, n.ID, n.Input)
		if unique {
			db.take(run, key)
		}
		if r.Priority != "" {
			run.priority = r.Priority
		}
		if n.Headers != nil {
			if err := json.Unmarshal(n.Headers, &run.headers); err != nil {
				return nil, err
			}
		}
		fresh = append(fresh, run)
	}
	for _, run := range fresh {
		db.work(run)
	}
	return started, nil
}

func (db *DB) start(f *flow, id string, input json.RawMessage) *run {
	r := &run{Run: f.Start(id, input, db.now), id: id, flow: f, input: input, priority: f.definition.Priority}
	db.runs[id], db.order = r, append(db.order, r)
	return r
}

// An unknownFlow is the slug of a flow that no service was given for.
type unknownFlow string

func (slug unknownFlow) Error() string {
	return fmt.Sprintf("flowc: flowtest: flow %q is not inline: pass the service of its package to Inline", string(slug))
}

// Is reports whether target is [runtime.ErrFlowNotFound].
func (unknownFlow) Is(target error) bool { return target == runtime.ErrFlowNotFound }

func base(slug string) string {
	b, _ := spec.VersionOf(slug)
	return b
}

// tickKey is the key of the tick in the context of [DB.Tick].
type tickKey struct{}

// Tick starts a run of a flow as its schedule would at a time, which handlers find with
// [handler.Tick]. If the flow has no schedule, it returns [runtime.ErrNoSchedule]. The Get
// function of the flow's package returns the run with its types.
func (db *DB) Tick(ctx context.Context, slug string, at time.Time) (*runtime.Run[json.RawMessage], error) {
	return runtime.RunSchedule(context.WithValue(ctx, tickKey{}, at), db, slug)
}

// RunSchedule starts a run for the tick that [DB.Tick] is called with, else for now.
func (b backend) RunSchedule(ctx context.Context, slug, id string) (ok bool, _ error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	db := b.db
	db.mu.Lock()
	defer db.mu.Unlock()
	f := db.flows[slug]
	if f == nil || f.definition.Cron == "" {
		return false, nil
	}
	tick, ok := ctx.Value(tickKey{}).(time.Time)
	if !ok {
		tick = time.Now()
	}
	input := json.RawMessage("{}")
	_, replaced, err := db.judge(f, runtime.StartRequest{Runs: []runtime.NewRun{{ID: id, Input: input}}, ExactIDs: true})
	if err != nil {
		return false, err
	}
	r := db.start(f, id, input)
	if key, ok := f.uniqueKey(input); ok {
		db.take(r, key)
	}
	if replaced[0] != nil {
		replaced[0].cancel("replaced by run "+id, db.now)
	}
	r.tick = tick
	db.work(r)
	return true, nil
}

// Outcome returns an error for a run that would be waited for in vain: it is stuck, or waits
// for the test to go on.
func (b backend) Outcome(ctx context.Context, id string, want runtime.Want) (o runtime.Outcome, _ error) {
	r, unlock, err := b.run(ctx, id)
	if err != nil {
		return o, err
	}
	defer unlock()
	t, served := r.open(b.db.now)
	if t != nil && !served {
		return o, fmt.Errorf("flowc: flowtest: run %s of flow %s waits for step %s, for which no service has a handler", id, r.flow.Slug, t.Slug)
	}
	if waiting := r.waiting(); t == nil && waiting != nil {
		return o, waiting
	}
	return r.Outcome(want), nil
}

// run returns a run, and locks the database until unlock is called.
func (b backend) run(ctx context.Context, id string) (_ *run, unlock func(), _ error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	b.db.mu.Lock()
	r := b.db.runs[id]
	if r == nil {
		b.db.mu.Unlock()
		return nil, nil, fmt.Errorf("flowc: %w: %s", runtime.ErrRunNotFound, id)
	}
	return r, b.db.mu.Unlock, nil
}

// Run reads a run.
func (b backend) Run(ctx context.Context, id string, detail runtime.RunDetail) (*runtime.RunInfo, error) {
	r, unlock, err := b.run(ctx, id)
	if err != nil {
		return nil, err
	}
	defer unlock()
	info := r.Info(detail)
	info.Tick = r.tick
	info.Unique = machine.UniqueWords(r.flow.definition.Unique, r.input)
	if r.priority != runtime.Normal {
		info.Priority = r.priority
	}
	return info, nil
}

// steer calls do with a run, if there is one, and runs what has come up.
func (b backend) steer(ctx context.Context, id string, do func(*run) (found, done bool)) (s runtime.Steered, _ error) {
	r, unlock, err := b.run(ctx, id)
	if errors.Is(err, runtime.ErrRunNotFound) {
		return s, nil
	} else if err != nil {
		return s, err
	}
	defer unlock()
	s.Found, s.Done = do(r)
	b.db.work(r)
	return s, nil
}

// retry calls do with a run as steer does, unless the run has ended and another like it has
// not.
func (b backend) retry(ctx context.Context, id string, do func(*run) (found, done bool)) (runtime.Steered, error) {
	var duplicate error
	s, err := b.steer(ctx, id, func(r *run) (found, done bool) {
		if r.Status().Ended() {
			if duplicate = b.db.retake(r); duplicate != nil {
				return true, false
			}
		}
		return do(r)
	})
	return s, cmp.Or(err, duplicate)
}

// RetryRun resumes a run that failed.
func (b backend) RetryRun(ctx context.Context, id string) (runtime.Steered, error) {
	return b.retry(ctx, id, func(r *run) (found, done bool) { return true, r.Retry(b.db.now) })
}

// RetryStep re-runs a step of an ended run, and what is downstream of it.
func (b backend) RetryStep(ctx context.Context, id, step string) (runtime.Steered, error) {
	return b.retry(ctx, id, func(r *run) (found, done bool) { return r.RetryStep(step, b.db.now) })
}

// DeleteRun deletes a run.
func (b backend) DeleteRun(ctx context.Context, id string, o runtime.DeleteOptions) (runtime.Steered, error) {
	return b.steer(ctx, id, func(r *run) (found, done bool) {
		if !r.Status().Ended() && !o.AllowDataLoss {
			return true, false
		}
		r.cancel("deleted", b.db.now)
		delete(b.db.runs, id)
		return true, true
	})
}

// SetPriority notes the priority of a run, which changes nothing: tasks run one after the
// other.
func (b backend) SetPriority(ctx context.Context, id string, priority runtime.Priority) (runtime.Steered, error) {
	return b.steer(ctx, id, func(r *run) (found, done bool) {
		if r.Status() == runtime.RunCompleted {
			return true, false
		}
		r.priority = priority
		return true, true
	})
}

// CancelRun ends a run that has not ended.
func (b backend) CancelRun(ctx context.Context, id, reason string) (runtime.Steered, error) {
	return b.steer(ctx, id, func(r *run) (found, done bool) { return true, r.cancel(reason, b.db.now) })
}

// RescheduleRun returns an error: delays are ignored.
func (b backend) RescheduleRun(context.Context, string, time.Time) (runtime.Steered, error) {
	return runtime.Steered{}, b.db.Unsupported()
}

// UpsertFlow finds that the flow is there as its service has it. Any other is an error.
func (b backend) UpsertFlow(ctx context.Context, flow spec.Flow, _ runtime.UpsertOptions) (runtime.UpsertResult, error) {
	if err := ctx.Err(); err != nil {
		return runtime.UpsertResult{}, err
	}
	known := b.db.flows[flow.Slug]
	switch {
	case known == nil:
		return runtime.UpsertResult{}, unknownFlow(flow.Slug)
	case len(spec.Compare(known.definition, flow)) > 0:
		return runtime.UpsertResult{}, fmt.Errorf("flowc: upserting flow %s: it differs from the definition of its service: %w", flow.Slug, b.db.Unsupported())
	}
	return runtime.UpsertResult{Status: runtime.UpsertVerified, Differences: []string{}}, nil
}

// DeleteFlow returns an error: the flows of an inline database are those of its services.
func (b backend) DeleteFlow(_ context.Context, slug string, _ runtime.DeleteOptions) (runtime.Deleted, error) {
	return runtime.Deleted{}, fmt.Errorf("flowc: deleting flow %s: %w", slug, b.db.Unsupported())
}

// FlowExists reports whether there is a service of the flow.
func (b backend) FlowExists(ctx context.Context, slug string) (bool, error) {
	return b.db.flows[slug] != nil, ctx.Err()
}

// InTx returns false: nothing here is part of a transaction. Package runtime calls it.
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
