package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// progressAfter is how long something takes before its progress is shown, on a terminal.
const progressAfter = time.Second

// A progress reports the progress of something that takes longer than a second on a
// terminal, or than ten elsewhere. Its methods may be called concurrently.
type progress struct {
	w     io.Writer
	what  string
	every time.Duration
	lines bool // there is no terminal on which a line could be overwritten

	mu    sync.Mutex
	state string
	said  bool

	stop, stopped chan struct{}
}

// startProgress starts a progress on w.
func startProgress(w io.Writer, what string) *progress {
	p := &progress{w: w, what: what, every: 200 * time.Millisecond, stop: make(chan struct{}), stopped: make(chan struct{})}
	if !isTerminal(w) {
		p.lines, p.every = true, 10*time.Second
	}
	go p.run()
	return p
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// set updates the text that is shown.
func (p *progress) set(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state = ": " + fmt.Sprintf(format, args...)
}

// done ends the progress and clears its line.
func (p *progress) done() {
	close(p.stop)
	<-p.stopped
}

func (p *progress) run() {
	defer close(p.stopped)
	began := time.Now()
	first := progressAfter
	if p.lines {
		first = p.every // logs need no line about what takes a second or two
	}
	timer := time.NewTimer(first)
	defer timer.Stop()
	for {
		select {
		case <-p.stop:
			if p.said && !p.lines {
				fmt.Fprint(p.w, "\r\x1b[K")
			}
			return
		case <-timer.C:
			p.say(time.Since(began))
			timer.Reset(p.every)
		}
	}
}

func (p *progress) say(since time.Duration) {
	p.mu.Lock()
	text := fmt.Sprintf("%s%s (%s)", p.what, p.state, rough(since))
	p.mu.Unlock()
	p.said = true
	if p.lines {
		fmt.Fprintln(p.w, text)
		return
	}
	fmt.Fprintf(p.w, "\r\x1b[K%s", text)
}
