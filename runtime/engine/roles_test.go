// Roles: what each may call, and that none can hold up others.

package engine_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/dashboard"
	"github.com/flowc-dev/flowc/runtime/engine"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
	"github.com/flowc-dev/flowc/runtime/internal/pgerr"
	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/flowc-dev/flowc/runtime/spec"
	flowcworker "github.com/flowc-dev/flowc/runtime/worker"
)

// as connects to the database of a pool as a role, which has nothing but what it
// was granted.
func as(t *testing.T, pool *pgxpool.Pool, role string) *pgxpool.Pool {
	t.Helper()
	return dbtest.With(t, pool, map[string]string{"role": role})
}

// grantRoles makes the four roles, with names of their own: roles are the
// server's, not the database's.
func grantRoles(t *testing.T, pool *pgxpool.Pool) engine.Roles {
	t.Helper()
	prefix := pool.Config().ConnConfig.Database + "_"
	roles := engine.Roles{Starter: prefix + "starter", Worker: prefix + "worker", Viewer: prefix + "viewer", Operator: prefix + "operator"}
	t.Cleanup(func() {
		for _, role := range []string{roles.Starter, roles.Worker, roles.Viewer, roles.Operator} {
			name := pgx.Identifier{role}.Sanitize()
			_, err := pool.Exec(context.Background(), `drop owned by `+name+`; drop role `+name, pgx.QueryExecModeSimpleProtocol)
			require.NoError(t, err)
		}
	})
	_, err := engine.GrantRoles(t.Context(), pool, roles)
	require.NoError(t, err)
	return roles
}

var shop = spec.Flow{Slug: "shop", Steps: []spec.Step{
	{Slug: "lines"}, {Slug: "pack", Type: spec.TypeMap, Deps: []string{"lines"}}, {Slug: "ship", Deps: []string{"pack"}, MaxAttempts: 1},
}}

// TestRolesDoTheirJob: each role does all of its work, with nothing but its rights.
func TestRolesDoTheirJob(t *testing.T) {
	t.Parallel()
	owner := dbtest.Pool(t)
	roles := grantRoles(t, owner)
	_, err := runtime.UpsertFlow(t.Context(), owner, shop)
	require.NoError(t, err)

	service := handler.Serve(shop, []handler.Handler{
		handler.Handle("lines", handler.Input[int](), func(_ context.Context, n int) ([]int, error) { return make([]int, n), nil }),
		handler.Handle("pack", handler.Item[int](), func(_ context.Context, n int) (int, error) { return n + 1, nil }),
		handler.Handle("ship", handler.Output[[]int]("pack"), func(_ context.Context, packed []int) (int, error) {
			if len(packed) == 7 {
				return 0, fmt.Errorf("seven is too many")
			}
			return len(packed), nil
		}),
	})
	var log bytes.Buffer
	w, err := flowcworker.New(as(t, owner, roles.Worker), flowcworker.Config{
		Concurrency: 4, Retention: 24 * time.Hour, Logger: slog.New(slog.NewTextHandler(&log, nil)),
	}, service)
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-done)
		require.NotContains(t, log.String(), "permission denied")
	})

	starter := as(t, owner, roles.Starter)
	run, err := runtime.StartFlow(t.Context(), starter, "shop", 300)
	require.NoError(t, err)
	output, err := run.Wait(t.Context(), runtime.WithTimeout(time.Minute))
	require.NoError(t, err)
	require.JSONEq(t, `{"ship": 300}`, string(output))
	info, err := runtime.GetRun(t.Context(), starter, run.ID(), runtime.WithStates())
	require.NoError(t, err)
	require.Len(t, info.States, 3)
	failed, err := runtime.StartFlow(t.Context(), starter, "shop", 7, runtime.WithDelay(time.Millisecond))
	require.NoError(t, err)
	_, err = failed.Wait(t.Context(), runtime.WithTimeout(time.Minute))
	require.ErrorContains(t, err, "seven is too many")

	// What an operator retries, the worker does again.
	operator := as(t, owner, roles.Operator)
	require.NoError(t, runtime.RetryRun(t.Context(), operator, failed.ID()))
	_, err = failed.Via(operator).Wait(t.Context(), runtime.WithTimeout(time.Minute))
	require.ErrorContains(t, err, "seven is too many")

	_, err = failed.Via(as(t, owner, roles.Viewer)).Wait(t.Context(), runtime.WithTimeout(time.Minute))
	require.ErrorContains(t, err, "seven is too many", "a viewer polls, since waiting would lock the run")

	for _, role := range []string{roles.Viewer, roles.Operator} {
		h, err := dashboard.New(as(t, owner, role), dashboard.Config{ReadOnly: role == roles.Viewer, Definitions: []spec.Flow{shop}})
		require.NoError(t, err)
		server := httptest.NewServer(h)
		t.Cleanup(server.Close)
		for _, page := range []string{"/", "/flows", "/flows/shop", "/runs", "/runs/" + run.ID(), "/runs/" + run.ID() + "?step=pack", "/workers", "/metrics"} {
			response, err := http.Get(server.URL + page)
			require.NoError(t, err)
			body, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			require.NoError(t, response.Body.Close())
			require.Equal(t, http.StatusOK, response.StatusCode, "%s: %s", page, body)
		}
	}
}

// TestRolesAreRefusedTheRest tries every call of the client as every role.
func TestRolesAreRefusedTheRest(t *testing.T) {
	t.Parallel()
	owner := dbtest.Pool(t)
	roles := grantRoles(t, owner)
	ctx := t.Context()
	_, err := runtime.UpsertFlow(ctx, owner, shop)
	require.NoError(t, err)
	_, err = owner.Exec(ctx, `select flowc.set_schedule('shop', '0 4 * * *')`)
	require.NoError(t, err)
	start := func(opts ...runtime.StartOption) string {
		run, err := runtime.StartFlow(ctx, owner, "shop", 1, opts...)
		require.NoError(t, err)
		return run.ID()
	}
	cancelled := func() string {
		id := start()
		require.NoError(t, runtime.CancelRun(ctx, owner, id, ""))
		return id
	}
	type db = runtime.DB
	only := func(_ any, err error) error { return err }
	for _, c := range []struct {
		who, what string
		call      func(db db) error
	}{
		{"starter operator", "start", func(db db) error { return only(runtime.StartFlow(ctx, db, "shop", 1)) }},
		{"starter operator", "start many", func(db db) error { return only(runtime.StartMany(ctx, db, "shop", []any{1, 2})) }},
		{"starter operator", "cancel", func(db db) error { return runtime.CancelRun(ctx, db, start(), "") }},
		{"starter operator", "start with a priority", func(db db) error {
			return only(runtime.StartFlow(ctx, db, "shop", 1, runtime.WithPriority(runtime.High)))
		}},
		{"operator", "set the priority", func(db db) error { return runtime.SetPriority(ctx, db, start(), runtime.High) }},
		{"starter operator", "reschedule", func(db db) error {
			return runtime.RescheduleRun(ctx, db, start(runtime.WithDelay(time.Hour)), time.Now().Add(2*time.Hour))
		}},
		{"starter viewer operator", "get", func(db db) error { return only(runtime.GetRun(ctx, db, start(), runtime.WithStates())) }},
		{"starter worker viewer operator", "exists", func(db db) error { return only(runtime.FlowExists(ctx, db, "shop")) }},
		{"viewer operator", "list runs", func(db db) error { return only(ops.ListRuns(ctx, db, ops.RunFilter{})) }},
		{"viewer operator", "list tasks", func(db db) error {
			return only(ops.ListTasks(ctx, db, start(), ops.TaskFilter{OutputBytes: ops.AllOutputs}))
		}},
		{"viewer operator", "list flows", func(db db) error { return only(ops.ListFlows(ctx, db, time.Now())) }},
		{"viewer operator", "list workers", func(db db) error { return only(ops.ListWorkers(ctx, db, time.Now())) }},
		{"viewer operator", "list schedules", func(db db) error { return only(ops.ListSchedules(ctx, db)) }},
		{"viewer operator", "list failures", func(db db) error { return only(ops.ListFailures(ctx, db, time.Now(), 9)) }},
		{"viewer operator", "list payloads", func(db db) error { return only(ops.ListPayloads(ctx, db, start(), 9)) }},
		{"viewer operator", "progress", func(db db) error {
			return only(runtime.GetRun(ctx, db, start(), runtime.WithStates(), runtime.WithoutPayloads()))
		}},
		{"viewer operator", "definition", func(db db) error { return only(ops.GetDefinition(ctx, db, "shop")) }},
		{"viewer operator", "throughput", func(db db) error {
			return only(ops.Throughput(ctx, db, time.Now().Add(-time.Hour), time.Minute))
		}},
		{"viewer operator", "next ticks", func(db db) error { return only(ops.NextTicks(ctx, db, "0 4 * * *", 2)) }},
		{"operator", "retry", func(db db) error { return runtime.RetryRun(ctx, db, cancelled()) }},
		{"operator", "run now", func(db db) error { return only(ops.RunNow(ctx, db, start(), "")) }},
		{"operator", "pause", func(db db) error { return only(ops.PauseFlow(ctx, db, "shop", "")) }},
		{"operator", "resume", func(db db) error { return only(ops.ResumeFlow(ctx, db, "shop")) }},
		{"operator", "pause schedule", func(db db) error { return only(ops.PauseSchedule(ctx, db, "shop", "test")) }},
		{"operator", "run schedule", func(db db) error { return only(runtime.RunSchedule(ctx, db, "shop")) }},
		{"operator", "delete run", func(db db) error { return only(runtime.DeleteRun(ctx, db, cancelled())) }},
		{"operator", "prune", func(db db) error { return only(ops.Prune(ctx, db, ops.PruneOptions{OlderThan: time.Hour})) }},
		{"", "upsert", func(db db) error { return only(runtime.UpsertFlow(ctx, db, shop)) }},
		{"", "delete flow", func(db db) error { return only(runtime.DeleteFlow(ctx, db, "shop")) }},
		{"", "migrate", func(db db) error { return engine.Migrate(ctx, db.(*pgxpool.Pool)) }},
		{"worker", "claim", func(db db) error {
			return only(db.Exec(ctx, `select flowc.claim($1::uuid, '{shop}', '{1}')`, uuid.New()))
		}},
		{"worker", "the contract's worker", func(db db) error {
			return only(db.Exec(ctx, `
				with w as (insert into pgflow.workers (worker_id, queue_name, function_name) values (gen_random_uuid(), 'shop', 'ts') returning worker_id)
				select t.* from w, pgflow.start_tasks('shop', array(select msg_id from pgmq.read_with_poll('shop', 1, 1, 0)), w.worker_id) t`))
		}},
		{"worker", "the contract's report", func(db db) error {
			return only(db.Exec(ctx, `select pgflow.complete_task($1::uuid, 'lines', 0, '1'), pgflow.fail_task($1::uuid, 'lines', 0, 'x')`, start()))
		}},
		{"starter", "the contract's start", func(db db) error {
			return only(db.Exec(ctx, `select pgflow.start_flow('shop', '1'), pgflow.start_flow_with_states('shop', '1')`))
		}},
		{"", "an inner function", func(db db) error { return only(db.Exec(ctx, `select flowc.fail_runs('{}')`)) }},
		{"", "a table", func(db db) error { return only(db.Exec(ctx, `select from pgflow.runs`)) }},
		{"", "the queue", func(db db) error { return only(db.Exec(ctx, `select from pgmq.q_shop`)) }},
		{"", "rights for itself", func(db db) error { return only(db.Exec(ctx, `select flowc.grant_role('operator', current_user)`)) }},
	} {
		for kind, role := range map[string]string{"starter": roles.Starter, "worker": roles.Worker, "viewer": roles.Viewer, "operator": roles.Operator} {
			t.Run(c.what+" as "+kind, func(t *testing.T) {
				err := c.call(as(t, owner, role))
				if slices.Contains(strings.Fields(c.who), kind) {
					require.NoError(t, err)
				} else {
					require.Equal(t, "42501", pgerr.Code(err), "%v", err)
				}
			})
		}
	}
}

// TestGrantRoles: roles can be granted again, named anew and of several kinds, and
// keep their rights when functions are made again.
func TestGrantRoles(t *testing.T) {
	t.Parallel()
	owner := dbtest.Pool(t)
	roles := grantRoles(t, owner)
	again, err := engine.GrantRoles(t.Context(), owner, engine.Roles{Starter: roles.Worker, Viewer: roles.Viewer})
	require.NoError(t, err)
	require.Equal(t, []string{roles.Worker + " has the rights of a starter", roles.Viewer + " has the rights of a viewer"}, again)
	_, err = owner.Exec(t.Context(), `drop function flowc.claim`)
	require.NoError(t, err)
	_, err = owner.Exec(t.Context(), `update flowc.installation set functions_checksum = ''`)
	require.NoError(t, err)
	require.NoError(t, engine.Migrate(t.Context(), owner))
	for _, call := range []string{`flowc.claim(gen_random_uuid(), '{}', '{}')`, `flowc.start('none', '{}', '{}')`} {
		_, err = as(t, owner, roles.Worker).Exec(t.Context(), `select `+call)
		require.NotEqual(t, "42501", pgerr.Code(err), call)
	}

	_, err = engine.GrantRoles(t.Context(), as(t, owner, roles.Operator), engine.Roles{Starter: roles.Operator})
	require.Equal(t, "42501", pgerr.Code(err))
	_, err = engine.GrantRoles(t.Context(), owner, engine.Roles{Viewer: strings.Repeat("é", 32)})
	require.ErrorContains(t, err, "the name has 64 bytes, at most 63 are possible")
	_, err = owner.Exec(t.Context(), `select flowc.grant_role('viewer', repeat('x', 64))`)
	require.Equal(t, "42622", pgerr.Code(err), "%v", err)
	_, err = engine.GrantRoles(t.Context(), owner, engine.Roles{Starter: `pg_x"; drop table pgflow.runs; --`})
	require.ErrorContains(t, err, `is reserved`) // as are all that begin with pg_
	_, err = owner.Exec(t.Context(), `select from pgflow.runs`)
	require.NoError(t, err)
}

// TestRevokeRoles: a role loses what it was given as one of a kind, and keeps what it
// has as one of another.
func TestRevokeRoles(t *testing.T) {
	t.Parallel()
	owner := dbtest.Pool(t)
	roles := grantRoles(t, owner)
	_, err := engine.GrantRoles(t.Context(), owner, engine.Roles{Starter: roles.Worker})
	require.NoError(t, err)
	may := func(role, call string) bool {
		_, err := as(t, owner, role).Exec(t.Context(), `select `+call)
		require.Contains(t, []string{"", "42501", "23503"}, pgerr.Code(err), "%v", err) // there is no flow named none
		return pgerr.Code(err) != "42501"
	}
	const claim, start, list = `flowc.claim(gen_random_uuid(), '{}', '{}')`, `flowc.start('none', '{}', '{}')`, `flowc.version()`
	done, err := engine.RevokeRoles(t.Context(), owner, engine.Roles{Worker: roles.Worker, Operator: roles.Operator})
	require.NoError(t, err)
	require.Equal(t, []string{
		roles.Worker + " no longer has the rights of a worker", roles.Operator + " no longer has the rights of an operator"}, done)
	require.False(t, may(roles.Worker, claim))
	require.False(t, may(roles.Worker, `1 from pgflow.workers`))
	require.True(t, may(roles.Worker, start), "it is a starter still")
	require.True(t, may(roles.Starter, start), "and so is the other")
	require.False(t, may(roles.Operator, list))
	_, err = owner.Exec(t.Context(), `update flowc.installation set functions_checksum = ''`)
	require.NoError(t, err)
	require.NoError(t, engine.Migrate(t.Context(), owner))
	require.False(t, may(roles.Operator, list), "and a migration does not give it back")

	done, err = engine.RevokeRoles(t.Context(), owner, engine.Roles{Operator: roles.Operator, Viewer: "nobody"})
	require.NoError(t, err)
	require.Equal(t, []string{"nobody did not have the rights of a viewer", roles.Operator + " did not have the rights of an operator"}, done)
	_, err = engine.RevokeRoles(t.Context(), as(t, owner, roles.Starter), engine.Roles{Starter: roles.Starter})
	require.Equal(t, "42501", pgerr.Code(err))
}

// TestViewersCannotHoldAnything: what a viewer may call neither writes nor locks, and
// PostgreSQL sees to that.
func TestViewersCannotHoldAnything(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	require.Empty(t, d.table(`
		select p.oid::regprocedure from unnest(flowc.role_functions('viewer')) f(name)
		join pg_proc p on p.proname = split_part(f.name, '.', 2) and p.pronamespace = split_part(f.name, '.', 1)::regnamespace
		where p.provolatile = 'v'`))
}

// TestNobodyHoldsUpOthers: a role that may do no more than connect cannot hold what
// starts, definitions, queues, migrations and claims wait for, nor hear of runs what
// it takes to read them.
func TestNobodyHoldsUpOthers(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	require.Empty(t, d.table(`
		select p.oid::regprocedure from pg_proc p
		where p.pronamespace in ('pgflow'::regnamespace, 'pgmq'::regnamespace, 'flowc'::regnamespace) and p.prosrc ~ 'advisory'`))
	_, other := outsider(t, d)
	keys := []string{
		`1, hashtext('f')`, `1, hashtext('g')`, `2, 0`, `7205759403`, `hashtext('pgmq.queue_f')`, `hashtext('pgmq.queue_g')`,
	}
	conn, err := other.pool.Acquire(t.Context())
	require.NoError(t, err)
	defer conn.Release()
	for _, key := range keys {
		_, err := conn.Exec(t.Context(), `select pg_advisory_lock(`+key+`)`)
		require.NoError(t, err)
	}
	d.exec(`set lock_timeout = '5s'`)
	d.flow("f").step("a").start(`1`).complete("a", `1`)
	d.exec(`select flowc.advance_watermarks('{f}')`)
	require.Equal(t, "1", d.table(`select count(*) from flowc.watermarks`))
	d.exec(`select flowc.upsert_flow('g', '{"steps": []}')`)
	d.exec(`select flowc.set_schedule('f', '@daily'), flowc.run_schedule('f', gen_random_uuid()), flowc.pause_schedule('f'), flowc.resume_schedule('f')`)
	d.exec(`select flowc.prune_flows('{f}', interval '1 hour', 10), flowc.delete_flow('f', true)`)
	require.NoError(t, engine.Migrate(t.Context(), d.pool))
	_, err = conn.Exec(t.Context(), `select pg_advisory_unlock_all()`)
	require.NoError(t, err)

	for _, call := range []string{`flowc.version()`, `pgflow.is_valid_slug('x')`, `1 from pgflow.flows`, `1 from flowc.installation`, `1 from pgmq.meta`} {
		_, err := conn.Exec(t.Context(), `select `+call)
		require.Equal(t, "42501", pgerr.Code(err), "%s: %v", call, err)
	}
	_, err = conn.Exec(t.Context(), `listen flowc_done`)
	require.NoError(t, err)
	r := d.flow("h").step("a").start(`1`)
	d.exec(`select flowc.await_run($1)`, r.id)
	r.complete("a", `1`)
	note, err := conn.Conn().WaitForNotification(t.Context())
	require.NoError(t, err)
	require.NotContains(t, strings.ReplaceAll(note.Payload, "-", ""), strings.ReplaceAll(r.id, "-", "")[16:])
}

// TestWorkersKeepToTheirFlows: a worker prunes what it serves, and leaves nothing behind
// for flows that are not there.
func TestWorkersKeepToTheirFlows(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	roles := grantRoles(t, d.pool)
	for _, slug := range []string{"f", "g"} {
		d.flow(slug).step("a").start(`1`).complete("a", `1`)
	}
	d.exec(`update pgflow.runs set completed_at = completed_at - interval '2 hours', started_at = started_at - interval '2 hours'`)
	pool := as(t, d.pool, roles.Worker)
	w := &db{t: t, pool: pool, q: pool}
	id, living := uuid.NewString(), uuid.NewString()
	w.exec(`select flowc.register_worker($1, 'w', '{f, made_up}'), flowc.register_worker($2, 'v', '{g}')`, id, living)
	w.exec(`select flowc.enter_idle($1, '{f, made_up}')`, id)
	w.exec(`select flowc.advance_watermarks('{f, made_up}')`)
	require.Equal(t, lines("served f", "served g", "sleepers f", "watermarks f"), d.table(`
		select 'watermarks', flow_slug from flowc.watermarks union all select 'served', flow_slug from flowc.worker_flows
		union all select 'sleepers', flow_slug from flowc.idle_workers order by 1, 2`))

	w.fails("42501", "permission denied for function prune_flows", `select flowc.prune_flows('{f,g}', interval '1 hour', 10)`)
	require.Equal(t, "0", w.table(`select flowc.prune_served(gen_random_uuid(), '{f,g}', interval '1 hour', 10)`))
	require.Equal(t, "1", w.table(`select flowc.prune_served($1, '{f,g}', interval '1 hour', 10)`, id))
	require.Equal(t, "g", d.table(`select flow_slug from pgflow.runs`))
	for _, keep := range []string{"0", "-1 day"} {
		_, err := w.try(`select flowc.prune_served($1, '{f}', $2::text::interval, 10)`, id, keep)
		require.Equal(t, "22023", pgerr.Code(err), "%v", err)
	}
	w.exec(`select flowc.prune_served($1, '{f}', interval '1 microsecond', 10)`, id)
	d.exec(`select flowc.prune('infinity')`)
	require.Equal(t, "3", d.table(`select count(*) from pgflow.workers`), "of those that may be alive nothing is forgotten")
}

// TestNobodyTakesATick: the ids of runs that schedules will start cannot be computed by
// who may start runs of ids of their own.
func TestNobodyTakesATick(t *testing.T) {
	t.Parallel()
	d, twin := newDB(t), newDB(t)
	twin.exec(`update flowc.installation set secret = gen_random_uuid()`) // both are copies of one
	const id = `select flowc.tick_run_id('f', '2030-01-01')`
	require.Equal(t, d.table(id), d.table(id))
	require.NotEqual(t, d.table(id), twin.table(id))
	roles := grantRoles(t, d.pool)
	for _, role := range []string{roles.Starter, roles.Worker, roles.Viewer, roles.Operator} {
		pool := as(t, d.pool, role)
		for _, sql := range []string{id, `select secret from flowc.installation`} {
			_, err := pool.Exec(t.Context(), sql)
			require.Equal(t, "42501", pgerr.Code(err), "%v", err)
		}
	}
}

// TestEveryCalledFunctionHasARole: what the packages call must be granted to
// somebody, so that no new function is forgotten.
func TestEveryCalledFunctionHasARole(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	granted := value[[]string](d, `
		select array_agg(distinct f) from unnest('{starter, worker, viewer, operator}'::text[]) k(kind) cross join lateral unnest(flowc.role_functions(k.kind)) f`)
	ofOwner := []string{"flowc.upsert_flow", "flowc.delete_flow", "flowc.delete_orphans", "flowc.grant_role", "flowc.revoke_role", "flowc.enqueuing_transactions"}
	call := regexp.MustCompile(`(?:SELECT|FROM|select|from)\s+(?:\*\s+from\s+)?(flowc\.[a-z_]+)\(`)
	called := map[string]string{}
	for _, dir := range []string{"..", ".", "../worker", "../worker/internal/backend", "../ops", "../dashboard", "../../cmd/flowc"} {
		names, err := filepath.Glob(filepath.Join(dir, "*.go"))
		require.NoError(t, err)
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			source, err := os.ReadFile(name)
			require.NoError(t, err)
			for _, m := range call.FindAllStringSubmatch(string(source), -1) {
				called[m[1]] = name
			}
		}
	}
	require.Greater(t, len(called), 30)
	for function, name := range called {
		if !slices.Contains(ofOwner, function) {
			require.Contains(t, granted, function, "called in %s", name)
		}
	}
	require.Empty(t, d.table(`
		select f from unnest($1::text[]) f where not exists (
		  select from pg_proc p join pg_namespace n on n.oid = p.pronamespace where n.nspname || '.' || p.proname = f)`, granted), "granted, but there is no such function")
}

// TestHostileNames: names that try to become SQL stay names.
func TestHostileNames(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		d.flow("f").step("s")
		for _, name := range []string{
			`x"; drop table pgflow.runs; --`, `x'; drop table pgflow.runs; --`, `x$$; drop table pgflow.runs; $$`, `q_f`, `%I`, `%s`, `pg_temp.x`, `x" (a) as select 1; --`,
		} {
			for _, call := range []string{
				`pgflow.create_flow($1)`, `pgmq.create($1)`, `pgmq.drop_queue($1)`, `pgmq.send($1, '1')`, `pgmq.read($1, 1, 1)`, `pgmq.archive($1, '{1}'::bigint[])`,
				`pgflow.set_vt_batch($1, '{1}', '{1}')`, `pgflow.start_flow($1, '1')`, `pgflow.start_tasks($1, '{1}', gen_random_uuid())`, `pgflow.delete_flow_and_data($1)`,
				`pgflow.add_step('f', $1)`, `pgflow._get_flow_shape($1)`, `flowc.upsert_flow($1, '{"steps": []}', true)`, `flowc.claim(gen_random_uuid(), array[$1], '{1}')`,
			} {
				_, err := d.try(`select `+call, name)
				if err != nil {
					require.NotContains(t, []string{"42601", "42704", "42P07"}, pgerr.Code(err), "%s of %s: %v", call, name, err) // it would have been read as SQL
				}
			}
			require.Equal(t, "f", d.table(`select flow_slug from pgflow.flows where flow_slug !~ '^q_f$'`))
		}
		d.flow("f").step("s").start(`1`)
		require.Equal(t, "1", d.table(`select count(*) from pgflow.runs`))
	})
}
