package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/flowc-dev/flowc/runtime"
)

// deletedFlow is what was deleted, as JSON.
type deletedFlow struct {
	Slug string `json:"slug"`
	runtime.Deleted
}

func newFlowsDelete() *cobra.Command {
	var withRuns bool
	cmd := &cobra.Command{
		Use:   "delete SLUG...",
		Short: "Remove flows from the database",
		Long: `Delete removes flows from the database: all of them, or none if one cannot be. A
flow that has runs is only removed with --with-runs, which deletes them.`,
		Args:              atLeastOne("the slug of a flow"),
		ValidArgsFunction: flowSlugs,
	}
	asJSON := asJSON(cmd)
	cmd.Flags().BoolVar(&withRuns, "with-runs", false, "delete the runs of the flows too, those that have not ended included")
	cmd.RunE = withDatabase(func(cmd *cobra.Command, args []string, db *pgxpool.Pool) error {
		p := startProgress(cmd.ErrOrStderr(), "deleting")
		deleted, err := deleteFlows(cmd.Context(), db, args, withRuns)
		p.done()
		switch {
		case err != nil:
			return err
		case *asJSON:
			return printJSON(cmd.OutOrStdout(), deleted)
		}
		for _, d := range deleted {
			fmt.Fprintf(cmd.OutOrStdout(), "deleted %s with %s and %s\n", d.Slug, count(d.Steps, "step", "steps"), count(d.Runs, "run", "runs"))
		}
		return nil
	})
	return cmd
}

// deleteFlows deletes first and checks then, in one transaction, so that no run can
// start in between.
func deleteFlows(ctx context.Context, db *pgxpool.Pool, slugs []string, withRuns bool) ([]deletedFlow, error) {
	var all []deletedFlow
	err := pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		var faults []error
		for _, slug := range slugs {
			d, err := runtime.DeleteFlow(ctx, tx, slug, runtime.AllowDataLoss())
			switch {
			case err != nil:
				return err
			case !d.Existed:
				faults = append(faults, noSuchFlow(ctx, db, slug, &runtime.FlowNotFoundError{Flow: slug}))
			case d.Runs > 0 && !withRuns:
				faults = append(faults, fmt.Errorf("flowc: flow %s has %s, so nothing is deleted\n\tfix: look at them with `flowc runs list --flow %s`; --with-runs deletes them too",
					slug, count(d.Runs, "run", "runs"), slug))
			}
			all = append(all, deletedFlow{slug, d})
		}
		return errors.Join(faults...)
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}
