package worker

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flowc-dev/flowc/runtime/internal/try"
)

func (d *engineCalls) claim(ctx context.Context, id uuid.UUID, o order) (answer, error) {
	return d.counter(&d.claiming).serve(ctx, &visit{order: o, db: d, id: id, name: "claim", limit: &d.claims})
}

func (d *engineCalls) finish(ctx context.Context, id uuid.UUID, reporter int, o order) (answer, error) {
	return d.counter(&d.reporting[reporter]).serve(ctx, &visit{order: o, db: d, id: id, name: "finish", limit: &d.reports})
}

// counter is the given one, or one without others if the database is far away: calls
// are mostly on their way then, and not in the database.
func (d *engineCalls) counter(c *counter) *counter {
	if d.isFar() {
		return &counter{call: c.call, turn: c.turn}
	}
	return c
}

// callTogether makes one call for the workers that visit a counter together.
func (c *conns) callTogether(ctx context.Context, visits []*visit) (err error) {
	name, bytes, limit := visits[0].name, visits[0].report.bytes, time.Duration(0)
	for _, v := range visits {
		limit = max(limit, v.limit.get())
	}
	began := time.Now()
	most := limit + time.Duration(bytes)*time.Second/slowest
	fn := func(ctx context.Context, pool *pgxpool.Pool) error { return send(ctx, pool, visits) }
	if len(visits) == 1 {
		err = visits[0].db.callNow(ctx, name, most, fn)
	} else {
		limited, cancel := bounded(ctx, most)
		defer cancel()
		if err = fn(limited, c.own); err != nil {
			c.suspect(limited, err)
		}
		for _, v := range visits {
			v.db.config.Metrics.Called(name, time.Since(began), err)
			v.db.observe(name, err)
		}
	}
	for _, v := range visits {
		v.limit.learn(began, limit, err)
	}
	return err
}

// A statement is one of a call, with what reads its rows.
type statement struct {
	sql  string
	args []any
	read func(pgx.Rows) error
}

// send sends what visitors want: one report, and claims.
func send(ctx context.Context, pool *pgxpool.Pool, visits []*visit) error {
	var all []statement
	// What reports make work of is announced unless somebody here takes it.
	quiet := !slices.ContainsFunc(visits, func(v *visit) bool { return v.next == nil || !v.next.quiet })
	if len(visits[0].report.runs) > 0 {
		all = append(all, finishStatement(visits, quiet))
	}
	for _, claimers := range byLanes(visits) {
		all = append(all, claimStatement(claimers, quiet))
	}
	if len(all) == 1 {
		rows, err := pool.Query(ctx, all[0].sql, all[0].args...)
		if err != nil {
			return err
		}
		return all[0].read(rows)
	}
	// Statements that are sent together are one transaction, and one round trip.
	var batch pgx.Batch
	for _, s := range all {
		batch.Queue(s.sql, s.args...).Query(s.read)
	}
	return pool.SendBatch(ctx, &batch).Close()
}

const finishSQL = `
SELECT n, accepted, task_status, retry_in
FROM flowc.finish($1::text[]::uuid[], $2::text[]::uuid[], $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`

// finishStatement reports everybody's results; each gets the verdicts on its own.
func finishStatement(visits []*visit, quiet bool) statement {
	all := visits[0].report
	var workers []string
	var shares []int32
	for _, v := range visits {
		workers, shares = append(workers, v.id.String()), append(shares, int32(v.count))
	}
	if len(visits) == 1 {
		shares = nil // all
	}
	args := []any{workers, all.runs, all.steps, all.indexes, all.messages, all.attempts, all.outcomes, all.outputs, all.errors, all.delays, quiet, shares}
	if !slices.ContainsFunc(all.outcomes, func(outcome string) bool { return outcome != try.Completed }) {
		args[6], args[8], args[9] = nil, nil, nil // what is usual need not be said
	}
	return statement{finishSQL, args, func(r pgx.Rows) error {
		verdicts, err := pgx.CollectRows(r, pgx.RowToStructByPos[verdict])
		for _, one := range verdicts {
			for _, v := range visits {
				if one.N > v.count {
					one.N -= v.count
					continue
				}
				v.answer.verdicts = append(v.answer.verdicts, one)
				break
			}
		}
		return err
	}}
}

// byLanes are the visitors that claim, those together that can do each other's tasks.
func byLanes(visits []*visit) (groups [][]*visit) {
	for _, v := range visits {
		if v.next == nil {
			continue
		}
		i := slices.IndexFunc(groups, func(g []*visit) bool { return g[0].next.kind == v.next.kind && v.next.kind != "" })
		if i < 0 {
			groups = append(groups, []*visit{v})
			continue
		}
		groups[i] = append(groups[i], v)
	}
	return groups
}

const claimSQL = `
SELECT flow_slug, run_id::text, step_slug, task_index, message_id, attempt, tries, max_attempts, timeout, input, run_input, array_from,
       scheduled_at, headers, waited, owner
FROM flowc.claim($1::text[]::uuid[], $2, $3, $4, $5, $6)`

// claimArgs are the arguments of claimSQL: workers, how much each may get, and what
// they want.
func claimArgs(workers []string, shares []int32, d deal, except []string, wake bool) []any {
	return []any{workers, d.names, d.limits, notNil(except), wake, shares}
}

// claimStatement claims for workers with the same lanes, which take turns at what
// there is.
func claimStatement(visits []*visit, wake bool) statement {
	var whole deal
	var workers []string
	var shares []int32
	for _, v := range visits {
		whole = whole.with(v.next.deal)
		workers, shares = append(workers, v.id.String()), append(shares, int32(v.next.total()))
	}
	if len(visits) == 1 {
		shares = []int32{1} // all
	}
	return statement{claimSQL, claimArgs(workers, shares, whole, visits[0].next.except, wake), func(r pgx.Rows) error {
		tasks, err := readClaimed(r)
		if len(visits) == 1 {
			visits[0].answer.tasks = tasks
			return err
		}
		got := map[string]int{} // by flow, which is the lane: whoever has others has no kind
		for _, t := range tasks {
			got[t.Flow]++
			a := &visits[t.Owner-1].answer
			a.tasks = append(a.tasks, t)
		}
		for _, v := range visits {
			v.answer.dealt, v.answer.got = whole, got
		}
		return err
	}}
}

// readClaimed reads what claimSQL gives.
func readClaimed(rows pgx.Rows) (tasks []*task, err error) {
	var c claimed
	_, err = pgx.ForEachRow(rows, []any{
		(*slug)(&c.Flow), &c.RunID, (*slug)(&c.Step), &c.Index, &c.MessageID, &c.Attempt, &c.Tries, &c.MaxAttempts, &c.Timeout, &c.Input, &c.RunInput, &c.ArrayFrom,
		&c.ScheduledAt, &c.Headers, &c.Waited, &c.Owner,
	}, func() error {
		tasks = append(tasks, &task{claimed: c})
		return nil
	})
	return tasks, err
}

// A slug is a name that mostly is the one of the row before, and then not made anew.
type slug string

func (s *slug) ScanBytes(text []byte) error {
	if string(*s) != string(text) {
		*s = slug(text)
	}
	return nil
}
