package conformance

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// An engine that treats answers wrongly fails rows and, where its runs still end, runs random
// flows otherwise.
func TestMutationsOfWaits(t *testing.T) {
	t.Parallel()
	r := runRandom(t)
	ofWaits := []topic{{"waits", waits}}
	for name, tt := range map[string]struct {
		engine Engine
		rows   []string
		ends   bool // whether all its runs end
	}{
		"answers dropped": {
			engine: withBackend(func(b capable) runtime.Backend { return dropping{b} }),
			rows:   []string{answerWait, "answer a wait twice", "answer before the step waits", "fail a wait"},
		},
		"early answers dropped": {
			engine: withBackend(func(b capable) runtime.Backend { return droppingEarly{b} }),
			rows:   []string{"answer before the step waits"},
		},
		"the last answer counts": {
			engine: withBackend(func(b capable) runtime.Backend { return &lastCounts{capable: b} }),
			rows:   []string{"answer a wait twice", "answer before the step waits"}, ends: true,
		},
		"reasons taken for answers": {
			engine: withBackend(func(b capable) runtime.Backend { return accepting{b} }),
			rows:   []string{"fail a wait"}, ends: true,
		},
		"senders lost": {
			engine: withBackend(func(b capable) runtime.Backend { return anonymous{b} }),
			rows:   []string{answerWait, "answer by key"},
		},
		"expiry ignored": {
			engine: withSteps(func(s *spec.Step) {
				if s.Type == spec.TypeWait {
					s.Timeout = 0
				}
			}),
			rows: []string{"wait that expires", "retry a run that nobody answered"},
		},
		"answers by key not kept": {
			engine: withBackend(func(b capable) runtime.Backend { return keepless{b} }),
			rows:   []string{"answers by key that are kept"},
		},
		"answers by key for one run only": {
			engine: withBackend(func(b capable) runtime.Backend { return oneOfKey{b} }),
			rows:   []string{"answer by key"},
		},
		"answers that outlive a retry of their step": {
			engine: withBackend(func(b capable) runtime.Backend { return &remembering{capable: b} }),
			rows:   []string{"retry a step that was answered"},
		},
		"a wait that outlives its run": {
			engine: withBackend(func(b capable) runtime.Backend { return uncancelled{b} }),
			rows:   []string{"cancel a run that waits"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bites(t, tt.engine, ofWaits, tt.rows)
			if tt.ends {
				require.NotZero(t, r.differing(t, tt.engine), "no random flow finds it")
			}
		})
	}
}

// dropping accepts answers and forgets them.
type dropping struct{ capable }

func (dropping) Signal(context.Context, runtime.SignalRequest) (runtime.Signalled, error) {
	return runtime.Accepted, nil
}

// droppingEarly forgets answers to steps that do not wait yet.
type droppingEarly struct{ capable }

func (d droppingEarly) Signal(ctx context.Context, s runtime.SignalRequest) (runtime.Signalled, error) {
	waiting, err := d.ListWaiting(ctx, runtime.WaitingFilter{RunID: s.RunID, Steps: []string{s.Step}, Limit: 1})
	if err == nil && len(waiting) == 0 {
		return runtime.Accepted, nil
	}
	return d.capable.Signal(ctx, s)
}

// lastCounts holds answers back until somebody looks at a run: each replaces those before.
type lastCounts struct {
	capable
	mu      sync.Mutex
	pending []runtime.SignalRequest
}

func (l *lastCounts) Signal(ctx context.Context, s runtime.SignalRequest) (runtime.Signalled, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	same := func(p runtime.SignalRequest) bool { return p.RunID == s.RunID && p.Step == s.Step }
	if i := slices.IndexFunc(l.pending, same); i >= 0 {
		l.pending[i] = s
		return runtime.Already, nil
	}
	info, err := l.capable.Run(ctx, s.RunID, runtime.RunDetail{States: true})
	if err == nil && !info.Status.Ended() && slices.ContainsFunc(info.States, func(st runtime.StepState) bool {
		return st.Step == s.Step && st.Type == spec.TypeWait && (st.Status == runtime.StepCreated || st.Status == runtime.StepStarted)
	}) {
		l.pending = append(l.pending, s)
		return runtime.Accepted, nil
	}
	return l.capable.Signal(ctx, s)
}

func (l *lastCounts) deliver(ctx context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.pending {
		_, _ = l.capable.Signal(ctx, s)
	}
	l.pending = nil
}

func (l *lastCounts) Run(ctx context.Context, id string, detail runtime.RunDetail) (*runtime.RunInfo, error) {
	l.deliver(ctx)
	return l.capable.Run(ctx, id, detail)
}

func (l *lastCounts) Outcome(ctx context.Context, id string, want runtime.Want) (runtime.Outcome, error) {
	l.deliver(ctx)
	return l.capable.Outcome(ctx, id, want)
}

// accepting completes waits that are to fail, with the reason.
type accepting struct{ capable }

func (a accepting) Signal(ctx context.Context, s runtime.SignalRequest) (runtime.Signalled, error) {
	if s.Failure != "" {
		s.Answer, _ = json.Marshal(s.Failure)
		s.Failure = ""
	}
	return a.capable.Signal(ctx, s)
}

// anonymous forgets who answers.
type anonymous struct{ capable }

func (a anonymous) Signal(ctx context.Context, s runtime.SignalRequest) (runtime.Signalled, error) {
	s.Sender = ""
	return a.capable.Signal(ctx, s)
}

func (a anonymous) SignalBy(ctx context.Context, s runtime.KeyedSignal) (bool, error) {
	s.Sender = ""
	return a.capable.SignalBy(ctx, s)
}

// keepless forgets answers by key with which nobody waits.
type keepless struct{ capable }

func (k keepless) SignalBy(ctx context.Context, s runtime.KeyedSignal) (bool, error) {
	waiting, err := k.ListWaiting(ctx, runtime.WaitingFilter{Flows: []string{s.Flow}, Steps: []string{s.Step}, Key: s.Key, Limit: 1})
	if err == nil && len(waiting) == 0 {
		return true, nil
	}
	return k.capable.SignalBy(ctx, s)
}

// oneOfKey gives an answer by key to one run, also if others wait with the key.
type oneOfKey struct{ capable }

func (o oneOfKey) SignalBy(ctx context.Context, s runtime.KeyedSignal) (bool, error) {
	waiting, err := o.ListWaiting(ctx, runtime.WaitingFilter{Flows: []string{s.Flow}, Steps: []string{s.Step}, Key: s.Key, Limit: 1})
	if err == nil && len(waiting) > 0 {
		_, err = o.Signal(ctx, runtime.SignalRequest{RunID: waiting[0].RunID, Step: s.Step, Answer: s.Answer, Sender: s.Sender})
		return true, err
	}
	return o.capable.SignalBy(ctx, s)
}

// remembering answers steps that are run again as they were answered before.
type remembering struct {
	capable
	mu   sync.Mutex
	sent []runtime.SignalRequest
}

func (r *remembering) Signal(ctx context.Context, s runtime.SignalRequest) (runtime.Signalled, error) {
	result, err := r.capable.Signal(ctx, s)
	if result == runtime.Accepted {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.sent = append(r.sent, s)
	}
	return result, err
}

func (r *remembering) RetryStep(ctx context.Context, id, step string) (runtime.Steered, error) {
	steered, err := r.capable.RetryStep(ctx, id, step)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.sent {
		if s.RunID == id {
			_, _ = r.capable.Signal(ctx, s)
		}
	}
	return steered, err
}

// uncancelled says that it cancels runs, and does not.
type uncancelled struct{ capable }

func (uncancelled) CancelRun(context.Context, string, string) (runtime.Steered, error) {
	return runtime.Steered{Found: true, Done: true}, nil
}
