package sqldb_test

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/jackc/pgx/v5/stdlib"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
	"github.com/flowc-dev/flowc/runtime/sqldb"
)

// The letter and its delivery cannot come apart: both are there when the
// transaction commits, or neither.
func ExampleWrap() {
	ctx := context.Background()
	db := openDB()
	defer db.Close()

	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		panic(err)
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, `INSERT INTO letters (id) VALUES ($1)`, 7); err != nil {
		panic(err)
	}
	run, err := mail.Start(ctx, sqldb.Wrap(tx), letter{To: "Ada"}, runtime.WithIdempotencyKey("letter 7"))
	if err != nil {
		panic(err)
	}
	if err := tx.Commit(); err != nil {
		panic(err)
	}
	info, err := run.Via(sqldb.Wrap(db)).Info(ctx)
	fmt.Println(info.Status, string(info.Input), err)
	// Output: running {"to": "Ada"} <nil>
}

// openDB opens a database with the flow mail and a table of letters.
func openDB() *sql.DB {
	pool := dbtest.ForExamples()
	db := stdlib.OpenDBFromPool(pool)
	_, err := db.Exec(`CREATE TABLE letters (id int)`)
	if err == nil {
		_, err = mail.Upsert(context.Background(), sqldb.Wrap(db))
	}
	if err != nil {
		panic(err)
	}
	return db
}
