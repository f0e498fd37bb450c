package main

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"slices"

	"github.com/spf13/cobra"

	"github.com/flowc-dev/flowc/gen"
)

func newGenerate() *cobra.Command {
	var opts gen.Options
	cmd := &cobra.Command{
		Use:   "generate [packages]",
		Short: "Write the packages of declared flows",
		Long: `Generate reads the flows that some packages declare and writes a package for
each, in a folder beside the declaration. The packages are named as for the go
command, or by one of their files; the default is the one in the current folder.
If a declaration has a mistake, all mistakes are printed and nothing is written.

A package that was generated is removed when its flow is gone: when the package
that declared it is read, compiles and no file of it is left out by build
constraints. The flow of a file with build constraints gets a package with the
same. "go generate -tags" does not reach flowc: set them here, or in GOFLAGS.`,
		Example: `  flowc generate ./...
  flowc generate --check ./...
  flowc generate --sql migrations ./...
  //go:generate go tool flowc generate -tags integration`,
	}
	asJSON := asJSON(cmd)
	cmd.Flags().BoolVar(&opts.Check, "check", false, "write nothing; fail if a file is stale, missing or extra")
	cmd.Flags().BoolVar(&opts.Strict, "strict", false, "refuse a new shape of a flow under its old slug, and types that lose data of runs in flight")
	cmd.Flags().StringVar(&opts.SQL, "sql", "", "write migrations of each flow into this folder, too")
	tagsVar(cmd, &opts.Tags)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		collectLess()
		opts.Patterns = args
		if file := os.Getenv("GOFILE"); len(args) == 0 && file != "" {
			opts.Patterns = []string{file} // go generate runs us for it
		}
		p := startProgress(cmd.ErrOrStderr(), "generating")
		result, err := gen.Generate(cmd.Context(), opts)
		p.done()
		if *asJSON {
			return printReport(cmd, result, err)
		}
		for _, path := range result.Written {
			what := ""
			if slices.Contains(result.NewOptions, path) {
				what = " (options only)"
			}
			fmt.Fprintf(cmd.OutOrStdout(), "wrote %s%s\n", path, what)
		}
		for _, path := range result.Removed {
			fmt.Fprintln(cmd.OutOrStdout(), "removed", path)
		}
		for _, file := range result.Kept {
			fmt.Fprintln(cmd.ErrOrStderr(), file)
		}
		for _, shape := range result.NewShapes {
			fmt.Fprintln(cmd.ErrOrStderr(), shape)
		}
		if err == nil || !opts.Strict { // which says it itself
			for _, lost := range result.LostForms {
				fmt.Fprintln(cmd.ErrOrStderr(), lost)
			}
		}
		for _, replaced := range result.Replaced {
			fmt.Fprintln(cmd.OutOrStdout(), replaced) // nothing is wrong
		}
		return err
	}
	return cmd
}

// collectLess raises the garbage collector's target: a compilation is over soon, and
// would spend a fifth of its time on collections. GOGC takes precedence if it is set.
func collectLess() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
}

// report is what generate and vet print as JSON.
type report struct {
	gen.Result
	// Mistakes are those in declarations, Outdated what generate --check found.
	Mistakes []gen.Mistake      `json:"mistakes,omitempty"`
	Outdated []gen.OutdatedFile `json:"outdated,omitempty"`
}

// printReport prints the result of a compilation, with its findings: nothing else has to
// report them.
func printReport(cmd *cobra.Command, result gen.Result, err error) error {
	r := report{Result: result}
	var mistakes *gen.MistakesError
	var outdated *gen.OutdatedError
	var shapes *gen.NewShapesError
	known := err == nil
	if errors.As(err, &mistakes) {
		r.Mistakes, known = mistakes.Mistakes, true
	}
	if errors.As(err, &outdated) {
		r.Outdated, known = outdated.Files, true
	}
	if errors.As(err, &shapes) {
		r.NewShapes, r.LostForms, known = shapes.Shapes, shapes.Forms, true
	}
	if !known {
		return err
	}
	if err := printJSON(cmd.OutOrStdout(), r); err != nil {
		return err
	}
	if err != nil {
		return &exitError{status: exitFailed}
	}
	return nil
}
