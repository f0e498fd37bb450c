-- The queue functions of the contract, over one table for all queues.

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

create or replace function pgmq.create(queue_name text) returns void
language plpgsql as $$
begin
  if length("create".queue_name) > 47 then
    raise exception 'queue name is too long, maximum length is 47 characters';
  end if;
  perform pg_advisory_xact_lock(hashtext('pgmq.queue_' || lower("create".queue_name)));
  if exists (select from pgmq.meta m where m.queue_name = "create".queue_name) then
    return;
  end if;
  if exists (select from pgmq.meta m where lower(m.queue_name) = lower("create".queue_name)) then
    raise exception 'a queue whose name differs from "%" only by case exists already', "create".queue_name
      using hint = 'Choose another name: the names of queues are compared without case.';
  end if;
  insert into pgmq.meta (queue_name) values ("create".queue_name);
  execute format(
    'create view pgmq.%I as
       select msg_id, read_ct, enqueued_at, vt,
              coalesce(message, flowc.task_message(queue_name, run_id, step_slug, task_index)) as message, headers
       from flowc.queue where queue_name = %L',
    pgmq.format_table_name("create".queue_name, 'q'), "create".queue_name);
  execute format(
    'create view pgmq.%I as
       select msg_id, read_ct, enqueued_at, archived_at, vt,
              coalesce(message, flowc.task_message(queue_name, run_id, step_slug, task_index)) as message, headers
       from flowc.archive where queue_name = %L',
    pgmq.format_table_name("create".queue_name, 'a'), "create".queue_name);
end $$;

create or replace function pgmq.drop_queue(queue_name text) returns boolean
language plpgsql as $$
begin
  perform pg_advisory_xact_lock(hashtext('pgmq.queue_' || lower(drop_queue.queue_name)));
  delete from pgmq.meta m where m.queue_name = drop_queue.queue_name;
  if not found then
    raise notice 'pgmq queue `%` does not exist', drop_queue.queue_name;
    return false;
  end if;
  execute format('drop view if exists pgmq.%I', pgmq.format_table_name(drop_queue.queue_name, 'q'));
  execute format('drop view if exists pgmq.%I', pgmq.format_table_name(drop_queue.queue_name, 'a'));
  delete from flowc.queue q where q.queue_name = drop_queue.queue_name;
  delete from flowc.archive a where a.queue_name = drop_queue.queue_name;
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
      insert into flowc.queue (queue_name, msg_id, vt, message, headers)
      select send_batch.queue_name, nextval('flowc.message_ids'), clock_timestamp() + make_interval(secs => send_batch.delay), m.msg, m.header
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
  return query
    with visible as (
      select q.queue_name, q.msg_id from flowc.queue q
      where q.queue_name = read.queue_name and q.vt <= clock_timestamp()
        and not exists (select from flowc.paused p where p.flow_slug = read.queue_name)
        and (read.conditional = '{}' or coalesce(q.message, flowc.task_message(q.queue_name, q.run_id, q.step_slug, q.task_index)) @> read.conditional)
      order by q.msg_id
      limit read.qty
      for update skip locked),
    hidden as (
      update flowc.queue q set vt = clock_timestamp() + make_interval(secs => read.vt), read_ct = q.read_ct + 1
      from visible v
      where q.queue_name = any (array[v.queue_name]) and q.msg_id = v.msg_id
      returning q.*)
    select h.msg_id, h.read_ct, h.enqueued_at, h.vt,
           coalesce(h.message, flowc.task_message(h.queue_name, h.run_id, h.step_slug, h.task_index)), h.headers
    from hidden h order by h.msg_id;
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

-- Moves messages to the archive and says which were there.
create or replace function pgmq.archive(queue_name text, msg_ids bigint[]) returns setof bigint
language plpgsql as $$
begin
  perform flowc.require_queue(archive.queue_name);
  return query
    select a.msg_id
    from flowc.archive_messages(array_fill(archive.queue_name, array[coalesce(cardinality(archive.msg_ids), 0)]), archive.msg_ids) a(msg_id);
end $$;

create or replace function pgmq.archive(queue_name text, msg_id bigint) returns boolean
language plpgsql as $$
begin
  return exists (select from pgmq.archive(queue_name, array[msg_id]));
end $$;

create or replace function flowc.archive_messages(queue_names text[], msg_ids bigint[]) returns setof bigint
language plpgsql as $$
begin
  return query
    with gone as (
      delete from flowc.queue q
      using (select * from unnest(archive_messages.queue_names, archive_messages.msg_ids) o(queue_name, msg_id) order by o.msg_id) u
      where q.queue_name = any (array[u.queue_name]) and q.msg_id = u.msg_id
      returning q.*)
    insert into flowc.archive as a (msg_id, enqueued_at, vt, read_ct, task_index, run_id, queue_name, step_slug, message, headers)
    select g.msg_id, g.enqueued_at, g.vt, g.read_ct, g.task_index, g.run_id, g.queue_name, g.step_slug, g.message, g.headers from gone g
    returning a.msg_id;
end $$;

-- Makes messages visible that nobody works on any more.
create or replace function flowc.show_messages(queue_names text[], msg_ids bigint[]) returns void
language plpgsql as $$
begin
  update flowc.queue q set vt = clock_timestamp(), worker_id = null
  from (select * from unnest(show_messages.queue_names, show_messages.msg_ids) o(queue_name, msg_id) order by o.msg_id) u
  where q.queue_name = any (array[u.queue_name]) and q.msg_id = u.msg_id;
end $$;

create or replace function pgmq.delete(queue_name text, msg_ids bigint[]) returns setof bigint
language plpgsql as $$
begin
  perform flowc.require_queue("delete".queue_name);
  return query
    delete from flowc.queue q
    using (select "delete".queue_name, o.msg_id from unnest("delete".msg_ids) o(msg_id) order by o.msg_id) u
    where q.queue_name = any (array[u.queue_name]) and q.msg_id = u.msg_id
    returning q.msg_id;
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
begin
  if set_vt_batch.msg_ids is null or set_vt_batch.vt_offsets is null
     or cardinality(set_vt_batch.msg_ids) + cardinality(set_vt_batch.vt_offsets) = 0 then
    return;
  end if;
  if cardinality(set_vt_batch.msg_ids) <> cardinality(set_vt_batch.vt_offsets) then
    raise exception 'msg_ids length (%) must equal vt_offsets length (%)', cardinality(set_vt_batch.msg_ids), cardinality(set_vt_batch.vt_offsets);
  end if;
  perform flowc.require_queue(set_vt_batch.queue_name);
  return query
    update flowc.queue q set vt = clock_timestamp() + make_interval(secs => u.seconds)
    from (select set_vt_batch.queue_name, o.* from unnest(set_vt_batch.msg_ids, set_vt_batch.vt_offsets) o(msg_id, seconds) order by o.msg_id) u
    where q.queue_name = any (array[u.queue_name]) and q.msg_id = u.msg_id
    returning q.msg_id, q.read_ct, q.enqueued_at, q.vt,
              coalesce(q.message, flowc.task_message(q.queue_name, q.run_id, q.step_slug, q.task_index)), q.headers;
end $$;
