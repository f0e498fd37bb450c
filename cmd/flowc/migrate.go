package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/flowc-dev/flowc/runtime/engine"
)

func newMigrate() *cobra.Command {
	return newGroup("migrate", "Install the engine in a database, or bring it up to date",
		`Migrate installs and updates the engine in the database of DATABASE_URL. A migration
is one transaction: it is applied entirely or not at all, and any number of programs
may migrate at once.`,
		newMigrateUp(), newMigrateStatus(), newMigratePrint(), newMigrateRoles())
}

func newMigrateUp() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Install the engine or bring it up to this program's version",
		Args:  exactly(),
	}
	var encoding string
	cmd.Flags().StringVar(&encoding, "encoding", "", "install it in a database that is in this encoding, and not in UTF8")
	asJSON := asJSON(cmd)
	cmd.RunE = withServers(func(cmd *cobra.Command, _ []string, db *database) error {
		p := startProgress(cmd.ErrOrStderr(), "migrating")
		defer p.done()
		return onServers(cmd, db, *asJSON, func(ctx context.Context, s server) (migrated, error) {
			m := migrated{engine.Version, []string{}}
			err := engine.Migrate(ctx, s.pool, engine.WithEncoding(encoding), engine.WithReport(func(change string) { m.Done = append(m.Done, change) }))
			return m, err
		}, func(w io.Writer, m migrated, err error) {
			printLines(w, m.Done)
			if err == nil && len(m.Done) == 0 {
				fmt.Fprintf(w, "nothing to do: the engine is at version %d\n", engine.Version)
			}
		})
	})
	return cmd
}

// migrated is what migrate up did, as JSON.
type migrated struct {
	Version int      `json:"version"`
	Done    []string `json:"done"`
}

func printLines(w io.Writer, lines []string) {
	for _, line := range lines {
		fmt.Fprintln(w, line)
	}
}

func newMigrateStatus() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what is installed and what is pending",
		Args:  exactly(),
	}
	asJSON := asJSON(cmd)
	cmd.RunE = withServers(func(cmd *cobra.Command, _ []string, db *database) error {
		return onServers(cmd, db, *asJSON, func(ctx context.Context, s server) (engineStatus, error) {
			status, err := engine.GetStatus(ctx, s.pool)
			return engineStatus{status.Server, status.Installed, engine.Version, status.Current(), append([]string{}, status.Pending...), status.Upstream, status}, err
		}, func(w io.Writer, s engineStatus, err error) {
			if err == nil {
				printStatus(w, s.status)
			}
		})
	})
	return cmd
}

// engineStatus is what is installed, as JSON.
type engineStatus struct {
	Server    int      `json:"server"`
	Installed int      `json:"installed"`
	Version   int      `json:"version"`
	Current   bool     `json:"current"`
	Pending   []string `json:"pending"`
	Upstream  bool     `json:"upstream"`
	status    engine.Status
}

func newMigratePrint() *cobra.Command {
	return &cobra.Command{
		Use:   "print",
		Short: "Print the engine's SQL, to install it with another tool",
		Args:  exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := io.WriteString(cmd.OutOrStdout(), engine.Script())
			return err
		},
	}
}

func newMigrateRoles() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "roles",
		Short: "Grant roles what they need to start, work, view or operate, and no more",
		Long: `Roles grants roles of the database the right to call the engine's functions, each
only those that it needs, and no rights on tables. A role that does not exist is
made, without a right to log in: grant it to the roles that your programs log in as.

Without flags, the roles are ` + strings.Join(roleNames(engine.DefaultRoles()), ", ") + `.
With flags it is only those that they name. Migrations keep the rights up to date.
With --revoke, the roles lose these rights, but are kept.`,
		Example: `  flowc migrate roles
  flowc migrate roles --starter shop_web --worker shop_worker
  flowc migrate roles --revoke --starter shop_web`,
		Args: exactly(),
	}
	var roles engine.Roles
	var revoke bool
	asJSON := asJSON(cmd)
	cmd.Flags().StringVar(&roles.Starter, "starter", "", "the role of programs that start runs and wait for them")
	cmd.Flags().StringVar(&roles.Worker, "worker", "", "the role of workers")
	cmd.Flags().StringVar(&roles.Viewer, "viewer", "", "the role of those who only view")
	cmd.Flags().StringVar(&roles.Operator, "operator", "", "the role of those who view and operate")
	cmd.Flags().BoolVar(&revoke, "revoke", false, "revoke the rights from the roles")
	cmd.RunE = withServers(func(cmd *cobra.Command, _ []string, db *database) error {
		if roles == (engine.Roles{}) {
			roles = engine.DefaultRoles()
		}
		change := engine.GrantRoles
		if revoke {
			change = engine.RevokeRoles
		}
		return onServers(cmd, db, *asJSON, func(ctx context.Context, s server) (changedRoles, error) {
			if err := engine.Check(ctx, s.pool); err != nil {
				return changedRoles{}, err
			}
			done, err := change(ctx, s.pool, roles)
			return changedRoles{done}, err
		}, func(w io.Writer, c changedRoles, _ error) { printLines(w, c.Done) })
	})
	return cmd
}

// changedRoles is what migrate roles did, as JSON.
type changedRoles struct {
	Done []string `json:"done"`
}

func roleNames(r engine.Roles) []string {
	return []string{r.Starter, r.Worker, r.Viewer, r.Operator}
}

func printStatus(out io.Writer, s engine.Status) {
	fmt.Fprintln(out, "engine:", engineState(s))
	for _, name := range s.Pending {
		fmt.Fprintln(out, "pending:", name)
	}
}

// engineState describes what is installed.
func engineState(s engine.Status) string {
	switch {
	case s.Upstream:
		return "none; another pgflow is installed, and left alone"
	case s.Installed == 0:
		return "none; `flowc migrate up` installs it"
	case s.Installed > engine.Version:
		return fmt.Sprintf("version %d, newer than this program's %d: upgrade the program", s.Installed, engine.Version)
	case s.Current():
		return fmt.Sprintf("version %d, up to date", s.Installed)
	case s.Changed && s.Installed == engine.Version:
		return fmt.Sprintf("version %d with other functions than this program's; `flowc migrate up` installs them", s.Installed)
	}
	return fmt.Sprintf("version %d, this program has %d; `flowc migrate up` updates it", s.Installed, engine.Version)
}
