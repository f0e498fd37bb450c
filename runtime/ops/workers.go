package ops

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/internal/pgcall"
	"github.com/flowc-dev/flowc/runtime/internal/valid"
	"github.com/jackc/pgx/v5"
)

// A WorkerInfo is a worker as the database stores it.
type WorkerInfo struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	// Queue is the flow that a worker of another language serves; "*" for a
	// worker of this project, which serves any number.
	Queue string `json:"queue"`
	// Flows are those that it serves; none once it has stopped.
	Flows           []string     `json:"flows"`
	Status          WorkerStatus `json:"status"`
	StartedAt       time.Time    `json:"started_at"`
	LastHeartbeatAt time.Time    `json:"last_heartbeat_at"`
	// DeprecatedAt is when it began to drain, StoppedAt when it stopped; zero if it has
	// not.
	DeprecatedAt time.Time `json:"deprecated_at,omitzero"`
	StoppedAt    time.Time `json:"stopped_at,omitzero"`
	// InFlight is how many tasks it has in flight; 0 for a worker of another language.
	InFlight int `json:"in_flight"`
	// Shard is the database that it works for, if there are several.
	Shard string `json:"shard,omitempty"`
}

// A WorkerStatus is the state of a worker.
type WorkerStatus string

// The statuses of a worker.
const (
	// WorkerWorking is a worker that is alive.
	WorkerWorking WorkerStatus = "working"
	// WorkerDraining is a worker that is alive and claims no more tasks.
	WorkerDraining WorkerStatus = "draining"
	// WorkerSilent is a worker that was last seen more than 5 seconds ago.
	WorkerSilent WorkerStatus = "silent"
	// WorkerStopped is a worker that stopped, or was found dead.
	WorkerStopped WorkerStatus = "stopped"
)

// ListWorkers returns the workers that have not stopped and those that were last
// seen since a time, newest first.
//
// Errors: [runtime.ErrInvalidOption] for a time whose year does not have four digits.
func ListWorkers(ctx context.Context, db runtime.DB, since time.Time) ([]WorkerInfo, error) {
	if err := valid.Time("since", since); err != nil {
		return nil, err
	}
	if b, ok := backendOf[Lister](db); ok {
		return b.ListWorkers(ctx, since)
	}
	workers, err := pgcall.Engine(ctx, db, scanWorker, `
		SELECT worker_id::text, name, queue_name, status, started_at, last_heartbeat_at, deprecated_at, stopped_at, in_flight, to_jsonb(flow_slugs)
		FROM flowc.list_workers($1)`, since)
	if err != nil {
		return nil, fmt.Errorf("flowc: listing workers: %w", err)
	}
	return workers, nil
}

func scanWorker(row pgx.CollectableRow) (WorkerInfo, error) {
	var w WorkerInfo
	var deprecated, stopped *time.Time
	var flows []byte // as JSON, since drivers of database/sql differ in how they scan an array
	err := row.Scan(&w.ID, &w.Name, &w.Queue, &w.Status, &w.StartedAt, &w.LastHeartbeatAt, &deprecated, &stopped, &w.InFlight, &flows)
	if err == nil && flows != nil {
		err = json.Unmarshal(flows, &w.Flows)
	}
	w.DeprecatedAt, w.StoppedAt = pgcall.OrZero(deprecated), pgcall.OrZero(stopped)
	return w, err
}

// A TaskInFlight is a task that a worker is running.
type TaskInFlight struct {
	Worker    string    `json:"worker"` // its id
	Flow      string    `json:"flow"`
	RunID     string    `json:"run_id"`
	Step      string    `json:"step"`
	Index     int       `json:"index"` // of the element that a map step's task works on
	Attempt   int       `json:"attempt"`
	StartedAt time.Time `json:"started_at"`
	// DueAt is when other workers consider it lost, shortly after its timeout.
	DueAt time.Time `json:"due_at"`
	// Shard is the database that has it, if there are several.
	Shard string `json:"shard,omitempty" db:"-"`
}

// ListTasksInFlight returns the tasks that workers of this project have in flight, the
// oldest first. It reads the whole queue.
//
// Errors: [runtime.ErrInvalidOption] unless limit is 1 to 1000.
func ListTasksInFlight(ctx context.Context, db runtime.DB, limit int) ([]TaskInFlight, error) {
	if limit < 1 || limit > 1000 {
		return nil, valid.Option("the limit of ListTasksInFlight is %d, it must be 1 to 1000", limit)
	}
	if b, ok := backendOf[Lister](db); ok {
		return b.ListTasksInFlight(ctx, limit)
	}
	tasks, err := pgcall.Engine(ctx, db, pgx.RowToStructByPos[TaskInFlight], `
		SELECT worker_id::text, flow_slug, run_id::text, step_slug, task_index, attempt, started_at, due_at
		FROM flowc.tasks_in_flight($1)`, limit)
	if err != nil {
		return nil, fmt.Errorf("flowc: listing tasks in flight: %w", err)
	}
	return tasks, nil
}
