package spec

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// A Rate limits how many attempts begin in a span of time. The zero Rate is no limit.
//
// It is a token bucket: an attempt takes a token, retries too, Tokens of them come in each
// Per, evenly, and Burst of them are kept while nobody takes any.
type Rate struct {
	// Tokens is how many attempts may begin in each Per, at least 1.
	Tokens int
	// Per is a span of whole seconds.
	Per time.Duration
	// Burst is how many attempts may begin at once. Zero means Tokens, but not more than
	// [MaxDefaultBurst].
	Burst int
}

// WithBurst returns the rate with the default of Burst filled in.
func (r Rate) WithBurst() Rate {
	if r.Burst == 0 && r.Tokens != 0 {
		r.Burst = min(r.Tokens, MaxDefaultBurst)
	}
	return r
}

// String returns the rate as a tag has it: "500/m", or "500/m,20" if the burst is not the
// default. The zero Rate is "none".
func (r Rate) String() string {
	if r == (Rate{}) {
		return "none"
	}
	per := ""
	switch r.Per {
	case time.Second:
		per = "s"
	case time.Minute:
		per = "m"
	case time.Hour:
		per = "h"
	default:
		per = strconv.FormatFloat(r.Per.Seconds(), 'f', -1, 64) + "s"
	}
	text := strconv.Itoa(r.Tokens) + "/" + per
	if bare := (Rate{Tokens: r.Tokens, Per: r.Per}); r.WithBurst() != bare.WithBurst() {
		text += "," + strconv.Itoa(r.Burst)
	}
	return text
}

var rateSyntax = regexp.MustCompile(`^([0-9]+)/([smh])(?:,([0-9]+))?$`)

// ParseRate parses a rate as a tag has it: "500/m", or "500/m,20" with its burst; s, m and h
// are a second, a minute and an hour.
func ParseRate(text string) (Rate, error) {
	m := rateSyntax.FindStringSubmatch(text)
	if m == nil {
		return Rate{}, fmt.Errorf("%q is not a rate; write it as 10/s, 500/m or 500/m,20", text)
	}
	count := func(digits string) (n int) {
		n, _ = strconv.Atoi(digits) // which is the largest int if it is too much
		return n
	}
	r := Rate{Tokens: count(m[1]), Per: map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}[m[2]], Burst: count(m[3])}
	if r.Tokens < 1 || r.Tokens > math.MaxInt32 || m[3] != "" && r.Burst < 1 || r.Burst > math.MaxInt32 {
		return Rate{}, fmt.Errorf("the numbers of the rate %q must be 1 to %d", text, math.MaxInt32)
	}
	return r, nil
}

// Limits are those of a step, or of a gate, whose steps share them.
type Limits struct {
	// Concurrency is how many tasks may be in flight at once, Rate how many attempts may
	// begin. Zero means no limit.
	Concurrency int
	Rate        Rate
	// StrictOrder makes a task that waits for a retry keep its place.
	StrictOrder bool
}

// Limits returns the limits of a step.
func (s Step) Limits() Limits {
	return Limits{Concurrency: s.Concurrency, Rate: s.Rate.WithBurst(), StrictOrder: s.StrictOrder}
}

// String returns the limits in words: "5 at once, 500/m (burst 20)". No limits are "none".
func (l Limits) String() string {
	var words []string
	switch {
	case l.Concurrency == 1:
		words = append(words, "one at a time")
	case l.Concurrency != 0:
		words = append(words, strconv.Itoa(l.Concurrency)+" at once")
	}
	if l.Rate != (Rate{}) {
		rate := l.Rate
		rate.Burst = 0
		words = append(words, rate.String())
		if l.Rate.WithBurst() != rate.WithBurst() {
			words[len(words)-1] += fmt.Sprintf(" (burst %d)", l.Rate.Burst)
		}
	}
	if l.StrictOrder {
		words = append(words, "in strict order")
	}
	if words == nil {
		return "none"
	}
	return strings.Join(words, ", ")
}

// At returns the limits in words, with the gate that has a name and the key that they are
// for, if there are: "500/m at gate openai", "5 at once for each run.tenant_id", or "in turn
// by run.tenant_id" without limits. It is empty if there is none of them.
func (l Limits) At(gate, key string) string {
	switch {
	case l == Limits{} && key == "":
		return ""
	case l == Limits{}:
		return "in turn by " + key
	}
	words := l.String()
	if gate != "" {
		words += " at gate " + gate
	}
	if key != "" {
		words += " for each " + key
	}
	return words
}

// IsGated reports whether tasks of the step wait for their turn: they have a limit, or a
// key, whose values take turns.
func (s Step) IsGated() bool {
	return s.Type != TypeWait && (s.Key != nil || s.Concurrency != 0 || s.Rate != (Rate{}) || s.Gate != "")
}

// gateFault returns what is wrong with the name of a gate, or the empty string.
func gateFault(name string) string {
	switch {
	case len(name) > MaxGate:
		return fmt.Sprintf("the name %q has %d characters, the limit is %d", name, len(name), MaxGate)
	case !slugSyntax.MatchString(name):
		return fmt.Sprintf("the name %q must be a letter or underscore, then letters, digits and underscores", name)
	}
	return ""
}

// limits checks the limits of a step.
func (v *validator) limits(name string, s Step) {
	if s.Type == TypeWait {
		return // which has none
	}
	v.path(name, "Key", s.Key, s)
	v.concurrency(name, s.Concurrency)
	v.rate(name, s.Rate)
	if s.Gate != "" {
		if fault := gateFault(s.Gate); fault != "" {
			v.fault(name, "Gate: %s", fault)
		}
		if s.Concurrency == 0 && s.Rate == (Rate{}) {
			v.fault(name, "Gate has no effect without Concurrency or Rate")
		}
	}
	if s.StrictOrder && s.Concurrency != 1 {
		v.fault(name, "StrictOrder needs a Concurrency of 1")
	}
}

func (v *validator) concurrency(name string, n int) {
	switch {
	case n < 0:
		v.fault(name, "Concurrency is %d, it must be at least 1, or 0 for no limit", n)
	case n > math.MaxInt32:
		v.fault(name, "Concurrency is %d, the limit is %d", n, math.MaxInt32)
	}
}

func (v *validator) rate(name string, r Rate) {
	if r == (Rate{}) {
		return
	}
	switch {
	case r.Tokens < 1:
		v.fault(name, "Rate has %d Tokens, it must have at least 1", r.Tokens)
	case r.Tokens > math.MaxInt32:
		v.fault(name, "Rate has %d Tokens, the limit is %d", r.Tokens, math.MaxInt32)
	}
	v.seconds(name, "Per of Rate", r.Per, time.Second)
	switch {
	case r.Burst < 0:
		v.fault(name, "Rate has a Burst of %d, it must be at least 1, or 0 for the default", r.Burst)
	case r.Burst > math.MaxInt32:
		v.fault(name, "Rate has a Burst of %d, the limit is %d", r.Burst, math.MaxInt32)
	}
}

// gates checks that steps that name one gate say the same limits.
func (v *validator) gates() {
	first := map[string]Step{}
	for _, s := range v.def.Steps {
		if s.Gate == "" || s.Type == TypeWait {
			continue
		}
		other, seen := first[s.Gate]
		switch {
		case !seen:
			first[s.Gate] = s
		case s.Limits() != other.Limits():
			v.fault(s.Slug, "its limits of gate %s are %s, and those of step %s are %s", s.Gate, s.Limits(), other.Slug, other.Limits())
		case (s.Key == nil) != (other.Key == nil):
			keyed, keyless := s, other
			if s.Key == nil {
				keyed, keyless = other, s
			}
			v.fault(s.Slug, "step %s has a Key at gate %s and step %s has none, so they would not share it", keyed.Slug, s.Gate, keyless.Slug)
		}
	}
}
