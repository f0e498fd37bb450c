// Approval pays an expense claim once somebody has approved it. It starts a claim, shows it
// on the dashboard that it serves, with a form for the answer, and goes on as soon as somebody
// sends it. If the manager lets the time pass, it asks the manager's manager. With -demo it
// answers itself.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flowc-dev/flowc/examples/approval/expenses"
	"github.com/flowc-dev/flowc/examples/approval/expenses/payclaim"
	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/dashboard"
	"github.com/flowc-dev/flowc/runtime/devdb"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/flowc-dev/flowc/runtime/worker"
)

// Options are those of the command line.
type options struct {
	addr     string        // of the dashboard
	patience time.Duration // how long each of the two waits
	as       string        // who answers there; a program for many people asks its login
	demo     bool          // the program answers itself
}

func main() {
	var o options
	flag.StringVar(&o.addr, "addr", "127.0.0.1:8092", "address of the dashboard")
	flag.DurationVar(&o.patience, "patience", 2*time.Minute, "how long the manager, and then the manager's manager, may take")
	flag.StringVar(&o.as, "as", "Grace", "who answers on the dashboard")
	flag.BoolVar(&o.demo, "demo", false, "let the manager's manager answer, after the manager has not")
	flag.Parse()
	if o.demo {
		o.patience = time.Second
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The database of DATABASE_URL, or a temporary one.
	pool, closeDB, err := devdb.Open(ctx, devdb.Config{})
	if err == nil {
		err = run(ctx, os.Stdout, pool, o)
		closeDB()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "approval:", err)
		os.Exit(1)
	}
}

// run starts a claim and waits until it is settled.
func run(ctx context.Context, out io.Writer, pool *pgxpool.Pool, o options) (err error) {
	if _, err := runtime.UpsertFlow(ctx, pool, impatient(payclaim.Definition(), o.patience)); err != nil {
		return err
	}
	quiet := slog.New(slog.DiscardHandler)
	w, err := worker.New(pool, worker.Config{Concurrency: 4, Logger: quiet}, payclaim.Serve(handlers{}))
	if err != nil {
		return err
	}
	stopWorker := w.Start(ctx)
	defer func() { err = errors.Join(err, stopWorker()) }()
	url, closeServer, err := serve(pool, o, quiet)
	if err != nil {
		return err
	}
	defer closeServer()

	claim, err := payclaim.StartPayClaim(ctx, pool, expenses.Claim{Employee: "Ada", Purpose: "train to the customer", Cents: 12_380})
	if err != nil {
		return err
	}
	if o.demo {
		fmt.Fprintf(out, "%s claims 123.80 € from a manager who does not answer\n", "Ada")
		if err := answerAsBoss(ctx, out, pool, claim.ID()); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(out, instructions, url, claim.ID(), o.patience, pool.Config().ConnString(), claim.ID())
	}

	settled, err := claim.Wait(ctx, runtime.WithTimeout(2*o.patience+time.Minute))
	var failed *runtime.RunFailedError
	switch {
	case errors.As(err, &failed):
		fmt.Fprintf(out, "it is not paid: %s: %s\n", failed.Step, failed.Message)
	case err != nil:
		return err
	case settled.Paid:
		fmt.Fprintf(out, "%s has approved it: %d.%02d € are paid by the budget for %s\n", settled.Decided, settled.Cents/100, settled.Cents%100, settled.Budget)
	default:
		fmt.Fprintf(out, "%s has refused it: %s\n", settled.Decided, settled.Comment)
	}
	return nil
}

const instructions = `Ada claims 123.80 €:

    %sruns/%s

The page has a form for her manager, who has %s to answer; then the manager's manager is
asked, and the step is escalate. From a shell:

    DATABASE_URL='%s' \
      flowc runs signal %s approve '{"approved": true, "budget": "travel"}' --as Grace

`

// impatient returns the flow with other timeouts of its waits. They are options, which
// can be changed in place.
func impatient(def spec.Flow, patience time.Duration) spec.Flow {
	for i, s := range def.Steps {
		if s.Type == spec.TypeWait {
			def.Steps[i].Timeout = patience
		}
	}
	return def
}

// answerAsBoss approves a claim when the manager has let the time pass.
func answerAsBoss(ctx context.Context, out io.Writer, pool *pgxpool.Pool, claim string) error {
	for {
		waiting, err := payclaim.WaitingPayClaimEscalate(ctx, pool, runtime.WaitingFilter{RunID: claim})
		if err != nil {
			return err
		}
		if len(waiting) > 0 {
			asked := waiting[0].Input
			fmt.Fprintf(out, "%s is asked instead of %s: %s, for %s\n", asked.Check.Boss, asked.Check.Manager, asked.Input.Purpose, asked.Input.Employee)
			_, err := payclaim.SignalPayClaimEscalate(ctx, pool, claim, expenses.Decision{Approved: true, Budget: expenses.Travel},
				runtime.WithSender(asked.Check.Boss))
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// serve serves the dashboard until closeServer is called.
func serve(pool *pgxpool.Pool, o options, logger *slog.Logger) (url string, closeServer func(), err error) {
	pages, err := dashboard.New(pool, dashboard.Config{
		Name: "expenses", Definitions: []spec.Flow{payclaim.Definition()}, Logger: logger,
		User: func(*http.Request) string { return o.as },
	})
	if err != nil {
		return "", nil, err
	}
	listener, err := net.Listen("tcp", o.addr)
	if err != nil {
		return "", nil, err
	}
	server := &http.Server{Handler: pages, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(listener) }()
	return "http://" + listener.Addr().String() + "/", func() { _ = server.Close() }, nil
}
