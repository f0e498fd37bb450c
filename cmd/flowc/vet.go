package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/flowc-dev/flowc/gen"
)

func newVet() *cobra.Command {
	var opts gen.Options
	cmd := &cobra.Command{
		Use:   "vet [packages]",
		Short: "Check the declarations of flows",
		Long: `Vet reports the mistakes that generate would report, and writes nothing. The
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

// calledByGoVet reports whether the arguments are those of the protocol between
// go vet and its tools: the version, the flags, or the description of a package.
func calledByGoVet(args []string) bool {
	if len(args) == 0 {
		return false
	}
	last := args[len(args)-1]
	return last == "-V=full" || last == "-flags" || strings.HasSuffix(last, ".cfg")
}
