package dbtest

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/flowc-dev/flowc/runtime/engine"
)

const (
	// testPrefix begins the names of the tests' databases; a process's token and
	// a number follow.
	testPrefix = "flowc_test_"

	// templatePrefix begins the names of templates on servers that are not ours;
	// what they hold follows.
	templatePrefix = "flowc_template_"
)

// useServer uses a server that is not ours: several test processes may be at
// work on it, now and later.
func useServer(ctx context.Context, url string) (*server, error) {
	s, err := connectTo(ctx, url)
	if err != nil {
		return nil, err
	}
	s.template = templatePrefix + engine.Checksum()[:16]
	if err := s.prepare(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("flowc: dbtest: the server of DATABASE_URL: %w", err), s.close())
	}
	return s, nil
}

func (s *server) prepare(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, s.url)
	if err != nil {
		return err
	}
	s.mark = conn
	if err := s.claimToken(ctx); err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, `select pg_advisory_lock($1)`, lockKey(templatePrefix)); err != nil {
		return err
	}
	err = errors.Join(s.dropOrphans(ctx), s.ensureTemplate(ctx))
	_, unlockErr := conn.Exec(ctx, `select pg_advisory_unlock($1)`, lockKey(templatePrefix))
	return errors.Join(err, unlockErr)
}

// claimToken holds a lock for as long as this process lives, which shows others that its
// databases are in use.
func (s *server) claimToken(ctx context.Context) error {
	_, err := s.mark.Exec(ctx, `select pg_advisory_lock($1)`, lockKey(testPrefix+s.token))
	return err
}

// dropOrphans drops the databases of processes that have ended without doing it.
func (s *server) dropOrphans(ctx context.Context) error {
	rows, err := s.mark.Query(ctx, `select datname from pg_database where starts_with(datname, $1)`, testPrefix)
	if err != nil {
		return err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, name := range names {
		token, _, ok := strings.Cut(strings.TrimPrefix(name, testPrefix), "_")
		if !ok || token == s.token {
			continue
		}
		key := lockKey(testPrefix + token)
		var orphan bool
		if err := s.mark.QueryRow(ctx, `select pg_try_advisory_lock($1)`, key).Scan(&orphan); err != nil {
			return err
		}
		if !orphan {
			continue
		}
		_, err := s.mark.Exec(ctx, `drop database if exists `+quote(name)+` with (force)`)
		_, unlockErr := s.mark.Exec(ctx, `select pg_advisory_unlock($1)`, key)
		if err := errors.Join(err, unlockErr); err != nil {
			return err
		}
	}
	return nil
}

// ensureTemplate creates the template unless it exists.
func (s *server) ensureTemplate(ctx context.Context) error {
	var begun bool
	err := s.mark.QueryRow(ctx, `select datallowconn from pg_database where datname = $1`, s.template).Scan(&begun)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
	case err != nil:
		return err
	case !begun:
		return nil
	default: // its maker did not come to the end
		if _, err := s.mark.Exec(ctx, `drop database `+quote(s.template)+` with (force)`); err != nil {
			return err
		}
	}
	return s.makeTemplate(ctx, s.template)
}

func lockKey(name string) int64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))
	return int64(h.Sum64())
}
