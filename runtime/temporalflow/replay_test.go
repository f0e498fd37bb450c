package temporalflow

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
)

// TestReplay replays the workflows of testdata/histories: those that have begun with an
// older version of this package have to go on with this one. A history that does not replay
// is no reason to record it anew, but a change that workflow.GetVersion has to guard. New
// ones are recorded by `make temporal` with a server: see TestServerRecord.
func TestReplay(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/histories/*.json")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	kinds := map[string]bool{}
	for _, file := range files {
		raw, err := os.Open(file)
		require.NoError(t, err)
		defer raw.Close()
		history, err := client.HistoryFromJSON(raw, client.HistoryJSONOptions{})
		require.NoError(t, err, file)
		started := history.Events[0].GetWorkflowExecutionStartedEventAttributes()
		kind := started.WorkflowType.Name
		kinds[kind] = true
		replayer, err := worker.NewWorkflowReplayerWithOptions(worker.WorkflowReplayerOptions{DisableDeadlockDetection: true})
		require.NoError(t, err)
		switch kind {
		case chunkWorkflow:
			replayer.RegisterWorkflowWithOptions(mapChunk, workflow.RegisterOptions{Name: kind})
		case tickWorkflow:
			replayer.RegisterWorkflowWithOptions(runTick, workflow.RegisterOptions{Name: kind})
		default:
			replayer.RegisterWorkflowWithOptions(replayed, workflow.RegisterOptions{Name: kind})
		}
		replay := func() error {
			return replayer.ReplayWorkflowHistoryWithOptions(Logger(quiet), history, worker.ReplayWorkflowHistoryOptions{
				OriginalExecution: workflow.Execution{ID: started.WorkflowId, RunID: started.OriginalExecutionRunId},
			})
		}
		require.NoError(t, replay(), file)

		// The same history with a task less, or of another step, is one of another workflow.
		for _, event := range history.Events {
			if a := event.GetActivityTaskScheduledEventAttributes(); event.EventType == enums.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED {
				a.ActivityType.Name += "_other"
				require.Error(t, replay(), file)
				break
			}
		}
	}
	require.True(t, kinds[chunkWorkflow] && kinds[tickWorkflow] && kinds["diamond"], kinds)
}

// replayed is the workflow of a run on a worker that knows nothing of its flow.
func replayed(ctx workflow.Context, in begin) (*record, error) {
	return runWorkflow(ctx, in, func() plan { panic("it is in the history") }, func(string) bool { return true })
}
