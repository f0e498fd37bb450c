package dashboard

import (
	"encoding/json"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/ops"
)

// redacted returns what may be shown of a payload.
func (h *Handler) redacted(flow, step string, raw json.RawMessage) json.RawMessage {
	if h.config.Redact == nil {
		return raw
	}
	return h.config.Redact(flow, step, raw)
}

// redactedText returns what may be shown of an error or a reason, which may well repeat a
// payload.
func (h *Handler) redactedText(flow, step, text string) string {
	if h.config.Redact == nil || text == "" {
		return text
	}
	raw, err := json.Marshal(text)
	if err != nil {
		return ""
	}
	shown := h.config.Redact(flow, step, raw)
	if json.Unmarshal(shown, &text) == nil {
		return text
	}
	return string(shown)
}

func (h *Handler) redactRun(run *runtime.RunInfo) {
	run.Error = h.redactedText(run.Flow, run.FailedStep, run.Error)
	run.CancelReason = h.redactedText(run.Flow, "", run.CancelReason)
	run.Unique = h.redactedText(run.Flow, "", run.Unique)
	for i := range run.States {
		run.States[i].Error = h.redactedText(run.Flow, run.States[i].Step, run.States[i].Error)
	}
}

func (h *Handler) redactRuns(runs []ops.RunSummary) {
	for i := range runs {
		runs[i].Error = h.redactedText(runs[i].Flow, runs[i].FailedStep, runs[i].Error)
	}
}

func (h *Handler) redactTasks(flow string, tasks []ops.TaskInfo) {
	for i := range tasks {
		t := &tasks[i]
		t.Error = h.redactedText(flow, t.Step, t.Error)
		for j := range t.FailedAttempts {
			t.FailedAttempts[j].Error = h.redactedText(flow, t.Step, t.FailedAttempts[j].Error)
		}
	}
}

func (h *Handler) redactReasons(reasons []runtime.Reason) {
	for i := range reasons {
		reasons[i].Message = h.redactedText(reasons[i].Flow, reasons[i].Step, reasons[i].Message)
	}
}
