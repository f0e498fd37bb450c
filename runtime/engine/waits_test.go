// Waits, answers, requests and deadlines, and who comes first where two of them race.

package engine_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// upsert defines a flow with steps in JSON, as upsert_flow takes them.
func (d *db) upsert(slug string, steps ...string) *flow {
	d.t.Helper()
	d.exec(`select flowc.upsert_flow($1, $2::jsonb)`, slug, `{"steps": [`+strings.Join(steps, ", ")+`]}`)
	return &flow{d, slug}
}

// waitStep is a step that waits, with what else the definition says of it.
func waitStep(slug, more string) string {
	return fmt.Sprintf(`{"slug": %q, "stepType": "single", "kind": "wait", "dependencies": [], "whenUnmet": "skip", "whenExhausted": "fail",
		"requiredInputPattern": {"defined": false}, "forbiddenInputPattern": {"defined": false}, "options": {"maxAttempts": 1} %s}`, slug, more)
}

// taskStep is a step with a handler, behind others.
func taskStep(slug string, deps ...string) string {
	list := ""
	if len(deps) > 0 {
		list = `"` + strings.Join(deps, `", "`) + `"`
	}
	return fmt.Sprintf(`{"slug": %q, "stepType": "single", "dependencies": [%s], "whenUnmet": "skip", "whenExhausted": "fail",
		"requiredInputPattern": {"defined": false}, "forbiddenInputPattern": {"defined": false}}`, slug, list)
}

// approval is a flow in which ship waits for approve, which waits for an answer.
func (d *db) approval(more string) *flow {
	d.t.Helper()
	return d.upsert("f", waitStep("approve", more), taskStep("ship", "approve"))
}

// signal answers the step approve.
func (r *run) signal(answer string) string {
	r.d.t.Helper()
	return r.d.table(`select outcome, status from flowc.signal($1, 'approve', $2::jsonb)`, r.id, answer)
}

// apply does what workers do for the flow beside claiming.
func (d *db) apply(flow string) int {
	d.t.Helper()
	return value[int](d, `select flowc.apply_due(array[$1])`, flow)
}

// left gives what is left of waits and answers.
func (d *db) left() string {
	d.t.Helper()
	return d.table(`
		select 'wait ' || count(*) from flowc.waits having count(*) > 0
		union all select 'signal ' || count(*) from flowc.signals where delivered_at is null having count(*) > 0
		union all select 'keyed ' || count(*) from flowc.keyed_signals having count(*) > 0
		union all select 'request ' || count(*) from flowc.requests having count(*) > 0`)
}

// TestOtherLanguagesAnswer: a contract client sees a started step whose task has no message,
// and completes or fails it.
func TestOtherLanguagesAnswer(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		f := d.approval("")
		r := f.start(`{}`)
		require.Equal(t, "approve:started ship:created", r.steps())
		require.Equal(t, "started - f", r.task("approve", "status, message_id, in_queue"))
		require.Empty(t, d.table(`select msg_id from pgmq.read('f', 30, 10)`))
		require.Equal(t, "0", d.table(`select pgflow.requeue_stalled_tasks()`))
		require.Equal(t, "completed", r.completeTask("approve", 0, `{"ok": true}`))
		require.Equal(t, "approve:completed ship:started", r.steps())
		require.Equal(t, "completed", r.completeTask("approve", 0, `{"ok": false}`))
		require.Equal(t, `{"ok": true}`, r.step("approve", "output"))
		require.Equal(t, "already -", r.signal(`1`))
		require.Empty(t, r.archived(), "it had no message")
		require.Empty(t, d.left())

		r = f.start(`{}`)
		require.Equal(t, "failed", r.failTask("approve", 0, "no"))
		require.Equal(t, "failed 2", r.status())
		require.Empty(t, d.left())
		require.Equal(t, "not_waiting failed", r.signal(`1`))
	})
}

// TestAnAnswerThatCommitsLate: it is taken whatever has happened meanwhile, and holds up
// nobody.
func TestAnAnswerThatCommitsLate(t *testing.T) {
	t.Parallel()
	for name, meanwhile := range map[string]func(t *testing.T, d *db, r *run){
		"nothing":    func(*testing.T, *db, *run) {},
		"a pass":     func(t *testing.T, d *db, _ *run) { require.Zero(t, d.apply("g")) },
		"two passes": func(t *testing.T, d *db, _ *run) { require.Zero(t, d.apply("g")+d.apply("g")) },
		"the wait begins": func(t *testing.T, d *db, r *run) {
			require.Equal(t, "completed", r.begin().completeTask("check", 0, `1`))
			require.Equal(t, "check:completed approve:started", r.steps())
		},
		"the wait begins, and a pass": func(t *testing.T, d *db, r *run) {
			r.complete("check", `1`)
			require.Zero(t, d.apply("g"))
		},
		"a cancel and a retry": func(t *testing.T, d *db, r *run) {
			require.Equal(t, "t", d.table(`select flowc.cancel_run($1)`, r.id))
			require.Equal(t, "t", d.table(`select flowc.retry_run($1)`, r.id))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDB(t)
			f := d.upsert("g", taskStep("check"), strings.Replace(waitStep("approve", ""), `"dependencies": []`, `"dependencies": ["check"]`, 1))
			r := f.start(`{}`)
			caller, tx := d.transaction()
			require.Equal(t, "accepted -", (&run{caller, "g", r.id}).signal(`{"late": true}`))
			meanwhile(t, d, r)
			require.NoError(t, tx.Commit(context.Background()))
			d.apply("g")
			if strings.HasPrefix(r.steps(), "check:started") {
				require.Equal(t, "f", d.table(`select flowc.is_due('{g}')`), "it is not looked at again before its step waits")
				r.complete("check", `1`)
				require.Equal(t, "t", d.table(`select flowc.is_due('{g}')`))
				require.Equal(t, 1, d.apply("g"))
			}
			require.Equal(t, "completed 0", r.status())
			require.Equal(t, `{"approve": {"late": true}}`, r.output())
			require.Empty(t, d.left())
		})
	}
}

// TestAnswersRace: the second of two who answer at once waits for the first, and is told
// that there is an answer, or answers if the first takes it back.
func TestAnswersRace(t *testing.T) {
	t.Parallel()
	for _, commit := range []bool{true, false} {
		d := newDB(t)
		r := d.approval("").start(`{}`)
		first, tx := d.transaction()
		require.Equal(t, "accepted -", (&run{first, "f", r.id}).signal(`1`))
		second := d.side(`select outcome from flowc.signal($1, 'approve', '2')`, r.id)
		require.Empty(t, second.done, "it waits for the first")
		require.Zero(t, d.apply("f"), "workers do not")
		want, output := "accepted", "2"
		if commit {
			want, output = "already", "1"
			require.NoError(t, tx.Commit(context.Background()))
		} else {
			require.NoError(t, tx.Rollback(context.Background()))
		}
		require.Equal(t, want, second.commit())
		require.Equal(t, 1, d.apply("f"))
		require.Equal(t, output, r.step("approve", "output"))
	}
}

// TestAnswerBesideAPass: a second answer while a pass delivers the first.
func TestAnswerBesideAPass(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	r := d.approval("").start(`{}`)
	require.Equal(t, "accepted -", r.signal(`1`))
	pass, tx := d.transaction()
	require.Equal(t, 1, pass.apply("f"))
	second := d.side(`select outcome from flowc.signal($1, 'approve', '2')`, r.id)
	require.NoError(t, tx.Commit(context.Background()))
	require.Equal(t, "already", second.commit())
	require.Equal(t, "1", r.step("approve", "output"))
	require.Zero(t, d.apply("f"))
	require.Empty(t, d.left())
}

// overdue has the time of the run's wait be over, or with a step that of the step's.
func (r *run) overdue(step string) {
	r.d.t.Helper()
	r.d.exec(`update flowc.waits set due_at = clock_timestamp() - interval '1 second', since_at = clock_timestamp() - interval '4 seconds'
		where run_id = $1 and step_slug = $2`, r.id, step)
}

// as is the run in another transaction.
func (r *run) as(d *db) *run { return &run{d, r.flow, r.id} }

// TestAnswerAndExpiryRace: an answer that was accepted counts, even if the time is over before
// it is committed, and one that meets an expiry is not accepted.
func TestAnswerAndExpiryRace(t *testing.T) {
	t.Parallel()
	const failed, skipped = "approve:failed ship:created", "approve:skipped ship:started"
	for _, mode := range []string{"fail", "skip", "deadline"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			d := newDB(t)
			step, over, status := "approve", failed, "failed"
			wait, settings := waitStep("approve", ""), ""
			switch mode {
			case "skip":
				wait, over, status = strings.Replace(wait, `"whenExhausted": "fail"`, `"whenExhausted": "skip"`, 1), skipped, "skipped"
			case "deadline":
				step, settings = "", `"settings": {"deadline": 100}, `
			}
			d.exec(`select flowc.upsert_flow('f', $1::jsonb)`, `{`+settings+`"steps": [`+wait+`, `+taskStep("ship", "approve")+`]}`)
			f := &flow{d, "f"}
			begin := func() *run {
				r := f.start(`{}`)
				r.overdue(step)
				return r
			}
			answered := func(r *run) {
				t.Helper()
				require.Equal(t, `{"in": "time"}`, r.step("approve", "output"))
				require.Equal(t, "already -", r.signal(`2`))
			}

			r := begin() // committed before the pass
			require.Equal(t, "accepted -", r.signal(`{"in": "time"}`))
			require.NotZero(t, d.apply("f"))
			answered(r)

			r = begin() // committed after a pass, which ends other waits
			other, third := begin(), begin()
			caller, tx := d.transaction()
			require.Equal(t, "accepted -", r.as(caller).signal(`{"in": "time"}`))
			require.Equal(t, 2, d.apply("f"))
			require.Equal(t, "approve:started ship:created", r.steps())
			require.Equal(t, over, other.steps())
			require.Equal(t, over, third.steps())
			require.Zero(t, d.apply("f"))
			require.Equal(t, "t", d.table(`select flowc.is_due('{f}')`), "a later pass comes")
			require.NoError(t, tx.Commit(context.Background()))
			require.NotZero(t, d.apply("f"))
			answered(r)
			require.Equal(t, "not_waiting "+status, other.signal(`1`))
			require.Equal(t, "- -", other.step("approve", "(select wait ->> 'answered_by' from flowc.wait_state(run_id, flow_slug, step_slug)), (select wait ->> 'answered_at' from flowc.wait_state(run_id, flow_slug, step_slug))"))

			r = begin() // taken back after a pass
			caller, tx = d.transaction()
			require.Equal(t, "accepted -", r.as(caller).signal(`1`))
			require.Zero(t, d.apply("f"))
			require.NoError(t, tx.Rollback(context.Background()))
			require.Equal(t, 1, d.apply("f"))
			require.Equal(t, over, r.steps())

			r = begin() // during a pass
			pass, tx := d.transaction()
			require.Equal(t, 1, pass.apply("f"))
			late := d.side(`select outcome, status from flowc.signal($1, 'approve', '1')`, r.id)
			require.Empty(t, late.done, "it waits for the pass")
			require.NoError(t, tx.Commit(context.Background()))
			require.Equal(t, "not_waiting "+status, late.commit())
			require.Equal(t, over, r.steps())

			r = begin() // during a pass that is rolled back
			pass, tx = d.transaction()
			require.Equal(t, 1, pass.apply("f"))
			late = d.side(`select outcome, status from flowc.signal($1, 'approve', '{"in": "time"}')`, r.id)
			require.NoError(t, tx.Rollback(context.Background()))
			require.Equal(t, "accepted -", late.commit())
			require.NotZero(t, d.apply("f"))
			answered(r)

			if mode != "skip" { // during a pass and a retry, which asks anew
				r = begin()
				pass, tx = d.transaction()
				require.Equal(t, 1, pass.apply("f"))
				require.Equal(t, "t", pass.table(`select flowc.retry_run($1)`, r.id))
				late = d.side(`select outcome, status from flowc.signal($1, 'approve', '{"in": "time"}')`, r.id)
				require.NoError(t, tx.Commit(context.Background()))
				require.Equal(t, "accepted -", late.commit())
				require.Equal(t, 1, d.apply("f"))
				answered(r)
			}
			require.Equal(t, "f", d.table(`select flowc.is_due('{f}')`))
			require.Equal(t, "0", d.table(`select count(*) from flowc.signals where delivered_at is null`))
		})
	}
}

// TestDeadlineLeavesAnsweredRuns: a run with two waits whose deadline is over does not fail
// while an answer to one of them is not committed, and the other wait can be answered.
func TestDeadlineLeavesAnsweredRuns(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	d.exec(`select flowc.upsert_flow('f', $1::jsonb)`, `{"settings": {"deadline": 100}, "steps": [`+waitStep("approve", "")+`, `+waitStep("pay", "")+`]}`)
	r := (&flow{d, "f"}).start(`{}`)
	r.overdue("")
	caller, tx := d.transaction()
	require.Equal(t, "accepted -", r.as(caller).signal(`1`))
	require.Zero(t, d.apply("f"))
	require.Equal(t, "accepted -", d.table(`select outcome, status from flowc.signal($1, 'pay', '2')`, r.id))
	require.NoError(t, tx.Commit(context.Background()))
	require.Equal(t, 2, d.apply("f"))
	require.Equal(t, `{"pay": 2, "approve": 1}`, r.output())
	require.Empty(t, d.left())
}

// TestFailWaitAndExpiryRace: what ends a wait is an answer, too.
func TestFailWaitAndExpiryRace(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	r := d.approval("").start(`{}`)
	r.overdue("approve")
	caller, tx := d.transaction()
	require.Equal(t, "accepted", caller.table(`select outcome from flowc.signal($1, 'approve', null, 'no budget', 'Emmy')`, r.id))
	require.Zero(t, d.apply("f"))
	require.NoError(t, tx.Commit(context.Background()))
	require.Equal(t, 1, d.apply("f"))
	require.Equal(t, "no budget", r.step("approve", "error_message"))
	require.Equal(t, "Emmy", d.table(`select wait ->> 'answered_by' from flowc.wait_state($1, 'f', 'approve')`, r.id))
}

// TestStaleAnswers: an answer to what a step asked before, or to a run that was deleted and
// started anew, is dropped.
func TestStaleAnswers(t *testing.T) {
	t.Parallel()
	for name, meanwhile := range map[string]func(d *db, r *run){
		"the run is deleted and started anew": func(d *db, r *run) {
			require.Equal(d.t, "t", d.table(`select flowc.delete_run($1, true)`, r.id))
			d.exec(`select flowc.start('f', '{"{}"}', array[$1::uuid])`, r.id)
		},
		"the step is answered and retried": func(d *db, r *run) {
			d.exec(`select flowc.signal_by('f', 'approve', '', '1')`)
			d.exec(`update flowc.keyed_signals set key = 'k'`)
			require.Equal(d.t, 1, d.apply("f"))
			r.complete("ship", `1`)
			require.Equal(d.t, "t", d.table(`select flowc.retry_step($1, 'approve')`, r.id))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDB(t)
			r := d.approval(`, "settings": {"key": ["run", "k"]}`).start(`{"k": "k"}`)
			caller, tx := d.transaction()
			require.Equal(t, "accepted -", r.as(caller).signal(`"stale"`))
			meanwhile(d, r)
			require.NoError(t, tx.Commit(context.Background()))
			require.Zero(t, d.apply("f"))
			require.Equal(t, "approve:started ship:created", r.steps())
			require.Equal(t, "accepted -", r.signal(`"new"`))
			require.Equal(t, 1, d.apply("f"))
			require.Equal(t, `"new"`, r.step("approve", "output"))
		})
	}
}

// TestAnsweredWaits: a wait that was answered is not listed while no worker has taken the
// answer, and the run says that it was answered.
func TestAnsweredWaits(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	r := d.approval("").start(`{}`)
	listed := func() string {
		return d.table(`select step_slug from flowc.list_waits(null, null, null, null, null, null, 10)`)
	}
	reasons := func() string {
		return d.table(`select kind, step_slug, who, since_at >= $2 as answered from flowc.explain_run($1) where kind <> 'no_worker'`, r.id, time.Now().Add(-time.Hour))
	}
	d.exec(`update flowc.waits set since_at = clock_timestamp() - interval '1 day'`)
	require.Equal(t, "approve", listed())
	require.Equal(t, "waiting approve - f", reasons())
	d.exec(`select from flowc.signal($1, 'approve', '1', null, 'ann')`, r.id)
	require.Empty(t, listed())
	require.Equal(t, "answered approve ann t", reasons())
}

// TestLargeAnswers: an answer that starts thousands of tasks is delivered by itself, and holds
// up no other, be it sent to a run or by key.
func TestLargeAnswers(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	f := d.approval(`, "settings": {"key": ["run", "k"]}`)
	const large = `(select jsonb_agg(n) from generate_series(1, 4000) n)`
	one, two, small := f.start(`{}`), f.start(`{"k": "k"}`), f.start(`{}`)
	require.Equal(t, "accepted", d.table(`select outcome from flowc.signal($1, 'approve', `+large+`)`, one.id))
	d.exec(`select flowc.signal_by('f', 'approve', 'k', ` + large + `)`)
	require.Equal(t, "accepted -", small.signal(`1`))
	require.Equal(t, 2, d.apply("f"), "the small one, and the key is found")
	require.Equal(t, "approve:completed ship:started", small.steps())
	require.Zero(t, d.apply("f"))
	d.exec(`select flowc.signal_by('f', 'approve', 'k', '2')`)
	require.Zero(t, d.apply("f"), "it is answered already")
	require.Equal(t, "t", d.table(`select flowc.is_due('{f}')`), "heartbeats find them")
	require.Equal(t, "-", d.table(`select flowc.enter_idle($1, '{f}')`, second), "the claimer leaves them to those")
	require.Equal(t, "t", d.table(`select flowc.large_answer('{f}') > 20000`))
	for range 2 {
		require.Equal(t, "t", d.table(`select flowc.deliver_large('{f}')`))
	}
	require.Equal(t, "f -", d.table(`select flowc.deliver_large('{f}'), flowc.large_answer('{f}')`))
	for _, r := range []*run{one, two} {
		require.Equal(t, "4000", r.step("approve", "jsonb_array_length(output)"))
	}
	require.Equal(t, "f", d.table(`select flowc.is_due('{f}')`))

	// Others are delivered a megabyte at a time.
	d.exec(`select flowc.start('f', array_fill('{}'::jsonb, array[100]), null)`)
	d.exec(`select flowc.signal(w.run_id, 'approve', '1') from flowc.waits w`)
	d.exec(`update flowc.signals set bytes = 19000 where pending_at is not null`)
	require.Equal(t, 52, d.apply("f"))
	require.Equal(t, 48, d.apply("f"))
}

// TestSkippedStepsLeaveNothing: an answer that came early for a step that is then skipped, and
// what a task carried that was snoozed, are dropped.
func TestSkippedStepsLeaveNothing(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	d.register(worker, "g")
	skipping := strings.Replace(taskStep("check"), `"whenExhausted": "fail"`, `"options": {"maxAttempts": 1}, "whenExhausted": "skip-cascade"`, 1)
	f := d.upsert("g", skipping, strings.Replace(waitStep("approve", ""), `"dependencies": []`, `"dependencies": ["check"]`, 1))
	r := f.start(`{}`)
	require.Equal(t, "accepted -", r.signal(`1`))
	require.Zero(t, d.apply("g"))
	d.exec(`insert into flowc.carried (run_id, step_slug, task_index, snoozes) values ($1, 'check', 0, 1)`, r.id)
	require.Equal(t, "failed", r.begin().failTask("check", 0, "no"))
	require.Equal(t, "check:skipped approve:skipped", r.steps())
	require.Equal(t, "0 0", d.table(`select (select count(*) from flowc.signals), (select count(*) from flowc.carried)`))
}

// TestPassesSkipLockedRuns: answers, expiries and requests of a run that somebody holds wait
// for that to end; those of others do not.
func TestPassesSkipLockedRuns(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	f := d.approval(`, "settings": {"key": ["run", "k"]}`)
	held, free := f.start(`{"k": "a"}`), f.start(`{"k": "b"}`)
	require.Equal(t, 0, d.apply("f"))
	locking, tx := d.transaction()
	locking.exec(`select from pgflow.runs where run_id = $1 for update`, held.id)
	require.Equal(t, "accepted -", held.signal(`1`))
	require.Equal(t, "accepted -", free.signal(`1`))
	require.Equal(t, "1", d.atOnce(`select flowc.start_due('{f}')`))
	require.Equal(t, "approve:completed ship:started", free.steps())
	require.Equal(t, "t", d.table(`select flowc.is_due('{f}')`))
	require.Equal(t, "t t -", d.table(`select known, requested, done from flowc.request($1, 'cancel', 'why', true)`, held.id))
	d.exec(`select flowc.signal_by('f', 'approve', 'a', '2')`)
	require.Equal(t, "0", d.atOnce(`select flowc.start_due('{f}')`))
	require.NoError(t, tx.Rollback(context.Background()))
	require.Equal(t, 1, d.apply("f"), "the request comes first")
	require.Equal(t, "failed 2", held.status())
	require.Equal(t, "keyed 1\nsignal 1", lines(strings.Split(sorted(d.left()), "\n")...), "both are kept")
	require.Equal(t, "t", d.table(`select flowc.retry_run($1)`, held.id))
	require.Equal(t, 1, d.apply("f"))
	require.Equal(t, "1", held.step("approve", "output"), "that of the run, and not that of the key")
}

// sorted sorts lines.
func sorted(text string) string {
	all := strings.Split(text, "\n")
	if len(all) == 2 && all[0] > all[1] {
		all[0], all[1] = all[1], all[0]
	}
	return strings.Join(all, "\n")
}

// TestKeysRace: an answer by key and a wait with the key find each other, whichever commits
// last.
func TestKeysRace(t *testing.T) {
	t.Parallel()
	for name, race := range map[string]func(d *db, begin, send func(d *db)){
		"the answer commits last": func(d *db, begin, send func(d *db)) {
			caller, tx := d.transaction()
			send(caller)
			begin(d)
			d.apply("f")
			_ = tx.Commit(context.Background())
		},
		"the wait commits last": func(d *db, begin, send func(d *db)) {
			caller, tx := d.transaction()
			begin(caller)
			send(d)
			d.apply("f")
			_ = tx.Commit(context.Background())
		},
		"the answer comes during a pass for the wait": func(d *db, begin, send func(d *db)) {
			begin(d)
			pass, tx := d.transaction()
			pass.apply("f")
			send(d)
			d.apply("f") // skips the run that the other pass holds
			_ = tx.Commit(context.Background())
		},
		"the wait comes during a pass for the answer": func(d *db, begin, send func(d *db)) {
			send(d)
			pass, tx := d.transaction()
			pass.apply("f")
			begin(d)
			d.apply("f")
			_ = tx.Commit(context.Background())
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDB(t)
			f := d.approval(`, "settings": {"key": ["run", "k"]}`)
			var r *run
			race(d, func(d *db) { r = (&flow{d, f.slug}).start(`{"k": "a"}`) },
				func(d *db) { d.exec(`select flowc.signal_by('f', 'approve', 'a', '"paid"', 'bank')`) })
			d.apply("f")
			r.d = d
			require.Equal(t, "approve:completed ship:started", r.steps())
			require.Equal(t, `"paid"`, r.step("approve", "output"))
			require.Empty(t, d.left())
			require.Equal(t, "bank", d.table(`select wait ->> 'answered_by' from flowc.wait_state($1, 'f', 'approve')`, r.id))
		})
	}
}

// TestAnswersByKey: one that comes goes to all that wait; those that were kept go to one each,
// in their order, until they expire.
func TestAnswersByKey(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	f := d.approval(`, "settings": {"key": ["run", "k"], "keep": 60}`)
	send := func(answer string) { d.exec(`select flowc.signal_by('f', 'approve', '7', $1)`, answer) }
	outputs := func(runs ...*run) (all string) {
		for _, r := range runs {
			all += r.step("approve", "coalesce(output, '\"-\"')") + " "
		}
		return all
	}
	a, b, other, none := f.start(`{"k": 7}`), f.start(`{"k": "7"}`), f.start(`{"k": 7.5}`), f.start(`{}`)
	send(`1`)
	require.Equal(t, 2, d.apply("f"))
	require.Equal(t, `1 1 "-" "-" `, outputs(a, b, other, none))
	send(`2`)
	send(`3`)
	require.Zero(t, d.apply("f"))
	a, b, c := f.start(`{"k": 7}`), f.start(`{"k": 7}`), f.start(`{"k": 7.0}`)
	require.Equal(t, 2, d.apply("f"))
	require.Equal(t, `2 3 "-" `, outputs(a, b, c))
	send(`4`)
	require.Equal(t, 1, d.apply("f"))
	require.Equal(t, `4 `, outputs(c))
	send(`5`)
	require.Zero(t, d.apply("f"))
	d.exec(`update flowc.keyed_signals set expires_at = clock_timestamp()`)
	a = f.start(`{"k": 7}`)
	require.Zero(t, d.apply("f"))
	require.Equal(t, `"-" `, outputs(a))
	require.Equal(t, "0", d.table(`select count(*) from flowc.keyed_signals`))
	require.Equal(t, "f", d.table(`select flowc.is_due('{f}')`))
}

// TestRequestsInATransaction: what a transaction asks for touches no run, holds up nobody,
// and is done after the commit, in order.
func TestRequestsInATransaction(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	d.register(worker, "f")
	f := d.flow("f", attempts(1)).step("a")
	r, other := f.start(`1`), f.start(`1`)
	r.begin()
	caller, tx := d.transaction()
	for _, call := range []string{`'cancel', 'why'`, `'retry', null`, `'cancel', 'again'`} {
		require.Equal(t, "t t -", caller.table(`select known, requested, done from flowc.request($1, `+call+`, false)`, r.id))
	}
	require.Equal(t, "f f -", caller.table(`select known, requested, done from flowc.request(gen_random_uuid(), 'cancel', null, false)`))
	require.Equal(t, "f f -", caller.table(`select known, requested, done from flowc.request($1, 'retry_step', 'b', false)`, r.id))
	require.Empty(t, d.report(report{run: other, step: "a", outcome: "completed", output: `1`}))
	require.Equal(t, "started 1", r.status())
	require.NoError(t, tx.Commit(context.Background()))
	require.Equal(t, "t", d.table(`select flowc.is_due('{f}')`))
	require.Equal(t, 3, d.apply("f"))
	require.Equal(t, "failed 1", r.status())
	require.Equal(t, "again", d.table(`select reason from flowc.cancelled_runs where run_id = $1`, r.id))
	require.Empty(t, d.left())
}

// TestRequestsAtOnce: without a transaction, a request is done at once, after those that came
// before.
func TestRequestsAtOnce(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	r := d.flow("f", attempts(1)).step("a", startDelay(60)).start(`1`)
	require.Equal(t, "t f t 1", d.table(`select * from flowc.request($1, 'run_now', null, true)`, r.id))
	require.Equal(t, "t t -", d.table(`select known, requested, done from flowc.request($1, 'cancel', 'first', false)`, r.id))
	require.Equal(t, "t f t", d.table(`select known, requested, done from flowc.request($1, 'retry', null, true)`, r.id))
	require.Equal(t, "started 1", r.status())
	require.Equal(t, "t f f", d.table(`select known, requested, done from flowc.request($1, 'retry', null, true)`, r.id))
	require.Equal(t, "f f -", d.table(`select known, requested, done from flowc.request(gen_random_uuid(), 'retry', null, true)`))
	require.Empty(t, d.left())
	require.Equal(t, "t t -", d.table(`select known, requested, done from flowc.request($1, 'cancel', 'late', false)`, r.id))
	require.Equal(t, "cancel late", d.table(`select action, argument from flowc.list_requests(clock_timestamp(), 10)`))
	d.exec(`select flowc.delete_run($1, true)`, r.id)
	require.Empty(t, d.left())
}

// TestEndsOfWaits: whatever ends a run ends its waits, and deleting it deletes all of them.
func TestEndsOfWaits(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	f := d.upsert("f", waitStep("approve", ""), waitStep("second", ""), taskStep("work"))
	for _, end := range []string{
		`select flowc.cancel_run($1)`, `select flowc.delete_run($1, true)`, `select count(*) from pgflow.fail_task($1, 'work', 0, 'x')`,
	} {
		r := f.start(`{}`)
		require.Equal(t, "accepted -", r.signal(`1`))
		require.Equal(t, "2", d.table(`select count(*) from flowc.waits`))
		for range 3 {
			r.begin()
			d.exec(end, r.id)
			r.show()
		}
		require.Equal(t, "0", d.table(`select count(*) from flowc.waits`), end)
		d.apply("f")
		d.exec(`select flowc.delete_run($1, true)`, r.id)
		require.Empty(t, d.left(), end)
	}
	r := f.start(`{}`)
	r.signal(`1`)
	d.exec(`select flowc.signal_by('f', 'approve', 'k', '1')`)
	d.exec(`select flowc.delete_flow('f', true)`)
	require.Empty(t, d.left())
	require.Equal(t, "0", d.table(`select count(*) from flowc.settings`))
}

// TestDriftOfWaits: a flow that another language has defined anew has lost its kinds, which
// is a difference; other settings change in place.
func TestDriftOfWaits(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	definition := `{"steps": [` + waitStep("approve", "") + `]}`
	keyed := `{"steps": [` + waitStep("approve", `, "settings": {"key": ["run", "k"]}`) + `]}`
	status := func(definition string) string {
		return value[string](d, `select flowc.upsert_flow('f', $1::jsonb) ->> 'status'`, definition)
	}
	require.Equal(t, "compiled", status(definition))
	require.Equal(t, "verified", status(definition))
	require.Equal(t, "options_updated", status(keyed))
	require.Equal(t, `{"key": ["run", "k"]}`, d.table(`select flowc.get_definition('f') #> '{steps,0,settings}'`))
	require.Equal(t, "wait", d.table(`select flowc.get_definition('f') #>> '{steps,0,kind}'`))
	d.exec(`select pgflow.delete_flow_and_data('f')`)
	d.exec(`select pgflow.ensure_flow_compiled('f', $1::jsonb)`, definition)
	require.Equal(t, "{Step at index 0: kind differs 'wait' vs 'task'}", strings.ReplaceAll(d.table(`select flowc.compare_flow('f', $1::jsonb)`, definition), `"`, ""))
	require.Equal(t, "mismatch", status(definition))
}

// TestNewerSnapshots: a transaction that begins a wait with an older snapshot than that of
// the pass that put its answer aside cannot lock the run.
func TestNewerSnapshots(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	f := d.upsert("g", taskStep("check"), strings.Replace(waitStep("approve", ""), `"dependencies": []`, `"dependencies": ["check"]`, 1))
	r := f.start(`{}`).begin()
	tx, err := d.pool.BeginTx(t.Context(), pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	require.NoError(t, err)
	defer func() { _ = tx.Rollback(context.Background()) }()
	old := &db{t: t, pool: d.pool, q: tx}
	old.exec(`select count(*) from pgflow.runs`)
	require.Equal(t, "accepted -", r.signal(`1`))
	require.Zero(t, d.apply("g"))
	_, err = old.try(`select count(*) from pgflow.complete_task($1, 'check', 0, '1')`, r.id)
	require.ErrorContains(t, err, "could not serialize access")
}
