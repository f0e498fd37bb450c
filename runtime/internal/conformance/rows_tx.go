package conformance

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// OfTransactions are the rows that an engine declines where steps do not commit with their
// effects.
var OfTransactions = []string{"commit with the effects"}

// transactions are rows of steps that commit with what their handlers write. What they
// write here is runs.
func transactions(r *rows) {
	r.open(
		serve(spec.Flow{Slug: "letter", Steps: []spec.Step{{Slug: "send"}}}, map[string]function{"send": give(`1`)}),
		serve(spec.Flow{Slug: "effects", BaseDelay: spec.Set(spec.DefaultBaseDelay * 0), Steps: []spec.Step{{Slug: "work", Tx: spec.TxPgx}}}, map[string]function{
			"work": func(ctx context.Context, v handler.Values) (any, error) {
				run, err := runtime.StartFlow(ctx, v.Tx.(pgx.Tx), "letter", struct{}{})
				if err != nil {
					return nil, err
				}
				if task, _ := handler.TaskFromContext(ctx); task.Attempt == 1 {
					return nil, errors.New("not yet")
				}
				return run.ID(), nil
			}}, handler.Limit(2)),
	)
	r.row("commit with the effects", func(c *check) {
		info := c.run("effects", `{}`)
		c.Equal(runtime.RunCompleted, info.Status, info.Error)
		c.Equal(2, info.States[0].Attempts)
		runs, err := ops.ListRuns(c.ctx, c.db, ops.RunFilter{Flows: []string{"letter"}})
		c.ok(err)
		c.Len(runs, 1, "what the first attempt started was rolled back")
		c.JSONEq(`{"work": "`+runs[0].ID+`"}`, orNull(info.Output))
	})
}
