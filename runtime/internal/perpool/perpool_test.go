package perpool

import (
	"context"
	"reflect"
	"runtime"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
)

type (
	counter struct{ n int }
	names   struct{ all []string }
)

func open(t *testing.T) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(context.Background(), "postgres://127.0.0.1:1/none") // connects when it is used
	require.NoError(t, err)
	return pool
}

func TestEachPoolAndTypeHasItsState(t *testing.T) {
	a, b := open(t), open(t)
	defer a.Close()
	defer b.Close()
	Of[counter](a).n = 7
	require.Equal(t, 7, Of[counter](a).n)
	require.Zero(t, Of[counter](b).n)
	require.Empty(t, Of[names](a).all)
}

func TestStatesGoWithTheirPool(t *testing.T) {
	func() {
		pool := open(t)
		Of[counter](pool).n = 7
		pool.Close()
	}()
	require.Eventually(t, func() bool {
		runtime.GC()
		left := 0
		states.Range(func(k, _ any) bool {
			if k.(key).of == reflect.TypeFor[counter]() && k.(key).pool.Value() == nil {
				left++
			}
			return true
		})
		return left == 0
	}, time.Minute, time.Millisecond)
}
