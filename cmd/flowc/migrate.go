package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/flowc-dev/flowc/runtime/engine"
)

func newMigrate() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Install the engine in a database, or bring it up to date",
		Long: `Migrate looks after the engine in the database of DATABASE_URL. A migration is
one transaction: it happens entirely or not at all, and any number of programs
may try at once.`,
	}
	cmd.AddCommand(
		&cobra.Command{
			Use:   "up",
			Short: "Install the engine or bring it up to this program's version",
			Args:  cobra.NoArgs,
			RunE: withDatabase(func(ctx context.Context, conn *pgx.Conn, out io.Writer) error {
				done, err := engine.Up(ctx, conn)
				for _, line := range done {
					fmt.Fprintln(out, line)
				}
				if err == nil && done == nil {
					fmt.Fprintf(out, "nothing to do: the engine is at version %d\n", engine.Version)
				}
				return err
			}),
		},
		&cobra.Command{
			Use:   "status",
			Short: "Say what is installed and what is pending",
			Args:  cobra.NoArgs,
			RunE: withDatabase(func(ctx context.Context, conn *pgx.Conn, out io.Writer) error {
				status, err := engine.GetStatus(ctx, conn)
				if err != nil {
					return err
				}
				printStatus(out, status)
				return nil
			}),
		},
		&cobra.Command{
			Use:   "print",
			Short: "Print the engine's SQL, to install it with another tool",
			Args:  cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				_, err := io.WriteString(cmd.OutOrStdout(), engine.Script())
				return err
			},
		},
	)
	return cmd
}

func printStatus(out io.Writer, s engine.Status) {
	switch {
	case s.Upstream:
		fmt.Fprintln(out, "engine: none; another pgflow is installed, and left alone")
	case s.Installed == 0:
		fmt.Fprintln(out, "engine: none")
	case s.Installed > engine.Version:
		fmt.Fprintf(out, "engine: version %d, newer than this program's %d: upgrade the program\n", s.Installed, engine.Version)
	case s.Current():
		fmt.Fprintf(out, "engine: version %d, up to date\n", s.Installed)
	case s.Changed && s.Installed == engine.Version:
		fmt.Fprintf(out, "engine: version %d with other functions than this program's; `flowc migrate up` installs them\n", s.Installed)
	default:
		fmt.Fprintf(out, "engine: version %d, this program has %d; `flowc migrate up` brings it up\n", s.Installed, engine.Version)
	}
	for _, name := range s.Pending {
		fmt.Fprintln(out, "pending:", name)
	}
}

// withDatabase runs fn with a connection to the database of DATABASE_URL.
func withDatabase(fn func(ctx context.Context, conn *pgx.Conn, out io.Writer) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, _ []string) error {
		url := os.Getenv("DATABASE_URL")
		if url == "" {
			return errors.New("flowc: DATABASE_URL is not set: set it to the database, such as postgres://user@localhost:5432/app")
		}
		conn, err := pgx.Connect(cmd.Context(), url)
		if err != nil {
			return fmt.Errorf("flowc: connecting to the database of DATABASE_URL: %w", err) // pgx leaves the password out
		}
		defer conn.Close(context.WithoutCancel(cmd.Context()))
		return fn(cmd.Context(), conn, cmd.OutOrStdout())
	}
}
