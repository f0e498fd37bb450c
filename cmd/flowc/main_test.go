package main

import (
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

// TestEveryCommand holds what every command must have.
func TestEveryCommand(t *testing.T) {
	t.Parallel()
	// What prints text of another form, or serves.
	noJSON := map[string]bool{"flowc graph": true, "flowc dashboard": true, "flowc migrate print": true, "flowc help": true}
	var check func(cmd *cobra.Command)
	check = func(cmd *cobra.Command) {
		path := cmd.CommandPath()
		require.NotEmpty(t, cmd.Short, path)
		require.NotRegexp(t, `\.$`, cmd.Short, path)
		if !cmd.HasSubCommands() && !noJSON[path] {
			require.NotNil(t, cmd.Flags().Lookup("json"), "%s has no --json", path)
		}
		for _, sub := range cmd.Commands() {
			check(sub)
		}
	}
	root := newRoot()
	for _, cmd := range root.Commands() {
		check(cmd)
	}
}
