package devdb

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flowc-dev/flowc/runtime/engine"
	"github.com/flowc-dev/flowc/runtime/internal/hosts"
)

// Open connects to the database that DATABASE_URL names and installs the engine there. If
// DATABASE_URL is not set, it starts a database as [Start] does with config, which runs
// until the returned function is called: so a program runs on a machine with nothing set
// up, and on any other with its database. adjust may change the pool's settings.
//
// The returned function closes the pool, and the database if Open has started it.
func Open(ctx context.Context, config Config, adjust ...func(*pgxpool.Config)) (*pgxpool.Pool, func(), error) {
	url, closeDB := os.Getenv("DATABASE_URL"), func() {}
	if url == "" {
		db, err := Start(ctx, config)
		if err != nil {
			return nil, nil, err
		}
		url, closeDB = db.URL(), func() { _ = db.Close() } // it is removed, or recovers
	}
	pool, err := openPool(ctx, url, adjust)
	if err != nil {
		closeDB()
		return nil, nil, err
	}
	return pool, func() { pool.Close(); closeDB() }, nil
}

func openPool(ctx context.Context, url string, adjust []func(*pgxpool.Config)) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		// pgx's message may contain a password that it did not recognize.
		return nil, errors.New("flowc: DATABASE_URL cannot be read; write it as postgres://user:password@host:port/database, with %40 for @ and %2F for / in the password")
	}
	hosts.Bound(config.ConnConfig)
	for _, change := range adjust {
		change(config)
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("flowc: %w", err)
	}
	if err := engine.Migrate(ctx, pool); err != nil {
		pool.Close()
		return nil, err
	}
	return pool, nil
}
