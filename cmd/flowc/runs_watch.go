package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/flowc-dev/flowc/runtime"
)

func newRunsWatch() *cobra.Command {
	var timeout span
	interval := span(500 * time.Millisecond)
	cmd := &cobra.Command{
		Use:   "watch ID",
		Short: "Say how a run gets on, until it ends",
		Long: `Watch prints a line whenever a step of a run gets on, until the run ends. The exit
status is 3 if it failed or was cancelled, 4 if it has not ended in the time of
--timeout.`,
		Args: exactly("the id of a run"), ValidArgsFunction: newestRuns,
	}
	asJSON := asJSON(cmd)
	cmd.Flags().Var(&timeout, "timeout", "watch no longer than this")
	cmd.Flags().Var(&interval, "interval", "how often to look")
	cmd.RunE = withDatabase(func(cmd *cobra.Command, args []string, db *pgxpool.Pool) error {
		if interval <= 0 {
			return wrongUse(cmd, "--interval is %s, it must be positive", &interval)
		}
		ctx := cmd.Context()
		if timeout > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeoutCause(ctx, time.Duration(timeout), runtime.ErrTimeout)
			defer cancel()
		}
		w := &watcher{out: cmd.OutOrStdout(), json: *asJSON, seen: map[string]string{}}
		return w.watch(ctx, db, args[0], time.Duration(interval))
	})
	return cmd
}

// A watcher tells what is new in a run each time it looks.
type watcher struct {
	out  io.Writer
	json bool
	seen map[string]string // what was said last of the run and of each step
}

// change is a line of runs watch as JSON. Step is empty for the run itself.
type change struct {
	At     time.Time `json:"at"`
	Run    string    `json:"run"`
	Step   string    `json:"step,omitempty"`
	Status string    `json:"status"`
	Tasks  string    `json:"tasks,omitempty"`
	Error  string    `json:"error,omitempty"`
}

func (w *watcher) watch(ctx context.Context, db runtime.DB, id string, interval time.Duration) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		info, err := runtime.GetRunProgress(ctx, db, id)
		if err == nil {
			if err := w.look(info); err != nil {
				return err
			}
			if info.Status.Ended() {
				return ended(info)
			}
		} else if ctx.Err() == nil {
			return err
		}
		select {
		case <-ctx.Done():
			if context.Cause(ctx) == runtime.ErrTimeout {
				return &exitError{exitTimeout, fmt.Errorf("flowc: run %s has not ended in time, and goes on", id)}
			}
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

// ended is the error for a run that did not complete.
func ended(info *runtime.RunInfo) error {
	if info.Status == runtime.RunCompleted {
		return nil
	}
	return &exitError{exitRunFailed, &runtime.RunFailedError{
		RunID: info.ID, Flow: info.Flow, Status: info.Status, Step: info.FailedStep, Message: info.Error + info.CancelReason,
	}}
}

// look says what is new.
func (w *watcher) look(info *runtime.RunInfo) error {
	for _, s := range info.States {
		if s.Status == runtime.StepCreated {
			continue
		}
		c := change{At: time.Now(), Run: info.ID, Step: s.Step, Status: string(s.Status), Error: s.Error}
		if s.Type == runtime.MapStep {
			c.Tasks = tasksOf(s)
		}
		if s.SkipReason != "" {
			c.Error = s.SkipReason
		}
		if err := w.say(c); err != nil {
			return err
		}
	}
	return w.say(change{At: time.Now(), Run: info.ID, Status: string(info.Status), Error: info.Error + info.CancelReason})
}

func (w *watcher) say(c change) error {
	what := c.Status + c.Tasks + c.Error
	if w.seen[c.Step] == what {
		return nil
	}
	w.seen[c.Step] = what
	if w.json {
		return printLine(w.out, c)
	}
	name := c.Step
	if name == "" {
		name = "run"
	}
	line := fmt.Sprintf("%s  %-24s %s", c.At.Format(time.TimeOnly), name, c.Status)
	if c.Tasks != "" {
		line += " " + c.Tasks
	}
	if c.Error != "" {
		line += ": " + printable(c.Error)
	}
	_, err := fmt.Fprintln(w.out, line)
	return err
}
