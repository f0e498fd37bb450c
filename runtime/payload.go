package runtime

import (
	"encoding/json"
	"slices"
	"time"
)

// Payload is the definition as the database takes it, a JSON document: the
// steps in an order that runs, and the options in seconds, with the defaults
// filled in for the flow. A definition that is not valid is an [InvalidFlowError].
func (d Definition) Payload() ([]byte, error) {
	steps, err := d.sorted()
	if err != nil {
		return nil, err
	}
	doc := shape{
		Steps: make([]shapeStep, len(steps)),
		Options: shapeOptions{
			MaxAttempts: or(d.MaxAttempts, DefaultMaxAttempts),
			BaseDelay:   seconds(or(d.BaseDelay, DefaultBaseDelay)),
			Timeout:     seconds(or(d.Timeout, DefaultTimeout)),
			Cron:        d.Cron,
		},
	}
	for i, s := range steps {
		deps := append([]string{}, s.Deps...)
		slices.Sort(deps)
		doc.Steps[i] = shapeStep{
			Slug:          s.Slug,
			Type:          orDefault(s.Type, SingleStep),
			Deps:          deps,
			WhenUnmet:     orDefault(s.WhenUnmet, SkipStep),
			WhenExhausted: orDefault(s.WhenExhausted, FailRun),
			If:            pattern{Defined: s.If != nil, Value: s.If},
			IfNot:         pattern{Defined: s.IfNot != nil, Value: s.IfNot},
			Options: shapeOptions{
				MaxAttempts: s.MaxAttempts,
				BaseDelay:   seconds(s.BaseDelay),
				Timeout:     seconds(s.Timeout),
				StartDelay:  seconds(s.StartDelay),
			},
		}
	}
	return json.Marshal(doc)
}

// The document that pgflow's compile functions take.
type shape struct {
	Steps   []shapeStep  `json:"steps"`
	Options shapeOptions `json:"options"`
}

type shapeStep struct {
	Slug          string       `json:"slug"`
	Type          StepType     `json:"stepType"`
	Deps          []string     `json:"dependencies"`
	WhenUnmet     Mode         `json:"whenUnmet"`
	WhenExhausted Mode         `json:"whenExhausted"`
	If            pattern      `json:"requiredInputPattern"`
	IfNot         pattern      `json:"forbiddenInputPattern"`
	Options       shapeOptions `json:"options,omitzero"`
}

type pattern struct {
	Defined bool            `json:"defined"`
	Value   json.RawMessage `json:"value,omitempty"`
}

type shapeOptions struct {
	MaxAttempts *int `json:"maxAttempts,omitempty"`
	BaseDelay   *int `json:"baseDelay,omitempty"`
	Timeout     *int `json:"timeout,omitempty"`
	StartDelay  *int `json:"startDelay,omitempty"`

	Cron string `json:"cron,omitempty"`
}

func seconds(d *time.Duration) *int {
	if d == nil {
		return nil
	}
	return Set(int(*d / time.Second))
}

// or is the option, or its default if it is not set.
func or[T any](option *T, def T) *T {
	if option == nil {
		return &def
	}
	return option
}

func orDefault[T ~string](option, def T) T {
	if option == "" {
		return def
	}
	return option
}
