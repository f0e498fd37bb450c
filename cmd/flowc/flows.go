package main

import "github.com/spf13/cobra"

func newFlows() *cobra.Command {
	return newGroup("flows", "List, show, plan and change flows in the database",
		`Flows operates the flows in the database of DATABASE_URL. Where a command takes
flows to compare or to upsert, they are packages that declare some, as for the
go command, or files whose names end in .json, as flows show --json prints them;
a single dash is standard input. The default is the package in the current folder.`,
		newFlowsList(), newFlowsShow(), newFlowsPlan(), newFlowsUpsert(), newFlowsPause(), newFlowsResume(), newFlowsDelete())
}
