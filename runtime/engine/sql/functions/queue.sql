-- Queues. There is no queue table: a task's row is also its message, and
-- pgmq.q_<name> and pgmq.a_<name> are views over these.

-- Returns the message of a task, as workers in other languages read it.
create or replace function flowc.task_message(flow_slug text, run_id uuid, step_slug text, task_index int) returns jsonb
language plpgsql immutable parallel safe as $$
begin
  return jsonb_build_object('flow_slug', flow_slug, 'run_id', run_id, 'step_slug', step_slug, 'task_index', task_index);
end $$;

-- All messages that are in a queue. A task's message is built from its row.
create or replace view flowc.queue as
  select t.flow_slug as queue_name, t.message_id as msg_id, t.queued_at as enqueued_at, t.visible_at as vt, t.read_count as read_ct,
         t.run_id, t.step_slug, t.task_index, case when t.status = 'started' then t.last_worker_id end as worker_id,
         flowc.task_message(t.flow_slug, t.run_id, t.step_slug, t.task_index) as message, null::jsonb as headers
  from pgflow.step_tasks t where t.in_queue
  union all
  select m.queue_name, m.msg_id, m.enqueued_at, m.vt, m.read_ct, null, null, null, null, m.message, m.headers
  from flowc.messages m;

-- All messages that were taken from a queue.
create or replace view flowc.archive as
  select t.flow_slug as queue_name, t.message_id as msg_id, t.queued_at as enqueued_at, t.visible_at as vt, t.archived_at, t.read_count as read_ct,
         t.run_id, t.step_slug, t.task_index,
         flowc.task_message(t.flow_slug, t.run_id, t.step_slug, t.task_index) as message, null::jsonb as headers
  from pgflow.step_tasks t where t.archived_at is not null and t.message_id is not null
  union all
  select m.queue_name, m.msg_id, m.enqueued_at, m.vt, m.archived_at, m.read_ct, null, null, null, m.message, m.headers
  from flowc.archived_messages m;

-- Updates and deletes rows of flowc.queue, as scripts for pgmq do.
create or replace function flowc.update_queue_view() returns trigger
language plpgsql as $$
declare
  tids tid[];
begin
  if tg_op = 'DELETE' then
    perform pgmq.delete(old.queue_name, old.msg_id);
    return old;
  end if;
  perform flowc.refuse_message_change(old.run_id, old.message, new.message, new.headers);
  tids := flowc.lock_queued_tasks(old.queue_name, array[old.msg_id]);
  perform flowc.note_arrivals_of(tids);
  update pgflow.step_tasks t
  set visible_at = new.vt, read_count = new.read_ct, queued_at = new.enqueued_at,
      subqueue = case when flowc.is_delayed(t, new.vt > clock_timestamp()) then 'd' else t.subqueue end,
      due_at = case when flowc.is_delayed(t, new.vt > clock_timestamp()) then new.vt when t.subqueue <> 'g' then t.due_at end
  from unnest(tids) l(tid)
  where t.ctid = l.tid;
  update flowc.messages m set vt = new.vt, read_ct = new.read_ct, enqueued_at = new.enqueued_at, message = new.message, headers = new.headers
  where m.queue_name = old.queue_name and m.msg_id = old.msg_id;
  return new;
end $$;

-- Updates and deletes rows of flowc.archive.
create or replace function flowc.update_archive_view() returns trigger
language plpgsql as $$
begin
  if tg_op = 'DELETE' then
    update pgflow.step_tasks t set archived_at = null
    where t.run_id = old.run_id and t.step_slug = old.step_slug and t.task_index = old.task_index and t.message_id = old.msg_id;
    delete from flowc.archived_messages m where m.queue_name = old.queue_name and m.msg_id = old.msg_id;
    return old;
  end if;
  perform flowc.refuse_message_change(old.run_id, old.message, new.message, new.headers);
  update pgflow.step_tasks t set archived_at = new.archived_at, visible_at = new.vt, read_count = new.read_ct, queued_at = new.enqueued_at
  where t.run_id = old.run_id and t.step_slug = old.step_slug and t.task_index = old.task_index and t.message_id = old.msg_id;
  update flowc.archived_messages m
  set archived_at = new.archived_at, vt = new.vt, read_ct = new.read_ct, enqueued_at = new.enqueued_at, message = new.message, headers = new.headers
  where m.queue_name = old.queue_name and m.msg_id = old.msg_id;
  return new;
end $$;

-- Refuses to change the message of a task, which is the task's key.
create or replace function flowc.refuse_message_change(run_id uuid, message jsonb, changed jsonb, headers jsonb) returns void
language plpgsql immutable as $$
begin
  if run_id is not null and (changed is distinct from message or headers is not null) then
    raise exception 'the message of a task cannot be changed'
      using hint = 'Only its times and its read_ct can.';
  end if;
end $$;

create or replace trigger change instead of update or delete on flowc.queue for each row execute function flowc.update_queue_view();
create or replace trigger change instead of update or delete on flowc.archive for each row execute function flowc.update_archive_view();

-- Fails for a queue that does not exist, as a query of a missing table does.
create or replace function flowc.require_queue(queue_name text) returns void
language plpgsql stable as $$
begin
  if not exists (select from pgmq.meta m where m.queue_name = require_queue.queue_name) then
    raise undefined_table using
      message = format('relation "pgmq.%s" does not exist', pgmq.format_table_name(require_queue.queue_name, 'q'));
  end if;
end $$;

-- Returns all subqueues, in the order in which a message is looked for: most are in the first.
create or replace function flowc.subqueues() returns "char"[]
language sql immutable parallel safe
return '{r,d,g,s,h,l}'::"char"[];

-- Reports whether a task belongs in the delayed subqueue once its message has got another
-- time; later says that the new time has not come. Tasks that were claimed, are suspects or
-- have a gate stay where they are.
create or replace function flowc.is_delayed(task pgflow.step_tasks, later boolean) returns boolean
language sql immutable parallel safe
return is_delayed.task.subqueue = 'd' or is_delayed.task.subqueue = is_delayed.task.priority and is_delayed.task.status = 'queued' and is_delayed.later;

-- Returns the due_at of a task of a subqueue that is to be claimed at once.
create or replace function flowc.due_now(subqueue "char") returns timestamptz
language sql volatile parallel safe
return case when due_now.subqueue = 'd' then clock_timestamp() end;

-- Locks the tasks that have these messages and are in the queue, and returns the tids of
-- their rows, in the order of the messages, NULL for one that is not there. Change them in
-- a statement of its own, which sees what was committed while this one waited for locks.
create or replace function flowc.lock_queued_tasks(queue_name text, msg_ids bigint[]) returns tid[]
language plpgsql as $$
begin
  return (
    select array_agg(l.tid order by l.n)
    from (
      select m.n, t.tid
      from (select * from unnest(lock_queued_tasks.msg_ids) with ordinality u(msg_id, n) order by u.msg_id) m
      left join lateral (
        select o.tid from unnest(flowc.subqueues()) c(subqueue)
        cross join lateral (
          select f.run_id, f.step_slug, f.task_index from pgflow.step_tasks f
          where f.flow_slug = lock_queued_tasks.queue_name and f.subqueue = c.subqueue and f.message_id = m.msg_id and f.in_queue offset 0) f
        cross join lateral ( -- by another key, since whoever holds the lock may move the task to another subqueue
          select o.ctid as tid from pgflow.step_tasks o
          where o.run_id = f.run_id and o.step_slug = f.step_slug and o.task_index = f.task_index
            and o.message_id = m.msg_id and o.in_queue is not false
          for update) o
        limit 1) t on true) l);
end $$;
