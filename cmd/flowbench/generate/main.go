// Command generate measures how long flowc generate takes for many packages,
// beside the go command's own load of them, and beside other generators that
// read Go types and write as many units: goverter, moq and mockery.
//
// Every system has a module of its own in a temporary folder, over the same
// payload types. The systems take turns, so that what the machine does besides
// falls on all of them; judge by the ratios. The least of all rounds counts.
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
	ours := list[0].least[edited]
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "system\twall\tCPU\tours / its wall\tours / its CPU\t")
	for _, s := range list {
		l := s.least[edited]
		fmt.Fprintf(w, "%s\t%s\t%s\t%.2f\t%.2f\t\n", s.name, ms(l.wall), ms(l.cpu), ratio(ours.wall, l.wall), ratio(ours.cpu, l.cpu))
	}
	w.Flush()
	for _, s := range list[1:] {
		if s.atMost > 0 {
			r := ratio(ours.wall, s.least[edited].wall)
			verdict := "met"
			if r > s.atMost {
				verdict = "MISSED"
			}
			fmt.Fprintf(out, "goal flowc-vs-%s: %.2f, at most %.1f: %s\n", s.name, r, s.atMost, verdict)
		}
	}
}

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }

func ms(d time.Duration) string { return fmt.Sprintf("%d ms", d.Milliseconds()) }
