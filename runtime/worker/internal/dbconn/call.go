package dbconn

import "time"

// A Call is a kind of call to the database.
type Call struct {
	Name    string
	Timeout time.Duration // what it may take at first; see [timeouts]
	// OwnErrors says that the caller deals with errors that [IsRefused] reports, which
	// are then neither logged nor counted.
	OwnErrors bool
}

// An Observer is told what becomes of calls. Its methods are called concurrently.
type Observer interface {
	// Called is called after each call.
	Called(name string, took time.Duration, err error)
	// CallFailed is called after a call that failed through no fault of its arguments.
	CallFailed()
	// SetConnected is called with whether the database can be reached.
	SetConnected(bool)
}
