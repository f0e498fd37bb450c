package worker

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/flowc-dev/flowc/runtime/spec"
)

const (
	// beginSQL begins the transaction of a task, and marks it for as long as it lasts, see
	// flowc.complete_in_transaction. Stricter isolation would have every task conflict with
	// the reports of its run.
	beginSQL = `BEGIN ISOLATION LEVEL READ COMMITTED; ` + markSQL
	markSQL  = `SET LOCAL flowc.in_task = 'on'`

	// rollbackTime is how long a rollback may take before its connection is closed instead.
	rollbackTime = 2 * time.Second
)

// A transaction is what a handler writes in, and the worker completes its task in. It has
// a connection of the program's pool for itself.
type transaction struct {
	conn   *pgx.Conn
	handle any // what the handler gets
	commit func(context.Context) error
	free   func() // rolls back, unless it has been committed, and gives the connection back

	mu    sync.Mutex
	freed bool
}

// end ends the transaction, if the handler or a commit has not: it is rolled back.
func (x *transaction) end() {
	x.mu.Lock()
	x.freed = true
	x.mu.Unlock()
	x.free()
}

// cut closes the connection under a handler that does not return, so that the database
// rolls back.
func (x *transaction) cut() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.freed {
		_ = x.conn.PgConn().Conn().Close()
	}
}

// transactions begins the transactions of tasks.
type transactions struct {
	pool *pgxpool.Pool
	sql  *sql.DB // the same connections for database/sql; nil until it is needed
	once sync.Once
}

func (p *transactions) begin(ctx context.Context, kind spec.Tx) (*transaction, error) {
	if kind == spec.TxSQL {
		p.once.Do(func() { p.sql = stdlib.OpenDBFromPool(p.pool) })
		return beginSQLTx(ctx, p.sql)
	}
	return beginTx(ctx, p.pool)
}

// close closes what was opened for database/sql; the pool is the program's.
func (p *transactions) close() {
	p.once.Do(func() {})
	if p.sql != nil {
		_ = p.sql.Close()
	}
}

func beginTx(ctx context.Context, pool *pgxpool.Pool) (*transaction, error) {
	c, err := pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	tx, err := c.BeginTx(ctx, pgx.TxOptions{BeginQuery: beginSQL})
	if err != nil {
		c.Release()
		return nil, err
	}
	return &transaction{conn: c.Conn(), handle: tx, commit: tx.Commit, free: func() {
		ctx, cancel := context.WithTimeout(context.Background(), rollbackTime)
		defer cancel()
		_ = tx.Rollback(ctx)
		c.Release() // which closes it if it is still in a transaction
	}}, nil
}

// beginSQLTx is [beginTx] for database/sql. There, a transaction ends with the context
// that it was begun with; this one does not end with ctx, as that of pgx does not.
func beginSQLTx(ctx context.Context, db *sql.DB) (_ *transaction, err error) {
	c, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var tx *sql.Tx
	free := func() {
		if tx != nil {
			time.AfterFunc(rollbackTime, cancel)
			_ = tx.Rollback()
		}
		cancel()
		_ = c.Close()
	}
	defer func() {
		if err != nil {
			free()
		}
	}()
	stop := context.AfterFunc(ctx, cancel)
	defer stop()
	if tx, err = c.BeginTx(own, &sql.TxOptions{Isolation: sql.LevelReadCommitted}); err != nil {
		return nil, err
	}
	var conn *pgx.Conn
	if err := c.Raw(func(driver any) error {
		conn = driver.(*stdlib.Conn).Conn()
		_, err := conn.Exec(ctx, markSQL)
		return err
	}); err != nil {
		return nil, err
	}
	if !stop() {
		return nil, context.Cause(ctx)
	}
	commit := func(ctx context.Context) error {
		defer context.AfterFunc(ctx, cancel)()
		if err := tx.Commit(); !errors.Is(err, sql.ErrTxDone) {
			return err
		}
		return errEndedTx
	}
	return &transaction{conn: conn, handle: tx, commit: commit, free: free}, nil
}

// checkConns refuses a pool with too few connections for the transactions of handlers:
// they would wait for each other.
func (s *settings) checkConns() error {
	all := 0
	for _, service := range s.services {
		n := 0
		for slug, step := range service.steps {
			if step.tx == "" {
				continue
			}
			if limit := service.limit(slug); limit > 0 {
				n += limit
			} else {
				n += s.config.Concurrency
			}
		}
		if limit := service.limit(""); limit > 0 {
			n = min(n, limit)
		}
		all += n
	}
	all = min(all, s.config.Concurrency)
	if conns := int(s.pool.Config().MaxConns); all > 0 && conns <= all {
		return fmt.Errorf(
			"flowc: worker: up to %d handlers with a transaction run at once, with a connection each, and the pool has MaxConns %d: raise MaxConns to %d or more (pool_max_conns in the URL), or limit the steps with handler.Limit",
			all, conns, all+1)
	}
	return nil
}

// errEndedTx is the error of a handler that ended the transaction of its task.
var errEndedTx = errors.New("flowc: the handler ended the transaction, which the worker commits with the task: return nil to commit, or an error to roll back")
