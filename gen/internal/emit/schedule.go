package emit

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// scheduleWords says when a cron expression is due, in words where it is one that
// people often write.
func scheduleWords(cron string) string {
	expression, zone := strings.Join(strings.Fields(cron), " "), "UTC"
	if rest, ok := strings.CutPrefix(expression, "CRON_TZ="); ok {
		zone, expression, _ = strings.Cut(rest, " ")
	}
	if every, ok := strings.CutPrefix(expression, "@every "); ok {
		return "every " + every
	}
	fields := strings.Fields(expression)
	if named, ok := namedSchedules[expression]; ok {
		fields = strings.Fields(named)
	}
	if words := fieldWords(fields); words != "" {
		return strings.ReplaceAll(words, "ZONE", zone)
	}
	return fmt.Sprintf("by the cron expression %s (%s)", expression, zone)
}

var namedSchedules = map[string]string{
	"@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
	"@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
}

var (
	aNumber = regexp.MustCompile(`^[0-9]{1,2}$`)
	aStep   = regexp.MustCompile(`^\*/([0-9]{1,2})$`)
)

// fieldWords returns the words for the five fields of an expression, "" if it has no
// short ones.
func fieldWords(f []string) string {
	if len(f) != 5 {
		return ""
	}
	minute, hour, day, month, weekday := f[0], f[1], f[2], f[3], f[4]
	anyDay := day == "*" && month == "*" && weekday == "*"
	if hour == "*" && anyDay {
		switch step := aStep.FindStringSubmatch(minute); {
		case minute == "*":
			return "every minute"
		case step != nil:
			if n, _ := strconv.Atoi(step[1]); n > 1 && 60%n == 0 {
				return "every " + step[1] + " minutes"
			}
		case aNumber.MatchString(minute):
			return "every hour at minute " + minute + " ZONE"
		}
		return ""
	}
	if !aNumber.MatchString(minute) || !aNumber.MatchString(hour) {
		return ""
	}
	time := fmt.Sprintf("at %02s:%02s ZONE", hour, minute)
	switch days := weekdayWords(weekday); {
	case anyDay:
		return "every day " + time
	case day == "*" && month == "*" && days != "":
		return days + " " + time
	case aNumber.MatchString(day) && month == "*" && weekday == "*":
		return "on day " + day + " of every month " + time
	}
	return ""
}

var weekdays = []string{"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"}

// weekdayWords returns the words for one day of the week or a range of them.
func weekdayWords(field string) string {
	name := func(text string) string {
		if n, err := strconv.Atoi(text); err == nil && n >= 0 && n < len(weekdays) {
			return weekdays[n]
		}
		for _, d := range weekdays {
			if strings.EqualFold(text, d[:3]) {
				return d
			}
		}
		return ""
	}
	first, last, isRange := strings.Cut(field, "-")
	switch from, to := name(first), name(last); {
	case !isRange && from != "":
		return "every " + from
	case from != "" && to != "":
		return "every day from " + from + " to " + to
	}
	return ""
}
