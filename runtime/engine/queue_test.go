// The contract's queues: pgmq's functions and the views.

package engine_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestQueues(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		d.exec(`select pgmq.create('Orders')`)
		d.exec(`select pgmq.create(queue_name => 'Orders')`)
		d.exec(`select pgmq.create('other')`)
		require.Equal(t, lines("Orders f f", "other f f"), d.table(`select queue_name, is_partitioned, is_unlogged from pgmq.list_queues() order by 1`))
		require.Equal(t, "2", d.table(`select count(*) from pgmq.meta where created_at is not null`))
		d.exec(`select pgmq.send('Orders', '{}')`)
		require.Equal(t, "1 0", d.table(`select (select count(*) from pgmq.q_orders), (select count(*) from pgmq.a_orders)`), "the names of the tables fold case")
		d.fails("P0001", `a queue whose name differs from "ORDERS" only by case exists already`, `select pgmq.create('ORDERS')`)
		d.fails("P0001", `queue name is too long, maximum length is 47 characters`, `select pgmq.create(repeat('x', 48))`)
		require.Equal(t, "t", d.table(`select pgmq.drop_queue('Orders')`))
		require.Equal(t, "f", d.table(`select pgmq.drop_queue('Orders')`))
		require.Equal(t, "- 0", d.table(`select to_regclass('pgmq.q_orders'), (select count(*) from flowc.queue)`))
		d.exec(`select pgmq.create('ORDERS')`)
		require.Equal(t, "0", d.table(`select count(*) from pgmq.q_orders`))
	})
}

func TestFormatTableName(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	require.Equal(t, "q_myflow a_f", d.table(`select pgmq.format_table_name('MyFlow', 'q'), pgmq.format_table_name(queue_name => 'f', prefix => 'a')`))
	for _, name := range []string{"a$", "a;b", "a--b", "a'b"} {
		d.run(name, func(t *testing.T, d *db) {
			d.fails("P0001", `queue name contains invalid characters: $, ;, --, or '`, `select pgmq.format_table_name($1, 'q')`, name)
		})
	}
}

func TestMessages(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		d.exec(`select pgmq.create('q')`)
		d.exec(`select pgmq.send(queue_name => 'q', msg => '{"n": 1}')`)
		d.exec(`select pgmq.send('q', '{"n": 2}', '{"h": 1}'::jsonb)`)
		d.exec(`select pgmq.send('q', '{"n": 3}', 60)`)
		require.Equal(t, "t", d.table(`select array_agg(id) = (select array_agg(id order by id) from unnest(array_agg(id)) id)
			from pgmq.send_batch('q', array['{"n": 4}', '{"n": 5}']::jsonb[], 0) id`), "ids come in the order of the messages")
		ids := value[[]int64](d, `select array_agg(msg_id order by msg_id) from pgmq.q_q`)

		const columns = `read_ct, message, headers, enqueued_at <= vt`
		require.Equal(t, lines(`1 {"n": 1} - t`, `1 {"n": 2} {"h": 1} t`), d.table(`select `+columns+` from pgmq.read(queue_name => 'q', vt => 30, qty => 2)`))
		require.Equal(t, lines(`1 {"n": 4} - t`, `1 {"n": 5} - t`), d.table(`select `+columns+` from pgmq.read('q', 30, 9)`), "delayed and read ones are hidden")
		require.Empty(t, d.table(`select * from pgmq.read('q', 30, 9)`))
		require.Equal(t, "30", d.table(`select ceil(extract(epoch from vt - clock_timestamp())) from pgmq.q_q where msg_id = $1`, ids[0]))

		require.Equal(t, `1 {"n": 1} - t`, d.table(`select `+columns+` from pgmq.set_vt(queue_name => 'q', msg_id => $1, vt => 0)`, ids[0]))
		require.Empty(t, d.table(`select * from pgmq.set_vt('q', -1, 0)`))
		require.Empty(t, d.table(`select * from pgmq.read('q', 30, 9, conditional => '{"n": 2}')`))
		require.Equal(t, `2 {"n": 1} - t`, d.table(`select `+columns+` from pgmq.read('q', 0, 9, '{"n": 1}')`))
		require.Equal(t, `3 {"n": 1} - t`, d.table(`select `+columns+` from pgmq.read('q', 30, 9)`), "vt 0 leaves it visible")

		require.Equal(t, "t", d.table(`select pgmq.archive(queue_name => 'q', msg_id => $1)`, ids[0]))
		require.Equal(t, "f", d.table(`select pgmq.archive('q', $1::bigint)`, ids[0]))
		require.Equal(t, "2", d.table(`select count(*) from pgmq.archive(queue_name => 'q', msg_ids => $1)`, []int64{ids[1], ids[2], ids[0], -1}))
		require.Equal(t, "0 0", d.table(`select (select count(*) from pgmq.archive('q', '{}'::bigint[])), (select count(*) from pgmq.archive('q', null::bigint[]))`))
		require.Equal(t, lines(`3 {"n": 1} - t t`, `1 {"n": 2} {"h": 1} t t`, `0 {"n": 3} - t t`), d.table(`
			select `+columns+`, archived_at is not null from pgmq.a_q order by msg_id`))
		require.Equal(t, "t 1", d.table(`select pgmq.delete('q', $1::bigint), (select count(*) from pgmq.delete('q', $2::bigint[]))`, ids[3], []int64{ids[3], ids[4]}))
		require.Equal(t, "0", d.table(`select count(*) from pgmq.q_q`))
	})
}

func TestUnknownQueue(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		for _, call := range []string{
			`pgmq.send('None', '{}')`, `pgmq.read('None', 1, 1)`, `pgmq.read_with_poll('None', 1, 1, 1, 10)`, `pgmq.archive('None', 1::bigint)`,
			`pgmq.archive('None', '{1}'::bigint[])`, `pgmq.delete('None', '{1}'::bigint[])`, `pgmq.set_vt('None', 1, 1)`, `pgflow.set_vt_batch('None', '{1}', '{1}')`,
		} {
			d.run(call, func(t *testing.T, d *db) {
				d.fails("42P01", `relation "pgmq.q_none" does not exist`, `select `+call)
			})
		}
	})
}

// TestReadWithPoll waits for a message, and gives up in the end.
func TestReadWithPoll(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	d.exec(`select pgmq.create('q')`)
	require.Empty(t, d.table(`select * from pgmq.read_with_poll('q', 1, 1, max_poll_seconds => 0)`))
	listening := make(chan error)
	go func() {
		_, err := d.pool.Exec(context.Background(), `select pgmq.send('q', '{"n": 1}', 1)`)
		listening <- err
	}()
	require.Equal(t, `{"n": 1}`, d.table(`
		select message from pgmq.read_with_poll(queue_name => 'q', vt => 1, qty => 9, max_poll_seconds => 30, poll_interval_ms => 10, conditional => '{"n": 1}')`))
	require.NoError(t, <-listening)
}

// TestReadSkipsLocked: two readers do not wait for each other.
func TestReadSkipsLocked(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	d.exec(`select pgmq.create('q')`)
	d.exec(`select pgmq.send_batch('q', array['1', '2']::jsonb[])`)
	tx, err := d.pool.Begin(t.Context())
	require.NoError(t, err)
	require.Equal(t, "1", (&db{t: t, q: tx}).table(`select message from pgmq.read('q', 30, 1)`))
	require.Equal(t, "2", d.table(`select message from pgmq.read('q', 30, 9)`))
	require.NoError(t, tx.Rollback(t.Context()))
	require.Equal(t, "1", d.table(`select message from pgmq.read('q', 30, 9)`))
}

// TestQueueHoldsTasksAndMessages: what other languages send to the queue of a flow
// lies in it among the tasks, in the order in which it came, and claims pass over it.
func TestQueueHoldsTasksAndMessages(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		r := d.flow("f").mapStep("m").start(`[1, 2]`)
		note := value[int64](d, `select pgmq.send('f', '{"note": 1}')`)
		d.flow("f").start(`[3]`)
		const kind = `coalesce(message ->> 'task_index', 'note')`
		require.Equal(t, lines("0 1", "1 1"), d.table(`select `+kind+`, read_ct from pgmq.read('f', 30, 2)`))
		require.Equal(t, lines("note 1", "0 1"), d.table(`select `+kind+`, read_ct from pgmq.read('f', 30, 9)`), "what was read is hidden")
		require.Empty(t, d.table(`select from pgmq.read('f', 30, 9)`))
		require.Equal(t, lines("0 1", "1 1", "note 1", "0 1"), d.table(`select `+kind+`, read_ct from pgmq.q_f order by msg_id`))
		all := value[[]int64](d, `select array_agg(msg_id order by msg_id) from pgmq.q_f`)
		require.Equal(t, "4", d.table(`select count(*) from pgflow.set_vt_batch('f', $1, '{0, 0, 0, 0}')`, all))
		require.Equal(t, "note", d.table(`select `+kind+` from pgmq.read('f', 0, 9, '{"note": 1}')`))
		require.Equal(t, "0 1 0", d.table(`select string_agg(task_index::text, ' ') from flowc.claim($1::uuid, '{f}', '{9}')`, worker))
		require.Equal(t, lines(fmt.Sprint(all[1]), fmt.Sprint(note)), d.table(`select a from pgmq.archive('f', $1::bigint[]) a order by 1`, []int64{all[1], note, -1}))
		require.Equal(t, lines("1 2", "note 2"), d.table(`select `+kind+`, read_ct from pgmq.a_f order by 1`))
		require.Equal(t, fmt.Sprint(all[0]), d.table(`select a from pgmq.delete('f', $1::bigint[]) a`, []int64{all[0], note}))
		require.Equal(t, fmt.Sprint(all[3]), d.table(`select msg_id from pgmq.q_f`))
		require.Equal(t, lines("started", "started"), r.task("m", "status"), "the tasks are what they were")
		d.exec(`select pgmq.drop_queue('f')`)
		d.exec(`select pgmq.create('f')`)
		require.Equal(t, "0 0", d.table(`select (select count(*) from pgmq.q_f), (select count(*) from pgmq.a_f)`), "gone with the queue")
	})
}

// TestQueueViews: what tools write into the tables of pgmq, they write into ours.
func TestQueueViews(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		r := d.flow("f").mapStep("m").start(`[1, 2]`).begin()
		d.exec(`update pgmq.q_f set vt = clock_timestamp() where message ->> 'task_index' = '1'`)
		require.Equal(t, "1", d.table(`select message ->> 'task_index' from pgmq.read('f', 30, 9)`))
		r.completeTask("m", 0, `1`)
		d.fails("P0001", "the message of a task cannot be changed", `update pgmq.q_f set message = '{}'`)
		d.fails("P0001", "the message of a task cannot be changed", `update pgmq.a_f set headers = '{}'`)
		d.exec(`select pgmq.send('f', '1')`)
		d.exec(`update pgmq.q_f set message = '2', headers = '{}' where message = '1'`)
		require.Equal(t, "2 {}", d.table(`select message, headers from pgmq.read('f', 30, 9)`))
		d.exec(`select pgmq.archive('f', msg_id) from pgmq.q_f where message = '2'`)
		require.Equal(t, lines("0", "2"), d.table(`select coalesce(message ->> 'task_index', message::text) from pgmq.a_f order by 1`))
		d.exec(`update pgmq.a_f set archived_at = now() - interval '90 days'`)
		d.exec(`delete from pgmq.a_f where archived_at < now() - interval '30 days'`)
		require.Empty(t, r.archived())
		d.exec(`delete from pgmq.q_f`)
		require.Empty(t, r.queued())
	})
}

// TestMessageIDsNeverRestart: a message of a dropped queue is never mistaken for
// one of the next queue of that name.
func TestMessageIDsNeverRestart(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		d.exec(`select pgmq.create('q')`)
		first := value[int64](d, `select pgmq.send('q', '{}')`)
		d.exec(`select pgmq.drop_queue('q')`)
		d.exec(`select pgmq.create('q')`)
		require.Greater(t, value[int64](d, `select pgmq.send('q', '{}')`), first)
	})
}

func TestSetVTBatch(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		d.exec(`select pgmq.create('q')`)
		ids := value[[]int64](d, `select array_agg(id) from pgmq.send_batch('q', array['1', '2', '3']::jsonb[]) id`)
		const set = `select message, read_ct, ceil(extract(epoch from vt - clock_timestamp())), headers from pgflow.set_vt_batch('q', $1, $2) order by msg_id`
		require.Equal(t, lines("1 0 100 -", "3 0 5 -"), d.table(set, []int64{ids[2], ids[0], -1}, []int{5, 100, 7}))
		require.Equal(t, lines("100", "0", "5"), d.seconds("q"))
		require.Equal(t, "2 0 -10 -", d.table(set, ids[1:2], []int{-10}))
		require.Empty(t, d.table(set, []int64{}, []int{}))
		require.Empty(t, d.table(set, nil, []int{1}))
		require.Empty(t, d.table(set, ids, nil))
		d.fails("P0001", "msg_ids length (2) must equal vt_offsets length (1)", set, ids[:2], []int{1})
		d.fails("P0001", "msg_ids length (0) must equal vt_offsets length (1)", set, []int64{}, []int{1})
	})
}

func TestArchiveTaskMessage(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		r := d.flow("f").mapStep("m").start(`[1, 2]`)
		for range 2 {
			d.exec(`select pgflow._archive_task_message($1, 'm', 1)`, r.id)
			require.Equal(t, "m0", r.queued())
			require.Equal(t, "m1", r.archived())
		}
		d.exec(`select pgflow._archive_task_message(gen_random_uuid(), 'm', 1)`)
		d.exec(`update pgflow.step_tasks set message_id = null`)
		d.exec(`select pgflow._archive_task_message($1, 'm', 0)`, r.id)
		require.Equal(t, "m0", r.queued())
	})
}
