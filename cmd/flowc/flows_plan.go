package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/flowc-dev/flowc/gen"
	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// planWords describes what an upsert would do.
var planWords = map[runtime.UpsertStatus]string{
	runtime.UpsertCompiled:       "create",
	runtime.UpsertVerified:       "up to date",
	runtime.UpsertOptionsUpdated: "change options",
	runtime.UpsertMismatch:       "refuse: it exists with other steps",
}

func newFlowsPlan() *cobra.Command {
	var buildTags string
	cmd := &cobra.Command{
		Use:   "plan [packages | file.json | -]...",
		Short: "Show what upsert would do, and do nothing",
		Long: `Plan compares flows with those in the database and shows what flows upsert would do.
It also says which values of runs in flight the types of this program would not read,
since a field was renamed or has another type.
The exit status is 0 if nothing would change, 2 if something would.`,
		Example: "  flowc flows plan ./... || echo there is something to deploy",
	}
	asJSON := asJSON(cmd)
	tagsVar(cmd, &buildTags)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		flows, err := readFlows(cmd, args, buildTags)
		if err != nil {
			return err
		}
		return withShards(func(cmd *cobra.Command, _ []string, db *database) error {
			plan, err := planFlows(cmd, db, flows)
			if err != nil {
				return err
			}
			if *asJSON {
				err = printJSON(cmd.OutOrStdout(), plan)
			} else {
				err = printPlan(cmd.OutOrStdout(), flows, plan)
			}
			for _, flow := range plan {
				if err == nil && (flow.Status != runtime.UpsertVerified || len(flow.LostForms) > 0) {
					return &exitError{status: exitFound}
				}
			}
			return err
		})(cmd, args)
	}
	return cmd
}

func planFlows(cmd *cobra.Command, db *database, flows []gen.Declaration) ([]upsertedFlow, error) {
	p := startProgress(cmd.ErrOrStderr(), "comparing")
	defer p.done()
	plan := []upsertedFlow{}
	for i, f := range flows {
		p.set("%d of %d", i, len(flows))
		for _, s := range db.inMap() {
			if s.err != nil {
				return nil, s.fault(s.err)
			}
			one, err := planFlow(cmd.Context(), s.pool, f.Definition)
			if err != nil {
				return nil, s.fault(err)
			}
			one.Shard = s.name
			plan = append(plan, one)
		}
	}
	return plan, nil
}

// planFlow does what upsert would do in a transaction that it rolls back, so the plan
// cannot differ from what an upsert does.
func planFlow(ctx context.Context, db *pgxpool.Pool, def spec.Flow) (upsertedFlow, error) {
	one := upsertedFlow{Slug: def.Slug}
	tx, err := db.Begin(ctx)
	if err != nil {
		return one, fmt.Errorf("flowc: %w", err)
	}
	defer tx.Rollback(ctx)
	stored, err := ops.GetDefinition(ctx, tx, def.Slug)
	if err != nil && !errors.Is(err, runtime.ErrFlowNotFound) {
		return one, err
	}
	result, err := runtime.UpsertFlow(ctx, tx, def)
	var mismatch *runtime.MismatchError
	if err != nil && !errors.As(err, &mismatch) {
		return one, err
	}
	one.Status, one.Differences = result.Status, result.Differences
	one.LostForms = spec.CompareForms(stored.Forms, def.Forms)
	if result.Status == runtime.UpsertOptionsUpdated {
		changed, err := ops.GetDefinition(ctx, tx, def.Slug)
		if err != nil {
			return one, err
		}
		one.Differences = differences(stored, changed)
	}
	if shape := differences(stored, def); mismatch != nil && len(shape) > 0 {
		one.Differences = shape // in the words of declarations
	}
	if err := tx.Rollback(ctx); err != nil && !errors.Is(err, pgx.ErrTxClosed) {
		return one, fmt.Errorf("flowc: %w", err)
	}
	return one, nil
}

// differences lists what differs between two definitions, with the old and the new value.
func differences(from, to spec.Flow) (list []string) {
	for _, d := range spec.Compare(from, to) {
		list = append(list, d.String())
	}
	return list
}

func printPlan(w io.Writer, flows []gen.Declaration, plan []upsertedFlow) error {
	t := table{header: []string{"FLOW", shardColumn, "PLAN"}}
	for _, p := range plan {
		what := planWords[p.Status]
		switch {
		case len(p.LostForms) == 0:
		case p.Status == runtime.UpsertVerified:
			what = "read less: parts of the data of runs in flight are lost"
		default:
			what += "; read less: parts of the data of runs in flight are lost"
		}
		t.add(p.Slug, p.Shard, what)
	}
	if err := t.print(w); err != nil {
		return err
	}
	for _, p := range plan {
		if len(p.Differences)+len(p.LostForms) == 0 {
			continue
		}
		flow := flows[slices.IndexFunc(flows, func(f gen.Declaration) bool { return f.Definition.Slug == p.Slug })]
		fmt.Fprintf(w, "\n%s%s\n", p.Slug, onShard(p.Shard))
		for _, d := range p.Differences {
			fmt.Fprintf(w, "\t%s\n", printable(d))
		}
		for _, d := range p.LostForms {
			fmt.Fprintf(w, "\t%s\n", printable(d))
		}
		switch {
		case flow.Newer != "" && (len(p.LostForms) > 0 || p.Status == runtime.UpsertMismatch):
			fmt.Fprintf(w, "\tfix: leave %s as it was, with a copy of each type that has changed for %s\n", flow.Flow, flow.Newer)
		case p.Status == runtime.UpsertMismatch:
			fmt.Fprintf(w, "\tfix: tag %s version:\"%d\", so that runs of the old steps can finish; or, if nobody needs them, flowc flows upsert --allow-data-loss\n",
				flow.Flow, flow.Version+1)
		case len(p.LostForms) > 0:
			fmt.Fprintf(w, "\tfix: keep the old name with a json tag, or tag %s version:\"%d\"; or ignore it, if no run is in flight\n", flow.Flow, flow.Version+1)
		}
	}
	return nil
}
