package main

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/flowc-dev/flowc/gen"
)

func newGenerate() *cobra.Command {
	var check, strict bool
	cmd := &cobra.Command{
		Use:   "generate [packages]",
		Short: "Write the packages of declared flows",
		Long: `Generate reads the flows that some packages declare and writes a package for
each, in a folder beside the declaration. The packages are named as for the go
command; the default is the one in the current folder. If a declaration has a
mistake, all mistakes are printed and nothing is written.`,
		Example: `  flowc generate ./...
  flowc generate --check ./...`,
		RunE: func(cmd *cobra.Command, args []string) error {
			result, err := gen.Generate(cmd.Context(), gen.Options{Patterns: args, Check: check, Strict: strict})
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
			for _, shape := range result.NewShapes {
				fmt.Fprintln(cmd.ErrOrStderr(), shape)
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&check, "check", false, "write nothing; fail if a file is stale, missing or extra")
	cmd.Flags().BoolVar(&strict, "strict", false, "refuse a new shape of a flow under its old slug")
	return cmd
}
