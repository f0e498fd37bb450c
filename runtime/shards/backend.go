package shards

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/internal/pgcall"
	"github.com/flowc-dev/flowc/runtime/internal/pgerr"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// Backend returns the backend for package runtime. Programs do not need it.
func (db *DB) Backend() runtime.Backend { return backend{db} }

// A backend finds the shard for each call, and makes the call there.
type backend struct{ db *DB }

var (
	_ runtime.EngineBackend = backend{}
	_ runtime.Router        = backend{}
	_ runtime.Namer         = backend{}
)

// NewRunIDs returns ids that all name one active shard, each time another.
func (b backend) NewRunIDs(n int) ([]uuid.UUID, error) {
	var up, reached []int
	known := b.db.known.Load()
	for _, number := range known.activeNow {
		e, _ := known.numbered(number)
		if m := b.db.lookup(e); m != nil {
			reached = append(reached, number)
			if !m.isDown() {
				up = append(up, number)
			}
		}
	}
	for _, numbers := range [][]int{up, reached, known.activeNow} {
		if len(numbers) > 0 {
			return newIDs(n, numbers[b.db.starts.Add(1)%uint32(len(numbers))])
		}
	}
	return nil, fmt.Errorf("flowc: shards: none is active")
}

func newIDs(n, number int) ([]uuid.UUID, error) {
	ids := make([]uuid.UUID, n)
	for i := range ids {
		var err error
		if ids[i], err = newID(number); err != nil {
			return nil, fmt.Errorf("flowc: generating a run id: %w", err)
		}
	}
	return ids, nil
}

// KeyedRunID returns the id unchanged: the DB has one run with a key, whichever its shard.
func (b backend) KeyedRunID(id uuid.UUID) (uuid.UUID, error) { return id, nil }

// settleFor is how long a start waits for a change of the map that is being made.
const settleFor = 10 * time.Second

// Start starts each run on its shard, those with generated ids together.
func (b backend) Start(ctx context.Context, r runtime.StartRequest) ([]runtime.StartedRun, error) {
	started := make([]runtime.StartedRun, len(r.Runs))
	pending := make([]int, len(r.Runs)) // indices of r.Runs
	for i := range pending {
		pending[i] = i
	}
	began := time.Now()
	for len(pending) > 0 {
		known := b.db.known.Load()
		number := known.owner(parse(r.Runs[pending[0]].ID))
		var here, rest []int
		for _, i := range pending {
			if i == pending[0] || !r.Runs[i].Chosen || known.owner(parse(r.Runs[i].ID)) == number {
				here = append(here, i)
			} else {
				rest = append(rest, i)
			}
		}
		at, err := b.startOn(ctx, known, number, r, here, started)
		if isOtherVersion(err) {
			if err := b.db.agree(ctx, at, time.Since(began) < settleFor); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil && len(here) < len(r.Runs) {
			err = fmt.Errorf("%w (some runs of this call may have started on other shards: repeat it with the same keys)", err)
		}
		if err != nil {
			return nil, err
		}
		pending = rest
	}
	return started, nil
}

// startOn starts those of the runs of a request that belong to a shard. It returns which
// shard an error is of.
func (b backend) startOn(ctx context.Context, known *shardMap, number int, r runtime.StartRequest, here []int, started []runtime.StartedRun) (at int, _ error) {
	fresh := make([]int, 0, len(here))
	former := map[int][]string{}
	for _, i := range here {
		if !r.Runs[i].Chosen {
			continue
		}
		for _, n := range known.former(parse(r.Runs[i].ID)) {
			former[n] = append(former[n], r.Runs[i].ID)
		}
	}
	existing := map[string]runtime.StartedRun{}
	for n, ids := range former {
		if err := b.db.find(ctx, n, known, r.Flow, ids, existing); err != nil {
			return n, err
		}
	}
	request := r
	request.Runs, request.MapVersion = nil, len(known.versions)
	for _, i := range here {
		if s, ok := existing[r.Runs[i].ID]; ok {
			started[i] = s
			continue
		}
		fresh = append(fresh, i)
		request.Runs = append(request.Runs, r.Runs[i])
	}
	if len(fresh) == 0 {
		return number, nil
	}
	return number, b.db.call(ctx, number, func(m *member) error {
		results, err := runtime.BackendOf(m.pool).Start(ctx, request)
		var input *runtime.InputError
		if errors.As(err, &input) && input.Index >= 0 && input.Index < len(fresh) && len(fresh) < len(r.Runs) {
			return &runtime.InputError{Flow: input.Flow, Index: fresh[input.Index], Err: input.Err}
		}
		for k, s := range results {
			started[fresh[k]] = s
		}
		return err
	})
}

// find looks on a shard for runs that may have started there earlier.
func (db *DB) find(ctx context.Context, number int, known *shardMap, flow string, ids []string, existing map[string]runtime.StartedRun) error {
	return db.call(ctx, number, func(m *member) error {
		type row struct {
			id, flow string
			due      *time.Time
		}
		rows, err := pgcall.Engine(ctx, m.pool, func(rows pgx.CollectableRow) (r row, _ error) {
			return r, rows.Scan(&r.id, &r.flow, &r.due)
		}, `SELECT run_id::text, flow_slug, scheduled_at FROM flowc.find_runs($1, $2::text[]::uuid[])`, len(known.versions), ids)
		for _, r := range rows {
			if base(r.flow) != base(flow) {
				return fmt.Errorf("flowc: starting flow %s: %w", flow, runtime.ErrRunIDTaken)
			}
			existing[r.id] = runtime.StartedRun{Existed: true, Flow: r.flow, ScheduledAt: pgcall.OrZero(r.due)}
		}
		return err
	})
}

func base(slug string) string {
	b, _ := spec.VersionOf(slug)
	return b
}

// isOtherVersion reports whether a database refused a call because it has another version of
// the map.
func isOtherVersion(err error) bool { return pgerr.Code(err) == "FC002" }

func parse(id string) uuid.UUID {
	parsed, _ := uuid.Parse(id) // package runtime has checked it
	return parsed
}

// agree makes this process and a shard have the same version of the map: it adopts that of
// the shard if it is newer, and otherwise publishes its own there. With wait, somebody else
// may be about to do that.
func (db *DB) agree(ctx context.Context, number int, wait bool) error {
	m, err := db.member(ctx, number)
	if err != nil {
		return err
	}
	a, err := db.learn(ctx, m)
	if err != nil || a.has(db.known.Load()) {
		return err
	}
	err = db.publish(ctx, db.known.Load(), publishing{until: number})
	if !errors.Is(err, ErrUnfinished) || !wait {
		return err
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(100 * time.Millisecond):
		return nil
	}
}

// An unanswered error says that a run may be on shards that do not answer.
type unanswered struct {
	id     string
	faults []error
}

func (e *unanswered) Error() string {
	var texts []string
	for _, err := range flatten(e.faults) {
		texts = append(texts, strings.TrimPrefix(err.Error(), "flowc: "))
	}
	return fmt.Sprintf("flowc: run %s is not on the shards that answer, and not all do: %s", e.id, strings.Join(texts, "; "))
}

func (e *unanswered) Unwrap() []error { return e.faults }

// flatten returns the errors that were joined.
func flatten(faults []error) (all []error) {
	for _, err := range faults {
		if joined, ok := err.(interface{ Unwrap() []error }); ok {
			all = append(all, flatten(joined.Unwrap())...)
		} else {
			all = append(all, err)
		}
	}
	return all
}

// search asks one shard after the other about a run until one has it. If the id names a
// shard that is down, that is the error: the run is there.
func search[T any](ctx context.Context, db *DB, id string, ask func(number int, on runtime.EngineBackend) (T, error)) (result T, _ error) {
	parsed := parse(id)
	asked, faults := map[int]bool{}, []error(nil)
	for again := true; again; {
		known := db.known.Load()
		for i, number := range known.order(parsed) {
			if asked[number] {
				continue
			}
			asked[number] = true
			err := db.call(ctx, number, func(m *member) (err error) {
				if o := m.down.Load(); o != nil && i > 0 && m.isDown() {
					return o.err
				}
				result, err = ask(number, runtime.BackendOf(m.pool))
				return err
			})
			switch {
			case err == nil:
				return result, nil
			case ctx.Err() != nil, number == numberIn(parsed) && !errors.Is(err, runtime.ErrRunNotFound):
				return result, err
			case !errors.Is(err, runtime.ErrRunNotFound):
				faults = append(faults, err)
			}
		}
		if err := db.Refresh(ctx); err != nil && len(faults) == 0 {
			faults = append(faults, err)
		}
		again = db.known.Load() != known
	}
	if len(faults) > 0 {
		return result, &unanswered{id, faults}
	}
	return result, fmt.Errorf("flowc: %w: %s", runtime.ErrRunNotFound, id)
}

func (b backend) Run(ctx context.Context, id string, detail runtime.RunDetail) (*runtime.RunInfo, error) {
	return search(ctx, b.db, id, func(_ int, on runtime.EngineBackend) (*runtime.RunInfo, error) { return on.Run(ctx, id, detail) })
}

func (b backend) Outcome(ctx context.Context, id string, want runtime.Want) (runtime.Outcome, error) {
	return search(ctx, b.db, id, func(_ int, on runtime.EngineBackend) (runtime.Outcome, error) { return on.Outcome(ctx, id, want) })
}

// steer does what [search] does for actions, which report what they found.
func (b backend) steer(ctx context.Context, id string, do func(runtime.EngineBackend) (runtime.Steered, error)) (runtime.Steered, error) {
	s, err := search(ctx, b.db, id, func(_ int, on runtime.EngineBackend) (runtime.Steered, error) {
		s, err := do(on)
		if err == nil && !s.Found {
			err = runtime.ErrRunNotFound
		}
		return s, err
	})
	if errors.Is(err, runtime.ErrRunNotFound) {
		return runtime.Steered{}, nil
	}
	return s, err
}

func (b backend) CancelRun(ctx context.Context, id, reason string) (runtime.Steered, error) {
	return b.steer(ctx, id, func(on runtime.EngineBackend) (runtime.Steered, error) { return on.CancelRun(ctx, id, reason) })
}

func (b backend) RetryRun(ctx context.Context, id string) (runtime.Steered, error) {
	return b.steer(ctx, id, func(on runtime.EngineBackend) (runtime.Steered, error) { return on.RetryRun(ctx, id) })
}

func (b backend) RetryStep(ctx context.Context, id, step string) (runtime.Steered, error) {
	return b.steer(ctx, id, func(on runtime.EngineBackend) (runtime.Steered, error) { return on.RetryStep(ctx, id, step) })
}

func (b backend) RescheduleRun(ctx context.Context, id string, at time.Time) (runtime.Steered, error) {
	return b.steer(ctx, id, func(on runtime.EngineBackend) (runtime.Steered, error) { return on.RescheduleRun(ctx, id, at) })
}

func (b backend) SetPriority(ctx context.Context, id string, priority runtime.Priority) (runtime.Steered, error) {
	return b.steer(ctx, id, func(on runtime.EngineBackend) (runtime.Steered, error) { return on.SetPriority(ctx, id, priority) })
}

func (b backend) DeleteRun(ctx context.Context, id string, o runtime.DeleteOptions) (runtime.Steered, error) {
	return b.steer(ctx, id, func(on runtime.EngineBackend) (runtime.Steered, error) { return on.DeleteRun(ctx, id, o) })
}

func (b backend) ExplainRun(ctx context.Context, id string) (reasons []runtime.Reason, _ error) {
	s, err := b.db.ShardOf(ctx, id)
	if errors.Is(err, runtime.ErrRunNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	err = b.db.call(ctx, s.Number, func(m *member) (err error) {
		reasons, err = runtime.BackendOf(m.pool).ExplainRun(ctx, id)
		return err
	})
	return reasons, err
}

// ShardOf returns the shard that has a run.
//
// Errors: [runtime.ErrRunNotFound]; an [Error] if the run is on none of the shards that
// answer and others do not.
func (db *DB) ShardOf(ctx context.Context, id string) (Shard, error) {
	parsed, err := uuid.Parse(id)
	if err != nil {
		return Shard{}, fmt.Errorf("flowc: %w: %q", runtime.ErrInvalidRunID, id)
	}
	number, err := search(ctx, db, parsed.String(), func(number int, on runtime.EngineBackend) (int, error) {
		_, err := on.Run(ctx, id, runtime.RunDetail{})
		return number, err
	})
	e, _ := db.known.Load().numbered(number)
	return db.shard(e), err
}

// DBOf returns the pool of the shard that has a run.
func (b backend) DBOf(ctx context.Context, id string) (runtime.DB, error) {
	s, err := b.db.ShardOf(ctx, id)
	if err != nil {
		return nil, err
	}
	return s.Pool, nil
}

// RunSchedule starts a run on the shard that its id names: all have the schedule.
func (b backend) RunSchedule(ctx context.Context, flow, id string) (ok bool, _ error) {
	err := b.db.call(ctx, b.db.known.Load().owner(parse(id)), func(m *member) (err error) {
		ok, err = runtime.BackendOf(m.pool).RunSchedule(ctx, flow, id)
		return err
	})
	return ok, err
}

// checkSupported refuses a flow whose limits would not be what they say: each shard counts
// what is in flight, or in progress, there.
func checkSupported(flow spec.Flow) error {
	if flow.Concurrency != 0 {
		return fmt.Errorf("flowc: upserting flow %s: %w: over several databases, the concurrency of its runs would be of each of them: upsert it through DB.On, and start it there", flow.Slug, runtime.ErrNeedsEngine)
	}
	for _, s := range flow.Steps {
		if s.IsGated() {
			return fmt.Errorf("flowc: upserting flow %s: %w: over several databases, the limits and turns of step %s would be of each of them: upsert it through DB.On, and start it there", flow.Slug, runtime.ErrNeedsEngine, s.Slug)
		}
	}
	return nil
}

// UpsertFlow upserts a flow on all shards, one after the other. If the first has it in
// another shape, nothing is written.
func (b backend) UpsertFlow(ctx context.Context, flow spec.Flow, o runtime.UpsertOptions) (all runtime.UpsertResult, _ error) {
	if flow.Unique != nil {
		return all, fmt.Errorf("flowc: upserting flow %s: %w: over several databases, its runs would be unique on each of them only: upsert it through DB.On, and start it there", flow.Slug, runtime.ErrNeedsEngine)
	}
	if err := checkSupported(flow); err != nil {
		return all, err
	}
	var faults []error
	all = runtime.UpsertResult{Status: runtime.UpsertVerified, Differences: []string{}}
	done := map[int]bool{}
	for again := true; again; {
		known := b.db.known.Load()
		for _, e := range known.version {
			if done[e.Number] {
				continue
			}
			done[e.Number] = true
			var result runtime.UpsertResult
			err := b.db.call(ctx, e.Number, func(m *member) (err error) {
				result, err = runtime.BackendOf(m.pool).UpsertFlow(ctx, flow, o)
				return err
			})
			switch {
			case err != nil:
				faults = append(faults, err)
				continue
			case result.Status == runtime.UpsertMismatch:
				for i, difference := range result.Differences {
					result.Differences[i] = "on shard " + e.Name + ": " + difference
				}
				return result, errors.Join(faults...)
			case all.Status == runtime.UpsertVerified:
				all.Status = result.Status
			}
			all.DeletedRuns += result.DeletedRuns
			if len(all.Differences) == 0 {
				all.Differences = result.Differences
			}
		}
		// A shard that was added meanwhile may have missed it.
		if err := b.db.Refresh(ctx); err != nil && len(faults) == 0 {
			faults = append(faults, err)
		}
		again = b.db.known.Load() != known
	}
	return all, errors.Join(faults...)
}

// DeleteFlow removes a flow from all shards, or from none if one has runs that have not
// ended.
func (b backend) DeleteFlow(ctx context.Context, slug string, o runtime.DeleteOptions) (all runtime.Deleted, _ error) {
	known := b.db.known.Load()
	if !o.AllowDataLoss {
		active := 0
		for _, e := range known.version {
			err := b.db.call(ctx, e.Number, func(m *member) error {
				n, _, err := pgcall.EngineOne(ctx, m.pool, pgx.RowTo[int], `SELECT flowc.count_started($1)`, slug)
				active += n
				return err
			})
			if err != nil {
				return all, err
			}
		}
		if active > 0 {
			return all, &runtime.ActiveRunsError{Flow: slug, Active: active}
		}
	}
	for _, e := range known.version {
		err := b.db.call(ctx, e.Number, func(m *member) error {
			deleted, err := runtime.BackendOf(m.pool).DeleteFlow(ctx, slug, o)
			all.Existed = all.Existed || deleted.Existed
			all.Runs += deleted.Runs
			all.Steps = max(all.Steps, deleted.Steps)
			return err
		})
		if err != nil {
			return all, err
		}
	}
	return all, nil
}

// FlowExists reports whether all shards have a flow. That only some have it is an error.
func (b backend) FlowExists(ctx context.Context, slug string) (bool, error) {
	var with, without []string
	for _, e := range b.db.known.Load().version {
		err := b.db.call(ctx, e.Number, func(m *member) error {
			exists, err := runtime.BackendOf(m.pool).FlowExists(ctx, slug)
			if exists {
				with = append(with, e.Name)
			} else if err == nil {
				without = append(without, e.Name)
			}
			return err
		})
		if err != nil {
			return false, err
		}
	}
	if len(with) > 0 && len(without) > 0 {
		slices.Sort(with)
		return false, fmt.Errorf("flow %s is on shards %s but not on %s: call its Upsert function", slug, strings.Join(with, ", "), strings.Join(without, ", "))
	}
	return len(without) == 0, nil
}
