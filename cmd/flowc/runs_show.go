package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/ops"
)

const (
	// payloadLetters is how many characters of a payload are shown without --payloads.
	payloadLetters = 200
	// errorLetters is how many characters of a run's error are shown: all of one that a
	// worker of this project reported.
	errorLetters = 17_000
)

func newRunsShow() *cobra.Command {
	var tasks, payloads bool
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show a run, how far its steps are, and what it waits for",
		Long: `Show prints a run. Its id may be shortened to its beginning or its end, as lists and
the dashboard show it, if only one run matches.`,
		Example: "  flowc runs show 0190f2c4-8f3e-7c1a-b4d2-0a1b2c3d4e5f --tasks",
		Args:    exactly("the id of a run"), ValidArgsFunction: newestRuns,
	}
	asJSON := asJSON(cmd)
	cmd.Flags().BoolVar(&tasks, "tasks", false, "list the tasks and their failed attempts, too")
	cmd.Flags().BoolVar(&payloads, "payloads", false, "print inputs and outputs in full")
	cmd.RunE = withDatabase(func(cmd *cobra.Command, args []string, db runtime.DB) error {
		id, err := wholeID(cmd.Context(), db, args[0])
		if err != nil {
			return err
		}
		shown, err := readRun(cmd, db, id, tasks)
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
	// Reasons lists what it waits for.
	Reasons []runtime.Reason `json:"reasons,omitempty"`
	// ReplacedBy is a newer version of its flow.
	ReplacedBy string `json:"replaced_by,omitempty"`
	// Shard is the database that has it, if there are several.
	Shard string `json:"shard,omitempty"`
	// Declared reports whether its flow declares a result.
	declared bool
	Tasks    []ops.TaskInfo `json:"tasks,omitempty"`
}

func readRun(cmd *cobra.Command, db runtime.DB, id string, tasks bool) (shownRun, error) {
	p := startProgress(cmd.ErrOrStderr(), "reading the run")
	defer p.done()
	info, err := runtime.GetRun(cmd.Context(), db, id, runtime.WithStates())
	if err != nil {
		return shownRun{}, err
	}
	shown := shownRun{RunInfo: info}
	if shown.Shard, err = ops.ShardOf(cmd.Context(), db, id); err != nil {
		return shown, err
	}
	if shown.Reasons, err = runtime.ExplainRun(cmd.Context(), db, id); err != nil {
		return shown, err
	}
	if def, err := ops.GetDefinition(cmd.Context(), db, info.Flow); err == nil {
		shown.declared = def.Result != nil
	}
	if shown.ReplacedBy, err = replacedBy(cmd.Context(), db, info.Flow); err != nil || !tasks {
		return shown, err
	}
	shown.Tasks, err = ops.ListTasks(cmd.Context(), db, id, ops.TaskFilter{OutputBytes: ops.AllOutputs})
	return shown, err
}

// replacedBy returns the newest version of a flow, if it is not this one.
func replacedBy(ctx context.Context, db runtime.DB, slug string) (string, error) {
	flows, err := ops.ListFlows(ctx, db, time.Now())
	for _, f := range flows {
		if f.Slug == slug {
			return f.ReplacedBy, nil
		}
	}
	if usable(err) {
		err = nil // the flow is on a shard of the run, which answers
	}
	return "", err
}

// wholeID finds the one run whose id begins or ends with a text.
func wholeID(ctx context.Context, db runtime.DB, id string) (string, error) {
	if len(id) == 36 || !partOfID.MatchString(id) {
		return id, nil
	}
	runs, err := ops.ListRuns(ctx, db, ops.RunFilter{Search: id})
	if !usable(err) {
		return "", err
	}
	var found []string
	part := strings.ToLower(strings.ReplaceAll(id, "-", ""))
	for _, r := range runs {
		if whole := strings.ReplaceAll(r.ID, "-", ""); strings.HasPrefix(whole, part) || strings.HasSuffix(whole, part) {
			found = append(found, r.ID)
		}
	}
	switch len(found) {
	case 0:
		if err != nil { // it may be on a shard that did not answer
			return "", err
		}
		return "", fmt.Errorf("flowc: %w: no id begins or ends with %s", runtime.ErrRunNotFound, id)
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("flowc: %s matches %s, give more of the id: %s", id, count(len(found), "run", "runs"), strings.Join(found[:min(len(found), 5)], ", "))
}

// partOfID matches what may be the beginning or the end of a run's id.
var partOfID = regexp.MustCompile(`^[0-9a-fA-F-]{4,35}$`)

func (r shownRun) print(w io.Writer, payloads bool) error {
	field := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%-10s%s\n", name, value)
		}
	}
	field("run", r.ID)
	if r.ReplacedBy != "" {
		field("flow", r.Flow+", replaced by "+r.ReplacedBy)
	} else {
		field("flow", r.Flow)
	}
	field("shard", printable(r.Shard))
	field("status", shorten(r.outcome(), errorLetters))
	field("priority", string(r.Priority))
	field("steps", r.Progress())
	for i, reason := range r.Reasons {
		field([]string{"why", " "}[min(i, 1)], printable(reason.String()))
	}
	if r.Unique != "" {
		field("unique", printable(r.Unique))
	}
	if !r.Tick.IsZero() {
		field("tick", clock(r.Tick)+", of its schedule")
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
	if r.declared {
		if r.Status == runtime.RunCompleted && r.Result == nil {
			field("result", "nothing")
		}
		field("result", payload(r.Result, payloads))
		field("outputs", labelled(payload(r.Output, payloads)))
	} else {
		field("output", payload(r.Output, payloads))
	}

	fmt.Fprintln(w)
	t := table{header: []string{"STEP", "STATUS", "TASKS", "ATTEMPTS", "TOOK", "OUTPUT OR ERROR"}}
	for _, s := range r.States {
		ended := s.CompletedAt
		if ended.IsZero() {
			ended = s.FailedAt
		}
		last := payload(s.Output, payloads)
		if s.SkipReason != "" {
			last = s.SkipReason
		}
		if s.Error != "" {
			last = s.Error
			if s.FailedIndex != nil {
				last = s.Failed() + ": " + s.Error
			}
		}
		if !payloads {
			last = shorten(last, 60)
		}
		t.add(s.Step, stepWord(s), tasksOf(s), strconv.Itoa(s.Attempts), took(s.StartedAt, ended), last)
	}
	if err := t.print(w); err != nil || r.Tasks == nil {
		return err
	}
	return printTasks(w, r.Tasks)
}

// stepWord returns the state of a step in words, and who has answered it.
func stepWord(s runtime.StepState) string {
	if s.Wait == nil || s.Wait.AnsweredAt.IsZero() {
		return s.Word()
	}
	word := s.Word() + ", answered"
	if s.Status != runtime.StepCompleted {
		word = s.Word() + ", ended"
	}
	if s.Wait.AnsweredBy != "" {
		word += " by " + s.Wait.AnsweredBy
	}
	return word + " " + ago(s.Wait.AnsweredAt)
}

// outcome describes the status.
func (r shownRun) outcome() string {
	switch {
	case r.Status == runtime.RunCancelled && r.CancelReason != "":
		return "cancelled: " + r.CancelReason
	case r.FailedStep != "":
		return string(r.Status) + " in step " + r.Failed() + ": " + r.Error
	case r.Status == runtime.RunWaiting:
		return "waiting for an answer, " + count(r.RemainingSteps, "step remains", "steps remain")
	case r.Status == runtime.RunRunning:
		return "running, " + count(r.RemainingSteps, "step remains", "steps remain")
	}
	return string(r.Status)
}

// labelled labels the outputs of steps that are not the result of the run.
func labelled(outputs string) string {
	if outputs == "" {
		return ""
	}
	return outputs + "  (of the last steps)"
}

// tasksOf returns how many of a step's tasks are completed, as text.
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

func printTasks(w io.Writer, tasks []ops.TaskInfo) error {
	fmt.Fprintln(w)
	t := table{header: []string{"TASK", "STATUS", priorityColumn, "ATTEMPTS", "WORKER", "TOOK", "ERROR"}}
	for _, task := range tasks {
		name := task.Step + "[" + strconv.Itoa(task.Index) + "]"
		for _, attempt := range task.FailedAttempts {
			t.add(name, fmt.Sprintf("attempt %d failed", attempt.Attempt), "", "", attempt.Worker, took(attempt.StartedAt, attempt.FailedAt), shorten(attempt.Error, 60))
		}
		status, ended, message := task.Status.Word(), task.CompletedAt, task.Error
		switch task.Status {
		case ops.TaskQueued:
			status += ", " + ago(task.VisibleAt)
		case ops.TaskFailed:
			ended = task.FailedAt
		case ops.TaskCompleted:
			message = "" // it belongs to an earlier attempt
		}
		t.add(name, status, string(task.Priority), strconv.Itoa(task.Attempts), task.Worker, took(task.StartedAt, ended), shorten(message, 60))
	}
	return t.print(w)
}

// payload returns JSON on one line.
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
