package runtime

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// Payload returns the definition as the database takes it, a JSON document: the
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
		Result: d.Result,
		Forms:  d.Forms,
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
	Result  *Result      `json:"result,omitempty"`
	Forms   *Forms       `json:"forms,omitempty"`
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

// GetDefinition reads a flow's definition from the database.
//
// Errors: [ErrFlowNotFound].
func GetDefinition(ctx context.Context, db DB, slug string) (Definition, error) {
	if checkFlowSlug(slug) != nil {
		return Definition{}, &FlowNotFoundError{Flow: slug} // for it cannot be there
	}
	doc, _, err := collectOne(ctx, db, pgx.RowTo[[]byte], `SELECT flowc.get_definition($1)`, slug)
	if err != nil {
		return Definition{}, fmt.Errorf("flowc: reading flow %s: %w", slug, err)
	}
	if doc == nil {
		return Definition{}, &FlowNotFoundError{Flow: slug}
	}
	return ParseDefinition(slug, doc)
}

// ParseDefinition reads the document that [Definition.Payload] makes, and
// [FlowInfo] has.
func ParseDefinition(slug string, payload []byte) (Definition, error) {
	var doc shape
	if err := json.Unmarshal(payload, &doc); err != nil {
		return Definition{}, fmt.Errorf("flowc: the definition of flow %s: %w", slug, err)
	}
	d := Definition{Slug: slug, FlowOptions: FlowOptions{
		MaxAttempts: doc.Options.MaxAttempts,
		BaseDelay:   duration(doc.Options.BaseDelay),
		Timeout:     duration(doc.Options.Timeout),
		Cron:        doc.Options.Cron,
		Result:      doc.Result,
		Forms:       doc.Forms,
	}}
	for _, s := range doc.Steps {
		if !s.If.Defined && !s.IfNot.Defined {
			s.WhenUnmet = "" // which a definition may not say then
		}
		d.Steps = append(d.Steps, StepOptions{
			Slug: s.Slug, Type: s.Type, Deps: s.Deps,
			MaxAttempts: s.Options.MaxAttempts, BaseDelay: duration(s.Options.BaseDelay),
			Timeout: duration(s.Options.Timeout), StartDelay: duration(s.Options.StartDelay),
			If: s.If.Value, IfNot: s.IfNot.Value, WhenUnmet: s.WhenUnmet, WhenExhausted: s.WhenExhausted,
		})
	}
	return d, nil
}

func duration(seconds *int) *time.Duration {
	if seconds == nil {
		return nil
	}
	return Set(time.Duration(*seconds) * time.Second)
}
