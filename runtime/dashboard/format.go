package dashboard

import (
	"fmt"
	"html/template"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// functions are what templates call.
var functions = template.FuncMap{
	"ago": ago, "took": took, "count": count, "bytes": byteCount, "percent": percent,
	"stamp": stamp, "moment": moment, "firstLine": firstLine, "moreLines": moreLines,
	"word": statusWord, "plural": plural, "shortID": shortID, "since": since, "tell": tell,
	"minus": func(a, b int) int { return a - b }, "plus": func(a, b int) int { return a + b }, "share": share, "actions": bulkActionNames,
	"moreWord": moreWord, "term": explain, "tip": statusTip,
	"tokens":     func(n float64) string { return count(int(n)) },
	"shorten":    func(s string) string { return shorten(s, mostText) },
	"queueClass": func(state string) string { return strings.ReplaceAll(state, " ", "-") },
}

// took formats a duration, in its two largest units.
func took(d time.Duration) string {
	if d < 0 {
		d = 0
	}
	switch {
	case d < time.Millisecond:
		return "<1 ms"
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 10*time.Second:
		return strconv.FormatFloat(float64(d.Milliseconds()/10)/100, 'f', -1, 64) + " s"
	case d < time.Minute:
		return strconv.FormatFloat(float64(d.Milliseconds()/100)/10, 'f', -1, 64) + " s"
	case d < time.Hour:
		return twoUnits(d, time.Minute, "min", time.Second, "s")
	case d < 24*time.Hour:
		return twoUnits(d, time.Hour, "h", time.Minute, "min")
	}
	return twoUnits(d, 24*time.Hour, "d", time.Hour, "h")
}

func twoUnits(d, large time.Duration, largeName string, small time.Duration, smallName string) string {
	text := fmt.Sprintf("%d %s", d/large, largeName)
	if rest := d % large / small; rest > 0 {
		text += fmt.Sprintf(" %d %s", rest, smallName)
	}
	return text
}

// since returns the time from one moment to another, which is now if it is omitted.
func since(from, to time.Time) time.Duration { return max(to.Sub(from), 0) }

// ago formats a time relative to another. The page's script does the same, and keeps it
// up to date.
func ago(t, now time.Time) string {
	d := now.Sub(t)
	switch {
	case d < 0:
		return "in " + largestUnit(-d)
	case d < time.Second:
		return "just now"
	}
	return largestUnit(d) + " ago"
}

func largestUnit(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", max(d/time.Second, 1))
	case d < time.Hour:
		return fmt.Sprintf("%d min", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", d/time.Hour)
	}
	return fmt.Sprintf("%d days", d/(24*time.Hour))
}

// moreWord names what follows the first line of an error: the stack of a panic, as Go's
// runtime prints it, or anything else.
func moreWord(more string) string {
	if strings.Contains(more, ".go:") && strings.Contains(more, "\n\t") {
		return "Stack"
	}
	return "More"
}

// stamp formats a time for programs, moment one for people.
func stamp(t time.Time) string  { return t.UTC().Format(time.RFC3339Nano) }
func moment(t time.Time) string { return t.UTC().Format("2 Jan 2006, 15:04:05.000 MST") }

// count formats a number with thousands separators.
func count(n int) string {
	if n < 0 {
		return "−" + count(-n)
	}
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return count(n) + " " + many
}

func byteCount(n int) string {
	switch {
	case n < 1000:
		return fmt.Sprintf("%d B", n)
	case n < 1000*1000:
		return fmt.Sprintf("%.1f kB", float64(n)/1000)
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1000/1000)
}

func percent(part, whole int) string {
	if whole == 0 {
		return "0 %"
	}
	p := 100 * float64(part) / float64(whole)
	switch {
	case part == 0 || part == whole:
		return fmt.Sprintf("%.0f %%", p)
	case p < 0.1:
		return "<0.1 %"
	case p > 99.9:
		return ">99.9 %"
	case p < 10:
		return fmt.Sprintf("%.1f %%", p)
	}
	return fmt.Sprintf("%.0f %%", p)
}

// bulkActions are the actions on a list.
var bulkActions = []Action{ActionRetry, ActionCancel, ActionDelete}

func bulkActionNames() (names []string) {
	for _, action := range bulkActions {
		names = append(names, string(action))
	}
	return names
}

// longestLine is how much of the first line of an error a list shows.
const longestLine = 300

// share returns a part of a whole in percent, for a width.
func share(part, whole int) string {
	return fmt.Sprintf("%d%%", 100*part/max(whole, 1))
}

// mostRows is how many rows a table without pages has.
const mostRows = 500

// firstRows returns as many rows as a table has room for, and how many were left out.
func firstRows[T any](rows []T) (shown []T, hidden int) {
	shown = rows[:min(len(rows), mostRows)]
	return shown, len(rows) - len(shown)
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return shorten(strings.TrimSpace(line), longestLine)
}

// moreLines returns what firstLine leaves out: the whole text if the line was cut, else
// the lines after it.
func moreLines(s string) string {
	s = strings.TrimSpace(s)
	line, rest, _ := strings.Cut(s, "\n")
	if utf8.RuneCountInString(line) > longestLine {
		return s
	}
	return strings.Trim(rest, "\n")
}

func shorten(s string, runes int) string {
	n := 0
	for i := range s {
		if n == runes {
			return s[:i] + "…"
		}
		n++
	}
	return s
}

// statusWord returns the word for a status on pages.
func statusWord(status any) string {
	if worded, ok := status.(interface{ Word() string }); ok {
		return worded.Word()
	}
	return fmt.Sprint(status)
}

// shortID returns the end of an id, which tells runs apart: runs that started together
// share the beginning.
func shortID(id string) string {
	if len(id) != 36 {
		return id
	}
	return id[24:]
}

// A told is a value with a note.
type told struct{ Value, Note any }

// tell passes two values to a part of a template.
func tell(value, note any) told { return told{value, note} }
