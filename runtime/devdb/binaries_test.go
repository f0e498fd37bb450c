package devdb

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// install creates a directory with programs that only print a version.
func install(t *testing.T, version string, programs ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range programs {
		script := fmt.Sprintf("#!/bin/sh\necho '%s (PostgreSQL) %s'\n", name, version)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755))
	}
	return dir
}

func TestFindBinariesInDirectory(t *testing.T) {
	t.Parallel()
	found, err := FindBinaries("")
	require.NoError(t, err)
	require.GreaterOrEqual(t, found.Major, oldestMajor)
	again, err := FindBinaries(found.Dir)
	require.NoError(t, err)
	require.Equal(t, found, again)

	for name, test := range map[string]struct {
		dir     string
		want    Binaries
		wantErr string
	}{
		"release":      {dir: install(t, "18.4 (Debian 18.4-1)", "initdb", "postgres"), want: Binaries{Version: "18.4", Major: 18}},
		"beta":         {dir: install(t, "19beta2", "initdb", "postgres"), want: Binaries{Version: "19beta2", Major: 19}},
		"too old":      {dir: install(t, "14.9", "initdb", "postgres"), wantErr: "has PostgreSQL 14.9, flowc needs 15 or newer"},
		"client only":  {dir: install(t, "15.1", "pg_config"), wantErr: "holds no program initdb"},
		"no server":    {dir: install(t, "15.1", "initdb"), wantErr: "holds no program postgres"},
		"other things": {dir: install(t, "none", "initdb", "postgres"), wantErr: "postgres --version says"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bin, err := FindBinaries(test.dir)
			if test.wantErr != "" {
				require.ErrorContains(t, err, test.wantErr)
				require.ErrorContains(t, err, test.dir)
				return
			}
			require.NoError(t, err)
			require.Equal(t, test.want.Version, bin.Version)
			require.Equal(t, test.want.Major, bin.Major)
		})
	}
}

func TestFindBinariesByEnvironment(t *testing.T) {
	dir := install(t, "17.2", "initdb", "postgres")
	t.Setenv(BinariesEnv, dir)
	bin, err := FindBinaries("")
	require.NoError(t, err)
	require.Equal(t, dir, bin.Dir)

	t.Setenv(BinariesEnv, filepath.Join(dir, "nowhere"))
	_, err = FindBinaries("")
	require.ErrorContains(t, err, BinariesEnv+": ")
	require.ErrorContains(t, err, "holds no program initdb")
}

func TestFindBinariesByPath(t *testing.T) {
	real := install(t, "17.2", "initdb", "postgres")
	path := t.TempDir()
	require.NoError(t, os.Symlink(filepath.Join(real, "initdb"), filepath.Join(path, "initdb")))
	t.Setenv("PATH", path)
	bin, err := FindBinaries("")
	require.NoError(t, err)
	require.Equal(t, real, bin.Dir, "where the link leads")

	// pg_config comes with the client library, and may speak of another place.
	server := install(t, "16.1", "initdb", "postgres")
	script := "#!/bin/sh\necho " + server + "\n"
	require.NoError(t, os.WriteFile(filepath.Join(path, "pg_config"), []byte(script), 0o755))
	bin, err = FindBinaries("")
	require.NoError(t, err)
	require.Equal(t, server, bin.Dir, "pg_config first")

	require.NoError(t, os.Remove(filepath.Join(server, "postgres")))
	bin, err = FindBinaries("")
	require.NoError(t, err)
	require.Equal(t, real, bin.Dir, "a client's pg_config does not count")
}

func TestNewestFirst(t *testing.T) {
	t.Parallel()
	require.Equal(t, 15, majorIn("/usr/lib/postgresql/15/bin"))
	require.Equal(t, 9, majorIn("/usr/pgsql-9/bin"))
	require.Equal(t, 17, majorIn("/opt/homebrew/opt/postgresql@17/bin"))
	require.Zero(t, majorIn("/usr/local/pgsql/bin"))
}

func TestNoBinariesNamesTheWaysOut(t *testing.T) {
	t.Parallel()
	_, err := findBinaries("", 999)
	require.ErrorIs(t, err, ErrNoBinaries)
	for _, way := range []string{"set DATABASE_URL", "apt-get install postgresql", "brew install postgresql", BinariesEnv} {
		require.ErrorContains(t, err, way)
	}
}
