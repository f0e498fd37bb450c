package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowc-dev/flowc/runtime"
)

// completeFlows lets the shell complete the slugs of flows for a flag.
func completeFlows(cmd *cobra.Command, flag string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, flowSlugs) // the flag exists
}

// completeWords lets the shell complete one of some words for a flag.
func completeWords(cmd *cobra.Command, flag string, words []string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)) // the flag exists
}

// flowSlugs are the flows of the database, as far as they come quickly.
func flowSlugs(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	ctx := cmd.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	db, err := connect(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer db.Close()
	flows, err := runtime.ListFlows(ctx, db, time.Now())
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var slugs []string
	for _, f := range flows {
		slugs = append(slugs, f.Slug)
	}
	return slugs, cobra.ShellCompDirectiveNoFileComp
}
