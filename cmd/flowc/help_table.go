package main

import (
	"strings"
	"unicode/utf8"
)

// tableWidth is how wide a table of help is, as far as its words allow.
const tableWidth = 92

// alignTable returns a table of Markdown as a terminal shows it: in columns, whose widest
// are folded, without the lines.
func alignTable(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	var rows [][]string
	for i, line := range lines {
		if i != 1 { // which separates the header
			rows = append(rows, cells(line))
		}
	}
	widths, least := make([]int, len(rows[0])), make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
			for _, word := range strings.Fields(cell) {
				least[i] = max(least[i], utf8.RuneCountInString(word))
			}
		}
	}
	narrow(widths, least)
	var b strings.Builder
	for _, row := range rows {
		folded, height := make([][]string, len(row)), 1
		for i, cell := range row {
			folded[i] = fold(cell, widths[i])
			height = max(height, len(folded[i]))
		}
		for y := range height {
			var line strings.Builder
			for i, cell := range folded {
				text := ""
				if y < len(cell) {
					text = cell[y]
				}
				line.WriteString(text + strings.Repeat(" ", max(widths[i]-utf8.RuneCountInString(text), 0)+2))
			}
			b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
		}
	}
	return b.String()
}

// cells returns what stands between the bars of a line. A bar with a backslash is text.
func cells(line string) (all []string) {
	line = strings.ReplaceAll(strings.Trim(strings.TrimSpace(line), "|"), `\|`, "\x00")
	for _, cell := range strings.Split(line, "|") {
		cell = link.ReplaceAllString(strings.TrimSpace(cell), "$1")
		all = append(all, strings.ReplaceAll(cell, "\x00", "|"))
	}
	return all
}

// narrow makes the widest columns narrower, as far as their longest words allow, until the
// table is no wider than it should be.
func narrow(widths, least []int) {
	total := 0
	for _, w := range widths {
		total += w + 2
	}
	for ; total > tableWidth; total-- {
		widest := -1
		for i, w := range widths {
			if w > least[i] && (widest < 0 || w > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			return
		}
		widths[widest]--
	}
}

// fold breaks a text into lines of at most so many characters, between words.
func fold(text string, width int) (lines []string) {
	line := ""
	for _, word := range strings.Fields(text) {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) <= width:
			line += " " + word
		default:
			lines = append(lines, line)
			line = word
		}
	}
	return append(lines, line)
}
