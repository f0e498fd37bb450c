package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// listedFlow is a flow as flows list prints it.
type listedFlow struct {
	Slug  string `json:"slug"`
	Steps int    `json:"steps"`
	// Started and what follows counts the runs that started within --since.
	Started   int     `json:"started"`
	Completed int     `json:"completed"`
	Failed    int     `json:"failed"`
	Running   int     `json:"running"`
	Mean      float64 `json:"mean_seconds"`
	P95       float64 `json:"p95_seconds"`
	// Waiting, Delayed and InFlight are tasks.
	Waiting       int       `json:"waiting"`
	Delayed       int       `json:"delayed"`
	InFlight      int       `json:"in_flight"`
	OldestWaiting time.Time `json:"oldest_waiting,omitzero"`
	// Cron is its schedule, if it has one.
	Cron string `json:"cron,omitempty"`
	// Workers is how many workers serve it now.
	Workers  int       `json:"workers"`
	PausedAt time.Time `json:"paused_at,omitzero"`
	PausedBy string    `json:"paused_by,omitempty"`
	// PausedOn names the shards on which it is paused, if it is on some only.
	PausedOn []string `json:"paused_on,omitempty"`
	// ReplacedBy is the newest version of an old one, and Unfinished counts those
	// of its runs that have not ended, up to 1000.
	ReplacedBy string `json:"replaced_by,omitempty"`
	Unfinished int    `json:"unfinished,omitempty"`
}

func newFlowsList() *cobra.Command {
	since := span(24 * time.Hour)
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List flows with figures, and old versions that still run",
		Long: `List prints every flow of the database: how many of the runs that started within
--since completed, failed and are still running, and how many tasks wait for a
worker, are delayed, and are in flight. Below, it names old versions that a version
tag has replaced, with what is left of them, flows that are paused, and flows whose
tasks no worker serves.`,
		Args: exactly(),
	}
	asJSON := asJSON(cmd)
	cmd.Flags().Var(&since, "since", "count runs that started within this time; every such run is read")
	cmd.RunE = withDatabase(func(cmd *cobra.Command, _ []string, db runtime.DB) error {
		flows, err := listFlows(cmd, db, time.Duration(since))
		if !usable(err) {
			return err
		}
		if *asJSON {
			return errors.Join(printJSON(cmd.OutOrStdout(), flows), err)
		}
		if len(flows) == 0 && err != nil { // the shards that do not answer may have some
			return err
		}
		return errors.Join(printFlows(cmd, flows), err)
	})
	return cmd
}

func listFlows(cmd *cobra.Command, db runtime.DB, since time.Duration) ([]listedFlow, error) {
	p := startProgress(cmd.ErrOrStderr(), "counting runs")
	defer p.done()
	infos, partial := ops.ListFlows(cmd.Context(), db, time.Now().Add(-since))
	if !usable(partial) {
		return nil, partial
	}
	list := []listedFlow{}
	for _, f := range infos {
		def, err := spec.Parse(f.Slug, f.Definition)
		if err != nil {
			return nil, err
		}
		flow := listedFlow{
			Slug: f.Slug, Steps: len(def.Steps),
			Started: f.Started, Completed: f.Completed, Failed: f.Failed, Running: f.Running,
			Mean: f.MeanTime.Seconds(), P95: f.P95Time.Seconds(),
			Waiting: f.Waiting, Delayed: f.Delayed, InFlight: f.InFlight, OldestWaiting: f.OldestWaiting, Cron: def.Cron,
			Workers: f.Workers, PausedAt: f.PausedAt, PausedBy: f.PausedBy, PausedOn: f.PausedOn, ReplacedBy: f.ReplacedBy,
		}
		if f.ReplacedBy != "" {
			left, err := unfinished(cmd, db, f.Slug)
			if !usable(err) {
				return nil, err
			}
			flow.Unfinished = left
		}
		list = append(list, flow)
	}
	return list, partial
}

// unfinished counts the runs of a flow that have not ended, up to 1000.
func unfinished(cmd *cobra.Command, db runtime.DB, slug string) (int, error) {
	runs, err := ops.ListRuns(cmd.Context(), db, ops.RunFilter{
		Flows: []string{slug}, Statuses: []runtime.RunStatus{runtime.RunScheduled, runtime.RunRunning, runtime.RunWaiting}, Limit: page,
	})
	return len(runs), err
}

func printFlows(cmd *cobra.Command, flows []listedFlow) error {
	if len(flows) == 0 {
		fmt.Fprintln(cmd.ErrOrStderr(), "there are no flows; `flowc flows upsert` adds those of a package")
		return nil
	}
	t := table{header: []string{"FLOW", "STEPS", "STARTED", "COMPLETED", "FAILED", "RUNNING", "P95", "WAITING", "DELAYED", "IN FLIGHT", "OLDEST", "REPLACED BY"}}
	for _, f := range flows {
		t.add(f.Slug, strconv.Itoa(f.Steps), strconv.Itoa(f.Started), strconv.Itoa(f.Completed), strconv.Itoa(f.Failed), strconv.Itoa(f.Running),
			lasting(time.Duration(f.P95*float64(time.Second))), strconv.Itoa(f.Waiting), strconv.Itoa(f.Delayed), strconv.Itoa(f.InFlight), ago(f.OldestWaiting), f.ReplacedBy)
	}
	if err := t.print(cmd.OutOrStdout()); err != nil {
		return err
	}
	for _, f := range flows {
		switch {
		case !f.PausedAt.IsZero():
			fmt.Fprintf(cmd.OutOrStdout(), "\n%s was paused %s%s%s: `flowc flows resume %s` hands its tasks to workers again\n", f.Slug, ago(f.PausedAt), by(f.PausedBy), onSome(f.PausedOn), f.Slug)
		case f.Waiting > 0 && f.Workers == 0:
			fmt.Fprintf(cmd.OutOrStdout(), "\n%s has %s waiting, and no worker that serves it\n", f.Slug, count(f.Waiting, "task", "tasks"))
		}
		switch {
		case f.ReplacedBy != "" && f.Unfinished == 0:
			fmt.Fprintf(cmd.OutOrStdout(), "\n%s is replaced by %s and has no unfinished runs: `flowc flows delete --with-runs %s` removes it\n", f.Slug, f.ReplacedBy, f.Slug)
		case f.ReplacedBy != "":
			fmt.Fprintf(cmd.OutOrStdout(), "\n%s is replaced by %s and still has %s, for a worker that serves it\n", f.Slug, f.ReplacedBy, unfinishedRuns(f.Unfinished))
		}
	}
	return nil
}

func onSome(shards []string) string {
	if len(shards) == 0 {
		return ""
	}
	return " on " + printable(strings.Join(shards, ", ")) + " only"
}

func by(who string) string {
	if who == "" {
		return ""
	}
	return " by " + printable(who)
}

func unfinishedRuns(n int) string {
	if n == page {
		return fmt.Sprintf("at least %d unfinished runs", n)
	}
	return count(n, "unfinished run", "unfinished runs")
}
