package temporaldev

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime/devdb"
)

// What is configured can be told without a server: each service listens on ports of its own,
// which the server's tables have room for, on a loopback address.
func TestServices(t *testing.T) {
	t.Parallel()
	all, err := newServices()
	require.NoError(t, err)
	require.Len(t, all, 4)
	seen := map[int]bool{}
	for name, s := range all {
		require.True(t, s.RPC.Loopback, name)
		for _, port := range []int{s.RPC.GRPC, s.RPC.Membership} {
			require.False(t, seen[port])
			require.Less(t, port, 1<<15)
			seen[port] = true
		}
	}
	require.Equal(t, "127.0.0.1:"+strconv.Itoa(all["frontend"].RPC.GRPC), all.address())
}

// A PostgreSQL on a socket is reached by parameters, and its password stays a password.
func TestStores(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]object{
		"postgres://me:p%27%22w@example.test:5433/x": {
			"connectAddr": "example.test:5433", "connectAttributes": map[string]any{}, "user": "me", "password": `p'"w`,
		},
		"postgres://me@/x?host=/run/some%20where&port=5432": {
			"connectAddr": "localhost:5432", "connectAttributes": map[string]any{"host": "/run/some where", "port": "5432"}, "user": "me", "password": "",
		},
	} {
		config, err := pgx.ParseConfig(url)
		require.NoError(t, err)
		services, err := newServices()
		require.NoError(t, err)
		text, err := configuration(services, &Database{config, "runs"}, "dynamic.yaml")
		require.NoError(t, err)
		var got struct {
			Persistence struct {
				Datastores map[string]struct{ SQL object }
			}
		}
		require.NoError(t, json.Unmarshal(text, &got))
		for store, name := range map[string]string{"default": "runs", "visibility": "runs_visibility"} {
			sql := got.Persistence.Datastores[store].SQL
			require.Equal(t, name, sql["databaseName"])
			for key, value := range want {
				require.Equal(t, value, sql[key], key)
			}
		}
	}
}

// The programs are kept for each version of what they are made of.
func TestKeptIn(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	dir := t.TempDir()
	sums := filepath.Join(dir, "go.sum")
	require.NoError(t, os.WriteFile(sums, []byte("a"), 0o600))
	a, err := keptIn(dir)
	require.NoError(t, err)
	again, err := keptIn(dir)
	require.NoError(t, err)
	require.Equal(t, a, again)
	require.NoError(t, os.WriteFile(sums, []byte("b"), 0o600))
	b, err := keptIn(dir)
	require.NoError(t, err)
	require.NotEqual(t, a, b)
}

func requirePrograms(t *testing.T) Programs {
	t.Helper()
	if os.Getenv("TEMPORAL_ADDRESS") == "" {
		t.Skip("TEMPORAL_ADDRESS is not set: make temporal runs this test")
	}
	programs, err := Build(t.Context(), os.Stderr)
	require.NoError(t, err)
	return programs
}

// Nodes on a PostgreSQL share what they know, and one that was killed knows it again.
func TestNodes(t *testing.T) {
	programs := requirePrograms(t)
	ctx := t.Context()
	pg, err := devdb.Start(ctx, devdb.Config{})
	require.NoError(t, err)
	defer func() { require.NoError(t, pg.Close()) }()
	db, err := programs.CreateDatabase(ctx, pg.URL(), "temporal")
	require.NoError(t, err)
	_, err = programs.CreateDatabase(ctx, pg.URL(), "temporal")
	require.ErrorContains(t, err, "already exists")

	var nodes []*Server
	for range 2 {
		node, err := programs.Start(ctx, Config{Database: db})
		require.NoError(t, err)
		defer func() { require.NoError(t, node.Close()) }()
		nodes = append(nodes, node)
	}
	require.NoError(t, nodes[0].Register(ctx, "shared"))
	path := "namespaces/shared"
	require.NoError(t, nodes[1].call(ctx, "GET", path, ""))
	nodes[0].Kill()
	require.Zero(t, nodes[0].Pid())
	_, err = net.Dial("tcp", nodes[0].Address())
	require.Error(t, err)
	require.NoError(t, nodes[0].Start(ctx))
	require.NoError(t, nodes[0].call(ctx, "GET", path, ""))
	require.ErrorContains(t, nodes[0].call(ctx, "GET", "namespaces/nobodys", ""), "404")
}
