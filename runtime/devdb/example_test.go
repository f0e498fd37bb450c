package devdb_test

import (
	"context"
	"fmt"
	"log"

	"github.com/jackc/pgx/v5"

	"github.com/flowc-dev/flowc/runtime/devdb"
)

func ExampleOpen() {
	ctx := context.Background()
	pool, closeDB, err := devdb.Open(ctx, devdb.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer closeDB()

	var version int
	if err := pool.QueryRow(ctx, "select max(version) from flowc.migrations").Scan(&version); err != nil {
		log.Fatal(err)
	}
	fmt.Println("the engine is there:", version > 0)
	// Output: the engine is there: true
}

func Example() {
	ctx := context.Background()
	db, err := devdb.Start(ctx, devdb.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	conn, err := pgx.Connect(ctx, db.URL())
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close(ctx)

	var answer int
	if err := conn.QueryRow(ctx, "select 6 * 7").Scan(&answer); err != nil {
		log.Fatal(err)
	}
	fmt.Println(answer)
	// Output: 42
}
