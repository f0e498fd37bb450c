package dbconn

import (
	"log/slog"
	"sync"
	"time"

	"github.com/flowc-dev/flowc/runtime/internal/pgerr"
)

const (
	outageTime  = 500 * time.Millisecond // how long calls must have failed before it is logged
	cancelEvery = 10 * time.Second       // how often it is logged that calls are canceled
)

// outages logs once that the database cannot be reached, and once that it can be again.
// A connection that broke and was replaced at once is not logged.
type outages struct {
	observer Observer
	log      *slog.Logger

	mu       sync.Mutex
	since    time.Time       // of the first failed call after the last successful one
	ended    chan struct{}   // closed by the next successful one
	logged   string          // what was logged of that, if anything
	rejected map[string]bool // calls that fail for another reason, which was logged
	canceled time.Time       // when it was last logged that calls are canceled
}

func (o *outages) observe(call Call, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case err == nil:
		o.observer.SetConnected(true)
		if o.logged != "" {
			o.log.Info(ended(o.logged), "duration", time.Since(o.since).Round(time.Millisecond))
		}
		if !o.since.IsZero() {
			close(o.ended)
		}
		o.since, o.logged, o.ended = time.Time{}, "", nil
		delete(o.rejected, call.Name)
	case pgerr.Unstorable(err), IsRefused(err) && call.OwnErrors:
		// The fault of the data, not of the call: the caller deals with it.
	case pgerr.Cancelled(err):
		o.observer.CallFailed()
		if time.Since(o.canceled) > cancelEvery {
			o.canceled = time.Now()
			o.log.Error("database canceled a call, retrying", "call", call.Name, "error", err.Error())
		}
	case !pgerr.Transient(err):
		o.observer.CallFailed()
		if !o.rejected[call.Name] {
			o.rejected[call.Name] = true
			o.log.Error("database rejected a call", "call", call.Name, "error", err.Error())
		}
	default:
		o.observer.SetConnected(false)
		o.observer.CallFailed()
		if o.since.IsZero() {
			o.since, o.ended = time.Now(), make(chan struct{})
		}
		if o.logged == "" && time.Since(o.since) > outageTime {
			o.logged = describe(err)
			o.log.Error(o.logged+", retrying", "call", call.Name, "error", err.Error())
		}
	}
}

func (o *outages) recovered() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.ended
}

const unreachable = "database unreachable"

// describe says what keeps the database from answering.
func describe(err error) string {
	switch code := pgerr.Code(err); {
	case code == "53100":
		return "database disk full"
	case code == "53200":
		return "database out of memory"
	case code == "53300":
		return "database has no free connections"
	case pgerr.Class(err) == "53":
		return "database out of resources"
	}
	return unreachable
}

// ended says that an outage has ended.
func ended(outage string) string {
	if outage == unreachable {
		return "database reachable again"
	}
	return "database working again"
}
