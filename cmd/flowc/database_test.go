package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/devdb"
	"github.com/flowc-dev/flowc/runtime/engine"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/flowc-dev/flowc/runtime/shards"
	"github.com/flowc-dev/flowc/runtime/worker"
)

// testServer is one PostgreSQL for all scripts, each of which has databases of its
// own. It is as durable as one that people use, since doctor looks at that.
var testServer = sync.OnceValues(func() (*devdb.DB, error) {
	return devdb.Start(context.Background(), devdb.Config{Settings: map[string]string{
		"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "autovacuum": "on",
	}})
})

var serverUsed, databases atomic.Int64

// withServer stops the server when the tests have run.
type withServer struct{ *testing.M }

func (w withServer) Run() int {
	code := w.M.Run()
	if serverUsed.Load() > 0 {
		if db, err := testServer(); err == nil {
			_ = db.Close()
		}
	}
	return code
}

// databaseCommands are what scripts can do besides running flowc.
var databaseCommands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	"database": newDatabase,
	"shards":   newShardsOf,
	"sql":      execSQL,
	"worker":   startWorker,
	"exits":    exits,
}

// exits runs a program, which has to end with the status that comes first.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	var exit *exec.ExitError
	err := ts.Exec(args[1], args[2:]...)
	if !errors.As(err, &exit) || fmt.Sprint(exit.ExitCode()) != args[0] {
		ts.Fatalf("%s ended with %v and not with status %s", args[1], err, args[0])
	}
}

// newDatabase sets DATABASE_URL to a new database, with the engine unless the
// argument is empty.
func newDatabase(ts *testscript.TestScript, neg bool, args []string) {
	url, err := createDatabase(context.Background(), len(args) == 0)
	ts.Check(err)
	ts.Setenv("DATABASE_URL", url)
}

// newShardsOf sets FLOWC_SHARDS to new databases with the engine, one of each name, and
// URL_NAME to the address of each.
func newShardsOf(ts *testscript.TestScript, neg bool, args []string) {
	var pairs []string
	for _, name := range args {
		url, err := createDatabase(context.Background(), true)
		ts.Check(err)
		ts.Setenv("URL_"+name, url)
		pairs = append(pairs, name+"="+url)
	}
	ts.Setenv("DATABASE_URL", "")
	ts.Setenv("FLOWC_SHARDS", strings.Join(pairs, " "))
}

// templated creates the database with the engine of which others are copies.
var templated = sync.OnceValue(func() error {
	db, err := testServer()
	if err != nil {
		return err
	}
	ctx := context.Background()
	url, err := copyDatabase(ctx, db, engineTemplate, "template1")
	if err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	return errors.Join(engine.Migrate(ctx, conn), conn.Close(ctx))
})

const engineTemplate = "script_template"

// createDatabase creates a database on the server, with or without the engine.
func createDatabase(ctx context.Context, withEngine bool) (url string, err error) {
	serverUsed.Add(1)
	db, err := testServer()
	if err != nil {
		return "", err
	}
	template := "template1"
	if withEngine {
		if err := templated(); err != nil {
			return "", err
		}
		template = engineTemplate
	}
	return copyDatabase(ctx, db, fmt.Sprintf("script_%d", databases.Add(1)), template)
}

// copyDatabase creates a database that is as another.
func copyDatabase(ctx context.Context, db *devdb.DB, name, template string) (url string, err error) {
	admin, err := pgx.Connect(ctx, db.URL())
	if err != nil {
		return "", err
	}
	defer admin.Close(ctx)
	if _, err = admin.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize()+" TEMPLATE "+pgx.Identifier{template}.Sanitize()); err != nil {
		return "", err
	}
	url = strings.Replace(db.URL(), "/postgres?", "/"+name+"?", 1)
	if url == db.URL() {
		return "", fmt.Errorf("the URL of the server has another form: %s", url)
	}
	return url, nil
}

// execSQL executes a statement in the database of the script.
func execSQL(ts *testscript.TestScript, neg bool, args []string) {
	conn, err := pgx.Connect(context.Background(), ts.Getenv("DATABASE_URL"))
	ts.Check(err)
	defer conn.Close(context.Background())
	_, err = conn.Exec(context.Background(), strings.Join(args, " "))
	ts.Check(err)
}

// A runner is a worker, of one database or of all shards.
type runner interface{ Run(context.Context) error }

// startWorker works flows of the script's database, or of all its shards, until the script
// ends. A step gives its own name, list gives three numbers, and boom fails.
func startWorker(ts *testscript.TestScript, neg bool, args []string) {
	ctx, stop := context.WithCancel(context.Background())
	pools := map[string]*pgxpool.Pool{}
	open := func(name, url string) {
		pool, err := pgxpool.New(ctx, url)
		ts.Check(err)
		pools[name] = pool
	}
	var db runtime.DB
	if list := ts.Getenv(shardsVariable); list != "" {
		for pair := range strings.FieldsSeq(list) {
			name, url, _ := strings.Cut(pair, "=")
			open(name, url)
		}
		united, err := shards.Open(ctx, pools)
		ts.Check(err)
		db = united
	} else {
		open("", ts.Getenv(urlVariable))
		db = pools[""]
	}
	var services []handler.Service
	for _, slug := range args {
		def, err := ops.GetDefinition(ctx, db, slug)
		ts.Check(err)
		var handlers []handler.Handler
		for _, step := range def.Steps {
			handlers = append(handlers, handler.HandleValues(step.Slug, func(context.Context, handler.Values) (any, error) {
				switch step.Slug {
				case "boom":
					return nil, handler.Permanent(errors.New("the card was declined"))
				case "list":
					return []int{1, 2, 3}, nil
				}
				return json.RawMessage(`"` + step.Slug + `"`), nil
			}))
		}
		services = append(services, handler.Serve(def, handlers))
	}
	config := worker.Config{Name: "script", Concurrency: 4, Logger: slog.New(slog.DiscardHandler)}
	var w runner
	var err error
	if united, ok := db.(*shards.DB); ok {
		w, err = shards.NewWorker(united, config, services...)
	} else {
		w, err = worker.New(pools[""], config, services...)
	}
	ts.Check(err)
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	ts.Defer(func() {
		stop()
		if err := <-done; !errors.Is(err, shards.ErrNoPool) { // the script may have added a shard
			ts.Check(err)
		}
		for _, pool := range pools {
			pool.Close()
		}
	})
}

// A first host that takes connections and never answers does not keep the command from
// the second.
func TestFirstHostHangs(t *testing.T) {
	hanging, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer hanging.Close()
	url, err := createDatabase(t.Context(), false)
	require.NoError(t, err)
	second, err := pgx.ParseConfig(url)
	require.NoError(t, err)
	t.Setenv("DATABASE_URL", fmt.Sprintf("host=127.0.0.1,%s port=%d,%d user=%s dbname=%s target_session_attrs=read-write",
		second.Host, hanging.Addr().(*net.TCPAddr).Port, second.Port, second.User, second.Database))
	db, err := connect(t.Context())
	require.NoError(t, err)
	db.Close()
}

// No password is shown, however an address that cannot be read is written.
func TestPasswordsAreNotShown(t *testing.T) {
	for _, address := range []string{
		"host=127.0.0.1 port=1 user=me password = s3cret word dbname=x", "password=s3cret word host=127.0.0.1 port=x", "host=127.0.0.1 port=1 password = s3cret nonsense",
		"password = 's3cret host=x", "postgres://me:a@s3cret/x@127.0.0.1:1/db", "postgres://me:a/s3cret@127.0.0.1:1/db", "postgres://me:1/s3cret@127.0.0.1:1/db",
		"postgres://me:1#s3cret@127.0.0.1:1/db", "postgres://me:a?s3cret@127.0.0.1:1/db", "postgres://me:%s3cret@127.0.0.1:1/db", "postgres://me:s3cret@127.0.0.1:port/db",
		"postgres://me:s3cret 1@127.0.0.1:1/db", "postgres://me:a@s3cret@127.0.0.1:1/db", "postgresql://me:1/s3cret@127.0.0.1:1/db", "postgres://127.0.0.1:1/db?password=s3cret&port=x",
	} {
		t.Setenv("DATABASE_URL", address)
		var out, errs strings.Builder
		require.NotZero(t, run([]string{"runs", "list"}, strings.NewReader(""), &out, &errs), address)
		require.NotContains(t, out.String()+errs.String(), "s3cret", address)
		require.Contains(t, errs.String(), "DATABASE_URL", address)
	}
	t.Setenv("DATABASE_URL", "")
	for _, list := range []string{
		"a=postgres://me:a@s3cret/x@127.0.0.1:1/db", "postgres://me:s3cret=x@127.0.0.1:1/db", "a=postgres://me:1#s3cret@127.0.0.1:1/db", "a=postgres://me:%s3cret@127.0.0.1:1/db",
		"a=postgres://me:x s3cret@127.0.0.1:1/db", "a=host=127.0.0.1 password=s3cret", "a=postgres://me:a?s3cret@127.0.0.1:1/db", "s3cret",
	} {
		t.Setenv("FLOWC_SHARDS", list)
		var out, errs strings.Builder
		require.NotZero(t, run([]string{"runs", "list"}, strings.NewReader(""), &out, &errs), list)
		require.NotContains(t, out.String()+errs.String(), "s3cret", list)
	}
}
