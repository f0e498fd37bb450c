// Polyglot publishes articles with two programs: a flow in this program starts a flow in a
// Node process, waits for its result, and continues. The Node process uses the published
// client of pgflow and knows nothing of flowc; both use the same tables. Needs node and npm.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flowc-dev/flowc/examples/polyglot/press"
	"github.com/flowc-dev/flowc/examples/polyglot/press/publish"
	"github.com/flowc-dev/flowc/examples/polyglot/press/typeset"
	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/devdb"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/worker"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "polyglot:", err)
		os.Exit(1)
	}
}

var articles = []press.Article{
	{Title: "Of flows", Text: "A flow is a graph.\n\n# Steps\n\nSteps take what others give.\n\n# Workers\n\nAny number share the work & the waiting."},
	{Text: "This one lost its title."},
}

func run(ctx context.Context, out io.Writer) (err error) {
	// The database of DATABASE_URL, or a temporary one.
	pool, closeDB, err := devdb.Open(ctx, devdb.Config{})
	if err != nil {
		return err
	}
	defer closeDB()
	if _, err := publish.UpsertPublish(ctx, pool); err != nil {
		return err
	}
	if _, err := typeset.UpsertTypeset(ctx, pool); err != nil {
		return err
	}

	stopTypesetter, err := runTypesetter(ctx, pool)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopTypesetter()) }()
	w, err := worker.New(pool, worker.Config{Logger: slog.New(slog.DiscardHandler)}, publish.Serve(handlers{pool}))
	if err != nil {
		return err
	}
	stopWorker := w.Start(ctx)
	defer func() { err = errors.Join(err, stopWorker()) }()

	for _, article := range articles {
		run, err := publish.StartPublish(ctx, pool, article)
		if err != nil {
			return err
		}
		issue, err := run.Wait(ctx)
		var failed *runtime.RunFailedError
		switch {
		case errors.As(err, &failed):
			fmt.Fprintf(out, "not published: %s\n", failed.Message)
		case err != nil:
			return err
		default:
			fmt.Fprintf(out, "published %q: %d bytes, %d words, about %s\n", article.Title, issue.Bytes, issue.Page.Words, strings.Join(issue.Page.Headings, " and "))
		}
	}
	return nil
}

// handlers runs the steps of Publish.
type handlers struct{ db *pgxpool.Pool }

// Typeset starts a run of the other program's flow, which typesets the article.
func (h handlers) Typeset(ctx context.Context, in press.Article) (press.Page, error) {
	// A second attempt at this step finds the run that the first one started.
	task, _ := handler.TaskFromContext(ctx)
	run, err := typeset.StartTypeset(ctx, h.db, in, runtime.WithIdempotencyKey(task.RunID))
	if err != nil {
		return press.Page{}, err
	}
	page, err := run.Wait(ctx)
	var failed *runtime.RunFailedError
	if errors.As(err, &failed) {
		return press.Page{}, handler.Permanent(fmt.Errorf("%s: %s", failed.Step, failed.Message))
	}
	return page, err
}

func (h handlers) Print(ctx context.Context, in press.Page) (press.Issue, error) {
	return press.Issue{Bytes: len(in.HTML), Page: in}, nil
}
