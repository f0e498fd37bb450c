package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/spf13/cobra"
)

func newPrune() *cobra.Command {
	var (
		olderThan span
		flows     []string
		dryRun    bool
	)
	cmd := &cobra.Command{
		Use:   "prune --older-than TIME",
		Short: "Delete runs that ended long ago",
		Long: `Prune deletes runs that ended longer ago than --older-than, with everything that
belongs to them, and the rows of workers that were last seen before that. It works in
batches, and can be interrupted and repeated.`,
		Example: "  flowc prune --older-than 30d --dry-run",
		Args:    exactly(),
	}
	asJSON := asJSON(cmd)
	cmd.Flags().Var(&olderThan, "older-than", "how long ago a run must have ended, such as 30d")
	cmd.Flags().StringSliceVar(&flows, "flow", nil, "only runs of this flow; can be repeated")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "delete nothing, print how many would be deleted")
	completeFlows(cmd, "flow")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if olderThan == 0 {
			return wrongUse(cmd, "it needs --older-than, which must be positive")
		}
		return withDatabase(func(cmd *cobra.Command, _ []string, db runtime.DB) error {
			if err := requireFlows(cmd.Context(), db, flows); err != nil {
				return err
			}
			p := startProgress(cmd.ErrOrStderr(), "pruning")
			n, err := ops.Prune(cmd.Context(), db, ops.PruneOptions{
				OlderThan: time.Duration(olderThan), Flows: flows, DryRun: dryRun,
				Progress: func(n int) { p.set("%d runs so far", n) },
			})
			p.done()
			if *asJSON && usable(err) {
				return errors.Join(printJSON(cmd.OutOrStdout(), struct {
					Runs   int  `json:"runs"`
					DryRun bool `json:"dry_run"`
				}{n, dryRun}), err)
			}
			if dryRun {
				fmt.Fprintf(cmd.OutOrStdout(), "would delete %s\n", count(n, "run", "runs"))
			} else {
				fmt.Fprintf(cmd.OutOrStdout(), "deleted %s\n", count(n, "run", "runs"))
			}
			return err
		})(cmd, args)
	}
	return cmd
}
