package worker

import (
	"context"
	"time"

	"github.com/flowc-dev/flowc/runtime"
)

const (
	// heartbeatEvery is how often the worker says that it lives. It is taken for
	// dead after five seconds of silence.
	heartbeatEvery = 1500 * time.Millisecond
	// heartbeatAgain is how soon a heartbeat that failed is repeated.
	heartbeatAgain = 250 * time.Millisecond
)

// heartbeat says that the worker lives and which tasks it has, and ends the
// contexts of those that are not its own any more.
func (s *session) heartbeat(ctx context.Context) {
	timer := time.NewTimer(heartbeatEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if s.beat(ctx) {
			timer.Reset(heartbeatEvery)
		} else {
			timer.Reset(heartbeatAgain)
		}
	}
}

func (s *session) beat(ctx context.Context) bool {
	tasks := s.hand.all()
	messages, attempts := keys(tasks)
	lost, known, deprecated, err := s.db.heartbeat(ctx, s.id, messages, attempts)
	if err != nil {
		return false
	}
	gone := map[int64]bool{}
	for _, message := range lost {
		gone[message] = true
	}
	for _, t := range tasks {
		if gone[t.MessageID] {
			t.cancel(runtime.ErrTaskLost)
		}
	}
	if !known {
		return s.db.register(ctx, s.id, s.config.Name, s.slugs) == nil
	}
	if deprecated {
		s.retire()
	}
	return true
}

// retire makes the worker stop as if its context had ended.
func (s *session) retire() {
	select {
	case <-s.deprecated:
	default:
		s.log.Info("the database calls the worker deprecated, it stops", "worker_id", s.id.String())
		close(s.deprecated)
	}
}

// upkeep does what any worker may do for all: it makes the tasks of dead workers
// available, and starts scheduled runs whose time came while all were busy.
func (s *session) upkeep(ctx context.Context) {
	ticker := time.NewTicker(heartbeatEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		_ = s.db.recover(ctx)
		_, _ = s.db.startDue(ctx, s.slugs)
	}
}
