package shards

import (
	"errors"

	"github.com/flowc-dev/flowc/runtime/ops"
)

// Errors that [errors.Is] finds in the errors of this package, whose texts say more.
var (
	// ErrNoMap says that none of the databases is a shard yet: call [Init] once.
	ErrNoMap = errors.New("the databases are not shards yet")
	// ErrUnknownShard says that there is no shard of that name.
	ErrUnknownShard = errors.New("there is no such shard")
	// ErrNoPool says that this process has no pool for a shard: give it to [Open] or to
	// [DB.AddPool].
	ErrNoPool = errors.New("there is no pool for it")
	// ErrWrongPool says that a pool or a transaction was given under the name of a shard, and
	// belongs to another database.
	ErrWrongPool = errors.New("the pool or transaction belongs to another database")
	// ErrDraining says that a shard gets no new runs.
	ErrDraining = errors.New("it is draining and gets no new runs")
	// ErrHasRuns says that a shard cannot be removed, since it has runs.
	ErrHasRuns = errors.New("it has runs: drain it, and prune or delete its runs when they have ended, or lose them with runtime.AllowDataLoss()")
	// ErrUnfinished says that a change of the map is not complete and that this process
	// cannot complete it.
	ErrUnfinished = errors.New("a change of the shards was not completed: repeat it")
)

// An Error is an error of one shard. The others are not affected.
type Error = ops.ShardError
