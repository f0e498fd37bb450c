package sqldb_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/flowc-dev/flowc/runtime/sqldb"
)

const patience = 5 * time.Minute

var mail = runtime.NewFlow[letter](spec.Flow{
	Slug:  "mail",
	Steps: []spec.Step{{Slug: "mail"}},
}, handler.Output[int]("mail"))

type letter struct {
	To string `json:"to"`
}

// each calls a test with every driver, on a database that has the flow mail.
func each(t *testing.T, test func(t *testing.T, ctx context.Context, db *sql.DB, pool *pgxpool.Pool)) {
	for name, open := range map[string]func(url string) *sql.DB{
		"pgx": func(url string) *sql.DB {
			config, err := pgx.ParseConfig(url)
			require.NoError(t, err)
			return stdlib.OpenDB(*config)
		},
		"any driver": func(url string) *sql.DB { return sql.OpenDB(plainConnector{url}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			url := dbtest.URL(t)
			db := open(url)
			defer func() { require.NoError(t, db.Close()) }()
			_, err := mail.Upsert(ctx, sqldb.Wrap(db))
			require.NoError(t, err)
			test(t, ctx, db, dbtest.Connect(t, url))
		})
	}
}

// deliver completes the task of the oldest run, as a worker would.
func deliver(t *testing.T, ctx context.Context, pool *pgxpool.Pool, output string) {
	t.Helper()
	worker := uuid.New()
	_, err := pool.Exec(ctx, `SELECT flowc.register_worker($1, 'hand', '{}')`, worker)
	require.NoError(t, err)
	var done int
	require.NoError(t, pool.QueryRow(ctx, `
WITH task AS MATERIALIZED (SELECT * FROM flowc.claim($1::uuid, '{mail}', '{1}')),
     done AS MATERIALIZED (
       SELECT f.n FROM task t, flowc.report($1::uuid, ARRAY[t.run_id], ARRAY[t.step_slug], ARRAY[t.task_index],
         ARRAY[t.message_id], ARRAY[t.claim_number], '{completed}', ARRAY[$2::text::jsonb], '{NULL}', '{NULL}') f)
SELECT count(*) + 0 * (SELECT count(*) FROM done) FROM task`, worker, output).Scan(&done))
	require.Equal(t, 1, done)
}

func TestStartInTransaction(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, ctx context.Context, db *sql.DB, pool *pgxpool.Pool) {
		rolledBack, err := db.BeginTx(ctx, nil)
		require.NoError(t, err)
		nobody, err := mail.Start(ctx, sqldb.Wrap(rolledBack), letter{To: "nobody"})
		require.NoError(t, err)
		_, err = runtime.GetRun(ctx, pool, nobody.ID())
		require.ErrorIs(t, err, runtime.ErrRunNotFound, "not before the commit")
		require.NoError(t, rolledBack.Rollback())
		_, err = runtime.GetRun(ctx, pool, nobody.ID())
		require.ErrorIs(t, err, runtime.ErrRunNotFound)

		tx, err := db.BeginTx(ctx, nil)
		require.NoError(t, err)
		run, err := mail.Start(ctx, sqldb.Wrap(tx), letter{To: `Ada "\ {,}`}, runtime.WithIdempotencyKey("k"))
		require.NoError(t, err)
		again, err := mail.Start(ctx, sqldb.Wrap(tx), letter{}, runtime.WithIdempotencyKey("k"))
		require.NoError(t, err, "a duplicate does not abort the transaction")
		require.True(t, again.Existed())
		_, err = run.Wait(ctx)
		require.ErrorIs(t, err, runtime.ErrWaitInTx)
		_, err = mail.StartSync(ctx, sqldb.Wrap(tx), letter{})
		require.ErrorIs(t, err, runtime.ErrWaitInTx)
		seen, err := run.Info(ctx)
		require.NoError(t, err, "the transaction sees its own run")
		require.JSONEq(t, `{"to": "Ada \"\\ {,}"}`, string(seen.Input))
		require.NoError(t, tx.Commit())

		deliver(t, ctx, pool, `7`)
		for name, db := range map[string]runtime.DB{"database/sql": sqldb.Wrap(db), "pgx": pool} {
			out, err := run.Via(db).Wait(ctx)
			require.NoError(t, err, name)
			require.Equal(t, 7, out, name)
		}
	})
}

// Every call gives through database/sql what it gives through pgx.
func TestReadsAreTheSame(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, ctx context.Context, std *sql.DB, pool *pgxpool.Pool) {
		db := sqldb.Wrap(std)
		runs, err := mail.StartMany(ctx, db, []letter{{"a"}, {"b"}, {"c"}}, runtime.WithKeys("a", "b", "a"))
		require.NoError(t, err)
		require.Equal(t, runs[0].ID(), runs[2].ID())
		later, err := mail.StartIn(ctx, db, letter{"d"}, time.Hour+time.Microsecond)
		require.NoError(t, err)
		require.WithinDuration(t, time.Now().Add(time.Hour), later.ScheduledAt(), time.Minute)
		deliver(t, ctx, pool, `null`)
		failed, err := mail.Start(ctx, db, letter{"e"}, runtime.WithRunID(uuid.NewString()))
		require.NoError(t, err)
		require.NoError(t, runtime.CancelRun(ctx, db, failed.ID(), "enough"))
		require.NoError(t, runtime.RescheduleRun(ctx, db, later.ID(), time.Now().Add(time.Minute)))

		for name, read := range map[string]func(runtime.DB) (any, error){
			"GetRun":           func(db runtime.DB) (any, error) { return runtime.GetRun(ctx, db, later.ID()) },
			"GetRunWithStates": func(db runtime.DB) (any, error) { return runtime.GetRun(ctx, db, runs[0].ID(), runtime.WithStates()) },
			"ListRuns": func(db runtime.DB) (any, error) {
				return ops.ListRuns(ctx, db, ops.RunFilter{
					Flows: []string{"mail"}, Statuses: []runtime.RunStatus{runtime.RunRunning, runtime.RunCompleted},
					StartedFrom: time.Now().Add(-time.Hour), InputContains: []byte(`{}`), Limit: 2,
				})
			},
			"ListTasks": func(db runtime.DB) (any, error) {
				return ops.ListTasks(ctx, db, runs[0].ID(), ops.TaskFilter{OutputBytes: ops.AllOutputs})
			},
			"ListFlows":   func(db runtime.DB) (any, error) { return ops.ListFlows(ctx, db, time.Now().Add(-time.Hour)) },
			"ListWorkers": func(db runtime.DB) (any, error) { return ops.ListWorkers(ctx, db, time.Now().Add(-time.Hour)) },
			"FlowExists":  func(db runtime.DB) (any, error) { return mail.Exists(ctx, db) },
			"Upsert":      func(db runtime.DB) (any, error) { return mail.Upsert(ctx, db) },
			"Prune": func(db runtime.DB) (any, error) {
				return ops.Prune(ctx, db, ops.PruneOptions{OlderThan: time.Hour})
			},
			"Get":           func(db runtime.DB) (any, error) { r, err := mail.Get(ctx, db, later.ID()); return r.ScheduledAt(), err },
			"a failed wait": func(db runtime.DB) (any, error) { _, err := failed.Via(db).Wait(ctx); return err.Error(), nil },
		} {
			want, err := read(pool)
			require.NoError(t, err, name)
			got, err := read(db)
			require.NoError(t, err, name)
			require.Equal(t, inUTC(t, want), inUTC(t, got), name)
		}
		deleted, err := mail.Delete(ctx, db, runtime.AllowDataLoss())
		require.NoError(t, err)
		require.Equal(t, runtime.Deleted{Existed: true, Runs: 4, Steps: 1}, deleted)
	})
}

func TestErrors(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, ctx context.Context, std *sql.DB, pool *pgxpool.Pool) {
		db := sqldb.Wrap(std)
		_, err := runtime.StartFlow(ctx, db, "nothing", nil)
		require.ErrorIs(t, err, runtime.ErrFlowNotFound)
		_, err = runtime.StartFlow(ctx, db, "mail", []byte(nil), runtime.WithRunID("seven"))
		require.ErrorIs(t, err, runtime.ErrInvalidRunID)
		_, err = runtime.GetRun(ctx, db, uuid.NewString())
		require.ErrorIs(t, err, runtime.ErrRunNotFound)
		_, err = runtime.StartFlow(ctx, db, "mail", strings.Repeat("a", 1<<20)+"\x00")
		require.ErrorIs(t, err, runtime.ErrNUL)
		run, err := mail.Start(ctx, db, letter{})
		require.NoError(t, err)
		_, err = run.Wait(ctx, runtime.WithTimeout(0))
		require.ErrorIs(t, err, runtime.ErrTimeout)
		_, err = pool.Exec(ctx, `DROP SCHEMA flowc CASCADE; DROP SCHEMA pgflow CASCADE`)
		require.NoError(t, err)
		_, err = mail.Start(ctx, db, letter{})
		require.ErrorIs(t, err, runtime.ErrEngineMissing)
	})
	_, err := mail.Start(t.Context(), sqldb.Wrap(nil), letter{})
	require.ErrorContains(t, err, "db is nil")
}

// A call through a *sql.DB outlasts connections that break; one through a
// connection, which nobody can replace, does not.
func TestBrokenConnections(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, ctx context.Context, std *sql.DB, pool *pgxpool.Pool) {
		std.SetMaxIdleConns(10)
		conns := make([]*sql.Conn, 10)
		for i := range conns {
			var err error
			conns[i], err = std.Conn(ctx)
			require.NoError(t, err)
		}
		kill := func() {
			_, err := pool.Exec(ctx, `
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`)
			require.NoError(t, err)
		}
		kill()
		_, err := mail.Start(ctx, sqldb.Wrap(conns[0]), letter{})
		require.Error(t, err)
		for _, c := range conns {
			_ = c.Close() // back into the pool, broken as they are
		}
		_, err = mail.Start(ctx, sqldb.Wrap(std), letter{})
		require.NoError(t, err)
		kill()
		_, err = mail.Start(ctx, sqldb.Wrap(std), letter{})
		require.NoError(t, err)
	})
}

func TestConn(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, ctx context.Context, std *sql.DB, _ *pgxpool.Pool) {
		conn, err := std.Conn(ctx)
		require.NoError(t, err)
		defer conn.Close()
		run, err := mail.Start(ctx, sqldb.Wrap(conn), letter{})
		require.NoError(t, err)
		_, err = run.Wait(ctx, runtime.WithTimeout(0))
		require.ErrorIs(t, err, runtime.ErrTimeout)
	})
}

// With pgx's driver it can be seen that a transaction was begun by hand.
func TestConnInTransaction(t *testing.T) {
	t.Parallel()
	config, err := pgx.ParseConfig(dbtest.URL(t))
	require.NoError(t, err)
	db := stdlib.OpenDB(*config)
	defer db.Close()
	conn, err := db.Conn(t.Context())
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.ExecContext(t.Context(), `BEGIN`)
	require.NoError(t, err)
	_, err = mail.StartSync(t.Context(), sqldb.Wrap(conn), letter{})
	require.ErrorIs(t, err, runtime.ErrWaitInTx)
	_, err = conn.ExecContext(t.Context(), `ROLLBACK`)
	require.NoError(t, err)
}

// As a runtime.DB it does what pgx does.
func TestDB(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, ctx context.Context, std *sql.DB, _ *pgxpool.Pool) {
		db := sqldb.Wrap(std)
		_, err := db.Exec(ctx, `CREATE TABLE t AS SELECT generate_series(1, 3) AS n`)
		require.NoError(t, err)
		done, err := db.Exec(ctx, `UPDATE t SET n = n + 1 WHERE n < 3`)
		require.NoError(t, err)
		require.EqualValues(t, 2, done.RowsAffected())

		var n int
		var pause *string
		require.NoError(t, db.QueryRow(ctx, `SELECT n, $1::interval::text, 'left out' FROM t ORDER BY n`, 90*time.Second).Scan(&n, &pause, nil))
		require.Equal(t, 2, n)
		require.Equal(t, "00:01:30", *pause)
		require.ErrorIs(t, db.QueryRow(ctx, `SELECT n FROM t WHERE n = 7`).Scan(&n), pgx.ErrNoRows)
		require.Error(t, db.QueryRow(ctx, `SELECT nothing`).Scan(&n))
		require.Error(t, db.QueryRow(ctx, `SELECT 1/(n-2) FROM t ORDER BY n`).Scan(&n))
		require.Error(t, db.QueryRow(ctx, `SELECT 'x'`).Scan(&n))

		rows, err := db.Query(ctx, `SELECT n FROM t ORDER BY n`)
		require.NoError(t, err)
		all, err := pgx.CollectRows(rows, pgx.RowTo[int])
		require.NoError(t, err)
		require.Equal(t, []int{2, 3, 3}, all)
		require.EqualValues(t, 3, rows.CommandTag().RowsAffected())

		rows, err = db.Query(ctx, `SELECT n AS num, $1::text[] IS NULL AS none FROM t ORDER BY n LIMIT 1`, []string(nil))
		require.NoError(t, err)
		maps, err := pgx.CollectRows(rows, pgx.RowToMap)
		require.NoError(t, err)
		require.Equal(t, []map[string]any{{"num": int64(2), "none": true}}, maps)

		rows, err = db.Query(ctx, `SELECT e FROM unnest($1::text[]) e`, []string{"", `"`, `\`, "a,b", "{NULL}", "NULL", " ", "é\n"})
		require.NoError(t, err)
		elements, err := pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(t, err)
		require.Equal(t, []string{"", `"`, `\`, "a,b", "{NULL}", "NULL", " ", "é\n"}, elements)

		rows, err = db.Query(ctx, `SELECT 1/(3-n) FROM t ORDER BY n`)
		if err == nil {
			_, err = pgx.CollectRows(rows, pgx.RowTo[int])
		}
		require.Error(t, err)
		_, err = db.Exec(ctx, `SELECT nothing`)
		require.Error(t, err)
	})
}

// inUTC converts times to UTC for comparison: drivers return times in zones of their own.
func inUTC(t *testing.T, v any) any {
	t.Helper()
	switch v := v.(type) {
	case time.Time:
		return v.UTC().String()
	case string:
		return v
	}
	return asJSON(t, v)
}

var instant = regexp.MustCompile(`"\d{4}-\d\d-\d\dT[^"]*"`)

func asJSON(t *testing.T, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	require.NoError(t, err)
	return instant.ReplaceAllStringFunc(string(raw), func(s string) string {
		at, err := time.Parse(`"`+time.RFC3339Nano+`"`, s)
		require.NoError(t, err)
		return at.UTC().Format(time.RFC3339Nano)
	})
}

// Where there is pgflow without the engine, a *sql.Tx finds that out before its
// first call, which would end it.
func TestWithoutTheEngine(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	pool, _ := dbtest.Upstream(t)
	std := stdlib.OpenDB(*pool.Config().ConnConfig)
	defer std.Close()
	_, err := mail.Upsert(ctx, sqldb.Wrap(std))
	require.NoError(t, err)
	tx, err := std.BeginTx(ctx, nil)
	require.NoError(t, err)
	db := sqldb.Wrap(tx)
	run, err := mail.Start(ctx, db, letter{To: "Ada"}, runtime.WithIdempotencyKey("k"))
	require.NoError(t, err)
	require.ErrorIs(t, runtime.CancelRun(ctx, db, run.ID(), ""), runtime.ErrNeedsEngine)
	require.NoError(t, tx.Commit())
	info, err := runtime.GetRun(ctx, sqldb.Wrap(std), run.ID())
	require.NoError(t, err)
	require.Equal(t, runtime.RunRunning, info.Status)
}
