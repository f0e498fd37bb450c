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
)

// querier is what it takes to look.
type querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// It reads the catalog only, so that it can fail for no want of rights and does
// not harm the transaction that it is part of.
const lookSQL = `
SELECT CASE
  WHEN has_schema_privilege(n.oid, 'usage') THEN 1
  WHEN EXISTS (
    SELECT FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace s ON s.oid = p.pronamespace
    WHERE s.nspname = 'pgflow' AND p.proname = 'start_flow') THEN 2
  ELSE 3 END
FROM (SELECT (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = 'flowc')) n(oid)`

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

// Store keeps what was found. That there is nothing may change any time.
func (m *Memory) Store(kind Kind) {
	if m != nil && kind != Nothing {
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
