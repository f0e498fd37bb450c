package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flowc-dev/flowc/runtime/devdb"
)

// A server is the PostgreSQL that everything is measured on. It is durable:
// every commit is on the disk before it is acknowledged.
type server struct {
	db    *devdb.DB
	admin *pgxpool.Pool
	about string
	data  string    // the server's data directory
	count int       // databases made
	node  *temporal // nil until it is needed
	tidy  func()
}

// settings are those of the figures in the documentation.
var settings = map[string]string{
	"shared_buffers":     "1GB",
	"fsync":              "on",
	"full_page_writes":   "on",
	"synchronous_commit": "on",
	"max_wal_size":       "8GB",
	"checkpoint_timeout": "30min",
	"max_connections":    "200",
	"track_io_timing":    "off",
	"autovacuum_naptime": "10s",
}

func startServer(ctx context.Context, dir string) (*server, error) {
	tidy := func() {}
	if dir == "" {
		made, err := os.MkdirTemp("", "flowbench-")
		if err != nil {
			return nil, err
		}
		// The server may run as another user.
		if err := os.Chmod(made, 0o755); err != nil {
			return nil, err
		}
		tidy = func() { os.RemoveAll(made) }
		dir = filepath.Join(made, "pg")
	}
	db, err := devdb.Start(ctx, devdb.Config{Dir: dir, Settings: settings})
	if err != nil {
		tidy()
		return nil, err
	}
	admin, err := pgxpool.New(ctx, db.URL())
	if err != nil {
		db.Close()
		tidy()
		return nil, err
	}
	s := &server{db: db, admin: admin, about: db.String(), tidy: tidy}
	if err := admin.QueryRow(ctx, `show data_directory`).Scan(&s.data); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *server) close() {
	s.node.close()
	s.admin.Close()
	s.db.Close()
	s.tidy()
}

// database makes an empty database and a pool for it.
func (s *server) database(ctx context.Context, conns int32) (*pgxpool.Pool, func(), error) {
	s.count++
	name := fmt.Sprintf("bench%d", s.count)
	if _, err := s.admin.Exec(ctx, "create database "+pgx.Identifier{name}.Sanitize()); err != nil {
		return nil, nil, err
	}
	config, err := pgxpool.ParseConfig(s.db.URL())
	if err != nil {
		return nil, nil, err
	}
	config.ConnConfig.Database = name
	config.MaxConns = conns
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, nil, err
	}
	drop := func() {
		pool.Close()
		s.admin.Exec(context.WithoutCancel(ctx), "drop database "+pgx.Identifier{name}.Sanitize()+" with (force)")
	}
	return pool, drop, nil
}

// usage is what the server and this process have used up to now.
type usage struct {
	at     time.Time
	db     time.Duration // processor time of the server, and of Temporal's if it runs
	client time.Duration // processor time of this process
	wal    int64         // bytes
}

func (s *server) usage(ctx context.Context) (usage, error) {
	u := usage{at: time.Now()}
	err := s.admin.QueryRow(ctx, `select (pg_current_wal_insert_lsn() - '0/0')::bigint`).Scan(&u.wal)
	if err != nil {
		return u, err
	}
	if u.db, err = serverTime(s.data); err != nil {
		return u, err
	}
	if s.node != nil {
		t, err := processTime(strconv.Itoa(s.node.server.Pid()), false)
		if err != nil {
			return u, err
		}
		u.db += t
	}
	var self syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &self); err != nil {
		return u, err
	}
	u.client = time.Duration(self.Utime.Nano() + self.Stime.Nano())
	return u, nil
}

// serverTime is the processor time of the server's processes, of those that ended
// too: that of its children the postmaster has inherited. A child that it inherits
// while the others are looked at would be missed, or counted twice; then all are
// looked at once more.
func serverTime(dir string) (time.Duration, error) {
	file, err := os.ReadFile(filepath.Join(dir, "postmaster.pid"))
	if err != nil {
		return 0, err
	}
	postmaster, _, _ := strings.Cut(string(file), "\n")
	inherited, err := processTime(postmaster, true)
	for err == nil {
		var alive, now time.Duration
		if alive, err = childrenTime(postmaster); err != nil {
			break
		}
		if now, err = processTime(postmaster, true); now == inherited {
			return inherited + alive, err
		}
		inherited = now
	}
	return 0, err
}

// childrenTime is that of the children that are alive.
func childrenTime(parent string) (total time.Duration, err error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	for _, path := range stats {
		pid := filepath.Base(filepath.Dir(path))
		if fields, err := processStat(pid); err == nil && fields[1] == parent {
			if t, err := processTime(pid, false); err == nil {
				total += t
			}
		}
	}
	return total, nil
}

// tick is the unit of /proc: a hundredth of a second on every Linux.
const tick = 10 * time.Millisecond

// processStat is what follows a process's name in its stat file: state, parent, ….
func processStat(pid string) ([]string, error) {
	line, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return nil, err
	}
	_, rest, ok := strings.Cut(string(line), ") ")
	if !ok {
		return nil, fmt.Errorf("process %s: odd stat line", pid)
	}
	return strings.Fields(rest), nil
}

func processTime(pid string, children bool) (time.Duration, error) {
	fields, err := processStat(pid)
	if err != nil {
		return 0, err
	}
	last := 13 // utime and stime
	if children {
		last = 15 // and those of reaped children
	}
	var ticks int64
	for _, field := range fields[11:last] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * tick, nil
}
