package main

import (
	"regexp"
	"strconv"

	"github.com/spf13/cobra"
)

func newFlows() *cobra.Command {
	return newGroup("flows", "List, show, plan and change flows in the database",
		`Flows looks after the flows in the database of DATABASE_URL. Where a command takes
flows to compare or to put there, they are packages that declare some, as for the
go command, or files whose names end in .json, as flows show --json prints them;
a single dash is standard input. The default is the package in the current folder.`,
		newFlowsList(), newFlowsShow(), newFlowsPlan(), newFlowsUpsert(), newFlowsPause(), newFlowsResume(), newFlowsDelete())
}

var versioned = regexp.MustCompile(`^(.+)_v([2-9]|[1-9][0-9]+)$`)

// versionOf parts a slug as the tag version makes it.
func versionOf(slug string) (base string, version int) {
	if m := versioned.FindStringSubmatch(slug); m != nil {
		if n, err := strconv.Atoi(m[2]); err == nil {
			return m[1], n
		}
	}
	return slug, 1
}

// newest are the slugs of the newest versions among some, by what they have in
// common.
func newest(slugs []string) map[string]string {
	latest := map[string]string{}
	for _, slug := range slugs {
		base, version := versionOf(slug)
		if _, known := versionOf(latest[base]); latest[base] == "" || version > known {
			latest[base] = slug
		}
	}
	return latest
}
