package main

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/flowc-dev/flowc/runtime/spec"
)

func newGates() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "gates",
		Short: "Limits of steps and flows: list, change and hold them",
	}
	cmd.AddCommand(newGatesList(), newGatesSet(), newGatesHold())
	return cmd
}

func newGatesList() *cobra.Command {
	var flow string
	var limit int
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the gates of steps and flows with limits, and who waits at them",
		Long: `List prints the gates that tasks of steps with limits or keys pass, one line for each
key that tasks have: how many are in flight, how many wait and since when, and how
many attempts the rate lets begin now. A gate of one step is called FLOW.STEP. That of
a flow's runs is called FLOW.run: what is in flight there are runs in progress.`,
		Example: "  flowc gates list --flow index --json",
		Args:    exactly(),
	}
	asJSON := asJSON(cmd)
	cmd.Flags().StringVar(&flow, "flow", "", "only gates that steps of this flow have")
	cmd.Flags().IntVarP(&limit, "limit", "n", 50, "the most to print; 0 means all")
	completeFlows(cmd, "flow")
	cmd.RunE = withDatabase(func(cmd *cobra.Command, _ []string, db runtime.DB) error {
		gates, err := readGates(cmd, db, flow, limit)
		switch {
		case !usable(err):
			return err
		case *asJSON:
			return errors.Join(printJSON(cmd.OutOrStdout(), append([]ops.Gate{}, gates...)), err)
		case len(gates) == 0:
			fmt.Fprintln(cmd.ErrOrStderr(), "no step or flow has limits or takes turns")
			return err
		}
		header := []string{"GATE", "KEY", "LIMITS", "IN FLIGHT", "WAITING", "OLDEST", "TOKENS", "HELD UNTIL"}
		sharded := gates[0].Shard != ""
		if sharded {
			header = append([]string{"SHARD"}, header...)
		}
		t := table{header: header}
		for _, g := range gates {
			limits := g.Limits.String()
			if g.Overridden {
				limits += " (declared: " + g.Declared.String() + ")"
			}
			oldest, tokens, held := "", "", ""
			if !g.OldestAt.IsZero() {
				oldest = ago(g.OldestAt)
			}
			if g.Limits.Rate != (spec.Rate{}) {
				tokens = strconv.Itoa(int(g.Tokens))
			}
			if !g.HeldUntil.IsZero() {
				held = clock(g.HeldUntil) + ", " + ago(g.HeldUntil)
			}
			row := []string{g.Name, g.Key, limits, strconv.Itoa(g.InFlight), strconv.Itoa(g.Waiting), oldest, tokens, held}
			if sharded {
				row = append([]string{g.Shard}, row...)
			}
			t.add(row...)
		}
		if len(gates) == limit {
			defer fmt.Fprintf(cmd.ErrOrStderr(), "these are the first %d; --limit shows more\n", limit)
		}
		return errors.Join(t.print(cmd.OutOrStdout()), err)
	})
	return cmd
}

// readGates reads up to limit gates, page by page; 0 means all.
func readGates(cmd *cobra.Command, db runtime.DB, flow string, limit int) ([]ops.Gate, error) {
	if limit < 0 {
		return nil, wrongUse(cmd, "--limit is %d, it must not be negative", limit)
	}
	filter := ops.GateFilter{Flow: flow}
	var all []ops.Gate
	for limit == 0 || len(all) < limit {
		filter.Limit = page
		if limit > 0 {
			filter.Limit = min(page, limit-len(all))
		}
		gates, err := ops.ListGates(cmd.Context(), db, filter)
		all = append(all, gates...)
		if err != nil || len(gates) < filter.Limit {
			return all, err
		}
		last := gates[len(gates)-1]
		filter.AfterGate, filter.AfterKey = last.Name, last.Key
	}
	return all, nil
}

// gateChange is what became of a gate, as JSON. Limits that are not there are as declared.
type gateChange struct {
	Gate    string          `json:"gate"`
	Key     *string         `json:"key,omitempty"`
	Limits  *ops.GateLimits `json:"limits,omitempty"`
	HeldFor string          `json:"held_for,omitempty"`
}

func newGatesSet() *cobra.Command {
	var limits ops.GateLimits
	var rate string
	var declared bool
	cmd := &cobra.Command{
		Use:   "set GATE",
		Short: "Change the limits of a gate",
		Long: `Set changes the limits of a gate at once, for all workers. They hold until a flow is
upserted that declares others; --declared goes back to those that are declared. Tasks
in flight go on.`,
		Example: `  flowc gates set openai --rate 100/m
  flowc gates set index.store --concurrency 20 --rate 5/s,50
  flowc gates set openai --declared`,
		Args:              exactly("the name of a gate"),
		ValidArgsFunction: gateNames,
	}
	asJSON := asJSON(cmd)
	cmd.Flags().IntVar(&limits.Concurrency, "concurrency", 0, "tasks in flight at once, of each key")
	cmd.Flags().StringVar(&rate, "rate", "", "attempts that begin, of each key: 500/m, or 500/m,20 with a burst")
	cmd.Flags().BoolVar(&declared, "declared", false, "go back to the limits that are declared")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		concurrency, rated := cmd.Flags().Changed("concurrency"), cmd.Flags().Changed("rate")
		switch {
		case declared == (concurrency || rated):
			return wrongUse(cmd, "say --concurrency, --rate or both, or else --declared")
		case concurrency && limits.Concurrency < 1:
			return wrongUse(cmd, "--concurrency is %d, it must be at least 1; flowc gates hold stops a gate", limits.Concurrency)
		}
		if rated {
			var err error
			if limits.Rate, err = spec.ParseRate(rate); err != nil {
				return wrongUse(cmd, "--rate: %v", err)
			}
		}
		return withDatabase(func(cmd *cobra.Command, args []string, db runtime.DB) error {
			if err := ops.SetGate(cmd.Context(), db, args[0], limits); err != nil {
				return err
			}
			if *asJSON {
				return printJSON(cmd.OutOrStdout(), gateChange{Gate: args[0], Limits: &limits})
			}
			if declared {
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "gate %s has the limits that are declared\n", args[0])
				return err
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "gate %s: %s\n", args[0], limits)
			return err
		})(cmd, args)
	}
	return cmd
}

func newGatesHold() *cobra.Command {
	var d span
	var key string
	var end bool
	cmd := &cobra.Command{
		Use:   "hold GATE",
		Short: "Let no attempt begin at a gate for a while",
		Long: `Hold lets no attempt begin at a gate for a while, or only none with a key. Tasks in
flight go on. --end ends it: without --key, what holds all keys, and not those that are
held alone.`,
		Example: `  flowc gates hold openai --for 10m
  flowc gates hold index.store --key 17 --for 1h
  flowc gates hold openai --end`,
		Args:              exactly("the name of a gate"),
		ValidArgsFunction: gateNames,
	}
	asJSON := asJSON(cmd)
	cmd.Flags().Var(&d, "for", "how long, such as 10m or 1h30m")
	cmd.Flags().StringVar(&key, "key", "", "only tasks with this key")
	cmd.Flags().BoolVar(&end, "end", false, "let attempts begin again")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if end == cmd.Flags().Changed("for") {
			return wrongUse(cmd, "say --for or --end")
		}
		return withDatabase(func(cmd *cobra.Command, args []string, db runtime.DB) error {
			var of *string
			what := "gate " + args[0]
			if cmd.Flags().Changed("key") {
				of, what = &key, what+" for the key "+strconv.Quote(key)
			}
			if err := ops.HoldGate(cmd.Context(), db, args[0], of, time.Duration(d)); err != nil {
				return err
			}
			if *asJSON {
				return printJSON(cmd.OutOrStdout(), gateChange{Gate: args[0], Key: of, HeldFor: time.Duration(d).String()})
			}
			if end {
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s is not held any more\n", what)
				return err
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s is held for %s\n", what, time.Duration(d))
			return err
		})(cmd, args)
	}
	return cmd
}
