package pgcall

import (
	"context"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flowc-dev/flowc/runtime/internal/perpool"
)

// A Kind is what a database was found to have.
type Kind int32

const (
	// Unknown has not been looked at.
	Unknown Kind = iota
	// HasEngine has the engine.
	HasEngine
	// HasContract has pgflow's contract and nothing else.
	HasContract
	// HasNothing has neither.
	HasNothing
	// HasOtherPgflow has a pgflow whose functions are not those of the contract: it is older,
	// or newer.
	HasOtherPgflow
)

// It reads the catalog only, so that it can fail for no want of rights and does
// not harm the transaction that it is part of. The contract is known by three things
// that came to it late, and by how tasks are started, which was changed later.
const detectSQL = `
SELECT CASE
  WHEN has_schema_privilege(n.oid, 'usage') THEN 1
  WHEN NOT EXISTS (
    SELECT FROM pg_catalog.pg_proc p WHERE p.pronamespace = n.pgflow AND p.proname = 'start_flow') THEN 3
  WHEN (
    SELECT count(*) = 2 FROM pg_catalog.pg_proc p
    WHERE p.pronamespace = n.pgflow AND (p.proname, pg_catalog.oidvectortypes(p.proargtypes)) IN (
      ('start_tasks', 'text, bigint[], uuid'), ('ensure_flow_compiled', 'text, jsonb, boolean')))
  AND (
    SELECT count(*) = 2 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid
    WHERE c.relnamespace = n.pgflow AND (c.relname, a.attname) IN (
      ('step_task_record', 'flow_input'), ('steps', 'required_input_pattern'))) THEN 2
  ELSE 4 END
FROM (
  SELECT (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = 'flowc'),
         (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = 'pgflow')) n(oid, pgflow)`

// Detect queries what a database has.
func Detect(ctx context.Context, db interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}, args ...any) (Kind, error) {
	var kind Kind
	err := db.QueryRow(ctx, detectSQL, args...).Scan(&kind)
	return kind, err
}

// A Memory caches what a database was found to have. Nil caches nothing.
type Memory struct{ kind atomic.Int32 }

// Kind returns what was found, or [Unknown].
func (m *Memory) Kind() Kind {
	if m == nil {
		return Unknown
	}
	return Kind(m.kind.Load())
}

// store caches what was found, unless it may change any time.
func (m *Memory) store(kind Kind) {
	if m != nil && (kind == HasEngine || kind == HasContract) {
		m.kind.Store(int32(kind))
	}
}

// memoryKey is the key in the data of a connection.
const memoryKey = "github.com/flowc-dev/flowc/runtime/internal/pgcall"

// memoryOf returns the memory of the pool or connection of a db, nil if there is none.
func memoryOf(db any) *Memory {
	var conn *pgx.Conn
	switch db := db.(type) {
	case *pgxpool.Pool:
		return perpool.Of[Memory](db)
	case interface{ Memory() *Memory }:
		return db.Memory()
	case interface{ Conn() *pgx.Conn }:
		conn = db.Conn()
	case *pgx.Conn:
		conn = db
	}
	if conn == nil {
		return nil
	}
	data := conn.PgConn().CustomData()
	memory, ok := data[memoryKey].(*Memory)
	if !ok {
		memory = new(Memory)
		data[memoryKey] = memory
	}
	return memory
}

// KindOf returns what the database has, as far as it is known. Usually a refused statement
// for the engine shows it. In a transaction, which would end with that, the database is
// queried first, once for each connection.
func KindOf(ctx context.Context, db DB) Kind {
	kind := memoryOf(db).Kind()
	if kind == Unknown && InTx(db) {
		kind = detect(ctx, db)
	}
	return kind
}

// detect queries what the database has and caches it. If it does not answer, the call itself
// will report why.
func detect(ctx context.Context, db DB) Kind {
	var args []any
	if unprepared(db) {
		args = append(args, pgx.QueryExecModeExec)
	}
	kind, err := Detect(ctx, db, args...)
	if err != nil {
		return Unknown
	}
	memoryOf(db).store(kind)
	return kind
}
