package temporaldev

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// module is the module of this repository, and serverModule the folder in it that holds the
// module of the server.
const (
	module       = "github.com/flowc-dev/flowc"
	serverModule = "testdata/temporal"
)

// Programs are those of a Temporal server, by their paths.
type Programs struct {
	server  string
	sqlTool string
}

// sources are the packages of the programs, by the names of their files.
var sources = map[string]string{
	"temporal-server":   "go.temporal.io/server/cmd/server",
	"temporal-sql-tool": "go.temporal.io/server/cmd/tools/sql",
}

// Build returns the programs, and builds them if no earlier call did. It needs the go
// command, in a module that this repository belongs to or is replaced by. Progress is
// written to out: nothing if there is nothing to build.
func Build(ctx context.Context, out io.Writer) (Programs, error) {
	p, err := build(ctx, out)
	if err != nil {
		return Programs{}, fmt.Errorf("flowc: temporaldev: building the Temporal server: %w", err)
	}
	return p, nil
}

// places returns the directory of the server's module, and the one that keeps its programs.
func places(ctx context.Context) (dir, kept string, _ error) {
	dir, err := repository(ctx)
	if err != nil {
		return "", "", err
	}
	dir = filepath.Join(dir, filepath.FromSlash(serverModule))
	kept, err = keptIn(dir)
	return dir, kept, err
}

func programsIn(dir string) Programs {
	return Programs{filepath.Join(dir, "temporal-server"), filepath.Join(dir, "temporal-sql-tool")}
}

func (p Programs) exist() bool { return isFile(p.server) && isFile(p.sqlTool) }

func build(ctx context.Context, out io.Writer) (Programs, error) {
	dir, kept, err := places(ctx)
	if err != nil {
		return Programs{}, err
	}
	p := programsIn(kept)
	if p.exist() {
		return p, nil
	}
	if err := os.MkdirAll(filepath.Dir(kept), 0o755); err != nil {
		return Programs{}, err
	}
	made, err := os.MkdirTemp(filepath.Dir(kept), "building-")
	if err != nil {
		return Programs{}, err
	}
	defer os.RemoveAll(made)
	fmt.Fprintln(out, "building the Temporal server; the first time takes minutes")
	began := time.Now()
	for name, source := range sources {
		if err := compile(ctx, out, dir, source, filepath.Join(made, name)); err != nil {
			return Programs{}, err
		}
	}
	// Another process may have built them meanwhile, which is as good.
	if err := os.Rename(made, kept); err != nil && !p.exist() {
		return Programs{}, err
	}
	fmt.Fprintf(out, "built the Temporal server in %s, kept in %s\n", time.Since(began).Round(time.Second), kept)
	return p, nil
}

// repository returns the directory of this repository.
func repository(ctx context.Context) (string, error) {
	dir, err := output(ctx, "", nil, "go", "list", "-m", "-f", "{{.Dir}}", module)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(filepath.Join(dir, filepath.FromSlash(serverModule), "go.mod")); err != nil {
		return "", fmt.Errorf("it takes a checkout of %s, with the folder %s: %w", module, serverModule, err)
	}
	return dir, nil
}

// keptIn returns the directory that keeps the programs of the module in dir: one for each
// version of its dependencies, of Go and of the machine.
func keptIn(dir string) (string, error) {
	sums, err := os.ReadFile(filepath.Join(dir, "go.sum"))
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	key := sha256.Sum256(append(sums, runtime.Version()+runtime.GOOS+runtime.GOARCH...))
	return filepath.Join(cache, "flowc", "temporal", fmt.Sprintf("%x", key[:8])), nil
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// compile builds a program of the module in dir, and says now and then how far it is.
func compile(ctx context.Context, out io.Writer, dir, source, program string) error {
	list, err := output(ctx, dir, nil, "go", "list", "-deps", source) // downloads what is missing
	if err != nil {
		return err
	}
	all := strings.Count(list, "\n") + 1
	cmd := exec.CommandContext(ctx, "go", "build", "-v", "-o", program, source)
	cmd.Dir = dir
	said, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	var text []string
	began, built := time.Now(), 0
	next := began.Add(progressEvery)
	for lines := bufio.NewScanner(said); lines.Scan(); {
		line := lines.Text()
		if strings.ContainsAny(line, " :") || line == "" { // not the path of a package
			text = append(text, line)
			continue
		}
		built++
		if now := time.Now(); now.After(next) {
			next = now.Add(progressEvery)
			fmt.Fprintf(out, "  %s: compiled %d of at most %d packages in %s\n", filepath.Base(program), built, all, now.Sub(began).Round(time.Second))
		}
	}
	if err := cmd.Wait(); err != nil {
		return errors.Join(err, errors.New(strings.Join(text, "\n")))
	}
	return nil
}

// progressEvery is how often a build says how far it is.
const progressEvery = 10 * time.Second

// output runs a program with some more variables in its environment, and returns what it
// prints.
func output(ctx context.Context, dir string, env []string, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return strings.TrimSpace(string(out)), nil
}
