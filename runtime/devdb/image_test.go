package devdb

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

func TestSeed(t *testing.T) {
	t.Parallel()
	var fills atomic.Int32
	seed := &Seed{Key: "test " + rand.Text(), Fill: func(ctx context.Context, url string) error {
		fills.Add(1)
		conn, err := pgx.Connect(ctx, url)
		if err != nil {
			return err
		}
		_, err = conn.Exec(ctx, "create table seeded as select 42 as answer")
		return errors.Join(err, conn.Close(ctx))
	}}
	for range 3 {
		db := start(t, Config{Seed: seed})
		t.Cleanup(func() { _ = os.Remove(newImage(db.bin, seed.Key).path) })
		require.Equal(t, 42, query[int](t, connect(t, db.URL()), "select answer from seeded"))
		require.EqualValues(t, 1, fills.Load(), "filled once")
	}
	plain := start(t, Config{})
	require.False(t, query[bool](t, connect(t, plain.URL()), "select to_regclass('seeded') is not null"))
}

func TestSeedFails(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	seed := &Seed{Key: "test " + rand.Text(), Fill: func(context.Context, string) error { return broken }}
	for range 2 { // nothing half-made is kept
		_, err := Start(t.Context(), Config{Seed: seed})
		require.ErrorIs(t, err, broken)
		require.ErrorContains(t, err, "seed "+seed.Key)
	}
}

func TestBrokenImageIsReplaced(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*testing.T, string){
		"cut":   func(t *testing.T, path string) { require.NoError(t, os.Truncate(path, 1<<20)) },
		"empty": func(t *testing.T, path string) { require.NoError(t, os.Truncate(path, 0)) },
		"other": func(t *testing.T, path string) {
			require.NoError(t, os.WriteFile(path, []byte("something else"), 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var fills atomic.Int32
			seed := &Seed{Key: "test " + rand.Text(), Fill: func(context.Context, string) error { fills.Add(1); return nil }}
			db := start(t, Config{Seed: seed})
			path := newImage(db.bin, seed.Key).path
			t.Cleanup(func() { _ = os.Remove(path) })
			spoil(t, path)
			for range 2 {
				again := start(t, Config{Seed: seed})
				require.Equal(t, 1, query[int](t, connect(t, again.URL()), "select 1"))
				require.EqualValues(t, 2, fills.Load())
			}
		})
	}
}

func TestPruneKeepsWhatWasUsedLast(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for age := range imagesKept + 2 {
		path := filepath.Join(dir, string(rune('a'+age)))
		require.NoError(t, os.WriteFile(path, nil, 0o600))
		when := time.Now().Add(-time.Duration(age) * time.Hour)
		require.NoError(t, os.Chtimes(path, when, when))
	}
	prune(dir)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, imagesKept)
	require.Equal(t, "a", left[0].Name())
	require.NoFileExists(t, filepath.Join(dir, "g"))
}
