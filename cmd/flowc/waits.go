package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
)

func newWaits() *cobra.Command {
	var flows, steps []string
	var key string
	var limit int
	cmd := &cobra.Command{
		Use:   "waits",
		Short: "List the steps that wait for an answer",
		Long: `Waits lists the steps of runs that wait for an answer, those that expire first
before others, with the input of the run. With --json, it prints the outputs that the
step gets, too. flowc runs signal answers them.`,
		Example: "  flowc waits --flow pay_claim --json",
		Args:    exactly(),
	}
	asJSON := asJSON(cmd)
	cmd.Flags().StringSliceVar(&flows, "flow", nil, "only steps of this flow; can be repeated")
	cmd.Flags().StringSliceVar(&steps, "step", nil, "only steps with this slug; can be repeated")
	cmd.Flags().StringVar(&key, "key", "", "only steps that wait with this key")
	cmd.Flags().IntVarP(&limit, "limit", "n", 50, "the most to print; 0 means all")
	completeFlows(cmd, "flow")
	cmd.RunE = withDatabase(func(cmd *cobra.Command, _ []string, db runtime.DB) error {
		waits, err := readWaits(cmd, db, runtime.WaitingFilter{Flows: flows, Steps: steps, Key: key}, limit)
		switch {
		case !usable(err):
			return err
		case *asJSON:
			return errors.Join(printJSON(cmd.OutOrStdout(), shownWaits(waits)), err)
		case len(waits) == 0:
			fmt.Fprintln(cmd.ErrOrStderr(), "no step waits for an answer")
			return err
		}
		t := table{header: []string{"RUN", "FLOW", "STEP", "SINCE", "UNTIL", "KEY", "INPUT"}}
		for _, w := range waits {
			until := "for ever"
			if !w.Until.IsZero() {
				until = clock(w.Until) + ", " + ago(w.Until)
			}
			t.add(w.RunID, w.Flow, w.Step, ago(w.Since), until, w.Key, shorten(payload(w.Input.Input, false), 60))
		}
		if len(waits) == limit {
			defer fmt.Fprintf(cmd.ErrOrStderr(), "these are the first %d; --limit shows more\n", limit)
		}
		return errors.Join(t.print(cmd.OutOrStdout()), err)
	})
	return cmd
}

// readWaits reads up to limit waits, page by page; 0 means all.
func readWaits(cmd *cobra.Command, db runtime.DB, filter runtime.WaitingFilter, limit int) ([]runtime.Waiting[handler.Values], error) {
	if limit < 0 {
		return nil, wrongUse(cmd, "--limit is %d, it must not be negative", limit)
	}
	p := startProgress(cmd.ErrOrStderr(), "reading waits")
	defer p.done()
	var all []runtime.Waiting[handler.Values]
	for limit == 0 || len(all) < limit {
		filter.Limit = page
		if limit > 0 {
			filter.Limit = min(page, limit-len(all))
		}
		waits, err := runtime.ListWaiting(cmd.Context(), db, filter)
		all = append(all, waits...)
		if err != nil || len(waits) < filter.Limit {
			return all, err
		}
		filter.After = waits[len(waits)-1].Cursor()
		p.set("%d", len(all))
	}
	return all, nil
}

// shownValues is what the one who answers is shown, as JSON.
type shownValues struct {
	Run     json.RawMessage `json:"run"`
	Outputs json.RawMessage `json:"outputs,omitempty"`
}

func shownWaits(waits []runtime.Waiting[handler.Values]) []runtime.Waiting[shownValues] {
	shown := make([]runtime.Waiting[shownValues], len(waits))
	for i, w := range waits {
		shown[i] = runtime.Waiting[shownValues]{
			RunID: w.RunID, Flow: w.Flow, Step: w.Step, Since: w.Since, Until: w.Until, Key: w.Key,
			Input: shownValues{Run: w.Input.Input, Outputs: w.Input.Outputs},
		}
	}
	return shown
}
