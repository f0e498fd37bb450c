// Package devdb runs a PostgreSQL from the binaries that are installed on this machine, for
// demos, tests and development.
//
// Without further settings the database is a temporary one. It is in memory if there is
// room, trades durability for speed, is reached over a Unix socket that only its owner may
// open, and is removed when the program ends, however it ends:
//
//	db, err := devdb.Start(ctx, devdb.Config{})
//	if err != nil {
//		return err
//	}
//	defer db.Close()
//	pool, err := pgxpool.New(ctx, db.URL())
//
// With [Config.Dir] the data are kept in that directory, with PostgreSQL's usual durability,
// and a second program with the same directory uses the same server.
package devdb

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// startTimeout bounds a start whose context has no deadline.
const startTimeout = time.Minute

// Config configures a database. The zero value is a temporary database of the newest
// PostgreSQL that is installed.
type Config struct {
	// Dir is the directory of a kept database. It is created if it does not exist, and
	// nothing else should be in it. Empty means a temporary database.
	Dir string

	// Binaries is the directory that holds initdb and postgres. Empty means the
	// first that [FindBinaries] finds.
	Binaries string

	// Settings are server settings, as in postgresql.conf, for example
	// "shared_preload_libraries": "pg_stat_statements". They override those of
	// this package, and do not affect a server that another program has started.
	Settings map[string]string

	// Seed, if set, fills a new temporary database. Its result is kept in the user's cache
	// directory, so that it runs once and not at each start. It cannot be combined with
	// Dir.
	Seed *Seed
}

// A Seed is the initial content of databases.
type Seed struct {
	// Key names the content: with the same key the content must be the same. A
	// hash of what Fill does is a good key.
	Key string

	// Fill creates the content, through the URL of a superuser. It must have closed
	// its connections when it returns.
	Fill func(ctx context.Context, url string) error
}

// DB is a running database. Its methods may be called concurrently.
type DB struct {
	bin      Binaries
	dir      string // holds data, server.log and lock
	sockets  string // the directory of the Unix socket
	kept     bool
	attached bool // another program's server
	identity identity
	settings map[string]string
	took     time.Duration

	mu     sync.Mutex // guards what follows
	lock   *fileLock
	server *server // nil when stopped or attached
	closed bool
}

// Start starts a database, or attaches to the running one of [Config.Dir]. The context
// bounds only the start; without a deadline it may take a minute. A first start takes about
// half a second, later ones a tenth.
//
// If there is no PostgreSQL on this machine, the error is [ErrNoBinaries].
func Start(ctx context.Context, cfg Config) (*DB, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, startTimeout)
		defer cancel()
	}
	begin := time.Now()
	start := startTemporary
	if cfg.Dir != "" {
		if cfg.Seed != nil {
			return nil, errors.New("flowc: devdb: Seed cannot be combined with Dir")
		}
		start = startKept
	}
	db, err := start(ctx, cfg, identities())
	if err != nil {
		return nil, fmt.Errorf("flowc: devdb: %w", err)
	}
	db.took = time.Since(begin)
	live.Store(db, true)
	return db, nil
}

// live holds the databases that are not closed. Without it, the lock of one without
// references would be collected as garbage, and the database would end with it.
var live sync.Map

// URL returns the database's address, for pgx or psql: a superuser in the database
// "postgres". It stays the same over [DB.Restart].
func (db *DB) URL() string { return socketURL(db.sockets) }

// Dir returns the directory that holds the data (data) and the server's log
// (server.log).
func (db *DB) Dir() string { return db.dir }

// Attached reports whether the server was already running, started by another program;
// [DB.Close] then leaves it running, and it ends when its owner does.
func (db *DB) Attached() bool { return db.attached }

// String returns a description of the database in one line.
func (db *DB) String() string {
	origin := "from " + db.bin.Dir
	if db.attached {
		origin = "already running"
	}
	return fmt.Sprintf("postgres %s %s, data in %s, %.1f s",
		db.bin.Version, origin, db.dir, db.took.Seconds())
}

// Close stops the server and removes a temporary database. A second call does nothing.
func (db *DB) Close() error {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.closed {
		return nil
	}
	db.closed = true
	live.Delete(db)
	if db.attached {
		return nil
	}
	mode := Immediate
	if db.kept {
		mode = Fast
	}
	err := db.stop(mode)
	removeSockets(db.dir)
	err = errors.Join(err, db.lock.release())
	if !db.kept {
		err = errors.Join(err, removeCluster(db.dir))
	}
	if err != nil {
		return fmt.Errorf("flowc: devdb: %w", err)
	}
	return nil
}

// dataDir returns the data directory of a cluster directory of this package.
func dataDir(dir string) string { return filepath.Join(dir, "data") }

// logFile returns the path of the server's log in a cluster directory of this package.
func logFile(dir string) string { return filepath.Join(dir, "server.log") }

func socketURL(sockets string) string {
	// Only browsers decode a plus sign as a space.
	host := strings.ReplaceAll(url.QueryEscape(sockets), "+", "%20")
	return "postgres://" + superuser + "@/postgres?host=" + host + "&port=" + port
}

// startTemporary creates a new directory and starts a disposable server on it, as the
// first of the identities that can.
func startTemporary(ctx context.Context, cfg Config, ids []identity) (_ *DB, err error) {
	bin, err := findBinaries(cfg.Binaries, 0)
	if err != nil {
		return nil, err
	}
	sweep()
	dir, lock, err := newClusterDir()
	if err != nil {
		return nil, err
	}
	db := &DB{bin: bin, dir: dir, lock: lock, settings: merge(temporarySettings, cfg.Settings)}
	defer func() {
		if err != nil {
			_ = db.Close()
		}
	}()
	if db.identity, err = chooseIdentity(ids, bin, dir); err != nil {
		return nil, err
	}
	if db.sockets, err = makeSocketDir(dir, db.identity); err != nil {
		return nil, err
	}
	if err := db.fill(ctx, cfg.Seed); err != nil {
		return nil, err
	}
	return db, db.start(ctx)
}

// fill creates the data directory, from the cache if there is an image of it.
func (db *DB) fill(ctx context.Context, seed *Seed) error {
	base := newImage(db.bin, "")
	if seed == nil {
		return base.restoreOr(db, func() error { return initdb(ctx, db.bin, db.identity, dataDir(db.dir), "--no-sync") })
	}
	return newImage(db.bin, seed.Key).restoreOr(db, func() error {
		if err := db.fill(ctx, nil); err != nil {
			return err
		}
		if err := db.start(ctx); err != nil {
			return err
		}
		if err := seed.Fill(ctx, db.URL()); err != nil {
			return fmt.Errorf("seed %s: %w", seed.Key, err)
		}
		return db.stop(Fast)
	})
}

// makeSocketDir creates the directory for the socket of a cluster: inside it if the path
// is short enough for a socket, else a short one derived from the name, so that it is the
// same each time.
func makeSocketDir(dir string, id identity) (string, error) {
	sockets := socketDir(dir)
	if err := os.Mkdir(sockets, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	if err := ownedPrivate(sockets, id); err != nil {
		return "", err
	}
	return sockets, id.own(sockets)
}
