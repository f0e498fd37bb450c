package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/flowc-dev/flowc/runtime"
)

// pausedFlow is what pause and resume did, as JSON.
type pausedFlow struct {
	Slug string `json:"slug"`
	// Changed is false if it was so already.
	Changed bool `json:"changed"`
}

func newFlowsPause() *cobra.Command {
	return newPause("pause", "Hand no more tasks of flows to workers",
		`Pause hands no more tasks of flows to workers, in whatever language, until they are
resumed. Runs can be started meanwhile, and what workers have in hand goes on.`,
		"paused", "was paused already", runtime.PauseFlow)
}

func newFlowsResume() *cobra.Command {
	return newPause("resume", "Hand tasks of paused flows to workers again",
		`Resume hands tasks of paused flows to workers again.`,
		"resumed", "was not paused", runtime.ResumeFlow)
}

func newPause(use, short, long, done, already string, do func(context.Context, runtime.DB, string) (bool, error)) *cobra.Command {
	cmd := &cobra.Command{
		Use: use + " SLUG...", Short: short, Long: long,
		Args: atLeastOne("the slug of a flow"), ValidArgsFunction: flowSlugs,
	}
	asJSON := asJSON(cmd)
	cmd.RunE = withDatabase(func(cmd *cobra.Command, args []string, db *pgxpool.Pool) error {
		var faults []error
		all := []pausedFlow{}
		for _, slug := range args {
			changed, err := do(cmd.Context(), db, slug)
			switch {
			case errors.Is(err, runtime.ErrFlowNotFound):
				faults = append(faults, fmt.Errorf("flowc: flow %q is not in the database; `flowc flows list` shows those that are", slug))
			case err != nil:
				faults = append(faults, err)
			default:
				all = append(all, pausedFlow{slug, changed})
			}
		}
		if *asJSON {
			return errors.Join(printJSON(cmd.OutOrStdout(), all), errors.Join(faults...))
		}
		for _, one := range all {
			if one.Changed {
				fmt.Fprintln(cmd.OutOrStdout(), done, one.Slug)
			} else {
				fmt.Fprintln(cmd.OutOrStdout(), one.Slug, already)
			}
		}
		return errors.Join(faults...)
	})
	return cmd
}
