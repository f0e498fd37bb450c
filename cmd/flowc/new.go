package main

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"

	"github.com/flowc-dev/flowc/gen"
)

//go:embed new
var newFiles embed.FS

// newPaths are the files of a new module, by those that they are made from.
var newPaths = map[string]string{
	"new/main.go.txt":        "main.go",
	"new/handlers.go.txt":    "handlers.go",
	"new/main_test.go.txt":   "main_test.go",
	"new/flows/flows.go.txt": "flows/flows.go",
	"new/ci.yml.txt":         workflowPath,
}

const workflowPath = ".github/workflows/ci.yml"

// templateModule is the path of the module in those files.
const templateModule = "example.com/app"

func newNew() *cobra.Command {
	var modulePath string
	cmd := &cobra.Command{
		Use:   "new <folder>",
		Short: "Write a small module with a flow that runs at once",
		Long: `New writes a module into a new folder: the declaration of a flow, its handlers, a
program with a worker, a test and, with a released flowc, a workflow for continuous
integration. It generates the flow's package, so that "go run ." and "go test ./..." work at once.`,
		Example: `  flowc new weather
  flowc new --module github.com/acme/weather weather`,
		Args: exactly("a folder"),
	}
	asJSON := asJSON(cmd)
	cmd.Flags().StringVar(&modulePath, "module", "", "the path of the module (default example.com/<folder>)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		dir := args[0]
		if modulePath == "" {
			modulePath = "example.com/" + moduleName(dir)
		}
		if err := module.CheckPath(modulePath); err != nil {
			return fmt.Errorf("flowc: new: %w\n\tfix: give one like example.com/weather with --module", err)
		}
		p := startProgress(cmd.ErrOrStderr(), "writing")
		err := writeNew(cmd, dir, modulePath)
		p.done()
		if err != nil {
			return err
		}
		if *asJSON {
			return printJSON(cmd.OutOrStdout(), struct {
				Dir    string `json:"dir"`
				Module string `json:"module"`
			}{dir, modulePath})
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "wrote %s, a module with the flow weather: look at flows/flows.go first\n\n\tcd %s\n\tgo run .\n\tgo test ./...\n", dir, dir)
		return err
	}
	return cmd
}

// moduleName returns what of the name of a folder can be in the path of a module.
func moduleName(dir string) string {
	name := regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(filepath.Base(dir)), "-")
	if name = strings.Trim(name, "-"); name == "" {
		return "app"
	}
	return name
}

// writeNew writes a module into a folder that is not there, or is empty.
func writeNew(cmd *cobra.Command, dir, modulePath string) error {
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return fmt.Errorf("flowc: new: there are files in %s already\n\tfix: name a folder that is not there", dir)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("flowc: new: %w", err)
	}
	source, err := flowcSource(cmd)
	if err != nil {
		return err
	}
	for from, to := range newPaths {
		if to == workflowPath && source.clone != "" {
			continue // it could not reach the clone
		}
		contents, err := newFiles.ReadFile(from)
		if err != nil {
			return err
		}
		text := strings.ReplaceAll(string(contents), templateModule, modulePath)
		if err := writeFile(filepath.Join(dir, filepath.FromSlash(to)), []byte(text)); err != nil {
			return err
		}
	}
	if err := source.require(cmd, dir, modulePath); err != nil {
		return err
	}
	_, err = gen.Generate(cmd.Context(), gen.Options{Dir: dir, Patterns: []string{"./..."}})
	return err
}

func writeFile(name string, contents []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		return fmt.Errorf("flowc: new: %w", err)
	}
	if err := os.WriteFile(name, contents, 0o666); err != nil {
		return fmt.Errorf("flowc: new: %w", err)
	}
	return nil
}

const flowcModule = "github.com/flowc-dev/flowc"

// A flowcModuleSource is where a new module gets flowc from: a version, or a clone.
type flowcModuleSource struct{ version, clone string }

// flowcSource returns the version of this program if it was released, and otherwise the
// clone that the current folder is in or uses.
func flowcSource(cmd *cobra.Command) (flowcModuleSource, error) {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Path == flowcModule &&
		semver.IsValid(info.Main.Version) && !module.IsPseudoVersion(info.Main.Version) && semver.Build(info.Main.Version) == "" {
		return flowcModuleSource{version: info.Main.Version}, nil
	}
	out, err := exec.CommandContext(cmd.Context(), "go", "list", "-m", "-f", "{{.Dir}}", flowcModule).Output()
	clone := strings.TrimSpace(string(out))
	if err != nil || clone == "" {
		return flowcModuleSource{}, errors.New("flowc: new: this flowc is not a released version, so that the new module needs a clone of its source\n\tfix: run it in the clone: go run ./cmd/flowc new ../weather")
	}
	return flowcModuleSource{clone: clone}, nil
}

// require writes go.mod and go.sum.
func (s flowcModuleSource) require(cmd *cobra.Command, dir, modulePath string) error {
	if s.version == "" {
		return requireClone(dir, modulePath, s.clone)
	}
	mod := moduleHead(modulePath) + "require " + flowcModule + " " + s.version + "\n"
	if err := writeFile(filepath.Join(dir, "go.mod"), []byte(mod)); err != nil {
		return err
	}
	tidy := exec.CommandContext(cmd.Context(), "go", "mod", "tidy")
	tidy.Dir = dir
	if out, err := tidy.CombinedOutput(); err != nil {
		return fmt.Errorf("flowc: new: go mod tidy: %w\n%s", err, out)
	}
	return nil
}

func moduleHead(modulePath string) string {
	return fmt.Sprintf("module %s\n\ngo 1.25.0\n\ntool %s\n\n", modulePath, path.Join(flowcModule, "cmd/flowc"))
}

// requireClone writes the go.mod and go.sum of a module that uses a clone of flowc. It
// requires what the clone does, so that nothing has to be fetched.
func requireClone(dir, modulePath, clone string) error {
	ours, err := os.ReadFile(filepath.Join(clone, "go.mod"))
	if err != nil {
		return fmt.Errorf("flowc: new: %w", err)
	}
	sums, err := os.ReadFile(filepath.Join(clone, "go.sum"))
	if err != nil {
		return fmt.Errorf("flowc: new: %w", err)
	}
	requires := regexp.MustCompile(`(?s)require \(.*?\n\)\n`).FindAllString(string(ours), -1)
	for i, block := range requires { // the new module itself imports nothing but flowc
		requires[i] = regexp.MustCompile(`(?m)^(\t\S+ \S+)$`).ReplaceAllString(block, "$1 // indirect")
	}
	mod := moduleHead(modulePath) + fmt.Sprintf("require %s v0.0.0\n\nreplace %s => %s\n\n%s", flowcModule, flowcModule, clone, strings.Join(requires, "\n"))
	if err := writeFile(filepath.Join(dir, "go.mod"), []byte(mod)); err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, "go.sum"), sums)
}
