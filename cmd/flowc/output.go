package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/flowc-dev/flowc/runtime/jsonlayout"
)

// asJSON adds the flag --json to a command.
func asJSON(cmd *cobra.Command) *bool {
	return cmd.Flags().Bool("json", false, "print JSON")
}

// printJSON prints indented JSON. Payloads in it may be nested so deeply that it would be
// many times as long if all of it were indented.
func printJSON(w io.Writer, v any) error {
	var line bytes.Buffer
	if err := printLine(&line, v); err != nil {
		return err
	}
	_, err := w.Write(append(jsonlayout.Indent(line.Bytes()), '\n'))
	return err
}

// printLine prints JSON on a line of its own, for what comes bit by bit.
func printLine(w io.Writer, v any) error {
	var line bytes.Buffer
	e := json.NewEncoder(&line)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	_, err := w.Write(escaped(line.Bytes()))
	return err
}

// A table holds rows under a header, in columns as wide as they need to be.
type table struct {
	header []string
	rows   [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// shardColumn and priorityColumn are headers of columns that are left out if all of them is
// empty.
const shardColumn, priorityColumn = "SHARD", "PRIORITY"

// onShard returns the words that name a shard, if there are several.
func onShard(name string) string {
	if name == "" {
		return ""
	}
	return " on shard " + printable(name)
}

func (t *table) print(w io.Writer) error {
	for _, name := range []string{shardColumn, priorityColumn} {
		column := slices.Index(t.header, name)
		if column >= 0 && !slices.ContainsFunc(t.rows, func(row []string) bool { return row[column] != "" }) {
			t.header = slices.Delete(t.header, column, column+1)
			for i, row := range t.rows {
				t.rows[i] = slices.Delete(row, column, column+1)
			}
		}
	}
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, row := range append([][]string{t.header}, t.rows...) {
		for i, cell := range row {
			row[i] = printable(cell)
			if row[i] == "" {
				row[i] = "-"
			}
		}
		// The last cell of a row is not padded.
		fmt.Fprintln(tw, strings.Join(row, "\t"))
	}
	return tw.Flush()
}

// printable returns a text on one line, without control characters: text from a database
// must not control the terminal that shows it.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\r' || r == '\t' {
			return ' '
		}
		return printableRune(r)
	}, s)
}

// printableLines returns a text of several lines, which may be indented.
func printableLines(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return r
		}
		return printableRune(r)
	}, s)
}

// printableRune returns a character, or a replacement for one that would control the terminal.
func printableRune(r rune) rune {
	if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
		return unicode.ReplacementChar
	}
	return r
}

// escaped returns JSON of the same value without control characters.
func escaped(raw []byte) []byte {
	var b []byte
	for _, r := range string(raw) {
		if r != '\n' && r != '\t' && printableRune(r) != r { // below 32 JSON has none
			b = fmt.Appendf(b, "\\u%04x", r)
			continue
		}
		b = utf8.AppendRune(b, r)
	}
	return b
}

// shorten cuts a text that is longer than so many letters.
func shorten(s string, most int) string {
	last, letters := 0, 0 // where the last letter begins that is shown of a text that is too long
	for i := range s {
		if letters++; letters == most {
			last = i
		} else if letters > most {
			return printable(s[:last]) + "…"
		}
	}
	return printable(s)
}

// ago formats a time relative to now; the zero time is the empty string.
func ago(t time.Time) string {
	switch d := time.Since(t); {
	case t.IsZero():
		return ""
	case d < -time.Second:
		return "in " + rough(-d)
	case d < time.Second:
		return "now"
	default:
		return rough(d) + " ago"
	}
}

// rough formats a duration in one unit.
func rough(d time.Duration) string {
	for _, unit := range []struct {
		length time.Duration
		name   string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}} {
		if d >= unit.length {
			return fmt.Sprintf("%d%s", d/unit.length, unit.name)
		}
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

// took formats a duration with about three digits.
func took(from, to time.Time) string {
	if from.IsZero() || to.IsZero() {
		return ""
	}
	return lasting(to.Sub(from))
}

func lasting(d time.Duration) string {
	switch {
	case d <= 0:
		return ""
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(10 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// count returns a number with its noun.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// clock formats a time to the second, in the local time zone.
func clock(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }
