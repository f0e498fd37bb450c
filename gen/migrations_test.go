package gen

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/devdb"
	"github.com/flowc-dev/flowc/runtime/engine"
	clashcontext "github.com/flowc-dev/flowc/testdata/golden/clash/context"
	"github.com/flowc-dev/flowc/testdata/golden/clash/job"
	"github.com/flowc-dev/flowc/testdata/golden/clash/serve"
	"github.com/flowc-dev/flowc/testdata/golden/conditions/decide"
	"github.com/flowc-dev/flowc/testdata/golden/cron/invoice"
	"github.com/flowc-dev/flowc/testdata/golden/cron/report"
	"github.com/flowc-dev/flowc/testdata/golden/cron/tidy"
	"github.com/flowc-dev/flowc/testdata/golden/effects/book"
	closejob "github.com/flowc-dev/flowc/testdata/golden/effects/close"
	"github.com/flowc-dev/flowc/testdata/golden/embeds/weigh"
	"github.com/flowc-dev/flowc/testdata/golden/limits/index"
	"github.com/flowc-dev/flowc/testdata/golden/limits/ingest"
	"github.com/flowc-dev/flowc/testdata/golden/limits/mail"
	"github.com/flowc-dev/flowc/testdata/golden/limits/rebuild"
	"github.com/flowc-dev/flowc/testdata/golden/limits/render"
	"github.com/flowc-dev/flowc/testdata/golden/limits/sort"
	"github.com/flowc-dev/flowc/testdata/golden/none/count"
	"github.com/flowc-dev/flowc/testdata/golden/none/sweep"
	"github.com/flowc-dev/flowc/testdata/golden/none/tick"
	"github.com/flowc-dev/flowc/testdata/golden/options/all"
	"github.com/flowc-dev/flowc/testdata/golden/options/bare"
	"github.com/flowc-dev/flowc/testdata/golden/shop"
	"github.com/flowc-dev/flowc/testdata/golden/shop/processorder"
	"github.com/flowc-dev/flowc/testdata/golden/shop/sendreceipt"
	"github.com/flowc-dev/flowc/testdata/golden/skips/prunejob"
	"github.com/flowc-dev/flowc/testdata/golden/skips/review"
	"github.com/flowc-dev/flowc/testdata/golden/uniques/digest"
	"github.com/flowc-dev/flowc/testdata/golden/uniques/preview"
	"github.com/flowc-dev/flowc/testdata/golden/uniques/purge"
	"github.com/flowc-dev/flowc/testdata/golden/uniques/reindex"
	syncflow "github.com/flowc-dev/flowc/testdata/golden/uniques/sync"
	"github.com/flowc-dev/flowc/testdata/golden/waits/ask"
	"github.com/flowc-dev/flowc/testdata/golden/waits/expense"
	"github.com/flowc-dev/flowc/testdata/golden/waits/gate"
	"github.com/flowc-dev/flowc/testdata/golden/waits/poll"
	"github.com/flowc-dev/flowc/testdata/golden/zoo/zoo"
)

// database returns a PostgreSQL of the test's own, with the engine.
func database(t *testing.T) *pgxpool.Pool {
	t.Helper()
	ctx := t.Context()
	db, err := devdb.Start(ctx, devdb.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	pool, err := pgxpool.New(ctx, db.URL())
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	require.NoError(t, engine.Migrate(ctx, pool))
	return pool
}

// migration runs a golden file of SQL.
func migration(t *testing.T, pool *pgxpool.Pool, name string) error {
	t.Helper()
	sql, err := os.ReadFile(filepath.Join(golden, "sql", name))
	require.NoError(t, err)
	_, err = pool.Exec(context.Background(), string(sql))
	return err
}

// TestMigrations puts every golden flow into a database with its SQL, and has
// its generated package look at what is there.
func TestMigrations(t *testing.T) {
	t.Parallel()
	pool := database(t)
	type upsert = func(context.Context, runtime.DB, ...runtime.UpsertOption) (runtime.UpsertResult, error)
	flows := map[string]upsert{
		clashcontext.Slug: clashcontext.UpsertContext,
		job.Slug:          job.UpsertJob,
		serve.Slug:        serve.UpsertFlow,
		invoice.Slug:      invoice.UpsertInvoice,
		report.Slug:       report.UpsertReport,
		tidy.Slug:         tidy.UpsertTidy,
		count.Slug:        count.UpsertCount,
		index.Slug:        index.UpsertIndex,
		mail.Slug:         mail.UpsertMail,
		render.Slug:       render.UpsertRender,
		sweep.Slug:        sweep.UpsertSweep,
		tick.Slug:         tick.UpsertTick,
		all.Slug:          all.UpsertEverything,
		bare.Slug:         bare.UpsertBare,
		processorder.Slug: processorder.UpsertProcessOrder,
		sendreceipt.Slug:  sendreceipt.UpsertSendReceipt,
		prunejob.Slug:     prunejob.UpsertPrune,
		decide.Slug:       decide.UpsertDecide,
		review.Slug:       review.UpsertReview,
		zoo.Slug:          zoo.UpsertZoo,
		weigh.Slug:        weigh.UpsertWeigh,
		expense.Slug:      expense.UpsertExpense,
		gate.Slug:         gate.UpsertGate,
		ask.Slug:          ask.UpsertAsk,
		poll.Slug:         poll.UpsertPoll,
		book.Slug:         book.UpsertBook,
		closejob.Slug:     closejob.UpsertClose,
		digest.Slug:       digest.UpsertDigest,
		preview.Slug:      preview.UpsertPreview,
		purge.Slug:        purge.UpsertPurge,
		reindex.Slug:      reindex.UpsertReindex,
		syncflow.Slug:     syncflow.UpsertSync,
		ingest.Slug:       ingest.UpsertIngest,
		rebuild.Slug:      rebuild.UpsertRebuild,
		sort.Slug:         sort.UpsertSort,
	}
	files, err := filepath.Glob(golden + "/sql/*.up.sql")
	require.NoError(t, err)
	require.Len(t, files, len(flows))
	for slug, upsert := range flows {
		require.NoError(t, migration(t, pool, slug+".up.sql"))
		require.NoError(t, migration(t, pool, slug+".up.sql"))
		result, err := upsert(t.Context(), pool)
		require.NoError(t, err)
		require.Equal(t, runtime.UpsertVerified, result.Status, slug)
	}
	for slug := range flows {
		require.NoError(t, migration(t, pool, slug+".down.sql"))
		require.NoError(t, migration(t, pool, slug+".down.sql"))
		exists, err := runtime.FlowExists(t.Context(), pool, slug)
		require.NoError(t, err)
		require.False(t, exists, slug)
	}
	for slug, upsert := range flows {
		result, err := upsert(t.Context(), pool)
		require.NoError(t, err)
		require.Equal(t, runtime.UpsertCompiled, result.Status, slug)
	}
}

// TestMigrationKeepsRuns checks that no migration destroys anything.
func TestMigrationKeepsRuns(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	pool := database(t)

	require.NoError(t, migration(t, pool, "process_order.up.sql"))
	run, err := processorder.StartProcessOrder(ctx, pool, shop.Order{ID: "o1"})
	require.NoError(t, err)
	require.ErrorContains(t, migration(t, pool, "process_order.down.sql"), "the flow process_order has runs")
	again, err := processorder.GetProcessOrder(ctx, pool, run.ID())
	require.NoError(t, err)
	require.Equal(t, run.ID(), again.ID())

	// Another shape under the slug is left as it is.
	options := processorder.Definition()
	options.Steps, options.Conditions, options.Result = options.Steps[:2], nil, nil
	_, err = runtime.UpsertFlow(ctx, pool, options, runtime.AllowDataLoss())
	require.NoError(t, err)
	err = migration(t, pool, "process_order.up.sql")
	require.ErrorContains(t, err, "the flow process_order exists with other steps: ")
	require.True(t, strings.Contains(err.Error(), "Step count differs"), err)

	// Other options are brought up to date.
	_, err = processorder.UpsertProcessOrder(ctx, pool, runtime.AllowDataLoss())
	require.NoError(t, err)
	options = processorder.Definition()
	options.MaxAttempts = 9
	result, err := runtime.UpsertFlow(ctx, pool, options)
	require.NoError(t, err)
	require.Equal(t, runtime.UpsertOptionsUpdated, result.Status)
	require.NoError(t, migration(t, pool, "process_order.up.sql"))
	result, err = processorder.UpsertProcessOrder(ctx, pool)
	require.NoError(t, err)
	require.Equal(t, runtime.UpsertVerified, result.Status)
}
