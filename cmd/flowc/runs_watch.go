package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/spec"
)

func newRunsWatch() *cobra.Command {
	var timeout span
	interval := span(500 * time.Millisecond)
	cmd := &cobra.Command{
		Use:   "watch ID",
		Short: "Follow the progress of a run until it ends",
		Long: `Watch prints a line whenever a step of a run makes progress, and what the run waits
for while none does, until it ends. The exit status is 3 if it failed or was
cancelled, 4 if it has not ended within --timeout.`,
		Args: exactly("the id of a run"), ValidArgsFunction: newestRuns,
	}
	asJSON := asJSON(cmd)
	cmd.Flags().Var(&timeout, "timeout", "watch no longer than this")
	cmd.Flags().Var(&interval, "interval", "how often to poll")
	cmd.RunE = withDatabase(func(cmd *cobra.Command, args []string, db runtime.DB) error {
		if interval <= 0 {
			return wrongUse(cmd, "--interval is %s, it must be positive", &interval)
		}
		ctx := cmd.Context()
		if timeout > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeoutCause(ctx, time.Duration(timeout), runtime.ErrTimeout)
			defer cancel()
		}
		id, err := wholeID(ctx, db, args[0])
		if err != nil {
			return err
		}
		w := &watcher{out: cmd.OutOrStdout(), json: *asJSON, seen: map[string]string{}}
		return w.watch(ctx, db, id, time.Duration(interval))
	})
	return cmd
}

// A watcher prints what changed in a run each time it polls.
type watcher struct {
	out  io.Writer
	json bool
	seen map[string]string // what was last printed of the run and of each step
	why  []runtime.Reason  // what the run last waited for
}

// A change is a line of runs watch as JSON. Step is empty for the run itself.
type change struct {
	At     time.Time `json:"at"`
	Run    string    `json:"run"`
	Step   string    `json:"step,omitempty"`
	Status string    `json:"status"`
	Tasks  string    `json:"tasks,omitempty"`
	Error  string    `json:"error,omitempty"`
	// Reasons lists what the run waits for, if that changed.
	Reasons []runtime.Reason `json:"reasons,omitempty"`
}

func (w *watcher) watch(ctx context.Context, db runtime.DB, id string, interval time.Duration) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		info, err := runtime.GetRun(ctx, db, id, runtime.WithStates(), runtime.WithoutPayloads())
		if err == nil {
			if err := w.poll(info); err != nil {
				return err
			}
			if info.Status.Ended() {
				return ended(info)
			}
			reasons, err := runtime.ExplainRun(ctx, db, id)
			if err != nil && ctx.Err() == nil {
				return err
			}
			if err := w.explain(info, reasons); err != nil {
				return err
			}
		} else if ctx.Err() == nil {
			return err
		}
		select {
		case <-ctx.Done():
			if context.Cause(ctx) == runtime.ErrTimeout {
				return &exitError{exitTimeout, fmt.Errorf("flowc: run %s has not ended in time, and continues%s", id, w.because())}
			}
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

// ended returns the error for a run that did not complete.
func ended(info *runtime.RunInfo) error {
	if info.Status == runtime.RunCompleted {
		return nil
	}
	return &exitError{exitRunFailed, &runtime.RunFailedError{
		RunID: info.ID, Flow: info.Flow, Status: info.Status, Step: info.FailedStep, Index: info.FailedIndex, Message: info.Error + info.CancelReason,
	}}
}

// poll prints what changed since the last call.
func (w *watcher) poll(info *runtime.RunInfo) error {
	for _, s := range info.States {
		if s.Status == runtime.StepCreated {
			continue
		}
		c := change{At: time.Now(), Run: info.ID, Step: s.Step, Status: s.Word(), Error: s.Error}
		if s.Type == spec.TypeMap {
			c.Tasks = tasksOf(s)
		}
		switch {
		case s.SkipReason != "" && !s.GaveUp():
			c.Error = s.SkipReason
		case s.FailedIndex != nil:
			c.Error = s.Failed() + ": " + s.Error
		}
		if err := w.say(c); err != nil {
			return err
		}
	}
	return w.say(change{At: time.Now(), Run: info.ID, Status: string(info.Status), Error: info.Error + info.CancelReason})
}

// explain prints what the run waits for if that has changed. That a worker runs a step
// was printed before.
func (w *watcher) explain(info *runtime.RunInfo, reasons []runtime.Reason) error {
	w.why = reasons
	kinds := ""
	var waits []runtime.Reason
	for _, r := range reasons {
		if r.Kind != runtime.ReasonRunning && !(r.Kind == runtime.ReasonQueued && r.At.Sub(r.Since) < 2*time.Second) {
			waits = append(waits, r)
			kinds += fmt.Sprint(r.Kind, r.Step, r.Attempt, r.By, ";")
		}
	}
	const key = "\x00why"
	if w.seen[key] == kinds {
		return nil
	}
	w.seen[key] = kinds
	if w.json {
		if len(waits) == 0 {
			return nil
		}
		return printLine(w.out, change{At: time.Now(), Run: info.ID, Status: string(info.Status), Reasons: waits})
	}
	for _, r := range waits {
		if _, err := fmt.Fprintf(w.out, "%s  %-24s %s\n", time.Now().Format(time.TimeOnly), "why", printable(r.String())); err != nil {
			return err
		}
	}
	return nil
}

// because returns what the run waited for when it was last read.
func (w *watcher) because() string {
	text := ""
	for _, r := range w.why {
		text += []string{": ", "; "}[min(len(text), 1)] + r.String()
	}
	return text
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
