package spec

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"
)

// Payload returns the definition as a JSON document for the database: the steps in
// topological order, and the options in seconds, with the defaults filled in for the flow.
// For an invalid definition it returns an [InvalidFlowError].
func (f Flow) Payload() ([]byte, error) {
	doc, err := f.document()
	if err != nil {
		return nil, err
	}
	return json.Marshal(doc)
}

// Document returns the definition as a JSON document for a file: that of [Flow.Payload], with
// the slug.
func (f Flow) Document() ([]byte, error) {
	doc, err := f.document()
	if err != nil {
		return nil, err
	}
	doc.Slug = f.Slug
	return json.Marshal(doc)
}

func (f Flow) document() (doc document, err error) {
	steps, err := f.sorted()
	if err != nil {
		return doc, err
	}
	doc = document{
		Steps: make([]documentStep, len(steps)),
		Options: documentOptions{
			MaxAttempts: Set(cmp.Or(f.MaxAttempts, DefaultMaxAttempts)),
			BaseDelay:   seconds(cmp.Or(f.BaseDelay, Set(DefaultBaseDelay))),
			Timeout:     seconds(Set(cmp.Or(f.Timeout, DefaultTimeout))),
			Cron:        f.Cron,
		},
		Settings: flowSettings(f),
		Result:   f.Result,
		Forms:    f.Forms,
	}
	for i, s := range steps {
		deps := append([]string{}, s.Deps...)
		slices.Sort(deps)
		doc.Steps[i] = documentStep{
			Slug: s.Slug,
			Type: cmp.Or(s.Type, TypeSingle),
			Settings: settings{
				Keep: seconds(orNil(s.Keep)), Answer: s.Answer, Shown: s.Shown,
				StartAt: s.StartAt, StartDelay: s.StartDelayFrom, MaxWait: seconds(orNil(s.MaxWait)), Priority: s.Priority, Tx: s.Tx,
				Concurrency: s.Concurrency, Rate: rateOf(s.Rate), Gate: s.Gate, StrictOrder: s.StrictOrder,
			},
			Deps:          deps,
			WhenUnmet:     cmp.Or(s.WhenUnmet, ModeSkip),
			WhenExhausted: cmp.Or(s.WhenExhausted, ModeFail),
			If:            pattern{Defined: s.If != nil, Value: s.If},
			IfNot:         pattern{Defined: s.IfNot != nil, Value: s.IfNot},
			Options: documentOptions{
				MaxAttempts: orNil(s.MaxAttempts),
				BaseDelay:   seconds(s.BaseDelay),
				Timeout:     seconds(orNil(s.Timeout)),
				StartDelay:  seconds(orNil(s.StartDelay)),
			},
		}
		step := &doc.Steps[i]
		if s.Type == TypeWait {
			// To the contract it is a single step with one attempt.
			step.Type, step.Kind, step.Options.MaxAttempts = TypeSingle, TypeWait, Set(1)
			step.Settings.Key = s.Key
		} else {
			step.Settings.GateKey = s.Key
		}
	}
	return doc, nil
}

// A document is a definition for pgflow's compile functions.
type document struct {
	Slug    string          `json:"slug,omitempty"`
	Options documentOptions `json:"options"`
	Steps   []documentStep  `json:"steps"`
	// Settings are what only the engine knows.
	Settings settings `json:"settings,omitzero"`
	Result   *Result  `json:"result,omitempty"`
	Forms    *Forms   `json:"forms,omitempty"`
}

type documentStep struct {
	Slug          string          `json:"slug"`
	Type          StepType        `json:"stepType"`
	Kind          StepType        `json:"kind,omitempty"`
	Deps          []string        `json:"dependencies"`
	WhenUnmet     Mode            `json:"whenUnmet"`
	WhenExhausted Mode            `json:"whenExhausted"`
	If            pattern         `json:"requiredInputPattern"`
	IfNot         pattern         `json:"forbiddenInputPattern"`
	Options       documentOptions `json:"options,omitzero"`
	Settings      settings        `json:"settings,omitzero"`
}

// settings are the options of a flow or a step that the contract does not have; spans are
// in seconds.
type settings struct {
	Key        Path            `json:"key,omitempty"`
	Keep       *int            `json:"keep,omitempty"`
	Answer     json.RawMessage `json:"answer,omitempty"`
	Shown      *Result         `json:"shown,omitempty"`
	StartAt    Path            `json:"startAt,omitempty"`
	StartDelay Path            `json:"startDelay,omitempty"`
	MaxWait    *int            `json:"maxWait,omitempty"`
	Priority   Priority        `json:"priority,omitempty"`
	Deadline   *int            `json:"deadline,omitempty"`
	Tx         Tx              `json:"tx,omitempty"`

	Concurrency int    `json:"concurrency,omitempty"`
	Rate        *rate  `json:"rate,omitempty"`
	Gate        string `json:"gate,omitempty"`
	GateKey     Path   `json:"gateKey,omitempty"`
	StrictOrder bool   `json:"strictOrder,omitempty"`

	Unique      []Path    `json:"unique,omitempty"`
	Per         *int      `json:"per,omitempty"`
	OnDuplicate Duplicate `json:"onDuplicate,omitempty"`
	Debounce    *int      `json:"debounce,omitempty"`
	DebounceMax *int      `json:"debounceMax,omitempty"`
}

// A rate is a [Rate] with its burst.
type rate struct {
	Tokens  int `json:"tokens"`
	Seconds int `json:"seconds"`
	Burst   int `json:"burst"`
}

func rateOf(r Rate) *rate {
	if r == (Rate{}) {
		return nil
	}
	return &rate{Tokens: r.Tokens, Seconds: int(r.Per / time.Second), Burst: r.WithBurst().Burst}
}

func (r *rate) rate() Rate {
	if r == nil {
		return Rate{}
	}
	return Rate{Tokens: r.Tokens, Per: time.Duration(r.Seconds) * time.Second, Burst: r.Burst}
}

func flowSettings(f Flow) settings {
	s := settings{Deadline: seconds(orNil(f.Deadline)), Priority: f.Priority, Concurrency: f.Concurrency, GateKey: f.Key}
	if u := f.Unique; u != nil {
		s.Unique, s.Per, s.OnDuplicate = u.By, seconds(orNil(u.Per)), u.OnDuplicate
		s.Debounce, s.DebounceMax = seconds(orNil(u.Debounce)), seconds(orNil(u.debounceMax()))
	}
	return s
}

// unique returns what settings say of unique runs.
func (s settings) unique() *Unique {
	if s.Unique == nil {
		return nil
	}
	return &Unique{
		By: s.Unique, Per: orZero(duration(s.Per)), OnDuplicate: s.OnDuplicate,
		Debounce: orZero(duration(s.Debounce)), DebounceMax: orZero(duration(s.DebounceMax)),
	}
}

// debounceMax returns how long a run waits at most.
func (u *Unique) debounceMax() time.Duration {
	return min(cmp.Or(u.DebounceMax, 10*u.Debounce), math.MaxInt32*time.Second)
}

type pattern struct {
	Defined bool            `json:"defined"`
	Value   json.RawMessage `json:"value,omitempty"`
}

type documentOptions struct {
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

// orNil returns a pointer to an option, nil if it is not set.
func orNil[T comparable](option T) *T {
	if option == *new(T) {
		return nil
	}
	return &option
}

// Parse parses the document that [Flow.Payload] returns.
func Parse(slug string, payload []byte) (Flow, error) {
	var doc document
	if err := json.Unmarshal(payload, &doc); err != nil {
		return Flow{}, fmt.Errorf("flowc: the definition of flow %s: %w", slug, err)
	}
	return doc.flow(slug), nil
}

// ParseDocument parses the document that [Flow.Document] returns. An unknown member is an
// error, since it may be misspelt.
func ParseDocument(raw []byte) (Flow, error) {
	var doc document
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&doc); err != nil {
		return Flow{}, fmt.Errorf("flowc: reading the definition of a flow: %w", err)
	}
	return doc.flow(doc.Slug), nil
}

func (doc document) flow(slug string) Flow {
	f := Flow{
		Slug:        slug,
		MaxAttempts: orZero(doc.Options.MaxAttempts),
		BaseDelay:   duration(doc.Options.BaseDelay),
		Timeout:     orZero(duration(doc.Options.Timeout)),
		Cron:        doc.Options.Cron,
		Deadline:    orZero(duration(doc.Settings.Deadline)),
		Priority:    doc.Settings.Priority,
		Unique:      doc.Settings.unique(),
		Concurrency: doc.Settings.Concurrency,
		Key:         doc.Settings.GateKey,
		Result:      doc.Result,
		Forms:       doc.Forms,
	}
	for _, s := range doc.Steps {
		if !s.If.Defined && !s.IfNot.Defined {
			s.WhenUnmet = "" // which a definition may not say then
		}
		if s.Kind == TypeWait {
			s.Type, s.Options.MaxAttempts = TypeWait, nil
		} else {
			s.Settings.Key = s.Settings.GateKey
		}
		f.Steps = append(f.Steps, Step{
			Slug: s.Slug, Type: s.Type, Deps: s.Deps,
			MaxAttempts: orZero(s.Options.MaxAttempts), BaseDelay: duration(s.Options.BaseDelay),
			Timeout: orZero(duration(s.Options.Timeout)), StartDelay: orZero(duration(s.Options.StartDelay)),
			If: s.If.Value, IfNot: s.IfNot.Value, WhenUnmet: s.WhenUnmet, WhenExhausted: s.WhenExhausted,
			Key: s.Settings.Key, Keep: orZero(duration(s.Settings.Keep)), Answer: s.Settings.Answer, Shown: s.Settings.Shown,
			StartAt: s.Settings.StartAt, StartDelayFrom: s.Settings.StartDelay, MaxWait: orZero(duration(s.Settings.MaxWait)),
			Priority: s.Settings.Priority, Tx: s.Settings.Tx,
			Concurrency: s.Settings.Concurrency, Rate: s.Settings.Rate.rate(), Gate: s.Settings.Gate, StrictOrder: s.Settings.StrictOrder,
		})
	}
	return f
}

func duration(seconds *int) *time.Duration {
	if seconds == nil {
		return nil
	}
	return Set(time.Duration(*seconds) * time.Second)
}

func orZero[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
