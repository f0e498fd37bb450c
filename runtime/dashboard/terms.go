package dashboard

import (
	"fmt"
	"html"
	"html/template"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/ops"
)

// terms are what pages explain where they use it. The glossary of `flowc help` says more.
var terms = map[string]string{
	"as declared":    "The database has the definition that this program declares.",
	"attempts":       "How often a task may run, the first time included.",
	"base delay":     "The n-th retry waits this delay times 2 to the power of n, at most 6 hours.",
	"condition":      "The step runs only if this holds.",
	"delayed":        "Tasks that wait for their time: for a retry, a delay or the time their run was scheduled for.",
	"drift":          "This program declares another definition than the database has. Upsert it, or deploy the program again.",
	"in flight":      "Tasks that a worker has claimed and not reported yet.",
	"last seen":      "When its last heartbeat came. After 5 seconds without one a worker is silent, and others reclaim its tasks.",
	"oldest":         "How long the oldest task has waited for a worker.",
	"p95":            "Nineteen of twenty completed runs took no longer.",
	"replaced":       "A newer version of the flow is in the database. Its unfinished runs need a worker that serves this one.",
	"serves":         "The flows whose tasks it claims.",
	"shard":          "One of several databases that runs are spread over.",
	"timeout":        "How long one attempt may take; of a wait, how long it waits for an answer.",
	"waiting":        "Tasks that a worker could start now.",
	"when exhausted": "What becomes of the step after its last failed attempt, or of a wait when its time is over.",
}

// explain returns a term with its explanation as a tooltip.
func explain(term, text string) (template.HTML, error) {
	tip, ok := terms[term]
	if !ok {
		return "", fmt.Errorf("no term %q", term)
	}
	return template.HTML(`<abbr title="` + html.EscapeString(tip) + `">` + html.EscapeString(text) + `</abbr>`), nil // it is escaped
}

var (
	runTips = map[runtime.RunStatus]string{
		runtime.RunScheduled: "Its time to start has not come.",
		runtime.RunRunning:   "It has steps to do.",
		runtime.RunWaiting:   "All that it has to do is wait for answers.",
		runtime.RunCompleted: "All its steps completed or were skipped.",
		runtime.RunFailed:    "A step failed. A retry resumes it there.",
		runtime.RunCancelled: "Somebody ended it. A retry resumes it.",
	}
	stepTips = map[runtime.StepStatus]string{
		runtime.StepCreated:   "It waits for other steps.",
		runtime.StepStarted:   "Its tasks are queued, or a worker has them.",
		runtime.StepCompleted: "All its tasks completed.",
		runtime.StepFailed:    "It made the run fail.",
		runtime.StepSkipped:   "It ended without an output: because of its condition, another step, or its last attempt.",
	}
	taskTips = map[ops.TaskStatus]string{
		ops.TaskQueued:    "It waits for a worker, or for its time.",
		ops.TaskStarted:   "A worker has it in flight.",
		ops.TaskCompleted: "It has an output.",
		ops.TaskFailed:    "It has no attempts left.",
	}
	workerTips = map[ops.WorkerStatus]string{
		ops.WorkerWorking:  "It lives.",
		ops.WorkerDraining: "It claims nothing more, and ends when what it has in flight is reported.",
		ops.WorkerSilent:   "It was last seen more than 5 seconds ago. Others reclaim its tasks.",
		ops.WorkerStopped:  "It stopped, or was found dead.",
	}
)

// statusTip returns what a status means.
func statusTip(status any) string {
	switch s := status.(type) {
	case runtime.RunStatus:
		return runTips[s]
	case runtime.StepStatus:
		return stepTips[s]
	case ops.TaskStatus:
		return taskTips[s]
	case ops.WorkerStatus:
		return workerTips[s]
	}
	return ""
}
