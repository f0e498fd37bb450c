package gen

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/flowc-dev/flowc/gen/internal/check"
	"github.com/flowc-dev/flowc/gen/internal/diag"
	"github.com/flowc-dev/flowc/gen/internal/load"
	"github.com/flowc-dev/flowc/gen/internal/model"
)

// Options configures the generator.
type Options struct {
	// Dir is the folder that patterns are relative to; the current one if empty.
	Dir string
	// Patterns are packages as the go command names them; the package in Dir
	// if there are none. A Go file stands for its package. Of a pattern with dots,
	// only packages that import package dsl are read.
	Patterns []string
	// Tags are build tags, with commas between them, as the go command takes them.
	Tags string
	// Check makes Generate write nothing and report what it would write.
	Check bool
	// SQL is a folder, relative to Dir, for two SQL files per flow: one puts it into
	// the database, the other removes it. If it is empty, none are written. Files of
	// other flows stay, since a database may still have them.
	SQL string
	// Strict makes Generate refuse, rather than report, a new shape of a flow under its
	// old slug, and types that cannot read all that the previous ones have written.
	// With Check, such files are an error of their own besides being stale.
	Strict bool
}

// Vet checks the declarations of some packages and writes nothing. Mistakes are
// a [*MistakesError].
func Vet(ctx context.Context, opts Options) error {
	c, err := compile(ctx, opts)
	if err == nil && len(c.flows) == 0 {
		err = c.noFlow()
	}
	return err
}

// A compilation is the result of loading and checking packages.
type compilation struct {
	dir       string
	patterns  string
	flows     []*model.Flow
	generated []load.Generated // what flowc wrote for these flows, or others that are gone
	hints     []load.Hint      // why there may be no flow
}

// resolveLinks resolves the links in a path as far as it exists: the rest may be that of
// a pattern.
func resolveLinks(path string) string {
	if resolved, err := filepath.EvalSymlinks(path); err == nil {
		return resolved
	}
	if parent := filepath.Dir(path); parent != path {
		return filepath.Join(resolveLinks(parent), filepath.Base(path))
	}
	return path
}

// compile loads and checks declarations.
func compile(ctx context.Context, opts Options) (*compilation, error) {
	dir, err := filepath.Abs(opts.Dir)
	if err != nil {
		return nil, fmt.Errorf("flowc: %w", err)
	}
	// The go command would name packages after the link, as if they were others.
	dir = resolveLinks(dir)
	patterns := slices.Clone(opts.Patterns)
	if len(patterns) == 0 {
		patterns = []string{"."}
	}
	for i, pattern := range patterns {
		if filepath.IsAbs(pattern) {
			patterns[i] = resolveLinks(pattern)
		}
	}
	c := &compilation{dir: dir, patterns: strings.Join(patterns, " ")}
	loaded, err := load.Load(ctx, load.Query{Dir: dir, Patterns: patterns, Tags: opts.Tags})
	if err != nil {
		return nil, fmt.Errorf("flowc: loading %s: %w", c.patterns, err)
	}
	c.generated, c.hints = loaded.Generated, loaded.Hints
	flows, mistakes := check.Packages(loaded.Fset, loaded.Packages)
	if len(mistakes) > 0 {
		return nil, mistakesError(mistakes, dir)
	}
	c.flows = flows
	return c, nil
}

func (c *compilation) noFlow() error {
	err := fmt.Errorf("flowc: no package that matches %s declares a flow", c.patterns)
	switch {
	case len(c.hints) > 0:
		hint := c.hints[0]
		if hint.Declaring != "" {
			hint.Fix = "name the package that declares its flow: " + packagePattern(hint.Declaring, c.dir)
		}
		return fmt.Errorf("%w\n\t%s: %s\n\tfix: %s", err, diag.Relative(hint.Path, c.dir), hint.Reason, hint.Fix)
	case c.patterns == "." || strings.HasSuffix(c.patterns, ".go"):
		return fmt.Errorf("%w\n\tfix: name the packages that do; ./... is all that are below this folder", err)
	}
	return fmt.Errorf("%w\n\tfix: name a package with a struct that embeds dsl.Flow or dsl.Job", err)
}

// packagePattern returns the pattern by which the go command finds the package in a folder.
func packagePattern(folder, dir string) string {
	relative := diag.Relative(folder, dir)
	if filepath.IsAbs(relative) || strings.HasPrefix(relative, ".") {
		return relative
	}
	return "./" + relative
}

// A Mistake is a mistake in a declaration.
type Mistake struct {
	// File, Line and Column say where, relative to Options.Dir.
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
	// Code is the kind of mistake, such as unknown-step. flowc help explains it.
	Code string `json:"code"`
	// Message says what is wrong, Fix what to do, if Message does not say it.
	Message string `json:"message"`
	Fix     string `json:"fix,omitempty"`
	// Text is all there is to say, as it is printed: the place, the message
	// and the code, then, indented, the line of the source, other places involved and what to do.
	Text string `json:"text"`
}

// A MistakesError holds every mistake that was found, in the order of files and lines.
type MistakesError struct{ Mistakes []Mistake }

// Error returns the texts of all mistakes.
func (e *MistakesError) Error() string {
	texts := make([]string, len(e.Mistakes))
	for i, m := range e.Mistakes {
		texts[i] = m.Text
	}
	return strings.Join(texts, "\n")
}

func mistakesError(found []diag.Diagnostic, dir string) error {
	e := &MistakesError{}
	source := sources()
	for _, d := range found {
		e.Mistakes = append(e.Mistakes, Mistake{
			File:    diag.Relative(d.At.Filename, dir),
			Line:    d.At.Line,
			Column:  d.At.Column,
			Code:    string(d.Code),
			Message: d.Message,
			Fix:     d.Fix,
			Text:    d.Text(dir, source),
		})
	}
	return e
}

// sources reads files, each once.
func sources() diag.Source {
	read := map[string][]byte{}
	return func(filename string) []byte {
		contents, known := read[filename]
		if !known {
			contents, _ = os.ReadFile(filename) // without it, there is less to show
			read[filename] = contents
		}
		return contents
	}
}
