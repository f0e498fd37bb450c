-- The contract's queue functions, which pgflow's workers call. Messages that belong to no
-- task are in flowc.messages.

create or replace function pgmq.format_table_name(queue_name text, prefix text) returns text
language plpgsql immutable as $$
begin
  if queue_name ~ '[$;'']|--' then
    raise exception 'queue name contains invalid characters: $, ;, --, or ''';
  end if;
  return lower(prefix || '_' || queue_name);
end $$;

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
    -- Of each priority, and a higher one comes first.
    with ready as materialized (
      select o.*
      from unnest(flowc.priorities_in_use(read.queue_name)) p(priority)
      cross join lateral (
        select t.ctid as tid, t.message_id, t.priority from pgflow.step_tasks t
        where t.flow_slug = read.queue_name and t.subqueue = p.priority and t.message_id >= flowc.watermark(read.queue_name, p.priority) and t.in_queue
          and t.visible_at <= clock_timestamp()
          and (read.conditional = '{}' or flowc.task_message(t.flow_slug, t.run_id, t.step_slug, t.task_index) @> read.conditional)
        order by t.message_id
        limit read.qty
        for update skip locked) o
      limit read.qty),
    due as materialized (
      select o.*
      from unnest(flowc.priorities_in_use(read.queue_name)) p(priority)
      cross join lateral (
        select t.ctid as tid, t.message_id, t.priority from pgflow.step_tasks t
        where t.flow_slug = read.queue_name and t.subqueue = 'd' and t.priority = p.priority and t.in_queue
          and t.due_at <= clock_timestamp() and t.visible_at <= clock_timestamp()
          and (read.conditional = '{}' or flowc.task_message(t.flow_slug, t.run_id, t.step_slug, t.task_index) @> read.conditional)
        order by t.due_at
        limit read.qty
        for update skip locked) o
      limit read.qty),
    suspect as materialized (
      select t.ctid as tid, t.message_id, t.priority from pgflow.step_tasks t
      where t.flow_slug = read.queue_name and t.subqueue = 's' and t.in_queue and t.visible_at <= clock_timestamp() and t.gate_key is null
        and (read.conditional = '{}' or flowc.task_message(t.flow_slug, t.run_id, t.step_slug, t.task_index) @> read.conditional)
      order by t.message_id
      limit read.qty
      for update skip locked),
    other as materialized (
      select m.ctid as tid, m.msg_id from flowc.messages m
      where m.queue_name = read.queue_name and m.vt <= clock_timestamp() and (read.conditional = '{}' or m.message @> read.conditional)
      order by m.msg_id
      limit read.qty
      for update skip locked),
    oldest as materialized (
      select t.message_id as msg_id, t.tid as task, null::tid as other, array_position('{h,r,l}'::"char"[], t.priority) as rank
      from (select * from ready union all select * from due union all select * from suspect) t
      union all
      select o.msg_id, null, o.tid, 2 from other o
      order by rank, msg_id
      limit read.qty),
    tasks as (
      update pgflow.step_tasks t
      set visible_at = clock_timestamp() + make_interval(secs => read.vt), read_count = t.read_count + 1,
          -- Some seconds are no delay: readers hide a message until they start its task.
          subqueue = case when flowc.is_delayed(t, read.vt > 10) then 'd' else t.subqueue end,
          due_at = case when flowc.is_delayed(t, read.vt > 10) then clock_timestamp() + make_interval(secs => read.vt) else t.due_at end
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

-- Moves messages to the archive, and returns those that were there.
create or replace function pgmq.archive(queue_name text, msg_ids bigint[]) returns setof bigint
language plpgsql as $$
declare
  tids tid[];
begin
  perform flowc.require_queue(archive.queue_name);
  tids := flowc.lock_queued_tasks(archive.queue_name, archive.msg_ids);
  return query
    with tasks as (
      update pgflow.step_tasks t set in_queue = false, archived_at = clock_timestamp()
      from unnest(tids) l(tid)
      where t.ctid = l.tid
      returning t.message_id),
    removed as (
      delete from flowc.messages m where m.queue_name = archive.queue_name and m.msg_id = any (archive.msg_ids) returning m.*),
    others as (
      insert into flowc.archived_messages as a (msg_id, enqueued_at, vt, read_ct, queue_name, message, headers)
      select r.msg_id, r.enqueued_at, r.vt, r.read_ct, r.queue_name, r.message, r.headers from removed r
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
  tids tid[];
begin
  perform flowc.require_queue("delete".queue_name);
  tids := flowc.lock_queued_tasks("delete".queue_name, "delete".msg_ids);
  return query
    with tasks as (
      update pgflow.step_tasks t set in_queue = false
      from unnest(tids) l(tid)
      where t.ctid = l.tid
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
