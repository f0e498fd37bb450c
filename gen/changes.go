package gen

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/flowc-dev/flowc/gen/internal/diag"
	"github.com/flowc-dev/flowc/gen/internal/model"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// changes are the files to write and to remove.
type changes struct {
	dir    string
	flows  []*model.Flow // all that are declared
	check  bool          // nothing will be written
	write  []change
	remove []string

	kept       []KeptFile
	newOptions []string
	newShapes  []NewShape
	lostForms  []LostForm
	replaced   []Replaced
}

// evolve notes what a new file means to a database that has the flow.
func (c *changes) evolve(flow *model.Flow, path string, before, after []byte) {
	e := evolve(before, after, flow.Declaring.Path())
	if e.optionsOnly {
		c.newOptions = append(c.newOptions, path)
	}
	if len(e.shape) > 0 {
		c.newShapes = append(c.newShapes, NewShape{
			Path: path, Flow: flow.Name, Slug: flow.Slug, Version: flow.Version + 1, Newer: newer(flow, c.flows), Differences: e.shape, Declaration: e.old,
		})
	}
	if len(e.forms) > 0 {
		c.lostForms = append(c.lostForms, LostForm{
			Path: path, Flow: flow.Name, Slug: flow.Slug, Version: flow.Version + 1, Newer: newer(flow, c.flows), Differences: e.forms,
		})
	}
	if e.replaces != "" && e.old != "" {
		_, version := spec.VersionOf(e.replaces)
		c.replaced = append(c.replaced, Replaced{
			Path: path, Flow: flow.Name, Old: e.replaces, Slug: flow.Slug, Declaration: e.old, Package: oldPackage(flow.Name, version),
		})
	}
}

// strictly returns what Options.Strict refuses; nil if there is nothing.
func (c *changes) strictly() error {
	if len(c.newShapes)+len(c.lostForms) == 0 {
		return nil
	}
	return &NewShapesError{Shapes: c.newShapes, Forms: c.lostForms}
}

// A change is a file with its old and new contents.
type change struct {
	path     string
	old, new []byte
	exists   bool
}

// carryOut writes and removes files. Each is written as a whole or not at all, and
// nothing is removed before everything is written.
func (c *changes) carryOut() (result Result, err error) {
	result.NewOptions, result.NewShapes, result.Kept = c.newOptions, c.newShapes, c.kept
	result.LostForms, result.Replaced = c.lostForms, c.replaced
	for _, file := range c.write {
		if err := replace(file.path, file.new); err != nil {
			return result, fmt.Errorf("flowc: %w", err)
		}
		result.Written = append(result.Written, diag.Relative(file.path, c.dir))
	}
	for _, path := range c.remove {
		if err := os.Remove(path); err != nil {
			return result, fmt.Errorf("flowc: %w", err)
		}
		_ = os.Remove(filepath.Dir(path)) // its folder goes too, if nothing else is in it
		result.Removed = append(result.Removed, diag.Relative(path, c.dir))
	}
	return result, nil
}

// replace writes a file by renaming a complete one into its place.
func replace(path string, contents []byte) (err error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	temp, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temp.Name())
		}
	}()
	_, err = temp.Write(contents)
	if err = errors.Join(err, temp.Chmod(0o644), temp.Close()); err != nil {
		return err
	}
	return os.Rename(temp.Name(), path)
}

// An OutdatedError lists the files that differ from what the declarations give.
type OutdatedError struct{ Files []OutdatedFile }

// An OutdatedFile is one of them.
type OutdatedFile struct {
	// Path is relative to Options.Dir.
	Path string `json:"path"`
	// State is "stale", "missing" or "extra".
	State string `json:"state"`
	// Line is the first line that differs in a stale file, with what it says
	// and what it should say.
	Line int    `json:"line,omitempty"`
	Have string `json:"have,omitempty"`
	Want string `json:"want,omitempty"`
}

// Error returns a line for each file, and what to do.
func (e *OutdatedError) Error() string {
	var b strings.Builder
	for _, f := range e.Files {
		switch f.State {
		case "stale":
			fmt.Fprintf(&b, "%s:%d: stale\n\thave: %s\n\twant: %s\n", f.Path, f.Line, f.Have, f.Want)
		case "missing":
			fmt.Fprintf(&b, "%s: missing\n", f.Path)
		case "extra":
			fmt.Fprintf(&b, "%s: extra, since its flow is gone\n", f.Path)
		}
	}
	b.WriteString("\tfix: run go generate")
	return b.String()
}

// outdated returns what would change, as an error.
func (c *changes) outdated() error {
	e := &OutdatedError{}
	for _, file := range c.write {
		f := OutdatedFile{Path: diag.Relative(file.path, c.dir), State: "missing"}
		if file.exists {
			f.State = "stale"
			f.Line, f.Have, f.Want = firstDifference(file.old, file.new)
		}
		e.Files = append(e.Files, f)
	}
	for _, path := range c.remove {
		e.Files = append(e.Files, OutdatedFile{Path: diag.Relative(path, c.dir), State: "extra"})
	}
	if len(e.Files) == 0 {
		return nil
	}
	return e
}

func firstDifference(old, new []byte) (line int, have, want string) {
	a, b := bytes.Split(old, []byte("\n")), bytes.Split(new, []byte("\n"))
	at := func(lines [][]byte, i int) string {
		if i >= len(lines) {
			return "(end of file)"
		}
		return strings.TrimSpace(string(lines[i]))
	}
	differ := func(same func(a, b []byte) bool) (int, bool) {
		for i := range max(len(a), len(b)) {
			if i >= len(a) || i >= len(b) || !same(a[i], b[i]) {
				return i, true
			}
		}
		return 0, false
	}
	// gofmt aligns the fields of a literal: a new one moves those above it, too.
	i, found := differ(func(a, b []byte) bool { return slices.EqualFunc(bytes.Fields(a), bytes.Fields(b), bytes.Equal) })
	if !found {
		i, _ = differ(bytes.Equal)
	}
	return i + 1, at(a, i), at(b, i)
}
