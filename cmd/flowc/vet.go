package main

import (
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/tools/go/analysis"

	"github.com/flowc-dev/flowc/gen"
)

func newVet() *cobra.Command {
	var opts gen.Options
	cmd := &cobra.Command{
		Use:   "vet [packages]",
		Short: "Check the declarations of flows",
		Long: `Vet reports the mistakes that generate would report, and writes nothing. Each has
a code, such as unknown-step, which "flowc help unknown-step" explains. The
go command can call it too, for one package at a time, and mend what is mechanical:

  go vet -vettool=$(go tool -n flowc) ./...
  go vet -vettool=$(go tool -n flowc) -fix ./...`,
	}
	asJSON := asJSON(cmd)
	tagsVar(cmd, &opts.Tags)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		collectLess()
		p := startProgress(cmd.ErrOrStderr(), "checking")
		opts.Patterns = args
		err := gen.Vet(cmd.Context(), opts)
		p.done()
		if *asJSON {
			return printReport(cmd, gen.Result{}, err)
		}
		return err
	}
	return cmd
}

// telling returns an analyzer that also prints mistakes without a fix under -fix, where
// go vet hides them, and shows only standard output.
func telling(analyzer *analysis.Analyzer) *analysis.Analyzer {
	all := *analyzer
	all.Run = func(pass *analysis.Pass) (any, error) {
		report := pass.Report
		pass.Report = func(d analysis.Diagnostic) {
			report(d)
			if f := flag.Lookup("fix"); f != nil && f.Value.String() == "true" && len(d.SuggestedFixes) == 0 {
				fmt.Fprintf(os.Stdout, "%s: %s\n", pass.Fset.Position(d.Pos), d.Message)
			}
		}
		return analyzer.Run(pass)
	}
	return &all
}

// calledByGoVet reports whether the arguments are those of the protocol between
// go vet and its tools: the version, the flags, or the description of a package.
func calledByGoVet(args []string) bool {
	if len(args) == 0 {
		return false
	}
	last := args[len(args)-1]
	return last == "-V=full" || last == "-flags" || strings.HasSuffix(last, ".cfg")
}
