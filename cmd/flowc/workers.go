package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/spf13/cobra"
)

// listedWorker is a worker as workers prints it.
type listedWorker struct {
	ID     string           `json:"id"`
	Name   string           `json:"name"`
	Flows  []string         `json:"flows"`
	Status ops.WorkerStatus `json:"status"`
	// InFlight is how many tasks it has claimed and not reported.
	InFlight        int       `json:"in_flight"`
	StartedAt       time.Time `json:"started_at"`
	LastHeartbeatAt time.Time `json:"last_heartbeat_at"`
	StoppedAt       time.Time `json:"stopped_at,omitzero"`
	// Shard is the database that it works for, if there are several.
	Shard string `json:"shard,omitempty"`
}

func newWorkers() *cobra.Command {
	since := span(time.Hour)
	cmd := &cobra.Command{
		Use:   "workers",
		Short: "List workers, newest first",
		Args:  exactly(),
	}
	asJSON := asJSON(cmd)
	cmd.Flags().Var(&since, "since", "list workers that have stopped, too, if they were last seen within this time")
	cmd.RunE = withDatabase(func(cmd *cobra.Command, _ []string, db runtime.DB) error {
		found, err := ops.ListWorkers(cmd.Context(), db, time.Now().Add(-time.Duration(since)))
		if !usable(err) {
			return err
		}
		list := []listedWorker{}
		for _, w := range found {
			list = append(list, listedWorker{w.ID, w.Name, w.Flows, w.Status, w.InFlight, w.StartedAt, w.LastHeartbeatAt, w.StoppedAt, w.Shard})
		}
		switch {
		case *asJSON:
			return errors.Join(printJSON(cmd.OutOrStdout(), list), err)
		case len(list) == 0 && err != nil: // the shards that do not answer may have some
			return err
		case len(list) == 0:
			fmt.Fprintln(cmd.ErrOrStderr(), "there are no workers")
			return nil
		}
		t := table{header: []string{"WORKER", "NAME", shardColumn, "STATUS", "IN FLIGHT", "STARTED", "LAST SEEN", "FLOWS"}}
		for _, w := range list {
			t.add(w.ID, w.Name, w.Shard, string(w.Status), strconv.Itoa(w.InFlight), ago(w.StartedAt), ago(w.LastHeartbeatAt), someOf(w.Flows, 3))
		}
		return errors.Join(t.print(cmd.OutOrStdout()), err)
	})
	return cmd
}

// someOf returns the first of some names, and how many more there are.
func someOf(names []string, most int) string {
	if len(names) > most+1 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}
