package engine_test

import (
	"encoding/json"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

func TestGetRunWithStates(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		r := d.flow("f").step("a").step("b", after("a")).start(`{"in": 1}`)
		const states = `select pgflow.get_run_with_states(run_id => $1)`
		require.Equal(t, "t", d.table(`
			select ($2::text::jsonb -> 'run') = (select to_jsonb(r) from pgflow.runs r where run_id = $1)
			   and ($2::text::jsonb -> 'steps') = (select jsonb_agg(to_jsonb(s) order by step_slug) from pgflow.step_states s where run_id = $1)`,
			r.id, d.table(states, r.id)))
		require.Equal(t, "-", d.table(states, uuid.Nil))
		d.flow("empty")
		require.Equal(t, "[]", d.table(`select j -> 'steps' from pgflow.start_flow_with_states('empty', '{}') j`))
	})
}

func TestStartFlowWithStates(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		d.flow("f").step("a").step("b", after("a"))
		id := uuid.NewString()
		var got struct {
			Run struct {
				ID     string `json:"run_id"`
				Status string
			}
			Steps []struct {
				Slug   string `json:"step_slug"`
				Status string
			}
		}
		text := d.table(`select pgflow.start_flow_with_states(flow_slug => 'f', input => '{}', run_id => $1)`, id)
		require.NoError(t, json.Unmarshal([]byte(text), &got))
		require.Equal(t, id, got.Run.ID)
		require.Equal(t, "started", got.Run.Status)
		require.Len(t, got.Steps, 2)
		for _, s := range got.Steps {
			require.Equal(t, map[string]string{"a": "started", "b": "created"}[s.Slug], s.Status)
		}
		require.NotEqual(t, id, d.table(`select pgflow.start_flow_with_states('f', '{}') #>> '{run,run_id}'`))
	})
}

// TestResult: what somebody who waits is told.
func TestResult(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		const result = `select status, input, outputs, failed_step, error_message from flowc.result($1, '{a,b,s}', true)`
		f := d.flow("f", attempts(1)).step("a").step("b", after("a")).step("s", requires(`{"s": 1}`))
		r := f.start(`{"in": 1}`)
		require.Equal(t, "running - - - -", d.table(result, r.id))
		r.complete("a", `"x"`).begin().completeTask("b", 0, nil)
		require.Equal(t, `completed {"in": 1} {"a": "x", "b": null} - -`, d.table(result, r.id))
		require.Equal(t, `f completed - {"b": null}`, d.table(`select flow_slug, status, input, outputs from flowc.result($1, '{b}', false)`, r.id))
		r = f.start(`{}`).exhaust("a")
		require.Equal(t, "failed - - a a broke", d.table(result, r.id))
		r = f.start(`{}`)
		d.exec(`select flowc.cancel_run($1, 'enough')`, r.id)
		require.Equal(t, "cancelled - - - enough", d.table(result, r.id))
		require.Equal(t, "scheduled - - - -", d.table(result, d.table(`select run_id from flowc.start('f', '{1}', null, start_in => '1 h')`)))
		require.Empty(t, d.table(result, uuid.Nil))
	})
}

func TestGetRun(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		r := d.flow("f", attempts(1)).step("z").mapStep("m").step("a", after("z")).start(`[1, 2]`)
		const get = `select flow_slug, status, input, output, remaining_steps, failed_step, error_message, states from flowc.get_run($1)`
		require.Equal(t, "f running [1, 2] - 3 - - -", d.table(get, r.id))
		r.exhaust("m")
		require.Equal(t, "f failed [1, 2] - 3 m m broke -", d.table(get, r.id))
		require.Equal(t, lines("z 0 single 1 started", "m 1 map 2 failed", "a 2 single 0 created"), d.table(`
			select s ->> 'step_slug', s -> 'step_index', s ->> 'step_type', s -> 'attempts', s ->> 'status'
			from flowc.get_run($1, with_states => true), jsonb_array_elements(states) with ordinality e(s, n) order by n`, r.id))
		require.Empty(t, d.table(get, uuid.Nil))
	})
}
