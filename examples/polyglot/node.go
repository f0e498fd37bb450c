package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"
)

//go:embed typesetter/package.json typesetter/package-lock.json typesetter/worker.mjs
var typesetter embed.FS

// errNoNode says that there is nothing to run the typesetter with.
var errNoNode = errors.New("node and npm are not installed: apt-get install nodejs npm, or see https://nodejs.org")

// install installs the typesetter with its packages in the user's cache, unless it is there.
func install(ctx context.Context) (dir string, err error) {
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			return "", errNoNode
		}
	}
	files, err := fs.Sub(typesetter, "typesetter")
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	err = fs.WalkDir(files, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(files, path)
		sum.Write(content)
		return err
	})
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir = filepath.Join(cache, "flowc-typesetter", hex.EncodeToString(sum.Sum(nil)[:8]))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	// Created beside it and renamed, so that it is complete if it exists.
	making, err := os.MkdirTemp(filepath.Dir(dir), "making-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(making)
	if err := os.CopyFS(making, files); err != nil {
		return "", err
	}
	fmt.Fprintln(os.Stderr, "installing the packages of the typesetter with npm")
	npm := exec.CommandContext(ctx, "npm", "ci", "--no-audit", "--no-fund")
	npm.Dir = making
	if out, err := npm.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	if err := os.Rename(making, dir); err != nil {
		if _, there := os.Stat(dir); there == nil {
			return dir, nil // somebody else was faster
		}
		return "", err
	}
	return dir, nil
}

// runTypesetter starts the Node process and returns when it is ready; stop ends it.
func runTypesetter(ctx context.Context, pool *pgxpool.Pool) (stop func() error, err error) {
	dir, err := install(ctx)
	if err != nil {
		return nil, err
	}
	db := pool.Config().ConnConfig
	node := exec.CommandContext(ctx, "node", "worker.mjs")
	node.Dir = dir
	node.Stderr = os.Stderr
	node.Env = append(os.Environ(), "PGHOST="+db.Host, "PGPORT="+strconv.Itoa(int(db.Port)),
		"PGUSER="+db.User, "PGPASSWORD="+db.Password, "PGDATABASE="+db.Database)
	in, err := node.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := node.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := node.Start(); err != nil {
		return nil, err
	}
	stop = func() error {
		_ = in.Close() // so that it ends
		return node.Wait()
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if strings.TrimSpace(line) != "ready" {
		return nil, errors.Join(fmt.Errorf("the typesetter did not start, it said %q", line), err, stop())
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	return stop, nil
}
