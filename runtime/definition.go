package runtime

import (
	"encoding/json"
	"time"
)

// What a flow gets that does not set an option. They are the defaults of the
// declaration language, of [UpsertFlow] and of the generated code alike.
const (
	// DefaultMaxAttempts is how often a task is tried in all.
	DefaultMaxAttempts = 3
	// DefaultBaseDelay is what the delays between tries grow from.
	DefaultBaseDelay = time.Second
	// DefaultTimeout is how long one try may take.
	DefaultTimeout = 60 * time.Second
	// MaxRetryDelay caps the delay between tries, unless the base delay is longer.
	MaxRetryDelay = 6 * time.Hour
)

// Limits that the database sets.
const (
	// MaxFlowSlug is the longest slug of a flow, in characters.
	MaxFlowSlug = 47
	// MaxStepSlug is the longest slug of a step, in characters.
	MaxStepSlug = 128
)

// A StepType tells how often a step runs.
type StepType string

const (
	// SingleStep runs once. It is the type of a step that names none.
	SingleStep StepType = "single"
	// MapStep runs once for each element of an array: of the one step it
	// depends on, or of the flow's input if it depends on none.
	MapStep StepType = "map"
)

// A Mode is what happens to a step that cannot complete.
type Mode string

const (
	// FailRun fails the run.
	FailRun Mode = "fail"
	// SkipStep skips the step. Steps that wait for it run without its output.
	SkipStep Mode = "skip"
	// SkipCascade skips the step and every step behind it.
	SkipCascade Mode = "skip-cascade"
)

// Set returns a pointer to the value of an optional field:
//
//	runtime.StepOptions{Slug: "charge", MaxAttempts: runtime.Set(5)}
func Set[T any](v T) *T { return &v }

// A Definition is a flow as the database keeps it: its slug, its options and
// its steps. Generated code has one; [UpsertFlow] makes one from plain data.
type Definition struct {
	// Slug names the flow: a letter or underscore, then letters, digits and
	// underscores, at most [MaxFlowSlug] in all, and not "run".
	Slug string
	FlowOptions
}

// FlowOptions describes a flow: its steps, and the options that they inherit.
type FlowOptions struct {
	// MaxAttempts is how often a task is tried in all, at least 1.
	// Defaults to [DefaultMaxAttempts].
	MaxAttempts *int
	// BaseDelay is what the delays between tries grow from, in whole seconds:
	// the n-th retry waits BaseDelay × 2^n, at most [MaxRetryDelay].
	// Defaults to [DefaultBaseDelay].
	BaseDelay *time.Duration
	// Timeout is how long one try may take, in whole seconds, at least one.
	// Defaults to [DefaultTimeout].
	Timeout *time.Duration
	// Cron, if it is not empty, is when the clock starts runs, with {} as their
	// input: five fields (minute, hour, day of the month, month, day of the week),
	// @hourly, @daily, @weekly, @monthly, @yearly, or @every and a span such as
	// 90s or 1h30m. The time zone is UTC, or that of CRON_TZ=Europe/Berlin in
	// front. A worker that serves the flow starts one run for each tick, however
	// many workers there are, and one run for all ticks that were missed.
	//
	// Where the clock is set forward, a tick at a time that does not exist comes
	// as much later; where it is set back, a tick at a time that there is twice
	// comes the first time. If the hour is * or */n, ticks follow the clock instead:
	// they are left out, and come twice.
	//
	// When a flow whose slug ends in _v2 gets its schedule, those of the versions
	// before it are paused, since both would run otherwise.
	Cron string
	// Result says what the flow gives, of the outputs of its steps. Nil leaves it open:
	// all there is to be shown of a run then is [RunInfo.Output].
	Result *Result
	// Forms are the forms that what travels between steps has in JSON, as far as they
	// are known. They do not change what is done; [CompareForms] compares them.
	Forms *Forms
	// Steps are the steps, in any order. At least one.
	Steps []StepOptions
}

// A Result describes the output of a flow: one value, or an object with several. The zero
// Result is nothing.
type Result struct {
	// From is the slug of the step whose output it is, or [RunKey] for the run's input.
	From string `json:"from,omitempty"`
	// Fields are the members of an object, if From is empty.
	Fields []ResultField `json:"fields,omitempty"`
}

// A ResultField is a member of a [Result].
type ResultField struct {
	// Name is the name of the member. If it is empty, From gives an object whose members
	// are members of the result, unless a field has their name.
	Name string `json:"name,omitempty"`
	// From is the slug of a step, or [RunKey].
	From string `json:"from"`
}

// StepOptions describes one step of a flow. What is nil is inherited from the flow.
type StepOptions struct {
	// Slug names the step within its flow: formed like a flow's, at most
	// [MaxStepSlug] characters.
	Slug string
	// Type defaults to [SingleStep].
	Type StepType
	// Deps are the slugs of the steps that this one waits for; a [MapStep] has
	// at most one, whose output it maps over.
	Deps []string
	// MaxAttempts is how often a task of this step is tried in all, at least 1.
	MaxAttempts *int
	// BaseDelay is what the delays between tries grow from, in whole seconds.
	BaseDelay *time.Duration
	// Timeout is how long one try may take, in whole seconds, at least one.
	Timeout *time.Duration
	// StartDelay is the wait between ready and started, in whole seconds.
	// Defaults to none.
	StartDelay *time.Duration
	// If is a JSON object: the step runs only if its subject contains it. The
	// subject of a step without Deps is the run's input, of any other an object
	// with the outputs of its Deps. Nil means no condition.
	If json.RawMessage
	// IfNot is a JSON object: the step runs only if its subject does not
	// contain it. Nil means no condition.
	IfNot json.RawMessage
	// WhenUnmet says what happens if a condition does not hold.
	// Defaults to [SkipStep].
	WhenUnmet Mode
	// WhenExhausted says what happens after the last failed try.
	// Defaults to [FailRun].
	WhenExhausted Mode
}
