package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/internal/listen"
)

const (
	// cleanup is how long a stopping worker may take for its last reports, after
	// the grace period.
	cleanup = 5 * time.Second
	// lastCalls is how long that may take in a worker that has to stop now.
	lastCalls = time.Second
	// reporters is how many reports may be under way at once, besides one of a large
	// result: while one waits for the disk, the database can work on another. Each has
	// runs of its own, since reports of the same run would wait for each other.
	reporters = 2
)

// A session is one run of a worker, from its registration to its end.
type session struct {
	*Worker
	id       uuid.UUID
	db       calls
	listener *listen.Listener
	work     *listen.Subscription
	hand     *hand
	intake   intake
	values   *values

	slots         chan struct{} // a token for each free slot
	results       [reporters]chan result
	large         chan result   // results whose report takes long
	waiting       atomic.Int64  // bytes of results that wait to be reported
	kick          chan struct{} // there may be new work, by our own doing
	resting       atomic.Bool   // whether the claimer waits for work
	retries       atomic.Bool   // whether tries were put off since the claimer asked what is due
	claimsRefused atomic.Bool   // whether the database refuses claims, and nobody knows which task is to blame
	strays        atomic.Int64  // handlers that went on after their time was over

	suspects atomic.Bool // whether the claimer is to look for suspects
	stopping atomic.Bool // whether the worker drains

	chores   chan chores // what a heartbeat found to be done
	judges   time.Time   // from when on workers may be taken for dead; of the heartbeat's goroutine
	advanced struct {    // when the watermarks were last advanced; of the heartbeat's goroutine
		at      time.Time
		claimed int64 // how many tries were begun
	}
	deprecated chan struct{} // closed when the database calls the worker deprecated
	running    sync.WaitGroup
	now        <-chan struct{} // closed by StopNow
	hard       context.Context // ends when no call to the database is waited for any more
	tries      context.Context // what the contexts of all tries are made from
}

// begin connects, checks and registers; it waits for the database if that is
// away. Without error and session, ctx ended before.
func (w *Worker) begin(ctx context.Context, now <-chan struct{}) (*session, error) {
	if ctx.Err() != nil {
		return nil, nil
	}
	listener := listen.Acquire(w.pool)
	db, judges, err := w.open(ctx, listener)
	if err != nil {
		listener.Release()
		if ctx.Err() != nil {
			return nil, nil
		}
		return nil, err
	}
	s := &session{
		Worker: w, id: uuid.New(), db: db, listener: listener,
		work:       listener.Subscribe(listen.Work, w.slugs...),
		hand:       newHand(),
		values:     newValues(db),
		slots:      make(chan struct{}, w.config.Concurrency),
		kick:       make(chan struct{}, 1),
		chores:     make(chan chores, 1),
		judges:     judges,
		deprecated: make(chan struct{}),
		now:        now,
	}
	w.session.Store(s)
	s.intake.shares = newShares(w.lanes.all)
	s.giveSlots(w.config.Concurrency)
	for i := range s.results {
		s.results[i] = make(chan result, w.config.Concurrency)
	}
	s.large = make(chan result, w.config.Concurrency)
	err = db.patiently(ctx, func() error { return db.register(ctx, s.id, w.config.Name, w.slugs) })
	if err != nil {
		s.close()
		if ctx.Err() != nil {
			return nil, nil
		}
		return nil, err
	}
	return s, nil
}

func (s *session) close() {
	s.work.Close()
	s.listener.Release()
	s.db.close()
}

// run is the three stages, and what keeps the worker alive beside them. They end
// in the order in which work passes through them.
func (s *session) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-s.deprecated:
			cancel()
		case <-ctx.Done():
		}
	}()
	hard, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	s.hard, s.values.hard = hard, hard
	s.tries = handler.WithLogger(context.WithoutCancel(ctx), s.log)
	go func() {
		select {
		case <-s.now:
			time.AfterFunc(lastCalls, cut)
		case <-hard.Done():
		}
	}()

	s.recoverFirst(hard)
	alive, die := context.WithCancel(context.WithoutCancel(ctx))
	defer die()
	var beside sync.WaitGroup
	beside.Go(func() { s.heartbeat(alive) })
	beside.Go(func() { s.upkeep(alive) })
	beside.Go(func() { s.retain(ctx) })
	beside.Go(func() {
		<-ctx.Done()
		s.stopping.Store(true)
		_ = s.db.draining(hard, s.id) // else what does not get to its end is suspect
	})
	beside.Go(func() { s.watch(alive) })

	reported, reportedLarge := make(chan int, reporters), make(chan int, 1)
	reporting, giveUp := context.WithCancel(hard)
	defer giveUp()
	for _, results := range s.results {
		go func() { reported <- (&reporter{session: s, results: results, apart: s.large}).report(reporting) }()
	}
	go func() { reportedLarge <- (&reporter{session: s, results: s.large}).report(reporting) }()

	reticent := s.beEager()
	s.claim(ctx)
	reticent()
	s.closeIntake()
	s.health.become(Stopping)
	late := time.AfterFunc(s.config.Grace+cleanup, giveUp)
	defer late.Stop()
	s.drain()
	unreported := 0
	for _, results := range s.results {
		close(results)
	}
	for range s.results {
		unreported += <-reported
	}
	close(s.large) // into which they put what takes long
	unreported += <-reportedLarge

	left := s.releaseAll()
	die()
	beside.Wait()
	last, done := context.WithTimeout(hard, cleanup)
	defer done()
	err := s.db.patiently(last, func() error { return s.db.stop(last, s.id) })
	switch {
	case unreported > 0:
		return fmt.Errorf("flowc: worker: stopped with %d results not reported, their tasks will run again", unreported)
	case left != nil || err != nil:
		return fmt.Errorf("flowc: worker: stopped, but its tasks could not be released, they run again once the worker is presumed dead: %w", errors.Join(left, err))
	}
	return nil
}

// drain waits for the handlers: first for them to end, then, when the grace
// period is over, for them to notice that their contexts have ended.
func (s *session) drain() {
	finished := make(chan struct{})
	go func() {
		s.running.Wait()
		close(finished)
	}()
	timer := time.NewTimer(s.config.Grace)
	defer timer.Stop()
	select {
	case <-finished:
		return
	case <-timer.C:
	case <-s.now:
	}
	for _, t := range s.hand.all() {
		t.revoke(handler.ErrWorkerStopping)
	}
	<-finished // soon: no try outlives its context by more than noticeTime
}

// releaseAll gives back whatever is still in hand.
func (s *session) releaseAll() error {
	tasks := s.hand.all()
	if len(tasks) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(s.hard, cleanup)
	defer cancel()
	if err := s.db.patiently(ctx, func() error { return s.db.release(ctx, s.id, tasks) }); err != nil {
		return err
	}
	for _, t := range tasks {
		t.ctx.end() // no handler may have been begun for it
		s.hand.remove(t)
		s.ended(result{task: t}, Released)
	}
	return nil
}
