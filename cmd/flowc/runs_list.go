package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/ops"
)

// page is how many runs are read at once, the most that a list may have.
const page = 1000

var runStatuses = []runtime.RunStatus{
	runtime.RunScheduled, runtime.RunRunning, runtime.RunWaiting, runtime.RunCompleted, runtime.RunFailed, runtime.RunCancelled,
}

var runMarks = []ops.RunMark{ops.MarkSkipped, ops.MarkGaveUp, ops.MarkClean}

func newRunsList() *cobra.Command {
	var (
		flows    []string
		statuses = choice[runtime.RunStatus]{words: runStatuses}
		since    span
		marks    = choice[ops.RunMark]{words: runMarks}
		input    string
		search   string
		limit    int
		quiet    bool
	)
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List runs, newest first",
		Example: `  flowc runs list --flow process_order --status failed --since 24h
  flowc runs list --status completed --with gave_up --since 7d
  flowc runs list --search 'connection refused' --since 24h
  flowc runs list --search 4b1f0b8a6d11
  flowc runs list --input '{"customer": 42}' --since 7d
  flowc runs list --limit 0 --json`,
		Args: exactly(),
	}
	asJSON := asJSON(cmd)
	cmd.Flags().StringSliceVar(&flows, "flow", nil, "only runs of this flow; can be repeated")
	cmd.Flags().Var(&statuses, "status", "only runs of this status; can be repeated")
	cmd.Flags().Var(&since, "since", "only runs that started within this time, such as 15m, 24h or 7d")
	cmd.Flags().Var(&marks, "with", "only runs with steps that were skipped, with steps that gave up, or clean ones; can be repeated")
	cmd.Flags().StringVar(&search, "search", "", "only runs whose id begins or ends with this, or with this in an error; no index serves it")
	cmd.Flags().StringVar(&input, "input", "", "only runs whose input contains this JSON; no index serves it, so add --since")
	cmd.Flags().IntVarP(&limit, "limit", "n", 50, "the most to print; 0 means all")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "print ids only")
	completeFlows(cmd, "flow")
	completeWords(cmd, "status", texts(runStatuses))
	completeWords(cmd, "with", texts(runMarks))
	cmd.RunE = withDatabase(func(cmd *cobra.Command, _ []string, db runtime.DB) error {
		filter := ops.RunFilter{Flows: flows, Statuses: statuses.chosen, Marks: marks.chosen, Search: search}
		if since > 0 {
			filter.StartedFrom = time.Now().Add(-time.Duration(since))
		}
		if input != "" {
			filter.InputContains = json.RawMessage(input)
		}
		if err := requireFlows(cmd.Context(), db, flows); err != nil {
			return err
		}
		runs, err := findRuns(cmd, db, filter, limit)
		switch {
		case !usable(err):
			return err
		case *asJSON:
			return errors.Join(printJSON(cmd.OutOrStdout(), runs), err)
		case quiet:
			for _, r := range runs {
				fmt.Fprintln(cmd.OutOrStdout(), r.ID)
			}
			return err
		case len(runs) == 0 && err != nil: // the shards that do not answer may have some
			return err
		}
		return errors.Join(printRuns(cmd, runs, limit), err)
	})
	return cmd
}

// findRuns reads as many runs as wanted, page by page; 0 means all. If some shards did not
// answer, it returns the runs of the others with the error.
func findRuns(cmd *cobra.Command, db runtime.DB, filter ops.RunFilter, limit int) ([]ops.RunSummary, error) {
	if limit < 0 {
		return nil, wrongUse(cmd, "--limit is %d, it cannot be negative", limit)
	}
	p := startProgress(cmd.ErrOrStderr(), "reading runs")
	defer p.done()
	all := []ops.RunSummary{}
	var partial error
	for {
		filter.Limit = page
		if limit > 0 {
			filter.Limit = min(page, limit-len(all))
		}
		runs, err := ops.ListRuns(cmd.Context(), db, filter)
		if !usable(err) {
			return nil, err
		}
		if partial == nil {
			partial = err
		}
		all = append(all, runs...)
		p.set("%d so far", len(all))
		if len(runs) < filter.Limit || len(all) == limit {
			return all, partial
		}
		filter.After = &runs[len(runs)-1]
	}
}

func printRuns(cmd *cobra.Command, runs []ops.RunSummary, limit int) error {
	if len(runs) == 0 {
		fmt.Fprintln(cmd.ErrOrStderr(), "there are no such runs")
		return nil
	}
	t := table{header: []string{"RUN", "FLOW", shardColumn, "STATUS", priorityColumn, "STEPS", "STARTED", "TOOK", "WHY"}}
	for _, r := range runs {
		started, why := ago(r.StartedAt), r.Error
		if r.FailedStep != "" {
			why = r.Failed() + ": " + r.Error
		}
		if r.Status == runtime.RunScheduled {
			started = ago(r.ScheduledAt)
		}
		t.add(r.ID, r.Flow, r.Shard, string(r.Status), string(r.Priority), r.Progress(),
			started, took(r.StartedAt, r.EndedAt), shorten(why, 60))
	}
	if err := t.print(cmd.OutOrStdout()); err != nil {
		return err
	}
	if len(runs) == limit {
		fmt.Fprintf(cmd.ErrOrStderr(), "these are the newest %d; --limit shows more\n", limit)
	}
	return nil
}
