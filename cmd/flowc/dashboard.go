package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowc-dev/flowc/cmd/flowc/help"
	"github.com/flowc-dev/flowc/runtime/dashboard"
)

func newDashboard() *cobra.Command {
	var addr string
	var allowRemote bool
	var declared []string
	var buildTags string
	config := dashboard.Config{Help: help.Pages}
	cmd := &cobra.Command{
		Use:   "dashboard",
		Short: "Show flows and runs in a browser",
		Long: `Dashboard serves pages that show the flows and runs in the database of
DATABASE_URL, or in those of FLOWC_SHARDS, and cancel, retry and delete runs. It has no
authentication: keep it on this machine, or put a proxy that authenticates in
front of it. A program can mount the same pages with package
runtime/dashboard, and decide there who may do what.`,
		Example: `  flowc dashboard
  flowc dashboard --addr 127.0.0.1:9000 --read-only
  flowc dashboard --declared ./...`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !allowRemote {
				if err := requireLoopback(addr); err != nil {
					return err
				}
			}
			if len(declared) > 0 {
				flows, err := readFlows(cmd, declared, buildTags)
				if err != nil {
					return err
				}
				for _, f := range flows {
					config.Definitions = append(config.Definitions, f.Definition)
				}
			}
			return serveDashboard(cmd, addr, config)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&addr, "addr", "127.0.0.1:8080", "address to listen on; port 0 chooses a free one")
	flags.BoolVar(&allowRemote, "allow-remote", false, "allow an address that other machines reach")
	flags.BoolVar(&config.ReadOnly, "read-only", false, "show only: no cancelling, retrying or deleting")
	flags.StringSliceVar(&config.Hosts, "host", nil, "host name under which browsers may reach the dashboard, besides localhost and addresses")
	flags.StringVar(&config.Prefix, "prefix", "", "path under which a proxy serves the dashboard, such as /admin/flowc")
	flags.StringSliceVar(&declared, "declared", nil, "compare the flows that these packages, or files of JSON, declare with those in the database")
	tagsVar(cmd, &buildTags)
	flags.StringVar(&config.Name, "name", "", "shown on every page, to tell databases apart")
	return cmd
}

// requireLoopback refuses an address that other machines could reach.
func requireLoopback(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("flowc: --addr %s: %w", addr, err)
	}
	if ip, err := netip.ParseAddr(host); host == "localhost" || err == nil && ip.IsLoopback() {
		return nil
	}
	return fmt.Errorf("flowc: --addr %s would show the dashboard to other machines, and it has no authentication: listen on 127.0.0.1, or set --allow-remote", addr)
}

func serveDashboard(cmd *cobra.Command, addr string, config dashboard.Config) error {
	ctx := cmd.Context()
	db, err := connect(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	config.Logger = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
	handler, err := dashboard.New(db.DB, config)
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("flowc: %w", err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute}
	server.RegisterOnShutdown(handler.Close)
	fmt.Fprintf(cmd.OutOrStdout(), "http://%s%s/\n", listener.Addr(), config.Prefix)

	stopped := make(chan error, 1)
	go func() {
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		stopped <- server.Shutdown(grace)
	}()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("flowc: %w", err)
	}
	return <-stopped
}
