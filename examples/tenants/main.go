// Tenants is a service whose customers decide themselves what happens to the forms that they
// receive: their flows are data, and are defined at run time. The program upserts each
// tenant's flow, runs all of them, and starts a run for every form.
package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/devdb"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/flowc-dev/flowc/runtime/worker"
)

//go:embed tenants.json
var tenantsJSON []byte

// A tenant has steps for the forms that it receives.
type tenant struct {
	Name  string            `json:"name"`
	Steps []step            `json:"steps"`
	Forms []json.RawMessage `json:"forms"`
}

// A step is an action with its settings, after other steps.
type step struct {
	Name   string          `json:"name"`
	After  []string        `json:"after"`
	If     json.RawMessage `json:"if"`
	Action string          `json:"action"`
	Fields []string        `json:"fields"`
	Text   string          `json:"text"`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := start(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "tenants:", err)
		os.Exit(1)
	}
}

func start(ctx context.Context) error {
	var tenants []tenant
	if err := json.Unmarshal(tenantsJSON, &tenants); err != nil {
		return err
	}
	// The database of DATABASE_URL, or a temporary one.
	pool, closeDB, err := devdb.Open(ctx, devdb.Config{})
	if err != nil {
		return err
	}
	defer closeDB()
	return run(ctx, os.Stdout, pool, tenants)
}

func run(ctx context.Context, out io.Writer, pool *pgxpool.Pool, tenants []tenant) (err error) {
	var services []handler.Service
	slugs := make([]string, len(tenants))
	for i, t := range tenants {
		service, err := t.service(ctx, pool)
		if err != nil {
			return fmt.Errorf("tenant %s: %w", t.Name, err)
		}
		services = append(services, service)
		slugs[i] = service.Definition().Slug
	}

	// A worker's flows are fixed. For a tenant that comes later, start another
	// worker, in this program or in a new one.
	w, err := worker.New(pool, worker.Config{Logger: slog.New(slog.DiscardHandler)}, services...)
	if err != nil {
		return err
	}
	stopWorker := w.Start(ctx)
	defer func() { err = errors.Join(err, stopWorker()) }()

	for i, t := range tenants {
		for _, form := range t.Forms {
			run, err := runtime.StartFlow(ctx, pool, slugs[i], form)
			if err != nil {
				return err
			}
			output, err := run.Wait(ctx)
			var failed *runtime.RunFailedError
			switch {
			case errors.As(err, &failed):
				fmt.Fprintf(out, "%s: %s: %s\n", slugs[i], failed.Step, failed.Message)
			case err != nil:
				return err
			default:
				fmt.Fprintf(out, "%s: %s\n", slugs[i], output)
			}
		}
	}
	return nil
}

// service upserts the tenant's flow and returns it with the handlers of its steps. Changed
// steps are a new version of the flow: runs of the old one continue as long as a worker
// serves it.
func (t tenant) service(ctx context.Context, db runtime.DB) (handler.Service, error) {
	flow, err := t.flow()
	if err != nil {
		return handler.Service{}, err
	}
	slug := "forms_" + t.Name
	for version := 2; ; version++ {
		_, err := runtime.UpsertFlow(ctx, db, flow.As(slug))
		var mismatch *runtime.MismatchError
		if err == nil {
			break
		}
		if !errors.As(err, &mismatch) {
			return handler.Service{}, err
		}
		slug = fmt.Sprintf("forms_%s_v%d", t.Name, version)
	}
	var handlers []handler.Handler
	for _, s := range t.Steps {
		handlers = append(handlers, handler.HandleValues(s.Name, s.do))
	}
	return handler.Serve(flow.As(slug), handlers), nil
}

// flow returns the tenant's steps as a flow. UpsertFlow checks the graph; the actions are
// checked here.
func (t tenant) flow() (spec.Flow, error) {
	var flow spec.Flow
	for _, s := range t.Steps {
		if _, known := actions[s.Action]; !known {
			return flow, fmt.Errorf("step %s: there is no action %q", s.Name, s.Action)
		}
		flow.Steps = append(flow.Steps, spec.Step{Slug: s.Name, Deps: s.After, If: s.If})
	}
	return flow, nil
}
