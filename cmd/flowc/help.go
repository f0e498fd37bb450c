package main

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/flowc-dev/flowc/cmd/flowc/help"
	"github.com/flowc-dev/flowc/gen/nearest"
)

// A helpPage is a topic of `flowc help`, written in Markdown: a title, text, and sections.
type helpPage struct {
	topic, title string
	text         string // before the first section
	sections     []section
}

// A section is a part of a page that can be asked for by its heading: a code of a
// mistake, or a word of the glossary.
type section struct{ heading, text string }

// short returns the first sentence of a section.
func (s section) short() string {
	first, _, _ := strings.Cut(s.text, "\n\n")
	return strings.TrimSuffix(strings.ReplaceAll(first, "\n", " "), ".")
}

// helpPages returns the pages in the order of their topics.
func helpPages() (pages []helpPage) {
	files, _ := help.Pages.ReadDir(".") // it is embedded
	for _, file := range files {
		text, _ := help.Pages.ReadFile(file.Name())
		pages = append(pages, readPage(strings.TrimSuffix(file.Name(), ".md"), string(text)))
	}
	return pages
}

func readPage(topic, markdown string) helpPage {
	parts := strings.Split(markdown, "\n## ")
	title, text, _ := strings.Cut(strings.TrimPrefix(parts[0], "# "), "\n")
	p := helpPage{topic: topic, title: title, text: strings.TrimSpace(text)}
	for _, part := range parts[1:] {
		heading, text, _ := strings.Cut(part, "\n")
		p.sections = append(p.sections, section{heading: heading, text: strings.TrimSpace(text)})
	}
	return p
}

// newHelp returns the command that prints the help of a command, or a topic.
func newHelp() *cobra.Command {
	return &cobra.Command{
		Use:   "help [command, topic, code of a mistake or word of the glossary]",
		Short: "Explain a command, a topic, the code of a mistake or a word",
		Example: `  flowc help generate
  flowc help codes
  flowc help unknown-step
  flowc help lease`,
		ValidArgsFunction: completeHelp,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Root().Help()
			}
			if found, rest, err := cmd.Root().Find(args); err == nil && len(rest) == 0 {
				found.InitDefaultHelpFlag()
				return found.Help()
			}
			return printTopic(cmd.OutOrStdout(), strings.Join(args, " "))
		},
	}
}

// printTopic prints a page, or the section with a heading.
func printTopic(w io.Writer, name string) error {
	pages := helpPages()
	var known []string
	for _, p := range pages {
		if p.topic == name {
			_, err := io.WriteString(w, p.plain())
			return err
		}
		known = append(known, p.topic)
	}
	for _, p := range pages {
		for _, s := range p.sections {
			if s.heading == name {
				_, err := fmt.Fprintf(w, "%s\n\n%s", s.heading, plain(s.text))
				return err
			}
			known = append(known, s.heading)
		}
	}
	fix := "`flowc help` lists commands and topics"
	if near := nearest.Name(name, known); near != "" {
		fix = "did you mean " + near + "?"
	}
	return fmt.Errorf("flowc help: no command, topic, code or word %q\n\tfix: %s", name, fix)
}

// plain formats a page for a terminal. The page of codes becomes an index, since each code
// has a help of its own.
func (p helpPage) plain() string {
	var b strings.Builder
	b.WriteString(p.title + "\n\n")
	if p.topic == "codes" {
		for _, s := range p.sections {
			fmt.Fprintf(&b, "%s\n    %s\n", s.heading, s.short())
		}
		b.WriteString("\n" + plain(p.text))
		return b.String()
	}
	if p.text != "" {
		b.WriteString(plain(p.text) + "\n")
	}
	for _, s := range p.sections {
		fmt.Fprintf(&b, "%s\n%s\n", s.heading, indent(plain(s.text), "    "))
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

var link = regexp.MustCompile(`\[([^\]]+)\]\([^)]+\)`)

// plain returns Markdown as text: code is indented, tables are aligned, and links are their
// words.
func plain(markdown string) string {
	var b strings.Builder
	code := false
	var rows []string
	for line := range strings.Lines(strings.TrimSpace(markdown) + "\n") {
		if !code && strings.HasPrefix(line, "|") {
			rows = append(rows, line)
			continue
		}
		b.WriteString(alignTable(rows))
		rows = nil
		switch {
		case strings.HasPrefix(line, "```"):
			code = !code
		case code && line != "\n":
			b.WriteString("    " + strings.ReplaceAll(line, "\t", "    "))
		default:
			b.WriteString(link.ReplaceAllString(line, "$1"))
		}
	}
	b.WriteString(alignTable(rows))
	return strings.TrimLeft(b.String(), "\n")
}

func indent(text, by string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if line != "\n" {
			b.WriteString(by)
		}
		b.WriteString(line)
	}
	return b.String()
}

// topicList returns the topics with their titles, as the help of flowc lists them.
func topicList() string {
	var b strings.Builder
	for _, p := range helpPages() {
		fmt.Fprintf(&b, "\n  %-12s %s", p.topic, p.title)
	}
	return b.String()
}

// completeHelp completes commands and topics, and codes and words as soon as something
// is typed.
func completeHelp(cmd *cobra.Command, args []string, typed string) (words []string, _ cobra.ShellCompDirective) {
	within, rest, err := cmd.Root().Find(args)
	if err != nil || len(rest) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	add := func(name, short string) {
		if strings.HasPrefix(name, typed) {
			words = append(words, name+"\t"+short)
		}
	}
	for _, sub := range within.Commands() {
		if sub.IsAvailableCommand() {
			add(sub.Name(), sub.Short)
		}
	}
	if len(args) > 0 {
		return words, cobra.ShellCompDirectiveNoFileComp
	}
	for _, p := range helpPages() {
		add(p.topic, p.title)
		for _, s := range p.sections {
			if typed != "" && !strings.Contains(s.heading, " ") {
				add(s.heading, s.short())
			}
		}
	}
	slices.Sort(words)
	return words, cobra.ShellCompDirectiveNoFileComp
}
