package listen

import (
	"sync"

	"github.com/jackc/pgx/v5/pgxpool"
)

// poolers are the pools whose connections go through a pooler in transaction
// mode, so that neither LISTEN nor prepared statements work. An entry keeps its
// pool from being collected; programs have few pools.
var poolers sync.Map

// FoundPooler remembers that the pool's connections go through a pooler.
func FoundPooler(pool *pgxpool.Pool) { poolers.Store(pool, true) }

func foundNone(pool *pgxpool.Pool) { poolers.Delete(pool) }

// BehindPooler reports whether that was found.
func BehindPooler(pool *pgxpool.Pool) bool {
	_, found := poolers.Load(pool)
	return found
}
