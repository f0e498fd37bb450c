package main

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// Jobs that insert a row.
const (
	effectHandlers = 32 // at once, each with a connection of the pool
	createEffects  = `create table effects (id int not null)`
	insertEffect   = `insert into effects (id) values ($1)`
)

var (
	effectJob = definition("bench_effect", spec.Step{Slug: "work", Tx: spec.TxPgx})
	plainJob  = definition("bench_plain_effect", spec.Step{Slug: "work"})
)

// workEffects works jobs that insert a row in the transaction that completes them.
func workEffects(n int) func(context.Context, *server) (func(context.Context) (sample, error), func(), error) {
	return insertAndWork(effectJob, n, func(_ *pgxpool.Pool, worked func(string)) handler.Handler {
		return handler.HandleTx("work", handler.Input[payload](), handler.NoOutputTx(func(ctx context.Context, tx pgx.Tx, in payload) error {
			defer worked("work")
			_, err := tx.Exec(ctx, insertEffect, in.ID)
			return err
		}))
	})
}

// workPlainEffects works jobs that insert a row by themselves, which may be there twice if a
// worker dies.
func workPlainEffects(n int) func(context.Context, *server) (func(context.Context) (sample, error), func(), error) {
	return insertAndWork(plainJob, n, func(pool *pgxpool.Pool, worked func(string)) handler.Handler {
		return handler.Handle("work", handler.Input[payload](), handler.NoOutput(func(ctx context.Context, in payload) error {
			defer worked("work")
			_, err := pool.Exec(ctx, insertEffect, in.ID)
			return err
		}))
	})
}

func insertAndWork(
	def spec.Flow, n int, handle func(*pgxpool.Pool, func(string)) handler.Handler,
) func(context.Context, *server) (func(context.Context) (sample, error), func(), error) {
	return func(ctx context.Context, s *server) (func(context.Context) (sample, error), func(), error) {
		pool, drop, err := install(ctx, s, def)
		if err != nil {
			return nil, nil, err
		}
		if _, err := pool.Exec(ctx, createEffects); err != nil {
			drop()
			return nil, nil, err
		}
		w, err := startPaused(ctx, pool, drop, def, effectHandlers, func(worked func(string)) handler.Service {
			return handler.Serve(def, []handler.Handler{handle(pool, worked)})
		})
		if err != nil {
			return nil, nil, err
		}
		work := func(ctx context.Context) (sample, error) {
			if err := startMany(ctx, pool, def, n); err != nil {
				return sample{}, err
			}
			return sample{units: n}, w.workAll(ctx, n)
		}
		return work, w.tidy, nil
	}
}
