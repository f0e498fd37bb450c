package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/flowc-dev/flowc/runtime/engine"
)

// A severity is how bad a finding is.
type severity string

const (
	fine    severity = "ok"
	warning severity = "warning" // something is unusual, or will become a problem
	problem severity = "problem" // something does not work, or data may be lost
)

// A finding is something that needs attention.
type finding struct {
	// Shard is the database that it is about, if there are several.
	Shard    string   `json:"shard,omitempty"`
	Check    string   `json:"check"`
	Severity severity `json:"severity"`
	What     string   `json:"what"`
	// Do is what to do about it, as instructions.
	Do string `json:"do,omitempty"`
}

// A check examines one thing. Its findings have no names yet.
type check struct {
	name string
	// needsEngine is set if the check needs the engine.
	needsEngine bool
	look        func(ctx context.Context, d *doctor) ([]finding, error)
}

// A doctor holds what all checks need.
type doctor struct {
	db          *pgxpool.Pool
	status      engine.Status
	maxTaskWait time.Duration // how long a task may wait
	// deleteOrphans deletes rows of runs that do not exist.
	deleteOrphans bool
}

var checks = []check{
	{name: "server", look: checkServer},
	{name: "settings", look: checkSettings},
	{name: "transactions", look: checkTransactions},
	{name: "engine", look: checkEngine},
	{name: "indexes", needsEngine: true, look: checkIndexes},
	{name: "vacuum", needsEngine: true, look: checkVacuum},
	{name: "handlers", needsEngine: true, look: checkHandlers},
	{name: "watermarks", needsEngine: true, look: checkWatermarks},
	{name: "workers", needsEngine: true, look: checkWorkers},
	{name: "waiting", needsEngine: true, look: checkWaiting},
	{name: "priorities", needsEngine: true, look: checkPriorities},
	{name: "schedules", needsEngine: true, look: checkSchedules},
	{name: "waits", needsEngine: true, look: checkWaits},
	{name: "answers", needsEngine: true, look: checkKeptAnswers},
	{name: "gates", needsEngine: true, look: checkGates},
	{name: "requests", needsEngine: true, look: checkRequests},
	{name: "runs", needsEngine: true, look: checkWedged},
	{name: "queue", needsEngine: true, look: checkQueue},
	{name: "messages", needsEngine: true, look: checkMessages},
	{name: "orphans", needsEngine: true, look: checkOrphans},
}

func newDoctor() *cobra.Command {
	maxTaskWait := span(time.Minute)
	var deleteOrphans bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Find problems, and say how to fix them",
		Long: `Doctor checks the server and the engine in the database of DATABASE_URL for settings
that lose data, open transactions, an engine that is missing or outdated, missing
indexes, tables that are not vacuumed, silent workers, tasks, scheduled runs and
schedules that no worker serves, tasks that wait for an hour behind others with a
higher priority, steps that have waited for an answer for a month and have no
timeout, answers by key that nobody takes, gates whose counts do not add up, that are
held, or that only workers in other languages come to, requests that nobody applies, stuck
runs, tasks in the queue that have ended, and rows of runs that do not exist. It
changes nothing, except that --delete-orphans deletes those rows. It needs the
rights of the tables' owner.

The exit status is 0 if nothing was found, 2 if something was.`,
		Args: exactly(),
	}
	asJSON := asJSON(cmd)
	cmd.Flags().Var(&maxTaskWait, "waiting", "how long a task may wait for a worker")
	cmd.Flags().BoolVar(&deleteOrphans, "delete-orphans", false, "delete tasks, step states and other rows whose run does not exist")
	cmd.RunE = withServers(func(cmd *cobra.Command, _ []string, db *database) error {
		findings := []finding{}
		for _, s := range db.servers {
			found, err := examineServer(cmd, s, doctor{db: s.pool, maxTaskWait: time.Duration(maxTaskWait), deleteOrphans: deleteOrphans})
			if err != nil {
				return err
			}
			findings = append(findings, found...)
		}
		if db.sharded() {
			findings = append(findings, checkShards(cmd.Context(), db)...)
		}
		var err error
		if *asJSON {
			err = printJSON(cmd.OutOrStdout(), findings)
		} else {
			err = printFindings(cmd.OutOrStdout(), findings)
		}
		for _, f := range findings {
			if err == nil && f.Severity != fine {
				return &exitError{status: exitFound}
			}
		}
		return err
	})
	return cmd
}

// examineServer examines one database. Of several, one that cannot be examined is a finding,
// and the others are examined all the same.
func examineServer(cmd *cobra.Command, s server, d doctor) ([]finding, error) {
	var found []finding
	err := s.err
	if err == nil {
		found, err = d.examine(cmd.Context(), startProgress(cmd.ErrOrStderr(), "looking"))
	}
	switch {
	case err != nil && s.name == "":
		return nil, err
	case err != nil:
		what, _, _ := strings.Cut(err.Error(), "\n")
		found = []finding{{Check: "server", Severity: problem, What: "it cannot be examined: " + strings.TrimPrefix(what, "flowc: "), Do: "check that the server runs and that FLOWC_SHARDS names it"}}
	}
	for i := range found {
		found[i].Shard = s.name
	}
	return found, nil
}

// examine runs all checks. A check without findings is reported as passed.
func (d *doctor) examine(ctx context.Context, p *progress) ([]finding, error) {
	defer p.done()
	var err error
	if d.status, err = engine.GetStatus(ctx, d.db); err != nil {
		if refused(err) {
			err = fmt.Errorf("%w\n\tfix: %s", err, askOwner)
		}
		return nil, err
	}
	var all []finding
	for _, c := range checks {
		if c.needsEngine && d.status.Installed == 0 {
			continue
		}
		p.set("%s", c.name)
		found, err := c.look(ctx, d)
		switch {
		case refused(err):
			found = []finding{{Severity: warning, What: "this could not be checked: " + err.Error(), Do: askOwner}}
		case err != nil:
			return nil, fmt.Errorf("flowc: doctor: %s: %w", c.name, err)
		}
		if len(found) == 0 {
			found = []finding{{Severity: fine}}
		}
		for _, f := range found {
			f.Check = c.name
			all = append(all, f)
		}
	}
	return all, nil
}

const askOwner = "connect as the owner of the tables, who installed the engine"

// refused reports whether a right is missing.
func refused(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == "42501" // insufficient_privilege
}

func printFindings(w io.Writer, findings []finding) error {
	n, shard := 0, ""
	for _, f := range findings {
		if f.Shard != shard {
			shard = f.Shard
			heading := "all shards"
			if shard != "" {
				heading = "shard " + shard
			}
			fmt.Fprintln(w, heading)
		}
		line := fmt.Sprintf("%-8s %-13s %s", f.Severity, f.Check, printable(f.What))
		if f.Severity == fine && f.What == "" {
			line = fmt.Sprintf("%-8s %s", f.Severity, f.Check)
		}
		if f.Severity != fine {
			n++
		}
		if f.Do != "" {
			line += "\n" + fmt.Sprintf("%-22s fix: %s", "", f.Do)
		}
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	if n > 0 {
		_, err := fmt.Fprintf(w, "\n%s\n", count(n, "finding", "findings"))
		return err
	}
	return nil
}
