package emit

import (
	"encoding/json"

	"github.com/flowc-dev/flowc/gen/internal/jsonform"
	"github.com/flowc-dev/flowc/gen/internal/model"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// Definition returns the definition that the generated package of a flow holds.
func Definition(flow *model.Flow) spec.Flow {
	def := spec.Flow{
		Slug: flow.Slug, MaxAttempts: flow.MaxAttempts, BaseDelay: flow.BaseDelay, Timeout: flow.Timeout, Cron: flow.Cron,
		Deadline: flow.Deadline, Priority: flow.Priority, Unique: unique(flow.Unique),
		Concurrency: flow.Concurrency, Key: keys(flow.Key),
		Result: result(flow), Forms: jsonform.Forms(flow),
	}
	for _, s := range flow.Steps {
		step := spec.Step{
			Slug: s.Slug, Deps: s.Deps,
			MaxAttempts: s.MaxAttempts, BaseDelay: s.BaseDelay, Timeout: s.Timeout, StartDelay: s.StartDelay,
			StartAt: keys(s.StartAt), StartDelayFrom: keys(s.StartDelayFrom), MaxWait: s.MaxWait, Priority: s.Priority, Tx: s.Tx,
			WhenUnmet: s.WhenUnmet, WhenExhausted: s.WhenExhausted,
			Key: keys(s.Key), Keep: s.Keep, Answer: s.Answer,
			Concurrency: s.Concurrency, Rate: s.Rate, Gate: s.Gate, StrictOrder: s.StrictOrder,
		}
		switch {
		case s.Map:
			step.Type = spec.TypeMap
		case s.Wait:
			step.Type, step.Shown = spec.TypeWait, made(s.Source, func(key string) string { return key })
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

// unique returns which runs are alike.
func unique(u *model.Unique) *spec.Unique {
	if u == nil {
		return nil
	}
	def := &spec.Unique{Per: u.Per, OnDuplicate: u.OnDuplicate, Debounce: u.Debounce, DebounceMax: u.DebounceMax}
	for _, p := range u.By {
		def.By = append(def.By, p.Keys)
	}
	return def
}

// keys returns the names on a path.
func keys(p *model.Path) spec.Path {
	if p == nil {
		return nil
	}
	return p.Keys
}
