package tags

import (
	"errors"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/flowc-dev/flowc/gen/internal/diag"
	"github.com/flowc-dev/flowc/gen/internal/model"
	"github.com/flowc-dev/flowc/gen/nearest"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// number reads an int of at least 1 that the database can hold. It returns 0 if it is
// not one.
func (r *reader) number(p *Pair) int {
	n, err := strconv.ParseInt(p.Value, 10, 32)
	switch {
	case errors.Is(err, strconv.ErrRange) && n > 0:
		r.diags.Add(diag.BadNumber, p.Pos(0), p.End(), "%s: %s %q is more than the database can hold", r.who, p.Key, p.Value).
			Fix("write at most %d", math.MaxInt32)
		return 0
	case err != nil || n < 1:
		d := r.diags.Add(diag.BadNumber, p.Pos(0), p.End(), "%s: %s %q is not a whole number of at least 1", r.who, p.Key, p.Value)
		switch {
		case p.Key == "max_attempts" && n == 0 && err == nil:
			d.Fix(`max_attempts:"1": the first attempt counts too`).Edit(p.Pos(0), p.End(), "1")
		case p.Key == "concurrency" && err == nil:
			d.Fix(`remove it for no limit, or write concurrency:"1" for one at a time`)
		case err == nil:
			d.Fix(`%s:"1"`, p.Key).Edit(p.Pos(0), p.End(), "1")
		default:
			d.Fix(`write digits, such as %s:"3"`, p.Key)
		}
		return 0
	}
	return int(n)
}

// duration reads a duration in whole seconds.
func (r *reader) duration(p *Pair, least time.Duration) (d time.Duration, ok bool) {
	d, err := time.ParseDuration(p.Value)
	switch {
	case err == nil && d/time.Second > math.MaxInt32, err != nil && endlessSpan.MatchString(p.Value):
		r.diags.Add(diag.BadDuration, p.Pos(0), p.End(), "%s: %s %q is more than the database can hold", r.who, p.Key, p.Value).
			Fix("stay below 68 years")
		return 0, false
	case err != nil:
		if n, err := strconv.Atoi(p.Value); err == nil && n > 0 && n <= math.MaxInt32 {
			fixed := p.Value + "s"
			r.diags.Add(diag.BadDuration, p.Pos(0), p.End(), "%s: %s %q is not a duration: it has no unit", r.who, p.Key, p.Value).
				Fix(`%s:"%s", if seconds are meant`, p.Key, fixed).Edit(p.Pos(0), p.End(), fixed)
		} else {
			r.diags.Add(diag.BadDuration, p.Pos(0), p.End(), "%s: %s %q is not a duration", r.who, p.Key, p.Value).
				Fix(`write a Go duration, such as %s:"90s" or %s:"5m"`, p.Key, p.Key)
		}
		return 0, false
	case d < least:
		words := "not be negative"
		if least > 0 {
			words = "be a second or more"
		}
		r.diags.Add(diag.BadDuration, p.Pos(0), p.End(), "%s: %s %q must %s", r.who, p.Key, p.Value, words).
			Fix(`%s:"%s"`, p.Key, model.Span(max(least, 0))).Edit(p.Pos(0), p.End(), model.Span(least))
		return 0, false
	case d%time.Second != 0:
		fixed := model.Span(d.Truncate(time.Second) + time.Second)
		r.diags.Add(diag.BadDuration, p.Pos(0), p.End(), "%s: %s %q is not in whole seconds, which is what the database keeps", r.who, p.Key, p.Value).
			Fix(`%s:"%s"`, p.Key, fixed).Edit(p.Pos(0), p.End(), fixed)
		return 0, false
	}
	return d, true
}

// endlessSpan is what time.ParseDuration refuses only because it is too long, with a
// unit or without.
var endlessSpan = regexp.MustCompile(`^\+?(\d{11,}|(\d+(\.\d*)?(ns|us|µs|ms|s|m|h))+)$`)

// isPath reports whether a value leads to a value: it begins with Input or the name of
// a step, as no duration does.
func isPath(value string) bool {
	first, _ := utf8.DecodeRuneInString(value)
	return unicode.IsUpper(first)
}

// priority reads one of the three priorities.
func (r *reader) priority(p *Pair) spec.Priority {
	known := []string{string(spec.PriorityHigh), string(spec.PriorityNormal), string(spec.PriorityLow)}
	if slices.Contains(known, p.Value) {
		return spec.Priority(p.Value)
	}
	d := r.diags.Add(diag.BadPriority, p.Pos(0), p.End(), "%s: priority %q: priority is high, normal or low", r.who, p.Value)
	fixWord(d, p, nearest.Name(strings.ToLower(p.Value), known), "use one of these; there are no other levels")
	return ""
}

// duplicate reads what becomes of a start if there is a run like it.
func (r *reader) duplicate(p *Pair) spec.Duplicate {
	words := []string{string(spec.DuplicateKeep), string(spec.DuplicateReplace), string(spec.DuplicateError)}
	if slices.Contains(words, p.Value) {
		return spec.Duplicate(p.Value)
	}
	d := r.diags.Add(diag.BadMode, p.Pos(0), p.End(), "%s: on_duplicate cannot be %q", r.who, p.Value)
	fixWord(d, p, nearest.Name(p.Value, words), "use keep, replace or error")
	return ""
}

// mode reads one of the three modes.
func (r *reader) mode(p *Pair) spec.Mode {
	modes := []string{string(spec.ModeFail), string(spec.ModeSkip), string(spec.ModeSkipCascade)}
	if slices.Contains(modes, p.Value) {
		return spec.Mode(p.Value)
	}
	r.Unclear = true
	d := r.diags.Add(diag.BadMode, p.Pos(0), p.End(), "%s: %s cannot be %q", r.who, p.Key, p.Value)
	meant := nearest.Name(p.Value, modes)
	if strings.Contains(p.Value, "cascade") {
		meant = string(spec.ModeSkipCascade)
	}
	fixWord(d, p, meant, "use fail, skip or skip-cascade")
	return ""
}

// tx reads one of the kinds of transactions.
func (r *reader) tx(p *Pair) spec.Tx {
	kinds := []string{string(spec.TxPgx), string(spec.TxSQL)}
	if slices.Contains(kinds, p.Value) {
		return spec.Tx(p.Value)
	}
	d := r.diags.Add(diag.BadTx, p.Pos(0), p.End(), "%s: tx cannot be %q", r.who, p.Value)
	meant := nearest.Name(p.Value, kinds)
	if strings.Contains(p.Value, "sql") || p.Value == "true" {
		meant = "" // it may be either
	}
	fixWord(d, p, meant, `write tx:"pgx" for a handler that gets a pgx.Tx, or tx:"sql" for one that gets a *sql.Tx`)
	return ""
}

// fixWord suggests the word that was probably meant or, if that is "", what to write.
func fixWord(b *diag.Builder, p *Pair, meant, otherwise string) {
	if meant != "" {
		b.Fix("did you mean %s?", meant).Edit(p.Pos(0), p.End(), meant)
	} else {
		b.Fix("%s", otherwise)
	}
}
