package emit

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/flowc-dev/flowc/gen/internal/diag"
	"github.com/flowc-dev/flowc/gen/internal/model"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// packageDoc returns the package comment: what the flow is for, and its graph.
func (f *file) packageDoc() []string {
	verb := "starts and serves"
	if f.flow.Job {
		verb = "enqueues and serves"
	}
	doc := []string{fmt.Sprintf("Package %s %s the %s %s.", f.flow.Package, verb, f.kind(), f.flow.Slug)}
	if f.flow.Doc != "" {
		doc = append(doc, "")
		doc = append(doc, strings.Split(f.flow.Doc, "\n")...)
	}
	if f.flow.Cron != "" {
		doc = append(doc, "")
		doc = append(doc, wrap("Workers that serve it start a run "+scheduleWords(f.flow.Cron)+", once it is in the database (Upsert"+f.flow.Base+
			"). In a handler, handler.Tick returns the time that the run is for.")...)
	}
	if f.flow.Deadline != 0 {
		doc = append(doc, "", "A run that has not ended within "+model.Span(f.flow.Deadline)+" fails.")
	}
	if f.flow.Priority != "" {
		doc = append(doc, "", "Its priority is "+string(f.flow.Priority)+", unless a run or a step has another.")
	}
	if f.flow.Unique != nil {
		doc = append(append(doc, ""), wrap(strings.Join(uniqueWords(f.flow.Unique), " "))...)
	}
	if f.flow.Concurrency != 0 {
		doc = append(append(doc, ""), wrap(runLimitWords(f.flow))...)
	}
	if f.flow.Job {
		return doc
	}
	doc = append(doc, "", "Its steps, each with what it waits for:", "")
	return append(doc, graph(f.flow.Steps)...)
}

// runLimitWords says how many runs are in progress at once.
func runLimitWords(flow *model.Flow) string {
	each := ""
	if flow.Key != nil {
		each = " for each " + strings.TrimPrefix(flow.Key.Text, "Input.")
	}
	if flow.Concurrency == 1 {
		return "One run is in progress at a time" + each + ", with all workers together; the others wait in line."
	}
	return fmt.Sprintf("At most %d runs are in progress at once%s, with all workers together; the others wait in line.", flow.Concurrency, each)
}

// uniqueWords says which runs are alike, and what becomes of a start if there is one.
func uniqueWords(u *model.Unique) (words []string) {
	var fields []string
	for _, p := range u.By {
		if text := strings.TrimPrefix(p.Text, "Input."); text != "Input" {
			fields = append(fields, text)
		}
	}
	of := ""
	if len(fields) > 0 {
		of = " with the same " + diag.Enumerate(fields, "and")
	}
	switch {
	case u.Debounce != 0:
		return []string{
			"A run begins " + model.Span(u.Debounce) + " after it was started. Another start" + of +
				" until then replaces its input and lets it wait anew, for " + model.Span(cmp.Or(u.DebounceMax, 10*u.Debounce)) + " in all: it returns that run.",
		}
	case u.Per != 0:
		words = append(words, "Of runs"+of+", one is started in "+model.Span(u.Per)+".")
	default:
		words = append(words, "Of runs"+of+", there is one at a time.")
	}
	switch u.OnDuplicate {
	case spec.DuplicateError:
		return append(words, "Another start is a [runtime.DuplicateRunError].")
	case spec.DuplicateReplace:
		return append(words, "Another start cancels the one that is there.")
	}
	return append(words, "Another start returns the one that is there.")
}

// graph draws the steps as text, in columns.
func graph(steps []*model.Step) []string {
	type row struct{ slug, needs, when string }
	var rows []row
	wide, wider := 0, 0
	for _, s := range steps {
		r := row{slug: s.Slug, needs: strings.Join(needs(s), ", ")}
		if s.Map {
			r.needs = "each of " + r.needs
		}
		var when []string
		if s.Wait {
			when = append(when, s.Waits())
		}
		if s.Tx != "" {
			when = append(when, "commits with its effects")
		}
		if turns := s.Turns(); turns != "" {
			when = append(when, turns)
		}
		if s.If != nil {
			when = append(when, "if "+s.If.Text)
		}
		if s.IfNot != nil {
			when = append(when, "if not "+s.IfNot.Text)
		}
		r.when = strings.Join(when, ", ")
		rows = append(rows, r)
		wide = max(wide, utf8.RuneCountInString(r.slug))
		if r.when != "" {
			wider = max(wider, utf8.RuneCountInString(r.needs))
		}
	}
	var drawn []string
	for _, r := range rows {
		line := "\t" + pad(r.slug, wide)
		if r.needs != "" || r.when != "" {
			line += "  ← " + r.needs
		}
		if r.when != "" {
			line = "\t" + pad(r.slug, wide) + "  ← " + pad(r.needs, wider) + "  " + r.when
		}
		drawn = append(drawn, strings.TrimRight(line, " "))
	}
	return drawn
}

func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(s)))
}

// needs returns what a step waits for and reads: the input, and the slugs of steps.
func needs(s *model.Step) (names []string) {
	reads := s.Source.Kind == model.Input || s.Over == spec.RunKey
	for _, field := range s.Source.Fields {
		reads = reads || field.Key == spec.RunKey
	}
	if reads {
		names = append(names, "input")
	}
	return append(names, s.Deps...)
}

// handlersDoc returns the doc comment of the interface.
func (f *file) handlersDoc() []string {
	if !slices.ContainsFunc(f.flow.Steps, func(s *model.Step) bool { return !s.Wait }) {
		return wrap("Handlers has no methods, since every step waits for an answer: serve nil, so that a worker goes on with the runs.")
	}
	return wrap("Handlers does the work of the flow, a method per step. Unless a step says otherwise, a task gets " +
		attempts(f.flow.Options) + ", " + each(f.flow.Options) + " limited to " + f.timeout() + ".")
}

// handlerDoc returns the doc comment of the handler of a job.
func (f *file) handlerDoc(s *model.Step) []string {
	words := "Handler does the work of the job. A task gets " + attempts(f.flow.Options) + ", " + each(f.flow.Options) + " limited to " + f.timeout() + "."
	if s.MaxWait != 0 {
		words += " It may be snoozed for " + model.Span(s.MaxWait) + " in all."
	}
	if s.Tx != "" {
		words += " " + txWords
	}
	return wrap(strings.Join(slices.Concat([]string{words}, turns(s), fate(s)), " "))
}

// timeout returns how long an attempt may take unless a step says otherwise.
func (f *file) timeout() string { return model.Span(cmp.Or(f.flow.Timeout, spec.DefaultTimeout)) }

// each returns the word for one of the attempts.
func each(o model.Options) string {
	if o.MaxAttempts == 1 {
		return "which is"
	}
	return "each"
}

// stepDoc returns the doc comment of a handler: the user's, then what the tags mean.
func (f *file) stepDoc(s *model.Step) []string {
	doc := strings.Split(s.Doc, "\n")
	if s.Doc == "" {
		doc = []string{s.Name + " does the work of the step " + s.Slug + "."}
	}
	var words []string
	if s.Map {
		words = append(words, "It is called once for each element that "+over(s)+".")
	}
	if s.MaxAttempts != 0 || s.BaseDelay != nil {
		options := inherit(s.Options, f.flow.Options)
		limit := ""
		if s.Timeout != 0 {
			limit = ", " + each(options) + " limited to " + model.Span(s.Timeout)
		}
		words = append(words, "A task gets "+attempts(options)+limit+".")
	} else if s.Timeout != 0 {
		words = append(words, "Each attempt is limited to "+model.Span(s.Timeout)+".")
	}
	words = append(words, start(s)...)
	if s.MaxWait != 0 {
		words = append(words, "It may be snoozed for "+model.Span(s.MaxWait)+" in all.")
	}
	if s.Priority != "" {
		words = append(words, "Its priority is "+string(s.Priority)+".")
	}
	if s.Tx != "" {
		words = append(words, txWords)
	}
	words = append(words, turns(s)...)
	words = append(words, fate(s)...)
	if len(words) == 0 {
		return doc
	}
	return append(append(doc, ""), wrap(strings.Join(words, " "))...)
}

// txWords says what a transaction is for.
const txWords = "What it writes in tx is committed exactly if its task is completed."

// over says what a map step runs over.
func over(s *model.Step) string {
	if s.Over == spec.RunKey {
		return "the flow takes"
	}
	return s.Over + " gives"
}

// start says when a step starts.
func start(s *model.Step) []string {
	switch {
	case s.StartDelay > 0:
		return []string{"It starts " + model.Span(s.StartDelay) + " after it is ready."}
	case s.StartAt != nil:
		return []string{"It starts at " + s.StartAt.Text + "."}
	case s.StartDelayFrom != nil:
		return []string{"It starts " + s.StartDelayFrom.Text + " after it is ready."}
	}
	return nil
}

// turns says which limits a step has, and for which key.
func turns(s *model.Step) (words []string) {
	each := ""
	if s.Key != nil {
		each = " for each " + s.Key.Text
	}
	switch {
	case s.Concurrency == 1:
		words = append(words, "One task is worked on at a time"+each+", with all workers together.")
	case s.Concurrency > 1:
		words = append(words, fmt.Sprintf("At most %d tasks are worked on at once%s, with all workers together.", s.Concurrency, each))
	}
	if s.Rate != (spec.Rate{}) {
		words = append(words, fmt.Sprintf("At most %d attempts begin in %s%s, and %d of them at once.",
			s.Rate.Tokens, rateSpans[s.Rate.Per], each, s.Rate.WithBurst().Burst))
	}
	if s.Gate != "" {
		words = append(words, "It shares that with the other steps of the gate "+s.Gate+".")
	}
	if s.StrictOrder {
		words = append(words, "A task that waits for a retry keeps its place.")
	}
	if s.Key != nil && s.Concurrency == 0 && s.Rate == (spec.Rate{}) {
		words = append(words, "The tasks of each "+s.Key.Text+" take turns with those of others.")
	}
	return words
}

// rateSpans are the spans of time of rates, in words.
var rateSpans = map[time.Duration]string{time.Second: "a second", time.Minute: "a minute", time.Hour: "an hour"}

// outcome says what happens in a mode.
func outcome(m spec.Mode) string {
	switch m {
	case spec.ModeFail:
		return "the run fails"
	case spec.ModeSkipCascade:
		return "it is skipped, and so is every step behind it"
	}
	return "it is skipped"
}

// unmet says under which conditions a step does not run, and what becomes of it then.
func unmet(s *model.Step) (words []string) {
	verb, not := "runs", "run"
	if s.Wait {
		verb, not = "waits", "wait"
	}
	otherwise := outcome(s.WhenUnmet)
	if s.If != nil {
		words = append(words, "It "+verb+" only if "+s.If.Text+"; otherwise "+otherwise+".")
	}
	if s.IfNot != nil {
		words = append(words, "If "+s.IfNot.Text+", it does not "+not+": "+otherwise+".")
	}
	return words
}

// fate says when a step does not run, and what becomes of it then.
func fate(s *model.Step) (words []string) {
	words = unmet(s)
	if s.WhenExhausted == spec.ModeSkip || s.WhenExhausted == spec.ModeSkipCascade {
		words = append(words, "If its last attempt fails, "+outcome(s.WhenExhausted)+".")
	}
	return words
}

// inherit returns the options of a step with those of its flow.
func inherit(step, flow model.Options) model.Options {
	if step.MaxAttempts == 0 {
		step.MaxAttempts = flow.MaxAttempts
	}
	if step.BaseDelay == nil {
		step.BaseDelay = flow.BaseDelay
	}
	return step
}

// attempts says how many attempts a task gets, and how long it waits before each retry:
// the n-th waits base × 2^n.
func attempts(o model.Options) string {
	most, base := cmp.Or(o.MaxAttempts, spec.DefaultMaxAttempts), spec.DefaultBaseDelay
	if o.BaseDelay != nil {
		base = *o.BaseDelay
	}
	if most == 1 {
		return "one attempt"
	}
	limit := max(spec.MaxRetryDelay, base)
	delay := func(n int) string {
		d := base
		for range n {
			if d = 2 * d; d >= limit {
				return model.Span(limit)
			}
		}
		return model.Span(d)
	}
	last := most - 1
	var waits string
	switch {
	case base == 0:
		waits = "without a backoff"
	case last == 1:
		waits = "with a backoff of " + delay(1)
	case last <= 4:
		var all []string
		for n := 1; n < last; n++ {
			all = append(all, delay(n))
		}
		waits = "with a backoff of " + strings.Join(all, ", ") + " and " + delay(last)
	default:
		waits = fmt.Sprintf("with a backoff of %s, %s, %s and so on up to %s", delay(1), delay(2), delay(3), delay(last))
	}
	return fmt.Sprintf("up to %d attempts, %s", most, waits)
}
