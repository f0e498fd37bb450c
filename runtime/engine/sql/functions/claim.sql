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
-- Locks are not waited for: a task that somebody holds is passed over.
create or replace function flowc.claim(
  owners uuid[], flow_slugs text[], limits int[], except_steps text[] default '{}', wake boolean default false)
returns table (
  flow_slug text, run_id uuid, step_slug text, task_index int, message_id bigint, attempt int, tries int,
  max_attempts int, base_delay int, timeout int, queued_at timestamptz, input jsonb, run_input jsonb, array_from text,
  headers jsonb, waited double precision, scheduled_at timestamptz, worker_id uuid)
language plpgsql as $$
#variable_conflict use_column
declare
  at_once timestamptz := clock_timestamp();
  places  tid[];
  flows   text[];
  steps   text[];
  due     timestamptz[];
  workers uuid[];
  begun   int;
begin
  select array_agg(t.place), array_agg(t.flow_slug), array_agg(t.step_slug), array_agg(t.visible_at)
  into places, flows, steps, due
  from (
    select u.lane, u.wanted from unnest(claim.flow_slugs, claim.limits) u(lane, wanted)
    where not exists (select from flowc.paused p where p.flow_slug = split_part(u.lane, '.', 1))
    offset 0) w -- before tasks are looked at, which locks them
  cross join lateral (
    select o.ctid as place, o.flow_slug, o.step_slug, o.visible_at
    from pgflow.step_tasks o
    where o.flow_slug = split_part(w.lane, '.', 1) and o.in_queue and o.visible_at <= at_once
      and case when o.flow_slug = w.lane
            then claim.except_steps = '{}' or o.flow_slug || '.' || o.step_slug <> all (claim.except_steps)
            else o.step_slug = split_part(w.lane, '.', 2) end
    order by o.message_id
    limit w.wanted
    for update skip locked) t;
  if places is null then
    return;
  end if;
  if cardinality(claim.owners) = 1 then
    workers := array_fill(claim.owners[1], array[cardinality(places)]);
  else
    workers := array(select claim.owners[1 + (n - 1) % cardinality(claim.owners)] from generate_series(1, cardinality(places)) n);
  end if;

  return query select * from flowc.begin_tasks(workers, at_once, places, flows, steps, due, 1);
  get diagnostics begun = row_count;
  if begun < cardinality(places) then
    return query select * from flowc.take_over(workers, places, at_once);
  end if;
  if claim.wake and cardinality(places) >= (select min(l.wanted) from unnest(claim.limits) l(wanted)) then
    perform flowc.wake_flows(array(select distinct split_part(l.lane, '.', 1) from unnest(claim.flow_slugs) l(lane)));
  end if;
end $$;

-- Starts those of these tasks that are queued, hides them, and returns what they
-- work on, in the order of their messages. A task of a map whose array is large gets
-- no element but the place of the array, so that it is read once for all its tasks.
-- The caller has locked the tasks; `places` is where their rows are, and `reads` how
-- often that counts as reading their messages. What is in the queue belongs to a run
-- and a step that are started, since whoever ends those takes it out of the queue.
create or replace function flowc.begin_tasks(
  worker_ids uuid[], at_once timestamptz, places tid[], flow_slugs text[], step_slugs text[], due timestamptz[], reads int)
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
      set status = 'started', attempts_count = t.attempts_count + 1, started_at = begin_tasks.at_once, last_worker_id = m.worker_id,
          visible_at = begin_tasks.at_once + make_interval(secs => m.timeout + 2), read_count = t.read_count + begin_tasks.reads
      from (
        select u.place, u.due, u.worker_id, s.*
        from unnest(begin_tasks.places, begin_tasks.flow_slugs, begin_tasks.step_slugs, begin_tasks.due, begin_tasks.worker_ids)
          u(place, flow_slug, step_slug, due, worker_id)
        cross join lateral ( -- looked up by nothing but the step, and so remembered
          select o.step_type, o.deps_count, coalesce(o.opt_max_attempts, f.opt_max_attempts) as max_attempts,
                 coalesce(o.opt_base_delay, f.opt_base_delay) as base_delay, coalesce(o.opt_timeout, f.opt_timeout) as timeout
          from pgflow.steps o cross join pgflow.flows f
          where o.flow_slug = u.flow_slug and o.step_slug = u.step_slug and f.flow_slug = u.flow_slug offset 0) s
        offset 0) m
      where t.ctid = m.place and t.status = 'queued'
      returning t.flow_slug, t.run_id, t.step_slug, t.task_index, t.message_id, t.attempts_count, t.requeued_count, t.queued_at,
                t.last_worker_id, m.due, m.step_type, m.deps_count, m.max_attempts, m.base_delay, m.timeout)
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
           case when t.step_type = 'single' and t.deps_count = 0 then (select r.input from pgflow.runs r where r.run_id = t.run_id) end,
           case when e.large then e.source end,
           -- Most databases have no headers and no ticks: that is looked at once.
           case when (select exists (select from flowc.headers)) then (select h.headers from flowc.headers h where h.run_id = t.run_id) end,
           extract(epoch from begin_tasks.at_once - t.due)::double precision,
           case when (select exists (select from flowc.ticks)) then (select k.tick_at from flowc.ticks k where k.run_id = t.run_id) end,
           t.last_worker_id
    from begun t
    left join lateral (
      -- Large is what is not stored in the row itself, or was compressed a lot for it.
      select x.source, x.elements, pg_column_size(x.elements) > 1500 or t.task_index > 256 as large
      from (
        select 'run', r.input from pgflow.runs r where t.step_type = 'map' and t.deps_count = 0 and r.run_id = t.run_id
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

-- What a claim found besides queued tasks: started ones that became visible because a
-- worker died or overran. Those of our own workers, or of workers that are not known
-- any more, are taken over, three times at most; the rest is left to whoever deals
-- with it, out of the way. Returns the tasks taken over, as begin_tasks does.
create or replace function flowc.take_over(worker_ids uuid[], places tid[], at_once timestamptz)
returns table (
  flow_slug text, run_id uuid, step_slug text, task_index int, message_id bigint, attempt int, tries int,
  max_attempts int, base_delay int, timeout int, queued_at timestamptz, input jsonb, run_input jsonb, array_from text,
  headers jsonb, waited double precision, scheduled_at timestamptz, worker_id uuid)
language plpgsql as $$
#variable_conflict use_column
declare
  workers uuid[];
  again   tid[];
  flows   text[];
  steps   text[];
begin
  with requeued as (
    update pgflow.step_tasks t
    set status = 'queued', requeued_count = t.requeued_count + 1, last_requeued_at = at_once
    from unnest(take_over.places, take_over.worker_ids) u(place, worker_id)
    where t.ctid = u.place and t.status = 'started' and t.requeued_count < 3 and flowc.is_ours(t.last_worker_id)
    returning t.ctid as place, t.flow_slug, t.step_slug, u.worker_id)
  select array_agg(r.place), array_agg(r.flow_slug), array_agg(r.step_slug), array_agg(r.worker_id) into again, flows, steps, workers from requeued r;
  if again is not null then
    return query select * from flowc.begin_tasks(workers, at_once, again, flows, steps, null, 1);
  end if;

  -- Taken over too often: recovery ends it, which needs the lock of the run.
  insert into flowc.stalled (run_id, step_slug, task_index, attempt)
  select t.run_id, t.step_slug, t.task_index, t.attempts_count
  from unnest(take_over.places) u(place)
  join pgflow.step_tasks t on t.ctid = u.place
  where t.status = 'started' and t.requeued_count >= 3 and t.permanently_stalled_at is null and flowc.is_ours(t.last_worker_id)
    and not exists ( -- rather than a conflict, which would wait for a sweep that wants our task
      select from flowc.stalled x where x.run_id = any (array[t.run_id]) and x.step_slug = t.step_slug and x.task_index = t.task_index);

  -- The rest is somebody else's, or waits for one of the above: not again for a while.
  -- What is over has no business in the queue.
  update pgflow.step_tasks t
  set visible_at = at_once + interval '10 seconds',
      in_queue = t.status in ('queued', 'started'), archived_at = case when t.status not in ('queued', 'started') then clock_timestamp() end
  from unnest(take_over.places) u(place)
  where t.ctid = u.place;
end $$;

-- Whether a worker is of this project, or is not known any more.
create or replace function flowc.is_ours(worker_id uuid) returns boolean
language plpgsql stable as $$
begin
  return coalesce((select w.queue_name = '*' from pgflow.workers w where w.worker_id = is_ours.worker_id), true);
end $$;

create or replace function pgflow.start_tasks(flow_slug text, msg_ids bigint[], worker_id uuid) returns setof pgflow.step_task_record
language plpgsql as $$
declare
  workers uuid[];
  places  tid[];
  flows   text[];
  steps   text[];
begin
  -- A task that another holds is about to be another's.
  select array_agg(t.place), array_agg(t.flow_slug), array_agg(t.step_slug), array_agg(start_tasks.worker_id)
  into places, flows, steps, workers
  from unnest(start_tasks.msg_ids) m(msg_id)
  cross join lateral (
    select o.ctid as place, o.flow_slug, o.step_slug from pgflow.step_tasks o
    where o.flow_slug = start_tasks.flow_slug and o.message_id = m.msg_id and o.in_queue and o.status = 'queued'
      and exists (select from pgflow.runs r where r.run_id = o.run_id and r.status = 'started' offset 0)
      and exists (select from pgflow.step_states st where st.run_id = o.run_id and st.step_slug = o.step_slug and st.status = 'started' offset 0)
    for update of o skip locked) t;
  return query
    with task as materialized (
      select * from flowc.begin_tasks(workers, clock_timestamp(), places, flows, steps, null, 0)),
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
