package check

import (
	"regexp"
	"strings"
	"time"
	_ "time/tzdata" // the names of time zones, wherever the generator runs

	"github.com/robfig/cron/v3"

	"github.com/flowc-dev/flowc/gen/internal/model"
)

const (
	cronZone  = "CRON_TZ="
	cronEvery = "@every"
)

// cronItem is what a field of a cron expression is a list of, and cronSpan the
// way the database has a span of time. The parser knows more than that.
var (
	cronItem = regexp.MustCompile(`^([*?]|[0-9]{1,4}|[A-Za-z]{3})(-([0-9]{1,4}|[A-Za-z]{3}))?(/[0-9]{1,4})?$`)
	cronSpan = regexp.MustCompile(`^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$`)
)

// cronEpoch is before a leap year: what does not come in the years that the parser
// looks ahead from here never comes.
var cronEpoch = time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC)

// checkSchedule checks the cron expression of a declaration as the database will.
func (c *checker) checkSchedule(d *declaration) {
	p := d.settings.cron
	if d.flow.In != nil {
		c.diags.Add(p.keyPos, p.end(), "%s: cron starts it with nothing, but it takes %s", d.name, c.typeName(d.flow.In)).
			Fix("let it take dsl.None, and read the tick with runtime.ScheduledAt")
		return
	}
	expression, ok := c.checkZone(p, d.name)
	if !ok {
		return
	}
	if strings.HasPrefix(expression, cronEvery+" ") {
		ok = c.checkEvery(p, d.name)
	} else {
		ok = c.checkFields(p, expression, d.name)
	}
	if ok {
		d.flow.Cron = p.value
	}
}

// checkZone checks the time zone in front of an expression, and gives the rest.
func (c *checker) checkZone(p *pair, who string) (rest string, ok bool) {
	text := strings.Join(strings.Fields(p.value), " ")
	first, rest, _ := strings.Cut(text, " ")
	from := strings.Index(p.value, first)
	if strings.HasPrefix(first, "TZ=") {
		c.diags.Add(p.pos(from), p.pos(from+len("TZ")), "%s: cron takes its time zone from CRON_TZ", who).
			Fix("did you mean CRON_TZ?").Edit(p.pos(from), p.pos(from+len("TZ")), "CRON_TZ")
		return "", false
	}
	zone, has := strings.CutPrefix(first, cronZone)
	if !has {
		return text, true
	}
	from += len(cronZone)
	_, err := time.LoadLocation(zone)
	switch {
	case zone == "" || zone == "Local" || err != nil:
		c.diags.Add(p.pos(from), p.pos(from+len(zone)), "%s: cron: there is no time zone %q", who, zone).
			Fix("write a name such as Europe/Berlin, or leave CRON_TZ out for UTC")
	case rest == "":
		c.diags.Add(p.pos(0), p.end(), "%s: cron %q has a time zone and no time", who, p.value).
			Fix(`write five fields behind it, such as cron:"%s 30 4 * * *"`, first)
	case strings.HasPrefix(rest, "TZ="), strings.HasPrefix(rest, cronZone):
		c.diags.Add(p.pos(0), p.end(), "%s: cron %q has two time zones", who, p.value).Fix("remove one of them")
	default:
		return rest, true
	}
	return "", false
}

// checkEvery checks the span of time of @every.
func (c *checker) checkEvery(p *pair, who string) bool {
	_, every, _ := strings.Cut(p.value, cronEvery)
	every = strings.TrimSpace(every)
	from := strings.LastIndex(p.value, every)
	start, end := p.pos(from), p.pos(from+len(every))
	d, err := time.ParseDuration(every)
	switch {
	case err != nil:
		c.diags.Add(start, end, "%s: cron @every %q is not a duration", who, every).
			Fix("write a Go duration, such as @every 90s or @every 1h30m")
	case d < time.Second:
		c.diags.Add(start, end, "%s: cron @every %q must be a second or more", who, every).
			Fix(`cron:"@every 1s"`).Edit(start, end, "1s")
	case d%time.Second != 0 || !cronSpan.MatchString(every):
		fixed := model.Span((d + time.Second - 1).Truncate(time.Second))
		c.diags.Add(start, end, "%s: cron @every %q is not written in whole hours, minutes and seconds", who, every).
			Fix(`cron:"@every %s"`, fixed).Edit(start, end, fixed)
	default:
		return true
	}
	return false
}

// checkFields checks an expression of five fields, or one of the names for such.
func (c *checker) checkFields(p *pair, expression, who string) bool {
	const example = `write five fields, such as cron:"*/5 * * * *", or @every 5m, @hourly, @daily`
	schedule, err := cron.ParseStandard(expression)
	if err != nil {
		c.diags.Add(p.pos(0), p.end(), "%s: cron %q: %s", who, p.value, err).Fix(example)
		return false
	}
	if !strings.HasPrefix(expression, "@") {
		for _, item := range strings.FieldsFunc(expression, func(r rune) bool { return r == ' ' || r == ',' }) {
			if !cronItem.MatchString(item) || strings.ContainsAny(item[:1], "*?") && strings.Contains(item, "-") {
				c.diags.Add(p.pos(0), p.end(), "%s: cron %q: %s is no number, name, range or *", who, p.value, item).Fix(example)
				return false
			}
		}
	}
	if schedule.Next(cronEpoch).IsZero() {
		c.diags.Add(p.pos(0), p.end(), "%s: cron %q: there is no such day", who, p.value).
			Fix("write a day that the month has")
		return false
	}
	return true
}
