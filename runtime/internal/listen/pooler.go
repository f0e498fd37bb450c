package listen

import (
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flowc-dev/flowc/runtime/internal/perpool"
)

// A pooler says whether the connections of a pool go through a pooler in transaction
// mode, so that neither LISTEN nor prepared statements work.
type pooler struct{ found atomic.Bool }

// FoundPooler remembers that the pool's connections go through a pooler.
func FoundPooler(pool *pgxpool.Pool) { perpool.Of[pooler](pool).found.Store(true) }

func foundNone(pool *pgxpool.Pool) { perpool.Of[pooler](pool).found.Store(false) }

// BehindPooler reports whether that was found.
func BehindPooler(pool *pgxpool.Pool) bool { return perpool.Of[pooler](pool).found.Load() }
