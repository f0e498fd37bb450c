package spec

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flowc-dev/flowc/runtime/internal/jsontext"
)

// A Difference is one difference between two definitions of a flow.
type Difference struct {
	// Step is the slug of a step; empty if it is about the flow.
	Step string
	// What names what differs, such as "max_attempts"; empty if one of the two lacks the
	// step.
	What string
	// From and To are its values in the one and in the other, as text.
	From, To string
}

const there, missing = "there", "not there"

// String describes the difference as a change from the one to the other.
func (d Difference) String() string {
	switch {
	case d.Step == "":
		return d.What + " was " + d.From + ", and is " + d.To
	case d.What != "":
		return "step " + d.Step + ": " + d.What + " was " + d.From + ", and is " + d.To
	case d.From == missing:
		return "step " + d.Step + " is new"
	}
	return "step " + d.Step + " is gone"
}

// InPlace reports whether an upsert changes it in an existing flow. Anything else is the
// flow's shape, and needs a new version.
func (d Difference) InPlace() bool {
	switch d.What {
	case "max_attempts", "base_delay", "timeout", "start_delay", "cron", "deadline", "start_at", "max_wait", "priority", "tx", "key", "keep", "answer", "shown",
		"concurrency", "rate", "gate", "strict_order", "unique", "per", "on_duplicate", "debounce", "debounce_max":
		return true
	}
	return false
}

// Compare returns the differences between two definitions of a flow: its options,
// then its steps in their order, with what they wait for, their conditions and
// their options. An option that is not set equals its default.
func Compare(from, to Flow) []Difference {
	var all []Difference
	note := func(step, what, from, to string) {
		if from != to {
			all = append(all, Difference{step, what, from, to})
		}
	}
	note("", "max_attempts", countOr(from.MaxAttempts, strconv.Itoa(DefaultMaxAttempts)), countOr(to.MaxAttempts, strconv.Itoa(DefaultMaxAttempts)))
	note("", "base_delay", delayOr(from.BaseDelay, DefaultBaseDelay.String()), delayOr(to.BaseDelay, DefaultBaseDelay.String()))
	note("", "timeout", spanOr(from.Timeout, DefaultTimeout.String()), spanOr(to.Timeout, DefaultTimeout.String()))
	note("", "cron", textOr(from.Cron, "none"), textOr(to.Cron, "none"))
	note("", "deadline", spanOr(from.Deadline, "none"), spanOr(to.Deadline, "none"))
	note("", "priority", textOr(string(from.Priority), "normal"), textOr(string(to.Priority), "normal"))
	a, b := uniqueOr(from.Unique), uniqueOr(to.Unique)
	note("", "unique", uniqueWords(a), uniqueWords(b))
	note("", "per", spanOr(a.Per, "none"), spanOr(b.Per, "none"))
	note("", "on_duplicate", textOr(string(a.OnDuplicate), string(DuplicateKeep)), textOr(string(b.OnDuplicate), string(DuplicateKeep)))
	note("", "debounce", spanOr(a.Debounce, "none"), spanOr(b.Debounce, "none"))
	note("", "debounce_max", spanOr(a.debounceMax(), "none"), spanOr(b.debounceMax(), "none"))
	note("", "concurrency", countOr(from.Concurrency, "none"), countOr(to.Concurrency, "none"))
	note("", "key", textOr(from.Key.String(), "none"), textOr(to.Key.String(), "none"))
	others := map[string]Step{}
	for _, s := range to.Steps {
		others[s.Slug] = s
	}
	for _, s := range from.Steps {
		o, ok := others[s.Slug]
		if !ok {
			note(s.Slug, "", there, missing)
			continue
		}
		delete(others, s.Slug)
		note(s.Slug, "type", typeWord(s.Type), typeWord(o.Type))
		note(s.Slug, "what it waits for", slugWords(s.Deps), slugWords(o.Deps))
		note(s.Slug, "if", patternWords(s.If), patternWords(o.If))
		note(s.Slug, "if_not", patternWords(s.IfNot), patternWords(o.IfNot))
		if s.If != nil || s.IfNot != nil {
			note(s.Slug, "when_unmet", modeOr(s.WhenUnmet, ModeSkip), modeOr(o.WhenUnmet, ModeSkip))
		}
		note(s.Slug, "when_exhausted", modeOr(s.WhenExhausted, ModeFail), modeOr(o.WhenExhausted, ModeFail))
		note(s.Slug, "max_attempts", countOr(s.MaxAttempts, inherited), countOr(o.MaxAttempts, inherited))
		note(s.Slug, "base_delay", delayOr(s.BaseDelay, inherited), delayOr(o.BaseDelay, inherited))
		note(s.Slug, "timeout", timeoutWords(s), timeoutWords(o))
		note(s.Slug, "start_delay", delayWords(s), delayWords(o))
		note(s.Slug, "start_at", textOr(s.StartAt.String(), "none"), textOr(o.StartAt.String(), "none"))
		note(s.Slug, "max_wait", spanOr(s.MaxWait, DefaultMaxWait.String()), spanOr(o.MaxWait, DefaultMaxWait.String()))
		note(s.Slug, "priority", textOr(string(s.Priority), inherited), textOr(string(o.Priority), inherited))
		note(s.Slug, "tx", textOr(string(s.Tx), "none"), textOr(string(o.Tx), "none"))
		note(s.Slug, "key", textOr(s.Key.String(), "none"), textOr(o.Key.String(), "none"))
		note(s.Slug, "keep", spanOr(s.Keep, DefaultKeep.String()), spanOr(o.Keep, DefaultKeep.String()))
		note(s.Slug, "concurrency", countOr(s.Concurrency, "none"), countOr(o.Concurrency, "none"))
		note(s.Slug, "rate", s.Rate.String(), o.Rate.String())
		note(s.Slug, "gate", textOr(s.Gate, "none"), textOr(o.Gate, "none"))
		note(s.Slug, "strict_order", strconv.FormatBool(s.StrictOrder), strconv.FormatBool(o.StrictOrder))
		note(s.Slug, "answer", patternWords(s.Answer), patternWords(o.Answer))
		note(s.Slug, "shown", shownWords(s.Shown), shownWords(o.Shown))
	}
	for _, s := range to.Steps {
		if _, left := others[s.Slug]; left {
			note(s.Slug, "", missing, there)
		}
	}
	if len(from.Steps) == len(to.Steps) && !slices.ContainsFunc(all, func(d Difference) bool { return d.What == "" }) {
		note("", "the order of the steps", orderWords(from), orderWords(to))
	}
	return all
}

// uniqueOr returns what makes runs unique, nothing if they are not.
func uniqueOr(u *Unique) *Unique {
	if u == nil {
		return &Unique{}
	}
	return u
}

// uniqueWords returns the values that make two runs alike.
func uniqueWords(u *Unique) string {
	var paths []string
	for _, p := range u.By {
		paths = append(paths, p.String())
	}
	return textOr(strings.Join(paths, ", "), "none")
}

// orderWords returns the slugs of the steps in the order that the database stores.
func orderWords(f Flow) string {
	steps, _ := f.Order()
	var slugs []string
	for _, s := range steps {
		slugs = append(slugs, s.Slug)
	}
	return strings.Join(slugs, ", ")
}

// inherited is what an option is that a step does not set.
const inherited = "the flow's"

// timeoutWords returns how long an attempt of a step may take, or how long it waits.
func timeoutWords(s Step) string {
	if s.Type == TypeWait {
		return spanOr(s.Timeout, "none")
	}
	return spanOr(s.Timeout, inherited)
}

// delayWords returns how long the tasks of a step wait, or where that is read.
func delayWords(s Step) string {
	return textOr(s.StartDelayFrom.String(), spanOr(s.StartDelay, "none"))
}

func countOr(n int, unset string) string {
	if n == 0 {
		return unset
	}
	return strconv.Itoa(n)
}

func spanOr(d time.Duration, unset string) string {
	if d == 0 {
		return unset
	}
	return d.String()
}

func delayOr(d *time.Duration, unset string) string {
	if d == nil {
		return unset
	}
	return d.String()
}

func textOr(text, unset string) string {
	if text == "" {
		return unset
	}
	return text
}

func modeOr(m, unset Mode) string {
	if m == "" {
		m = unset
	}
	return string(m)
}

func typeWord(t StepType) string {
	if t == "" {
		t = TypeSingle
	}
	return string(t)
}

// slugWords lists slugs, sorted.
func slugWords(slugs []string) string {
	if len(slugs) == 0 {
		return "nothing"
	}
	sorted := slices.Clone(slugs)
	slices.Sort(sorted)
	return strings.Join(sorted, ", ")
}

// shownWords returns what the one who answers a wait is shown.
func shownWords(shown *Result) string {
	switch {
	case shown == nil:
		return "everything"
	case shown.From != "":
		return shown.From
	}
	var parts []string
	for _, f := range shown.Fields {
		part := f.From
		if f.Name != "" {
			part = f.Name + " from " + f.From
		}
		parts = append(parts, part)
	}
	return textOr(strings.Join(parts, ", "), "nothing")
}

// patternWords returns the canonical form of a condition, however its JSON is written.
func patternWords(pattern json.RawMessage) string {
	if pattern == nil {
		return "none"
	}
	value, err := jsontext.Decode(pattern) // no digit is lost
	if err != nil {
		return string(pattern)
	}
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if e.Encode(value) != nil {
		return string(pattern)
	}
	return strings.TrimSpace(b.String())
}
