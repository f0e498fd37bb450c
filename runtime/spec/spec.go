package spec

import (
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// Defaults of options, for declarations, generated code and runtime.UpsertFlow alike.
const (
	// DefaultMaxAttempts is how many attempts a task gets.
	DefaultMaxAttempts = 3
	// DefaultBaseDelay is the base of the backoff between attempts.
	DefaultBaseDelay = time.Second
	// DefaultTimeout is how long one attempt may take.
	DefaultTimeout = 60 * time.Second
	// MaxRetryDelay caps the backoff between attempts, unless the base delay is longer.
	MaxRetryDelay = 6 * time.Hour
	// DefaultMaxWait is how long a task may be snoozed, from when it is first snoozed on.
	DefaultMaxWait = 7 * 24 * time.Hour
	// DefaultKeep is how long an answer by key is kept that no run waits for.
	DefaultKeep = 24 * time.Hour
	// MaxDefaultBurst is the most that the burst of a [Rate] is by default.
	MaxDefaultBurst = 100
)

// Limits of the database.
const (
	// MaxFlowSlug is the longest slug of a flow, in characters.
	MaxFlowSlug = 47
	// MaxStepSlug is the longest slug of a step, in characters.
	MaxStepSlug = 128
	// MaxChain is how many steps in a row may resolve without a task, by their conditions
	// or as maps over empty lists: the engine resolves that many in one call.
	MaxChain = 49
	// MaxKey is the longest key of a step, in bytes.
	MaxKey = 255
	// MaxGate is the longest name of a gate, in characters.
	MaxGate = 64
)

// RunKey is the key of the run's input among the outputs of steps. No step can have
// it as its slug.
const RunKey = "run"

// A StepType is how often a step runs.
type StepType string

const (
	// TypeSingle runs once. It is the default.
	TypeSingle StepType = "single"
	// TypeMap runs once for each element of an array: of the one step it
	// depends on, or of the flow's input if it depends on none.
	TypeMap StepType = "map"
	// TypeWait has no handler: it runs once, and whoever sends the answer completes it.
	TypeWait StepType = "wait"
)

// A Tx is the kind of transaction in which a step is completed.
type Tx string

const (
	// TxPgx gives the handler a pgx.Tx.
	TxPgx Tx = "pgx"
	// TxSQL gives the handler a *sql.Tx.
	TxSQL Tx = "sql"
)

// A Mode is what happens to a step that cannot complete.
type Mode string

const (
	// ModeFail fails the run.
	ModeFail Mode = "fail"
	// ModeSkip skips the step. Steps that wait for it run without its output.
	ModeSkip Mode = "skip"
	// ModeSkipCascade skips the step and every step downstream of it.
	ModeSkipCascade Mode = "skip-cascade"
)

// A Priority is the order in which workers claim tasks: while there is one of a higher
// priority, those of a lower one wait.
type Priority string

const (
	// PriorityHigh is claimed first.
	PriorityHigh Priority = "high"
	// PriorityNormal is the default.
	PriorityNormal Priority = "normal"
	// PriorityLow is claimed last.
	PriorityLow Priority = "low"
)

// A Path leads to a value among those that a step gets: first the slug of a step that it
// waits for, or [RunKey] for the run's input, then names of members of JSON objects.
type Path []string

// String returns the path with dots: "run.payment.id".
func (p Path) String() string { return strings.Join(p, ".") }

// Set returns a pointer to a value, for fields whose zero value is meaningful:
//
//	spec.Step{Slug: "charge", BaseDelay: spec.Set(5 * time.Second)}
func Set[T any](v T) *T { return &v }

// A Flow defines a flow: its slug, its options and its steps. Generated packages have one;
// programs whose flows are known only at run time build one from plain data.
type Flow struct {
	// Slug names the flow: a letter or underscore, then letters, digits and
	// underscores, at most [MaxFlowSlug] in all, and not "run".
	Slug string
	// MaxAttempts is how many attempts a task gets, the first included.
	// Zero means [DefaultMaxAttempts].
	MaxAttempts int
	// BaseDelay is the base of the backoff between attempts, in whole seconds: the
	// n-th retry waits BaseDelay × 2^n, at most [MaxRetryDelay].
	// Nil means [DefaultBaseDelay].
	BaseDelay *time.Duration
	// Timeout is how long one attempt may take, in whole seconds.
	// Zero means [DefaultTimeout].
	Timeout time.Duration
	// Cron, if it is not empty, starts runs on schedule, with {} as their input:
	// five fields (minute, hour, day of the month, month, day of the week),
	// @hourly, @daily, @weekly, @monthly, @yearly, or @every and a duration such as
	// 90s or 1h30m. The time zone is UTC, or that of CRON_TZ=Europe/Berlin in
	// front. A worker that serves the flow starts one run for each tick, however
	// many workers there are, and one run for all ticks that were missed.
	//
	// When daylight saving time begins, a tick at a time that does not exist is
	// shifted by the difference; when it ends, a tick at a time that exists twice comes
	// the first time. If the hour is * or */n, ticks follow the local time instead:
	// they are left out, or come twice.
	//
	// When a flow whose slug ends in _v2 gets a schedule, those of earlier versions are
	// paused, since both would run otherwise.
	Cron string
	// Deadline is how long a run may take, in whole seconds, from when it starts. Then it
	// fails. Zero means that it may take as long as it likes.
	Deadline time.Duration
	// Priority is that of all steps that have none of their own, in runs that are started
	// without one. Empty means [PriorityNormal].
	Priority Priority
	// Unique says which runs are alike, and what becomes of a start if there is another
	// run like it. Nil means that each start is a run.
	Unique *Unique
	// Concurrency is how many runs of the flow, or with each key, may be in progress at once,
	// over all workers: from when a run begins until it has completed, failed or been
	// cancelled. Other runs wait in line, scheduled, and begin in the order in which they were
	// due. Zero means no limit. Each version of a flow has a limit of its own.
	Concurrency int
	// Key leads to a text or a whole number in the input of a run, whose values have
	// Concurrency each for themselves. It begins with [RunKey]. A value that is missing is a
	// key, too. Nil means that all runs share it.
	Key Path
	// Result describes the result of the flow, composed of the outputs of its steps. Nil
	// declares none: runs then only have runtime.RunInfo.Output.
	Result *Result
	// Forms are the forms of the values between steps in JSON, if they are known. They
	// do not change how a flow runs; [CompareForms] compares them.
	Forms *Forms
	// Steps are the steps, in any order. At least one.
	Steps []Step
	// Conditions tie patterns and paths of steps to the Go types they were generated from, so that
	// [Flow.Validate] finds those that no longer fit. They are not stored.
	Conditions []Condition
}

// As returns the flow under another slug.
func (f Flow) As(slug string) Flow {
	f.Slug = slug
	return f
}

// NeedsEngine reports whether the flow has what only flowc's engine knows of: steps that
// wait or commit with their effects, limits and turns by key, a deadline, runs that are unique or limited,
// times that are read from values, and bounds of snoozes. A schedule and priorities are not
// among it.
func (f Flow) NeedsEngine() bool {
	return f.Deadline != 0 || f.Unique != nil || f.Concurrency != 0 || slices.ContainsFunc(f.Steps, func(s Step) bool {
		return s.Type == TypeWait || s.IsGated() || s.StartAt != nil || s.StartDelayFrom != nil || s.MaxWait != 0 || s.Tx != ""
	})
}

// HasPriorities reports whether the flow or one of its steps has a priority.
func (f Flow) HasPriorities() bool {
	return f.Priority != "" || slices.ContainsFunc(f.Steps, func(s Step) bool { return s.Priority != "" })
}

// Unique says that runs of a flow are alike whose inputs have the same values, and that one
// of them is enough: until it has ended, or for a time, or until it begins. It holds across
// the versions of the flow that look at the same values.
type Unique struct {
	// By leads to the values that make two runs alike. Each path begins with [RunKey], which
	// alone is the whole input. A value that is missing is null.
	By []Path
	// Per is for how long no other run is started, in whole seconds, from when one is
	// created, whatever becomes of that. Zero means until it has ended.
	Per time.Duration
	// OnDuplicate is what becomes of another start meanwhile. Defaults to [DuplicateKeep].
	OnDuplicate Duplicate
	// Debounce is how long a run waits before it begins, in whole seconds. Another start
	// meanwhile replaces its input and its headers, and lets it wait anew. Once it has begun,
	// the next start is another run. Zero means that runs begin at once.
	Debounce time.Duration
	// DebounceMax is how long a run waits at most, in whole seconds, from the first start on.
	// Zero means ten times Debounce.
	DebounceMax time.Duration
}

// A Duplicate is what becomes of a start if there is another run like it.
type Duplicate string

const (
	// DuplicateKeep starts nothing: the start returns the run that is there.
	DuplicateKeep Duplicate = "keep"
	// DuplicateReplace starts the new run, and cancels the one that is there.
	DuplicateReplace Duplicate = "replace"
	// DuplicateError starts nothing: the start returns a runtime.DuplicateRunError.
	DuplicateError Duplicate = "error"
)

// Step returns the step with a slug, nil if the flow has none.
func (f Flow) Step(slug string) *Step {
	for i := range f.Steps {
		if f.Steps[i].Slug == slug {
			return &f.Steps[i]
		}
	}
	return nil
}

// A Result describes a value that is made of others, such as the result of a flow: one of
// them, or an object with several. The zero Result is no value.
type Result struct {
	// From is the slug of the step whose output it is, or [RunKey] for the run's input.
	From string `json:"from,omitempty"`
	// Fields are the members of an object, if From is empty.
	Fields []ResultField `json:"fields,omitempty"`
}

// A ResultField is a member of a [Result].
type ResultField struct {
	// Name is the name of the member. If it is empty, the value of From is an object whose
	// members become members of the result, unless a field has their name.
	Name string `json:"name,omitempty"`
	// From is the slug of a step, or [RunKey].
	From string `json:"from"`
}

// A Step defines one step of a flow. Options that are not set are inherited from the flow.
type Step struct {
	// Slug names the step within its flow: formed like a flow's, at most
	// [MaxStepSlug] characters.
	Slug string
	// Type defaults to [TypeSingle].
	Type StepType
	// Deps are the slugs of the steps that this one waits for; a [TypeMap] has
	// at most one, whose output it maps over.
	Deps []string
	// MaxAttempts is how many attempts a task of this step gets. Zero means that of
	// the flow.
	MaxAttempts int
	// BaseDelay is the base of the backoff between attempts, in whole seconds. Nil means
	// that of the flow.
	BaseDelay *time.Duration
	// Timeout is how long one attempt may take, in whole seconds. Zero means that of
	// the flow. For a [TypeWait] it is how long the step waits for an answer; then
	// WhenExhausted decides. Zero means for ever.
	Timeout time.Duration
	// StartDelay is how long tasks wait after the step is ready, in whole seconds.
	StartDelay time.Duration
	// StartAt leads to the time, a string in RFC 3339, at which tasks of the step may
	// start. It is read when the step is ready. A value that is null, missing or in the
	// past means at once.
	StartAt Path
	// StartDelayFrom leads to how long tasks wait after the step is ready, a number of
	// nanoseconds, as a [time.Duration] is written. It is read when the step is ready.
	StartDelayFrom Path
	// MaxWait is how long a task may be snoozed, in whole seconds, from when it is first
	// snoozed on. Beyond that, a snooze counts as a failed attempt. Zero means
	// [DefaultMaxWait].
	MaxWait time.Duration
	// Priority is that of the tasks of the step. Empty means that of the run.
	Priority Priority
	// Tx has the handler write in a transaction that commits exactly if the step, or the
	// task of a map, is completed. Empty means that it has none. Workers in other
	// languages do not heed it.
	Tx Tx
	// If is a JSON object: the step runs only if its subject contains it. The
	// subject of a step without Deps is the run's input, of any other an object
	// with the outputs of its Deps. Nil means no condition.
	If json.RawMessage
	// IfNot is a JSON object: the step runs only if its subject does not
	// contain it. Nil means no condition.
	IfNot json.RawMessage
	// WhenUnmet is what happens if a condition does not hold.
	// Defaults to [ModeSkip].
	WhenUnmet Mode
	// WhenExhausted is what happens after the last failed attempt, or if nobody answers a
	// [TypeWait] in time. Defaults to [ModeFail].
	WhenExhausted Mode

	// Key leads to the key of the step: a string of at most [MaxKey] bytes, or a whole
	// number. It is read when the step is ready. Nil means that it has none. A step whose key
	// is too long fails.
	//
	// By the key of a [TypeWait], runtime.SignalBy finds it; where the value is null, empty or
	// of another form, it waits without a key. Tasks of any other step are
	// claimed in turn among keys, each key has limits of its own, and a value that is
	// null or missing is the key "".
	Key Path
	// Keep is how long an answer to the Key of a [TypeWait] is kept if no run waits with
	// that key, in whole seconds. Zero means [DefaultKeep].
	Keep time.Duration
	// Answer is a JSON Schema of the answer to a [TypeWait], of which forms are made. It
	// does not check answers. Beside the keywords of JSON Schema, propertyOrder has the
	// names of an object in the order of the fields, enumNames has names for the numbers
	// of an enum, and the format nanoseconds is that of a [time.Duration]. Nil if it is
	// not known.
	Answer json.RawMessage
	// Shown is what the one who answers a [TypeWait] is shown: the run's input and outputs
	// of the Deps. Nil means all of them.
	Shown *Result

	// Concurrency is how many tasks of the step, or of each of its keys, may be in flight
	// at once, with all workers together. Zero means no limit.
	Concurrency int
	// Rate is how many attempts of the step, or of each of its keys, may begin, with all
	// workers together. The zero Rate means no limit.
	Rate Rate
	// Gate, if it is not empty, is a name under which steps of this and other flows share
	// their Concurrency and Rate, which all of them give alike. It is formed like a slug
	// and has at most [MaxGate] characters.
	Gate string
	// StrictOrder makes a task that waits for its next attempt keep its place: those
	// behind it wait, too. It needs a Concurrency of 1.
	StrictOrder bool
}
