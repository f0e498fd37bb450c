package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/flowc-dev/flowc/runtime/shards"
)

func newShards() *cobra.Command {
	return newGroup("shards", "List and change the databases that flows are spread over",
		`Shards operates the map of shards: the databases over which runs are spread. Their
addresses are in FLOWC_SHARDS, names and URLs with blanks in between:

  export FLOWC_SHARDS='a=postgres://user@db1/app b=postgres://user@db2/app'

Each has the engine (flowc migrate up). Changes need all shards, and the role that
owns the engine; one that was interrupted is repeated.`,
		newShardsList(), newShardsInit(), newShardsAdd(), newShardsDrain(), newShardsRemove(), newShardsRename())
}

// withUnited runs fn with shards as one database.
func withUnited(fn func(cmd *cobra.Command, args []string, db *shards.DB) error) func(*cobra.Command, []string) error {
	return withShards(func(cmd *cobra.Command, args []string, db *database) error {
		united, ok := db.DB.(*shards.DB)
		if !ok {
			return errNoShards
		}
		return fn(cmd, args, united)
	})
}

var errNoShards = errors.New("flowc: FLOWC_SHARDS is not set, so there are no shards\n" +
	"\tfix: unset DATABASE_URL, and set FLOWC_SHARDS to NAME=postgres://user@host:port/database for each shard, with blanks in between")

// listedShard is a shard as shards list prints it.
type listedShard struct {
	Number int `json:"number"`
	ops.ShardInfo
}

func newShardsList() *cobra.Command {
	since := span(24 * time.Hour)
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List shards with figures, and which do not answer",
		Long: `List prints the shards of the map: how many of the runs that started within --since
completed, failed and are still running, how many tasks wait, and how many workers
there are. The exit status is 1 if a shard does not answer.`,
		Args: exactly(),
	}
	asJSON := asJSON(cmd)
	cmd.Flags().Var(&since, "since", "count runs that started within this time; every such run is read")
	cmd.RunE = withUnited(func(cmd *cobra.Command, _ []string, db *shards.DB) error {
		infos, err := ops.ListShards(cmd.Context(), db, time.Now().Add(-time.Duration(since)))
		if err != nil {
			return err
		}
		list := []listedShard{}
		var faults []error
		for i, s := range db.Shards() {
			list = append(list, listedShard{s.Number, infos[i]})
			if infos[i].Error != "" {
				fault := errors.New(infos[i].Error)
				if s.Pool == nil {
					fault = shards.ErrNoPool
				}
				faults = append(faults, &ops.ShardError{Shard: s.Name, Err: fault})
			}
		}
		if *asJSON {
			return errors.Join(append(faults, printJSON(cmd.OutOrStdout(), list))...)
		}
		t := table{header: []string{"NAME", "NUMBER", "STATE", "ANSWERS", "STARTED", "COMPLETED", "FAILED", "RUNNING", "WAITING", "IN FLIGHT", "WORKERS"}}
		for _, s := range list {
			row := []string{s.Name, strconv.Itoa(s.Number), string(s.State)}
			if s.Error != "" {
				row = append(row, "no", "", "", "", "", "", "", "")
			} else {
				row = append(row, "yes", strconv.Itoa(s.Started), strconv.Itoa(s.Completed), strconv.Itoa(s.Failed), strconv.Itoa(s.Running),
					strconv.Itoa(s.Waiting), strconv.Itoa(s.InFlight), strconv.Itoa(s.Workers))
			}
			t.add(row...)
		}
		return errors.Join(append(faults, t.print(cmd.OutOrStdout()))...)
	})
	return cmd
}

// changedMap is what a change of the map left, as JSON.
type changedMap struct {
	Name   string         `json:"name"`
	Number int            `json:"number"`
	State  ops.ShardState `json:"state"`
}

func printMap(w io.Writer, db *shards.DB) error {
	list := []changedMap{}
	for _, s := range db.Shards() {
		list = append(list, changedMap{s.Name, s.Number, s.State})
	}
	return printJSON(w, list)
}

func newShardsInit() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make the databases of FLOWC_SHARDS shards",
		Long: `Init makes the databases of FLOWC_SHARDS the first shards, numbered in the order of
their names, and does nothing if they are. Flows that one of them has are added to
the others. Programs have to start runs through the shards from then on.`,
		Args: exactly(),
	}
	asJSON := asJSON(cmd)
	cmd.RunE = withServers(func(cmd *cobra.Command, _ []string, db *database) error {
		if !db.sharded() {
			return errNoShards
		}
		p := startProgress(cmd.ErrOrStderr(), "making shards")
		err := shards.Init(cmd.Context(), db.pools())
		p.done()
		if err != nil {
			return err
		}
		united, err := db.unite(cmd.Context())
		switch {
		case err != nil:
			return err
		case *asJSON:
			return printMap(cmd.OutOrStdout(), united)
		}
		for _, s := range united.Shards() {
			fmt.Fprintf(cmd.OutOrStdout(), "%s is shard %d\n", s.Name, s.Number)
		}
		return nil
	})
	return cmd
}

// newShardsChange returns a command that changes the map, and says what it did.
func newShardsChange(use, short, long string, names []string, change func(context.Context, *shards.DB, []string) (string, error)) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Long: long, Args: exactly(names...), ValidArgsFunction: shardNames}
	asJSON := asJSON(cmd)
	cmd.RunE = withUnited(func(cmd *cobra.Command, args []string, db *shards.DB) error {
		p := startProgress(cmd.ErrOrStderr(), "changing the map")
		done, err := change(cmd.Context(), db, args)
		p.done()
		switch {
		case err != nil:
			return meantShard(db, err)
		case *asJSON:
			return printMap(cmd.OutOrStdout(), db)
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), done)
		return err
	})
	return cmd
}

// meantShard adds to an error what to do.
func meantShard(db *shards.DB, err error) error {
	var one *ops.ShardError
	switch {
	case errors.Is(err, shards.ErrUnknownShard):
		return fmt.Errorf("%w\n\tfix: use one of %s", err, strings.Join(namesOf(db), ", "))
	case errors.Is(err, shards.ErrHasRuns) && errors.As(err, &one):
		return fmt.Errorf("flowc: shard %s has runs, so it is not removed\n\tfix: drain it, and prune or delete its runs when they have ended; --allow-data-loss gives them up", one.Shard)
	}
	return err
}

func namesOf(db *shards.DB) (names []string) {
	for _, s := range db.Shards() {
		names = append(names, s.Name)
	}
	return names
}

func newShardsAdd() *cobra.Command {
	return newShardsChange("add NAME", "Let a database of FLOWC_SHARDS get runs",
		`Add makes a database of FLOWC_SHARDS a shard while work goes on, or a draining one
active again. All flows are added to it first. Give its address to all programs before.`,
		[]string{"the name of a shard"}, func(ctx context.Context, db *shards.DB, args []string) (string, error) {
			return args[0] + " gets runs", db.Add(ctx, args[0], nil)
		})
}

func newShardsDrain() *cobra.Command {
	return newShardsChange("drain NAME", "Stop new runs on a shard, and let those that it has end",
		`Drain stops new runs on a shard. Those that it has continue, can be read and controlled,
and need workers. When it has no runs any more, shards remove takes it out.`,
		[]string{"the name of a shard"}, func(ctx context.Context, db *shards.DB, args []string) (string, error) {
			return args[0] + " gets no new runs; `flowc shards remove " + args[0] + "` takes it out when it has none", db.Drain(ctx, args[0])
		})
}

func newShardsRemove() *cobra.Command {
	var dataLoss bool
	cmd := newShardsChange("remove NAME", "Take a shard without runs out of the map",
		`Remove takes a shard out of the map. It must have no runs: drain it, and prune those
that have ended. With --allow-data-loss its runs are lost, and it may be down for good.`,
		[]string{"the name of a shard"}, func(ctx context.Context, db *shards.DB, args []string) (string, error) {
			var options []runtime.DataLossOption
			if dataLoss {
				options = append(options, runtime.AllowDataLoss())
			}
			return args[0] + " is no longer a shard: take it out of FLOWC_SHARDS", db.Remove(ctx, args[0], options...)
		})
	cmd.Flags().BoolVar(&dataLoss, "allow-data-loss", false, "remove it although it has runs or does not answer; its runs are lost")
	return cmd
}

func newShardsRename() *cobra.Command {
	return newShardsChange("rename NAME NEW", "Give a shard another name",
		`Rename gives a shard another name, which FLOWC_SHARDS and programs have to use from
then on. Programs that run go on.`,
		[]string{"the name of a shard", "its new name"}, func(ctx context.Context, db *shards.DB, args []string) (string, error) {
			return args[0] + " is " + args[1] + " now: change its name in FLOWC_SHARDS", db.Rename(ctx, args[0], args[1])
		})
}

// shardNames completes the names of shards.
func shardNames(cmd *cobra.Command, args []string, _ string) (names []string, _ cobra.ShellCompDirective) {
	if len(args) == 0 {
		complete(cmd, func(_ context.Context, db runtime.DB) error {
			if united, ok := db.(*shards.DB); ok {
				names = namesOf(united)
			}
			return nil
		})
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
