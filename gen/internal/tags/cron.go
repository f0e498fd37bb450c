package tags

import (
	"regexp"
	"strings"
	"time"
	_ "time/tzdata" // the names of time zones, wherever the generator runs

	"github.com/robfig/cron/v3"

	"github.com/flowc-dev/flowc/gen/internal/diag"
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

// A cronReader checks the cron expression of a declaration, who in messages.
type cronReader struct {
	diags *diag.List
	who   string
	*Pair
}

// CheckCron checks a cron expression as the database will, and reports what is wrong
// with it.
func CheckCron(diags *diag.List, p *Pair, who string) (ok bool) {
	r := cronReader{diags, who, p}
	expression, ok := r.zone()
	switch {
	case !ok:
		return false
	case strings.HasPrefix(expression, cronEvery+" "):
		return r.every()
	}
	return r.fields(expression)
}

// zone checks the time zone in front of an expression and returns the rest.
func (r cronReader) zone() (rest string, ok bool) {
	text := strings.Join(strings.Fields(r.Value), " ")
	first, rest, _ := strings.Cut(text, " ")
	from := strings.Index(r.Value, first)
	if strings.HasPrefix(first, "TZ=") {
		r.diags.Add(diag.BadCron, r.Pos(from), r.Pos(from+len("TZ")), "%s: cron takes its time zone from CRON_TZ", r.who).
			Fix("did you mean CRON_TZ?").Edit(r.Pos(from), r.Pos(from+len("TZ")), "CRON_TZ")
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
		r.diags.Add(diag.BadCron, r.Pos(from), r.Pos(from+len(zone)), "%s: cron: there is no time zone %q", r.who, zone).
			Fix("write a name such as Europe/Berlin, or leave CRON_TZ out for UTC")
	case rest == "":
		r.diags.Add(diag.BadCron, r.Pos(0), r.End(), "%s: cron %q has a time zone and no time", r.who, r.Value).
			Fix(`write five fields behind it, such as cron:"%s 30 4 * * *"`, first)
	case strings.HasPrefix(rest, "TZ="), strings.HasPrefix(rest, cronZone):
		r.diags.Add(diag.BadCron, r.Pos(0), r.End(), "%s: cron %q has two time zones", r.who, r.Value).Fix("remove one of them")
	default:
		return rest, true
	}
	return "", false
}

// every checks the span of time of @every.
func (r cronReader) every() bool {
	_, every, _ := strings.Cut(r.Value, cronEvery)
	every = strings.TrimSpace(every)
	from := strings.LastIndex(r.Value, every)
	start, end := r.Pos(from), r.Pos(from+len(every))
	d, err := time.ParseDuration(every)
	switch {
	case err != nil:
		r.diags.Add(diag.BadCron, start, end, "%s: cron @every %q is not a duration", r.who, every).
			Fix("write a Go duration, such as @every 90s or @every 1h30m")
	case d < time.Second:
		r.diags.Add(diag.BadCron, start, end, "%s: cron @every %q must be a second or more", r.who, every).
			Fix(`cron:"@every 1s"`).Edit(start, end, "1s")
	case d%time.Second != 0 || !cronSpan.MatchString(every):
		fixed := model.Span((d + time.Second - 1).Truncate(time.Second))
		r.diags.Add(diag.BadCron, start, end, "%s: cron @every %q is not written in whole hours, minutes and seconds", r.who, every).
			Fix(`cron:"@every %s"`, fixed).Edit(start, end, fixed)
	default:
		return true
	}
	return false
}

// fields checks an expression of five fields, or one of the names for such.
func (r cronReader) fields(expression string) bool {
	const example = `write five fields, such as cron:"*/5 * * * *", or @every 5m, @hourly, @daily`
	schedule, err := cron.ParseStandard(expression)
	if err != nil {
		r.diags.Add(diag.BadCron, r.Pos(0), r.End(), "%s: cron %q: %s", r.who, r.Value, err).Fix(example)
		return false
	}
	if !strings.HasPrefix(expression, "@") {
		for _, field := range strings.Fields(expression) {
			if item := strangeItem(field); item != "" {
				r.diags.Add(diag.BadCron, r.Pos(0), r.End(), "%s: cron %q: %s is no number, name, range or *", r.who, r.Value, item).Fix(example)
				return false
			}
		}
	}
	if schedule.Next(cronEpoch).IsZero() {
		r.diags.Add(diag.BadCron, r.Pos(0), r.End(), "%s: cron %q: there is no such day", r.who, r.Value).
			Fix("write a day that the month has")
		return false
	}
	return true
}

// strangeItem returns the first item of a field that the database does not read, or "".
func strangeItem(field string) string {
	items := strings.FieldsFunc(field, func(r rune) bool { return r == ',' })
	if len(items) == 0 {
		return field // nothing but commas
	}
	for _, item := range items {
		if !cronItem.MatchString(item) || strings.ContainsAny(item[:1], "*?") && strings.Contains(item, "-") {
			return item
		}
	}
	return ""
}
