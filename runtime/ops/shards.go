package ops

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/internal/valid"
)

// A Sharder is a [runtime.Backend] that keeps runs in several databases, the shards. What
// such a backend lists says in a field Shard where it is.
//
// If a shard does not answer, lists and sums are those of the others, with a
// [PartialError]; if none does, the error is another.
type Sharder interface {
	runtime.Router
	// ListShards returns the shards, also those that do not answer, with the figures of
	// runs that started since a time.
	ListShards(ctx context.Context, since time.Time) ([]ShardInfo, error)
	// ShardOf returns the name of the shard of a run, [runtime.ErrRunNotFound] if none
	// has it.
	ShardOf(ctx context.Context, id string) (string, error)
}

// A ShardInfo is a shard, with figures. Those of a shard that does not answer are 0.
type ShardInfo struct {
	Name  string     `json:"name"`
	State ShardState `json:"state"`
	// Error is why it does not answer; empty if it does.
	Error string `json:"error,omitempty"`
	// Started, Completed, Failed and Running are those of [FlowInfo], for all flows.
	Started   int `json:"started"`
	Completed int `json:"completed"`
	Failed    int `json:"failed"`
	Running   int `json:"running"`
	// Waiting, Delayed and InFlight count tasks as those of [FlowInfo] do.
	Waiting  int `json:"waiting"`
	Delayed  int `json:"delayed"`
	InFlight int `json:"in_flight"`
	// Workers is how many workers it has now.
	Workers int `json:"workers"`
}

// A ShardState says whether a shard gets new runs.
type ShardState string

// The states of a shard.
const (
	// ShardActive is a shard that gets new runs.
	ShardActive ShardState = "active"
	// ShardDraining is a shard that gets no new runs, and keeps those that it has.
	ShardDraining ShardState = "draining"
)

// ListShards returns the shards of a database that consists of several, with the figures of
// runs that started since a time; of any other database, none.
//
// Errors: [runtime.ErrInvalidOption] for a time whose year does not have four digits.
func ListShards(ctx context.Context, db runtime.DB, since time.Time) ([]ShardInfo, error) {
	if err := valid.Time("since", since); err != nil {
		return nil, err
	}
	if s, ok := backendOf[Sharder](db); ok {
		return s.ListShards(ctx, since)
	}
	return nil, nil
}

// ShardOf returns the name of the shard of a run; empty if db does not consist of several.
//
// Errors: [runtime.ErrInvalidRunID]; [runtime.ErrRunNotFound] if no shard has it.
func ShardOf(ctx context.Context, db runtime.DB, id string) (string, error) {
	if _, err := valid.RunID(id); err != nil {
		return "", err
	}
	if s, ok := backendOf[Sharder](db); ok {
		return s.ShardOf(ctx, id)
	}
	return "", nil
}

// A PartialError says which shards did not answer. The result that comes with it is that of
// the others: what it lists exists, and what it did is done.
type PartialError struct {
	// Doing is what was not done, such as "listing runs".
	Doing string
	// Shards are those that did not answer, and why.
	Shards []*ShardError
}

func (e *PartialError) Error() string {
	faults := make([]string, len(e.Shards))
	for i, s := range e.Shards {
		faults[i] = strings.TrimPrefix(s.Error(), "flowc: ")
	}
	return fmt.Sprintf("flowc: %s: %s", e.Doing, strings.Join(faults, "; "))
}

// Unwrap returns the errors of the shards.
func (e *PartialError) Unwrap() []error {
	all := make([]error, len(e.Shards))
	for i, s := range e.Shards {
		all[i] = s
	}
	return all
}

// A ShardError is an error of one shard. The others are not affected.
type ShardError struct {
	// Shard is the name of the shard.
	Shard string
	Err   error
}

func (e *ShardError) Error() string {
	return fmt.Sprintf("flowc: shard %s: %s", e.Shard, strings.TrimPrefix(e.Err.Error(), "flowc: "))
}

func (e *ShardError) Unwrap() error { return e.Err }

// Partial returns an error as a [PartialError], nil if it is none. Who shows what the
// other shards returned calls it.
func Partial(err error) *PartialError {
	var partial *PartialError
	errors.As(err, &partial)
	return partial
}
