package emit

import (
	"cmp"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/flowc-dev/flowc/gen/internal/model"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// packageDoc is the package comment: what the flow is for, and its graph.
func (f *file) packageDoc() []string {
	verb := "starts and works"
	if f.flow.Job {
		verb = "enqueues and works"
	}
	doc := []string{fmt.Sprintf("Package %s %s the %s %s.", f.flow.Package, verb, f.kind(), f.flow.Slug)}
	if f.flow.Doc != "" {
		doc = append(doc, "")
		doc = append(doc, strings.Split(f.flow.Doc, "\n")...)
	}
	if f.flow.Cron != "" {
		doc = append(doc, "")
		doc = append(doc, wrap("A worker that serves it starts it "+scheduleWords(f.flow.Cron)+", once it is in the database (Upsert"+f.flow.Base+
			"). Handlers find the time that a run is for with handler.ScheduledAt.")...)
	}
	if f.flow.Job {
		return doc
	}
	doc = append(doc, "", "Its steps, each with what it waits for:", "")
	return append(doc, graph(f.flow.Steps)...)
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

// needs are what a step waits for and reads: the input, and the slugs of steps.
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

// handlersDoc is the doc comment of the interface.
func (f *file) handlersDoc() []string {
	return wrap("Handlers does the work of the flow, a method per step. Unless a step says otherwise, it is " +
		tries(f.flow.Options) + ", and a try may take " + model.Span(cmp.Or(f.flow.Timeout, spec.DefaultTimeout)) + ".")
}

// handlerDoc is the doc comment of the handler of a job.
func (f *file) handlerDoc(s *model.Step) []string {
	words := "Handler does the work of the job. It is " + tries(f.flow.Options) + ", and a try may take " +
		model.Span(cmp.Or(f.flow.Timeout, spec.DefaultTimeout)) + "."
	return wrap(strings.Join(append([]string{words}, fate(s)...), " "))
}

// stepDoc is the doc comment of a handler: the user's, then what the tags mean.
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
		words = append(words, "It is "+tries(inherit(s.Options, f.flow.Options))+".")
	}
	if s.Timeout != 0 {
		words = append(words, "A try may take "+model.Span(s.Timeout)+".")
	}
	if s.StartDelay > 0 {
		words = append(words, "It starts "+model.Span(s.StartDelay)+" after it is ready.")
	}
	words = append(words, fate(s)...)
	if len(words) == 0 {
		return doc
	}
	return append(append(doc, ""), wrap(strings.Join(words, " "))...)
}

// over says what a map step runs over.
func over(s *model.Step) string {
	if s.Over == spec.RunKey {
		return "the flow takes"
	}
	return s.Over + " gives"
}

// fate says when a step does not run, and what becomes of it then.
func fate(s *model.Step) (words []string) {
	outcome := func(m spec.Mode) string {
		switch m {
		case spec.ModeFail:
			return "the run fails"
		case spec.ModeSkipCascade:
			return "it is skipped, and so is every step behind it"
		}
		return "it is skipped"
	}
	unmet := outcome(s.WhenUnmet)
	if s.If != nil {
		words = append(words, "It runs only if "+s.If.Text+"; otherwise "+unmet+".")
	}
	if s.IfNot != nil {
		words = append(words, "If "+s.IfNot.Text+", it does not run: "+unmet+".")
	}
	if s.WhenExhausted == spec.ModeSkip || s.WhenExhausted == spec.ModeSkipCascade {
		words = append(words, "If its last try fails, "+outcome(s.WhenExhausted)+".")
	}
	return words
}

// inherit are the options of a step with those of its flow.
func inherit(step, flow model.Options) model.Options {
	if step.MaxAttempts == 0 {
		step.MaxAttempts = flow.MaxAttempts
	}
	if step.BaseDelay == nil {
		step.BaseDelay = flow.BaseDelay
	}
	return step
}

// tries says how often a task is tried, and how long it waits in between: the
// n-th retry waits base × 2^n.
func tries(o model.Options) string {
	attempts, base := cmp.Or(o.MaxAttempts, spec.DefaultMaxAttempts), spec.DefaultBaseDelay
	if o.BaseDelay != nil {
		base = *o.BaseDelay
	}
	if attempts == 1 {
		return "tried once"
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
	last := attempts - 1
	var waits string
	switch {
	case base == 0:
		waits = "without a wait in between"
	case last == 1:
		waits = "after a wait of " + delay(1)
	case last <= 4:
		var all []string
		for n := 1; n < last; n++ {
			all = append(all, delay(n))
		}
		waits = "after waits of " + strings.Join(all, ", ") + " and " + delay(last)
	default:
		waits = fmt.Sprintf("after waits of %s, %s, %s and so on up to %s", delay(1), delay(2), delay(3), delay(last))
	}
	return fmt.Sprintf("tried up to %d times, %s", attempts, waits)
}
