package engine

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"sync"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

//go:embed sql
var files embed.FS

// Version is the version of the engine in this program. It goes up by one with
// every release that changes the SQL, be it a migration or only functions.
const Version = 1

// MinServer is the oldest major version of PostgreSQL that the engine runs on.
const MinServer = 15

// lockSQL serializes migrations. The first takes an advisory lock, since there is no table
// to lock yet. Later ones do not, since anybody who may connect can hold such a lock.
const lockSQL = `
do $$ begin
  if to_regclass('flowc.installation') is null then
    perform pg_advisory_xact_lock(7205759403);
  end if;
  if to_regclass('flowc.installation') is not null then
    lock table flowc.installation in share row exclusive mode;
  end if;
end $$`

// lock waits until no other migration is running.
func lock(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, lockSQL)
	return err
}

// functionFiles are the files of sql/functions, by their paths there. Their order does not
// matter, except that attributes.sql goes over all functions and comes last.
var functionFiles = sync.OnceValue(func() (names []string) {
	const dir, last = "sql/functions/", "attributes.sql"
	err := fs.WalkDir(files, path.Clean(dir), func(name string, entry fs.DirEntry, err error) error {
		if name = strings.TrimPrefix(name, dir); err == nil && !entry.IsDir() && name != last {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		panic(err) // the files are part of the program
	}
	return append(names, last)
})

// DB is a database to migrate: a *pgxpool.Pool or a *pgx.Conn.
type DB interface {
	BeginTx(ctx context.Context, opts pgx.TxOptions) (pgx.Tx, error)
}

// A migration is a file of sql/migrations: NNN_name.sql.
type migration struct {
	version  int
	name     string
	sql      string
	checksum string
}

// migrating sets what a migration needs, whatever the database's defaults: after waiting for
// the lock, it has to see what was committed meanwhile.
var migrating = pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite}

// preparation precedes the SQL in its transaction.
const preparation = `set local check_function_bodies = off; set local client_min_messages = warning; set local search_path = pg_catalog, pg_temp`

// Migrate installs the engine or brings it up to this program's version. It runs in one
// transaction under a lock, so that it happens entirely or not at all, and any number of
// programs may call it at once; if there is nothing to do, nothing is written.
//
// Errors: a [runtime.EngineError] if the database is not one that this program may
// change: [runtime.ErrEngineNewer], [runtime.ErrServerTooOld], [ErrUpstream], [ErrPgmq]
// and [ErrEncoding].
func Migrate(ctx context.Context, db DB, opts ...Option) error {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	var done []string
	err := pgx.BeginTxFunc(ctx, db, migrating, func(tx pgx.Tx) error {
		if err := lock(ctx, tx); err != nil {
			return err
		}
		s, err := status(ctx, tx)
		if err != nil {
			return err
		}
		if err := s.refusal(); err != nil {
			return err
		}
		if s.Installed == 0 {
			if err := o.checkEncoding(ctx, tx); err != nil {
				return err
			}
		}
		done, err = s.apply(ctx, tx)
		return err
	})
	if err != nil {
		return fmt.Errorf("flowc: migrate: %w", err)
	}
	for _, change := range done {
		if o.report != nil {
			o.report(change)
		}
	}
	return nil
}

// An Option configures [Migrate].
type Option func(*options)

type options struct {
	encoding string
	report   func(string)
}

// WithReport has a function told of each change, in words, once all are committed.
func WithReport(report func(change string)) Option {
	return func(o *options) { o.report = report }
}

// WithEncoding allows a database whose encoding has this name, as in SHOW server_encoding.
// Text that the encoding cannot represent cannot be stored there: runs with such inputs
// are refused, tasks with such outputs fail.
func WithEncoding(name string) Option { return func(o *options) { o.encoding = name } }

func (o options) checkEncoding(ctx context.Context, tx pgx.Tx) error {
	var encoding string
	if err := tx.QueryRow(ctx, `select current_setting('server_encoding')`).Scan(&encoding); err != nil {
		return err
	}
	if encoding != "UTF8" && !strings.EqualFold(encoding, o.encoding) {
		return fmt.Errorf("%w: it is in %s", ErrEncoding, encoding)
	}
	return nil
}

// Status reports what is installed in a database, compared with this program.
type Status struct {
	// Server is the version of PostgreSQL, such as 150018.
	Server int
	// Installed is the version of the engine; 0 if there is none.
	Installed int
	// Changed reports whether the functions differ from this program's although
	// the version is the same, as with a program built between releases.
	Changed bool
	// Pending are the migrations to be applied, by file name.
	Pending []string
	// Upstream reports whether another implementation of pgflow is there.
	Upstream bool
	// Pgmq reports whether the pgmq extension is there without pgflow.
	Pgmq bool
}

// Current reports whether the engine is installed and this program's.
func (s Status) Current() bool {
	return s.Installed == Version && !s.Changed && len(s.Pending) == 0
}

// GetStatus reads the status of a database. It changes nothing.
func GetStatus(ctx context.Context, db DB) (Status, error) {
	var s Status
	err := pgx.BeginTxFunc(ctx, db, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) (err error) {
		s, err = status(ctx, tx)
		return err
	})
	if err != nil {
		return Status{}, fmt.Errorf("flowc: migration status: %w", err)
	}
	return s, nil
}

// Errors of [Migrate]: the engine cannot be installed in this database.
const (
	// ErrUpstream says that another pgflow is installed there.
	ErrUpstream runtime.EngineError = "another pgflow is installed in this database; it is left alone, and client and worker use only what it offers"
	// ErrPgmq says that the pgmq extension is installed there without pgflow.
	ErrPgmq runtime.EngineError = "the pgmq extension is installed in this database without pgflow, and its schema would be in the way; use another database, or drop the extension if nothing uses it"
	// ErrEncoding says that the database is to get the engine, is not in UTF8, and no
	// option names its encoding.
	ErrEncoding runtime.EngineError = "the database is not in UTF8, so that it cannot store every text; create one with ENCODING 'UTF8', or name its encoding (--encoding of flowc migrate up) if all texts will fit it"
)

func (s Status) refusal() error {
	switch {
	case s.Server < MinServer*10000:
		return fmt.Errorf("%w: it is %d, and %d is needed", runtime.ErrServerTooOld, s.Server/10000, MinServer)
	case s.Installed > Version:
		return fmt.Errorf("%w (version %d, this program has %d)", runtime.ErrEngineNewer, s.Installed, Version)
	case s.Upstream:
		return ErrUpstream
	case s.Pgmq:
		return ErrPgmq
	}
	return nil
}

func status(ctx context.Context, tx pgx.Tx) (Status, error) {
	var s Status
	var ours, pgflow, pgmq bool
	err := tx.QueryRow(ctx, `
		select current_setting('server_version_num')::int,
		       to_regclass('flowc.installation') is not null,
		       to_regclass('pgflow.runs') is not null,
		       to_regclass('pgmq.meta') is not null or exists (select from pg_extension where extname = 'pgmq')`).Scan(&s.Server, &ours, &pgflow, &pgmq)
	if err != nil {
		return s, err
	}
	migrations, err := readMigrations()
	if err != nil {
		return s, err
	}
	applied := map[int]string{}
	if ours {
		var functions string
		if err := tx.QueryRow(ctx, `select version, functions_checksum from flowc.installation`).Scan(&s.Installed, &functions); err != nil {
			return s, err
		}
		s.Changed = functions != functionsChecksum()
		rows, err := tx.Query(ctx, `select version, checksum from flowc.migrations`)
		if err != nil {
			return s, err
		}
		var version int
		var checksum string
		if _, err := pgx.ForEachRow(rows, []any{&version, &checksum}, func() error {
			applied[version] = checksum
			return nil
		}); err != nil {
			return s, err
		}
	}
	for _, m := range migrations {
		checksum, ok := applied[m.version]
		switch {
		case !ok:
			s.Pending = append(s.Pending, m.name)
		case checksum != m.checksum && s.Installed <= Version:
			return s, fmt.Errorf("migration %s was applied with other contents: this program is no later version of the one that created the database", m.name)
		}
	}
	s.Upstream = !ours && pgflow
	s.Pgmq = !ours && pgmq && !pgflow
	return s, nil
}

func (s Status) apply(ctx context.Context, tx pgx.Tx) ([]string, error) {
	if s.Current() {
		return nil, nil
	}
	if _, err := tx.Exec(ctx, preparation); err != nil {
		return nil, err
	}
	migrations, err := readMigrations()
	if err != nil {
		return nil, err
	}
	var done []string
	for _, m := range migrations {
		if m.version <= len(migrations)-len(s.Pending) {
			continue
		}
		if err := execScript(ctx, tx, m.name, m.sql); err != nil {
			return nil, err
		}
		if _, err := tx.Exec(ctx, `insert into flowc.migrations (version, name, checksum) values ($1, $2, $3)`, m.version, m.name, m.checksum); err != nil {
			return nil, err
		}
		done = append(done, "applied "+m.name)
	}
	for _, name := range functionFiles() {
		if err := execScript(ctx, tx, name, functionFile(name)); err != nil {
			return nil, err
		}
	}
	done = append(done, fmt.Sprintf("installed the functions of version %d", Version))
	_, err = tx.Exec(ctx, `
		insert into flowc.installation (version, functions_checksum) values ($1, $2)
		on conflict (single) do update set version = excluded.version, functions_checksum = excluded.functions_checksum, installed_at = now()`,
		Version, functionsChecksum())
	return done, err
}

// execScript runs a file of statements. An error names the file and the line.
func execScript(ctx context.Context, tx pgx.Tx, name, sql string) error {
	_, err := tx.Conn().PgConn().Exec(ctx, sql).ReadAll()
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Position > 0 {
		runes := []rune(sql)
		line := 1 + strings.Count(string(runes[:min(int(pg.Position), len(runes))]), "\n")
		return fmt.Errorf("%s:%d: %w", name, line, err)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// Script returns the whole SQL of the engine, for those who install it with a tool of
// their own. It ends by recording the version, as [Migrate] does.
func Script() string {
	migrations, err := readMigrations()
	if err != nil {
		panic(err) // the files are part of the program
	}
	var b strings.Builder
	b.WriteString("begin isolation level read committed read write;\n" + preparation + ";\n")
	for _, m := range migrations {
		fmt.Fprintf(&b, "\n-- %s\n\n%s", m.name, m.sql)
		fmt.Fprintf(&b, "\ninsert into flowc.migrations (version, name, checksum) values (%d, '%s', '%s');\n", m.version, m.name, m.checksum)
	}
	for _, name := range functionFiles() {
		fmt.Fprintf(&b, "\n-- %s\n\n%s", name, functionFile(name))
	}
	fmt.Fprintf(&b, "\ninsert into flowc.installation (version, functions_checksum) values (%d, '%s');\ncommit;\n", Version, functionsChecksum())
	return b.String()
}

// Checksum returns an identifier of the SQL of this program: two programs with one checksum
// install the same engine.
func Checksum() string { return checksum(Script()) }

func functionFile(name string) string {
	sql, err := files.ReadFile("sql/functions/" + name)
	if err != nil {
		panic(err) // the files are part of the program
	}
	return string(sql)
}

func functionsChecksum() string {
	var b strings.Builder
	for _, name := range functionFiles() {
		b.WriteString(functionFile(name))
	}
	return checksum(b.String())
}

func checksum(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:16])
}

// readMigrations reads the embedded migrations, which are numbered from 1 on.
func readMigrations() ([]migration, error) {
	names, err := fs.Glob(files, "sql/migrations/*.sql")
	if err != nil {
		return nil, err
	}
	var all []migration
	for i, name := range names {
		sql, err := files.ReadFile(name)
		if err != nil {
			return nil, err
		}
		base := path.Base(name)
		number, _, _ := strings.Cut(base, "_")
		version, err := strconv.Atoi(number)
		if err != nil || version != i+1 {
			return nil, fmt.Errorf("migration %s is not number %d", base, i+1)
		}
		all = append(all, migration{version: version, name: base, sql: string(sql), checksum: checksum(string(sql))})
	}
	return all, nil
}
