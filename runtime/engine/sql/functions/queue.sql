-- The queues of the contract. There is no queue beside the tasks: a task's row is its
-- message, too, and pgmq.q_<name> and pgmq.a_<name> are views.

create or replace function pgmq.format_table_name(queue_name text, prefix text) returns text
language plpgsql immutable as $$
begin
  if queue_name ~ '[$;'']|--' then
    raise exception 'queue name contains invalid characters: $, ;, --, or ''';
  end if;
  return lower(prefix || '_' || queue_name);
end $$;

-- The message of a task, as other languages' workers read it.
create or replace function flowc.task_message(flow_slug text, run_id uuid, step_slug text, task_index int) returns jsonb
language plpgsql immutable parallel safe as $$
begin
  return jsonb_build_object('flow_slug', flow_slug, 'run_id', run_id, 'step_slug', step_slug, 'task_index', task_index);
end $$;

-- All messages that are in a queue. The message of a task keeps no JSON.
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
  from pgflow.step_tasks t where t.archived_at is not null
  union all
  select m.queue_name, m.msg_id, m.enqueued_at, m.vt, m.archived_at, m.read_ct, null, null, null, m.message, m.headers
  from flowc.archived_messages m;

-- Updates and deletes of the views, as scripts for pgmq make them.
create or replace function flowc.update_queue_view() returns trigger
language plpgsql as $$
declare
  places tid[];
begin
  if tg_op = 'DELETE' then
    perform pgmq.delete(old.queue_name, old.msg_id);
    return old;
  end if;
  perform flowc.refuse_message_change(old.run_id, old.message, new.message, new.headers);
  places := flowc.lock_queued_tasks(old.queue_name, array[old.msg_id]);
  update pgflow.step_tasks t
  set visible_at = new.vt, read_count = new.read_ct, queued_at = new.enqueued_at,
      subqueue = case when t.subqueue = 'r' and t.status = 'queued' and new.vt > clock_timestamp() then 'd' else t.subqueue end,
      due_at = case when t.subqueue = 'd' or t.subqueue = 'r' and t.status = 'queued' and new.vt > clock_timestamp() then new.vt else t.due_at end
  from unnest(places) l(place)
  where t.ctid = l.place;
  update flowc.messages m set vt = new.vt, read_ct = new.read_ct, enqueued_at = new.enqueued_at, message = new.message, headers = new.headers
  where m.queue_name = old.queue_name and m.msg_id = old.msg_id;
  return new;
end $$;

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

-- Refuses to change what a task's message says, which is the task's key.
create or replace function flowc.refuse_message_change(run_id uuid, message jsonb, changed jsonb, headers jsonb) returns void
language plpgsql immutable as $$
begin
  if refuse_message_change.run_id is not null and (refuse_message_change.changed is distinct from refuse_message_change.message or refuse_message_change.headers is not null) then
    raise exception 'the message of a task cannot be changed'
      using hint = 'Only its times and its read_ct can.';
  end if;
end $$;

create or replace trigger change instead of update or delete on flowc.queue for each row execute function flowc.update_queue_view();
create or replace trigger change instead of update or delete on flowc.archive for each row execute function flowc.update_archive_view();

create or replace function pgmq.create(queue_name text) returns void
language plpgsql as $$
begin
  if length("create".queue_name) > 47 then
    raise exception 'queue name is too long, maximum length is 47 characters';
  end if;
  loop -- the row waits for whoever makes or drops the queue just now
    insert into pgmq.meta (queue_name) values ("create".queue_name) on conflict do nothing;
    exit when found;
    if exists (select from pgmq.meta m where m.queue_name = "create".queue_name) then
      return;
    end if;
    if exists (select from pgmq.meta m where lower(m.queue_name) = lower("create".queue_name)) then
      raise exception 'a queue whose name differs from "%" only by case exists already', "create".queue_name
        using hint = 'Choose another name: the names of queues are compared without case.';
    end if;
  end loop;
  execute format(
    'create view pgmq.%I as select msg_id, read_ct, enqueued_at, vt, message, headers from flowc.queue where queue_name = %L',
    pgmq.format_table_name("create".queue_name, 'q'), "create".queue_name);
  execute format(
    'create view pgmq.%I as select msg_id, read_ct, enqueued_at, archived_at, vt, message, headers from flowc.archive where queue_name = %L',
    pgmq.format_table_name("create".queue_name, 'a'), "create".queue_name);
end $$;

create or replace function pgmq.drop_queue(queue_name text) returns boolean
language plpgsql as $$
begin
  delete from pgmq.meta m where m.queue_name = drop_queue.queue_name;
  if not found then
    raise notice 'pgmq queue `%` does not exist', drop_queue.queue_name;
    return false;
  end if;
  execute format('drop view if exists pgmq.%I', pgmq.format_table_name(drop_queue.queue_name, 'q'));
  execute format('drop view if exists pgmq.%I', pgmq.format_table_name(drop_queue.queue_name, 'a'));
  update pgflow.step_tasks t set in_queue = false, archived_at = null
  where t.flow_slug = drop_queue.queue_name and (t.in_queue or t.archived_at is not null);
  delete from flowc.messages m where m.queue_name = drop_queue.queue_name;
  delete from flowc.archived_messages a where a.queue_name = drop_queue.queue_name;
  return true;
end $$;

create or replace function pgmq.list_queues() returns setof pgmq.queue_record
language sql stable as $$
  select m.queue_name, m.is_partitioned, m.is_unlogged, m.created_at from pgmq.meta m order by m.queue_name
$$;

-- Refuses a queue that does not exist the way a missing table would.
create or replace function flowc.require_queue(queue_name text) returns void
language plpgsql stable as $$
begin
  if not exists (select from pgmq.meta m where m.queue_name = require_queue.queue_name) then
    raise undefined_table using
      message = format('relation "pgmq.%s" does not exist', pgmq.format_table_name(require_queue.queue_name, 'q'));
  end if;
end $$;

create or replace function pgmq.send_batch(queue_name text, msgs jsonb[], headers jsonb[], delay int) returns setof bigint
language plpgsql as $$
begin
  perform flowc.require_queue(send_batch.queue_name);
  return query
    with sent as (
      insert into flowc.messages (queue_name, vt, message, headers)
      select send_batch.queue_name, clock_timestamp() + make_interval(secs => send_batch.delay), m.msg, m.header
      from unnest(send_batch.msgs, send_batch.headers) with ordinality m(msg, header, n)
      order by m.n
      returning msg_id)
    select s.msg_id from sent s order by s.msg_id;
end $$;

create or replace function pgmq.send_batch(queue_name text, msgs jsonb[], delay int default 0) returns setof bigint
language plpgsql as $$
begin
  return query select * from pgmq.send_batch(queue_name, msgs, null::jsonb[], delay);
end $$;

create or replace function pgmq.send(queue_name text, msg jsonb, headers jsonb, delay int) returns setof bigint
language plpgsql as $$
begin
  return query select * from pgmq.send_batch(queue_name, array[msg], array[headers], delay);
end $$;

create or replace function pgmq.send(queue_name text, msg jsonb, headers jsonb) returns setof bigint
language plpgsql as $$
begin
  return query select * from pgmq.send_batch(queue_name, array[msg], array[headers], 0);
end $$;

create or replace function pgmq.send(queue_name text, msg jsonb, delay int) returns setof bigint
language plpgsql as $$
begin
  return query select * from pgmq.send_batch(queue_name, array[msg], null::jsonb[], delay);
end $$;

create or replace function pgmq.send(queue_name text, msg jsonb) returns setof bigint
language plpgsql as $$
begin
  return query select * from pgmq.send_batch(queue_name, array[msg], null::jsonb[], 0);
end $$;

create or replace function pgmq.read(queue_name text, vt int, qty int, conditional jsonb default '{}') returns setof pgmq.message_record
language plpgsql as $$
#variable_conflict use_column
begin
  perform flowc.require_queue(read.queue_name);
  if exists (select from flowc.paused_flows p where p.flow_slug = read.queue_name) then
    return;
  end if;
  return query
    with ready as materialized (
      select t.ctid as place, t.message_id from pgflow.step_tasks t
      where t.flow_slug = read.queue_name and t.subqueue = 'r' and t.message_id >= flowc.watermark(read.queue_name) and t.in_queue and t.visible_at <= clock_timestamp()
        and (read.conditional = '{}' or flowc.task_message(t.flow_slug, t.run_id, t.step_slug, t.task_index) @> read.conditional)
      order by t.message_id
      limit read.qty
      for update skip locked),
    due as materialized (
      select t.ctid as place, t.message_id from pgflow.step_tasks t
      where t.flow_slug = read.queue_name and t.in_queue and t.subqueue = 'd' and t.due_at <= clock_timestamp() and t.visible_at <= clock_timestamp()
        and (read.conditional = '{}' or flowc.task_message(t.flow_slug, t.run_id, t.step_slug, t.task_index) @> read.conditional)
      order by t.due_at
      limit read.qty
      for update skip locked),
    suspect as materialized (
      select t.ctid as place, t.message_id from pgflow.step_tasks t
      where t.flow_slug = read.queue_name and t.subqueue = 's' and t.in_queue and t.visible_at <= clock_timestamp()
        and (read.conditional = '{}' or flowc.task_message(t.flow_slug, t.run_id, t.step_slug, t.task_index) @> read.conditional)
      order by t.message_id
      limit read.qty
      for update skip locked),
    other as materialized (
      select m.ctid as place, m.msg_id from flowc.messages m
      where m.queue_name = read.queue_name and m.vt <= clock_timestamp() and (read.conditional = '{}' or m.message @> read.conditional)
      order by m.msg_id
      limit read.qty
      for update skip locked),
    oldest as materialized (
      select t.message_id as msg_id, t.place as task, null::tid as other
      from (select * from ready union all select * from due union all select * from suspect) t
      union all
      select o.msg_id, null, o.place from other o
      order by msg_id
      limit read.qty),
    tasks as (
      update pgflow.step_tasks t
      set visible_at = clock_timestamp() + make_interval(secs => read.vt), read_count = t.read_count + 1,
          subqueue = case when t.subqueue = 'r' and t.status = 'queued' and read.vt > 10 then 'd' else t.subqueue end, -- longer than the moment until it is started
          due_at = case when t.subqueue = 'd' or t.subqueue = 'r' and t.status = 'queued' and read.vt > 10
                     then clock_timestamp() + make_interval(secs => read.vt) else t.due_at end
      from oldest o where t.ctid = o.task
      returning t.*),
    others as (
      update flowc.messages m set vt = clock_timestamp() + make_interval(secs => read.vt), read_ct = m.read_ct + 1
      from oldest o where m.ctid = o.other
      returning m.*)
    select t.message_id, t.read_count, t.queued_at, t.visible_at, flowc.task_message(t.flow_slug, t.run_id, t.step_slug, t.task_index), null::jsonb
    from tasks t
    union all
    select m.msg_id, m.read_ct, m.enqueued_at, m.vt, m.message, m.headers from others m
    order by 1;
end $$;

create or replace function pgmq.read_with_poll(
  queue_name text, vt int, qty int, max_poll_seconds int default 5, poll_interval_ms int default 100, conditional jsonb default '{}'
) returns setof pgmq.message_record
language plpgsql as $$
declare
  give_up_at timestamptz := clock_timestamp() + make_interval(secs => read_with_poll.max_poll_seconds);
begin
  loop
    return query select * from pgmq.read(read_with_poll.queue_name, read_with_poll.vt, read_with_poll.qty, read_with_poll.conditional);
    exit when found or clock_timestamp() >= give_up_at;
    perform pg_sleep(read_with_poll.poll_interval_ms / 1000.0);
  end loop;
end $$;

-- Locks the tasks whose messages are these and in the queue, and says where their rows
-- are: at the place of the message in the array, NULL for one that is not there. What is
-- to be done to them is another statement's, which sees what the lock was waited for.
create or replace function flowc.lock_queued_tasks(queue_name text, msg_ids bigint[]) returns tid[]
language plpgsql as $$
begin
  return (
    select array_agg(l.place order by l.n)
    from (
      select m.n, t.place
      from (select * from unnest(lock_queued_tasks.msg_ids) with ordinality u(msg_id, n) order by u.msg_id) m
      left join lateral (
        select o.place from unnest('{r,d,s}'::"char"[]) c(class)
        cross join lateral (
          select f.run_id, f.step_slug, f.task_index from pgflow.step_tasks f
          where f.flow_slug = lock_queued_tasks.queue_name and f.subqueue = c.class and f.message_id = m.msg_id and f.in_queue offset 0) f
        cross join lateral ( -- by another key, since whoever has the lock may change the class
          select o.ctid as place from pgflow.step_tasks o
          where o.run_id = f.run_id and o.step_slug = f.step_slug and o.task_index = f.task_index
            and o.message_id = m.msg_id and o.in_queue is not false
          for update) o) t on true) l);
end $$;

-- Moves messages to the archive and says which were there.
create or replace function pgmq.archive(queue_name text, msg_ids bigint[]) returns setof bigint
language plpgsql as $$
declare
  places tid[];
begin
  perform flowc.require_queue(archive.queue_name);
  places := flowc.lock_queued_tasks(archive.queue_name, archive.msg_ids);
  return query
    with tasks as (
      update pgflow.step_tasks t set in_queue = false, archived_at = clock_timestamp()
      from unnest(places) l(place)
      where t.ctid = l.place
      returning t.message_id),
    gone as (
      delete from flowc.messages m where m.queue_name = archive.queue_name and m.msg_id = any (archive.msg_ids) returning m.*),
    others as (
      insert into flowc.archived_messages as a (msg_id, enqueued_at, vt, read_ct, queue_name, message, headers)
      select g.msg_id, g.enqueued_at, g.vt, g.read_ct, g.queue_name, g.message, g.headers from gone g
      returning a.msg_id)
    select t.message_id from tasks t union all select o.msg_id from others o;
end $$;

create or replace function pgmq.archive(queue_name text, msg_id bigint) returns boolean
language plpgsql as $$
begin
  return exists (select from pgmq.archive(queue_name, array[msg_id]));
end $$;

create or replace function pgmq.delete(queue_name text, msg_ids bigint[]) returns setof bigint
language plpgsql as $$
declare
  places tid[];
begin
  perform flowc.require_queue("delete".queue_name);
  places := flowc.lock_queued_tasks("delete".queue_name, "delete".msg_ids);
  return query
    with tasks as (
      update pgflow.step_tasks t set in_queue = false
      from unnest(places) l(place)
      where t.ctid = l.place
      returning t.message_id),
    others as (
      delete from flowc.messages m where m.queue_name = "delete".queue_name and m.msg_id = any ("delete".msg_ids) returning m.msg_id)
    select t.message_id from tasks t union all select o.msg_id from others o;
end $$;

create or replace function pgmq.delete(queue_name text, msg_id bigint) returns boolean
language plpgsql as $$
begin
  return exists (select from pgmq.delete(queue_name, array[msg_id]));
end $$;

create or replace function pgmq.set_vt(queue_name text, msg_id bigint, vt int) returns setof pgmq.message_record
language plpgsql as $$
begin
  return query select * from pgflow.set_vt_batch(queue_name, array[msg_id], array[vt]);
end $$;

-- Makes each message visible its offset from now, in seconds.
create or replace function pgflow.set_vt_batch(queue_name text, msg_ids bigint[], vt_offsets int[])
returns table (msg_id bigint, read_ct int, enqueued_at timestamptz, vt timestamptz, message jsonb, headers jsonb)
language plpgsql as $$
#variable_conflict use_column
declare
  places tid[];
begin
  if set_vt_batch.msg_ids is null or set_vt_batch.vt_offsets is null
     or cardinality(set_vt_batch.msg_ids) + cardinality(set_vt_batch.vt_offsets) = 0 then
    return;
  end if;
  if cardinality(set_vt_batch.msg_ids) <> cardinality(set_vt_batch.vt_offsets) then
    raise exception 'msg_ids length (%) must equal vt_offsets length (%)', cardinality(set_vt_batch.msg_ids), cardinality(set_vt_batch.vt_offsets);
  end if;
  perform flowc.require_queue(set_vt_batch.queue_name);
  places := flowc.lock_queued_tasks(set_vt_batch.queue_name, set_vt_batch.msg_ids);
  return query
    with tasks as (
      update pgflow.step_tasks t
      set visible_at = clock_timestamp() + make_interval(secs => l.seconds),
          subqueue = case when t.subqueue = 'r' and t.status = 'queued' and l.seconds > 0 then 'd' else t.subqueue end,
          due_at = case when t.subqueue = 'd' or t.subqueue = 'r' and t.status = 'queued' and l.seconds > 0
                     then clock_timestamp() + make_interval(secs => l.seconds) else t.due_at end
      from unnest(places, set_vt_batch.vt_offsets) l(place, seconds)
      where t.ctid = l.place
      returning t.*),
    others as (
      update flowc.messages m set vt = clock_timestamp() + make_interval(secs => u.seconds)
      from (select set_vt_batch.queue_name, o.* from unnest(set_vt_batch.msg_ids, set_vt_batch.vt_offsets) o(msg_id, seconds) order by o.msg_id) u
      where m.queue_name = any (array[u.queue_name]) and m.msg_id = u.msg_id
      returning m.*)
    select t.message_id, t.read_count, t.queued_at, t.visible_at, flowc.task_message(t.flow_slug, t.run_id, t.step_slug, t.task_index), null::jsonb
    from tasks t
    union all
    select m.msg_id, m.read_ct, m.enqueued_at, m.vt, m.message, m.headers from others m;
end $$;
