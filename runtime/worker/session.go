package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/internal/listen"
	"github.com/flowc-dev/flowc/runtime/worker/internal/backend"
	"github.com/flowc-dev/flowc/runtime/worker/internal/dbconn"
	"github.com/flowc-dev/flowc/runtime/worker/internal/fair"
	"github.com/flowc-dev/flowc/runtime/worker/internal/inputs"
)

const (
	// cleanupTime is how long a stopping worker may take for its last reports, after the
	// grace period.
	cleanupTime = 5 * time.Second
	// forcedCleanupTime is how long it may take if it must stop now.
	forcedCleanupTime = time.Second
)

// A session is one run of a worker, from its registration to its end.
type session struct {
	settings  *settings
	recorder  *recorder
	id        uuid.UUID
	forceStop <-chan struct{} // closed by StopNow

	dbCtx    context.Context // ends when no call to the database is waited for any more
	endCalls context.CancelFunc
	listener *listen.Listener
	work     *listen.Subscription
	db       *dbconn.DB
	backend  backend.Backend
	inflight *inflight
	results  *resultQueues
	executor *executor
	refusals *refusals
	signals  *signals
	slots    slots
	dispatch *dispatcher
	maintain *maintenance
}

// openSession connects, checks and registers; it waits for the database if that is
// unreachable. It returns no session and no error if ctx ended before.
func openSession(ctx context.Context, settings *settings, recorder *recorder, forceStop <-chan struct{}) (*session, error) {
	if ctx.Err() != nil {
		return nil, nil
	}
	s := &session{settings: settings, recorder: recorder, id: uuid.New(), forceStop: forceStop}
	s.dbCtx, s.endCalls = context.WithCancel(context.WithoutCancel(ctx))
	s.listener = listen.Acquire(settings.pool)
	c, err := connect(ctx, settings, s.listener, settings.backendWorker(s.id), recorder)
	if err != nil {
		s.endCalls()
		s.listener.Release()
		if ctx.Err() != nil {
			return nil, nil
		}
		return nil, err
	}
	s.db, s.backend = c.db, c.backend
	s.build(ctx, c.recoverAfter)
	if err := s.db.Retry(ctx, func() error { return s.backend.Register(ctx) }); err != nil {
		s.close()
		if ctx.Err() != nil {
			return nil, nil
		}
		return nil, err
	}
	return s, nil
}

// build makes the parts of the session.
func (s *session) build(ctx context.Context, recoverAfter time.Time) {
	config := &s.settings.config
	s.work = s.listener.Subscribe(listen.Work, s.settings.slugs...)
	s.slots, s.signals, s.inflight = newSlots(config.Concurrency), newSignals(), newInflight()
	s.results = newResultQueues(config.Concurrency)
	s.executor = &executor{
		log: config.Logger, groups: s.settings.groups, slots: s.slots, signals: s.signals, inflight: s.inflight,
		inputs: inputs.NewCache(s.dbCtx, s.backend.ReadValues, s.db.Recovered), results: s.results,
		maxStuck: int64(config.Concurrency),
		dbCtx:    s.dbCtx, db: s.db, backend: s.backend, transactions: &transactions{pool: s.settings.pool},
	}
	s.refusals = &refusals{backend: s.backend, log: config.Logger}
	s.dispatch = &dispatcher{
		ctx: handler.WithLogger(context.WithoutCancel(ctx), config.Logger), settings: s.settings, recorder: s.recorder,
		slots: s.slots, signals: s.signals, inflight: s.inflight, executor: s.executor, refusals: s.refusals,
		piggybacks: s.backend.SupportsPiggyback(), keeps: s.backend.SupportsKeep(), scheduler: fair.NewScheduler(s.settings.groups.All()),
	}
	s.maintain = newMaintenance(config.Logger.With("worker_id", s.id.String()), s.backend, s.recorder, s.signals, s.inflight,
		len(s.settings.groups.Gated()) > 0, recoverAfter)
}

// close disconnects.
func (s *session) close() {
	s.endCalls()
	s.executor.transactions.close()
	s.work.Close()
	s.listener.Release()
	s.db.Close()
}

// health adds to h what is known of the session.
func (s *session) health(h *Health) {
	h.WorkerID = s.id.String()
	h.InFlight = s.inflight.size()
	h.StuckHandlers = int(s.executor.stuck.Load())
}

// run runs the three stages (claim, execute, report), and beside them what keeps the
// worker alive. When ctx ends, or the worker is deprecated, the stages end in that order.
func (s *session) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-s.maintain.deprecated:
			cancel()
		case <-ctx.Done():
		}
	}()
	go func() {
		select {
		case <-s.forceStop:
			time.AfterFunc(forcedCleanupTime, s.endCalls)
		case <-s.dbCtx.Done():
		}
	}()

	s.maintain.recoverFirst(s.dbCtx)
	aliveCtx, endMaintenance := context.WithCancel(context.WithoutCancel(ctx))
	defer endMaintenance()
	var maintaining sync.WaitGroup
	maintaining.Go(func() { s.maintain.sendHeartbeats(aliveCtx) })
	maintaining.Go(func() { s.maintain.runDue(aliveCtx) })
	maintaining.Go(func() { s.maintain.deliverLarge(ctx) })
	maintaining.Go(func() { s.maintain.prune(ctx, s.settings.config.Retention) })
	maintaining.Go(func() {
		<-ctx.Done()
		s.maintain.drain(s.dbCtx)
	})
	maintaining.Go(func() { s.executor.watchStuck(aliveCtx) })

	reportCtx, giveUp := context.WithCancel(s.dbCtx)
	defer giveUp()
	waitForReports := s.startReporters(reportCtx)
	s.claim(ctx)
	s.recorder.become(StateStopping)
	giveUpTimer := time.AfterFunc(s.settings.config.Grace+cleanupTime, giveUp)
	defer giveUpTimer.Stop()
	s.drain()
	unreported := waitForReports()

	releaseErr := s.releaseAll()
	endMaintenance()
	maintaining.Wait()
	stopCtx, done := context.WithTimeout(s.dbCtx, cleanupTime)
	defer done()
	err := s.db.Retry(stopCtx, func() error { return s.backend.Stop(stopCtx) })
	switch {
	case unreported > 0:
		return fmt.Errorf("flowc: worker: stopped with %d results not reported, their tasks will run again", unreported)
	case releaseErr != nil || err != nil:
		return fmt.Errorf("flowc: worker: stopped, but its tasks could not be released, they run again once the worker is presumed dead: %w", errors.Join(releaseErr, err))
	}
	return nil
}

// claim claims tasks until ctx ends. Then nothing else is started.
func (s *session) claim(ctx context.Context) {
	c := &claimer{
		ctx: ctx, dbCtx: s.dbCtx, db: s.db, backend: s.backend, listener: s.listener, work: s.work, metrics: s.recorder.metrics,
		slots: s.slots, signals: s.signals, inflight: s.inflight, dispatcher: s.dispatch, refusals: s.refusals,
		suspects: &suspects{
			backend: s.backend, log: s.settings.config.Logger, groups: s.settings.groups, slots: s.slots, inflight: s.inflight,
			dispatcher: s.dispatch, refusals: s.refusals,
		},
	}
	starts := &eagerStarts{dbCtx: s.dbCtx, backend: s.backend, claimer: c, dispatcher: s.dispatch, refusals: s.refusals}
	stopStarts := starts.register()
	c.run()
	stopStarts()
	s.dispatch.close()
}

// startReporters starts the reporters. wait has them end when they have reported what is
// enqueued, waits for that, and returns how many results were not reported before ctx
// ended.
func (s *session) startReporters(ctx context.Context) (wait func() (unreported int)) {
	shared := reporting{
		log: s.settings.config.Logger, db: s.db, backend: s.backend, recorder: s.recorder,
		slots: s.slots, signals: s.signals, inflight: s.inflight, results: s.results, dispatcher: s.dispatch,
	}
	reported, reportedLarge := make(chan int, reporters), make(chan int, 1)
	for _, queue := range s.results.small {
		go func() { reported <- (&reporter{reporting: shared, queue: queue, large: s.results.large}).run(ctx) }()
	}
	go func() { reportedLarge <- (&reporter{reporting: shared, queue: s.results.large}).run(ctx) }()
	return func() (unreported int) {
		for _, queue := range s.results.small {
			close(queue)
		}
		for range s.results.small {
			unreported += <-reported
		}
		close(s.results.large) // into which they put what takes long
		return unreported + <-reportedLarge
	}
}

// drain waits for the handlers: first for them to return, then, when the grace period is
// over, for them to notice that their contexts have ended.
func (s *session) drain() {
	finished := make(chan struct{})
	go func() {
		s.executor.active.Wait()
		close(finished)
	}()
	timer := time.NewTimer(s.settings.config.Grace)
	defer timer.Stop()
	select {
	case <-finished:
		return
	case <-timer.C:
	case <-s.forceStop:
	}
	for _, t := range s.inflight.all() {
		t.revoke(handler.ErrWorkerStopping)
	}
	<-finished // soon: no attempt outlives its context by more than attempt.ReturnTime
}

// releaseAll releases what is still in flight.
func (s *session) releaseAll() error {
	tasks := s.inflight.all()
	if len(tasks) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(s.dbCtx, cleanupTime)
	defer cancel()
	if err := s.db.Retry(ctx, func() error { return s.backend.Release(ctx, claimedOf(tasks), nil) }); err != nil {
		return err
	}
	for _, t := range tasks {
		t.ctx.End() // its handler may not have been started
		s.inflight.remove(t)
		s.recorder.attemptEnded(t.info(), OutcomeReleased, 0)
	}
	return nil
}
