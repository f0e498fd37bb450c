package main

import (
	"context"
	"errors"
	"fmt"
	"os/user"

	"github.com/spf13/cobra"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/ops"
)

// switched is the result of pause and resume, as JSON.
type switched struct {
	Slug string `json:"slug"`
	// Changed is false if it was in that state already.
	Changed bool `json:"changed"`
}

func newFlowsPause() *cobra.Command {
	var by string
	cmd := newSwitch("pause", "Stop handing tasks of flows to workers",
		`Pause stops handing tasks of flows to workers, in whatever language, until they are
resumed. Runs can still be started, and tasks in flight continue.`,
		"paused", "was already paused", noSuchFlow, func(ctx context.Context, db runtime.DB, slug string) (bool, error) {
			return ops.PauseFlow(ctx, db, slug, by)
		})
	name := ""
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	cmd.Flags().StringVar(&by, "by", name, "who pauses it, for those who ask why their runs do not move")
	return cmd
}

func newFlowsResume() *cobra.Command {
	return newSwitch("resume", "Hand tasks of paused flows to workers again",
		`Resume hands tasks of paused flows to workers again.`,
		"resumed", "was not paused", noSuchFlow, ops.ResumeFlow)
}

// newSwitch returns a command that changes a state of some flows, or finds that they are
// in it already.
func newSwitch(use, short, long, done, already string, fault func(ctx context.Context, db runtime.DB, slug string, err error) error, do func(context.Context, runtime.DB, string) (bool, error)) *cobra.Command {
	cmd := &cobra.Command{
		Use: use + " SLUG...", Short: short, Long: long,
		Args: atLeastOne("the slug of a flow"), ValidArgsFunction: flowSlugs,
	}
	asJSON := asJSON(cmd)
	cmd.RunE = withDatabase(func(cmd *cobra.Command, args []string, db runtime.DB) error {
		var faults []error
		all := []switched{}
		for _, slug := range args {
			changed, err := do(cmd.Context(), db, slug)
			if err != nil {
				faults = append(faults, fault(cmd.Context(), db, slug, err))
			}
			if !usable(err) {
				continue
			}
			all = append(all, switched{slug, changed})
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
