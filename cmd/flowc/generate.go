package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/flowc-dev/flowc/gen"
)

func newGenerate() *cobra.Command {
	var check bool
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
			result, err := gen.Generate(cmd.Context(), gen.Options{Patterns: args, Check: check})
			for _, path := range result.Written {
				fmt.Fprintln(cmd.OutOrStdout(), "wrote", path)
			}
			for _, path := range result.Removed {
				fmt.Fprintln(cmd.OutOrStdout(), "removed", path)
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&check, "check", false, "write nothing; fail if a file is stale, missing or extra")
	return cmd
}
