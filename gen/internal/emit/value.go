package emit

import (
	"encoding/json"

	"github.com/flowc-dev/flowc/gen/internal/jsonform"
	"github.com/flowc-dev/flowc/gen/internal/model"
	"github.com/flowc-dev/flowc/runtime"
)

// Definition is the definition that the generated package of a flow holds, as a
// value.
func Definition(flow *model.Flow) runtime.Definition {
	def := runtime.Definition{Slug: flow.Slug, FlowOptions: runtime.FlowOptions{
		MaxAttempts: flow.MaxAttempts, BaseDelay: flow.BaseDelay, Timeout: flow.Timeout, Cron: flow.Cron,
		Result: result(flow), Forms: jsonform.Forms(flow),
	}}
	for _, s := range flow.Steps {
		step := runtime.StepOptions{
			Slug: s.Slug, Deps: s.Deps,
			MaxAttempts: s.MaxAttempts, BaseDelay: s.BaseDelay, Timeout: s.Timeout, StartDelay: s.StartDelay,
			WhenUnmet: runtime.Mode(s.WhenUnmet), WhenExhausted: runtime.Mode(s.WhenExhausted),
		}
		if s.Map {
			step.Type = runtime.MapStep
		}
		if s.If != nil {
			step.If = json.RawMessage(s.If.Pattern)
		}
		if s.IfNot != nil {
			step.IfNot = json.RawMessage(s.IfNot.Pattern)
		}
		def.Steps = append(def.Steps, step)
	}
	return def
}
