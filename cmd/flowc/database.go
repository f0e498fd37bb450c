package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"
)

// connectWait is how long connecting may take.
const connectWait = 10 * time.Second

var errNoURL = errors.New("flowc: DATABASE_URL is not set\n" +
	"\tfix: set it to the database, such as postgres://user@localhost:5432/app,\n" +
	"\tor start one for development with `flowc dev`, which prints what to set it to")

var errUnreadable = errors.New("flowc: DATABASE_URL cannot be read; it is not shown here, since it may hold a password\n" +
	"\tfix: write it as postgres://user:password@host:port/database, with %40 for @, %3A for :, %2F for / and %23 for # in the password,\n" +
	"\tor as host=… user=… password=… dbname=…, with values that have blanks in single quotes")

// misread reports whether an address was misparsed because of a character in its password:
// errors would show the rest of the password as the name of a host or database.
func misread(address string) bool {
	scheme, rest, isURL := strings.Cut(address, "://")
	if !isURL || scheme != "postgres" && scheme != "postgresql" {
		return false
	}
	rest, _, _ = strings.Cut(rest, "?")
	at := strings.LastIndex(rest, "@")
	return strings.Contains(rest, "#") || strings.Count(rest, "@") > 1 || at >= 0 && strings.ContainsAny(rest[:at], "/")
}

// connect connects to the database of DATABASE_URL.
func connect(ctx context.Context) (*pgxpool.Pool, error) {
	url := os.Getenv("DATABASE_URL")
	if url == "" {
		return nil, errNoURL
	}
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, errUnreadable // without pgx's message, which may repeat parts of the password
	}
	if misread(url) {
		return nil, errUnreadable
	}
	config.MaxConns = 4
	boundHosts(config.ConnConfig)
	if config.ConnConfig.RuntimeParams["application_name"] == "" {
		config.ConnConfig.RuntimeParams["application_name"] = "flowc"
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("flowc: DATABASE_URL: %w", err)
	}
	waiting, cancel := context.WithTimeout(ctx, connectWait)
	defer cancel()
	if err := pool.Ping(waiting); err != nil {
		pool.Close()
		return nil, fmt.Errorf("flowc: connecting to the database of DATABASE_URL: %w\n\tfix: check that the server runs and that DATABASE_URL names it", err)
	}
	return pool, nil
}

// boundHosts divides the time for connecting among the hosts of an address, unless the
// address has a connect_timeout: the first host may hang.
func boundHosts(config *pgx.ConnConfig) {
	if config.ConnectTimeout > 0 {
		return
	}
	hosts := map[string]bool{net.JoinHostPort(config.Host, fmt.Sprint(config.Port)): true}
	for _, next := range config.Fallbacks {
		hosts[net.JoinHostPort(next.Host, fmt.Sprint(next.Port))] = true
	}
	config.ConnectTimeout = connectWait / time.Duration(len(hosts)+1)
}

// withDatabase runs fn with a pool for the database of DATABASE_URL.
func withDatabase(fn func(cmd *cobra.Command, args []string, db *pgxpool.Pool) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		p := startProgress(cmd.ErrOrStderr(), "connecting")
		db, err := connect(cmd.Context())
		p.done()
		if err != nil {
			return err
		}
		defer db.Close()
		return meantFlow(cmd.Context(), db, fn(cmd, args, db))
	}
}
