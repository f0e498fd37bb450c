package day

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/flowc-dev/flowc/examples/orders/shop"
	"github.com/flowc-dev/flowc/runtime"
)

// A result is the outcome of one order.
type result struct {
	shipment shop.Shipment
	err      error // a *runtime.RunFailedError, if the order was rejected
	info     *runtime.RunInfo
}

// follow waits for all runs and shows their progress.
func follow(ctx context.Context, db runtime.DB, runs []*runtime.Run[shop.Shipment]) ([]result, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()

	results := make([]result, len(runs))
	var waits sync.WaitGroup
	for i, run := range runs {
		waits.Go(func() { results[i].shipment, results[i].err = run.Wait(ctx) })
	}
	ended := make(chan struct{})
	go func() {
		waits.Wait()
		close(ended)
	}()

	shown := newDisplay(os.Stdout)
	ticks := time.NewTicker(shown.interval)
	defer ticks.Stop()
	for done := false; !done; {
		select {
		case <-ended:
			done = true
		case <-ticks.C:
		}
		var p progress
		for i, run := range runs {
			if info := results[i].info; info != nil && info.Status.Ended() {
				p.add(info)
				continue
			}
			info, err := runtime.GetRun(ctx, db, run.ID(), runtime.WithStates())
			if err != nil {
				return nil, err
			}
			results[i].info = info
			p.add(info)
		}
		shown.show(p)
	}
	shown.close()
	for _, r := range results {
		if r.err != nil && !errors.As(r.err, new(*runtime.RunFailedError)) {
			return nil, r.err
		}
	}
	return results, nil
}

// progress counts runs and their steps.
type progress struct {
	runs, completed, failed int
	steps, stepsDone        int
}

func (p *progress) add(info *runtime.RunInfo) {
	p.runs++
	switch info.Status {
	case runtime.RunCompleted:
		p.completed++
	case runtime.RunFailed:
		p.failed++
	}
	for _, s := range info.States {
		p.steps++
		if s.Status == runtime.StepCompleted || s.Status == runtime.StepSkipped {
			p.stepsDone++
		}
	}
}

func (p progress) String() string {
	return fmt.Sprintf("%2d of %d orders shipped, %d rejected, %3d of %d steps done", p.completed, p.runs, p.failed, p.stepsDone, p.steps)
}

// display shows progress: a bar that moves on a terminal, a line now and then
// anywhere else.
type display struct {
	out      *os.File
	terminal bool
	interval time.Duration
	last     string
}

func newDisplay(out *os.File) *display {
	d := &display{out: out, interval: time.Second}
	if stat, err := out.Stat(); err == nil && stat.Mode()&os.ModeCharDevice != 0 {
		d.terminal, d.interval = true, 100*time.Millisecond
	}
	return d
}

func (d *display) show(p progress) {
	line := p.String()
	switch {
	case d.terminal:
		const width = 30
		filled := width * (p.completed + p.failed) / p.runs
		fmt.Fprintf(d.out, "\r%s%s %s", strings.Repeat("█", filled), strings.Repeat("░", width-filled), line)
	case line != d.last:
		fmt.Fprintln(d.out, line)
	}
	d.last = line
}

func (d *display) close() {
	if d.terminal {
		fmt.Fprintln(d.out)
	}
}
