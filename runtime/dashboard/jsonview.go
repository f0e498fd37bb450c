package dashboard

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Limits of a value on a page; the rest is shown at its own address.
const (
	mostNodes = 1500 // parts of one value
	mostDepth = 40   // of objects and lists in one another
	mostText  = 600  // characters of one string
	openNodes = 12   // an object with more members starts closed

	// mostMarkup is how many bytes of a page a value may take, after which no more
	// members are written: a string of quotes takes five times its length.
	mostMarkup = 256 << 10
)

// jsonView renders a JSON value as collapsible markup. Numbers are copied verbatim, never
// parsed: no digit is lost. It is the one place where markup is built by hand, and
// everything from the value goes through text.
func jsonView(raw json.RawMessage) template.HTML {
	v := &viewer{}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	root, err := v.parse(decoder, 0)
	if err != nil {
		// Not JSON: Redact may return anything.
		v.text("json-text", shorten(string(raw), mostText))
		return template.HTML(`<div class="json">` + v.String() + `</div>`)
	}
	v.write(root, "", 0)
	if v.nodes > mostNodes {
		fmt.Fprintf(v, `<p class="json-more">%s more not shown</p>`, count(v.nodes-mostNodes))
	}
	return template.HTML(`<div class="json">` + v.String() + `</div>`)
}

// A viewer parses and renders a value.
type viewer struct {
	strings.Builder
	nodes int // seen so far; those above mostNodes are counted only
}

// A jsonNode is a value. Values that are not shown are only counted.
type jsonNode struct {
	class   string // of a scalar
	text    string
	open    byte // { or [ of the others
	keys    []string
	members []*jsonNode
	count   int
	tooDeep bool
}

func (v *viewer) parse(d *json.Decoder, depth int) (*jsonNode, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	v.nodes++
	switch t := token.(type) {
	case json.Delim:
		if t != '{' && t != '[' {
			return nil, fmt.Errorf("unexpected %s", t)
		}
		return v.parseMembers(d, byte(t), depth)
	case json.Number:
		return &jsonNode{class: "json-number", text: t.String()}, nil
	case string:
		return &jsonNode{class: "json-string", text: t}, nil
	case bool:
		return &jsonNode{class: "json-word", text: strconv.FormatBool(t)}, nil
	}
	return &jsonNode{class: "json-word", text: "null"}, nil
}

func (v *viewer) parseMembers(d *json.Decoder, open byte, depth int) (*jsonNode, error) {
	n := &jsonNode{open: open, tooDeep: depth >= mostDepth}
	for d.More() {
		key := ""
		if open == '{' {
			token, err := d.Token()
			if err != nil {
				return nil, err
			}
			key, _ = token.(string)
		}
		n.count++
		if n.tooDeep {
			if err := skip(d); err != nil {
				return nil, err
			}
			continue
		}
		show := v.nodes < mostNodes
		member, err := v.parse(d, depth+1)
		if err != nil {
			return nil, err
		}
		if show {
			n.keys, n.members = append(n.keys, key), append(n.members, member)
		}
	}
	_, err := d.Token() // the end
	return n, err
}

// skip reads over a value without recursion.
func skip(d *json.Decoder) error {
	for depth := 0; ; {
		token, err := d.Token()
		if err == io.EOF {
			return io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
		if delim, ok := token.(json.Delim); ok {
			if delim == '{' || delim == '[' {
				depth++
			} else {
				depth--
			}
		}
		if depth == 0 {
			return nil
		}
	}
}

// write writes a value after its label, which is markup already.
func (v *viewer) write(n *jsonNode, label string, depth int) {
	if n.open == 0 {
		v.WriteString(`<div class="json-line">` + label)
		v.scalar(n)
		v.WriteString(`</div>`)
		return
	}
	closing := map[byte]string{'{': "}", '[': "]"}[n.open]
	if n.count == 0 {
		fmt.Fprintf(v, `<div class="json-line">%s<span class="json-mark">%c%s</span></div>`, label, n.open, closing)
		return
	}
	open := ""
	if !n.tooDeep && (depth == 0 || depth < 4 && n.count <= openNodes) {
		open = " open"
	}
	what := plural(n.count, "item", "items")
	if n.open == '{' {
		what = plural(n.count, "field", "fields")
	}
	fmt.Fprintf(v, `<details%s><summary>%s<span class="json-mark">%c</span><span class="json-count">%s</span><span class="json-mark json-close">%s</span></summary><div class="json-members">`,
		open, label, n.open, what, closing)
	shown := 0
	for i, member := range n.members {
		if v.Len() > mostMarkup {
			break
		}
		shown++
		name := ""
		if n.open == '{' {
			name = `<span class="json-key">` + template.HTMLEscapeString(shorten(quote(n.keys[i]), mostText)) + `</span><span class="json-mark">: </span>`
		} else {
			name = fmt.Sprintf(`<span class="json-index">%d</span>`, i)
		}
		v.write(member, name, depth+1)
	}
	if hidden := n.count - shown; hidden > 0 {
		fmt.Fprintf(v, `<div class="json-line json-more">%s more not shown</div>`, count(hidden))
	}
	fmt.Fprintf(v, `</div><span class="json-mark">%s</span></details>`, closing)
}

func (v *viewer) scalar(n *jsonNode) {
	text := n.text
	if n.class != "json-string" {
		v.text(n.class, shorten(text, mostText))
		return
	}
	if length := utf8.RuneCountInString(text); length > mostText {
		v.text(n.class, quote(string([]rune(text)[:mostText])))
		fmt.Fprintf(v, ` <span class="json-more">… %s more characters</span>`, count(length-mostText))
		return
	}
	v.text(n.class, quote(text))
}

func (v *viewer) text(class, s string) {
	v.WriteString(`<span class="` + class + `">` + template.HTMLEscapeString(s) + `</span>`)
}

// quote formats a string as JSON, without escaping letters.
func quote(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a string can always be encoded
	return strings.TrimSuffix(b.String(), "\n")
}
