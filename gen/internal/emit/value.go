package emit

import (
	"encoding/json"

	"github.com/flowc-dev/flowc/gen/internal/jsonform"
	"github.com/flowc-dev/flowc/gen/internal/model"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// Definition is the definition that the generated package of a flow holds, as a
// value.
func Definition(flow *model.Flow) spec.Flow {
	def := spec.Flow{
		Slug: flow.Slug, MaxAttempts: orZero(flow.MaxAttempts), BaseDelay: flow.BaseDelay, Timeout: orZero(flow.Timeout), Cron: flow.Cron,
		Result: result(flow), Forms: jsonform.Forms(flow),
	}
	for _, s := range flow.Steps {
		step := spec.Step{
			Slug: s.Slug, Deps: s.Deps,
			MaxAttempts: orZero(s.MaxAttempts), BaseDelay: s.BaseDelay, Timeout: orZero(s.Timeout), StartDelay: orZero(s.StartDelay),
			WhenUnmet: spec.Mode(s.WhenUnmet), WhenExhausted: spec.Mode(s.WhenExhausted),
		}
		if s.Map {
			step.Type = spec.TypeMap
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

func orZero[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
