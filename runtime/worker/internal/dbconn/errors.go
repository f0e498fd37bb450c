package dbconn

import (
	"context"
	"errors"

	"github.com/flowc-dev/flowc/runtime/internal/pgerr"
)

// A slowError is the error of a call that the database was busy with when its time ran
// out, or when somebody canceled it there.
type slowError struct{ error }

func (e slowError) Unwrap() error { return e.error }

// IsSlow reports whether a call failed while the database was busy with it. It may
// succeed with more time, or with less to do.
func IsSlow(err error) bool { return errors.As(err, new(slowError)) }

// IsTransient reports whether a call that failed is worth repeating as it is.
func IsTransient(err error) bool {
	return pgerr.Transient(err) || errors.Is(err, context.DeadlineExceeded)
}

// IsRefused reports whether the database refused a call for the data that it is about.
func IsRefused(err error) bool {
	switch pgerr.Class(err) {
	case "22", "23", "54", "P0", "XX": // data, constraints, limits, raised by a trigger, corrupted
		return true
	}
	return false
}
