package dashboard

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
)

// follow reads the stream of a run.
func (s *site) follow(id string) (next func() (event string, state runState), stop func()) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	response, err := s.server.Client().Do(s.request(http.MethodGet, "/runs/"+id+"/events", nil).WithContext(ctx))
	require.NoError(s, err)
	require.Equal(s, http.StatusOK, response.StatusCode)
	require.Equal(s, "text/event-stream; charset=utf-8", response.Header.Get("Content-Type"))
	lines := bufio.NewScanner(response.Body)
	next = func() (event string, state runState) {
		s.Helper()
		for lines.Scan() {
			if name, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
				event = name
			}
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				require.NoError(s, json.Unmarshal([]byte(data), &state))
				return event, state
			}
		}
		require.NoError(s, lines.Err())
		return "closed", runState{}
	}
	return next, func() {
		cancel()
		response.Body.Close()
	}
}

func TestEvents(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	id := s.start(`{}`)
	next, stop := s.follow(id)
	defer stop()
	event, state := next()
	require.Equal(t, "state", event)
	require.Equal(t, runtime.RunRunning, state.Status)
	require.Equal(t, stepLook{"started", "queued"}, state.Steps["check"])
	require.Equal(t, stepLook{"created", "waits for 2"}, state.Steps["ship"])

	s.work("completed", `{"mail": false}`)
	_, state = next()
	require.Equal(t, "completed", state.Steps["check"].Class)
	require.Equal(t, stepLook{"skipped", "condition not met"}, state.Steps["mail"])
	s.work("permanent", "no")
	_, state = next()
	require.Equal(t, runtime.RunFailed, state.Status)
	require.Equal(t, "failed", state.Steps["lines"].Class)
	require.Equal(t, stepLook{"created", "not reached"}, state.Steps["ship"])
	event, _ = next()
	require.Equal(t, "end", event)
	event, _ = next()
	require.Equal(t, "closed", event)
}

func TestEventsOfADeletedRun(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	id := s.start(`{}`)
	next, stop := s.follow(id)
	defer stop()
	next()
	_, err := runtime.DeleteRun(s.ctx, s.pool, id, runtime.AllowDataLoss())
	require.NoError(t, err)
	event, _ := next()
	require.Equal(t, "end", event)
	s.refused(http.StatusNotFound, "/runs/"+id+"/events")
}

// TestEventsAfterTheEnd checks that a run which goes on can be followed again.
func TestEventsAfterTheEnd(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	id := s.start(`{}`)
	require.NoError(t, runtime.CancelRun(s.ctx, s.pool, id, ""))
	next, stop := s.follow(id)
	defer stop()
	_, state := next()
	require.Equal(t, runtime.RunCancelled, state.Status)
	require.Equal(t, stepLook{"stopped", "stopped"}, state.Steps["check"])
	event, _ := next()
	require.Equal(t, "end", event)
	require.NoError(t, runtime.RetryRun(s.ctx, s.pool, id))
	next, stop = s.follow(id)
	defer stop()
	_, state = next()
	require.Equal(t, runtime.RunRunning, state.Status)
}

// TestManyReaders checks that the database is asked once for all who watch, and
// that nothing goes on when they are gone.
func TestManyReaders(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	id := s.start(`{}`)
	const readers = 20
	var all sync.WaitGroup
	saw := make(chan string, readers)
	for range readers {
		next, stop := s.follow(id)
		all.Go(func() {
			defer stop()
			for {
				event, state := next()
				if event != "state" {
					return
				}
				if state.Status.Ended() {
					saw <- string(state.Status)
				}
			}
		})
	}
	require.Equal(t, readers, s.h.streams.count())
	s.h.streams.mu.Lock()
	require.Len(t, s.h.streams.watches, 1)
	s.h.streams.mu.Unlock()
	require.NoError(t, runtime.CancelRun(s.ctx, s.pool, id, ""))
	all.Wait()
	require.Len(t, saw, readers)
	require.Eventually(t, func() bool { return s.h.streams.count() == 0 }, patience, 10*time.Millisecond)
}

func TestCloseEndsStreams(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	id := s.start(`{}`)
	next, stop := s.follow(id)
	defer stop()
	next()
	s.h.Close()
	s.h.Close()
	for event := ""; event != "closed"; event, _ = next() {
		require.NotEqual(t, "state", event)
	}
	s.get("/runs")
}

func TestTooManyStreams(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	id := s.start(`{}`)
	s.h.streams.mu.Lock()
	s.h.streams.readers = mostStreams
	s.h.streams.mu.Unlock()
	s.refused(http.StatusServiceUnavailable, "/runs/"+id+"/events")
}

func TestCached(t *testing.T) {
	t.Parallel()
	h := &Handler{cache: cache{entries: map[string]*entry{}}}
	loads := make(chan int, 10)
	release := make(chan struct{})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			cancel() // who asked is gone, and the others still get it
			n, err := cached(ctx, h, "key", func(ctx context.Context) (int, error) {
				loads <- 1
				<-release
				return 7, ctx.Err()
			})
			if n != 7 || err != nil {
				panic("cached")
			}
		})
	}
	<-loads
	close(release)
	all.Wait()
	require.Empty(t, loads, "one load for all")
	_, err := cached(t.Context(), h, "bad", func(context.Context) (int, error) { return 0, io.EOF })
	require.ErrorIs(t, err, io.EOF)
	n, err := cached(t.Context(), h, "bad", func(context.Context) (int, error) { return 1, nil })
	require.NoError(t, err)
	require.Equal(t, 1, n, "an error is not kept")
}

// A stream outlives the time that a server gives requests to be read.
func TestEventsOutliveReadTimeout(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	server := httptest.NewUnstartedServer(s.server.Config.Handler)
	server.Config.ReadTimeout = 50 * time.Millisecond
	server.Start()
	defer server.Close()
	id := s.start(`{}`)
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/runs/"+id+"/events", nil)
	require.NoError(t, err)
	response, err := server.Client().Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	time.Sleep(10 * server.Config.ReadTimeout)
	require.NoError(t, runtime.CancelRun(s.ctx, s.pool, id, ""))
	all, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Contains(t, string(all), "event: end")
}
