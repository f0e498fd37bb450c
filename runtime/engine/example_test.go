package engine_test

import (
	"context"
	"fmt"
	"log"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flowc-dev/flowc/runtime/devdb"
	"github.com/flowc-dev/flowc/runtime/engine"
)

// Migrate installs the engine, or brings it up to date; doing it again changes
// nothing, so that every program may do it when it starts.
func ExampleMigrate() {
	ctx := context.Background()
	db, err := devdb.Start(ctx, devdb.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	pool, err := pgxpool.New(ctx, db.URL())
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()

	status, err := engine.GetStatus(ctx, pool)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("before:", status.Current())
	for range 2 {
		if err := engine.Migrate(ctx, pool); err != nil {
			log.Fatal(err)
		}
	}
	status, err = engine.GetStatus(ctx, pool)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("after:", status.Current())

	// A program that must not change the database checks only.
	fmt.Println("check:", engine.Check(ctx, pool))
	// Output:
	// before: false
	// after: true
	// check: <nil>
}
