// Package model is a flow as plain values: what the compiler knows once it has
// read and checked a declaration, and all that an emitter needs.
package model

import (
	"encoding/json"
	"go/types"
	"strings"
	"time"

	"github.com/flowc-dev/flowc/runtime/spec"
)

// DSL is the import path of the package that declarations are written with.
const DSL = "github.com/flowc-dev/flowc/dsl"

// A Flow is a declared flow or job.
type Flow struct {
	// Name is the Go name of the declared type, Base the same without a
	// trailing Flow or Job: the X of StartX.
	Name, Base string
	// Doc is the doc comment, without slashes.
	Doc string
	// Job is set for a flow of one step that was declared as a dsl.Job.
	Job bool
	// Declaring is the package of the declaration, Dir its folder.
	Declaring *types.Package
	Dir       string
	// Constraint is the build constraint of the declaring file; "" if it has none.
	Constraint string
	// Package is the name and the folder of the generated package.
	Package string
	// Slug is the name in the database, with the version, which is at least 1.
	Slug    string
	Version int
	Options
	// Cron is when the clock starts it, as it was written; "" if it does not.
	Cron string
	// Deadline is how long a run may take; zero for as long as it likes.
	Deadline time.Duration
	// Unique says which runs are alike, nil if it does not matter.
	Unique *Unique
	// Concurrency is how many runs may be in progress at once, zero for no limit; Key is
	// where the key is that they have it for, nil if all share it. Those of a job are its step's.
	Concurrency int
	Key         *Path
	// In and Out are what a run takes and gives; nil for nothing.
	In, Out types.Type
	// Result says where Out comes from.
	Result Source
	// Steps are in an order that runs: each after those it waits for, and as
	// declared where that leaves a choice.
	Steps []*Step
	// Declared is the struct as it was declared, tags included.
	Declared *types.Struct
}

// Path returns the import path of the generated package.
func (f *Flow) Path() string { return f.Declaring.Path() + "/" + f.Package }

// A Step is a step or a map step of a flow, or the only one of a job.
type Step struct {
	// Name is the Go name of the field, Slug the name in the database.
	Name, Slug string
	Doc        string
	// Map is set for a step that runs once for each element of a list, Wait for one that
	// has no handler and waits for an answer.
	Map, Wait bool
	// In is what one call of the handler takes, Out what it gives; nil for nothing.
	In, Out types.Type
	// Source says where In comes from.
	Source Source
	// Over is what a map step runs over: the slug of a step, or [spec.RunKey].
	Over string
	// Deps are the slugs of the steps that this one waits for, as declared.
	Deps []string
	Options
	StartDelay time.Duration
	MaxWait    time.Duration // how long a task may be snoozed
	Tx         spec.Tx       // the transaction that it is completed in
	// StartAt and StartDelayFrom lead to when it starts, Key to its key; nil for none.
	StartAt, StartDelayFrom, Key *Path
	// Keep is how long an answer to the key of a wait is kept.
	Keep time.Duration
	// Answer is the JSON Schema of the answer to a wait; nil for any other step.
	Answer json.RawMessage
	// Concurrency and Rate are its limits, zero for none, and Gate is the name under which
	// steps share them.
	Concurrency int
	Rate        spec.Rate
	Gate        string
	StrictOrder bool

	If, IfNot     *Condition
	WhenUnmet     spec.Mode
	WhenExhausted spec.Mode
}

// Unique is which runs of a flow are alike, and what becomes of a start if there is one.
type Unique struct {
	By                         []*Path
	Per, Debounce, DebounceMax time.Duration
	OnDuplicate                spec.Duplicate
}

// Options are what a flow and a step can set. What is zero is inherited.
type Options struct {
	MaxAttempts int
	BaseDelay   *time.Duration // which may be none
	Timeout     time.Duration
	Priority    spec.Priority
}

// A Path leads to a value that a step has when it is ready.
type Path struct {
	// Text is the path as it was written, Keys the names on the way in JSON, after the
	// slug of a step or [spec.RunKey].
	Text string
	Keys spec.Path
	// Type is what it leads to.
	Type types.Type
	// Omitted is set if JSON leaves its zero value out.
	Omitted bool
	// Way is the way in Go, as that of a condition. It has no value.
	Way Term
}

// A Condition is when a step runs.
type Condition struct {
	// Text is the condition as it was written.
	Text string
	// Pattern is the JSON object that the subject has to contain.
	Pattern string
	// Terms are what the pattern was made from.
	Terms []Term
}

// A Term is an equality of a condition.
type Term struct {
	// Key is the slug of the step whose output is looked at, or [spec.RunKey]; Start
	// is its Go name, and Type what it gives or that points to.
	Key, Start string
	Type       types.Type
	// Path are the fields on the way, past embedded structs.
	Path []Hop
	// Value is what stands there, as a Go literal.
	Value string
}

// A Hop is a field on a path. Pointer says that it has to be followed.
type Hop struct {
	Name    string
	Pointer bool
}

// A Source says where a value comes from.
type Source struct {
	Kind SourceKind
	// Type is what is read.
	Type types.Type
	// Key is the slug of the step of an Output.
	Key string
	// Fields are those of a Join, in their order.
	Fields []Field
}

// A SourceKind is one of the ways to get a value.
type SourceKind int

const (
	Nothing SourceKind = iota // there is no value
	Input                     // the run's input
	Output                    // the output of a step
	Item                      // the element that a map step works on
	Join                      // a struct with a field for each value
)

// A Field is a field of a join.
type Field struct {
	Name     string
	Embedded bool
	Type     types.Type
	// Key is the slug of the step, or [spec.RunKey].
	Key string
}

// TypeName returns a type as the package home writes it.
func TypeName(home *types.Package, t types.Type) string {
	return types.TypeString(t, func(p *types.Package) string {
		if p == home {
			return ""
		}
		return p.Name()
	})
}

// Span returns a duration as one would say it: 90s, 5m, 1h30m.
func Span(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Waits says in short how long a step waits for its answer.
func (s *Step) Waits() string {
	if s.Timeout == 0 {
		return "waits for an answer"
	}
	return "waits at most " + Span(s.Timeout)
}

// Turns returns in words which limits a step has, and for which key; "" for none.
func (s *Step) Turns() string {
	key := ""
	if s.Key != nil && !s.Wait {
		key = s.Key.Text
	}
	return spec.Limits{Concurrency: s.Concurrency, Rate: s.Rate, StrictOrder: s.StrictOrder}.At(s.Gate, key)
}
