package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/flowc-dev/flowc/runtime"
)

func newRunsCancel() *cobra.Command {
	var reason string
	cmd := newSteer("cancel", "End runs that have not ended",
		`Cancel ends runs that have not ended, including scheduled ones. The contexts of
their handlers end within seconds, and their results are dropped.`,
		"cancelled", func(cmd *cobra.Command, db runtime.DB, id string) error {
			return runtime.CancelRun(cmd.Context(), db, id, reason)
		})
	cmd.Flags().StringVar(&reason, "reason", "", "the reason, for those who wait for the run")
	return cmd
}

func newRunsRetry() *cobra.Command {
	var step string
	cmd := newSteer("retry", "Resume runs that failed or were cancelled, or run steps again",
		`Retry resumes runs that failed or were cancelled where they stopped: completed steps
are kept, and every other task gets all its attempts again. With --from it runs a
step again, and every step downstream of it, also in runs that completed.`,
		"retried", func(cmd *cobra.Command, db runtime.DB, id string) error {
			if step != "" {
				return runtime.RetryStep(cmd.Context(), db, id, step)
			}
			return runtime.RetryRun(cmd.Context(), db, id)
		})
	cmd.Flags().StringVar(&step, "from", "", "run this step again, and every step downstream of it")
	return cmd
}

func newRunsSetPriority() *cobra.Command {
	var to priority
	cmd := newSteer("set-priority", "Change the priority of runs",
		`Set-priority changes the priority of runs that have not completed: of their tasks
that wait and of those to come, except those of steps with a priority of their own.
Workers claim the tasks of a flow with a high priority first, and those with a low
one while there is nothing else.`,
		"changed", func(cmd *cobra.Command, db runtime.DB, id string) error {
			return runtime.SetPriority(cmd.Context(), db, id, runtime.Priority(to))
		})
	cmd.Example = "  flowc runs list --flow import --status running --quiet | flowc runs set-priority --to low -"
	cmd.Flags().Var(&to, "to", "the new priority: high, normal or low")
	_ = cmd.MarkFlagRequired("to") // it is there
	completeWords(cmd, "to", texts(priorities))
	return cmd
}

func newRunsDelete() *cobra.Command {
	var force bool
	cmd := newSteer("delete", "Delete runs with everything that belongs to them",
		`Delete deletes runs that have ended, and with --force others too, with everything
that belongs to them. Their idempotency keys are free again. For runs that ended long
ago, use flowc prune.`,
		"deleted", func(cmd *cobra.Command, db runtime.DB, id string) error {
			var options []runtime.DeleteOption
			if force {
				options = append(options, runtime.AllowDataLoss())
			}
			existed, err := runtime.DeleteRun(cmd.Context(), db, id, options...)
			switch {
			case errors.Is(err, runtime.ErrWrongStatus):
				return fmt.Errorf("flowc: run %s has not ended, so it is not deleted\n\tfix: let it end, or cancel it with `flowc runs cancel`; --force deletes it anyway", id)
			case err == nil && !existed:
				return fmt.Errorf("flowc: deleting: %w: %s", runtime.ErrRunNotFound, id)
			}
			return err
		})
	cmd.Flags().BoolVar(&force, "force", false, "delete runs that have not ended, too; the results of their handlers are dropped")
	return cmd
}
