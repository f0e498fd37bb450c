package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// A system is a program that reads many packages, with a module for it to read.
type system struct {
	name   string
	dir    string
	files  map[string]string // of the module, by path
	args   []string          // the command
	atMost float64           // how many times as long ours may take; 0 for any
	costs  map[bool]*costs   // by whether a package was edited
}

// costs are what each round took, in milliseconds.
type costs struct{ wall, cpu []float64 }

// systems are ours first, and what it is compared with.
func systems(root, bin string, units int) []system {
	program := func(name string) string { return filepath.Join(bin, name) }
	flows := flowFiles(root, units)
	var interfaces []string
	for i := range units {
		interfaces = append(interfaces, fmt.Sprintf("Service%d", i))
	}
	return []system{
		{name: "flowc", files: flows, args: []string{program("flowc"), "generate", "./..."}},
		{name: "go list", files: flows, atMost: 2, args: append([]string{"go", "list", "-e", "-compiled", "-export", "-deps",
			"-json=Name,ImportPath,Error,Dir,GoFiles,CompiledGoFiles,Export,DepOnly,Imports,ImportMap"}, folders(units)...)},
		{name: "packages.Load", files: flows, atMost: 2, args: append([]string{os.Args[0], "-load"}, folders(units)...)},
		{name: "goverter", files: converterFiles(units), atMost: 1, args: append([]string{program("goverter"), "gen"}, folders(units)...)},
		{name: "moq", files: interfaceFiles(units, true), atMost: 1, args: append(
			[]string{program("moq"), "-out", "p0/mocks.go", "./p0"}, interfaces...)},
		{name: "mockery", files: interfaceFiles(units, false), args: []string{program("mockery"), "--log-level", "error"}},
	}
}

// prepare writes the module and runs the command once.
func (s *system) prepare(ctx context.Context) error {
	s.costs = map[bool]*costs{false: {}, true: {}}
	for name, contents := range s.files {
		path := filepath.Join(s.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(contents), 0o644); err != nil {
			return err
		}
	}
	_, _, err := s.run(ctx)
	return err
}

// edit changes one package in a way that makes it another one to the compiler.
func (s *system) edit(round int) error {
	contents := fmt.Sprintf("package p0\n\nconst Round = %d\n", time.Now().UnixNano()+int64(round))
	return os.WriteFile(filepath.Join(s.dir, "p0", "edited.go"), []byte(contents), 0o644)
}

func (s *system) measure(ctx context.Context, edited bool) error {
	wall, cpu, err := s.run(ctx)
	if err != nil {
		return err
	}
	c := s.costs[edited]
	c.wall, c.cpu = append(c.wall, ms(wall)), append(c.cpu, ms(cpu))
	return nil
}

// run runs the command in a process of its own, whose children count with it.
func (s *system) run(ctx context.Context) (wall, cpu time.Duration, _ error) {
	cmd := exec.CommandContext(ctx, s.args[0], s.args[1:]...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOPROXY=off", "GOWORK=off")
	var said bytes.Buffer
	cmd.Stderr = &said
	began := time.Now()
	err := cmd.Run()
	wall = time.Since(began)
	if err != nil {
		return 0, 0, fmt.Errorf("%w: %s", err, said.String())
	}
	return wall, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), nil
}
