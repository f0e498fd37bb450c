package gen

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"

	"github.com/flowc-dev/flowc/runtime/spec"
)

// A NewShape is a flow whose steps are no longer those that its file was
// generated for, while its slug is the same. The database refuses to change the
// shape of a flow that it has.
type NewShape struct {
	// Path is the generated file, Flow the name of the declaration.
	Path string `json:"path"`
	Flow string `json:"flow"`
	// Slug is the slug of both shapes, Version what version of it the new one
	// should be.
	Slug    string `json:"slug"`
	Version int    `json:"version"`
	// Newer is the name of the declaration of a newer version, if there is one. Then this one
	// is declared for the runs that it has.
	Newer string `json:"newer,omitempty"`
	// Differences are what is different, in words.
	Differences []string `json:"differences"`
	// Declaration declares the old shape, on one line; empty if its file does not tell. Once
	// the file is written anew, it is known no more.
	Declaration string `json:"declaration,omitempty"`
}

// String returns what is different and what to do.
func (n NewShape) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s has a new shape, which a database that has the old one will refuse", n.Path, n.Slug)
	for _, d := range n.Differences {
		b.WriteString("\n\t" + d)
	}
	if n.Newer != "" {
		b.WriteString(asItWas(n.Flow, n.Newer))
		return b.String()
	}
	fmt.Fprintf(&b, "\n\tfix: tag %s version:\"%d\", so that runs of the old shape can finish; or leave it, if there is no such run", n.Flow, n.Version)
	if n.Declaration != "" {
		b.WriteString("\n\tthe old shape, to declare beside it:\n\t" + n.Declaration)
	}
	return b.String()
}

// asItWas returns what to do if a version has changed that a newer one has replaced.
func asItWas(flow, newer string) string {
	return fmt.Sprintf("\n\tfix: leave %s as it was, with a copy of each type that has changed for %s; or leave it so, if no run of it is in flight", flow, newer)
}

// A LostForm is a flow whose Go types read less than those that its file was generated
// for have written, under the same slug: what runs in flight have is lost in part, or
// cannot be read.
type LostForm struct {
	// Path is the generated file, Flow the name of the declaration, Slug its slug, Version
	// the next one and Newer as in a NewShape.
	Path    string `json:"path"`
	Flow    string `json:"flow"`
	Slug    string `json:"slug"`
	Version int    `json:"version"`
	Newer   string `json:"newer,omitempty"`
	// Differences are what is lost, in words.
	Differences []string `json:"differences"`
}

// String returns what is lost and what to do.
func (l LostForm) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: the types of %s no longer read all that runs in flight have", l.Path, l.Slug)
	for _, d := range l.Differences {
		b.WriteString("\n\t" + d)
	}
	if l.Newer != "" {
		b.WriteString(asItWas(l.Flow, l.Newer))
		return b.String()
	}
	fmt.Fprintf(&b, "\n\tfix: keep the old name with a json tag, or tag %s version:\"%d\", so that runs in flight are worked by the old program; or leave it, if there is no such run (handler.Strict() makes such a run fail rather than lose a value)", l.Flow, l.Version)
	return b.String()
}

// A NewShapesError holds new shapes, and types that read less, under old slugs, with
// Options.Strict.
type NewShapesError struct {
	Shapes []NewShape
	Forms  []LostForm
}

// Error returns the texts of all of them.
func (e *NewShapesError) Error() string {
	var texts []string
	for _, s := range e.Shapes {
		texts = append(texts, s.String())
	}
	for _, l := range e.Forms {
		texts = append(texts, l.String())
	}
	return strings.Join(texts, "\n")
}

// An evolution is what is different between a generated file and
// what is to replace it.
type evolution struct {
	shape       []string // steps, edges, conditions
	forms       []string // what the new types cannot read
	optionsOnly bool
	replaces    string // the slug of the version before, if the new file is of another
	old         string // the declaration of that version or of the old shape, on one line
}

// evolve compares a generated file with what is to replace it. It is empty if the old
// file cannot be read as one of ours, or is of another flow.
func evolve(before, after []byte, home string) (e evolution) {
	a, okBefore := readDefinition(before)
	b, okAfter := readDefinition(after)
	if !okBefore || !okAfter {
		return e
	}
	if a.Slug != b.Slug {
		was, version := spec.VersionOf(a.Slug)
		is, next := spec.VersionOf(b.Slug)
		if was == is && version < next {
			e.replaces, e.old = a.Slug, oldDeclaration(before, home, a.Slug, version)
		}
		return e
	}
	e.forms = spec.CompareForms(a.Forms, b.Forms)
	differences := spec.Compare(a, b)
	for _, d := range differences {
		if !d.InPlace() {
			e.shape = append(e.shape, d.String())
		}
	}
	e.optionsOnly = len(differences) > 0 && len(e.shape) == 0
	if len(e.shape) > 0 {
		_, version := spec.VersionOf(a.Slug)
		e.old = oldDeclaration(before, home, a.Slug, version)
	}
	return e
}

// formsBlock is where the forms stand in a generated file, in Go and in SQL.
var formsBlock = regexp.MustCompile(`(?ms)^\t\tForms:\s+&spec\.Forms\{.*?^\t\t\},\r?\n|^  "forms": [^\n]*\n`)

// onlyMoreForms reports whether two files differ in nothing but the forms, and nothing
// is lost from the one to the other.
func onlyMoreForms(before, after []byte) bool {
	a, b := formsBlock.ReplaceAll(before, nil), formsBlock.ReplaceAll(after, nil)
	if !bytes.Equal(a, b) {
		return false
	}
	was, ok := readDefinition(before)
	is, _ := readDefinition(after)
	return !ok || was.Forms != nil && len(spec.CompareForms(was.Forms, is.Forms)) == 0
}
