package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/flowc-dev/flowc/cmd/flowc/help"
	"github.com/flowc-dev/flowc/runtime/dashboard"
	"github.com/flowc-dev/flowc/runtime/devdb"
	"github.com/flowc-dev/flowc/runtime/engine"
)

// devAddr is where dev serves the dashboard, if the port is free.
const devAddr = "127.0.0.1:8080"

func newDev() *cobra.Command {
	var dir, addr string
	cmd := &cobra.Command{
		Use:   "dev [-- program arguments...]",
		Short: "Run a database and the dashboard for development",
		Long: `Dev runs a PostgreSQL for the project of the current folder, with the engine
installed, and the dashboard. It ends with Ctrl-C; the data stay for the next time.
A second dev in the same project uses the same database.

With a program, dev gives it DATABASE_URL, and ends when it does, with its status.

The data are in the folder .flowc beside go.mod. For root, whose PostgreSQL runs as
another user, they are in /var/lib/flowc if that user cannot reach the project.`,
		Example: `  flowc dev
  flowc dev -- go run ./cmd/shop`,
	}
	asJSON := asJSON(cmd)
	cmd.Flags().StringVar(&dir, "dir", "", "keep the data in this folder, in which nothing else should be")
	cmd.Flags().StringVar(&addr, "addr", devAddr, "serve the dashboard here; without the flag, on a free port if this one is taken")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := requireLoopback(addr); err != nil {
			return err
		}
		env, err := startDev(cmd, dir)
		if err != nil {
			return err
		}
		defer env.close()
		if env.url, err = env.serve(cmd, addr, cmd.Flags().Changed("addr")); err != nil {
			return err
		}
		if *asJSON {
			err = printLine(cmd.OutOrStdout(), devInfo{env.db.URL(), env.url, env.db.Dir()})
		} else {
			env.print(cmd)
		}
		if err != nil {
			return err
		}
		if len(args) > 0 {
			return env.run(cmd, args)
		}
		<-cmd.Context().Done()
		return nil
	}
	return cmd
}

// devInfo is what dev prints as JSON once everything runs.
type devInfo struct {
	DatabaseURL string `json:"database_url"`
	Dashboard   string `json:"dashboard"`
	Dir         string `json:"dir"`
}

// A devEnv holds what runs while dev does.
type devEnv struct {
	db     *devdb.DB
	pool   *pgxpool.Pool
	server *http.Server
	url    string // of the dashboard
}

func startDev(cmd *cobra.Command, dir string) (_ *devEnv, err error) {
	if dir == "" {
		if dir, err = projectDir(); err != nil {
			return nil, err
		}
	}
	p := startProgress(cmd.ErrOrStderr(), "starting PostgreSQL")
	defer p.done()
	env := &devEnv{}
	defer func() {
		if err != nil {
			env.close()
		}
	}()
	if env.db, err = devdb.Start(cmd.Context(), devdb.Config{Dir: dir}); err != nil {
		return nil, fmt.Errorf("flowc: %w", err)
	}
	if env.pool, err = pgxpool.New(cmd.Context(), env.db.URL()); err != nil {
		return nil, fmt.Errorf("flowc: %w", err)
	}
	p.set("installing the engine")
	return env, engine.Migrate(cmd.Context(), env.pool)
}

func (e *devEnv) close() {
	if e.server != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		_ = e.server.Shutdown(ctx)
		cancel()
	}
	if e.pool != nil {
		e.pool.Close()
	}
	if e.db != nil {
		_ = e.db.Close()
	}
}

// serve serves the dashboard and says where.
func (e *devEnv) serve(cmd *cobra.Command, addr string, chosen bool) (string, error) {
	handler, err := dashboard.New(e.pool, dashboard.Config{Name: "dev", Help: help.Pages, Logger: slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))})
	if err != nil {
		return "", err
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil && !chosen {
		listener, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		return "", fmt.Errorf("flowc: %w", err)
	}
	e.server = &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	e.server.RegisterOnShutdown(handler.Close)
	go func() { _ = e.server.Serve(listener) }() // ends with Shutdown
	return "http://" + listener.Addr().String() + "/", nil
}

func (e *devEnv) print(cmd *cobra.Command) {
	out := cmd.OutOrStdout()
	if e.db.Attached() {
		fmt.Fprintln(out, "The database of this project is already running; this is its dashboard.")
	} else {
		fmt.Fprintf(out, "%s\n", e.db)
	}
	fmt.Fprintf(out, "\n  dashboard  %s\n  database   %s\n\nIn another shell:\n\n  export DATABASE_URL=%s\n\nCtrl-C stops it; the data are kept.\n",
		e.url, e.db.URL(), quoted(e.db.URL()))
}

// quoted returns a text as a shell takes it.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// run runs a program with the database, until it ends.
func (e *devEnv) run(cmd *cobra.Command, args []string) error {
	program := exec.CommandContext(cmd.Context(), args[0], args[1:]...)
	others := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, shardsVariable+"=") })
	program.Env = append(others, urlVariable+"="+e.db.URL())
	program.Stdin, program.Stdout, program.Stderr = cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()
	program.Cancel = func() error { return program.Process.Signal(os.Interrupt) }
	program.WaitDelay = 20 * time.Second
	err := program.Run()
	var exit *exec.ExitError
	switch {
	case cmd.Context().Err() != nil:
		return nil
	case errors.As(err, &exit):
		return &exitError{status: exit.ExitCode()}
	case err != nil:
		return fmt.Errorf("flowc: %w", err)
	}
	return nil
}
