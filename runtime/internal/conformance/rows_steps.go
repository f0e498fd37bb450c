package conformance

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// gated returns a flow with a gate, two steps behind it in a row and one beside it.
func gated(slug string, gate spec.Step) spec.Flow {
	gate.Slug = "gate"
	return spec.Flow{Slug: slug, MaxAttempts: 1, Steps: []spec.Step{
		gate, {Slug: "after", Deps: []string{"gate"}}, {Slug: "last", Deps: []string{"after"}}, {Slug: "beside"},
	}}
}

// outputsOf is the function of a step that gives the outputs that it was given.
func outputsOf(_ context.Context, v handler.Values) (any, error) { return v.Outputs, nil }

func conditions(r *rows) {
	open := json.RawMessage(`{"open": 1}`)
	flows := map[string]spec.Flow{
		"unmet_skip":    gated("unmet_skip", spec.Step{If: open}),
		"unmet_cascade": gated("unmet_cascade", spec.Step{If: open, WhenUnmet: spec.ModeSkipCascade}),
		"unmet_fail":    gated("unmet_fail", spec.Step{If: open, WhenUnmet: spec.ModeFail}),
		"unless":        gated("unless", spec.Step{IfNot: open}),
		"of_a_step": {Slug: "of_a_step", Steps: []spec.Step{
			{Slug: "judge"}, {Slug: "approve", Deps: []string{"judge"}, If: json.RawMessage(`{"judge": {"fine": true}}`)},
			{Slug: "reject", Deps: []string{"judge"}, IfNot: json.RawMessage(`{"judge": {"fine": true}}`)},
		}},
		"in_a_row": {Slug: "in_a_row", Steps: []spec.Step{
			{Slug: "gate", If: open}, {Slug: "after", Deps: []string{"gate"}, If: json.RawMessage(`{"gate": "open"}`)},
			{Slug: "beside", Deps: []string{"after"}, If: json.RawMessage(`{"after": {}}`)}, {Slug: "last", Deps: []string{"beside"}},
		}},
	}
	var services []handler.Service
	for slug, flow := range flows {
		functions := map[string]function{"gate": give(`"open"`), "after": outputsOf, "last": outputsOf, "beside": give(`1`)}
		if slug == "of_a_step" {
			functions = map[string]function{"judge": give(`{"fine": true, "by": "ada"}`), "approve": outputsOf, "reject": outputsOf}
		}
		services = append(services, serve(flow, functions))
	}
	r.open(services...)

	const through = `{"beside": 1, "last": {"after": {"gate": "open"}}}`
	r.row("condition met", func(c *check) {
		for _, slug := range []string{"unmet_skip", "unmet_cascade", "unmet_fail"} {
			c.completed(c.run(slug, `{"open": 1.0, "more": []}`), through)
		}
	})
	r.row("condition unmet, skip", func(c *check) {
		info := c.run("unmet_skip", `{"open": 2}`)
		c.completed(info, `{"beside": 1, "last": {"after": {}}}`)
		c.steps(info, "gate skipped condition_unmet", "after completed", "last completed", "beside completed")
		c.Zero(info.States[0].Attempts)
		c.False(info.States[0].SkippedAt.IsZero())
	})
	r.row("condition unmet, skip-cascade", func(c *check) {
		info := c.run("unmet_cascade", `null`)
		c.completed(info, `{"beside": 1}`)
		c.steps(info, "gate skipped condition_unmet", "after skipped dependency_skipped", "last skipped dependency_skipped", "beside completed")
	})
	r.row("condition unmet, fail", func(c *check) {
		info := c.run("unmet_fail", `{"open": "1"}`)
		c.failed(info, "gate", "Condition not met")
	})
	r.row("condition that must not hold", func(c *check) {
		c.completed(c.run("unless", `{"open": 2}`), through)
		c.steps(c.run("unless", `{"open": 1}`), "gate skipped condition_unmet", "after completed", "last completed", "beside completed")
	})
	r.row("conditions in a row", func(c *check) {
		info := c.run("in_a_row", `{}`)
		c.completed(info, `{"last": {}}`)
		c.steps(info, "gate skipped condition_unmet", "after skipped condition_unmet", "beside skipped condition_unmet", "last completed")
		c.completed(c.run("in_a_row", `{"open": 1}`), `{"last": {"beside": 1}}`)
	})
	r.row("condition on the output of a step", func(c *check) {
		info := c.run("of_a_step", `{}`)
		c.completed(info, `{"approve": {"judge": {"fine": true, "by": "ada"}}}`)
		c.steps(info, "judge completed", "approve completed", "reject skipped condition_unmet")
	})
}

func exhausted(r *rows) {
	broken := func(context.Context, handler.Values) (any, error) { return nil, errors.New("the gate broke") }
	var services []handler.Service
	for slug, mode := range map[string]spec.Mode{"exhausted_fail": spec.ModeFail, "exhausted_skip": spec.ModeSkip, "exhausted_cascade": spec.ModeSkipCascade} {
		services = append(services, serve(gated(slug, spec.Step{WhenExhausted: mode}),
			map[string]function{"gate": broken, "after": outputsOf, "last": outputsOf, "beside": give(`1`)}))
	}
	r.open(services...)

	r.row("exhausted, fail", func(c *check) {
		run := c.start("exhausted_fail", `{}`)
		_, err := run.Wait(c.ctx, runtime.WithPollInterval(poll))
		var failed *runtime.RunFailedError
		c.as(err, &failed)
		c.Equal(runtime.RunFailedError{RunID: run.ID(), Flow: "exhausted_fail", Status: runtime.RunFailed, Step: "gate", Message: "the gate broke"}, *failed)
		info := c.end(run)
		c.failed(info, "gate", "the gate broke")
		c.Nil(info.Output)
		c.False(info.FailedAt.IsZero())
		c.Equal(runtime.StepCreated, info.States[1].Status)
	})
	r.row("exhausted, skip", func(c *check) {
		info := c.run("exhausted_skip", `{}`)
		c.completed(info, `{"beside": 1, "last": {"after": {}}}`)
		c.steps(info, "gate skipped handler_failed", "after completed", "last completed", "beside completed")
		c.Equal("the gate broke", info.States[0].Error)
	})
	r.row("exhausted, skip-cascade", func(c *check) {
		info := c.run("exhausted_cascade", `{}`)
		c.completed(info, `{"beside": 1}`)
		c.steps(info, "gate skipped handler_failed", "after skipped dependency_skipped", "last skipped dependency_skipped", "beside completed")
		c.Equal("the gate broke", info.States[0].Error)
	})
}

func mapSteps(r *rows) {
	over := func(slug string, list spec.Step, rest ...spec.Step) spec.Flow {
		list.Slug = "list"
		return spec.Flow{Slug: slug, MaxAttempts: 1, Steps: append([]spec.Step{list, {Slug: "each", Type: spec.TypeMap, Deps: []string{"list"}}}, rest...)}
	}
	input := func(_ context.Context, v handler.Values) (any, error) { return v.Input, nil }
	item := func(_ context.Context, v handler.Values) (any, error) { return []any{"of", v.Item}, nil }
	third := func(ctx context.Context, v handler.Values) (any, error) {
		if string(v.Item) == "3" {
			return nil, errors.New("no three")
		}
		return v.Item, nil
	}
	picky := func(slug string, mode spec.Mode) spec.Flow {
		return spec.Flow{Slug: slug, MaxAttempts: 1, Steps: []spec.Step{
			{Slug: "each", Type: spec.TypeMap, WhenExhausted: mode}, {Slug: "last", Deps: []string{"each"}}}}
	}
	r.open(
		serve(spec.Flow{Slug: "over_input", Steps: []spec.Step{{Slug: "each", Type: spec.TypeMap}}}, map[string]function{"each": echo}),
		serve(over("over_step", spec.Step{}, spec.Step{Slug: "again", Type: spec.TypeMap, Deps: []string{"each"}}, spec.Step{Slug: "sum", Deps: []string{"again"}}),
			map[string]function{"list": input, "each": echo, "again": item, "sum": outputsOf}),
		serve(over("over_skipped", spec.Step{If: json.RawMessage(`{"never": 1}`)}, spec.Step{Slug: "sum", Deps: []string{"each"}}),
			map[string]function{"list": input, "each": item, "sum": outputsOf}),
		serve(picky("picky_fail", spec.ModeFail), map[string]function{"each": third, "last": outputsOf}),
		serve(picky("picky_skip", spec.ModeSkip), map[string]function{"each": third, "last": outputsOf}),
	)

	r.row("map over the input", func(c *check) {
		info := c.run("over_input", `["x", {"y": 1}, null]`)
		c.completed(info, `{"each": [
			{"input": ["x", {"y": 1}, null], "outputs": null, "item": "x"},
			{"input": ["x", {"y": 1}, null], "outputs": null, "item": {"y": 1}},
			{"input": ["x", {"y": 1}, null], "outputs": null, "item": null}]}`)
		c.Equal(3, info.States[0].Attempts)
		c.Equal(spec.TypeMap, info.States[0].Type)
		c.Equal([]*int{spec.Set(3), spec.Set(0)}, []*int{info.States[0].InitialTasks, info.States[0].RemainingTasks})
	})
	r.row("map over a step and over a map", func(c *check) {
		c.completed(c.run("over_step", `[1, "b"]`), `{"sum": {"again": [
			["of", {"input": [1, "b"], "outputs": null, "item": 1}], ["of", {"input": [1, "b"], "outputs": null, "item": "b"}]]}}`)
	})
	r.row("map over many", func(c *check) {
		list := make([]int, 200)
		for i := range list {
			list[i] = i * i
		}
		raw, err := json.Marshal(list)
		c.ok(err)
		info := c.run("picky_fail", string(raw))
		c.completed(info, `{"last": {"each": `+string(raw)+`}}`)
	})
	r.row("empty map", func(c *check) {
		info := c.run("over_input", `[]`)
		c.completed(info, `{"each": []}`)
		c.Zero(info.States[0].Attempts)
		c.completed(c.run("over_step", `[]`), `{"sum": {"again": []}}`)
	})
	r.row("map over a step that was skipped", func(c *check) {
		info := c.run("over_skipped", `{}`)
		c.completed(info, `{"sum": {"each": []}}`)
		c.steps(info, "list skipped condition_unmet", "each completed", "sum completed")
	})
	r.row("type violation", func(c *check) {
		c.failed(c.run("over_step", `{"k": 1}`), "list", "[TYPE_VIOLATION] Map step each expects array input but dependency list produced object")
	})
	r.row("element that fails", func(c *check) {
		c.failed(c.run("picky_fail", `[1, 2, 3]`), "each[2]", "no three")
	})
	r.row("element that fails, skip", func(c *check) {
		info := c.run("picky_skip", `[1, 2, 3]`)
		c.completed(info, `{"last": {}}`)
		c.steps(info, "each skipped handler_failed", "last completed")
		c.Equal("no three", info.States[0].Error)
	})
}
