package dbtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime/devdb"
	"github.com/flowc-dev/flowc/runtime/engine"
)

const (
	// seededTemplate is the template's name on servers of our own.
	seededTemplate = "flowc_template"

	// keep is how many databases of finished tests wait to be dropped: dropping
	// makes the server write everything out, and each takes some 10 MB.
	keep = 16
)

// server is where the databases are made.
type server struct {
	url      string
	admin    *pgxpool.Pool
	template string
	token    string // distinguishes this process's databases
	made     atomic.Int64

	own  *devdb.DB // nil on the server of DATABASE_URL
	mark *pgx.Conn // see claimToken

	mu       sync.Mutex
	finished []string // databases that no test uses any more
	drops    sync.WaitGroup
	dropErr  error
}

// newServer starts a server, or uses the one of a URL.
func newServer(ctx context.Context, url string) (_ *server, err error) {
	if url != "" {
		return useServer(ctx, url)
	}
	db, err := devdb.Start(ctx, devdb.Config{Seed: seed})
	if err != nil {
		return nil, err
	}
	s, err := connectTo(ctx, db.URL())
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	s.own, s.template = db, seededTemplate
	return s, nil
}

func connectTo(ctx context.Context, url string) (*server, error) {
	admin, err := pgxpool.New(ctx, url)
	if err != nil {
		return nil, err
	}
	return &server{url: url, admin: admin, token: strings.ToLower(rand.Text()[:8])}, nil
}

// seed puts the template on a server of our own; the next process finds it in
// the image.
var seed = &devdb.Seed{
	Key: "dbtest " + engine.Checksum(),
	Fill: func(ctx context.Context, url string) error {
		s, err := connectTo(ctx, url)
		if err != nil {
			return err
		}
		defer s.admin.Close()
		return s.makeTemplate(ctx, seededTemplate)
	},
}

// makeTemplate creates a database with the engine. It refuses connections once it is
// complete, which marks it as such and keeps it unused while it is cloned.
func (s *server) makeTemplate(ctx context.Context, name string) error {
	if err := s.create(ctx, name, "template1"); err != nil {
		return err
	}
	url, err := withDatabase(s.url, name)
	if err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	if err := errors.Join(engine.Migrate(ctx, conn), conn.Close(ctx)); err != nil {
		return err
	}
	_, err = s.admin.Exec(ctx, `alter database `+quote(name)+` allow_connections false`)
	return err
}

// database creates a database for a test and drops it afterwards.
func (s *server) database(t testing.TB, template string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	name, url, err := s.newDatabase(ctx, template)
	require.NoError(t, err)
	t.Cleanup(func() { s.release(name) })
	return url
}

func (s *server) newDatabase(ctx context.Context, template string) (name, url string, err error) {
	name = fmt.Sprintf("%s%s_%d", testPrefix, s.token, s.made.Add(1))
	if err := s.create(ctx, name, template); err != nil {
		return "", "", err
	}
	url, err = withDatabase(s.url, name)
	return name, url, err
}

// create creates a database. On our own server, where a checkpoint costs next to nothing, it
// copies files, which takes half the processor time; elsewhere it copies through the log,
// which needs no checkpoint.
func (s *server) create(ctx context.Context, name, template string) error {
	strategy := "wal_log"
	if s.own != nil {
		strategy = "file_copy"
	}
	_, err := s.admin.Exec(ctx, `create database `+quote(name)+` template `+quote(template)+` strategy `+strategy)
	if err != nil {
		return fmt.Errorf("flowc: dbtest: %w", err)
	}
	return nil
}

// release drops a database in the background; on our own server, which is removed as a
// whole, only when there are many.
func (s *server) release(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.finished = append(s.finished, name)
	if s.own != nil && len(s.finished) < keep {
		return
	}
	old := s.finished
	s.finished = nil
	s.drops.Go(func() { s.drop(old) })
}

func (s *server) drop(names []string) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	for _, name := range names {
		if _, err := s.admin.Exec(ctx, `drop database if exists `+quote(name)+` with (force)`); err != nil {
			s.mu.Lock()
			s.dropErr = errors.Join(s.dropErr, err)
			s.mu.Unlock()
		}
	}
}

// close ends all that the tests of this process have had.
func (s *server) close() error {
	s.drops.Wait()
	err := s.dropErr
	s.admin.Close()
	if s.mark != nil {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		err = errors.Join(err, s.mark.Close(ctx))
	}
	if s.own != nil {
		err = errors.Join(err, s.own.Close())
	}
	if err != nil {
		return fmt.Errorf("flowc: dbtest: %w", err)
	}
	return nil
}

// withDatabase returns a connection string for another database of the same server.
func withDatabase(connString, name string) (string, error) {
	if !strings.Contains(connString, "://") {
		return connString + " dbname=" + name, nil // the last one counts
	}
	u, err := url.Parse(connString)
	if err != nil {
		return "", errors.New("flowc: dbtest: the database's URL cannot be parsed") // and may hold a password
	}
	u.Path = "/" + name
	return u.String(), nil
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }
