package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/flowc-dev/flowc/runtime/shards"
)

// connectWait is how long connecting may take.
const connectWait = 10 * time.Second

// The variables that say which databases commands use.
const (
	urlVariable    = "DATABASE_URL"
	shardsVariable = "FLOWC_SHARDS"
)

var errNoURL = errors.New("flowc: DATABASE_URL is not set\n" +
	"\tfix: set it to the database, such as postgres://user@localhost:5432/app,\n" +
	"\tor start one for development with `flowc dev`, which prints what to set it to;\n" +
	"\tfor several databases set FLOWC_SHARDS, see `flowc help database`")

var errTwoVariables = errors.New("flowc: both DATABASE_URL and FLOWC_SHARDS are set, so it is not clear which databases are meant\n" +
	"\tfix: unset one, for one command with `env -u DATABASE_URL flowc …`")

// A server is a database that commands work on: that of DATABASE_URL, which has no name, or
// a shard of FLOWC_SHARDS.
type server struct {
	name, url string
	pool      *pgxpool.Pool
	err       error // why it cannot be used
}

// fault returns an error of a server, with the name of the shard.
func (s server) fault(err error) error {
	if err == nil || s.name == "" {
		return err
	}
	return &ops.ShardError{Shard: s.name, Err: err}
}

// configured returns the servers that the environment names, not connected yet.
func configured() ([]server, error) {
	url, list := os.Getenv(urlVariable), os.Getenv(shardsVariable)
	switch {
	case url != "" && list != "":
		return nil, errTwoVariables
	case url != "":
		return []server{{url: url}}, nil
	case list == "":
		return nil, errNoURL
	}
	return parseShards(list)
}

// commaPair matches what follows a comma that was meant to separate two shards.
var commaPair = regexp.MustCompile(`(^|,)[^,=/@?&]+=postgres(ql)?://`)

// parseShards parses the names and addresses of FLOWC_SHARDS.
func parseShards(list string) ([]server, error) {
	var servers []server
	for i, pair := range strings.Fields(list) {
		name, url, ok := strings.Cut(pair, "=")
		if !ok || name == "" || !strings.HasPrefix(url, "postgres://") && !strings.HasPrefix(url, "postgresql://") {
			return nil, fmt.Errorf("flowc: part %d of FLOWC_SHARDS is not a name and an address; it is not shown here, since it may hold a password\n"+
				"\tfix: write NAME=postgres://user:password@host:port/database for each shard, with blanks in between, not commas", i+1)
		}
		if _, next, comma := strings.Cut(url, ","); comma && commaPair.MatchString(next) {
			return nil, fmt.Errorf("flowc: part %d of FLOWC_SHARDS has a comma before the next name\n"+
				"\tfix: separate NAME=postgres://user:password@host:port/database for each shard with blanks, not commas", i+1)
		}
		if slices.ContainsFunc(servers, func(s server) bool { return s.name == name }) {
			return nil, fmt.Errorf("flowc: FLOWC_SHARDS has two shards with the name %s\n\tfix: give each a name of its own", name)
		}
		servers = append(servers, server{name: name, url: url})
	}
	if servers == nil {
		return nil, errNoURL
	}
	return servers, nil
}

// unreadable returns the error for an address that cannot be parsed.
func (s server) unreadable() error {
	if s.name != "" {
		return fmt.Errorf("flowc: the address of shard %s in FLOWC_SHARDS cannot be read; it is not shown here, since it may hold a password\n"+
			"\tfix: write it as postgres://user:password@host:port/database, with %%40 for @, %%3A for :, %%2F for / and %%23 for # in the password", s.name)
	}
	return errUnreadable
}

var errUnreadable = errors.New("flowc: DATABASE_URL cannot be read; it is not shown here, since it may hold a password\n" +
	"\tfix: write it as postgres://user:password@host:port/database, with %40 for @, %3A for :, %2F for / and %23 for # in the password,\n" +
	"\tor as host=… user=… password=… dbname=…, with values that have blanks in single quotes")

// misread reports whether an address was misparsed because of a character in its password:
// errors would show the rest of the password as the name of a host or database.
func misread(address string) bool {
	scheme, rest, isURL := strings.Cut(address, "://")
	if !isURL || scheme != "postgres" && scheme != "postgresql" {
		return false
	}
	rest, _, _ = strings.Cut(rest, "?")
	at := strings.LastIndex(rest, "@")
	return strings.Contains(rest, "#") || strings.Count(rest, "@") > 1 || at >= 0 && strings.ContainsAny(rest[:at], "/")
}

// open makes the pool of a server, which does not connect to it yet.
func (s *server) open(ctx context.Context) error {
	config, err := pgxpool.ParseConfig(s.url)
	if err != nil || misread(s.url) {
		return s.unreadable() // without pgx's message, which may repeat parts of the password
	}
	config.MaxConns = 4
	boundHosts(config.ConnConfig)
	if config.ConnConfig.RuntimeParams["application_name"] == "" {
		config.ConnConfig.RuntimeParams["application_name"] = "flowc"
	}
	if s.pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return s.fault(fmt.Errorf("flowc: %s: %w", s.variable(), err))
	}
	return nil
}

// variable returns the variable that names the server.
func (s server) variable() string {
	if s.name != "" {
		return shardsVariable
	}
	return urlVariable
}

// ping connects to a server.
func (s server) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, connectWait)
	defer cancel()
	err := s.pool.Ping(ctx)
	if err != nil {
		err = s.fault(fmt.Errorf("flowc: connecting to the database of %s: %w\n\tfix: check that the server runs and that %[1]s names it", s.variable(), err))
	}
	return err
}

// A database is what commands work on.
type database struct {
	runtime.DB // for packages runtime and ops; nil for shards that [database.unite] has not opened
	servers    []server
}

// openAll opens the pools of the databases that the environment names.
func openAll(ctx context.Context) (*database, error) {
	servers, err := configured()
	if err != nil {
		return nil, err
	}
	db := &database{servers: servers}
	for i := range servers {
		if err := servers[i].open(ctx); err != nil {
			db.Close()
			return nil, err
		}
	}
	if !db.sharded() {
		db.DB = servers[0].pool
	}
	return db, nil
}

// reach connects to the databases that the environment names. A single one has to be there;
// of several, some may be down, and what is wrong with each is in it.
func reach(ctx context.Context) (*database, error) {
	db, err := openAll(ctx)
	if err != nil {
		return nil, err
	}
	var pinging sync.WaitGroup
	for i := range db.servers {
		pinging.Go(func() { db.servers[i].err = db.servers[i].ping(ctx) })
	}
	pinging.Wait()
	if err := db.servers[0].err; err != nil && !db.sharded() {
		db.Close()
		return nil, err
	}
	return db, nil
}

// pools returns the pools of shards.
func (db *database) pools() map[string]*pgxpool.Pool {
	pools := map[string]*pgxpool.Pool{}
	for _, s := range db.servers {
		pools[s.name] = s.pool
	}
	return pools
}

// unite opens shards as one database. The servers are those of the map then, and one that
// the environment does not name is an error of it.
func (db *database) unite(ctx context.Context) (*shards.DB, error) {
	united, err := shards.Open(ctx, db.pools())
	if err != nil {
		return nil, meantVariable(err)
	}
	db.DB = united
	return united, nil
}

// inMap returns the servers of all shards in the map, and of a single database that.
func (db *database) inMap() []server {
	united, ok := db.DB.(*shards.DB)
	if !ok {
		return db.servers
	}
	var all []server
	for _, s := range united.Shards() {
		one := server{name: s.Name, pool: s.Pool}
		i := slices.IndexFunc(db.servers, func(known server) bool { return known.pool == s.Pool })
		switch {
		case i >= 0:
			one.err = db.servers[i].err
		default:
			one.err = errors.New("FLOWC_SHARDS has no address for it: add NAME=postgres://…")
		}
		all = append(all, one)
	}
	return all
}

// connect connects to the databases that the environment names, and makes several one.
func connect(ctx context.Context) (*database, error) {
	db, err := openAll(ctx)
	if err != nil {
		return nil, err
	}
	if db.sharded() {
		_, err = db.unite(ctx) // of which one has to answer
	} else {
		err = db.servers[0].ping(ctx)
	}
	if err != nil {
		db.Close()
		return nil, err
	}
	return db, nil
}

// Close closes the connections.
func (db *database) Close() {
	for _, s := range db.servers {
		if s.pool != nil {
			s.pool.Close()
		}
	}
}

// sharded reports whether there are shards, if only one.
func (db *database) sharded() bool { return db.servers[0].name != "" }

// boundHosts divides the time for connecting among the hosts of an address, unless the
// address has a connect_timeout: the first host may hang.
func boundHosts(config *pgx.ConnConfig) {
	if config.ConnectTimeout > 0 {
		return
	}
	hosts := map[string]bool{net.JoinHostPort(config.Host, fmt.Sprint(config.Port)): true}
	for _, next := range config.Fallbacks {
		hosts[net.JoinHostPort(next.Host, fmt.Sprint(next.Port))] = true
	}
	config.ConnectTimeout = connectWait / time.Duration(len(hosts)+1)
}

// A reworded error has another text.
type reworded struct {
	text string
	err  error
}

func (e *reworded) Error() string { return e.text }
func (e *reworded) Unwrap() error { return e.err }

// meantVariable says of an error about the databases of FLOWC_SHARDS what to do there.
func meantVariable(err error) error {
	for _, known := range []struct {
		err       error
		text, fix string
	}{
		{shards.ErrNoMap, "the databases of FLOWC_SHARDS are not shards yet", "`flowc shards init` makes them shards"},
		{shards.ErrNoPool, "FLOWC_SHARDS has no address for it", "add NAME=postgres://… to FLOWC_SHARDS for each shard"},
		{shards.ErrWrongPool, "its address in FLOWC_SHARDS is that of another database", "correct FLOWC_SHARDS: each database is there once, under the name of its shard"},
	} {
		if errors.Is(err, known.err) && !strings.Contains(err.Error(), "\n\tfix: ") {
			return &reworded{strings.ReplaceAll(err.Error(), known.err.Error(), known.text) + "\n\tfix: " + known.fix, err}
		}
	}
	return err
}

// usable reports whether there is something to show in spite of an error: it is about some of
// the shards only. Who shows it returns the error all the same.
func usable(err error) bool { return err == nil || ops.Partial(err) != nil }

// withDatabase runs fn with the database that the environment names, or several as one.
func withDatabase(fn func(cmd *cobra.Command, args []string, db runtime.DB) error) func(*cobra.Command, []string) error {
	return withShards(func(cmd *cobra.Command, args []string, db *database) error { return fn(cmd, args, db.DB) })
}

// withShards does what withDatabase does, for commands that need the databases one by one as
// well.
func withShards(fn func(cmd *cobra.Command, args []string, db *database) error) func(*cobra.Command, []string) error {
	return with(connect, func(cmd *cobra.Command, args []string, db *database) error {
		return meantFlow(cmd.Context(), db.DB, fn(cmd, args, db))
	})
}

// withServers runs fn with the databases that the environment names, which may not be shards
// yet.
func withServers(fn func(cmd *cobra.Command, args []string, db *database) error) func(*cobra.Command, []string) error {
	return with(reach, fn)
}

func with(connect func(context.Context) (*database, error), fn func(cmd *cobra.Command, args []string, db *database) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		p := startProgress(cmd.ErrOrStderr(), "connecting")
		db, err := connect(cmd.Context())
		p.done()
		if err != nil {
			return err
		}
		defer db.Close()
		return meantVariable(fn(cmd, args, db))
	}
}
