-- Claiming tasks, and reading their inputs.

-- Claims tasks that can run now, at most limits[i] of flow_slugs[i], and returns all that
-- their handlers need. The claim is a lease: it expires when the attempt must be over.
-- 'flow.step' in flow_slugs stands for that step alone; except_steps lists, in the same
-- form, steps that are left out of a whole flow, because this worker does not serve them
-- or claims them by themselves. Of a flow that is paused nothing is claimed. Locks are not
-- waited for: a task that somebody holds is skipped. A task is claimed only when all with a
-- higher priority that the same element of flow_slugs stands for are.
--
-- claim_number is, with message and worker, the fence of reports; attempt is what the
-- handler sees. waited is how many seconds the task was claimable, NULL if it was
-- reclaimed after its lease had expired.
--
-- With wake, idle workers are woken if there may be more than was claimed.
--
-- Ready tasks of flow_slugs[i] with message ids below first_ids[i] are not looked at: workers
-- that know that others have them say so. It has no effect on flows with several priorities.
--
-- With chosen, these tasks are claimed, which the caller has locked (see claim_gated and
-- claim_suspects).
--
-- Values of more than 16 kB as stored are not in the reply, so that they cannot hold up
-- other tasks: the worker reads them with read_values, a few at a time. run_input is NULL
-- then, input lacks outputs, and array_from says which: 'run' or a step for a map, for
-- other steps the slugs of the dependencies, separated by commas.
create or replace function flowc.claim(
  worker_id uuid, flow_slugs text[], limits int[], except_steps text[] default '{}', wake boolean default false, first_ids bigint[] default '{}',
  chosen tid[] default null)
returns setof flowc.claimed_task
language plpgsql as $$
declare
  now_at  timestamptz := clock_timestamp();
  claimed int;
begin
  return query
    with requested as materialized (
      select u.name, u.max_tasks, coalesce(u.first_id, 0) as first_id, split_part(u.name, '.', 1) as flow, split_part(u.name, '.', 2) as step,
             case when exists (select from flowc.prioritized_flows p where p.flow_slug = split_part(u.name, '.', 1))
                  then '{h,r,l}' else '{r}' end::"char"[] as priorities
      from unnest(claim.flow_slugs, claim.limits, claim.first_ids) u(name, max_tasks, first_id)
      where not exists (select from flowc.paused_flows p where p.flow_slug = split_part(u.name, '.', 1))),
    -- One priority after the other, until there are enough. Of each, delayed tasks that are
    -- due come first: they are as old as ready ones, or older.
    found as materialized (
      select t.*
      from requested q
      cross join lateral (
        select a.*
        from unnest(q.priorities) p(priority)
        cross join lateral (
          select d.* from (
            select o.ctid as tid, o.flow_slug, o.step_slug, o.status, o.visible_at
            from pgflow.step_tasks o
            where o.flow_slug = q.flow and o.subqueue = 'd' and o.priority = p.priority and o.in_queue and o.due_at <= now_at and o.visible_at <= now_at
              and flowc.is_requested(o.flow_slug, o.step_slug, q.step, claim.except_steps)
            order by o.due_at
            limit q.max_tasks
            for update skip locked) d
          union all
          select r.* from (
            select o.ctid as tid, o.flow_slug, o.step_slug, o.status, o.visible_at
            from (
              select greatest(
                case when cardinality(q.priorities) = 1 then q.first_id else 0 end,
                (select w.message_id from flowc.watermarks w where w.flow_slug = q.flow and w.subqueue = p.priority))) b(first)
            cross join pgflow.step_tasks o
            where o.flow_slug = q.flow and o.subqueue = p.priority and o.message_id >= b.first and o.in_queue and o.visible_at <= now_at
              and flowc.is_requested(o.flow_slug, o.step_slug, q.step, claim.except_steps)
            order by o.message_id
            limit q.max_tasks
            for update of o skip locked) r) a
        limit q.max_tasks) t),
    locked as materialized (
      select t.tid, s.*, t.status <> 'queued' as reclaimed, case t.status when 'queued' then t.visible_at end as claimable_at,
             t.status = 'queued' or flowc.reclaim(t.tid, now_at) as claimable
      from (
        select * from found
        union all
        select c.tid, o.flow_slug, o.step_slug, o.status, o.visible_at
        from unnest(claim.chosen) c(tid) join pgflow.step_tasks o on o.ctid = c.tid) t
      cross join lateral ( -- looked up by nothing but the step, so that the lookups are memoized
        select o.step_type, o.deps_count, coalesce(o.opt_max_attempts, f.opt_max_attempts) as max_attempts,
               coalesce(o.opt_base_delay, f.opt_base_delay) as base_delay, coalesce(o.opt_timeout, f.opt_timeout) as timeout
        from pgflow.steps o cross join pgflow.flows f
        where o.flow_slug = t.flow_slug and o.step_slug = t.step_slug and f.flow_slug = t.flow_slug offset 0) s),
    started as (
      update pgflow.step_tasks t
      set status = 'started', attempts_count = t.attempts_count + 1, claims_count = t.claims_count + 1, started_at = now_at,
          last_worker_id = claim.worker_id,
          visible_at = now_at + make_interval(secs => l.timeout + 2.0::double precision), read_count = t.read_count + 1,
          requeued_count = t.requeued_count + l.reclaimed::int, last_requeued_at = case when l.reclaimed then now_at else t.last_requeued_at end
      from locked l
      where t.ctid = l.tid and l.claimable
      returning t.flow_slug, t.run_id, t.step_slug, t.task_index, t.message_id, t.claims_count, t.attempts_count, t.requeued_count, t.queued_at,
                l.claimable_at, l.step_type, l.deps_count, l.max_attempts, l.base_delay, l.timeout)
    select t.flow_slug, t.run_id, t.step_slug, t.task_index, t.message_id, t.claims_count, t.attempts_count - t.requeued_count,
           t.max_attempts, t.base_delay, t.timeout, t.queued_at,
           case when t.step_type = 'map' then case when not e.large then e.elements -> t.task_index end
                else j.outputs end,
           case when t.step_type = 'single' and t.deps_count = 0 then (
             select case when pg_column_size(r.input) <= 16384 then r.input end from pgflow.runs r where r.run_id = t.run_id) end,
           case when e.large then e.source else j.left_out end,
           -- Most databases have no headers and no ticks: that is looked up once.
           case when (select exists (select from flowc.run_headers)) then (select h.headers from flowc.run_headers h where h.run_id = t.run_id) end,
           extract(epoch from now_at - t.claimable_at)::double precision,
           case when (select exists (select from flowc.ticks)) then (select k.tick_at from flowc.ticks k where k.run_id = t.run_id) end,
           null::double precision, -- claim_suspects says
           case when (select exists (select from flowc.carried)) then (
             select c.value from flowc.carried c where c.run_id = t.run_id and c.step_slug = t.step_slug and c.task_index = t.task_index) end
    from started t
    left join lateral (
      -- Large arrays are not stored in the row itself, or only much compressed.
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
    cross join lateral (
      select coalesce(jsonb_object_agg(p.step_slug, coalesce(p.output, 'null')) filter (where coalesce(pg_column_size(p.output), 0) <= 16384), '{}'),
             string_agg(p.step_slug, ',') filter (where pg_column_size(p.output) > 16384)
      from pgflow.deps d
      cross join lateral (
        select o.step_slug, o.output from pgflow.step_states o
        where o.run_id = t.run_id and o.step_slug = d.dep_slug and o.status = 'completed' offset 0) p
      where t.step_type = 'single' and t.deps_count > 0 and d.flow_slug = t.flow_slug and d.step_slug = t.step_slug) j(outputs, left_out)
    order by t.message_id;
  get diagnostics claimed = row_count;
  if claim.wake then
    if claimed >= (select min(l.max_tasks) from unnest(claim.limits) l(max_tasks)) then
      perform flowc.wake_flows(array(select distinct split_part(f.name, '.', 1) from unnest(claim.flow_slugs) f(name)));
    end if;
  end if;
end $$;

-- Reports whether a claim of a flow, or of one step of it if that is not '', is for this
-- step. except_steps are those of the claim.
create or replace function flowc.is_requested(flow_slug text, step_slug text, step text, except_steps text[]) returns boolean
language sql immutable parallel safe
return case when is_requested.step <> '' then is_requested.step_slug = is_requested.step
            else is_requested.except_steps = '{}' or is_requested.flow_slug || '.' || is_requested.step_slug <> all (is_requested.except_steps) end;

-- Reads values that claims left out: source 'run' is the run's input, any other the output
-- of that step, NULL if there is none. Returns the first ones, up to at_most bytes as
-- stored, and at least one; ask again for the others.
create or replace function flowc.read_values(run_ids uuid[], sources text[], at_most bigint)
returns table (run_id uuid, source text, value jsonb)
language plpgsql stable as $$
#variable_conflict use_column
begin
  return query
    select o.run_id, o.source, o.value
    from (
      select u.n, u.run_id, u.source, v.value, sum(pg_column_size(v.value)) over (order by u.n) as bytes
      from unnest(read_values.run_ids, read_values.sources) with ordinality u(run_id, source, n)
      cross join lateral (
        select case u.source
          when 'run' then (select r.input from pgflow.runs r where r.run_id = u.run_id)
          else (select coalesce(st.output, 'null') from pgflow.step_states st
                where st.run_id = u.run_id and st.step_slug = u.source and st.status = 'completed') end) v(value)) o
    where o.n = 1 or coalesce(o.bytes, 0) <= read_values.at_most
    order by o.n;
end $$;

-- Fails, for good, the tasks of these flows that make a claim fail, and returns which and
-- why. Since a claim is one statement, one such task would keep all others from being
-- claimed. A worker calls it when the database refused a claim, with the same arguments.
create or replace function flowc.fail_unclaimable(flow_slugs text[], except_steps text[] default '{}')
returns table (flow_slug text, run_id uuid, step_slug text, task_index int, error_message text)
language plpgsql as $$
#variable_conflict use_column
declare
  task    record;
  message text;
begin
  -- They are found first, which locks each task only while it is examined: the lock of a
  -- run comes before those of its tasks.
  for task in
    select c.run_id, c.step_slug, c.task_index, flowc.claim_error(c.run_id, c.step_slug, c.task_index) as error
    from unnest(fail_unclaimable.flow_slugs) f(name)
    cross join lateral (
      select o.*
      from unnest('{h,r,l,s,g}'::"char"[]) k(subqueue)
      cross join lateral (
        select t.* from pgflow.step_tasks t
        where t.flow_slug = split_part(f.name, '.', 1) and t.subqueue = k.subqueue and t.in_queue and t.visible_at <= clock_timestamp()
        order by t.message_id limit 1000) o
      union all
      select o.*
      from unnest('{h,r,l}'::"char"[]) p(priority)
      cross join lateral (
        select t.* from pgflow.step_tasks t
        where t.flow_slug = split_part(f.name, '.', 1) and t.subqueue = 'd' and t.priority = p.priority and t.in_queue
          and t.due_at <= clock_timestamp() and t.visible_at <= clock_timestamp()
        order by t.due_at limit 1000) o) c
    where flowc.is_requested(c.flow_slug, c.step_slug, split_part(f.name, '.', 2), fail_unclaimable.except_steps)
    order by c.run_id, c.step_slug, c.task_index
  loop
    continue when task.error is null;
    message := 'flowc: the task cannot be claimed: ' || task.error;
    perform flowc.lock_runs(array[task.run_id]);
    with failed as (
      update pgflow.step_tasks t
      set status = 'failed', failed_at = clock_timestamp(), in_queue = false, archived_at = clock_timestamp(),
          error_message = message
      where t.run_id = task.run_id and t.step_slug = task.step_slug and t.task_index = task.task_index
        and t.in_queue is not false and t.visible_at <= clock_timestamp()
      returning t.*),
    recorded as (
      insert into flowc.failed_attempts (run_id, step_slug, task_index, attempt, worker_id, started_at, error_message)
      select f.run_id, f.step_slug, f.task_index, f.attempts_count, f.last_worker_id, f.started_at, f.error_message from failed f)
    select f.flow_slug, f.run_id, f.step_slug, f.task_index, f.error_message
    into flow_slug, run_id, step_slug, task_index, error_message from failed f;
    if found then
      perform flowc.fail_or_skip_steps(array[st.run_id], array[st.step_slug], array[message], array[s.when_exhausted])
      from pgflow.step_states st
      join pgflow.runs r on r.run_id = any (array[st.run_id]) and r.status = 'started'
      join pgflow.steps s on s.flow_slug = any (array[st.flow_slug]) and s.step_slug = st.step_slug
      where st.run_id = task.run_id and st.step_slug = task.step_slug and st.status = 'started';
      return next;
    end if;
  end loop;
end $$;

-- Returns why a task cannot be claimed, NULL if it can, or if somebody holds it. It does
-- what a claim does, with this task alone, and rolls it back.
create or replace function flowc.claim_error(run_id uuid, step_slug text, task_index int) returns text
language plpgsql as $$
declare
  task pgflow.step_tasks;
begin
  select t.* into task from pgflow.step_tasks t
  where t.run_id = claim_error.run_id and t.step_slug = claim_error.step_slug and t.task_index = claim_error.task_index
  for update skip locked;
  if not found then
    return null;
  end if;
  update pgflow.step_tasks t
  set status = 'started', attempts_count = t.attempts_count + 1, claims_count = t.claims_count + 1, read_count = t.read_count + 1,
      requeued_count = t.requeued_count + 1, started_at = clock_timestamp(), last_requeued_at = clock_timestamp(),
      visible_at = clock_timestamp() + (
        select make_interval(secs => coalesce(s.opt_timeout, f.opt_timeout) + 2.0::double precision)
        from pgflow.steps s join pgflow.flows f on f.flow_slug = any (array[s.flow_slug])
        where s.flow_slug = task.flow_slug and s.step_slug = task.step_slug)
  where t.run_id = task.run_id and t.step_slug = task.step_slug and t.task_index = task.task_index;
  perform extract(epoch from clock_timestamp() - task.visible_at);
  perform octet_length(h.headers::text) from flowc.run_headers h where h.run_id = task.run_id;
  -- A claim leaves out what is longer than this.
  perform octet_length(r.input::text) from pgflow.runs r where r.run_id = task.run_id and pg_column_size(r.input) <= 16384;
  perform octet_length(jsonb_object_agg(o.step_slug, coalesce(o.output, 'null'))::text)
  from pgflow.deps d
  join pgflow.step_states o on o.run_id = any (array[task.run_id]) and o.step_slug = d.dep_slug
    and o.status = 'completed' and coalesce(pg_column_size(o.output), 0) <= 16384
  where d.flow_slug = task.flow_slug and d.step_slug = task.step_slug;
  raise exception using errcode = 'FC001';
exception
  when sqlstate 'FC001' then
    return null;
  when others then
    -- Errors of the data. Any other would occur for other tasks, too.
    if left(sqlstate, 2) = any ('{22,23,54,P0,XX}') then
      return sqlerrm;
    end if;
    raise;
end $$;
