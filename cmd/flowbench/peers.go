package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/dbos-inc/dbos-transact-golang/dbos"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

// River --------------------------------------------------------------------------

type riverArgs struct {
	ID int `json:"id"`
}

func (riverArgs) Kind() string { return "bench" }

type riverWorker struct {
	river.WorkerDefaults[riverArgs]
	work func(context.Context, *river.Job[riverArgs]) error
}

func (w *riverWorker) Work(ctx context.Context, job *river.Job[riverArgs]) error {
	return w.work(ctx, job)
}

// riverClient is a client tuned as River's own benchmark tunes it.
func riverClient(ctx context.Context, s *server, worked func()) (*river.Client[pgx.Tx], *pgxpool.Pool, func(), error) {
	return riverClientOf(ctx, s, 2000, func(context.Context, *pgxpool.Pool, *river.Job[riverArgs]) error {
		worked()
		return nil
	})
}

// riverClientOf is a client that works jobs in its own way, so many at once.
func riverClientOf(
	ctx context.Context, s *server, workersMax int, work func(context.Context, *pgxpool.Pool, *river.Job[riverArgs]) error,
) (*river.Client[pgx.Tx], *pgxpool.Pool, func(), error) {
	pool, drop, err := s.database(ctx, 40)
	if err != nil {
		return nil, nil, nil, err
	}
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), nil)
	if err == nil {
		_, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
	}
	var client *river.Client[pgx.Tx]
	if err == nil {
		client, err = newRiverClient(pool, workersMax, func(ctx context.Context, job *river.Job[riverArgs]) error { return work(ctx, pool, job) })
	}
	if err != nil {
		drop()
		return nil, nil, nil, err
	}
	return client, pool, drop, nil
}

func newRiverClient(pool *pgxpool.Pool, workersMax int, work func(context.Context, *river.Job[riverArgs]) error) (*river.Client[pgx.Tx], error) {
	workers := river.NewWorkers()
	river.AddWorker(workers, &riverWorker{work: work})
	return river.NewClient(riverpgxv5.New(pool), &river.Config{
		FetchCooldown:     2 * time.Millisecond,
		FetchPollInterval: 20 * time.Millisecond,
		Logger:            slog.New(slog.DiscardHandler),
		Queues:            map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: workersMax}},
		Workers:           workers,
	})
}

// riverWorkerKind is a client of River's.
var riverWorkerKind = workerKind{
	name: "River",
	install: func(ctx context.Context, s *server) (*pgxpool.Pool, func(), error) {
		_, pool, drop, err := riverClient(ctx, s, func() {})
		return pool, drop, err
	},
	start: func(ctx context.Context, pool *pgxpool.Pool, n int) error {
		client, err := newRiverClient(pool, 1, nil)
		if err != nil {
			return err
		}
		return riverInsertMany(ctx, client, n)
	},
	work: func(ctx context.Context, pool *pgxpool.Pool, concurrency int, called func()) (stop func() error, err error) {
		client, err := newRiverClient(pool, concurrency, func(context.Context, *river.Job[riverArgs]) error {
			called()
			return nil
		})
		if err != nil {
			return nil, err
		}
		return func() error { return client.Stop(context.WithoutCancel(ctx)) }, client.Start(ctx)
	},
	awaitEnd: func(ctx context.Context, left *counter, pool *pgxpool.Pool) error {
		select {
		case <-left.zero:
		case <-ctx.Done():
			return ctx.Err()
		}
		return riverEnd(ctx, pool)
	},
}

// riverInsertMany inserts n jobs in batches.
func riverInsertMany(ctx context.Context, client *river.Client[pgx.Tx], n int) error {
	for left := n; left > 0; left -= 5000 {
		params := make([]river.InsertManyParams, min(left, 5000))
		for i := range params {
			params[i].Args = riverArgs{ID: i}
		}
		if _, err := client.InsertManyFast(ctx, params); err != nil {
			return err
		}
	}
	return nil
}

// riverEnd waits until every job is recorded as completed.
func riverEnd(ctx context.Context, pool *pgxpool.Pool) error {
	for {
		var open bool
		err := pool.QueryRow(ctx, `select exists (select from river_job where state in ('available', 'running'))`).Scan(&open)
		if err != nil || !open {
			return err
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func riverManyAndWork(n int) func(context.Context, *server) (func(context.Context) (sample, error), func(), error) {
	return func(ctx context.Context, s *server) (func(context.Context) (sample, error), func(), error) {
		return riverManyAndWorkWith(ctx, s, n, riverClient)
	}
}

// riverCompleteTx works jobs that insert a row and complete themselves in one transaction.
func riverCompleteTx(n int) func(context.Context, *server) (func(context.Context) (sample, error), func(), error) {
	return func(ctx context.Context, s *server) (func(context.Context) (sample, error), func(), error) {
		return riverManyAndWorkWith(ctx, s, n, func(ctx context.Context, s *server, worked func()) (*river.Client[pgx.Tx], *pgxpool.Pool, func(), error) {
			client, pool, drop, err := riverClientOf(ctx, s, effectHandlers, func(ctx context.Context, pool *pgxpool.Pool, job *river.Job[riverArgs]) error {
				defer worked()
				return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
					if _, err := tx.Exec(ctx, insertEffect, job.Args.ID); err != nil {
						return err
					}
					_, err := river.JobCompleteTx[*riverpgxv5.Driver](ctx, tx, job)
					return err
				})
			})
			if err == nil {
				_, err = pool.Exec(ctx, createEffects)
			}
			return client, pool, drop, err
		})
	}
}

func riverManyAndWorkWith(
	ctx context.Context, s *server, n int, connect func(context.Context, *server, func()) (*river.Client[pgx.Tx], *pgxpool.Pool, func(), error),
) (func(context.Context) (sample, error), func(), error) {
	var count atomic.Int64
	reached := make(chan struct{}, 1)
	client, pool, drop, err := connect(ctx, s, func() {
		if count.Add(1) == int64(n) {
			reached <- struct{}{}
		}
	})
	if err != nil {
		return nil, nil, err
	}
	running := false
	work := func(ctx context.Context) (sample, error) {
		count.Store(0)
		if err := riverInsertMany(ctx, client, n); err != nil {
			return sample{}, err
		}
		if err := client.Start(ctx); err != nil {
			return sample{}, err
		}
		running = true
		<-reached
		if err := riverEnd(ctx, pool); err != nil {
			return sample{}, err
		}
		running = false
		return sample{units: n}, client.Stop(ctx)
	}
	return work, func() {
		if running {
			client.Stop(context.WithoutCancel(ctx))
		}
		drop()
	}, nil
}

func riverOneACall(n int) func(context.Context, *server) (func(context.Context) (sample, error), func(), error) {
	return func(ctx context.Context, s *server) (func(context.Context) (sample, error), func(), error) {
		client, _, drop, err := riverClient(ctx, s, func() {})
		if err != nil {
			return nil, nil, err
		}
		work := func(ctx context.Context) (sample, error) {
			err := parallel(16, n, func(i int) error {
				_, err := client.Insert(ctx, riverArgs{ID: i}, nil)
				return err
			})
			return sample{units: n}, err
		}
		return work, drop, nil
	}
}

// riverUnique inserts jobs, of which every second is like the one before it.
func riverUnique(n int) func(context.Context, *server) (func(context.Context) (sample, error), func(), error) {
	return func(ctx context.Context, s *server) (func(context.Context) (sample, error), func(), error) {
		client, _, drop, err := riverClient(ctx, s, func() {})
		if err != nil {
			return nil, nil, err
		}
		opts := &river.InsertOpts{UniqueOpts: river.UniqueOpts{ByArgs: true}}
		work := func(ctx context.Context) (sample, error) {
			var existed atomic.Int64
			first := int(lastUnique.Add(int64(n))) - n
			err := parallel(16, n, func(i int) error {
				job, err := client.Insert(ctx, riverArgs{ID: first + i/2}, opts)
				if err == nil && job.UniqueSkippedAsDuplicate {
					existed.Add(1)
				}
				return err
			})
			if err == nil && int(existed.Load()) != n/2 {
				err = fmt.Errorf("%d of %d existed", existed.Load(), n)
			}
			return sample{units: n}, err
		}
		return work, drop, nil
	}
}

func riverLatency(n int) func(context.Context, *server) (func(context.Context) (sample, error), func(), error) {
	return func(ctx context.Context, s *server) (func(context.Context) (sample, error), func(), error) {
		reached := make(chan time.Time, 1)
		client, _, drop, err := riverClient(ctx, s, func() { reached <- time.Now() })
		if err != nil {
			return nil, nil, err
		}
		if err := client.Start(ctx); err != nil {
			drop()
			return nil, nil, err
		}
		start := func(i int) error {
			_, err := client.Insert(ctx, riverArgs{ID: i}, nil)
			return err
		}
		tidy := func() { client.Stop(context.WithoutCancel(ctx)); drop() }
		if _, err := oneAtATime(ctx, 1, reached, start); err != nil { // until the client is up
			tidy()
			return nil, nil, err
		}
		work := func(ctx context.Context) (sample, error) { return oneAtATime(ctx, n, reached, start) }
		return work, tidy, nil
	}
}

// DBOS ---------------------------------------------------------------------------

func dbosStep(context.Context) (payload, error) { return payload{}, nil }

func dbosFourSteps(ctx dbos.Context, in payload) (payload, error) {
	for range 3 {
		if _, err := dbos.RunAsStep(ctx, dbosStep); err != nil {
			return payload{}, err
		}
	}
	return dbos.RunAsStep(ctx, dbosStep)
}

func dbosWork(n int) func(context.Context, *server) (func(context.Context) (sample, error), func(), error) {
	return func(ctx context.Context, s *server) (func(context.Context) (sample, error), func(), error) {
		pool, drop, err := s.database(ctx, 40)
		if err != nil {
			return nil, nil, err
		}
		d, err := dbos.NewContext(ctx, dbos.Config{AppName: "bench", SystemDBPool: pool, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			drop()
			return nil, nil, err
		}
		dbos.RegisterWorkflow(d, dbosFourSteps)
		if err := dbos.Launch(d); err != nil {
			drop()
			return nil, nil, err
		}
		work := func(ctx context.Context) (sample, error) {
			err := parallel(16, n, func(i int) error {
				handle, err := dbos.RunWorkflow(d, dbosFourSteps, payload{ID: i})
				if err != nil {
					return err
				}
				_, err = handle.GetResult()
				return err
			})
			return sample{units: n}, err
		}
		return work, func() { dbos.Shutdown(d, 5*time.Second); drop() }, nil
	}
}
