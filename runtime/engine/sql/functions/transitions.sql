-- Transitions of steps and runs. Each is written once, over sets: the arrays of an
-- argument list belong together, element by element. Callers hold the locks of the runs
-- (see report.sql) and pass runs that are started. Times come from clock_timestamp(): a
-- transaction may have waited for a lock since it began.

-- Enqueues the tasks of steps that were started, in the order of the arrays, tasks[i] each,
-- claimable after delays[i] seconds; emits the steps' events and wakes idle workers.
create or replace function flowc.enqueue_tasks(flow_slugs text[], run_ids uuid[], step_slugs text[], tasks int[], delays double precision[]) returns void
language plpgsql as $$
declare
  priorities "char"[]; -- of the steps' tasks; NULL if all are normal
begin
  if exists (select from flowc.settings k where k.flow_slug = any (enqueue_tasks.flow_slugs)) then
    select o.flow_slugs, o.run_ids, o.step_slugs, o.tasks, o.delays
    into enqueue_tasks.flow_slugs, enqueue_tasks.run_ids, enqueue_tasks.step_slugs, enqueue_tasks.tasks, enqueue_tasks.delays
    from flowc.begin_steps(enqueue_tasks.flow_slugs, enqueue_tasks.run_ids, enqueue_tasks.step_slugs, enqueue_tasks.tasks, enqueue_tasks.delays) o;
    if enqueue_tasks.run_ids is null then
      return;
    end if;
    priorities := flowc.priorities_of(enqueue_tasks.flow_slugs, enqueue_tasks.run_ids, enqueue_tasks.step_slugs);
  elsif exists (select from flowc.priorities) then
    priorities := flowc.priorities_of(enqueue_tasks.flow_slugs, enqueue_tasks.run_ids, enqueue_tasks.step_slugs);
  end if;
  if to_regnamespace('realtime') is not null then
    perform flowc.emit_steps(enqueue_tasks.run_ids, enqueue_tasks.step_slugs);
  end if;
  insert into pgflow.step_tasks (flow_slug, run_id, step_slug, task_index, message_id, in_queue, visible_at, subqueue, priority, due_at)
  select t.flow_slug, t.run_id, t.step_slug, t.task_index, nextval('flowc.message_ids'), true, clock_timestamp() + make_interval(secs => t.delay),
         case when t.delay > 0 then 'd' else coalesce(t.priority, 'r') end, coalesce(t.priority, 'r'),
         case when t.delay > 0 then clock_timestamp() + make_interval(secs => t.delay) end
  from (
    select u.*, 0 as task_index
    from unnest(enqueue_tasks.flow_slugs, enqueue_tasks.run_ids, enqueue_tasks.step_slugs, enqueue_tasks.tasks, enqueue_tasks.delays, priorities)
      with ordinality u(flow_slug, run_id, step_slug, tasks, delay, priority, n)
    union all
    select u.*, g.task_index
    from unnest(enqueue_tasks.flow_slugs, enqueue_tasks.run_ids, enqueue_tasks.step_slugs, enqueue_tasks.tasks, enqueue_tasks.delays, priorities)
      with ordinality u(flow_slug, run_id, step_slug, tasks, delay, priority, n)
    cross join lateral generate_series(1, u.tasks - 1) g(task_index)
    where u.tasks > 1
    order by n, task_index) t;
  perform flowc.wake_workers(enqueue_tasks.flow_slugs);
end $$;

-- Begins steps that have settings: those that wait begin to, and those that have gates are
-- enqueued; both are left out of what it returns, which is to be enqueued. Of others, the
-- delays are read.
create or replace function flowc.begin_steps(
  inout flow_slugs text[], inout run_ids uuid[], inout step_slugs text[], inout tasks int[], inout delays double precision[])
language plpgsql as $$
declare
  flows  text[];
  runs   uuid[];
  steps  text[];
  errors text[];
begin
  select array_agg(u.flow_slug), array_agg(u.run_id), array_agg(u.step_slug) into flows, runs, steps
  from unnest(begin_steps.flow_slugs, begin_steps.run_ids, begin_steps.step_slugs) u(flow_slug, run_id, step_slug)
  join flowc.settings k on k.flow_slug = any (array[u.flow_slug]) and k.step_slug = u.step_slug and k.kind = 'wait';
  if runs is not null then
    perform flowc.begin_waits(flows, runs, steps);
    if to_regnamespace('realtime') is not null then
      perform flowc.emit_steps(runs, steps);
    end if;
  end if;
  select array_agg(u.flow_slug order by u.n), array_agg(u.run_id order by u.n), array_agg(u.step_slug order by u.n), array_agg(u.tasks order by u.n),
         array_agg(case when k.settings ?| '{startAt,startDelay}' then flowc.read_start_delay(u.run_id, k.settings) else u.delay end order by u.n)
  into flow_slugs, run_ids, step_slugs, tasks, delays
  from unnest(begin_steps.flow_slugs, begin_steps.run_ids, begin_steps.step_slugs, begin_steps.tasks, begin_steps.delays)
    with ordinality u(flow_slug, run_id, step_slug, tasks, delay, n)
  left join flowc.settings k on k.flow_slug = any (array[u.flow_slug]) and k.step_slug = u.step_slug
  where k.kind is distinct from 'wait';
  if array_position(delays, null) is not null then
    select array_agg(u.flow_slug), array_agg(u.run_id), array_agg(u.step_slug), array_agg(flowc.unreadable_start(u.flow_slug, u.step_slug))
    into flows, runs, steps, errors
    from unnest(begin_steps.flow_slugs, begin_steps.run_ids, begin_steps.step_slugs, begin_steps.delays) u(flow_slug, run_id, step_slug, delay)
    where u.delay is null;
    perform flowc.fail_soon(flows, runs, steps, errors);
    select array_agg(u.flow_slug order by u.n), array_agg(u.run_id order by u.n), array_agg(u.step_slug order by u.n), array_agg(u.tasks order by u.n),
           array_agg(u.delay order by u.n)
    into flow_slugs, run_ids, step_slugs, tasks, delays
    from unnest(begin_steps.flow_slugs, begin_steps.run_ids, begin_steps.step_slugs, begin_steps.tasks, begin_steps.delays)
      with ordinality u(flow_slug, run_id, step_slug, tasks, delay, n)
    where u.delay is not null;
  end if;
  if flowc.is_gated(begin_steps.flow_slugs) then
    select o.flow_slugs, o.run_ids, o.step_slugs, o.tasks, o.delays into flow_slugs, run_ids, step_slugs, tasks, delays
    from flowc.enqueue_gated(begin_steps.flow_slugs, begin_steps.run_ids, begin_steps.step_slugs, begin_steps.tasks, begin_steps.delays) o;
  end if;
end $$;

-- Counts down the dependencies of the steps behind these, which have completed or were
-- skipped, and with start starts those that have none left. Nothing is started in a run
-- where a condition has to be evaluated first or a map turned out to be empty: such runs
-- are returned, and the caller has to advance them.
create or replace function flowc.propagate_completion(run_ids uuid[], step_slugs text[], start boolean, out runs_to_advance uuid[])
language plpgsql as $$
declare
  flows  text[];
  runs   uuid[];
  steps  text[];
  tasks  int[];
  delays double precision[];
begin
  with dependent as (
    -- A step is started in the order of the last of its parents.
    select u.run_id, p.flow_slug, c.step_slug, max(u.n) as n, min(u.step_slug) as parent, count(*)::int as parents,
           min(c.step_index) as step_index, min(c.step_type) as step_type, min(c.delay) as delay, bool_or(c.conditional) as conditional
    from unnest(propagate_completion.run_ids, propagate_completion.step_slugs) with ordinality u(run_id, step_slug, n)
    cross join lateral (
      select o.flow_slug, o.step_slug from pgflow.step_states o where o.run_id = u.run_id and o.step_slug = u.step_slug offset 0) p
    cross join lateral ( -- looked up by nothing but the parent, so that the lookups are memoized
      select s.* from pgflow.deps d
      cross join lateral (
        select o.step_slug, o.step_index, o.step_type, coalesce(o.opt_start_delay, 0)::double precision as delay,
               o.required_input_pattern is not null or o.forbidden_input_pattern is not null as conditional
        from pgflow.steps o where o.flow_slug = d.flow_slug and o.step_slug = d.step_slug offset 0) s
      where d.flow_slug = p.flow_slug and d.dep_slug = p.step_slug offset 0) c
    group by u.run_id, p.flow_slug, c.step_slug),
  child as materialized (
    select h.run_id, h.n, h.step_index, h.delay, h.conditional, st.tid, st.remaining_deps - h.parents as waiting_for,
           coalesce(st.initial_tasks, m.elements) as tasks, st.status = 'created' and st.remaining_deps = h.parents as ready
    from dependent h
    cross join lateral (
      select o.ctid as tid, o.status, o.remaining_deps, o.initial_tasks
      from pgflow.step_states o where o.run_id = h.run_id and o.step_slug = h.step_slug offset 0) st
    left join lateral ( -- a map waits for one step only
      select case when p.status = 'skipped' then 0
                  when (select o.step_type from pgflow.steps o where o.flow_slug = h.flow_slug and o.step_slug = h.parent) = 'map'
                    then p.initial_tasks
                  when jsonb_typeof(p.output) = 'array' then jsonb_array_length(p.output) end as elements
      from pgflow.step_states p
      where h.step_type = 'map' and st.initial_tasks is null and p.run_id = h.run_id and p.step_slug = h.parent offset 0) m on true),
  deferred as materialized (
    select distinct c.run_id from child c where c.ready and (c.conditional or c.tasks = 0)),
  changed as (
    update pgflow.step_states st
    set remaining_deps  = c.waiting_for,
        initial_tasks   = c.tasks,
        status          = case when x.start then 'started' else st.status end,
        started_at      = case when x.start then clock_timestamp() else st.started_at end,
        remaining_tasks = case when x.start then c.tasks else st.remaining_tasks end
    from child c
    cross join lateral (select propagate_completion.start and c.ready and c.tasks > 0 and c.run_id not in (select d.run_id from deferred d)) x(start)
    where st.ctid = c.tid
    returning st.flow_slug, st.run_id, st.step_slug, c.n, c.step_index, c.tasks, c.delay, x.start as started)
  select (select array_agg(d.run_id) from deferred d),
         array_agg(c.flow_slug), array_agg(c.run_id), array_agg(c.step_slug), array_agg(c.tasks), array_agg(c.delay)
  into runs_to_advance, flows, runs, steps, tasks, delays
  from (select * from changed o where o.started order by o.n, o.step_index) c;

  if runs is not null then
    perform flowc.enqueue_tasks(flows, runs, steps, tasks, delays);
  end if;
end $$;

-- Subtracts from the numbers of steps that runs still wait for. With complete, runs that
-- wait for none any more complete; their output is that of the completed leaves.
create or replace function flowc.decrement_remaining(run_ids uuid[], steps int[], complete boolean) returns void
language plpgsql as $$
declare
  ended uuid[];
  flows text[];
begin
  with changed as (
    update pgflow.runs r
    set remaining_steps = r.remaining_steps - x.steps,
        status       = case when r.remaining_steps = x.steps and decrement_remaining.complete then 'completed' else r.status end,
        completed_at = case when r.remaining_steps = x.steps and decrement_remaining.complete then clock_timestamp() end,
        output       = case when r.remaining_steps = x.steps and decrement_remaining.complete then (
          select jsonb_object_agg(st.step_slug, coalesce(st.output, 'null'))
          from pgflow.step_states st
          where st.run_id = r.run_id and st.status = 'completed' and not exists (
            select from pgflow.deps d where d.flow_slug = st.flow_slug and d.dep_slug = st.step_slug offset 0)) end
    from (
      select u.run_id, sum(u.steps)::int as steps
      from unnest(decrement_remaining.run_ids, decrement_remaining.steps) u(run_id, steps) group by u.run_id) x
    where r.run_id = any (array[x.run_id]) and r.status = 'started' and (x.steps > 0 or r.remaining_steps = 0 and decrement_remaining.complete)
    returning r.run_id, r.flow_slug, r.status)
  select array_agg(c.run_id), array_agg(c.flow_slug) into ended, flows from changed c where c.status = 'completed';
  if ended is not null then
    if exists (select from flowc.settings k where k.flow_slug = any (flows) and k.step_slug = '') then
      perform flowc.end_waits(ended); -- they have a deadline
      if exists (select from flowc.limited_runs) then
        perform flowc.leave_runs(ended);
      end if;
    end if;
    perform flowc.notify_run_end(ended);
  end if;
end $$;

-- Completes those of the runs that wait for no step any more.
create or replace function flowc.complete_runs(run_ids uuid[]) returns void
language plpgsql as $$
begin
  perform flowc.decrement_remaining(run_ids, array_fill(0, array[cardinality(run_ids)]), true);
end $$;

-- Starts the steps that wait for nothing. Their conditions have been evaluated before.
create or replace function flowc.start_ready_steps(run_ids uuid[]) returns void
language plpgsql as $$
declare
  flows  text[];
  runs   uuid[];
  steps  text[];
  tasks  int[];
  delays double precision[];
begin
  with started as (
    update pgflow.step_states st
    set status = 'started', started_at = clock_timestamp(), remaining_tasks = st.initial_tasks
    from unnest(start_ready_steps.run_ids) with ordinality u(run_id, n)
    join pgflow.runs r on r.run_id = any (array[u.run_id]) and r.status = 'started', pgflow.steps s
    where st.run_id = any (array[r.run_id]) and s.flow_slug = any (array[st.flow_slug]) and s.step_slug = st.step_slug
      and st.status = 'created' and st.remaining_deps = 0 and st.initial_tasks > 0
    returning st.flow_slug, st.run_id, st.step_slug, st.initial_tasks, coalesce(s.opt_start_delay, 0)::double precision as delay, u.n, s.step_index)
  select array_agg(s.flow_slug), array_agg(s.run_id), array_agg(s.step_slug), array_agg(s.initial_tasks), array_agg(s.delay)
  into flows, runs, steps, tasks, delays
  from (select * from started o order by o.n, o.step_index) s;
  if runs is not null then
    perform flowc.enqueue_tasks(flows, runs, steps, tasks, delays);
  end if;
end $$;

-- Advances runs as far as possible without a worker.
create or replace function flowc.advance_runs(run_ids uuid[]) returns void
language plpgsql as $$
begin
  perform flowc.resolve_conditions(advance_runs.run_ids);
  perform flowc.complete_taskless_steps(advance_runs.run_ids);
  perform flowc.start_ready_steps(advance_runs.run_ids);
  perform flowc.complete_runs(advance_runs.run_ids);
end $$;

-- Completes, wave by wave, the steps that are ready and have no tasks, and returns how many.
create or replace function flowc.complete_taskless_steps(run_ids uuid[]) returns int
language plpgsql as $$
declare
  waves int := 0;
  total int := 0;
  at    timestamptz;
  runs  uuid[];
  steps text[];
begin
  loop
    waves := waves + 1;
    at := clock_timestamp();
    if waves > 50 then
      raise exception 'Cascade loop exceeded safety limit of 50 iterations'
        using hint = 'The flow has a chain of more than 49 maps over an empty array.';
    end if;
    with done as (
      update pgflow.step_states st
      set status = 'completed', started_at = at, completed_at = at, remaining_tasks = 0,
          output = case s.step_type when 'map' then '[]'::jsonb end
      from unnest(complete_taskless_steps.run_ids) with ordinality u(run_id, n)
      join pgflow.runs r on r.run_id = any (array[u.run_id]) and r.status = 'started', pgflow.steps s
      where st.run_id = any (array[r.run_id]) and s.flow_slug = any (array[st.flow_slug]) and s.step_slug = st.step_slug
        and st.status = 'created' and st.remaining_deps = 0 and st.initial_tasks = 0
      returning st.run_id, st.step_slug, u.n, s.step_index)
    select array_agg(d.run_id order by d.n, d.step_index), array_agg(d.step_slug order by d.n, d.step_index)
    into runs, steps from done d;
    exit when runs is null;

    total := total + cardinality(runs);
    if to_regnamespace('realtime') is not null then
      perform flowc.emit_steps(runs, steps);
    end if;
    perform flowc.propagate_completion(runs, steps, false);
    perform flowc.decrement_remaining(runs, array_fill(1, array[cardinality(runs)]), false);
    -- A step that this wave made ready may have a condition.
    perform flowc.resolve_conditions(complete_taskless_steps.run_ids);
  end loop;
  return total;
end $$;

-- Failing and skipping --------------------------------------------------------

-- Fails or skips, as modes say, one step of each run, a task of which is out of attempts.
create or replace function flowc.fail_or_skip_steps(run_ids uuid[], step_slugs text[], errors text[], modes text[]) returns void
language plpgsql as $$
declare
  runs   uuid[];
  steps  text[];
  causes text[];
begin
  select array_agg(u.run_id), array_agg(u.step_slug), array_agg(u.error) into runs, steps, causes
  from unnest(run_ids, step_slugs, errors, modes) u(run_id, step_slug, error, mode) where u.mode = 'fail';
  if runs is not null then
    perform flowc.fail_steps(runs, steps, causes);
  end if;

  select array_agg(u.run_id), array_agg(u.step_slug), array_agg(u.error) into runs, steps, causes
  from unnest(run_ids, step_slugs, errors, modes) u(run_id, step_slug, error, mode) where u.mode <> 'fail';
  if runs is null then
    return;
  end if;
  perform flowc.skip_steps(runs, steps, 'handler_failed', causes);
  perform flowc.decrement_remaining(runs, array_fill(1, array[cardinality(runs)]), false);

  select array_agg(u.run_id), array_agg(u.step_slug) into runs, steps
  from unnest(run_ids, step_slugs, modes) u(run_id, step_slug, mode) where u.mode = 'skip-cascade';
  if runs is not null then
    perform flowc.skip_cascade(runs, steps, 'handler_failed');
    perform flowc.complete_runs(runs);
  end if;

  select array_agg(u.run_id), array_agg(u.step_slug) into runs, steps
  from unnest(run_ids, step_slugs, modes) u(run_id, step_slug, mode) where u.mode = 'skip';
  if runs is not null then
    perform flowc.propagate_completion(runs, steps, false);
    perform flowc.advance_runs(runs);
  end if;
end $$;

-- Fails a step of each run, and the run with it. Other steps and tasks keep their status;
-- their messages are archived.
create or replace function flowc.fail_steps(run_ids uuid[], step_slugs text[], errors text[]) returns void
language plpgsql as $$
begin
  update pgflow.step_states st
  set status = 'failed', failed_at = clock_timestamp(), error_message = u.error
  from unnest(fail_steps.run_ids, fail_steps.step_slugs, fail_steps.errors) u(run_id, step_slug, error)
  where st.run_id = any (array[u.run_id]) and st.step_slug = u.step_slug;
  if to_regnamespace('realtime') is not null then
    perform flowc.emit_steps(fail_steps.run_ids, fail_steps.step_slugs);
  end if;
  perform flowc.fail_runs(fail_steps.run_ids);
end $$;

-- Fails runs, and archives their messages.
create or replace function flowc.fail_runs(run_ids uuid[]) returns void
language plpgsql as $$
begin
  update pgflow.runs r set status = 'failed', failed_at = clock_timestamp()
  from unnest(fail_runs.run_ids) u(run_id)
  where r.run_id = any (array[u.run_id]) and r.status = 'started';
  update pgflow.step_tasks t set in_queue = false, archived_at = clock_timestamp()
  from unnest(fail_runs.run_ids) u(run_id)
  where t.run_id = any (array[u.run_id]) and t.in_queue is not false;
  if exists (select from flowc.waits) then
    perform flowc.end_waits(fail_runs.run_ids);
  end if;
  if exists (select from flowc.limited_runs) then
    perform flowc.leave_runs(fail_runs.run_ids);
  end if;
  perform flowc.notify_run_end(fail_runs.run_ids);
end $$;

-- Skips steps that are created or started. The steps behind them and the runs do not
-- change: that is for propagate_completion and decrement_remaining.
create or replace function flowc.skip_steps(run_ids uuid[], step_slugs text[], reason text, errors text[]) returns void
language plpgsql as $$
begin
  update pgflow.step_states st
  set status = 'skipped', skip_reason = skip_steps.reason, skipped_at = clock_timestamp(), remaining_tasks = null,
      error_message = coalesce(u.error, st.error_message)
  from unnest(skip_steps.run_ids, skip_steps.step_slugs, skip_steps.errors) u(run_id, step_slug, error)
  where st.run_id = any (array[u.run_id]) and st.step_slug = u.step_slug;
  perform flowc.archive_tasks(skip_steps.run_ids, skip_steps.step_slugs);
  if to_regnamespace('realtime') is not null then
    perform flowc.emit_steps(skip_steps.run_ids, skip_steps.step_slugs);
  end if;
end $$;

-- Skips steps and everything behind them, one skipped dependency being enough, and returns
-- how many steps that were. Starts nothing and ends no run.
create or replace function flowc.skip_cascade(run_ids uuid[], step_slugs text[], reason text) returns int
language plpgsql as $$
declare
  runs  uuid[];
  steps text[];
begin
  with recursive dependent(run_id, flow_slug, step_slug) as (
    select st.run_id, st.flow_slug, st.step_slug
    from unnest(skip_cascade.run_ids, skip_cascade.step_slugs) u(run_id, step_slug)
    join pgflow.step_states st on st.run_id = any (array[u.run_id]) and st.step_slug = u.step_slug
    union -- not union all: layers of diamonds have exponentially many paths
    select h.run_id, h.flow_slug, d.step_slug
    from dependent h join pgflow.deps d on d.flow_slug = any (array[h.flow_slug]) and d.dep_slug = h.step_slug),
  skipped as (
    update pgflow.step_states st
    set status = 'skipped', skipped_at = clock_timestamp(), remaining_tasks = null,
        skip_reason = case when (h.run_id, h.step_slug) in (
            select u.run_id, u.step_slug from unnest(skip_cascade.run_ids, skip_cascade.step_slugs) u(run_id, step_slug))
          then skip_cascade.reason else 'dependency_skipped' end
    from dependent h
    cross join lateral (select * from pgflow.steps o where o.flow_slug = h.flow_slug and o.step_slug = h.step_slug offset 0) s
    where st.run_id = any (array[h.run_id]) and st.step_slug = h.step_slug and st.status in ('created', 'started')
    returning st.run_id, st.step_slug, s.step_index)
  select array_agg(k.run_id order by k.step_index), array_agg(k.step_slug order by k.step_index) -- parents first
  into runs, steps from skipped k;
  if runs is null then
    return 0;
  end if;
  if to_regnamespace('realtime') is not null then
    perform flowc.emit_steps(runs, steps);
  end if;
  perform flowc.archive_tasks(runs, steps);
  perform flowc.decrement_remaining(runs, array_fill(1, array[cardinality(runs)]), false);
  return cardinality(runs);
end $$;

-- Archives the messages of the unfinished tasks of these steps, which are skipped, ends their
-- waits, and drops what they carried.
create or replace function flowc.archive_tasks(run_ids uuid[], step_slugs text[]) returns void
language plpgsql as $$
begin
  update pgflow.step_tasks t set in_queue = false, archived_at = clock_timestamp()
  from unnest(archive_tasks.run_ids, archive_tasks.step_slugs) u(run_id, step_slug)
  where t.run_id = any (array[u.run_id]) and t.step_slug = u.step_slug and t.in_queue is not false;
  if exists (select from flowc.waits) then
    perform flowc.end_waits(archive_tasks.run_ids, archive_tasks.step_slugs);
  end if;
  if exists (select from flowc.signals) then -- answers that came early
    delete from flowc.signals s using unnest(archive_tasks.run_ids, archive_tasks.step_slugs) u(run_id, step_slug)
    where s.run_id = any (array[u.run_id]) and s.step_slug = u.step_slug and s.delivered_at is null;
  end if;
  if exists (select from flowc.carried) then
    delete from flowc.carried c using unnest(archive_tasks.run_ids, archive_tasks.step_slugs) u(run_id, step_slug)
    where c.run_id = any (array[u.run_id]) and c.step_slug = u.step_slug;
  end if;
end $$;
