package dashboard

import (
	"fmt"
	"html"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strings"
)

// A helpPage is a topic of the help.
type helpPage struct {
	Topic, Title string
	Sections     []helpSection
	Body         template.HTML
}

// A helpSection is a heading on a page of help, and what a link to it ends in.
type helpSection struct{ Anchor, Heading string }

// helpTopics are the topics that are about the sections of the dashboard.
var helpTopics = map[string]string{
	"overview": "operate", "runs": "troubleshoot", "waiting": "waiting", "flows": "versions",
	"queues": "operate", "schedules": "declare", "workers": "operate",
}

// readHelp reads the pages of a folder, in the order of their topics.
func readHelp(pages fs.FS, prefix string) (all []helpPage, err error) {
	if pages == nil {
		return nil, nil
	}
	names, err := fs.Glob(pages, "*.md")
	if err != nil {
		return nil, fmt.Errorf("flowc: dashboard: Help: %w", err)
	}
	var topics []string
	for _, name := range names {
		topics = append(topics, strings.TrimSuffix(name, ".md"))
	}
	for _, topic := range topics {
		text, err := fs.ReadFile(pages, topic+".md")
		if err != nil {
			return nil, fmt.Errorf("flowc: dashboard: Help: %w", err)
		}
		m := &markdown{topics: topics, prefix: prefix}
		m.read(string(text))
		m.page.Topic, m.page.Body = topic, template.HTML(m.out.String()) // markdown escapes all text
		all = append(all, m.page)
	}
	return all, nil
}

func findHelp(pages []helpPage, topic string) *helpPage {
	if i := slices.IndexFunc(pages, func(p helpPage) bool { return p.Topic == topic }); i >= 0 {
		return &pages[i]
	}
	return nil
}

func (h *Handler) listHelp(w http.ResponseWriter, r *http.Request) error {
	if len(h.help) == 0 {
		return errNoPage
	}
	return h.render(w, http.StatusOK, "help", h.frame(r, "", "Help", nil))
}

func (h *Handler) showHelp(w http.ResponseWriter, r *http.Request) error {
	page := findHelp(h.help, r.PathValue("topic"))
	if page == nil {
		return errNoPage
	}
	return h.render(w, http.StatusOK, "help", h.frame(r, "", page.Title, page))
}

// markdown writes the Markdown of the help as HTML: headings, paragraphs, lists, tables,
// blocks of code, and in lines code, links and what is bold.
type markdown struct {
	topics []string
	prefix string
	page   helpPage
	out    strings.Builder

	text  []string // the lines of a paragraph
	list  string   // the element of a list
	items []string
	rows  []string // the lines of a table
}

var numbered = regexp.MustCompile(`^\d+\. `)

func (m *markdown) read(text string) {
	code := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		switch {
		case strings.HasPrefix(line, "```"):
			m.flush()
			code = !code
			m.out.WriteString(map[bool]string{true: "<pre><code>", false: "</code></pre>\n"}[code])
		case code:
			m.out.WriteString(html.EscapeString(line) + "\n")
		case strings.HasPrefix(line, "# "):
			m.page.Title = line[2:]
		case strings.HasPrefix(line, "## "):
			m.flush()
			s := helpSection{anchor(line[3:]), line[3:]}
			m.page.Sections = append(m.page.Sections, s)
			fmt.Fprintf(&m.out, "<h2 id=%q>%s</h2>\n", s.Anchor, m.inline(s.Heading))
		case strings.HasPrefix(line, "### "):
			m.flush()
			fmt.Fprintf(&m.out, "<h3>%s</h3>\n", m.inline(line[4:]))
		case strings.HasPrefix(line, "|"):
			m.rows = append(m.rows, line)
		case strings.HasPrefix(line, "- "):
			m.item("ul", line[2:])
		case numbered.MatchString(line):
			m.item("ol", numbered.ReplaceAllString(line, ""))
		case strings.TrimSpace(line) == "":
			m.flush()
		case m.list != "":
			m.items[len(m.items)-1] += " " + strings.TrimSpace(line)
		default:
			m.text = append(m.text, line)
		}
	}
	m.flush()
}

func (m *markdown) item(list, text string) {
	if m.list != list {
		m.flush()
	}
	m.list = list
	m.items = append(m.items, text)
}

// flush writes the paragraph, list or table that has ended.
func (m *markdown) flush() {
	switch {
	case len(m.text) > 0:
		fmt.Fprintf(&m.out, "<p>%s</p>\n", m.inline(strings.Join(m.text, " ")))
	case m.list != "":
		fmt.Fprintf(&m.out, "<%s>\n", m.list)
		for _, item := range m.items {
			fmt.Fprintf(&m.out, "<li>%s</li>\n", m.inline(item))
		}
		fmt.Fprintf(&m.out, "</%s>\n", m.list)
	case len(m.rows) > 0:
		m.table()
	}
	m.text, m.list, m.items, m.rows = nil, "", nil, nil
}

func (m *markdown) table() {
	m.out.WriteString(`<div class="card flush"><p class="scroll-note">more to the right</p><div class="scroll-x" tabindex="0" role="group"><table class="table">`)
	for i, row := range m.rows {
		if i == 1 {
			continue // it separates the header
		}
		cell := map[bool]string{true: "th", false: "td"}[i == 0]
		m.out.WriteString("<tr>")
		row = strings.ReplaceAll(strings.Trim(row, "|"), `\|`, "\x00")
		for _, text := range strings.Split(row, "|") {
			text = strings.ReplaceAll(strings.TrimSpace(text), "\x00", "|")
			fmt.Fprintf(&m.out, "<%s>%s</%s>", cell, m.inline(text), cell)
		}
		m.out.WriteString("</tr>\n")
	}
	m.out.WriteString("</table></div></div>\n")
}

var (
	linkMark = regexp.MustCompile(`\[([^\]]+)\]\(([^)\s]+)\)`)
	boldMark = regexp.MustCompile(`\*\*([^*]+)\*\*`)
)

// inline writes a line. What is between backticks is code; `flowc help topic` leads to the
// page.
func (m *markdown) inline(text string) string {
	var b strings.Builder
	parts := strings.Split(text, "`")
	for i, part := range parts {
		escaped := html.EscapeString(part)
		if i%2 == 1 && i < len(parts)-1 {
			code := "<code>" + escaped + "</code>"
			if topic, ok := strings.CutPrefix(part, "flowc help "); ok && slices.Contains(m.topics, topic) {
				code = m.link(topic, code)
			}
			b.WriteString(code)
			continue
		}
		escaped = linkMark.ReplaceAllStringFunc(escaped, func(mark string) string {
			parts := linkMark.FindStringSubmatch(mark)
			if topic, ok := strings.CutSuffix(parts[2], ".md"); ok && slices.Contains(m.topics, topic) {
				return m.link(topic, parts[1])
			}
			return parts[1] // to a file of the repository, or elsewhere
		})
		b.WriteString(boldMark.ReplaceAllString(escaped, "<b>$1</b>"))
	}
	return b.String()
}

// link returns a link to a page, around what is HTML already.
func (m *markdown) link(topic, inner string) string {
	return fmt.Sprintf(`<a href="%s">%s</a>`, html.EscapeString(m.prefix+path.Join("/help", topic)), inner)
}

var notInAnchor = regexp.MustCompile(`[^a-z0-9 -]`)

// anchor returns what a link to a heading ends in.
func anchor(heading string) string {
	return strings.ReplaceAll(notInAnchor.ReplaceAllString(strings.ToLower(heading), ""), " ", "-")
}
