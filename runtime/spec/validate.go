package spec

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/flowc-dev/flowc/runtime/internal/jsontext"
)

var slugSyntax = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)

// slugFault returns what is wrong with a slug, or the empty string.
func slugFault(slug string, limit int) string {
	switch {
	case slug == "":
		return "the slug is missing"
	case len(slug) > limit:
		return fmt.Sprintf("the slug %q has %d characters, the limit is %d", slug, len(slug), limit)
	case !slugSyntax.MatchString(slug):
		return fmt.Sprintf("the slug %q must be a letter or underscore, then letters, digits and underscores", slug)
	case slug == RunKey:
		return fmt.Sprintf("the slug %q is reserved", slug)
	}
	return ""
}

// SlugProblem returns what is wrong with the slug of a flow, or the empty string.
func SlugProblem(slug string) string { return slugFault(slug, MaxFlowSlug) }

// Validate reports everything that is wrong with the definition at once, as an
// [InvalidFlowError]; nil if nothing is.
func (f Flow) Validate() error {
	_, err := f.sorted()
	return err
}

// sorted returns the steps in an order that can run: each after those it waits for, and
// otherwise in the given order.
func (f Flow) sorted() ([]Step, error) {
	v := validator{def: f, places: map[string]int{}}
	v.flow()
	v.result()
	for i, step := range f.Steps {
		v.step(i, step)
	}
	v.gates()
	order := v.order()
	v.faults = append(v.faults, outdated(f)...)
	if len(v.faults) > 0 {
		return nil, &InvalidFlowError{Flow: f.Slug, Faults: v.faults}
	}
	return order, nil
}

type validator struct {
	def    Flow
	places map[string]int // of the first step with a slug
	faults []Fault
}

func (v *validator) fault(step, format string, args ...any) {
	v.faults = append(v.faults, Fault{Step: step, Problem: fmt.Sprintf(format, args...)})
}

func (v *validator) flow() {
	if fault := slugFault(v.def.Slug, MaxFlowSlug); fault != "" {
		v.fault("", "%s", fault)
	}
	v.options("", v.def.MaxAttempts, v.def.BaseDelay, v.def.Timeout)
	if v.def.Deadline != 0 {
		v.seconds("", "Deadline", v.def.Deadline, time.Second)
	}
	v.priority("", v.def.Priority)
	if v.def.Unique != nil {
		v.unique(*v.def.Unique)
	}
	v.concurrency("", v.def.Concurrency)
	v.path("", "Key", v.def.Key, Step{})
	if v.def.Key != nil && v.def.Concurrency == 0 {
		v.fault("", "Key has no effect without Concurrency")
	}
	if len(v.def.Steps) == 0 {
		v.fault("", "it has no steps, at least one is needed")
	}
	for i, step := range v.def.Steps {
		first, twice := v.places[step.Slug]
		if twice && step.Slug != "" {
			v.fault(step.Slug, "it is there twice, as step %d and as step %d", first+1, i+1)
		} else {
			v.places[step.Slug] = i
		}
	}
}

// unique checks which runs are alike, and what becomes of a start if there is one.
func (v *validator) unique(u Unique) {
	if len(u.By) == 0 {
		v.fault("", "its Unique says by no value which runs are alike")
	}
	for i, path := range u.By {
		v.path("", "Unique", path, Step{})
		if slices.ContainsFunc(u.By[:i], func(other Path) bool { return slices.Equal(path, other) }) {
			v.fault("", "its Unique has %s twice", path)
		}
	}
	for _, d := range []struct {
		name string
		span time.Duration
	}{{"Per", u.Per}, {"Debounce", u.Debounce}, {"DebounceMax", u.DebounceMax}} {
		if d.span != 0 {
			v.seconds("", "Unique."+d.name, d.span, time.Second)
		}
	}
	if !slices.Contains([]Duplicate{"", DuplicateKeep, DuplicateReplace, DuplicateError}, u.OnDuplicate) {
		v.fault("", "Unique.OnDuplicate is %q, it must be %q, %q or %q", u.OnDuplicate, DuplicateKeep, DuplicateReplace, DuplicateError)
	}
	switch {
	case u.Debounce == 0:
		if u.DebounceMax != 0 {
			v.fault("", "Unique.DebounceMax has no effect without Debounce")
		}
		if u.Per != 0 && u.OnDuplicate == DuplicateReplace {
			v.fault("", "Unique has Per, and OnDuplicate %q: a run that has ended cannot be replaced", DuplicateReplace)
		}
		return
	case u.DebounceMax != 0 && u.DebounceMax < u.Debounce:
		v.fault("", "Unique.DebounceMax is %s, it must be at least Debounce, which is %s", u.DebounceMax, u.Debounce)
	}
	if u.Per != 0 {
		v.fault("", "Unique has both Debounce and Per")
	}
	if u.OnDuplicate != "" {
		v.fault("", "Unique has OnDuplicate, and Debounce, with which the run that is there gets the new input")
	}
	if v.def.Cron != "" {
		v.fault("", "Unique has Debounce, and Cron starts the flow: each tick would only put off the one before it")
	}
}

// result checks that the result of the flow comes from steps that it has.
func (v *validator) result() {
	if v.def.Result == nil {
		return
	}
	for _, slug := range v.sources("", "its Result", v.def.Result) {
		if _, known := v.places[slug]; !known && slug != RunKey {
			v.fault("", "its Result comes from %q, which is no step of this flow", slug)
		}
	}
}

// sources returns where a value comes from.
func (v *validator) sources(step, name string, r *Result) (slugs []string) {
	if r.From != "" {
		slugs = append(slugs, r.From)
		if len(r.Fields) > 0 {
			v.fault(step, "%s has both From and Fields", name)
		}
	}
	for _, field := range r.Fields {
		slugs = append(slugs, field.From)
	}
	return slugs
}

func (v *validator) options(step string, attempts int, delay *time.Duration, timeout time.Duration) {
	switch {
	case attempts < 0:
		v.fault(step, "MaxAttempts is %d, it counts the first attempt and must be at least 1", attempts)
	case attempts > math.MaxInt32:
		v.fault(step, "MaxAttempts is %d, the limit is %d", attempts, math.MaxInt32)
	}
	if delay != nil {
		v.seconds(step, "BaseDelay", *delay, 0)
	}
	if timeout != 0 {
		v.seconds(step, "Timeout", timeout, time.Second)
	}
}

// seconds checks an option that the database stores in whole seconds.
func (v *validator) seconds(step, name string, d, least time.Duration) {
	switch {
	case d < least:
		v.fault(step, "%s is %s, it must be at least %s", name, d, least)
	case d%time.Second != 0:
		v.fault(step, "%s is %s, it must be whole seconds", name, d)
	case d/time.Second > math.MaxInt32:
		v.fault(step, "%s is %s, the limit is %s", name, d, math.MaxInt32*time.Second)
	}
}

func (v *validator) step(i int, s Step) {
	name := s.Slug
	if name == "" {
		name = fmt.Sprintf("%d", i+1)
	}
	if fault := slugFault(s.Slug, MaxStepSlug); fault != "" {
		v.fault(name, "%s", fault)
	}
	v.options(name, s.MaxAttempts, s.BaseDelay, s.Timeout)
	v.seconds(name, "StartDelay", s.StartDelay, 0)
	if !slices.Contains([]StepType{"", TypeSingle, TypeMap, TypeWait}, s.Type) {
		v.fault(name, "Type is %q, it must be %q, %q or %q", s.Type, TypeSingle, TypeMap, TypeWait)
	}
	if s.Type == TypeMap && len(s.Deps) > 1 {
		v.fault(name, "a map step waits for one step at most, not for %s", strings.Join(s.Deps, ", "))
	}
	for j, dep := range s.Deps {
		switch _, known := v.places[dep]; {
		case dep == s.Slug:
			v.fault(name, "it waits for itself")
		case !known || dep == "":
			v.fault(name, "it waits for %q, which is no step of this flow", dep)
		case slices.Contains(s.Deps[:j], dep):
			v.fault(name, "it waits for %q twice", dep)
		}
	}
	if s.Type == TypeMap && len(s.Deps) == 0 && v.def.Cron != "" {
		v.fault(name, "it is a map over the flow's input, which is {} when Cron starts the flow, and has to be a list")
	}
	v.priority(name, s.Priority)
	if s.Type == TypeMap && len(s.Deps) == 0 && v.def.Unique != nil {
		v.fault(name, "it is a map over the flow's input, and Unique cannot look into a list")
	}
	if s.Type == TypeMap && len(s.Deps) == 0 && v.def.Key != nil {
		v.fault(name, "it is a map over the flow's input, and Key of the flow cannot look into a list")
	}
	v.task(name, s)
	v.wait(name, s)
	v.limits(name, s)
	v.conditions(name, s)
}

// priority checks that a priority is one of the three.
func (v *validator) priority(step string, p Priority) {
	if !slices.Contains([]Priority{"", PriorityHigh, PriorityNormal, PriorityLow}, p) {
		v.fault(step, "Priority is %q, it must be %q, %q or %q", p, PriorityHigh, PriorityNormal, PriorityLow)
	}
}

// task checks when tasks of a step may start, how long they may be snoozed, and how they
// are completed.
func (v *validator) task(name string, s Step) {
	if s.Type == TypeWait {
		return // which has none
	}
	v.path(name, "StartAt", s.StartAt, s)
	v.path(name, "StartDelayFrom", s.StartDelayFrom, s)
	switch {
	case s.StartAt != nil && s.StartDelayFrom != nil:
		v.fault(name, "it has both StartAt and StartDelayFrom")
	case s.StartDelay != 0 && (s.StartAt != nil || s.StartDelayFrom != nil):
		v.fault(name, "it has StartDelay, and StartAt or StartDelayFrom")
	}
	if s.MaxWait != 0 {
		v.seconds(name, "MaxWait", s.MaxWait, time.Second)
	}
	if !slices.Contains([]Tx{"", TxPgx, TxSQL}, s.Tx) {
		v.fault(name, "Tx is %q, it must be %q or %q", s.Tx, TxPgx, TxSQL)
	}
}

// wait checks the options that only a wait has, and those that it cannot have.
func (v *validator) wait(name string, s Step) {
	if s.Type != TypeWait {
		for _, option := range []struct {
			name string
			set  bool
		}{{"Keep", s.Keep != 0}, {"Answer", s.Answer != nil}, {"Shown", s.Shown != nil}} {
			if option.set {
				v.fault(name, "%s is only for a step of Type %q", option.name, TypeWait)
			}
		}
		return
	}
	for _, option := range []struct {
		name string
		set  bool
	}{
		{"MaxAttempts", s.MaxAttempts != 0}, {"BaseDelay", s.BaseDelay != nil}, {"StartDelay", s.StartDelay != 0},
		{"StartAt", s.StartAt != nil}, {"StartDelayFrom", s.StartDelayFrom != nil}, {"MaxWait", s.MaxWait != 0},
		{"Priority", s.Priority != ""}, {"Tx", s.Tx != ""},
		{"Concurrency", s.Concurrency != 0}, {"Rate", s.Rate != Rate{}}, {"Gate", s.Gate != ""}, {"StrictOrder", s.StrictOrder},
	} {
		if option.set {
			v.fault(name, "%s is not for a wait, which nobody attempts", option.name)
		}
	}
	v.path(name, "Key", s.Key, s)
	if s.Keep != 0 {
		v.seconds(name, "Keep", s.Keep, time.Second)
		if s.Key == nil {
			v.fault(name, "Keep has no effect without Key")
		}
	}
	if s.Shown != nil {
		for _, slug := range v.sources(name, "Shown", s.Shown) {
			if slug != RunKey && !slices.Contains(s.Deps, slug) {
				v.fault(name, "Shown comes from %q, which is neither %q nor a step that it waits for", slug, RunKey)
			}
		}
	}
	var schema map[string]json.RawMessage
	switch {
	case s.Answer == nil:
	case json.Unmarshal(s.Answer, &schema) != nil || schema == nil:
		v.fault(name, "Answer must be a JSON object, not %s", s.Answer)
	case jsontext.Check(s.Answer) != nil:
		v.fault(name, "Answer cannot be stored: %v", jsontext.Check(s.Answer))
	}
}

// path checks that a path begins with a value that the step has when it is ready.
func (v *validator) path(name, option string, path Path, s Step) {
	switch {
	case path == nil:
	case len(path) == 0 || slices.Contains(path, ""):
		v.fault(name, "%s is a path with an empty name", option)
	case path[0] != RunKey && !slices.Contains(s.Deps, path[0]):
		v.fault(name, "%s begins with %q, which is neither %q nor a step that it waits for", option, path[0], RunKey)
	case slices.ContainsFunc(path, func(member string) bool { return strings.ContainsRune(member, 0) || !utf8.ValidString(member) }):
		v.fault(name, "%s cannot be stored: it contains characters that PostgreSQL refuses", option)
	}
}

func (v *validator) conditions(name string, s Step) {
	for _, c := range []struct {
		name    string
		pattern json.RawMessage
	}{{"If", s.If}, {"IfNot", s.IfNot}} {
		var object map[string]json.RawMessage
		switch {
		case c.pattern == nil:
		case json.Unmarshal(c.pattern, &object) != nil || object == nil:
			v.fault(name, "%s must be a JSON object, not %s", c.name, c.pattern)
		case jsontext.Check(c.pattern) != nil:
			v.fault(name, "%s cannot be stored: %v", c.name, jsontext.Check(c.pattern))
		case len(s.Deps) > 0 && foreign(object, s.Deps) != "":
			v.fault(name, "%s looks at %q, which is no step that it waits for", c.name, foreign(object, s.Deps))
		case s.Type == TypeMap && len(s.Deps) == 0:
			v.fault(name, "%s on a map over the flow's input would be compared with a list and never hold", c.name)
		}
	}
	modes := []Mode{"", ModeFail, ModeSkip, ModeSkipCascade}
	if !slices.Contains(modes, s.WhenUnmet) {
		v.fault(name, "WhenUnmet is %q, it must be %q, %q or %q", s.WhenUnmet, ModeFail, ModeSkip, ModeSkipCascade)
	}
	if s.WhenUnmet != "" && s.If == nil && s.IfNot == nil {
		v.fault(name, "WhenUnmet has no effect without If or IfNot")
	}
	if !slices.Contains(modes, s.WhenExhausted) {
		v.fault(name, "WhenExhausted is %q, it must be %q, %q or %q", s.WhenExhausted, ModeFail, ModeSkip, ModeSkipCascade)
	}
}

// order sorts the steps, and reports cycles and chains that are too long.
func (v *validator) order() []Step {
	steps, cycle := v.def.Order()
	if cycle != nil {
		v.fault("", "steps wait for each other: %s", strings.Join(append(cycle, cycle[0]), " waits for "))
	}
	if chain := v.def.LongChain(); chain != nil {
		v.fault(chain[len(chain)-1], "it is the %dth in a row of steps that have a condition or are maps, at most %d can follow each other", len(chain), MaxChain)
	}
	return steps
}

// foreign returns the first member of a pattern that is the output of no dependency.
func foreign(pattern map[string]json.RawMessage, deps []string) string {
	for _, name := range slices.Sorted(maps.Keys(pattern)) {
		if !slices.Contains(deps, name) {
			return name
		}
	}
	return ""
}
