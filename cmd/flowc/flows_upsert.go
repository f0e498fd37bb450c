package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/flowc-dev/flowc/runtime"
)

// upsertedFlow is the result of an upsert, or of a plan of one.
type upsertedFlow struct {
	Slug string `json:"slug"`
	// Shard is the database of a plan, if there are several.
	Shard  string               `json:"shard,omitempty"`
	Status runtime.UpsertStatus `json:"status"`
	// Differences lists how the given flow, called first, differs from the stored one.
	Differences []string `json:"differences,omitempty"`
	// LostForms lists what the new types cannot read in the data of runs in flight.
	LostForms   []string `json:"lost_forms,omitempty"`
	DeletedRuns int      `json:"deleted_runs,omitempty"`
}

// statusWords describes what an upsert did.
var statusWords = map[runtime.UpsertStatus]string{
	runtime.UpsertCompiled:       "created",
	runtime.UpsertVerified:       "up to date",
	runtime.UpsertOptionsUpdated: "options updated",
	runtime.UpsertRecompiled:     "recreated",
	runtime.UpsertMismatch:       "refused",
}

func newFlowsUpsert() *cobra.Command {
	var dataLoss bool
	var buildTags string
	cmd := &cobra.Command{
		Use:   "upsert [packages | file.json | -]...",
		Short: "Add flows to the database, or update their options",
		Long: `Upsert adds flows to the database. Of a flow that exists already, attempts, delays
and timeouts are updated in place; one that exists with other steps is left as it
is, and the exit status is 1.`,
		Example: `  flowc flows upsert ./...
  flowc flows show report --json | sed 's/"report"/"report_v2"/' | flowc flows upsert -`,
	}
	asJSON := asJSON(cmd)
	tagsVar(cmd, &buildTags)
	cmd.Flags().BoolVar(&dataLoss, "allow-data-loss", false, "replace flows that have other steps, and delete their runs")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		flows, err := readFlows(cmd, args, buildTags)
		if err != nil {
			return err
		}
		return withDatabase(func(cmd *cobra.Command, _ []string, db runtime.DB) error {
			p := startProgress(cmd.ErrOrStderr(), "adding flows to the database")
			var options []runtime.UpsertOption
			if dataLoss {
				options = append(options, runtime.AllowDataLoss())
			}
			results, faults := []upsertedFlow{}, []error{}
			for i, f := range flows {
				p.set("%d of %d", i, len(flows))
				result, err := runtime.UpsertFlow(cmd.Context(), db, f.Definition, options...)
				if err != nil {
					faults = append(faults, err)
				}
				if result.Status != "" {
					results = append(results, upsertedFlow{Slug: f.Definition.Slug, Status: result.Status, Differences: result.Differences, DeletedRuns: result.DeletedRuns})
				}
			}
			p.done()
			if *asJSON {
				return errors.Join(append(faults, printJSON(cmd.OutOrStdout(), results))...)
			}
			t := table{header: []string{"FLOW", "RESULT"}}
			for _, r := range results {
				result := statusWords[r.Status]
				if r.DeletedRuns > 0 {
					result += ", " + count(r.DeletedRuns, "run", "runs") + " deleted"
				}
				t.add(r.Slug, result)
			}
			return errors.Join(append(faults, t.print(cmd.OutOrStdout()))...)
		})(cmd, args)
	}
	return cmd
}
