package temporalflow_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/devdb"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/temporalflow"
	"github.com/flowc-dev/flowc/runtime/temporalflow/temporaldev"
)

// nodes starts some nodes of a cluster whose data are in a PostgreSQL of its own, and
// survive all of them.
func nodes(t *testing.T, count int) (all []*temporaldev.Server, addresses []string) {
	t.Helper()
	address(t) // or it is skipped
	programs, err := temporaldev.Build(t.Context(), os.Stderr)
	require.NoError(t, err)
	pg, err := devdb.Start(t.Context(), devdb.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, pg.Close()) })
	db, err := programs.CreateDatabase(t.Context(), pg.URL(), "temporal")
	require.NoError(t, err)
	for range count {
		node, err := programs.Start(t.Context(), temporaldev.Config{Database: db})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, node.Close()) })
		all, addresses = append(all, node), append(addresses, node.Address())
	}
	return all, addresses
}

// Of two nodes and two workers, one each is killed: all runs end as they should, although
// each step may be attempted only once.
func TestServerFailover(t *testing.T) {
	const runs, atOnce = 120, 8
	nodes, addresses := nodes(t, 2)
	for _, node := range nodes {
		require.NoError(t, node.Register(t.Context(), temporaldev.DefaultNamespace))
	}
	p := process{
		Does: "steps", Addresses: addresses, Namespace: temporaldev.DefaultNamespace, File: filepath.Join(t.TempDir(), "notes"),
	}
	db := temporalflow.New(p.dial(t), p.Namespace)
	require.NoError(t, runtime.UpsertServed(t.Context(), db, steps(p.note)))
	p.Name = "one"
	first := p.start(t)
	p.Name = "two"
	p.start(t)

	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 3*stuck)
	defer cancel()
	var mu sync.Mutex
	var ended []time.Time
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(ended)
	}
	todo := make(chan int)
	var workers sync.WaitGroup
	errs := make([]error, runs)
	for range atOnce {
		workers.Go(func() {
			for i := range todo {
				errs[i] = throughout(ctx, db, i)
				mu.Lock()
				ended = append(ended, time.Now())
				mu.Unlock()
			}
		})
	}
	workers.Go(func() {
		defer close(todo)
		for i := range runs {
			todo <- i
		}
	})

	reached := func(n int) { eventually(t, fmt.Sprintf("%d runs ended", n), func() bool { return count() >= n }) }
	reached(runs / 4)
	for inFlight(t, p.File, "one") == 0 {
		time.Sleep(5 * time.Millisecond)
	}
	kill(first)
	workerKilled := time.Now()
	lost := inFlight(t, p.File, "one")
	require.NotZero(t, lost, "the worker had nothing in flight")
	reached(runs / 2)
	nodes[0].Kill()
	nodeKilled := time.Now()
	workers.Wait()
	took := time.Since(began)

	require.NoError(t, errors.Join(errs...))
	done := map[string]bool{}
	begun := 0
	for _, words := range noted(t, p.File) {
		require.Equal(t, "1", words[4], "no attempt was lost: %v", words)
		if words[1] == "done" {
			done[words[2]+words[3]] = true
		} else {
			begun++
		}
	}
	require.Len(t, done, 4*runs)
	mu.Lock()
	defer mu.Unlock()
	gap, after := time.Duration(0), began
	last := began
	for _, at := range append(ended, time.Now()) {
		if at.Sub(last) > gap {
			gap, after = at.Sub(last), last
		}
		last = at
	}
	t.Logf("%d runs in %s (%.1f/s), all right; %d steps were in flight when the worker was killed, %d were begun again in all",
		runs, took.Round(time.Millisecond), float64(runs)/took.Seconds(), lost, begun-4*runs)
	t.Logf("the longest time without a completed run was %s, from %s after the begin; the worker was killed after %s, the node after %s",
		gap.Round(time.Millisecond), after.Sub(began).Round(time.Millisecond), workerKilled.Sub(began).Round(time.Millisecond), nodeKilled.Sub(began).Round(time.Millisecond))
}

// Whoever waits for a run waits on while the server is away, as long as they allow.
func TestServerWaitThroughOutage(t *testing.T) {
	nodes, addresses := nodes(t, 1)
	require.NoError(t, nodes[0].Register(t.Context(), temporaldev.DefaultNamespace))
	_, db := dial(t, addresses[0], temporaldev.DefaultNamespace)
	service := job("waited", func(_ context.Context, v handler.Values) (any, error) { return v.Input, nil })
	require.NoError(t, runtime.UpsertServed(t.Context(), db, service))
	work(t, db, service)
	_, err := runtime.StartFlowSync(t.Context(), db, "waited", 1) // the worker has started
	require.NoError(t, err)
	run, err := runtime.StartFlow(t.Context(), db, "waited", 7, runtime.WithDelay(5*time.Second))
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() {
		_, err := run.Wait(t.Context())
		ended <- err
	}()
	nodes[0].Kill()
	_, err = run.Wait(t.Context(), runtime.WithTimeout(12*time.Second))
	require.ErrorIs(t, err, runtime.ErrTimeout)
	require.NoError(t, nodes[0].Start(t.Context()))
	select {
	case err := <-ended:
		require.NoError(t, err)
	case <-time.After(stuck):
		t.Fatal("stuck: the run has not ended for whom waits")
	}
}

// inFlight returns how many steps a worker has begun and not done.
func inFlight(t *testing.T, file, name string) (n int) {
	for _, words := range noted(t, file) {
		switch {
		case words[0] != name:
		case words[1] == "begin":
			n++
		default:
			n--
		}
	}
	return n
}

// throughout starts a run and waits for its end, again and again while the server cannot be
// reached, and returns how it is not as it should be.
func throughout(ctx context.Context, db runtime.DB, i int) error {
	for {
		run, err := runtime.StartFlow(ctx, db, "steps", i, runtime.WithIdempotencyKey(fmt.Sprint(i)))
		var out json.RawMessage
		if err == nil {
			out, err = run.Wait(ctx)
		}
		switch {
		case errors.As(err, new(*runtime.RunFailedError)), ctx.Err() != nil:
			return fmt.Errorf("run %d: %w", i, err)
		case err != nil:
			time.Sleep(poll)
		case string(out) != fmt.Sprintf(`{"d":"%dd"}`, i):
			return fmt.Errorf("run %d: it gave %s", i, out)
		default:
			return nil
		}
	}
}
