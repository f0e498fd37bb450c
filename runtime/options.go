package runtime

import (
	"bufio"
	"crypto/rand"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/flowc-dev/flowc/runtime/internal/runid"
	"github.com/flowc-dev/flowc/runtime/internal/valid"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/google/uuid"
)

// A StartOption configures the start of a run.
type StartOption interface{ start(*startOptions) error }

// A WaitOption configures waiting for a run. Functions that start and wait take it, too.
type WaitOption interface {
	StartOption
	wait(*waitOptions) error
}

type startOptions struct {
	id   *uuid.UUID
	key  *string
	keys []string
	in   *time.Duration
	at   *time.Time
	wait []WaitOption

	headers       map[string]string // of WithHeaders
	withoutUnique bool
	priority      Priority
}

type startOption func(*startOptions) error

func (f startOption) start(o *startOptions) error { return f(o) }

// WithRunID sets the run's id, which is a UUID. If a run of the flow, or of another version
// of it, has that id already, that run is returned, whatever its input, and [Run.Existed]
// is true. If the flow is unique and another run is like it, the error is a
// [DuplicateRunError], unless that run is replaced.
func WithRunID(id string) StartOption {
	return startOption(func(o *startOptions) error {
		parsed, err := valid.RunID(id)
		o.id = &parsed
		return err
	})
}

// WithIdempotencyKey makes the run the only one of its flow with that key, across all
// versions of the flow: if there is one already, that run is returned, whatever its input
// and version, and [Run.Existed] is true; [Run.Flow] says which version it belongs to.
// The key is free again when the run is deleted. If the flow is unique and another run is
// like it, that is returned, and the key stays free.
func WithIdempotencyKey(key string) StartOption {
	return startOption(func(o *startOptions) error {
		if key == "" {
			return valid.Option("the key of WithIdempotencyKey is empty")
		}
		o.key = &key
		return nil
	})
}

// WithKeys sets idempotency keys for StartMany: the i-th key is that of the i-th input, see
// [WithIdempotencyKey]. Inputs with the same key become one run, that of the first.
func WithKeys(keys ...string) StartOption {
	return startOption(func(o *startOptions) error {
		for i, key := range keys {
			if key == "" {
				return valid.Option("key %d of WithKeys is empty", i)
			}
		}
		o.keys = append([]string{}, keys...)
		return nil
	})
}

// WithoutUnique starts the run even if another one is like it, whatever the flow says
// ([spec.Flow.Unique]). It does not count for those that start later. It is for operators.
func WithoutUnique() StartOption {
	return startOption(func(o *startOptions) error {
		o.withoutUnique = true
		return nil
	})
}

// WithDelay starts the run's steps after a delay, by the database's clock, from when the
// run is stored, in microseconds, rounded up. A negative
// delay is an [ErrInvalidOption].
func WithDelay(delay time.Duration) StartOption {
	return startOption(func(o *startOptions) error {
		if delay < 0 {
			return valid.Option("the delay is negative: %s", delay)
		}
		o.in = spec.Set(upToMicroseconds(delay))
		return nil
	})
}

// WithStartAt starts the run's steps at a time, by the database's clock, in microseconds,
// rounded up. A time in the past means now; the zero time is refused, and so is one after
// the year 9999.
func WithStartAt(at time.Time) StartOption {
	return startOption(func(o *startOptions) error {
		at, err := startTime(at)
		o.at = &at
		return err
	})
}

// startTime rounds a time to start at to the precision of the database, never to an
// earlier one.
func startTime(at time.Time) (time.Time, error) {
	switch {
	case at.IsZero():
		return at, valid.Option("the time to start at is the zero time; leave it out to start now")
	case at.Before(time.Unix(0, 0)):
		return time.Unix(0, 0), nil // in the past, like any earlier time
	}
	if up := at.Truncate(time.Microsecond); up.Before(at) {
		at = up.Add(time.Microsecond)
	}
	return at, valid.Time("the time to start at", at)
}

func upToMicroseconds(d time.Duration) time.Duration {
	if rest := d % time.Microsecond; rest > 0 && d-rest < math.MaxInt64-time.Microsecond {
		return d - rest + time.Microsecond
	}
	return d
}

func startOptionsOf(opts []StartOption) (*startOptions, error) {
	o := new(startOptions)
	for _, opt := range opts {
		if opt == nil {
			return nil, valid.Option("an option is nil")
		}
		if err := opt.start(o); err != nil {
			return nil, err
		}
	}
	switch {
	case o.in != nil && o.at != nil:
		return nil, valid.Option("both a delay and a time to start at are given")
	case o.id != nil && o.key != nil:
		return nil, valid.Option("both WithRunID and WithIdempotencyKey are given")
	}
	return o, nil
}

// keyed returns the id of the run of a flow with a key, which is the same for all
// versions of the flow. No slug has a slash.
func keyed(slug, key string) uuid.UUID {
	slug, _ = spec.VersionOf(slug)
	return runid.Derive(slug + "/" + key)
}

// chosen reports whether the caller chose the ids of the runs. Generated ones are new, even
// if the run exists because a broken call was repeated.
func (o *startOptions) chosen() bool { return o.id != nil || o.key != nil || o.keys != nil }

// runIDs returns the ids of n runs that are started together.
func (o *startOptions) runIDs(db DB, slug string, n int) ([]uuid.UUID, error) {
	namer, ok := capability[Namer](db)
	if ok && !o.chosen() {
		return namer.NewRunIDs(n)
	}
	ids := make([]uuid.UUID, n)
	keys := o.keys
	if o.key != nil {
		keys = []string{*o.key}
	}
	for i, key := range keys {
		ids[i] = keyed(slug, key)
		if ok {
			var err error
			if ids[i], err = namer.KeyedRunID(ids[i]); err != nil {
				return nil, err
			}
		}
	}
	switch {
	case keys != nil:
	case o.id != nil:
		ids[0] = *o.id
	case n == 1:
		return ids, newID(&ids[0], rand.Reader)
	default:
		random := bufio.NewReader(rand.Reader) // which is read once for many ids
		for i := range ids {
			if err := newID(&ids[i], random); err != nil {
				return nil, err
			}
		}
	}
	return ids, nil
}

func newID(id *uuid.UUID, random io.Reader) (err error) {
	if *id, err = uuid.NewV7FromReader(random); err != nil {
		return fmt.Errorf("flowc: generating a run id: %w", err)
	}
	return nil
}

// DefaultPollInterval is how often a run is polled while notifications do not arrive,
// unless [WithPollInterval] sets another interval.
const DefaultPollInterval = 500 * time.Millisecond

type waitOptions struct {
	timeout *time.Duration
	poll    time.Duration
}

type waitOption func(*waitOptions) error

func (f waitOption) wait(o *waitOptions) error { return f(o) }

func (f waitOption) start(o *startOptions) error {
	o.wait = append(o.wait, f)
	return nil
}

// WithTimeout ends the wait with [ErrTimeout] after a time; the run continues. Zero polls
// once. Without it, Wait waits until its context ends.
func WithTimeout(timeout time.Duration) WaitOption {
	return waitOption(func(o *waitOptions) error {
		if timeout < 0 {
			return valid.Option("the timeout is negative: %s", timeout)
		}
		o.timeout = &timeout
		return nil
	})
}

// WithPollInterval sets how often a run is polled while notifications do not
// arrive: db is not a pool, or there is a pooler in transaction mode.
// The default is [DefaultPollInterval].
func WithPollInterval(interval time.Duration) WaitOption {
	return waitOption(func(o *waitOptions) error {
		if interval <= 0 {
			return valid.Option("the poll interval is not positive: %s", interval)
		}
		o.poll = interval
		return nil
	})
}

func waitOptionsOf(opts []WaitOption) (*waitOptions, error) {
	o := &waitOptions{poll: DefaultPollInterval}
	for _, opt := range opts {
		if opt == nil {
			return nil, valid.Option("an option is nil")
		}
		if err := opt.wait(o); err != nil {
			return nil, err
		}
	}
	return o, nil
}

// An UpsertOption configures [UpsertFlow]: there is [AllowDataLoss].
type UpsertOption interface{ applyUpsert(*UpsertOptions) }

// A DeleteOption configures [DeleteFlow] and [DeleteRun]: there is [AllowDataLoss].
type DeleteOption interface{ applyDelete(*DeleteOptions) }

// A DataLossOption configures every function that may lose runs.
type DataLossOption interface {
	UpsertOption
	DeleteOption
}

// UpsertOptions are the options of [UpsertFlow], for a [Backend].
type UpsertOptions struct{ AllowDataLoss bool }

// DeleteOptions are the options of [DeleteFlow] and [DeleteRun], for a [Backend].
type DeleteOptions struct{ AllowDataLoss bool }

type allowDataLoss struct{}

func (allowDataLoss) applyUpsert(o *UpsertOptions) { o.AllowDataLoss = true }
func (allowDataLoss) applyDelete(o *DeleteOptions) { o.AllowDataLoss = true }

// AllowDataLoss is the only option that allows runs to be lost: with it, [UpsertFlow]
// replaces a flow of another shape and deletes all its runs, and [DeleteFlow] and
// [DeleteRun] also delete runs that have not ended. The reference implementation of pgflow
// does so in development, and when a flow is deleted.
func AllowDataLoss() DataLossOption { return allowDataLoss{} }

func deleteOptionsOf(opts []DeleteOption) (o DeleteOptions, _ error) {
	for _, opt := range opts {
		if opt == nil {
			return o, valid.Option("an option is nil")
		}
		opt.applyDelete(&o)
	}
	return o, nil
}
