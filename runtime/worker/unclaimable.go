package worker

import (
	"log/slog"
	"time"

	"github.com/flowc-dev/flowc/runtime/internal/pgerr"
)

// An unclaimable task is one whose claim the database refused, and that has failed for it.
type unclaimable struct {
	Flow  string
	RunID string
	Step  string
	Index int
	Err   string
}

// unexplainedTime is for how long nobody looks again for the task that is to blame when
// none was found.
const unexplainedTime = 10 * time.Second

// isRefused reports whether the database refused a claim, or a reading, for what it is
// about: for the data of a task, as far as anybody knows.
func isRefused(err error) bool {
	switch pgerr.Class(err) {
	case "22", "23", "54", "P0", "XX": // data, constraints, limits, raised by a trigger, corrupted
		return true
	}
	return false
}

// failToBlame fails the tasks that are to blame for a refused claim of lanes, and reports
// whether there were some.
func (c *claimer) failToBlame(names []string, refused error) bool {
	if time.Since(c.unexplained) < unexplainedTime {
		return false
	}
	failed, err := c.db.failUnclaimable(c.hard, names, c.lanes.except)
	if len(failed) == 0 {
		c.unexplained = time.Now()
		c.log.Error("the database refuses a claim, and no task is found to be to blame: each flow is claimed by itself",
			"flows", names, "error", refused.Error(), "search_error", err)
	}
	for _, f := range failed {
		c.log.LogAttrs(c.hard, slog.LevelError, "a task cannot be claimed, and has failed", slog.String("flow", f.Flow),
			slog.String("run_id", f.RunID), slog.String("step", f.Step), slog.Int("index", f.Index), slog.String("error", f.Err))
	}
	return len(failed) > 0
}

// claimApart is for a claim that the database refused. The tasks that are to blame fail
// with what it said, and the claim is repeated. If it is refused all the same, each lane
// is claimed by itself, so that only those wait that cannot be claimed.
func (c *claimer) claimApart(d deal, refused error) (tasks []*task, err error) {
	if c.failToBlame(d.names, refused) {
		if tasks, refused = c.db.claim(c.hard, c.id, ask{deal: d, except: c.lanes.except}); !isRefused(refused) {
			return tasks, refused
		}
	}
	c.claimsRefused.Store(true)
	err = refused
	for i := range d.names {
		some, refused := c.db.claim(c.hard, c.id, ask{deal: deal{d.names[i : i+1], d.limits[i : i+1]}, except: c.lanes.except})
		switch {
		case refused == nil:
			tasks, err = append(tasks, some...), nil
		case !isRefused(refused):
			return tasks, refused
		}
	}
	return tasks, err
}
