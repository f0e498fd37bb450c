package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/ops"
)

func newSchedules() *cobra.Command {
	return newGroup("schedules", "List, pause, resume and run the schedules of flows",
		`Schedules operates the schedules of flows with the tag cron in the database of
DATABASE_URL. A worker that serves such a flow starts a run for each tick, one
however many workers there are.`,
		newSchedulesList(), newSchedulesNext(), newSchedulesPause(), newSchedulesResume(), newSchedulesRun())
}

func newSchedulesList() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List schedules with their next tick and their last run",
		Args:  exactly(),
	}
	asJSON := asJSON(cmd)
	cmd.RunE = withDatabase(func(cmd *cobra.Command, _ []string, db runtime.DB) error {
		schedules, err := ops.ListSchedules(cmd.Context(), db)
		switch {
		case !usable(err):
			return err
		case *asJSON:
			return errors.Join(printJSON(cmd.OutOrStdout(), append([]ops.ScheduleInfo{}, schedules...)), err)
		case len(schedules) == 0 && err != nil: // the shards that do not answer may have some
			return err
		case len(schedules) == 0:
			fmt.Fprintln(cmd.ErrOrStderr(), "no flow has a schedule; the tag cron sets one")
			return nil
		}
		t := table{header: []string{"FLOW", "CRON", "NEXT", "LAST", "LAST RUN", "STATUS", "NOTE"}}
		for _, s := range schedules {
			t.add(s.Flow, s.Cron, nextTick(s), ago(s.LastAt), s.LastRunID, string(s.LastStatus), shorten(scheduleNote(s), 80))
		}
		return errors.Join(t.print(cmd.OutOrStdout()), err)
	})
	return cmd
}

// nextTick returns when a schedule starts its next run.
func nextTick(s ops.ScheduleInfo) string {
	if !s.PausedAt.IsZero() {
		return "paused"
	}
	return clock(s.NextAt) + ", " + ago(s.NextAt)
}

// scheduleNote returns what is unusual about a schedule.
func scheduleNote(s ops.ScheduleInfo) string {
	switch {
	case !s.PausedAt.IsZero() && s.PauseReason != "":
		return "paused " + ago(s.PausedAt) + ": " + s.PauseReason
	case !s.PausedAt.IsZero():
		return "paused " + ago(s.PausedAt)
	case s.Error != "":
		return s.Error
	case s.Overdue > gracePeriod:
		return "overdue: no worker serves it"
	}
	return ""
}

func newSchedulesNext() *cobra.Command {
	n := 5
	cmd := &cobra.Command{
		Use:     "next CRON",
		Short:   "Print the next ticks of a cron expression",
		Example: `  flowc schedules next "CRON_TZ=Europe/Berlin 30 4 * * mon-fri"`,
		Args:    exactly("a cron expression"),
	}
	asJSON := asJSON(cmd)
	cmd.Flags().IntVar(&n, "limit", n, "how many, at most 1000")
	cmd.RunE = withDatabase(func(cmd *cobra.Command, args []string, db runtime.DB) error {
		ticks, err := ops.NextTicks(cmd.Context(), db, args[0], n)
		if err != nil {
			return err
		}
		if *asJSON {
			return printJSON(cmd.OutOrStdout(), ticks)
		}
		for _, tick := range ticks {
			fmt.Fprintf(cmd.OutOrStdout(), "%s, %s\n", tick.Local().Format("Mon 2006-01-02 15:04:05 MST"), ago(tick))
		}
		return nil
	})
	return cmd
}

func newSchedulesPause() *cobra.Command {
	var reason string
	cmd := newSwitch("pause", "Pause the schedules of flows",
		`Pause stops the schedules of flows from starting runs until they are resumed.
Upserting a flow does not resume its schedule.`,
		"paused", "was already paused", noSuchSchedule,
		func(ctx context.Context, db runtime.DB, slug string) (bool, error) {
			return ops.PauseSchedule(ctx, db, slug, reason)
		})
	cmd.Flags().StringVar(&reason, "reason", "", "the reason, shown in lists")
	return cmd
}

func newSchedulesResume() *cobra.Command {
	return newSwitch("resume", "Resume paused schedules at their next ticks",
		`Resume resumes paused schedules at their next ticks. Missed ticks are not made up
for; flowc schedules run starts one run by hand.`,
		"resumed", "was not paused", noSuchSchedule, ops.ResumeSchedule)
}

// scheduledRun is the result of schedules run, as JSON.
type scheduledRun struct {
	ID   string `json:"id"`
	Flow string `json:"flow"`
}

func newSchedulesRun() *cobra.Command {
	var wait bool
	cmd := &cobra.Command{
		Use:   "run SLUG",
		Short: "Start a run as its schedule would, now",
		Long: `Run starts a run of a flow as its schedule would, with now as its tick, whether the
schedule is paused or not. The next tick is not affected. It prints the id of the
run; with --wait, it waits for the run to end.`,
		Args: exactly("the slug of a flow"), ValidArgsFunction: flowSlugs,
	}
	asJSON := asJSON(cmd)
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until the run has ended")
	cmd.RunE = withDatabase(func(cmd *cobra.Command, args []string, db runtime.DB) error {
		run, err := runtime.RunSchedule(cmd.Context(), db, args[0])
		if err != nil {
			return noSuchSchedule(cmd.Context(), db, args[0], err)
		}
		if *asJSON {
			err = printJSON(cmd.OutOrStdout(), scheduledRun{run.ID(), run.Flow()})
		} else {
			_, err = fmt.Fprintln(cmd.OutOrStdout(), run.ID())
		}
		if err != nil || !wait {
			return err
		}
		p := startProgress(cmd.ErrOrStderr(), "waiting")
		defer p.done()
		_, err = run.Wait(cmd.Context(), runtime.WithPollInterval(time.Second))
		return err
	})
	return cmd
}
