package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// rootsData is where the data of root's projects are that no other user reaches.
const rootsData = "/var/lib/flowc"

// projectDir returns where the database of the project in the current folder is kept.
func projectDir() (string, error) {
	project, err := projectRoot()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(project, ".flowc")
	if os.Geteuid() == 0 && !passableToAll(project) {
		// A PostgreSQL of root runs as another user, who has to pass to its data.
		sum := sha256.Sum256([]byte(project))
		dir = filepath.Join(rootsData, filepath.Base(project)+"-"+hex.EncodeToString(sum[:4]))
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("flowc: %w\n\tfix: choose another folder with --dir", err)
	}
	if err := ignored(dir); err != nil {
		return "", fmt.Errorf("flowc: %w", err)
	}
	return filepath.Join(dir, "postgres"), nil
}

// projectRoot returns the folder of the module that the current folder is in, or the
// current folder if it is in none.
func projectRoot() (string, error) {
	current, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("flowc: %w", err)
	}
	if current, err = filepath.EvalSymlinks(current); err != nil {
		return "", fmt.Errorf("flowc: %w", err)
	}
	for dir := current; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return current, nil
		}
	}
}

// passableToAll reports whether every user may pass through a folder and all
// above it.
func passableToAll(dir string) bool {
	for ; ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil || info.Mode().Perm()&0o001 == 0 {
			return false
		}
		if dir == filepath.Dir(dir) {
			return true
		}
	}
}

// ignored keeps a folder out of version control.
func ignored(dir string) error {
	path := filepath.Join(dir, ".gitignore")
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.WriteFile(path, []byte("*\n"), 0o644)
}
