package devdb

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// oldestMajor is the oldest PostgreSQL that flowc supports.
const oldestMajor = 15

// BinariesEnv is the environment variable that names the directory of initdb and postgres if
// the program does not.
const BinariesEnv = "FLOWC_PG_BIN"

// ErrNoBinaries means that no installed PostgreSQL of version 15 or newer was found. Its
// text says what to do.
var ErrNoBinaries = errors.New("no PostgreSQL 15 or newer is installed here. Ways out:\n" +
	"  set DATABASE_URL to a PostgreSQL that runs already, or\n" +
	"  install one: " + installCommand(runtime.GOOS) + ", or\n" +
	"  set " + BinariesEnv + " to the directory that holds initdb and postgres")

func installCommand(goos string) string {
	switch goos {
	case "darwin":
		return "brew install postgresql"
	case "windows":
		return "winget install PostgreSQL.PostgreSQL.17"
	default:
		return "apt-get install postgresql (Debian, Ubuntu), brew install postgresql (macOS)"
	}
}

// Binaries are the programs of an installed PostgreSQL.
type Binaries struct {
	Dir     string // holds initdb and postgres
	Version string // "15.18", or "18beta2"
	Major   int    // 15

	// build is the full line that postgres prints as its version; data may only be copied
	// between servers of the same build.
	build string
}

// FindBinaries finds an installed PostgreSQL, version 15 or newer: in dir and
// nowhere else if it is not empty, else in the directory named by the
// environment variable FLOWC_PG_BIN and nowhere else if it is set, else where
// pg_config says, where initdb in the path is, and in the usual places of Linux
// distributions, Homebrew, Postgres.app and the Windows installer, there the
// newest first.
//
// If there is none, the error is [ErrNoBinaries], or says what is wrong with dir.
func FindBinaries(dir string) (Binaries, error) {
	bin, err := findBinaries(dir, 0)
	if err != nil {
		return Binaries{}, fmt.Errorf("flowc: devdb: %w", err)
	}
	return bin, nil
}

// findBinaries finds one major version, or any if it is 0.
func findBinaries(dir string, major int) (Binaries, error) {
	origin := "Binaries"
	if dir == "" {
		dir, origin = os.Getenv(BinariesEnv), BinariesEnv
	}
	if dir != "" {
		bin, err := inspect(dir)
		if err == nil && major != 0 && bin.Major != major {
			err = fmt.Errorf("%s has PostgreSQL %d", dir, bin.Major)
		}
		if err != nil {
			return Binaries{}, fmt.Errorf("%s: %w", origin, err)
		}
		return bin, nil
	}
	for _, dir := range candidates() {
		bin, err := inspect(dir)
		if err == nil && (major == 0 || bin.Major == major) {
			return bin, nil
		}
	}
	return Binaries{}, ErrNoBinaries
}

// candidates lists directories that may hold PostgreSQL, the best first.
func candidates() []string {
	var dirs []string
	if out, err := exec.Command("pg_config", "--bindir").Output(); err == nil {
		dirs = append(dirs, strings.TrimSpace(string(out)))
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		// A link in /usr/local/bin leads to where postgres is too.
		if path, err = filepath.EvalSymlinks(path); err == nil {
			dirs = append(dirs, filepath.Dir(path))
		}
	}
	for _, pattern := range usualPlaces(runtime.GOOS) {
		found, _ := filepath.Glob(pattern)
		slices.SortStableFunc(found, func(a, b string) int { return majorIn(b) - majorIn(a) })
		dirs = append(dirs, found...)
	}
	return dirs
}

func usualPlaces(goos string) []string {
	switch goos {
	case "windows":
		return []string{`C:\Program Files\PostgreSQL\*\bin`}
	case "darwin":
		return []string{
			"/opt/homebrew/opt/postgresql@*/bin", // Apple silicon
			"/usr/local/opt/postgresql@*/bin",    // Intel
			"/Applications/Postgres.app/Contents/Versions/*/bin",
			"/opt/local/lib/postgresql*/bin", // MacPorts
		}
	default:
		return []string{
			"/usr/lib/postgresql/*/bin", // Debian, Ubuntu
			"/usr/pgsql-*/bin",          // the project's packages for Red Hat
			"/usr/libexec/postgresql*",  // Alpine
			"/usr/lib/postgresql*/bin",  // SUSE
			"/usr/local/pgsql/bin",      // built from source
			"/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin",
		}
	}
}

var digits = regexp.MustCompile(`\d+`)

// majorIn returns the last number in a path, which is the version in all the usual
// places.
func majorIn(path string) int {
	all := digits.FindAllString(path, -1)
	if len(all) == 0 {
		return 0
	}
	n, _ := strconv.Atoi(all[len(all)-1])
	return n
}

var versionLine = regexp.MustCompile(`\(PostgreSQL\) ((\d+)\S*)`)

// inspect returns which PostgreSQL a directory holds. pg_config alone, which comes with
// the client library, does not make a server.
func inspect(dir string) (Binaries, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return Binaries{}, err
	}
	for _, name := range []string{"initdb", "postgres"} {
		if _, err := exec.LookPath(filepath.Join(dir, name)); err != nil {
			return Binaries{}, fmt.Errorf("%s holds no program %s", dir, name)
		}
	}
	out, err := exec.Command(filepath.Join(dir, "postgres"), "--version").Output()
	if err != nil {
		return Binaries{}, fmt.Errorf("%s: postgres --version: %w", dir, err)
	}
	build := strings.TrimSpace(string(out))
	m := versionLine.FindStringSubmatch(build)
	if m == nil {
		return Binaries{}, fmt.Errorf("%s: postgres --version says %q", dir, build)
	}
	major, _ := strconv.Atoi(m[2])
	if major < oldestMajor {
		return Binaries{}, fmt.Errorf("%s has PostgreSQL %s, flowc needs %d or newer", dir, m[1], oldestMajor)
	}
	return Binaries{Dir: dir, Version: m[1], Major: major, build: build}, nil
}

// program returns the path of one of the programs.
func (b Binaries) program(name string) string { return filepath.Join(b.Dir, name) }
