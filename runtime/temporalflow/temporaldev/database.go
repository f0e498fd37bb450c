package temporaldev

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strconv"

	"github.com/jackc/pgx/v5"
)

// A Database keeps the data of servers in a PostgreSQL: those with the same Database are
// nodes of one cluster.
type Database struct {
	url  *pgx.ConnConfig
	name string
}

// CreateDatabase creates the two databases of a cluster in the PostgreSQL of a URL, of
// which one has the given name, and their tables. If they exist it fails.
func (p Programs) CreateDatabase(ctx context.Context, url, name string) (*Database, error) {
	db, err := p.createDatabase(ctx, url, name)
	if err != nil {
		return nil, fmt.Errorf("flowc: temporaldev: creating the database %s: %w", name, err)
	}
	return db, nil
}

func (p Programs) createDatabase(ctx context.Context, url, name string) (*Database, error) {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	db := &Database{config, name}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	for _, name := range db.names() {
		if _, err = conn.Exec(ctx, "create database "+pgx.Identifier{name}.Sanitize()); err != nil {
			break
		}
	}
	if err := errors.Join(err, conn.Close(ctx)); err != nil {
		return nil, err
	}
	for schema, name := range db.names() {
		for _, what := range [][]string{{"setup-schema", "--version", "0.0"}, {"update-schema", "--schema-name", "postgresql/v12/" + schema}} {
			if _, err := output(ctx, "", []string{"SQL_PASSWORD=" + db.url.Password}, p.sqlTool, append(db.options(name), what...)...); err != nil {
				return nil, err
			}
		}
	}
	return db, nil
}

// names returns the names of the databases by that of their schema.
func (db *Database) names() map[string]string {
	return map[string]string{"temporal": db.name, "visibility": db.name + "_visibility"}
}

// attributes returns what the server has no settings for: it builds an address of its own,
// in which these parameters count more than the host that it names.
func (db *Database) attributes() map[string]string {
	if filepath.IsAbs(db.url.Host) {
		return map[string]string{"host": db.url.Host, "port": strconv.Itoa(int(db.url.Port))}
	}
	return map[string]string{}
}

// host returns the name of the host, any if it is a socket's directory.
func (db *Database) host() string {
	if filepath.IsAbs(db.url.Host) {
		return "localhost"
	}
	return db.url.Host
}

// options returns those of the SQL tool for one of the databases.
func (db *Database) options(name string) []string {
	values := url.Values{}
	for key, value := range db.attributes() {
		values.Set(key, value)
	}
	return []string{
		"--plugin", "postgres12_pgx", "--endpoint", db.host(), "--port", strconv.Itoa(int(db.url.Port)),
		"--user", db.url.User, "--database", name, "--connect-attributes", values.Encode(),
	}
}

// stores returns the stores of a server.
func (db *Database) stores() object {
	store := func(name string, conns int) object {
		return object{"sql": object{
			"pluginName": "postgres12_pgx", "databaseName": name, "connectProtocol": "tcp",
			"connectAddr":       net.JoinHostPort(db.host(), strconv.Itoa(int(db.url.Port))),
			"connectAttributes": db.attributes(), "user": db.url.User, "password": db.url.Password,
			"maxConns": conns, "maxIdleConns": conns, "maxConnLifetime": "1h",
		}}
	}
	names := db.names()
	return object{"default": store(names["temporal"], 20), "visibility": store(names["visibility"], 5)}
}
