package main

import (
	"fmt"
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
command; the default is the one in the current folder. If a declaration has a
mistake, all mistakes are printed and nothing is written.`,
		Example: `  flowc generate ./...
  flowc generate --check ./...
  flowc generate --sql migrations ./...`,
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.Patterns = args
			result, err := gen.Generate(cmd.Context(), opts)
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
	cmd.Flags().BoolVar(&opts.Check, "check", false, "write nothing; fail if a file is stale, missing or extra")
	cmd.Flags().BoolVar(&opts.Strict, "strict", false, "refuse a new shape of a flow under its old slug")
	cmd.Flags().StringVar(&opts.SQL, "sql", "", "write migrations of each flow into this folder, too")
	return cmd
}
