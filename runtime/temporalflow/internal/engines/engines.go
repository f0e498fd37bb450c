// Package engines has the engine of package temporalflow for the conformance suite.
package engines

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"go.temporal.io/sdk/client"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/internal/conformance"
	"github.com/flowc-dev/flowc/runtime/temporalflow"
	"github.com/flowc-dev/flowc/runtime/temporalflow/internal/declines"
)

// Temporal returns the engine of a server: connect returns a client of it, and the name of
// the client's namespace, where topics of the suite must not meet.
func Temporal(connect func(t *testing.T) (client.Client, string)) conformance.Engine {
	return conformance.Engine{
		Open: func(t *testing.T, services ...handler.Service) (runtime.DB, error) {
			c, namespace := connect(t)
			db := temporalflow.New(c, namespace)
			if err := runtime.UpsertServed(t.Context(), db, services...); err != nil {
				return nil, err
			}
			w, err := temporalflow.NewWorker(db, temporalflow.Config{Grace: time.Second, Logger: slog.New(slog.DiscardHandler)}, services...)
			if err != nil {
				return nil, err
			}
			stop := w.Start(context.Background())
			t.Cleanup(func() {
				if err := stop(); err != nil {
					t.Error(fmt.Errorf("stopping the worker: %w", err))
				}
			})
			return db, nil
		},
		Declines: declines.Temporal,
	}
}
