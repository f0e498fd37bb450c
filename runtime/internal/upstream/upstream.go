// Package upstream serves databases that have the tables and functions of pgflow
// but not the engine: another make of pgflow was installed there, or the role may
// not use the engine's schema. It says whether a database is one, and how the
// calls of the client are worded in the functions of pgflow's contract.
package upstream

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// A Kind is what a database has.
type Kind int32

const (
	// Unknown has not been looked at.
	Unknown Kind = iota
	// Engine has the engine.
	Engine
	// Contract has pgflow's contract and nothing else.
	Contract
	// Nothing has neither.
	Nothing
	// Other has a pgflow whose functions are not those of the contract: it is older,
	// or newer.
	Other
)

// querier is what it takes to look.
type querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// It reads the catalog only, so that it can fail for no want of rights and does
// not harm the transaction that it is part of. The contract is known by three things
// that came to it late, and by how tasks are started, which was changed later.
const lookSQL = `
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

// Look finds out what a database has. args are those that the db wants before
// all others.
func Look(ctx context.Context, db querier, args ...any) (Kind, error) {
	var kind Kind
	err := db.QueryRow(ctx, lookSQL, args...).Scan(&kind)
	return kind, err
}

// A Memory keeps what was found.
type Memory struct{ kind atomic.Int32 }

// Kind is what was found, or Unknown.
func (m *Memory) Kind() Kind {
	if m == nil {
		return Unknown
	}
	return Kind(m.kind.Load())
}

// Store keeps what was found. That there is nothing of use may change any time.
func (m *Memory) Store(kind Kind) {
	if m != nil && kind != Nothing && kind != Other {
		m.kind.Store(int32(kind))
	}
}

// memories are those of pools. An entry keeps its pool from being collected, and
// so there are entries only for pools that are not as usual.
var memories sync.Map

// memoryKey is the key in the data of a connection.
const memoryKey = "github.com/flowc-dev/flowc/runtime/internal/upstream"

// Of is the memory for a db: that of its pool or its connection. It is nil if
// there is none yet, or no place for one.
func Of(db any) *Memory {
	switch db := db.(type) {
	case *pgxpool.Pool:
		m, _ := memories.Load(db)
		memory, _ := m.(*Memory)
		return memory
	case interface{ Memory() *Memory }:
		return db.Memory()
	case interface{ Conn() *pgx.Conn }:
		return ofConn(db.Conn())
	case *pgx.Conn:
		return ofConn(db)
	}
	return nil
}

func ofConn(conn *pgx.Conn) *Memory {
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

// Remember keeps what was found for a db, as far as there is a place for it.
func Remember(db any, kind Kind) {
	if pool, ok := db.(*pgxpool.Pool); ok {
		if kind != Contract {
			return
		}
		memories.LoadOrStore(pool, new(Memory))
	}
	Of(db).Store(kind)
}
