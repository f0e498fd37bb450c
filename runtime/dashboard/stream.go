package dashboard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/flowc-dev/flowc/runtime"
)

const (
	// pollEvery is how often a run is read while somebody watches it.
	pollEvery = 400 * time.Millisecond
	// pollSlowly is how often if nothing has changed for a while.
	pollSlowly = 1500 * time.Millisecond
	// beat is how often something is sent when nothing happens, so that the browser and
	// proxies keep the connection.
	beat = 15 * time.Second
	// sendTime is how long a browser may take to accept an event.
	sendTime = 10 * time.Second
	// mostStreams is how many pages may be followed at once.
	mostStreams = 500
)

// streams follows runs for those who watch them, however many, with one query at a time.
type streams struct {
	db  runtime.DB
	log *slog.Logger

	mu      sync.Mutex
	watches map[string]*watch
	readers int
	closed  chan struct{}
	once    sync.Once
}

func newStreams(db runtime.DB, log *slog.Logger) *streams {
	return &streams{db: db, log: log, watches: map[string]*watch{}, closed: make(chan struct{})}
}

func (s *streams) close() { s.once.Do(func() { close(s.closed) }) }

// A watch is a run that is being watched.
type watch struct {
	id      string
	readers int
	cancel  context.CancelFunc

	mu      sync.Mutex
	state   []byte        // what was sent last
	over    bool          // whether nothing more will come
	changed chan struct{} // closed when state or over changes
}

// A runState is what is sent: how the run and its steps look.
type runState struct {
	Status runtime.RunStatus   `json:"status"`
	Word   string              `json:"word"`
	Steps  map[string]stepLook `json:"steps"`
}

// join begins to watch a run, or joins those who watch it. leave has to be called.
func (s *streams) join(ctx context.Context, id string) (w *watch, leave func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.readers >= mostStreams {
		return nil, nil, false
	}
	s.readers++
	w = s.watches[id]
	if w == nil {
		looking, cancel := context.WithCancel(context.WithoutCancel(ctx))
		w = &watch{id: id, cancel: cancel, changed: make(chan struct{})}
		s.watches[id] = w
		go s.follow(looking, w)
	}
	w.readers++
	return w, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.readers--
		if w.readers--; w.readers == 0 {
			w.cancel()
			s.forget(w)
		}
	}, true
}

// forget makes the next reader start afresh. The caller holds the lock.
func (s *streams) forget(w *watch) {
	if s.watches[w.id] == w {
		delete(s.watches, w.id)
	}
}

// count returns how many pages are being followed.
func (s *streams) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.readers
}

// follow polls a run until it ends or nobody watches it any more.
func (s *streams) follow(ctx context.Context, w *watch) {
	defer func() {
		s.mu.Lock()
		s.forget(w)
		s.mu.Unlock()
		w.publish(nil, true)
	}()
	quiet, failures := 0, 0
	for {
		state, err := s.look(ctx, w.id)
		switch {
		case ctx.Err() != nil, errors.Is(err, runtime.ErrRunNotFound):
			return
		case err != nil:
			if failures++; failures == 1 {
				s.log.WarnContext(ctx, "flowc: dashboard: following a run", "run_id", w.id, "error", err)
			}
		default:
			failures = 0
			text, err := json.Marshal(state)
			if err != nil {
				return // it is made of strings
			}
			if quiet++; w.publish(text, state.Status.Ended()) {
				quiet = 0
			}
			if state.Status.Ended() {
				return
			}
		}
		pause := pollEvery
		if quiet > 20 || failures > 0 {
			pause = pollSlowly
		}
		select {
		case <-ctx.Done():
		case <-s.closed:
			return
		case <-time.After(pause):
		}
	}
}

func (s *streams) look(ctx context.Context, id string) (runState, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTime)
	defer cancel()
	run, err := runtime.GetRun(ctx, s.db, id, runtime.WithStates(), runtime.WithoutPayloads())
	if err != nil {
		return runState{}, err
	}
	return runState{Status: run.Status, Word: statusWord(run.Status), Steps: stepLooks(run)}, nil
}

// publish sends a state to all readers, or that there will be no more. It reports whether
// that was new to them.
func (w *watch) publish(state []byte, over bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if state == nil {
		state = w.state
	}
	if w.over || string(state) == string(w.state) && !over {
		return false
	}
	w.state, w.over = state, over
	close(w.changed)
	w.changed = make(chan struct{})
	return true
}

func (w *watch) now() (state []byte, over bool, changed <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state, w.over, w.changed
}

// events streams a run: a state at once, another whenever it changes, and "end".
func (h *Handler) events(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	if _, err := runtime.GetRun(r.Context(), h.db, id, runtime.WithStates(), runtime.WithoutPayloads()); err != nil {
		return err
	}
	watched, leave, ok := h.streams.join(r.Context(), id)
	if !ok {
		return &statusError{http.StatusServiceUnavailable, "Too many", "Too many pages are being followed. This one is still refreshed from time to time."}
	}
	defer leave()
	header := w.Header()
	header.Set("Content-Type", "text/event-stream; charset=utf-8")
	header.Set("X-Accel-Buffering", "no") // proxies must not wait for more
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Time{}) // a server's read timeout would end this request
	send := func(text string) error {
		// Not every server has deadlines; without, a browser that does not read is
		// noticed later.
		_ = control.SetWriteDeadline(time.Now().Add(sendTime))
		if _, err := fmt.Fprint(w, text); err != nil {
			return err
		}
		return control.Flush()
	}
	if send("retry: 2000\n\n") != nil {
		return nil
	}
	beats := time.NewTicker(beat)
	defer beats.Stop()
	var sent string
	for {
		state, over, changed := watched.now()
		if text := string(state); text != sent {
			if send("event: state\ndata: "+text+"\n\n") != nil {
				return nil // the browser is gone
			}
			sent = text
		}
		if over {
			_ = send("event: end\ndata: {}\n\n")
			return nil
		}
		select {
		case <-changed:
		case <-beats.C:
			if send(": still here\n\n") != nil {
				return nil
			}
		case <-r.Context().Done():
			return nil
		case <-h.streams.closed:
			return nil
		}
	}
}
