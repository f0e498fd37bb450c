// Command flowbench measures flowc beside what else works jobs and flows on PostgreSQL.
// The systems of a comparison take turns of a second or two on one server, so that what
// the machine does besides falls on all of them. Rates are this machine's: judge by the
// ratios, pair by pair, and by processor time and WAL per unit. A goal is met or missed if
// the pairs leave no doubt, and undecided otherwise.
//
// It is a module of its own, so that the peers never enter anybody's build.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"time"
)

func main() {
	if database := os.Getenv(workerDatabase); database != "" {
		run := runWorker
		if os.Getenv(holdTasks) != "" {
			run = runHolder
		}
		if err := run(context.Background(), database, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "flowbench worker:", err)
			os.Exit(1)
		}
		return
	}
	rounds := flag.Int("rounds", 5, "how many turns each system has, after one to warm up")
	only := flag.String("only", everything, "measure only the cells whose name matches this `expression`; those on Temporal only if it names them")
	scale := flag.Float64("scale", 1, "multiply the amounts of work by this")
	dir := flag.String("dir", "", "keep the server's data in this `folder` instead of a temporary one")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *rounds, *only, *scale, *dir); err != nil {
		fmt.Fprintln(os.Stderr, "flowbench:", err)
		os.Exit(1)
	}
}

// everything is the expression that all names match.
const everything = "."

func run(ctx context.Context, rounds int, only string, scale float64, dir string) error {
	match, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	began := time.Now()
	srv, err := startServer(ctx, dir)
	if err != nil {
		return err
	}
	defer srv.close()
	fmt.Println(srv.about)

	results := map[string]*result{}
	for _, c := range cells(scale) {
		if !match.MatchString(c.name) || c.temporal && only == everything {
			continue
		}
		fmt.Printf("\n%s\n", c.title)
		measured, host, err := c.measure(ctx, srv, rounds)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		for _, r := range measured {
			results[c.name+"/"+r.system] = r
		}
		printCell(os.Stdout, measured, host)
	}
	fmt.Println()
	for _, g := range goals {
		g.print(os.Stdout, results)
	}
	fmt.Printf("\ntook %s\n", time.Since(began).Round(time.Second))
	return nil
}
