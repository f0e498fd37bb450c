package tags

import (
	"cmp"
	"go/ast"
	"go/token"
	"slices"
	"strings"
	"time"

	"github.com/flowc-dev/flowc/gen/internal/diag"
	"github.com/flowc-dev/flowc/gen/internal/model"
	"github.com/flowc-dev/flowc/gen/nearest"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// Settings are what the tag of a flow, a job, a step or a map says.
type Settings struct {
	model.Options
	Version       int
	StartDelay    time.Duration
	MaxWait       time.Duration
	Keep          time.Duration
	Deadline      time.Duration
	Per           time.Duration
	Debounce      time.Duration
	DebounceMax   time.Duration
	OnDuplicate   spec.Duplicate
	Tx            spec.Tx
	Concurrency   int
	Rate          spec.Rate
	StrictOrder   bool
	WhenUnmet     spec.Mode
	WhenExhausted spec.Mode

	// The pairs whose value is for others to judge, or that messages point at.
	Slug, Package *Pair
	If, IfNot     *Pair
	From, Over    *Pair
	After         *Pair
	Cron          *Pair
	Unique        *Pair
	Exhausted     *Pair // the tag of WhenExhausted
	Key           *Pair
	Gate          *Pair
	StartAt       *Pair
	DelayFrom     *Pair // a start_delay that is a path

	// BadLimits is set if a limit, or the name of the gate, cannot be read.
	BadLimits bool

	// Unclear is set if something in the tag is wrong that may have been meant to
	// say what the step waits for, or what may skip it.
	Unclear bool
}

// Condition returns the tag that can keep a step from running, or nil.
func (s *Settings) Condition() *Pair {
	if s.If != nil {
		return s.If
	}
	return s.IfNot
}

// A reader reads the tag of one field.
type reader struct {
	diags *diag.List
	who   string
	on    Place
	*Settings
}

// Read reads the tag of a field, who in messages, and reports what is wrong with it.
func Read(diags *diag.List, tag *ast.BasicLit, on Place, who string) *Settings {
	r := &reader{diags: diags, who: who, on: on, Settings: &Settings{Version: 1}}
	pairs, fault := Parse(tag)
	if fault != nil {
		r.malformed(tag, fault)
		r.Unclear = true
	}
	seen := map[string]*Pair{}
	for _, p := range pairs {
		if first := seen[p.Key]; first != nil {
			diags.Add(diag.DuplicateTag, p.KeyPos, p.End(), "%s: %s is set twice", who, p.Key).
				NoteAt(first.KeyPos, "the first").Fix("remove one of them")
			continue
		}
		seen[p.Key] = p
		if r.belongs(p) {
			r.set(p)
		} else {
			r.Unclear = true
		}
	}
	if p := seen["when_unmet"]; p != nil && on&(OnStep|OnJob|OnWait) != 0 && seen["if"] == nil && seen["if_not"] == nil && !r.Unclear {
		diags.Add(diag.MissingCondition, p.KeyPos, p.End(), "%s: when_unmet says what happens if a condition does not hold, and there is none", who).
			Fix("add if:\"…\" or if_not:\"…\", or remove when_unmet")
	}
	if p := seen["keep"]; p != nil && on == OnWait && seen["key"] == nil && !r.Unclear {
		editRemoval(diags.Add(diag.MissingKey, p.KeyPos, p.End(), "%s: keep says how long an answer to a key is kept, and there is none", who).
			Fix(`remove keep, or add key:"…"`), p)
	}
	if p := seen["key"]; p != nil && on == OnFlow && seen["concurrency"] == nil && !r.Unclear {
		editRemoval(diags.Add(diag.MissingLimit, p.KeyPos, p.End(), "%s: key says which runs are counted together, and there is no concurrency, which says how many may be in progress", who).
			Fix(`add concurrency:"…", or remove key`), p)
	}
	if p := seen["strict_order"]; p != nil && r.StrictOrder && on != OnWait && !r.Unclear {
		r.strictOrder(p, seen["concurrency"])
	}
	if at, delay := seen["start_at"], seen["start_delay"]; at != nil && delay != nil && on&(OnStep|OnMap) != 0 {
		first, second := at, delay
		if delay.KeyPos < at.KeyPos {
			first, second = delay, at
		}
		diags.Add(diag.DuplicateTag, second.KeyPos, second.End(), "%s: start_at and start_delay both say when it starts", who).
			NoteAt(first.KeyPos, "the first").Fix("remove one of them")
	}
	r.checkUnique(seen)
	return r.Settings
}

// checkUnique reports tags that say something of unique runs and do not go together.
func (r *reader) checkUnique(seen map[string]*Pair) {
	if r.on&(OnFlow|OnJob) == 0 || r.Unclear {
		return
	}
	alone := func(key, without string) *Pair {
		if seen[without] != nil {
			return nil
		}
		return seen[key]
	}
	for _, of := range []struct{ key, why string }{
		{"debounce", "debounce puts off a run until no other like it is started, and nothing says which starts belong together"},
		{"per", "per says for how long one run is enough, and nothing says which runs are alike"},
		{"on_duplicate", "on_duplicate says what becomes of a start if there is a run like it, and nothing says which runs are alike"},
	} {
		if p := alone(of.key, "unique"); p != nil {
			r.diags.Add(diag.MissingUnique, p.KeyPos, p.End(), "%s: %s", r.who, of.why).
				Fix(`add unique:"…" with the fields of the input that make two runs alike, or remove %s`, of.key)
		}
	}
	if p := alone("debounce_max", "debounce"); p != nil {
		editRemoval(r.diags.Add(diag.MissingDebounce, p.KeyPos, p.End(), "%s: debounce_max says how long a run is put off at most, and it is not", r.who).
			Fix(`remove debounce_max, or add debounce:"…"`), p)
	}

	against := func(key, other, why string) {
		p, o := seen[key], seen[other]
		if p != nil && o != nil {
			editRemoval(r.diags.Add(diag.ConflictingTags, p.KeyPos, p.End(), "%s: %s", r.who, why).NoteAt(o.KeyPos, "it has %s", o).Fix("remove one of them"), p)
		}
	}
	against("debounce", "cron", "with debounce, each tick would only put off the one before it")
	against("per", "debounce", "per says how many runs there are, and debounce when one begins")
	against("on_duplicate", "debounce", "with debounce, the run that is there gets the new input")
	if r.OnDuplicate == spec.DuplicateReplace {
		against("on_duplicate", "per", "with per, another run may have ended already, and cannot be replaced")
	}
	if p := seen["debounce_max"]; p != nil && r.DebounceMax > 0 && r.DebounceMax < r.Debounce {
		r.diags.Add(diag.BadDuration, p.Pos(0), p.End(), "%s: debounce_max %q is less than debounce, which is %s", r.who, p.Value, model.Span(r.Debounce)).
			Fix(`write more, or leave it out, for debounce_max:"%s"`, model.Span(10*r.Debounce))
	}
}

// malformed reports a tag that is not made of pairs.
func (r *reader) malformed(tag *ast.BasicLit, fault *Fault) {
	end := fault.pos + token.Pos(len(fault.text))
	b := r.diags.Add(diag.MalformedTag, fault.pos, end, "%s: %s", r.who, fault.message)
	if fault.instead == "" {
		b.Fix("write key:\"value\" pairs with a space between them, in backquotes")
		return
	}
	b.Fix("write %s", cmp.Or(strings.TrimSpace(fault.instead), "a space there"))
	if tag.Value[0] == '`' {
		b.Edit(fault.pos, end, fault.instead)
	}
}

// belongs reports whether a key means something in its place, and says so if not.
func (r *reader) belongs(p *Pair) bool {
	var here []string
	known := Place(0)
	for _, k := range keys {
		if k.name == p.Key {
			known = k.on
		}
		if k.on&r.on != 0 {
			here = append(here, k.name)
		}
	}
	end := p.KeyPos + token.Pos(len(p.Key))
	switch {
	case known&r.on != 0:
		return true
	case known == 0 && slices.Contains(foreign, p.Key):
		editRemoval(r.diags.Add(diag.UnknownTag, p.KeyPos, end, "%s: %s means nothing here, where flowc reads the tag", r.who, p.Key).Fix("remove it"), p)
	case known == 0:
		d := r.diags.Add(diag.UnknownTag, p.KeyPos, end, "%s: unknown tag %s", r.who, p.Key)
		if near := nearest.Name(p.Key, here); near != "" {
			d.Fix("did you mean %s?", near).Edit(p.KeyPos, end, near)
		} else {
			d.Fix("use one of %s", strings.Join(here, ", "))
		}
	case r.on == OnWait && notOfWaits[p.Key] != "":
		editRemoval(r.diags.Add(diag.MisplacedTag, p.KeyPos, end, "%s: %s is not for a wait, which %s", r.who, p.Key, notOfWaits[p.Key]).Fix("remove it"), p)
	case r.on == OnFlow && notOfFlows[p.Key] != "":
		why, what, _ := strings.Cut(notOfFlows[p.Key], "; ")
		d := r.diags.Add(diag.MisplacedTag, p.KeyPos, end, "%s: %s is not for a flow: it %s", r.who, p.Key, why)
		if p.Key == "strict_order" {
			editRemoval(d.Fix("remove it: %s", what), p)
		} else {
			d.Fix("%s", what)
		}
	case r.on == OnWait && p.Key == "max_wait":
		r.diags.Add(diag.MisplacedTag, p.KeyPos, end, "%s: max_wait is for tasks that are snoozed", r.who).
			Fix("say timeout, which is how long a wait waits").Edit(p.KeyPos, end, "timeout")
	case r.on == OnWait && p.Key == "over":
		r.diags.Add(diag.MisplacedTag, p.KeyPos, end, "%s: over is for a dsl.Map, and a wait waits once", r.who).Fix("say from").Edit(p.KeyPos, end, "from")
	case r.on == OnMap && elsewhere[p.Key] != "":
		r.diags.Add(diag.MisplacedTag, p.KeyPos, end, "%s: %s is not for a map, whose subject is a list", r.who, p.Key).Fix("%s", elsewhere[p.Key])
	case r.on == OnMap && p.Key == "from":
		r.diags.Add(diag.MisplacedTag, p.KeyPos, end, "%s: from is not for a map", r.who).Fix("say over").Edit(p.KeyPos, end, "over")
	case r.on == OnStep && p.Key == "over":
		r.diags.Add(diag.MisplacedTag, p.KeyPos, end, "%s: over is for a dsl.Map", r.who).Fix("say from").Edit(p.KeyPos, end, "from")
	case r.on == OnMap && p.Key == "after":
		r.diags.Add(diag.MisplacedTag, p.KeyPos, end, "%s: a map waits for the step that gives its list and for no other", r.who).
			Fix("put after on the step that gives the list")
	default:
		r.diags.Add(diag.MisplacedTag, p.KeyPos, end, "%s: %s is not for %s, but for %s", r.who, p.Key, places(r.on), places(known)).
			Fix("remove it, or move it there")
	}
	return false
}

// set reads the value of a key.
func (r *reader) set(p *Pair) {
	if strings.TrimSpace(p.Value) == "" {
		r.diags.Add(diag.EmptyTag, p.KeyPos, p.End(), "%s: %s is empty", r.who, p.Key).Fix("give it a value, or remove it")
		r.Unclear = true
		return
	}
	switch p.Key {
	case "slug":
		r.Slug = p
	case "package":
		r.Package = p
	case "version":
		r.Version = max(r.number(p), 1)
	case "max_attempts":
		r.MaxAttempts = r.number(p)
	case "base_delay":
		if d, ok := r.duration(p, 0); ok {
			r.BaseDelay = &d
		}
	case "timeout":
		r.Timeout, _ = r.duration(p, time.Second)
	case "start_delay":
		if isPath(p.Value) {
			r.DelayFrom = p
		} else {
			r.StartDelay, _ = r.duration(p, 0)
		}
	case "start_at":
		r.StartAt = p
	case "max_wait":
		r.MaxWait, _ = r.duration(p, time.Second)
	case "priority":
		r.Priority = r.priority(p)
	case "tx":
		r.Tx = r.tx(p)
	case "deadline":
		r.Deadline, _ = r.duration(p, time.Second)
	case "key":
		r.Key = p
	case "concurrency":
		r.Concurrency = r.number(p)
		r.BadLimits = r.BadLimits || r.Concurrency == 0
	case "rate":
		r.Rate = r.rate(p)
		r.BadLimits = r.BadLimits || r.Rate == spec.Rate{}
	case "gate":
		if r.gate(p) {
			r.Gate = p
		}
	case "strict_order":
		r.StrictOrder = r.flag(p)
		r.BadLimits = r.BadLimits || !r.StrictOrder
	case "keep":
		r.Keep, _ = r.duration(p, time.Second)
	case "if":
		r.If = p
	case "if_not":
		r.IfNot = p
	case "when_unmet":
		r.WhenUnmet = r.mode(p)
	case "when_exhausted":
		r.WhenExhausted, r.Exhausted = r.mode(p), p
	case "from":
		r.From = p
	case "after":
		r.After = p
	case "over":
		r.Over = p
	case "cron":
		r.Cron = p
	case "unique":
		r.Unique = p
	case "per":
		r.Per, _ = r.duration(p, time.Second)
	case "on_duplicate":
		r.OnDuplicate = r.duplicate(p)
	case "debounce":
		r.Debounce, _ = r.duration(p, time.Second)
	case "debounce_max":
		r.DebounceMax, _ = r.duration(p, time.Second)
	}
}
