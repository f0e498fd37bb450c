package tags

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/flowc-dev/flowc/gen/internal/diag"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// rateForm is how a rate is written: 500/m, or 500/m,20 with its burst. roughRate is also
// what is probably meant as one.
var (
	rateForm  = regexp.MustCompile(`^([0-9]+)/([smh])(?:,([0-9]+))?$`)
	roughRate = regexp.MustCompile(`^\s*\+?([0-9]+(?:\.[0-9]+)?)\s*(?:/|per|an?|each|every)\s*1?\s*([a-zA-Z]+)\s*(?:[,; ]\s*(?:burst)?\s*[=:]?\s*([0-9]+)\s*)?$`)
)

// rateUnits are the spans of time of rates.
var rateUnits = map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}

// rate reads a rate, the zero rate if it is none.
func (r *reader) rate(p *Pair) (rate spec.Rate) {
	const example = `write how many may begin in a second, a minute or an hour: rate:"500/m"`
	m := rateForm.FindStringSubmatch(p.Value)
	if m == nil {
		if number := strings.TrimSpace(p.Value); isCount(number) {
			r.diags.Add(diag.BadRate, p.Pos(0), p.End(), "%s: rate %q does not say per what", r.who, p.Value).
				Fix("write %s/s, %s/m or %s/h", number, number, number)
			return spec.Rate{}
		}
		d := r.diags.Add(diag.BadRate, p.Pos(0), p.End(), "%s: rate %q is not a number per s, m or h", r.who, p.Value)
		if meant := meantRate(p.Value); meant != "" {
			d.Fix(`rate:"%s"`, meant).Edit(p.Pos(0), p.End(), meant)
		} else {
			d.Fix(example)
		}
		return spec.Rate{}
	}
	tokens, ok := r.count(p, m[1], 0, example)
	if !ok {
		return spec.Rate{}
	}
	rate = spec.Rate{Tokens: tokens, Per: rateUnits[m[2]]}
	if m[3] != "" {
		from := strings.Index(p.Value, ",") + 1
		if rate.Burst, ok = r.count(p, m[3], from, `write how many may begin at once, or leave it out`); !ok {
			return spec.Rate{}
		}
	}
	return rate
}

// isCount reports whether a text is a whole number of at least 1.
func isCount(text string) bool {
	n, err := strconv.Atoi(text)
	return err == nil && n > 0
}

// count reads a number of a rate, which begins at a byte of the value.
func (r *reader) count(p *Pair, text string, from int, fix string) (n int, ok bool) {
	pos, end := p.Pos(from), p.Pos(from+len(text))
	parsed, err := strconv.ParseInt(text, 10, 32)
	switch {
	case err != nil:
		r.diags.Add(diag.BadRate, pos, end, "%s: rate %q is more than the database can hold", r.who, p.Value).
			Fix("write at most %d", math.MaxInt32)
		return 0, false
	case parsed < 1:
		r.diags.Add(diag.BadRate, pos, end, "%s: rate %q has 0 where at least 1 has to be", r.who, p.Value).Fix("%s", fix)
		return 0, false
	}
	return int(parsed), true
}

// meantRate returns the rate that was probably meant, "" if that is not clear.
func meantRate(text string) string {
	m := roughRate.FindStringSubmatch(text)
	if m == nil {
		return ""
	}
	unit := ""
	switch strings.ToLower(m[2]) {
	case "s", "sec", "secs", "second", "seconds":
		unit = "s"
	case "m", "min", "mins", "minute", "minutes":
		unit = "m"
	case "h", "hr", "hour", "hours":
		unit = "h"
	default:
		return ""
	}
	number := m[1]
	if strings.Contains(number, ".") { // 0.5/s is 30/m
		f, err := strconv.ParseFloat(number, 64)
		for range 2 {
			if err == nil && f != math.Trunc(f) && unit != "h" {
				f, unit = f*60, map[string]string{"s": "m", "m": "h"}[unit]
			}
		}
		if err != nil || f != math.Trunc(f) {
			return ""
		}
		number = strconv.FormatFloat(f, 'f', 0, 64)
	}
	meant := number + "/" + unit
	if m[3] != "" {
		meant += "," + m[3]
	}
	if f := rateForm.FindStringSubmatch(meant); !isCount(f[1]) || f[3] != "" && !isCount(f[3]) {
		return ""
	}
	return meant
}

// gateForm is the form of the name of a gate.
var gateForm = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)

// gate checks the name of a gate.
func (r *reader) gate(p *Pair) bool {
	switch {
	case !gateForm.MatchString(p.Value):
		d := r.diags.Add(diag.BadGate, p.Pos(0), p.End(), "%s: gate %q is not a name: a letter or underscore, then letters, digits and underscores, all of them ASCII", r.who, p.Value)
		better := regexp.MustCompile(`[^a-zA-Z0-9_]+`).ReplaceAllString(strings.TrimSpace(p.Value), "_")
		if gateForm.MatchString(better) && better != "_" && len(better) <= spec.MaxGate {
			d.Fix(`gate:"%s"`, better).Edit(p.Pos(0), p.End(), better)
		} else {
			d.Fix("write a name for what the steps share, such as openai")
		}
		return false
	case len(p.Value) > spec.MaxGate:
		r.diags.Add(diag.BadGate, p.Pos(0), p.End(), "%s: gate %q has %d characters, and the database allows %d", r.who, p.Value, len(p.Value), spec.MaxGate).
			Fix("write a shorter name")
		return false
	}
	return true
}

// flag reads a tag that is true or not there.
func (r *reader) flag(p *Pair) bool {
	if p.Value == "true" {
		return true
	}
	d := r.diags.Add(diag.BadMode, p.Pos(0), p.End(), "%s: %s cannot be %q", r.who, p.Key, p.Value)
	if p.Value == "false" {
		editRemoval(d.Fix("remove it"), p)
	} else {
		d.Fix(`%s:"true", or remove it`, p.Key)
	}
	return false
}

// strictOrder reports a step that keeps an order but takes several tasks at once.
func (r *reader) strictOrder(p, concurrency *Pair) {
	const because = "%s: strict_order keeps the order of tasks that are worked on one at a time, and %s"
	switch {
	case concurrency == nil:
		d := r.diags.Add(diag.MissingLimit, p.KeyPos, p.End(), because, r.who, "there is no concurrency")
		Insert(d.Fix(`add concurrency:"1"`), p, `concurrency:"1"`)
	case r.Concurrency > 1:
		r.diags.Add(diag.MissingLimit, concurrency.KeyPos, concurrency.End(), because, r.who, "its concurrency is "+concurrency.Value).
			Fix(`concurrency:"1"`).Edit(concurrency.Pos(0), concurrency.End(), "1")
	}
}
