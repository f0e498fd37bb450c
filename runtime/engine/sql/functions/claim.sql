-- Handing tasks to workers.

-- Takes visible messages of the flows, oldest first, at most limits[i] of
-- flow_slugs[i], starts their tasks and returns all that the handlers need. A
-- message is hidden until the try must be over. A flow may also be given as
-- 'flow.step', which is that step alone; `except_steps` lists, in the same form,
-- steps that a whole flow is without, because this worker does not do them or
-- claims them by themselves. `waited` is for how many seconds a task could have
-- been claimed, NULL for one that was taken over. Of a flow that
-- is paused there is nothing.
-- The n-th message is for owners[n], and so on from the first again: one id is a
-- claim of one worker; a list with an entry for each free slot deals out what there
-- is to several.
-- With `wake`, others are woken if there may be more than was claimed.
--
-- Locks: messages, then tasks, and neither is waited for: a message that somebody
-- holds is passed over, and a queued task nobody locks without its message.
create or replace function flowc.claim(
  owners uuid[], flow_slugs text[], limits int[], except_steps text[] default '{}', wake boolean default false)
returns table (
  flow_slug text, run_id uuid, step_slug text, task_index int, message_id bigint, attempt int, tries int,
  max_attempts int, base_delay int, timeout int, queued_at timestamptz, input jsonb, run_input jsonb, array_from text,
  headers jsonb, waited double precision, scheduled_at timestamptz, worker_id uuid)
language plpgsql as $$
#variable_conflict use_column
declare
  at_once  timestamptz := clock_timestamp();
  flows    text[];
  workers  uuid[];
  messages bigint[];
  places   tid[];
  runs     uuid[];
  steps    text[];
  indexes  int[];
  due      timestamptz[];
  begun    int;
begin
  select array_agg(m.queue_name), array_agg(m.msg_id), array_agg(m.ctid), array_agg(m.run_id), array_agg(m.step_slug), array_agg(m.task_index), array_agg(m.vt)
  into flows, messages, places, runs, steps, indexes, due
  from (
    select u.lane, u.wanted from unnest(claim.flow_slugs, claim.limits) u(lane, wanted)
    where not exists (select from flowc.paused p where p.flow_slug = split_part(u.lane, '.', 1))
    offset 0) w -- before messages are looked at, which locks them
  cross join lateral (
    select q.queue_name, q.msg_id, q.ctid, q.run_id, q.step_slug, q.task_index, q.vt
    from flowc.queue q
    where q.queue_name = split_part(w.lane, '.', 1) and q.vt <= at_once and q.run_id is not null
      and case when q.queue_name = w.lane
            then claim.except_steps = '{}' or q.queue_name || '.' || q.step_slug <> all (claim.except_steps)
            else q.step_slug = split_part(w.lane, '.', 2) end
    order by q.msg_id
    limit w.wanted
    for update skip locked) m;
  if messages is null then
    return;
  end if;
  if cardinality(claim.owners) = 1 then
    workers := array_fill(claim.owners[1], array[cardinality(messages)]);
  else
    workers := array(select claim.owners[1 + (n - 1) % cardinality(claim.owners)] from generate_series(1, cardinality(messages)) n);
  end if;

  return query select * from flowc.begin_tasks(workers, at_once, runs, steps, indexes, messages, places, due, 1);
  get diagnostics begun = row_count;
  if begun < cardinality(messages) then
    return query select * from flowc.take_over(workers, flows, messages, places, runs, steps, indexes, at_once);
  end if;
  if claim.wake and cardinality(messages) >= (select min(l.wanted) from unnest(claim.limits) l(wanted)) then
    perform flowc.wake_flows(array(select distinct split_part(l.lane, '.', 1) from unnest(claim.flow_slugs) l(lane)));
  end if;
end $$;

-- Starts those of these tasks that are queued, hides their messages, and returns
-- what they work on, in the order of their messages. A task of a map whose array
-- is large gets no element but the place of the array, so that it is read once for
-- all its tasks. The caller has locked the messages; `places` is where their rows
-- are, and `reads` how often that counts as reading them.
create or replace function flowc.begin_tasks(
  worker_ids uuid[], at_once timestamptz, run_ids uuid[], step_slugs text[], task_indexes int[],
  message_ids bigint[], places tid[], due timestamptz[], reads int)
returns table (
  flow_slug text, run_id uuid, step_slug text, task_index int, message_id bigint, attempt int, tries int,
  max_attempts int, base_delay int, timeout int, queued_at timestamptz, input jsonb, run_input jsonb, array_from text,
  headers jsonb, waited double precision, scheduled_at timestamptz, worker_id uuid)
language plpgsql as $$
#variable_conflict use_column
begin
  return query
    with begun as (
      update pgflow.step_tasks t
      set status = 'started', attempts_count = t.attempts_count + 1, started_at = begin_tasks.at_once, last_worker_id = m.worker_id
      from (
        select m.*, s.step_type, s.deps_count, coalesce(s.opt_max_attempts, f.opt_max_attempts) as max_attempts,
               coalesce(s.opt_base_delay, f.opt_base_delay) as base_delay, coalesce(s.opt_timeout, f.opt_timeout) as timeout,
               case when s.deps_count > 0 then 'none' when r.size > 1000 or s.step_type = 'map' then 'apart' else 'here' end as root,
               r.input
        from unnest(begin_tasks.run_ids, begin_tasks.step_slugs, begin_tasks.task_indexes, begin_tasks.message_ids, begin_tasks.places, begin_tasks.due,
                    begin_tasks.worker_ids)
          m(run_id, step_slug, task_index, msg_id, place, vt, worker_id)
        cross join lateral (
          -- An update keeps what it joins in one piece, unpacked: only what is small.
          select pg_column_size(o.input) as size, case when pg_column_size(o.input) <= 1000 then o.input end as input
          from pgflow.runs o where o.run_id = m.run_id and o.status = 'started' offset 0) r
        cross join lateral (
          select o.flow_slug, o.step_slug from pgflow.step_states o
          where o.run_id = m.run_id and o.step_slug = m.step_slug and o.status = 'started' offset 0) st
        cross join lateral (select * from pgflow.steps o where o.flow_slug = st.flow_slug and o.step_slug = st.step_slug offset 0) s
        cross join lateral (select * from pgflow.flows o where o.flow_slug = st.flow_slug offset 0) f
        offset 0) m
      where t.run_id = any (array[m.run_id]) and t.step_slug = m.step_slug and t.task_index = m.task_index
        and t.message_id = any (array[m.msg_id]) and t.status = 'queued'
      returning t.flow_slug, t.run_id, t.step_slug, t.task_index, t.message_id, t.attempts_count, t.requeued_count, t.queued_at,
                t.last_worker_id, m.place, m.vt, m.step_type, m.deps_count, m.max_attempts, m.base_delay, m.timeout, m.root, m.input),
    hidden as (
      update flowc.queue q
      set vt = begin_tasks.at_once + make_interval(secs => t.timeout + 2), read_ct = q.read_ct + begin_tasks.reads, worker_id = t.last_worker_id
      from begun t
      where q.ctid = t.place)
    select t.flow_slug, t.run_id, t.step_slug, t.task_index, t.message_id, t.attempts_count, t.attempts_count - t.requeued_count,
           t.max_attempts, t.base_delay, t.timeout, t.queued_at,
           case when t.step_type = 'map' then case when not e.large then e.elements -> t.task_index end
                when t.deps_count = 0 then '{}'
                else (
                  select coalesce(jsonb_object_agg(p.step_slug, coalesce(p.output, 'null')), '{}')
                  from pgflow.deps d
                  cross join lateral (
                    select o.step_slug, o.output from pgflow.step_states o
                    where o.run_id = t.run_id and o.step_slug = d.dep_slug and o.status = 'completed' offset 0) p
                  where d.flow_slug = t.flow_slug and d.step_slug = t.step_slug) end,
           case when t.step_type = 'map' then null when t.root = 'here' then t.input else r.input end,
           case when e.large then e.source end,
           -- Most databases have no headers and no ticks: that is looked at once.
           case when (select exists (select from flowc.headers)) then (select h.headers from flowc.headers h where h.run_id = t.run_id) end,
           extract(epoch from begin_tasks.at_once - t.vt)::double precision,
           case when (select exists (select from flowc.ticks)) then (select k.tick_at from flowc.ticks k where k.run_id = t.run_id) end,
           t.last_worker_id
    from begun t
    left join lateral (select o.input from pgflow.runs o where o.run_id = t.run_id and t.root = 'apart' offset 0) r on true
    left join lateral (
      -- Large is what is not stored in the row itself, or was compressed a lot for it.
      select x.source, x.elements, pg_column_size(x.elements) > 1500 or t.task_index > 256 as large
      from (
        select 'run', r.input where t.step_type = 'map' and t.deps_count = 0
        union all
        select p.step_slug, p.output
        from pgflow.deps d
        cross join lateral (
          select o.step_slug, o.output from pgflow.step_states o
          where o.run_id = t.run_id and o.step_slug = d.dep_slug offset 0) p
        where t.step_type = 'map' and d.flow_slug = t.flow_slug and d.step_slug = t.step_slug) x(source, elements)) e on true
    order by t.message_id;
end $$;

-- The whole values behind maps over large arrays and joins with the run's input:
-- 'run' is the run's input, any other source the output of that step.
create or replace function flowc.read_values(run_ids uuid[], sources text[])
returns table (run_id uuid, source text, value jsonb)
language plpgsql stable as $$
#variable_conflict use_column
begin
  return query
    select u.run_id, u.source, case u.source
      when 'run' then (select r.input from pgflow.runs r where r.run_id = u.run_id)
      else (select st.output from pgflow.step_states st where st.run_id = u.run_id and st.step_slug = u.source) end
    from unnest(read_values.run_ids, read_values.sources) u(run_id, source);
end $$;

-- What a claim found besides queued tasks: messages that became visible although
-- their task was started, because a worker died or overran. Those of our own
-- workers, or of workers that are not known any more, are taken over, three times
-- at most; the rest is left to whoever deals with it, out of the way. Returns the
-- tasks taken over, as begin_tasks does.
create or replace function flowc.take_over(
  worker_ids uuid[], flow_slugs text[], message_ids bigint[], places tid[], run_ids uuid[], step_slugs text[], task_indexes int[], at_once timestamptz)
returns table (
  flow_slug text, run_id uuid, step_slug text, task_index int, message_id bigint, attempt int, tries int,
  max_attempts int, base_delay int, timeout int, queued_at timestamptz, input jsonb, run_input jsonb, array_from text,
  headers jsonb, waited double precision, scheduled_at timestamptz, worker_id uuid)
language plpgsql as $$
#variable_conflict use_column
declare
  workers  uuid[];
  messages bigint[];
  found    tid[];
  runs     uuid[];
  steps    text[];
  indexes  int[];
begin
  with expired as (
    select t.run_id, t.step_slug, t.task_index, t.message_id, m.place, m.worker_id
    from unnest(take_over.run_ids, take_over.step_slugs, take_over.task_indexes, take_over.message_ids, take_over.places, take_over.worker_ids)
      m(run_id, step_slug, task_index, msg_id, place, worker_id)
    join pgflow.step_tasks t on t.run_id = any (array[m.run_id]) and t.step_slug = m.step_slug and t.task_index = m.task_index
    left join pgflow.workers w on w.worker_id = any (array[t.last_worker_id])
    join pgflow.runs r on r.run_id = any (array[t.run_id]) and r.status = 'started'
    join pgflow.step_states st on st.run_id = any (array[t.run_id]) and st.step_slug = t.step_slug and st.status = 'started'
    where t.message_id = any (array[m.msg_id]) and t.status = 'started' and t.started_at < at_once and t.requeued_count < 3 and t.permanently_stalled_at is null
      and coalesce(w.queue_name = '*', true)
    for update of t skip locked),
  again as (
    update pgflow.step_tasks t
    set status = 'queued', requeued_count = t.requeued_count + 1, last_requeued_at = at_once
    from expired e
    where t.run_id = any (array[e.run_id]) and t.step_slug = e.step_slug and t.task_index = e.task_index
    returning t.run_id, t.step_slug, t.task_index, t.message_id, e.place, e.worker_id)
  select array_agg(a.run_id), array_agg(a.step_slug), array_agg(a.task_index), array_agg(a.message_id), array_agg(a.place), array_agg(a.worker_id)
  into runs, steps, indexes, messages, found, workers from again a;
  if runs is not null then
    return query select * from flowc.begin_tasks(workers, at_once, runs, steps, indexes, messages, found, null, 1);
  end if;

  -- Taken over too often: recovery ends it, which needs the lock of the run.
  insert into flowc.stalled (run_id, step_slug, task_index, attempt)
  select t.run_id, t.step_slug, t.task_index, t.attempts_count
  from unnest(take_over.run_ids, take_over.step_slugs, take_over.task_indexes, take_over.message_ids) m(run_id, step_slug, task_index, msg_id)
  join pgflow.step_tasks t on t.run_id = any (array[m.run_id]) and t.step_slug = m.step_slug and t.task_index = m.task_index
  left join pgflow.workers w on w.worker_id = any (array[t.last_worker_id])
  where t.message_id = any (array[m.msg_id]) and t.status = 'started' and t.started_at < at_once and t.requeued_count >= 3 and t.permanently_stalled_at is null
    and coalesce(w.queue_name = '*', true)
    and not exists ( -- rather than a conflict, which would wait for a sweep that wants our message
      select from flowc.stalled x where x.run_id = any (array[t.run_id]) and x.step_slug = t.step_slug and x.task_index = t.task_index);

  -- Messages of tasks that are over have no business in the queue.
  perform flowc.archive_messages(array_agg(m.queue_name), array_agg(m.msg_id))
  from unnest(take_over.flow_slugs, take_over.run_ids, take_over.step_slugs, take_over.task_indexes, take_over.message_ids) m(queue_name, run_id, step_slug, task_index, msg_id)
  left join pgflow.step_tasks t on t.run_id = any (array[m.run_id]) and t.step_slug = m.step_slug and t.task_index = m.task_index and t.message_id = any (array[m.msg_id])
  where t.status is null or t.status in ('completed', 'failed')
  having count(*) > 0;

  -- The rest is somebody else's, or waits for one of the above. Not again for a while.
  update flowc.queue q
  set vt = at_once + interval '10 seconds'
  from unnest(take_over.flow_slugs, take_over.message_ids) m(queue_name, msg_id)
  where q.queue_name = any (array[m.queue_name]) and q.msg_id = m.msg_id and q.vt <= at_once;
end $$;

create or replace function pgflow.start_tasks(flow_slug text, msg_ids bigint[], worker_id uuid) returns setof pgflow.step_task_record
language plpgsql as $$
declare
  workers  uuid[];
  messages bigint[];
  places   tid[];
  runs     uuid[];
  steps    text[];
  indexes  int[];
begin
  -- In the order of a claim: the messages, then their tasks. A message that another
  -- holds is about to be another's; one that is not in the queue any more is no
  -- reason to leave its task.
  with free as materialized (
    select m.msg_id, held.ctid as place
    from unnest(start_tasks.msg_ids) m(msg_id)
    left join lateral (
      select q.ctid from flowc.queue q
      where q.queue_name = start_tasks.flow_slug and q.msg_id = m.msg_id
      for update skip locked) held on true
    where held.ctid is not null or not exists (
      select from flowc.queue q where q.queue_name = start_tasks.flow_slug and q.msg_id = m.msg_id offset 0))
  select array_agg(t.run_id), array_agg(t.step_slug), array_agg(t.task_index), array_agg(t.message_id), array_agg(f.place), array_agg(start_tasks.worker_id)
  into runs, steps, indexes, messages, places, workers
  from free f
  join pgflow.step_tasks t on t.message_id = any (array[f.msg_id])
  where t.flow_slug = start_tasks.flow_slug and t.status = 'queued';
  return query
    with task as materialized (
      select * from flowc.begin_tasks(workers, clock_timestamp(), runs, steps, indexes, messages, places, null, 0)),
    large as materialized ( -- each array is taken out of storage once, however many of its elements are wanted
      select v.run_id, v.source, '[]' || v.value as elements
      from flowc.read_values(
        array(select distinct on (t.run_id, t.array_from) t.run_id from task t where t.array_from is not null order by t.run_id, t.array_from),
        array(select distinct on (t.run_id, t.array_from) t.array_from from task t where t.array_from is not null order by t.run_id, t.array_from)) v)
    select t.flow_slug, t.run_id, t.step_slug,
           case when t.array_from is null then t.input
                else (select l.elements -> t.task_index from large l where l.run_id = t.run_id and l.source = t.array_from) end,
           t.message_id, t.task_index, t.run_input
    from task t order by t.message_id;
end $$;

create or replace function pgflow.poll_for_tasks(
  queue_name text, vt int, qty int, max_poll_seconds int default 5, poll_interval_ms int default 100)
returns setof pgflow.step_task_record
language plpgsql as $$
begin
  raise notice 'poll_for_tasks is deprecated and returns nothing: use pgmq.read_with_poll and start_tasks';
end $$;
