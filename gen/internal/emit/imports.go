package emit

import (
	"bytes"
	"fmt"
	"go/types"
	"path"
	"strings"
	"unicode"

	"github.com/flowc-dev/flowc/gen/internal/model"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// local are the names that a generated file uses in its functions.
var local = []string{
	"ctx", "db", "in", "ins", "runID", "key", "answer", "filter", "n", "opts", "id", "h", "fn", "delay", "at", "v", "w", "slug", "item", "tx", "err",
	"flow", "output", "goGenerateIsDue",
}

// reserveNames decides the names of the file's own variables and packages, so
// that a package of the user never takes one.
func (f *file) reserveNames() {
	f.taken = map[string]bool{}
	for _, name := range local {
		f.taken[name] = true
	}
	for _, name := range types.Universe.Names() {
		f.taken[name] = true
	}
	base := f.flow.Base
	for _, name := range []string{
		"Slug", "Definition", "Handler", "Handlers", "Serve", "ServeAs",
		"Start" + base, "Start" + base + "Sync", "StartMany" + base,
		"Enqueue" + base, "Enqueue" + base + "In", "Enqueue" + base + "At", "EnqueueMany" + base,
		"Get" + base, "Upsert" + base, "Delete" + base, base + "Exists",
	} {
		f.taken[name] = true
	}
	type named struct{ path, name string }
	packages := []named{
		{"context", "context"},
		{"encoding/json", "json"},
		{"time", "time"},
		{runtimePath, "runtime"},
		{specPath, "spec"},
		{handlerPath, "handler"},
		{model.DSL, "dsl"},
	}
	for _, s := range f.flow.Steps {
		switch s.Tx {
		case spec.TxPgx:
			packages = append(packages, named{pgxPath, "pgx"})
		case spec.TxSQL:
			packages = append(packages, named{sqlPath, "sql"})
		}
	}
	for _, p := range packages {
		f.imports[p.path] = p.name
		f.taken[p.name] = true
		f.ImportName(p.path, p.name)
	}
	for _, s := range f.flow.Steps {
		if !f.flow.Job {
			f.stepNamed[s] = f.unique("Step" + s.Name)
		}
		if s.Source.Kind == model.Join {
			f.joins[s] = f.unique(lowerFirst(s.Name) + "Input")
		}
		if s.Wait {
			f.nameWait(s)
		}
	}
	f.importPackage(f.flow.Declaring)
}

// importPackage decides the name of a package in the file: its own, unless
// that is taken.
func (f *file) importPackage(p *types.Package) {
	if _, known := f.imports[p.Path()]; known {
		return
	}
	name := p.Name()
	if !f.taken[name] {
		f.taken[name] = true
		f.ImportName(p.Path(), name)
	} else {
		name = f.unique(identifier(path.Base(path.Dir(p.Path()))) + name)
		f.ImportAlias(p.Path(), name)
	}
	f.imports[p.Path()] = name
}

// unique returns a name that is not taken yet, and takes it.
func (f *file) unique(name string) string {
	free := name
	for i := 2; f.taken[free]; i++ {
		free = fmt.Sprintf("%s%d", name, i)
	}
	f.taken[free] = true
	return free
}

// identifier returns what of a path element can begin an identifier.
func identifier(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, s)
	return strings.TrimLeftFunc(s, unicode.IsDigit)
}

// lowerFirst returns a name that begins with a lower letter: charge, urlCheck.
func lowerFirst(name string) string {
	runes := []rune(name)
	for i, r := range runes {
		last := i+1 == len(runes) || !unicode.IsUpper(runes[i+1])
		if !unicode.IsUpper(r) || i > 0 && last && i+1 < len(runes) && unicode.IsLetter(runes[i+1]) {
			break
		}
		runes[i] = unicode.ToLower(r)
	}
	return string(runes)
}

// groupImports sets the standard library apart from other packages, which
// jennifer does not.
func groupImports(source []byte) []byte {
	const open, end = "import (\n", ")\n"
	start := bytes.Index(source, []byte(open))
	if start < 0 {
		return source
	}
	start += len(open)
	length := bytes.Index(source[start:], []byte(end))
	var std, others []string
	for line := range strings.Lines(string(source[start : start+length])) {
		importPath := line[strings.IndexByte(line, '"')+1:]
		first, _, _ := strings.Cut(strings.TrimRight(importPath, "\"\n"), "/")
		if strings.Contains(first, ".") {
			others = append(others, line)
		} else {
			std = append(std, line)
		}
	}
	var b bytes.Buffer
	b.Write(source[:start])
	b.WriteString(strings.Join(std, ""))
	if len(std) > 0 && len(others) > 0 {
		b.WriteByte('\n')
	}
	b.WriteString(strings.Join(others, ""))
	b.Write(source[start+length:])
	return b.Bytes()
}
