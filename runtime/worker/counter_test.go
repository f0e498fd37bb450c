package worker

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
)

// A bench is a counter whose calls the test sees begin, and has end.
type bench struct {
	*testing.T
	counter counter
	calls   chan []*visit
	ends    chan error
	group   sync.WaitGroup
}

func newBench(t *testing.T, turn time.Duration) *bench {
	b := &bench{T: t, calls: make(chan []*visit, 100), ends: make(chan error)}
	b.counter.turn = turn
	b.counter.call = func(ctx context.Context, visits []*visit) error {
		b.calls <- visits
		select {
		case err := <-b.ends:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return b
}

// A guest is one who visits.
type guest struct {
	*visit
	asked  int // how often it was asked for its results
	got    answer
	err    error
	done   chan struct{}
	cancel context.CancelFunc
}

// visit has somebody come with so many results, each of so many bytes, who would claim.
func (b *bench) visit(results, bytes int, alone bool) *guest {
	g := &guest{done: make(chan struct{})}
	g.visit = &visit{order: order{
		alone: alone,
		results: func(r *report, space space) (int, bool) {
			g.asked++
			if n := results * bytes; !space.first && (results > space.results || n > space.bytes) {
				return 0, false
			}
			r.runs = append(r.runs, make([]string, results)...)
			r.bytes += results * bytes
			return results, true
		},
		claim: func() *ask { return &ask{} },
	}}
	var ctx context.Context
	ctx, g.cancel = context.WithCancel(context.Background())
	b.Cleanup(g.cancel)
	waiting := b.waiting()
	b.group.Go(func() {
		defer close(g.done)
		g.got, g.err = b.counter.serve(ctx, g.visit)
	})
	require.Eventually(b, func() bool { return b.waiting() > waiting || len(b.calls) > 0 }, 10*time.Second, time.Millisecond)
	return g
}

func (b *bench) waiting() int {
	b.counter.mu.Lock()
	defer b.counter.mu.Unlock()
	return len(b.counter.waiting)
}

// called is the next call, which has to be for these guests.
func (b *bench) called(guests ...*guest) (visits []*visit) {
	b.Helper()
	select {
	case visits = <-b.calls:
	case <-time.After(10 * time.Second):
		require.FailNow(b, "no call was made")
	}
	var want []*visit
	for _, g := range guests {
		want = append(want, g.visit)
	}
	require.Equal(b, len(want), len(visits))
	for i := range want {
		require.Same(b, want[i], visits[i])
	}
	return visits
}

func (b *bench) end(err error) { b.ends <- err }

func (g *guest) wait() (answer, error) {
	<-g.done
	return g.got, g.err
}

// Soon after a call for several, who comes first waits for the others.
func TestCounterGathers(t *testing.T) {
	t.Parallel()
	b := newBench(t, time.Hour)
	b.counter.gather = 300 * time.Millisecond
	first := b.visit(1, 1, false)
	b.called(first)
	second, third := b.visit(1, 1, false), b.visit(1, 1, false)
	b.end(nil)
	b.called(second, third)
	b.end(nil)
	second.wait()
	third.wait()
	fourth, fifth := b.visit(1, 1, false), b.visit(1, 1, false)
	b.called(fourth, fifth)
	b.end(nil)
	fourth.wait()
	fifth.wait()

	sixth := b.visit(1, 1, false)
	b.called(sixth) // nobody else came
	b.end(nil)
	sixth.wait()
	b.counter.crowd = time.Time{}
	seventh := b.visit(1, 1, false)
	b.called(seventh)
	eighth := b.visit(1, 1, false)
	b.end(nil)
	b.called(eighth)
	b.end(nil)
	eighth.wait()
	require.False(t, eighth.answer.shared)
	b.group.Wait()
}

// Who comes while a call is under way is served by the next, together, as far as it
// fits into one call.
func TestCounter(t *testing.T) {
	t.Parallel()
	b := newBench(t, time.Hour)
	first := b.visit(1, 1, false)
	b.called(first)
	require.NotNil(t, first.next, "a small report claims along")
	second, third := b.visit(claimAlong/2, 1, false), b.visit(claimAlong/2, 1, false)
	require.Zero(t, second.asked, "it is asked for what it brings before its turn")
	b.end(nil)
	got, err := first.wait()
	require.NoError(t, err)
	require.False(t, got.shared)
	b.called(second, third)
	require.NotNil(t, second.next)
	require.NotNil(t, third.next)

	nothing, fourth, large, tooMuch := b.visit(0, 0, false), b.visit(claimAlong, 1, false), b.visit(maxReports-claimAlong, 1, false), b.visit(1, 1, false)
	nothing.claim = func() *ask { return nil }
	failure := errors.New("failure")
	b.end(failure)
	for _, g := range []*guest{second, third} {
		got, err = g.wait()
		require.Equal(t, failure, err)
		require.True(t, got.shared)
	}
	_, err = nothing.wait()
	require.NoError(t, err, "there was nothing to do")
	b.called(fourth, large)
	require.Nil(t, fourth.next, "many results claim along")
	require.Nil(t, large.next)

	long, tooLong, alone, last := b.visit(1, maxReportBytes-1, false), b.visit(1, 1, false), b.visit(1, 1, true), b.visit(1, 1, false)
	b.end(nil)
	b.called(tooMuch, long)
	require.Equal(t, 2, tooMuch.asked, "it was not asked for what it brings again")
	b.end(nil)
	b.called(tooLong)
	b.end(nil)
	b.called(alone)
	b.end(nil)
	b.called(last)
	b.end(nil)
	b.group.Wait()
	require.False(t, b.counter.busy)
	b.called(b.visit(1, 1, false))
	b.end(nil)
}

// Who does not wait any more leaves the others alone, whether its turn has come or not.
func TestCounterLeft(t *testing.T) {
	t.Parallel()
	b := newBench(t, time.Hour)
	first := b.visit(1, 1, false)
	b.called(first)
	one, two, three := b.visit(1, 1, false), b.visit(1, 1, false), b.visit(1, 1, false)
	one.cancel()
	_, err := one.wait()
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, 1, one.asked, "it does not know what it would have brought")
	b.end(nil)
	visits := b.called(two, three)
	two.cancel()
	_, err = two.wait()
	require.ErrorIs(t, err, context.Canceled)
	visits[1].answer.tasks = []*task{{}}
	b.end(nil)
	got, err := three.wait()
	require.NoError(t, err)
	require.Len(t, got.tasks, 1)

	last := b.visit(1, 1, false)
	b.called(last)
	last.cancel() // and with it its call
	_, err = last.wait()
	require.ErrorIs(t, err, context.Canceled)
	b.called(b.visit(1, 1, false))
	b.end(nil)
	b.group.Wait()
}

// A call that takes long does not keep others waiting.
func TestCounterSlow(t *testing.T) {
	t.Parallel()
	b := newBench(t, turnTime)
	slow := b.visit(1, 1, false)
	b.called(slow)
	began := time.Now()
	b.called(b.visit(1, 1, false))
	require.GreaterOrEqual(t, time.Since(began), turnTime/2, "it did not wait")
	b.called(b.visit(1, 1, false))
	for range 3 {
		b.end(nil)
	}
	b.group.Wait()
	require.False(t, b.counter.busy)
}

// What a call claims for a worker that did not wait for its end is given back.
func TestClaimedForNobody(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	pool := dbtest.Pool(t)
	def := runtime.Definition{Slug: "job", FlowOptions: runtime.FlowOptions{Steps: []runtime.StepOptions{{Slug: "job"}}}}
	_, err := runtime.UpsertFlow(ctx, pool, def.Slug, def.FlowOptions)
	require.NoError(t, err)
	_, err = runtime.StartMany(ctx, pool, def.Slug, []any{1, 2, 3, 4})
	require.NoError(t, err)
	b := newBench(t, time.Hour)
	whole := b.counter.call
	var db [2]*engineCalls
	var guests [2]*guest
	first := b.visit(1, 1, false)
	b.called(first)
	for i := range db {
		w, err := New(pool, Config{Logger: slog.New(slog.DiscardHandler)}, runtime.Serve(def, []runtime.Handler{
			runtime.Handle("job", runtime.Input[int](), func(context.Context, int) (int, error) { return 0, nil }),
		}))
		require.NoError(t, err)
		d, err := w.connect(true)
		require.NoError(t, err)
		defer d.close()
		db[i] = &engineCalls{database: d}
	}
	b.counter.call = func(ctx context.Context, visits []*visit) error {
		if err := whole(ctx, visits); err != nil {
			return err
		}
		return db[0].callTogether(ctx, visits)
	}
	for i := range guests {
		guests[i] = b.visit(0, 0, false)
		v := guests[i].visit
		v.db, v.id, v.name, v.limit = db[i], uuid.New(), "claim", &db[i].claims
		v.claim = func() *ask { return &ask{deal: deal{[]string{"job"}, []int32{2}}, kind: "job"} }
		require.NoError(t, db[i].register(ctx, v.id, "test", []string{"job"}))
	}
	b.end(nil)
	b.called(guests[0], guests[1])
	guests[0].cancel()
	_, err = guests[0].wait()
	require.ErrorIs(t, err, context.Canceled)
	b.end(nil)
	got, err := guests[1].wait()
	require.NoError(t, err)
	require.Len(t, got.tasks, 2)
	require.Equal(t, map[string]int{"job": 4}, got.got)
	require.Equal(t, deal{[]string{"job"}, []int32{4}}, got.dealt)
	require.Eventually(t, func() bool {
		var queued, started int
		err := pool.QueryRow(ctx, `SELECT count(*) FILTER (WHERE status = 'queued' AND attempts_count = 0), count(*) FILTER (WHERE status = 'started') FROM pgflow.step_tasks`).Scan(&queued, &started)
		return err == nil && queued == 2 && started == 2
	}, 10*time.Second, 10*time.Millisecond, "it was not given back")
}
