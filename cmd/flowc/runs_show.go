package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/flowc-dev/flowc/runtime"
)

// payloadLetters is how much of a payload is shown unless all is asked for.
const payloadLetters = 200

func newRunsShow() *cobra.Command {
	var tasks, payloads bool
	cmd := &cobra.Command{
		Use:     "show ID",
		Short:   "Show a run and how far its steps are",
		Example: "  flowc runs show 0190f2c4-8f3e-7c1a-b4d2-0a1b2c3d4e5f --tasks",
		Args:    exactly("the id of a run"), ValidArgsFunction: newestRuns,
	}
	asJSON := asJSON(cmd)
	cmd.Flags().BoolVar(&tasks, "tasks", false, "list the tasks and the tries that failed, too")
	cmd.Flags().BoolVar(&payloads, "payloads", false, "print inputs and outputs whole")
	cmd.RunE = withDatabase(func(cmd *cobra.Command, args []string, db *pgxpool.Pool) error {
		shown, err := readRun(cmd, db, args[0], tasks)
		if err != nil {
			return err
		}
		if *asJSON {
			return printJSON(cmd.OutOrStdout(), shown)
		}
		return shown.print(cmd.OutOrStdout(), payloads)
	})
	return cmd
}

// shownRun is what runs show prints as JSON.
type shownRun struct {
	*runtime.RunInfo
	Tasks []runtime.TaskInfo `json:"tasks,omitempty"`
}

func readRun(cmd *cobra.Command, db runtime.DB, id string, tasks bool) (shownRun, error) {
	p := startProgress(cmd.ErrOrStderr(), "reading the run")
	defer p.done()
	info, err := runtime.GetRunWithStates(cmd.Context(), db, id)
	if err != nil || !tasks {
		return shownRun{RunInfo: info}, err
	}
	list, err := runtime.ListTasks(cmd.Context(), db, id)
	return shownRun{info, list}, err
}

func (r shownRun) print(w io.Writer, payloads bool) error {
	field := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%-10s%s\n", name, value)
		}
	}
	field("run", r.ID)
	field("flow", r.Flow)
	field("status", printable(r.outcome()))
	if !r.ScheduledAt.IsZero() && r.Status != runtime.RunScheduled {
		field("tick", clock(r.ScheduledAt)+", of its schedule")
	}
	switch {
	case r.Status == runtime.RunScheduled:
		field("starts", clock(r.ScheduledAt)+", "+ago(r.ScheduledAt))
	case r.Status.Ended():
		ended := r.CompletedAt
		if ended.IsZero() {
			ended = r.FailedAt
		}
		field("started", clock(r.StartedAt)+", "+ago(r.StartedAt))
		field("ended", clock(ended)+", after "+lasting(ended.Sub(r.StartedAt)))
	default:
		field("started", clock(r.StartedAt)+", "+ago(r.StartedAt))
	}
	field("input", payload(r.Input, payloads))
	field("output", payload(r.Output, payloads))

	fmt.Fprintln(w)
	t := table{header: []string{"STEP", "STATUS", "TASKS", "TRIES", "TOOK", "OUTPUT OR ERROR"}}
	for _, s := range r.States {
		ended := s.CompletedAt
		if ended.IsZero() {
			ended = s.FailedAt
		}
		last := payload(s.Output, payloads)
		if s.Error != "" {
			last = s.Error
		}
		if s.SkipReason != "" {
			last = s.SkipReason
		}
		if !payloads {
			last = shorten(last, 60)
		}
		t.add(s.Step, string(s.Status), tasksOf(s), strconv.Itoa(s.Attempts), took(s.StartedAt, ended), last)
	}
	if err := t.print(w); err != nil || r.Tasks == nil {
		return err
	}
	return printTasks(w, r.Tasks)
}

// outcome is the status with what there is to say about it.
func (r shownRun) outcome() string {
	switch {
	case r.Status == runtime.RunCancelled && r.CancelReason != "":
		return "cancelled: " + r.CancelReason
	case r.FailedStep != "":
		return string(r.Status) + " in step " + r.FailedStep + ": " + r.Error
	case r.Status == runtime.RunStarted:
		return "started, " + count(r.RemainingSteps, "step remains", "steps remain")
	}
	return string(r.Status)
}

// tasksOf says how many of the tasks of a step are completed.
func tasksOf(s runtime.StepState) string {
	if s.InitialTasks == nil {
		return ""
	}
	remaining := *s.InitialTasks
	if s.RemainingTasks != nil {
		remaining = *s.RemainingTasks
	}
	return fmt.Sprintf("%d/%d", *s.InitialTasks-remaining, *s.InitialTasks)
}

func printTasks(w io.Writer, tasks []runtime.TaskInfo) error {
	fmt.Fprintln(w)
	t := table{header: []string{"TASK", "STATUS", "TRIES", "WORKER", "TOOK", "ERROR"}}
	for _, task := range tasks {
		name := task.Step + "[" + strconv.Itoa(task.Index) + "]"
		for _, try := range task.FailedTries {
			t.add(name, fmt.Sprintf("try %d failed", try.Attempt), "", try.Worker, took(try.StartedAt, try.FailedAt), shorten(try.Error, 60))
		}
		status, ended, message := string(task.Status), task.CompletedAt, task.Error
		switch task.Status {
		case runtime.TaskQueued:
			status += ", " + ago(task.VisibleAt)
		case runtime.TaskFailed:
			ended = task.FailedAt
		case runtime.TaskCompleted:
			message = "" // it is that of an earlier try
		}
		t.add(name, status, strconv.Itoa(task.Attempts), task.Worker, took(task.StartedAt, ended), shorten(message, 60))
	}
	return t.print(w)
}

// payload is JSON on one line.
func payload(raw json.RawMessage, whole bool) string {
	var line bytes.Buffer
	if json.Compact(&line, raw) != nil {
		line.Reset()
		line.Write(raw)
	}
	if whole {
		return printable(line.String())
	}
	return shorten(line.String(), payloadLetters)
}
