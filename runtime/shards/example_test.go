package shards_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
	"github.com/flowc-dev/flowc/runtime/shards"
)

// threeDatabases returns pools of three databases.
func threeDatabases() map[string]*pgxpool.Pool {
	return map[string]*pgxpool.Pool{"a": dbtest.ForExamples(), "b": dbtest.ForExamples(), "c": dbtest.ForExamples()}
}

func Example() {
	ctx, pools := context.Background(), threeDatabases()
	if err := shards.Init(ctx, pools); err != nil { // once
		log.Fatal(err)
	}
	db, err := shards.Open(ctx, pools)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := greet.Upsert(ctx, db); err != nil {
		log.Fatal(err)
	}
	w, err := shards.NewWorker(db, quiet, service())
	if err != nil {
		log.Fatal(err)
	}
	stop := w.Start(ctx)
	defer stop()

	run, err := greet.Start(ctx, db, "Ada", runtime.WithIdempotencyKey("ada"))
	if err != nil {
		log.Fatal(err)
	}
	out, err := run.Wait(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(out)
	// Output: hello Ada
}

// A shard is added, and another drained, while programs start runs.
func ExampleDB_Add() {
	ctx, pools := context.Background(), threeDatabases()
	newPool := pools["c"]
	delete(pools, "c")
	if err := shards.Init(ctx, pools); err != nil {
		log.Fatal(err)
	}
	db, err := shards.Open(ctx, pools)
	if err != nil {
		log.Fatal(err)
	}

	if err := db.Add(ctx, "c", newPool); err != nil {
		log.Fatal(err)
	}
	if err := db.Drain(ctx, "a"); err != nil {
		log.Fatal(err)
	}
	for _, s := range db.Shards() {
		fmt.Println(s.Number, s.Name, s.State)
	}
	if err := db.Remove(ctx, "a"); err != nil { // it has no runs
		log.Fatal(err)
	}
	if err := db.Rename(ctx, "b", "beta"); err != nil {
		log.Fatal(err)
	}
	fmt.Println(db)
	// Output:
	// 1 a draining
	// 2 b active
	// 3 c active
	// shards beta, c
}

// The runs of a tenant are on one shard, started in the transactions that store its data.
func ExampleDB_In() {
	ctx, pools := context.Background(), threeDatabases()
	if err := shards.Init(ctx, pools); err != nil {
		log.Fatal(err)
	}
	db, err := shards.Open(ctx, pools)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := greet.Upsert(ctx, db); err != nil {
		log.Fatal(err)
	}

	shardOf := map[string]string{"the bakery": "b"} // of each tenant
	name := shardOf["the bakery"]
	tx, err := pools[name].Begin(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer tx.Rollback(ctx)
	run, err := greet.Start(ctx, db.In(name, tx), "Ada")
	if err != nil {
		log.Fatal(err)
	}
	if err := tx.Commit(ctx); err != nil {
		log.Fatal(err)
	}
	on, err := db.ShardOf(ctx, run.ID())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(on.Name)
	// Output: b
}

// A key belongs to one shard: while that is down, the start is repeated, or given up.
func ExampleError() {
	var db *shards.DB
	start := func(ctx context.Context, name string) error {
		_, err := greet.Start(ctx, db, name, runtime.WithIdempotencyKey(name))
		var down *shards.Error
		if errors.As(err, &down) {
			return fmt.Errorf("try again: shard %s: %w", down.Shard, down.Err)
		}
		return err
	}
	_ = start
}

func ExampleDB_Each() {
	ctx, pools := context.Background(), threeDatabases()
	if err := shards.Init(ctx, pools); err != nil {
		log.Fatal(err)
	}
	db, err := shards.Open(ctx, pools)
	if err != nil {
		log.Fatal(err)
	}
	err = db.Each(ctx, func(ctx context.Context, s shards.Shard) error {
		_, err := s.Pool.Exec(ctx, `create table photos (id bigint primary key)`)
		return err
	})
	fmt.Println(err)
	// Output: <nil>
}
