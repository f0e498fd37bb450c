package emit

import (
	"strings"
	"unicode/utf8"

	"github.com/dave/jennifer/jen"
	"github.com/flowc-dev/flowc/gen/internal/model"
)

// The packages that generated code calls.
const (
	runtimePath = "github.com/flowc-dev/flowc/runtime"
	specPath    = runtimePath + "/spec"
	handlerPath = runtimePath + "/handler"
	pgxPath     = "github.com/jackc/pgx/v5"
	sqlPath     = "database/sql"
)

// A file is a generated file being written.
type file struct {
	*jen.File
	flow *model.Flow
	// imports are the names of the imported packages in this file, by path.
	imports map[string]string
	// taken are the names that an import cannot have.
	taken map[string]bool
	// joins are the names of the variables that hold the sources of steps.
	joins map[*model.Step]string
	// stepNamed are the names of the constants for the slugs of steps.
	stepNamed map[*model.Step]string
	// waits are the names of what is generated for steps that wait.
	waits map[*model.Step]waitNames
}

// ctx and db are the first parameters of every function that talks to the database.
func (f *file) ctx() jen.Code { return jen.Id("ctx").Qual("context", "Context") }
func (f *file) db() jen.Code  { return jen.Id("db").Qual(runtimePath, "DB") }

// runtime, spec and handlerPkg are names of these packages.
func (f *file) runtime(name string) *jen.Statement    { return jen.Qual(runtimePath, name) }
func (f *file) spec(name string) *jen.Statement       { return jen.Qual(specPath, name) }
func (f *file) handlerPkg(name string) *jen.Statement { return jen.Qual(handlerPath, name) }

// comment adds a doc comment, broken into lines.
func (f *file) comment(text string) { f.comments(wrap(text)...) }

// comments adds a doc comment of several lines.
func (f *file) comments(lines ...string) {
	for _, line := range lines {
		f.Comment(comment(line))
	}
}

// comment returns a line of a comment. jennifer leaves alone what begins with slashes.
func comment(line string) string {
	if line == "" {
		return "//"
	}
	if line[0] == '\t' {
		return "//" + line
	}
	return "// " + line
}

// wrap breaks a text into lines of up to 88 characters.
func wrap(text string) (lines []string) {
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > 88 {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

// slug writes the slug of a step; that of a job's step is the job's.
func (f *file) slug(slug string) jen.Code {
	if f.flow.Job {
		return jen.Id("Slug")
	}
	return jen.Lit(slug)
}
