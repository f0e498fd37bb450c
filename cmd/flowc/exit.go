package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"
)

// The exit statuses of the command. `flowc help exit-codes` says the same.
const (
	exitOK          = 0
	exitFailed      = 1
	exitFound       = 2
	exitRunFailed   = 3
	exitTimeout     = 4
	exitInterrupted = 130 // as shells have it: 128 and the signal's number
)

const exitCodes = `0    It is done.
1    It could not be done: the message says why and what to do. Mistakes in
     declarations, and files that generate --check finds stale, are among it.
2    There is something to be done: flows plan would change something, or doctor
     has found something.
3    The run that was waited for failed or was cancelled (start --wait, runs watch).
4    The run that was waited for has not ended in time, and goes on.
130  Interrupted.

Any other status is that of the program which dev was given to run.`

func newExitCodes() *cobra.Command {
	return &cobra.Command{Use: "exit-codes", Short: "What the exit status means", Long: exitCodes}
}

// exitError ends the command with a status. Its error is printed if there is one.
type exitError struct {
	status int
	err    error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// statusOf is the exit status for the error of a command.
func statusOf(ctx context.Context, err error) int {
	var exit *exitError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &exit):
		return exit.status
	case ctx.Err() != nil:
		return exitInterrupted
	}
	return exitFailed
}
