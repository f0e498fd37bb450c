-- Handing tasks to workers.

-- Takes visible messages of the flows, oldest first, at most limits[i] of
-- flow_slugs[i], starts their tasks and returns all that the handlers need. A
-- message is hidden until the try must be over. A flow may also be given as
-- 'flow.step', which is that step alone; `except_steps` lists, in the same form,
-- steps that a whole flow is without, because this worker does not do them or
-- claims them by themselves. `waited` is for how many seconds a task could have
-- been claimed, NULL for one that was taken over. Of a flow that
-- is paused there is nothing.
-- With `wake`, others are woken if there may be more than was claimed.
--
-- Locks are not waited for: a task that somebody holds is passed over.
create or replace function flowc.claim(
  worker_id uuid, flow_slugs text[], limits int[], except_steps text[] default '{}', wake boolean default false)
returns table (
  flow_slug text, run_id uuid, step_slug text, task_index int, message_id bigint, attempt int, tries int,
  max_attempts int, base_delay int, timeout int, queued_at timestamptz, input jsonb, run_input jsonb, array_from text,
  headers jsonb, waited double precision, scheduled_at timestamptz)
language plpgsql as $$
#variable_conflict use_column
declare
  at_once timestamptz := clock_timestamp();
  claimed int;
begin
  return query
    with held as materialized (
      select t.place, s.*, t.status <> 'queued' as again,
             case t.status when 'queued' then t.visible_at end as due,
             t.status = 'queued' or flowc.take_over(t.place, at_once) as free
      from (
        select u.lane, u.wanted, coalesce((select h.message_id from flowc.heads h where h.flow_slug = split_part(u.lane, '.', 1)), 0) as head
        from unnest(claim.flow_slugs, claim.limits) u(lane, wanted)
        where not exists (select from flowc.paused p where p.flow_slug = split_part(u.lane, '.', 1))
        offset 0) w -- before tasks are looked at, which locks them
      cross join lateral (
        select o.ctid as place, o.flow_slug, o.step_slug, o.status, o.visible_at
        from pgflow.step_tasks o
        where o.flow_slug = split_part(w.lane, '.', 1) and o.message_id >= w.head and o.in_queue and o.visible_at <= at_once
          and case when o.flow_slug = w.lane
                then claim.except_steps = '{}' or o.flow_slug || '.' || o.step_slug <> all (claim.except_steps)
                else o.step_slug = split_part(w.lane, '.', 2) end
        order by o.message_id
        limit w.wanted
        for update skip locked) t
      cross join lateral ( -- looked up by nothing but the step, and so remembered
        select o.step_type, o.deps_count, coalesce(o.opt_max_attempts, f.opt_max_attempts) as max_attempts,
               coalesce(o.opt_base_delay, f.opt_base_delay) as base_delay, coalesce(o.opt_timeout, f.opt_timeout) as timeout
        from pgflow.steps o cross join pgflow.flows f
        where o.flow_slug = t.flow_slug and o.step_slug = t.step_slug and f.flow_slug = t.flow_slug offset 0) s),
    begun as (
      update pgflow.step_tasks t
      set status = 'started', attempts_count = t.attempts_count + 1, started_at = at_once, last_worker_id = claim.worker_id,
          visible_at = at_once + make_interval(secs => h.timeout + 2.0::double precision), read_count = t.read_count + 1,
          requeued_count = t.requeued_count + h.again::int, last_requeued_at = case when h.again then at_once else t.last_requeued_at end
      from held h
      where t.ctid = h.place and h.free
      returning t.flow_slug, t.run_id, t.step_slug, t.task_index, t.message_id, t.attempts_count, t.requeued_count, t.queued_at,
                h.due, h.step_type, h.deps_count, h.max_attempts, h.base_delay, h.timeout)
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
           extract(epoch from at_once - t.due)::double precision,
           case when (select exists (select from flowc.ticks)) then (select k.tick_at from flowc.ticks k where k.run_id = t.run_id) end
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
  get diagnostics claimed = row_count;
  if claim.wake then
    if claimed >= (select min(l.wanted) from unnest(claim.limits) l(wanted)) then
      perform flowc.wake_flows(array(select distinct split_part(l.lane, '.', 1) from unnest(claim.flow_slugs) l(lane)));
    end if;
  end if;
end $$;

-- The message from which on the queue of a flow may have tasks, see flowc.heads.
create or replace function flowc.head(flow_slug text) returns bigint
language plpgsql stable as $$
begin
  return coalesce((select h.message_id from flowc.heads h where h.flow_slug = head.flow_slug), 0);
end $$;

-- Moves the heads of queues on, see flowc.heads. It has to be a transaction of its own:
-- one that has written already does nothing here.
--
-- A task below the first one of a queue could only come from a transaction that took
-- its message's id earlier and has not ended. Each writes before it takes an id, so it
-- has a number of its own by then, which is less than the one we take afterwards. When
-- all transactions with lesser numbers have ended, what they left can be seen.
create or replace function flowc.advance_heads(flow_slugs text[]) returns void
language plpgsql as $$
declare
  ended  xid8; -- no transaction before it goes on
  unused bigint;
  flows  text[];
  firsts bigint[];
begin
  if pg_current_xact_id_if_assigned() is not null then
    return;
  end if;
  begin -- one at a time is enough; the lock gives us no number yet, as that of a row would
    lock table flowc.installation in share update exclusive mode nowait;
  exception when lock_not_available then
    return;
  end;
  ended := pg_snapshot_xmin(pg_current_snapshot());
  select s.last_value + s.is_called::int into unused from flowc.message_ids s; -- before the queues are looked at, which may get this one
  select array_agg(f.slug order by f.slug), array_agg(coalesce(t.message_id, unused) order by f.slug) into flows, firsts
  from unnest(advance_heads.flow_slugs) f(slug)
  join pgflow.flows w on w.flow_slug = any (array[f.slug])
  left join lateral (
    select o.message_id from pgflow.step_tasks o
    where o.flow_slug = f.slug and o.message_id >= flowc.head(f.slug) and o.in_queue
    order by o.message_id limit 1) t on true;
  insert into flowc.heads as h (flow_slug, next_id, next_xid)
  select u.slug, u.first, pg_current_xact_id() from unnest(flows, firsts) u(slug, first)
  on conflict on constraint heads_pkey do update
  set message_id = case when h.message_id > unused then 0 -- ids begin anew, in a database that was restored without them
                        when h.next_xid <= ended then greatest(h.message_id, least(h.next_id, excluded.next_id))
                        else h.message_id end,
      next_id = excluded.next_id, next_xid = excluded.next_xid
  where h.next_xid <= ended or h.message_id > unused
     or h.next_xid > excluded.next_xid; -- of the database that this one was restored from
end $$;

-- Whether a claim may take over a task that it found although it is started, because a
-- worker died or overran: one of our own workers, which does not hold it any more, or
-- one that is not known any more, and three times at most. What it may not, it puts out
-- of the way for a while: the rest is somebody else's, or waits for recovery.
create or replace function flowc.take_over(place tid, at_once timestamptz) returns boolean
language plpgsql as $$
declare
  t    pgflow.step_tasks;
  held boolean;
  ours boolean;
begin
  select o.* into t from pgflow.step_tasks o where o.ctid = take_over.place;
  ours := t.status = 'started' and coalesce((select w.queue_name = '*' from pgflow.workers w where w.worker_id = t.last_worker_id), true);
  held := ours and flowc.is_held(t.last_worker_id, t.message_id);
  if ours and not held and t.requeued_count < 3 then
    return true;
  end if;
  -- Taken over too often: recovery ends it, which needs the lock of the run.
  if ours and not held and t.permanently_stalled_at is null and not exists ( -- rather than a conflict, which would wait for a sweep that wants our task
      select from flowc.stalled s where s.run_id = t.run_id and s.step_slug = t.step_slug and s.task_index = t.task_index) then
    insert into flowc.stalled (run_id, step_slug, task_index, attempt) values (t.run_id, t.step_slug, t.task_index, t.attempts_count);
  end if;
  -- What is over has no business in the queue.
  update pgflow.step_tasks o
  set visible_at = take_over.at_once + interval '10 seconds', in_queue = t.status = 'started',
      archived_at = case when t.status <> 'started' then clock_timestamp() end
  where o.ctid = take_over.place;
  return false;
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

-- The contract's way to start what was read: visible or not, and without lookups of
-- what handlers of this project need besides.
create or replace function pgflow.start_tasks(flow_slug text, msg_ids bigint[], worker_id uuid) returns setof pgflow.step_task_record
language plpgsql as $$
#variable_conflict use_column
begin
  return query
    with held as materialized ( -- a task that another holds is about to be another's
      select t.place, s.step_type, s.deps_count, coalesce(s.opt_timeout, f.opt_timeout) as timeout
      from unnest(start_tasks.msg_ids) m(msg_id)
      cross join lateral (
        select o.ctid as place, o.step_slug from pgflow.step_tasks o
        where o.flow_slug = start_tasks.flow_slug and o.message_id = m.msg_id and o.in_queue and o.status = 'queued'
          and exists (select from pgflow.runs r where r.run_id = o.run_id and r.status = 'started' offset 0)
          and exists (select from pgflow.step_states st where st.run_id = o.run_id and st.step_slug = o.step_slug and st.status = 'started' offset 0)
        for update of o skip locked) t
      cross join lateral (select * from pgflow.steps o where o.flow_slug = start_tasks.flow_slug and o.step_slug = t.step_slug offset 0) s
      cross join lateral (select * from pgflow.flows o where o.flow_slug = start_tasks.flow_slug offset 0) f),
    begun as materialized (
      update pgflow.step_tasks t
      set status = 'started', attempts_count = t.attempts_count + 1, started_at = clock_timestamp(), last_worker_id = start_tasks.worker_id,
          visible_at = clock_timestamp() + make_interval(secs => h.timeout + 2.0::double precision)
      from held h
      where t.ctid = h.place
      returning t.run_id, t.step_slug, t.task_index, t.message_id, h.step_type, h.deps_count),
    arrays as materialized ( -- each is taken out of storage once, however many of its elements are wanted
      select m.run_id, m.step_slug, '[]' || case m.deps_count
               when 0 then (select r.input from pgflow.runs r where r.run_id = m.run_id)
               else (
                 select p.output from pgflow.deps d
                 cross join lateral (
                   select o.output from pgflow.step_states o where o.run_id = m.run_id and o.step_slug = d.dep_slug offset 0) p
                 where d.flow_slug = start_tasks.flow_slug and d.step_slug = m.step_slug) end as elements
      from (select distinct b.run_id, b.step_slug, b.deps_count from begun b where b.step_type = 'map' offset 0) m)
    select start_tasks.flow_slug, t.run_id, t.step_slug,
           case when t.step_type = 'map' then (select a.elements -> t.task_index from arrays a where a.run_id = t.run_id and a.step_slug = t.step_slug)
                when t.deps_count = 0 then '{}'
                else (
                  select coalesce(jsonb_object_agg(p.step_slug, coalesce(p.output, 'null')), '{}')
                  from pgflow.deps d
                  cross join lateral (
                    select o.step_slug, o.output from pgflow.step_states o
                    where o.run_id = t.run_id and o.step_slug = d.dep_slug and o.status = 'completed' offset 0) p
                  where d.flow_slug = start_tasks.flow_slug and d.step_slug = t.step_slug) end,
           t.message_id, t.task_index,
           case when t.step_type = 'single' and t.deps_count = 0 then (select r.input from pgflow.runs r where r.run_id = t.run_id) end
    from begun t
    order by t.message_id;
end $$;

create or replace function pgflow.poll_for_tasks(
  queue_name text, vt int, qty int, max_poll_seconds int default 5, poll_interval_ms int default 100)
returns setof pgflow.step_task_record
language plpgsql as $$
begin
  raise notice 'poll_for_tasks is deprecated and returns nothing: use pgmq.read_with_poll and start_tasks';
end $$;
