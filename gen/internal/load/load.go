// Package load reads the packages that declare flows: their syntax and types,
// and the types of what they import from export data.
package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/tools/go/packages"
)

// A Package is a package that may declare flows.
type Package struct {
	Path, Name, Dir string
	Files           []*ast.File
	Types           *types.Package
	Info            *types.Info
	// Fatal is what makes the package unreadable.
	Fatal []Problem
	// Problems is what the go command and the type checker reject. The
	// package can be read all the same, except where types are invalid.
	Problems []Problem
}

// A Problem is a fault of a package in the words of the go command.
type Problem struct {
	Pos     token.Pos      // if the type checker said it
	At      token.Position // where, as far as it is known
	Message string
}

// ImportCycle is how the go command begins to tell of a cycle of imports.
const ImportCycle = "import cycle"

// Result is what was loaded.
type Result struct {
	Fset     *token.FileSet
	Packages []*Package
	// Generated are the files that flowc wrote in the places where the
	// packages, or packages that are gone, would have theirs; not those of
	// packages some of whose flows build constraints may hide.
	Generated []string
}

// packagesLoad is the one expensive call; a test counts it.
var packagesLoad = packages.Load

// Load reads the packages that match the patterns, which are those of the go
// command, seen from dir. Of a pattern with dots, only the packages that
// mention the dsl package are read.
func Load(ctx context.Context, dir string, patterns []string) (*Result, error) {
	q, err := resolve(ctx, dir, patterns)
	if err != nil {
		return nil, err
	}
	result := &Result{Fset: token.NewFileSet(), Generated: q.generated}
	foreign := map[string]bool{} // folders with flows of other systems
	if len(q.patterns) == 0 {
		// Nothing mentions dsl; if there is no package at all, that is why.
		if _, err := goList(ctx, dir, patterns...); err != nil {
			return nil, err
		}
		return result, nil
	}
	loaded, err := packagesLoad(&packages.Config{
		Context: ctx,
		Dir:     dir,
		Fset:    result.Fset,
		Mode:    packages.LoadSyntax,
	}, q.patterns...)
	if err != nil {
		return nil, err
	}
	if len(loaded) == 0 { // go.mod is out of date, for one, and nobody said so
		if _, err := goList(ctx, dir, q.patterns...); err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("%s matched no packages", strings.Join(patterns, " "))
	}
	for _, p := range loaded {
		if elsewhere, err := declaresElsewhere(p); err != nil {
			return nil, err
		} else if elsewhere {
			foreign[p.Dir] = true
		}
		if q.found && excluded(p) {
			continue
		}
		result.Packages = append(result.Packages, convert(p))
		if p.Dir != "" {
			result.Generated = append(result.Generated, below(p.Dir)...)
		}
	}
	slices.Sort(result.Generated)
	result.Generated = slices.DeleteFunc(slices.Compact(result.Generated), func(path string) bool {
		return foreign[filepath.Dir(filepath.Dir(path))]
	})
	return result, nil
}

// declaresElsewhere reports whether a file that build constraints leave out
// mentions dsl, so that it may declare flows of which nothing is known here.
func declaresElsewhere(p *packages.Package) (bool, error) {
	for _, path := range p.IgnoredFiles {
		if !isSource(path) || isOurs(path) {
			continue
		}
		if mentions, err := mentionsDSL(path); mentions || err != nil {
			return mentions, err
		}
	}
	return false, nil
}

// query is a list of patterns without dots.
type query struct {
	patterns  []string
	generated []string
	found     bool // some pattern stands for folders that were searched
}

// resolve replaces patterns with dots by the folders that mention dsl.
func resolve(ctx context.Context, dir string, patterns []string) (query, error) {
	var q query
	for _, pattern := range patterns {
		if !strings.Contains(pattern, "...") {
			q.patterns = append(q.patterns, pattern)
			continue
		}
		q.found = true
		root, simple := strings.CutSuffix(pattern, "/...")
		if simple && isLocal(root) && !strings.Contains(root, "...") {
			declaring, generated, err := find(absolute(dir, root))
			if err != nil {
				return q, err
			}
			q.patterns = append(q.patterns, declaring...)
			q.generated = append(q.generated, generated...)
			continue
		}
		dirs, err := goList(ctx, dir, "-f={{.Dir}}", pattern)
		if err != nil {
			return q, err
		}
		for _, found := range dirs {
			q.generated = append(q.generated, below(found)...)
			if mentions, err := folderMentionsDSL(found); err != nil {
				return q, err
			} else if mentions {
				q.patterns = append(q.patterns, found)
			}
		}
	}
	slices.Sort(q.patterns)
	q.patterns = slices.Compact(q.patterns)
	return q, nil
}

func isLocal(pattern string) bool {
	return pattern == "." || pattern == ".." || filepath.IsAbs(pattern) ||
		strings.HasPrefix(pattern, "./") || strings.HasPrefix(pattern, "../")
}

func absolute(dir, path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(dir, path)
}

// goList runs go list. Its error is what the go command says.
func goList(ctx context.Context, dir string, args ...string) (lines []string, err error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"list"}, args...)...)
	cmd.Dir = dir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	said := strings.TrimSpace(stderr.String())
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && said != "":
		return nil, errors.New(said)
	case err != nil:
		return nil, fmt.Errorf("go list: %w", err)
	case stdout.Len() == 0 && said != "": // "matched no packages" is only a warning
		return nil, errors.New(said)
	}
	return strings.FieldsFunc(stdout.String(), func(r rune) bool { return r == '\n' || r == '\r' }), nil
}

// excluded reports whether a folder that was found by its bytes holds no
// package after all, as build constraints may have it.
func excluded(p *packages.Package) bool {
	return len(p.GoFiles) == 0 && len(p.IgnoredFiles) > 0
}

func convert(p *packages.Package) *Package {
	converted := &Package{
		Path:  p.PkgPath,
		Name:  p.Name,
		Dir:   p.Dir,
		Files: p.Syntax,
		Types: p.Types,
		Info:  p.TypesInfo,
	}
	told := map[string]bool{} // the lines of syntax errors, of which the first says it
	syntax := slices.ContainsFunc(p.Errors, func(e packages.Error) bool { return e.Kind == packages.ParseError })
	for _, e := range p.Errors {
		problem := Problem{At: position(e.Pos), Message: strings.TrimSpace(e.Msg)}
		switch {
		case e.Kind == packages.TypeError:
			// They come with a Pos in TypeErrors.
		case strings.HasPrefix(problem.Message, "# "):
			// The compiler's list of what the type checker says too.
		case e.Kind == packages.ParseError:
			if line := fmt.Sprint(problem.At.Filename, ":", problem.At.Line); !told[line] {
				told[line] = true
				converted.Fatal = append(converted.Fatal, problem)
			}
		case len(p.Syntax) == 0, strings.HasPrefix(problem.Message, ImportCycle):
			if !syntax {
				converted.Fatal = append(converted.Fatal, problem)
			}
		default:
			converted.Problems = append(converted.Problems, problem)
		}
	}
	for _, e := range p.TypeErrors {
		converted.Problems = append(converted.Problems, Problem{Pos: e.Pos, At: e.Fset.Position(e.Pos), Message: reason(p, e.Msg)})
	}
	return converted
}

// reason is a message of the type checker, or, if that is about a package that
// could not be imported, what the go command says of it.
func reason(p *packages.Package, message string) string {
	rest, missing := strings.CutPrefix(message, "could not import ")
	path, _, _ := strings.Cut(rest, " ")
	if imported := p.Imports[path]; missing && imported != nil && len(imported.Errors) > 0 {
		return strings.TrimSpace(imported.Errors[0].Msg)
	}
	return message
}

// position reads file:line:col, the last two optional, and "-" for nowhere.
func position(s string) (at token.Position) {
	rest, column := cutNumber(s)
	file, line := cutNumber(rest)
	if line == 0 {
		file, line, column = rest, column, 0
	}
	if file != "-" {
		at.Filename, at.Line, at.Column = file, line, column
	}
	return at
}

func cutNumber(s string) (rest string, n int) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return s, 0
	}
	n, err := strconv.Atoi(s[i+1:])
	if err != nil {
		return s, 0
	}
	return s[:i], n
}
