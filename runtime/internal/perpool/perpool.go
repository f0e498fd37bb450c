// Package perpool keeps the state of connection pools for the packages of this module:
// whether there is a pooler, which workers use the pool, which starts are in flight.
package perpool

import (
	"reflect"
	"runtime"
	"sync"
	"weak"

	"github.com/jackc/pgx/v5/pgxpool"
)

type key struct {
	pool weak.Pointer[pgxpool.Pool]
	of   reflect.Type
}

// states has no strong reference to a pool, and the states of a pool go with it. A
// state must not refer to its pool for longer than the pool is in use.
var states sync.Map // key to *T

// Of returns the T of a pool, which is zero at first. There is one for each pool and
// type; packages use types of their own.
func Of[T any](pool *pgxpool.Pool) *T {
	k := key{weak.Make(pool), reflect.TypeFor[T]()}
	if state, ok := states.Load(k); ok {
		return state.(*T)
	}
	state, known := states.LoadOrStore(k, new(T))
	if !known {
		runtime.AddCleanup(pool, func(k key) { states.Delete(k) }, k)
	}
	return state.(*T)
}
