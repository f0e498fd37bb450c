package temporalflow

import (
	"fmt"
	"strings"

	"github.com/flowc-dev/flowc/runtime"
)

// A worded error is one of package runtime, whose words are about PostgreSQL, with others.
type worded struct {
	error
	words string
}

func (e *worded) Error() string { return e.words }
func (e *worded) Unwrap() error { return e.error }

// notStored returns a [runtime.FlowNotFoundError].
func notStored(flow string) error {
	return &worded{&runtime.FlowNotFoundError{Flow: flow}, fmt.Sprintf(
		"flowc: flow %q is not in the Temporal namespace: call the Upsert function of its generated package (or runtime.UpsertFlow)", flow)}
}

// mismatch returns a [runtime.MismatchError].
func mismatch(flow string, differences []string) error {
	return &worded{&runtime.MismatchError{Flow: flow, Differences: differences}, fmt.Sprintf(
		"flowc: flow %q has another shape in the Temporal namespace: give the new shape a slug of its own (tag version), or store it for new runs with runtime.AllowDataLoss(); runs that have begun keep theirs, and none is lost:\n\t%s",
		flow, strings.Join(differences, "\n\t"))}
}

// activeRuns returns a [runtime.ActiveRunsError].
func activeRuns(flow string, active int) error {
	return &worded{&runtime.ActiveRunsError{Flow: flow, Active: active}, fmt.Sprintf(
		"flowc: flow %q was not deleted, since runs of it have not ended (%d): let them end, or %s", flow, active, endRuns(flow))}
}

// endRuns says how to end all runs of a flow.
func endRuns(flow string) string {
	return fmt.Sprintf("end them with `temporal workflow terminate --query \"WorkflowType = '%s' AND ExecutionStatus = 'Running'\"`", flow)
}
