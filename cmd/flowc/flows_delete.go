package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
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
	cmd.RunE = withShards(func(cmd *cobra.Command, args []string, db *database) error {
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

// deleteFlows deletes first and checks then, in one transaction of each database, so that no
// run can start in between. Several databases commit one after the other, once all have
// passed the checks.
func deleteFlows(ctx context.Context, db *database, slugs []string, withRuns bool) ([]deletedFlow, error) {
	totals := make([]deletedFlow, len(slugs))
	for i, slug := range slugs {
		totals[i].Slug = slug
	}
	var txs []pgx.Tx
	defer func() {
		for _, tx := range txs {
			_ = tx.Rollback(ctx) // does nothing once it is committed
		}
	}()
	servers := db.inMap()
	for _, s := range servers {
		var tx pgx.Tx
		err := s.err
		if err == nil {
			tx, err = s.pool.Begin(ctx)
		}
		if err != nil {
			return nil, fmt.Errorf("%w\n\tnothing is deleted", s.fault(fmt.Errorf("flowc: %w", err)))
		}
		txs = append(txs, tx)
		for i, slug := range slugs {
			d, err := runtime.DeleteFlow(ctx, tx, slug, runtime.AllowDataLoss())
			if err != nil {
				return nil, s.fault(err)
			}
			totals[i].Existed = totals[i].Existed || d.Existed
			totals[i].Steps = max(totals[i].Steps, d.Steps)
			totals[i].Runs += d.Runs
		}
	}
	var faults []error
	for _, d := range totals {
		switch {
		case !d.Existed:
			faults = append(faults, noSuchFlow(ctx, db.DB, d.Slug, &runtime.FlowNotFoundError{Flow: d.Slug}))
		case d.Runs > 0 && !withRuns:
			faults = append(faults, fmt.Errorf("flowc: flow %s has %s, so nothing is deleted\n\tfix: look at them with `flowc runs list --flow %s`; --with-runs deletes them too",
				d.Slug, count(d.Runs, "run", "runs"), d.Slug))
		}
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	for i, tx := range txs {
		if err := tx.Commit(ctx); err != nil {
			return nil, servers[i].fault(fmt.Errorf("flowc: deleting: %w", err))
		}
	}
	return totals, nil
}
