package devdb

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// startKept starts the server of a kept directory, or attaches to it. The holder of the lock
// is the owner, with which the server ends.
func startKept(ctx context.Context, cfg Config, ids []identity) (*DB, error) {
	dir, err := keptDir(cfg.Dir)
	if err != nil {
		return nil, err
	}
	var unowned time.Time // since when a server runs that nobody owns
	for {
		lock, err := lockDir(dir)
		if err != nil {
			return nil, err
		}
		st, running := runningServer(dir)
		switch {
		case lock == nil && running && st.ready:
			return attach(dir, st)
		case lock != nil && !running:
			return startOwned(ctx, cfg, ids, dir, lock)
		case lock != nil:
			// Its owner has ended and it is about to end, or it was started by hand.
			if err := lock.release(); err != nil {
				return nil, err
			}
			if unowned.IsZero() {
				unowned = time.Now()
			}
			if st.ready && time.Since(unowned) > 3*time.Second {
				return attach(dir, st)
			}
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return nil, fmt.Errorf("the database in %s is in use and does not become ready: %w", dir, err)
		}
	}
}

// keptDir creates the directory and returns the one name that all programs use.
func keptDir(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	_, err = os.Stat(dir)
	made := errors.Is(err, os.ErrNotExist)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil || !made {
		return dir, err // an existing one keeps its mode: its content is closed to others
	}
	return dir, passable(dir)
}

// runningServer reports whether a server runs on the data of a directory.
func runningServer(dir string) (status, bool) {
	st, err := readStatus(dir)
	if errors.Is(err, os.ErrNotExist) {
		return status{}, false
	}
	if err != nil {
		return status{}, answers(socketDir(dir)) // its file is being written
	}
	return st, answers(st.sockets)
}

func attach(dir string, st status) (*DB, error) {
	major, err := keptMajor(dir)
	if err != nil {
		return nil, err
	}
	return &DB{
		bin:      Binaries{Version: strconv.Itoa(major), Major: major},
		dir:      dir,
		sockets:  st.sockets,
		kept:     true,
		attached: true,
	}, nil
}

// startOwned starts the server, after creating its data if there are none.
func startOwned(ctx context.Context, cfg Config, ids []identity, dir string, lock *fileLock) (_ *DB, err error) {
	db := &DB{dir: dir, lock: lock, kept: true, settings: merge(nil, cfg.Settings)}
	defer func() {
		if err != nil {
			_ = db.Close()
		}
	}()
	major, err := keptMajor(dir)
	if err != nil {
		return nil, err
	}
	db.bin, err = findBinaries(cfg.Binaries, major)
	if major != 0 && errors.Is(err, ErrNoBinaries) {
		return nil, fmt.Errorf("the database in %s was created by PostgreSQL %d, which is not installed here. Ways out:\n"+
			"  install PostgreSQL %d, or set %s to the directory that holds its initdb and postgres, or\n"+
			"  move %s away to begin with an empty database", dir, major, major, BinariesEnv, dir)
	}
	if err != nil {
		return nil, err
	}
	if db.identity, err = keptIdentity(ids, db.bin, dir); err != nil {
		return nil, err
	}
	if db.sockets, err = makeSocketDir(dir, db.identity); err != nil {
		return nil, err
	}
	if major == 0 {
		// Under another name until it is complete.
		fresh := dataDir(dir) + ".new"
		if err := os.RemoveAll(fresh); err != nil {
			return nil, err
		}
		if err := initdb(ctx, db.bin, db.identity, fresh); err != nil {
			return nil, err
		}
		if err := os.Rename(fresh, dataDir(dir)); err != nil {
			return nil, err
		}
	}
	return db, db.start(ctx)
}

// keptIdentity returns the identity that owns the data, else the first that works.
func keptIdentity(ids []identity, bin Binaries, dir string) (identity, error) {
	if info, err := os.Stat(dataDir(dir)); err == nil {
		if owner, ok := ownerOf(info); ok {
			for _, id := range ids {
				if id.ownerID() == owner {
					return chooseIdentity([]identity{id}, bin, dir)
				}
			}
			return identity{}, fmt.Errorf("%s belongs to user %d, and this program cannot run PostgreSQL as that user", dataDir(dir), owner)
		}
	}
	return chooseIdentity(ids, bin, dir)
}

// keptMajor returns the version that created the data; 0 if there are none.
func keptMajor(dir string) (int, error) {
	text, err := os.ReadFile(filepath.Join(dataDir(dir), "PG_VERSION"))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}
