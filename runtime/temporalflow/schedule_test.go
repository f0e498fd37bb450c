package temporalflow

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"github.com/flowc-dev/flowc/runtime/spec"
)

func at(t *testing.T, text string) time.Time {
	t.Helper()
	parsed, err := time.Parse(time.RFC3339, text)
	require.NoError(t, err)
	return parsed.UTC()
}

// All ticks that are due by now become the last one.
func TestLastTick(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ cron, due, now, want string }{
		{"* * * * *", "2026-11-29T12:00:00Z", "2026-11-29T12:00:00Z", "2026-11-29T12:00:00Z"},
		{"* * * * *", "2026-11-29T12:00:00Z", "2026-11-29T12:00:59Z", "2026-11-29T12:00:00Z"},
		{"* * * * *", "2026-11-29T12:00:00Z", "2026-11-29T12:05:00Z", "2026-11-29T12:05:00Z"},
		{"*/10 * * * *", "2026-11-29T12:10:00Z", "2026-11-29T13:09:59Z", "2026-11-29T13:00:00Z"},
		{"@daily", "2026-11-20T00:00:00Z", "2026-11-29T12:00:00Z", "2026-11-29T00:00:00Z"},
		{"CRON_TZ=Europe/Berlin 0 6 * * *", "2026-11-20T05:00:00Z", "2026-11-29T12:00:00Z", "2026-11-29T05:00:00Z"},
		{"@every 90s", "2026-11-29T12:00:00Z", "2026-11-29T12:04:29Z", "2026-11-29T12:03:00Z"},
		{"@every 1s", "2026-11-29T12:00:00Z", "2026-11-29T12:00:05Z", "2026-11-29T12:00:05Z"},
		{"0 0 1 1 * 2026", "2026-11-29T12:00:00Z", "2026-11-30T12:00:00Z", "2026-11-29T12:00:00Z"}, // a form that only the server knows
	} {
		require.Equal(t, at(t, tt.want), lastTick(tt.cron, at(t, tt.due), at(t, tt.now)), tt)
	}
}

// The workflow that a schedule starts starts one run for a tick, whichever of two is first.
func TestTick(t *testing.T) {
	t.Parallel()
	due := at(t, "2026-11-29T12:00:00Z")
	var begun []begin
	run := func(ctx workflow.Context, in begin) error {
		begun = append(begun, in)
		require.Equal(t, tickRunID("f", in.Tick).String(), workflow.GetInfo(ctx).WorkflowExecution.ID)
		return nil
	}
	execute := func(now time.Time) string {
		var suite testsuite.WorkflowTestSuite
		suite.SetLogger(Logger(quiet))
		env := suite.NewTestWorkflowEnvironment()
		env.SetStartTime(now)
		require.NoError(t, env.SetTypedSearchAttributesOnStart(temporal.NewSearchAttributes(tickTime.ValueSet(due))))
		env.RegisterWorkflowWithOptions(runTick, workflow.RegisterOptions{Name: tickWorkflow})
		env.RegisterWorkflowWithOptions(run, workflow.RegisterOptions{Name: "f"})
		env.ExecuteWorkflow(tickWorkflow, tick{"f", "* * * * *"})
		require.NoError(t, env.GetWorkflowError())
		var id string
		require.NoError(t, env.GetWorkflowResult(&id))
		return id
	}
	first := execute(due.Add(5 * time.Minute))
	require.Equal(t, first, execute(due.Add(5*time.Minute+59*time.Second)), "the second would be refused")
	require.NotEqual(t, first, execute(due.Add(6*time.Minute)))
	require.NotEmpty(t, begun)
	require.Equal(t, due.Add(5*time.Minute), begun[0].Tick)
	require.JSONEq(t, `{}`, string(begun[0].Input))
}

func TestCheckCron(t *testing.T) {
	t.Parallel()
	step := spec.Step{Slug: "a"}
	require.NoError(t, checkCron(spec.Flow{Slug: "f", Steps: []spec.Step{step}}))
	require.NoError(t, checkCron(spec.Flow{Slug: "f", Cron: "CRON_TZ=Europe/Berlin 0 3 * * *", Steps: []spec.Step{step}}))
	for cron, problem := range map[string]string{
		"61 * * * *": `its cron "61 * * * *" is not valid: `,
		"@daily":     `its cron "@daily" starts it with {}, and step a is a map over the input, which has to be a list`,
	} {
		step.Type = spec.TypeMap
		err := checkCron(spec.Flow{Slug: "f", Cron: cron, Steps: []spec.Step{step}})
		require.ErrorAs(t, err, new(*spec.InvalidFlowError))
		if cron != "@daily" {
			step.Type = ""
			err = checkCron(spec.Flow{Slug: "f", Cron: cron, Steps: []spec.Step{step}})
		}
		require.ErrorContains(t, err, problem)
	}
}
