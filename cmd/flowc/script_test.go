package main

import (
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite what scripts compare output with")

func TestMain(m *testing.M) {
	testscript.Main(withServer{m}, map[string]func(){
		"flowc":       func() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
		"flowc_fetch": fetch,
	})
}

// TestScripts runs the command in modules of its own.
func TestScripts(t *testing.T) {
	t.Parallel()
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	goEnv, err := exec.Command("go", "env", "GOCACHE", "GOMODCACHE", "GOROOT").Output()
	require.NoError(t, err)
	flowc, err := exec.LookPath("flowc") // which is this test, as TestMain arranges
	require.NoError(t, err)
	dirs := strings.Fields(string(goEnv))
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		Cmds:          databaseCommands,
		UpdateScripts: *update,
		Setup: func(env *testscript.Env) error {
			env.Vars = append(env.Vars,
				"GOCACHE="+dirs[0], "GOMODCACHE="+dirs[1], "GOROOT="+dirs[2],
				"GOPROXY=off", "GOSUMDB=off", "GOFLAGS=", "GOWORK=off", "GOTOOLCHAIN=local", "FLOWC="+flowc,
				"TZ=UTC",
			)
			if err := openDir(env); err != nil {
				return err
			}
			return writeModule(env.WorkDir, root)
		},
	})
}

// fetch prints what is at a URL.
func fetch() {
	response, err := http.Get(os.Args[1])
	if err == nil {
		defer response.Body.Close()
		_, err = io.Copy(os.Stdout, response.Body)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// openDir creates a folder in which a server of any user can keep its data: a script runs
// in one that is closed to others.
func openDir(env *testscript.Env) error {
	dir, err := os.MkdirTemp("", "flowc-script-")
	if err != nil {
		return err
	}
	env.Defer(func() { _ = os.RemoveAll(dir) })
	env.Setenv("OPENDIR", dir)
	return os.Chmod(dir, 0o755)
}

// writeModule turns a folder into a module that requires the flowc of root.
func writeModule(dir, root string) error { return requireClone(dir, "example.com/shop", root) }
