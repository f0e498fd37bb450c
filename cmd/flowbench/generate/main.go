// Command generate measures how long flowc generate takes for many packages,
// beside the go command's own load of them, and beside other generators that
// read Go types and write as many units: goverter, moq and mockery.
//
// Every system has a module of its own in a temporary folder, over the same
// payload types. The systems take turns, so that what the machine does besides
// falls on all of them; judge by the ratios, pair by pair.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"text/tabwriter"
	"time"

	"golang.org/x/tools/go/packages"

	"github.com/flowc-dev/flowc/cmd/flowbench/pairs"
)

func main() {
	rounds := flag.Int("rounds", 7, "how often each measurement is taken")
	units := flag.Int("units", 100, "how many packages each system generates from")
	load := flag.Bool("load", false, "only load the packages that are given, as flowc does; a measurement does it")
	flag.Parse()
	if *load {
		loadPackages(flag.Args())
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout, *rounds, *units); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, rounds, units int) (err error) {
	root, err := filepath.Abs("../../..")
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(root, "dsl")); err != nil {
		return errors.New("run it in its own folder, cmd/flowbench/generate")
	}
	dir, err := os.MkdirTemp("", "flowc-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	fmt.Fprintln(out, "building the generators …")
	bin := filepath.Join(dir, "bin")
	if err := build(ctx, root, bin); err != nil {
		return err
	}
	list := systems(root, bin, units)
	for i := range list {
		list[i].dir = filepath.Join(dir, list[i].name)
		if err := list[i].prepare(ctx); err != nil {
			return fmt.Errorf("preparing %s: %w", list[i].name, err)
		}
	}

	for _, state := range []struct {
		title string
		edit  bool
	}{
		{"nothing has changed", false},
		{"one package has been edited", true},
	} {
		fmt.Fprintf(out, "\n%d units, %s:\n", units, state.title)
		for round := range rounds {
			for i := range list {
				if state.edit {
					if err := list[i].edit(round); err != nil {
						return err
					}
				}
				if err := list[i].measure(ctx, state.edit); err != nil {
					return fmt.Errorf("%s: %w", list[i].name, err)
				}
			}
		}
		print(out, list, state.edit)
	}
	return nil
}

// loadPackages does what every generator has to do before it knows any types.
func loadPackages(patterns []string) {
	loaded, err := packages.Load(&packages.Config{Mode: packages.LoadSyntax}, patterns...)
	if err != nil || len(loaded) != len(patterns) {
		fmt.Fprintln(os.Stderr, "generate:", len(loaded), "packages:", err)
		os.Exit(1)
	}
}

// build builds flowc as it is, and the others as go.mod says.
func build(ctx context.Context, root, bin string) error {
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	for dir, packages := range map[string][]string{
		root: {"./cmd/flowc"},
		".": {
			"github.com/jmattheis/goverter/cmd/goverter",
			"github.com/matryer/moq",
			"github.com/vektra/mockery/v3",
		},
	} {
		cmd := exec.CommandContext(ctx, "go", append([]string{"build", "-o", bin + string(filepath.Separator)}, packages...)...)
		cmd.Dir, cmd.Stderr = dir, os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("building %s: %w", packages, err)
		}
	}
	return nil
}

// print prints what was measured, and what the goals say.
func print(out io.Writer, list []system, edited bool) {
	ours := list[0].costs[edited]
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "system\twall ms\tCPU ms\tours / its wall\tours / its CPU\t")
	for _, s := range list {
		c := s.costs[edited]
		fmt.Fprintf(w, "%s\t%.0f\t%.0f\t%s\t%s\t\n", s.name, pairs.Median(c.wall), pairs.Median(c.cpu),
			pairs.Spread(pairs.Of(ours.wall, c.wall)), pairs.Spread(pairs.Of(ours.cpu, c.cpu)))
	}
	w.Flush()
	for _, s := range list[1:] {
		if s.atMost > 0 {
			r := pairs.Of(ours.wall, s.costs[edited].wall)
			g := pairs.Goal{Name: "flowc-vs-" + s.name, AtMost: true, Target: s.atMost}
			fmt.Fprintf(out, "%-10s %s: %s\n", g.Judge(r), g, pairs.Spread(r))
		}
	}
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
