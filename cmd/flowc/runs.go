package main

import (
	"bufio"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/flowc-dev/flowc/runtime"
)

func newRuns() *cobra.Command {
	return newGroup("runs", "List, show and control runs",
		`Runs operates the runs of flows in the database of DATABASE_URL. Commands that
take ids read them from standard input if given a single dash, so that

  flowc runs list --status failed --since 1h --quiet | flowc runs retry -

retries all that failed in the last hour.`,
		newRunsList(), newRunsShow(), newRunsWatch(), newRunsCancel(), newRunsRetry(), newRunsSetPriority(), newRunsSignal(), newRunsDelete())
}

// A steered is the result for one of several runs, as JSON.
type steered struct {
	ID    string `json:"id"`
	Done  bool   `json:"done"`
	Error string `json:"error,omitempty"`
}

// newSteer returns a command that applies an action to each of some runs.
func newSteer(use, short, long, done string, do func(cmd *cobra.Command, db runtime.DB, id string) error) *cobra.Command {
	cmd := &cobra.Command{Use: use + " ID... | -", Short: short, Long: long, Args: atLeastOne("the id of a run, or - to read ids"), ValidArgsFunction: newestRuns}
	json := asJSON(cmd)
	cmd.RunE = withDatabase(func(cmd *cobra.Command, args []string, db runtime.DB) error {
		ids, err := runIDs(cmd, args)
		if err != nil {
			return err
		}
		p := startProgress(cmd.ErrOrStderr(), cmd.CommandPath())
		var faults []error
		all := []steered{}
		for i, id := range ids {
			p.set("%d of %d", i, len(ids))
			err := do(cmd, db, id)
			one := steered{ID: id, Done: err == nil}
			if err != nil {
				faults = append(faults, err)
				one.Error = err.Error()
			}
			all = append(all, one)
			if cmd.Context().Err() != nil {
				break
			}
		}
		p.done()
		if *json {
			return errors.Join(printJSON(cmd.OutOrStdout(), all), errors.Join(faults...))
		}
		for _, one := range all {
			if one.Done {
				fmt.Fprintln(cmd.OutOrStdout(), done, one.ID)
			}
		}
		return errors.Join(faults...)
	})
	return cmd
}

// runIDs returns the ids among the arguments, or those in standard input.
func runIDs(cmd *cobra.Command, args []string) ([]string, error) {
	if len(args) != 1 || args[0] != "-" {
		return args, nil
	}
	var ids []string
	words := bufio.NewScanner(cmd.InOrStdin())
	words.Split(bufio.ScanWords)
	for words.Scan() {
		ids = append(ids, words.Text())
	}
	if err := words.Err(); err != nil {
		return nil, fmt.Errorf("flowc: reading ids: %w", err)
	}
	return ids, nil
}
