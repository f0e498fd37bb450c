package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// onServers calls do with each database, one after the other, and prints what it returns: as
// JSON, or as what show writes. Of several shards it prints the name of each, and one that
// fails does not keep it from the others.
func onServers[T any](cmd *cobra.Command, db *database, asJSON bool, do func(context.Context, server) (T, error), show func(io.Writer, T, error)) error {
	type result struct {
		Shard  string `json:"shard"`
		Result *T     `json:"result,omitempty"`
		Error  string `json:"error,omitempty"`
	}
	var faults []error
	results := []result{}
	for _, s := range db.servers {
		var got T
		err := s.err
		if err == nil {
			got, err = do(cmd.Context(), s)
			err = s.fault(err)
		}
		faults = append(faults, err)
		switch {
		case asJSON && !db.sharded():
			if err != nil {
				return err
			}
			return printJSON(cmd.OutOrStdout(), got)
		case asJSON && err != nil:
			results = append(results, result{Shard: s.name, Error: err.Error()})
		case asJSON:
			results = append(results, result{Shard: s.name, Result: &got})
		case s.err == nil:
			if db.sharded() {
				fmt.Fprintf(cmd.OutOrStdout(), "shard %s\n", s.name)
			}
			show(cmd.OutOrStdout(), got, err)
		}
	}
	if asJSON {
		faults = append(faults, printJSON(cmd.OutOrStdout(), results))
	}
	return errors.Join(faults...)
}
