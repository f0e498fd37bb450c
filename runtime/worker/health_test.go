package worker_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime/devdb"
	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/flowc-dev/flowc/runtime/worker"
)

func TestHealth(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	server, url := dbtest.Server(t, nil)
	pool := dbtest.Connect(t, url)
	began, finish := make(chan struct{}), make(chan struct{})
	flow := job[int, int]("work", spec.Flow{})
	service := serve(flow, func(_ context.Context, n int) (int, error) { began <- struct{}{}; <-finish; return n, nil })
	upsert(t, pool, service)

	idle, err := worker.New(pool, worker.Config{}, service)
	require.NoError(t, err)
	require.Equal(t, worker.Health{State: worker.StateIdle, Concurrency: worker.DefaultConcurrency}, idle.Health())
	require.EqualError(t, idle.Health().Ready(), "flowc: worker: state is idle")
	require.NoError(t, idle.Health().Live())

	_, err = flow.Start(ctx, pool, 1)
	require.NoError(t, err)
	w := run(t, pool, worker.Config{Concurrency: 3}, service)
	receive(t, began)
	h := w.Health()
	require.NoError(t, h.Ready())
	require.Equal(t, worker.StateWorking, h.State)
	require.True(t, h.Connected)
	require.Equal(t, 1, h.InFlight)
	require.Equal(t, 3, h.Concurrency)
	require.Equal(t, 1, count(t, pool, `SELECT count(*) FROM pgflow.workers WHERE worker_id = $1`, h.WorkerID))
	require.WithinDuration(t, time.Now(), h.StartedAt, patience)
	eventually(t, func() bool { return w.Health().LastHeartbeat.After(h.LastHeartbeat) }, "its heart beats")

	probe := func(path string) (int, map[string]any) {
		rec := httptest.NewRecorder()
		w.HealthHandler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
		var body map[string]any
		require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &body), rec.Body.String())
		return rec.Code, body
	}
	code, body := probe("/health/ready")
	require.Equal(t, http.StatusOK, code)
	require.Equal(t, "working", body["state"])
	require.EqualValues(t, 1, body["in_flight"])
	require.NotContains(t, body, "problem")

	// While the database is away it is alive, but not ready.
	require.NoError(t, server.Stop(devdb.Immediate))
	eventually(t, func() bool { code, _ := probe("/health/ready"); return code == http.StatusServiceUnavailable }, "it is not ready")
	_, body = probe("/health")
	require.Equal(t, "flowc: worker: database unreachable", body["problem"])
	code, _ = probe("/health/live")
	require.Equal(t, http.StatusOK, code)
	require.NoError(t, server.Resume(ctx))
	eventually(t, func() bool { code, _ := probe("/health/ready"); return code == http.StatusOK }, "it is ready again")

	w.stop()
	eventually(t, func() bool { return w.Health().State == worker.StateStopping }, "it stops")
	code, body = probe("/health/ready")
	require.Equal(t, http.StatusServiceUnavailable, code)
	require.Equal(t, "flowc: worker: state is stopping", body["problem"])
	require.NoError(t, w.Health().Live())
	close(finish)
	require.NoError(t, w.stopped())
	require.Equal(t, worker.StateStopped, w.Health().State)
	require.Zero(t, w.Health().InFlight)
	code, body = probe("/health/live")
	require.Equal(t, http.StatusServiceUnavailable, code)
	require.Equal(t, "flowc: worker: stopped", body["problem"])
}

// The lag is how long what was claimed last had waited. With all slots taken, no claim
// that finds nothing comes after it.
func TestHealthLag(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	began, finish := make(chan struct{}), make(chan struct{})
	flow := job[int, int]("work", spec.Flow{})
	service := serve(flow, func(_ context.Context, n int) (int, error) { began <- struct{}{}; <-finish; return n, nil })
	pool := database(t, service)
	_, err := flow.Start(ctx, pool, 1)
	require.NoError(t, err)
	time.Sleep(100 * time.Millisecond)
	w := run(t, pool, worker.Config{Concurrency: 1}, service)
	receive(t, began)
	require.GreaterOrEqual(t, w.Health().Lag, 100*time.Millisecond)
	close(finish)
	eventually(t, func() bool { return w.Health().Lag == 0 }, "nothing waits")
}
