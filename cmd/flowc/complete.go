package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/ops"
)

// completeFlows lets the shell complete the slugs of flows for a flag.
func completeFlows(cmd *cobra.Command, flag string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, flowSlugs) // the flag exists
}

// completeWords lets the shell complete one of some words for a flag.
func completeWords(cmd *cobra.Command, flag string, words []string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)) // the flag exists
}

// newestRuns returns the ids of the runs that started last, each with a description.
func newestRuns(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	var ids []string
	complete(cmd, func(ctx context.Context, db runtime.DB) error {
		runs, err := ops.ListRuns(ctx, db, ops.RunFilter{Limit: 30})
		for _, r := range runs {
			ids = append(ids, fmt.Sprintf("%s\t%s %s, %s", r.ID, r.Flow, r.Status, ago(r.StartedAt)))
		}
		return err
	})
	return ids, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

// flowSlugs returns the flows of the database.
func flowSlugs(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	var slugs []string
	complete(cmd, func(ctx context.Context, db runtime.DB) error {
		flows, err := ops.ListFlows(ctx, db, time.Now())
		for _, f := range flows {
			slugs = append(slugs, f.Slug)
		}
		return err
	})
	return slugs, cobra.ShellCompDirectiveNoFileComp
}

// gateNames returns the gates of the database.
func gateNames(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	var names []string
	complete(cmd, func(ctx context.Context, db runtime.DB) error {
		gates, err := ops.ListGates(ctx, db, ops.GateFilter{Limit: 1000})
		for _, g := range gates {
			names = append(names, g.Name)
		}
		names = slices.Compact(names) // a gate has several keys
		return err
	})
	return names, cobra.ShellCompDirectiveNoFileComp
}

// complete queries the database with a short timeout and without errors: a shell that
// completes has no place for them.
func complete(cmd *cobra.Command, ask func(context.Context, runtime.DB) error) {
	ctx := cmd.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	db, err := connect(ctx)
	if err != nil {
		return
	}
	defer db.Close()
	_ = ask(ctx, db.DB)
}
