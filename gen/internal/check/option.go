package check

import (
	"cmp"
	"errors"
	"go/ast"
	"go/token"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flowc-dev/flowc/gen/internal/diag"
	"github.com/flowc-dev/flowc/gen/internal/model"
	"github.com/flowc-dev/flowc/gen/nearest"
)

// Where a key of a tag may stand.
const (
	onFlow = 1 << iota
	onJob
	onStep
	onMap
)

// keys are the keys of the language, in the order in which they are listed.
var keys = []struct {
	name string
	on   int
}{
	{"slug", onFlow | onJob | onStep | onMap},
	{"version", onFlow | onJob},
	{"package", onFlow | onJob},
	{"max_attempts", onFlow | onJob | onStep | onMap},
	{"base_delay", onFlow | onJob | onStep | onMap},
	{"timeout", onFlow | onJob | onStep | onMap},
	{"start_delay", onStep | onMap},
	{"if", onStep | onJob},
	{"if_not", onStep | onJob},
	{"when_unmet", onStep | onJob},
	{"when_exhausted", onStep | onMap | onJob},
	{"from", onFlow | onStep},
	{"after", onStep},
	{"over", onMap},
	{"cron", onFlow | onJob},
}

// elsewhere says what to do about a key that means something in another place.
var elsewhere = map[string]string{
	"if":         "put it on the step that gives the list",
	"if_not":     "put it on the step that gives the list",
	"when_unmet": "put it, with the condition, on the step that gives the list",
}

// foreign are keys that others read in the tags of their structs, and that look
// like ours to a search for misspelt ones.
var foreign = []string{
	"json", "yaml", "xml", "toml", "bson", "db", "sql", "gorm", "env", "form", "validate", "mapstructure", "msgpack", "default",
	"protobuf", "avro", "csv", "query", "header", "path", "uri", "ini", "hcl", "koanf", "redis", "binding", "doc", "example",
}

// removable makes it a mechanical fix to remove a pair from its tag.
func (c *checker) removable(p *pair, b *diag.Builder) {
	switch lit := p.tag; {
	case lit.Value[0] != '`':
	case strings.TrimSpace(lit.Value[1:p.keyPos-lit.Pos()]) == "" && strings.TrimSpace(lit.Value[p.end()+1-lit.Pos():len(lit.Value)-1]) == "":
		b.Edit(lit.Pos(), lit.End(), "") // it is all there is
	case lit.Value[p.keyPos-lit.Pos()-1] == ' ':
		b.Edit(p.keyPos-1, p.end()+1, "")
	default:
		b.Edit(p.keyPos, p.end()+1, "")
	}
}

// settings are the tags of a flow, a job, a step or a map.
type settings struct {
	model.Options
	startDelay    *time.Duration
	version       int
	slug, pkg     *pair
	cond, condNot *pair
	whenUnmet     model.Mode
	whenExhausted model.Mode
	from, over    *pair
	after         *pair
	cron          *pair
	exhausted     *pair // the tag of whenExhausted
	// unclear is set if something in the tag is wrong that may have been meant to
	// say what the step waits for, or what may skip it.
	unclear bool
}

// settings reads the tag of a field and reports what is wrong with it.
func (c *checker) settings(lit *ast.BasicLit, on int, who string) *settings {
	s := &settings{version: 1}
	pairs, fault := parseTag(lit)
	if fault != nil {
		b := c.diags.Add(fault.pos, fault.pos+token.Pos(len(fault.text)), "%s: %s", who, fault.message)
		if fault.instead != "" {
			b.Fix("write %s", cmp.Or(strings.TrimSpace(fault.instead), "a space there"))
			if lit.Value[0] == '`' {
				b.Edit(fault.pos, fault.pos+token.Pos(len(fault.text)), fault.instead)
			}
		} else {
			b.Fix("write key:\"value\" pairs with a space between them, in backquotes")
		}
		s.unclear = true
	}
	seen := map[string]*pair{}
	for _, p := range pairs {
		if first := seen[p.key]; first != nil {
			c.diags.Add(p.keyPos, p.end(), "%s: %s is set twice", who, p.key).
				NoteAt(first.keyPos, "the first").Fix("remove one of them")
			continue
		}
		seen[p.key] = p
		if c.belongs(p, on, who) {
			c.set(s, p, who)
		} else {
			s.unclear = true
		}
	}
	if p := seen["when_unmet"]; p != nil && on&(onStep|onJob) != 0 && seen["if"] == nil && seen["if_not"] == nil && !s.unclear {
		c.diags.Add(p.keyPos, p.end(), "%s: when_unmet says what happens if a condition does not hold, and there is none", who).
			Fix("add if:\"…\" or if_not:\"…\", or remove when_unmet")
	}
	return s
}

// belongs reports whether a key means something in its place, and says so if not.
func (c *checker) belongs(p *pair, on int, who string) bool {
	var here []string
	known := 0
	for _, k := range keys {
		if k.name == p.key {
			known = k.on
		}
		if k.on&on != 0 {
			here = append(here, k.name)
		}
	}
	end := p.keyPos + token.Pos(len(p.key))
	switch {
	case known&on != 0:
		return true
	case known == 0 && slices.Contains(foreign, p.key):
		c.removable(p, c.diags.Add(p.keyPos, end, "%s: %s means nothing here, where flowc reads the tag", who, p.key).Fix("remove it"))
	case known == 0:
		d := c.diags.Add(p.keyPos, end, "%s: unknown tag %s", who, p.key)
		if near := nearest.Name(p.key, here); near != "" {
			d.Fix("did you mean %s?", near).Edit(p.keyPos, end, near)
		} else {
			d.Fix("use one of %s", strings.Join(here, ", "))
		}
	case on == onMap && elsewhere[p.key] != "":
		c.diags.Add(p.keyPos, end, "%s: %s is not for a map, whose subject is a list", who, p.key).Fix("%s", elsewhere[p.key])
	case on == onMap && p.key == "from":
		c.diags.Add(p.keyPos, end, "%s: from is not for a map", who).Fix("say over").Edit(p.keyPos, end, "over")
	case on == onStep && p.key == "over":
		c.diags.Add(p.keyPos, end, "%s: over is for a dsl.Map", who).Fix("say from").Edit(p.keyPos, end, "from")
	case on == onMap && p.key == "after":
		c.diags.Add(p.keyPos, end, "%s: a map waits for the step that gives its list and for no other", who).
			Fix("put after on the step that gives the list")
	default:
		c.diags.Add(p.keyPos, end, "%s: %s is not for %s, but for %s", who, p.key, places(on), places(known)).
			Fix("remove it, or move it there")
	}
	return false
}

// places names where a key may stand.
func places(on int) string {
	var names []string
	for i, name := range []string{"flow", "job", "step", "map"} {
		if on&(1<<i) != 0 {
			names = append(names, "a "+name)
		}
	}
	return enumerate(names, "or")
}

// set reads the value of a key.
func (c *checker) set(s *settings, p *pair, who string) {
	if strings.TrimSpace(p.value) == "" {
		c.diags.Add(p.keyPos, p.end(), "%s: %s is empty", who, p.key).Fix("give it a value, or remove it")
		s.unclear = true
		return
	}
	switch p.key {
	case "slug":
		s.slug = p
	case "package":
		s.pkg = p
	case "version":
		if v := c.number(p, who); v != nil {
			s.version = *v
		}
	case "max_attempts":
		s.MaxAttempts = c.number(p, who)
	case "base_delay":
		s.BaseDelay = c.duration(p, who, 0)
	case "timeout":
		s.Timeout = c.duration(p, who, time.Second)
	case "start_delay":
		s.startDelay = c.duration(p, who, 0)
	case "if":
		s.cond = p
	case "if_not":
		s.condNot = p
	case "when_unmet":
		s.whenUnmet = c.mode(s, p, who)
	case "when_exhausted":
		s.whenExhausted, s.exhausted = c.mode(s, p, who), p
	case "from":
		s.from = p
	case "after":
		s.after = p
	case "over":
		s.over = p
	case "cron":
		s.cron = p
	}
}

// number reads an int of at least 1 that the database can hold.
func (c *checker) number(p *pair, who string) *int {
	n, err := strconv.ParseInt(p.value, 10, 32)
	switch {
	case errors.Is(err, strconv.ErrRange) && n > 0:
		c.diags.Add(p.pos(0), p.end(), "%s: %s %q is more than the database can hold", who, p.key, p.value).
			Fix("write at most %d", math.MaxInt32)
		return nil
	case err != nil || n < 1:
		d := c.diags.Add(p.pos(0), p.end(), "%s: %s %q is not a whole number of at least 1", who, p.key, p.value)
		switch {
		case p.key == "max_attempts" && n == 0 && err == nil:
			d.Fix(`max_attempts:"1": it counts the first try too`).Edit(p.pos(0), p.end(), "1")
		case err == nil:
			d.Fix(`%s:"1"`, p.key).Edit(p.pos(0), p.end(), "1")
		default:
			d.Fix(`write digits, such as %s:"3"`, p.key)
		}
		return nil
	}
	value := int(n)
	return &value
}

// duration reads a duration in whole seconds.
func (c *checker) duration(p *pair, who string, least time.Duration) *time.Duration {
	d, err := time.ParseDuration(p.value)
	switch {
	case err == nil && d/time.Second > math.MaxInt32, err != nil && endlessSpan.MatchString(p.value):
		c.diags.Add(p.pos(0), p.end(), "%s: %s %q is more than the database can hold", who, p.key, p.value).
			Fix("stay below 68 years")
		return nil
	case err != nil:
		if n, err := strconv.Atoi(p.value); err == nil && n > 0 && n <= math.MaxInt32 {
			fixed := p.value + "s"
			c.diags.Add(p.pos(0), p.end(), "%s: %s %q is not a duration: it has no unit", who, p.key, p.value).
				Fix(`%s:"%s", if seconds are meant`, p.key, fixed).Edit(p.pos(0), p.end(), fixed)
		} else {
			c.diags.Add(p.pos(0), p.end(), "%s: %s %q is not a duration", who, p.key, p.value).
				Fix(`write a Go duration, such as %s:"90s" or %s:"5m"`, p.key, p.key)
		}
		return nil
	case d < least:
		words := "not be negative"
		if least > 0 {
			words = "be a second or more"
		}
		c.diags.Add(p.pos(0), p.end(), "%s: %s %q must %s", who, p.key, p.value, words).
			Fix(`%s:"%s"`, p.key, model.Span(max(least, 0))).Edit(p.pos(0), p.end(), model.Span(least))
		return nil
	case d%time.Second != 0:
		fixed := model.Span(d.Truncate(time.Second) + time.Second)
		c.diags.Add(p.pos(0), p.end(), "%s: %s %q is not in whole seconds, which is what the database keeps", who, p.key, p.value).
			Fix(`%s:"%s"`, p.key, fixed).Edit(p.pos(0), p.end(), fixed)
		return nil
	}
	return &d
}

// endlessSpan is what time.ParseDuration refuses only because it is too long, with a
// unit or without.
var endlessSpan = regexp.MustCompile(`^\+?(\d{11,}|(\d+(\.\d*)?(ns|us|µs|ms|s|m|h))+)$`)

// mode reads one of the three modes.
func (c *checker) mode(s *settings, p *pair, who string) model.Mode {
	modes := []string{string(model.Fail), string(model.Skip), string(model.SkipCascade)}
	if slices.Contains(modes, p.value) {
		return model.Mode(p.value)
	}
	s.unclear = true
	d := c.diags.Add(p.pos(0), p.end(), "%s: %s cannot be %q", who, p.key, p.value)
	meant := nearest.Name(p.value, modes)
	if strings.Contains(p.value, "cascade") {
		meant = string(model.SkipCascade)
	}
	if meant != "" {
		d.Fix("did you mean %s?", meant).Edit(p.pos(0), p.end(), meant)
	} else {
		d.Fix("use fail, skip or skip-cascade")
	}
	return ""
}
