package main

import (
	"context"
	"errors"
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

// An exitError ends the command with a status. Its error is printed if there is one.
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

// statusOf returns the exit status for the error of a command.
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
