-- Reporting tasks.
--
-- Lock order, everywhere: definitions, then runs by id, then what belongs to them:
-- rows of scheduled runs, step states, tasks. The lock of its run serialises all reports
-- of a run, which is what makes the counters exact. A claim locks tasks without their
-- runs, which is safe because it skips what others hold (see claim.sql); so does
-- everything else that locks tasks without their runs, such as recovery.

-- Locks the runs that exist, and returns their ids. Runs that others hold are waited for,
-- or skipped. Whoever changes or deletes runs does so to those that were locked and to no
-- others: a run that was not there may be there in the next statement, half of it written
-- by its start.
create or replace function flowc.lock_runs(run_ids uuid[], wait boolean default true) returns uuid[]
language plpgsql as $$
begin
  if lock_runs.wait then
    return array(select o.run_id from pgflow.runs o where o.run_id = any (lock_runs.run_ids) order by o.run_id for update);
  end if;
  return array(select o.run_id from pgflow.runs o where o.run_id = any (lock_runs.run_ids) order by o.run_id for update skip locked);
end $$;

-- Reports any number of a worker's tasks, in one transaction. A report counts if its
-- task is started, in a step and a run that are, and still belongs to the worker:
-- message, claim number and worker must be those of the claim. Outcomes are 'completed' with
-- an output; 'failed' with an error, retried while there are attempts left, after delays[i]
-- seconds if given; 'held off', which is that, and nothing with the key of the task begins at
-- its gate before either; 'permanent' with an error; 'skipped' with a reason; 'snoozed', which is
-- no attempt, for delays[i] seconds with a note. Without outcomes, all are completed. kept[i]
-- is what the handler left for the next attempt, if it did not complete.
-- Returns what became of each report that did not simply complete. One whose run somebody
-- else holds gets the status 'locked': nothing was done, and it is to be reported again.
-- That way a transaction that operates on one run does not hold up the others.
-- With suppress_notify, nobody is woken: a claim follows in the same transaction, which
-- takes the new tasks or wakes others for what it leaves.
create or replace function flowc.report(
  worker_id uuid, run_ids uuid[], step_slugs text[], task_indexes int[], message_ids bigint[], claim_numbers int[],
  outcomes text[], outputs jsonb[], errors text[], delays double precision[], suppress_notify boolean default false, kept jsonb[] default null)
returns table (n int, accepted boolean, task_status text, retry_in double precision)
language plpgsql as $$
#variable_conflict use_column
declare
  all_completed boolean := report.outcomes is null or 'completed' = all (report.outcomes);
  locked_runs   uuid[];  -- those that we hold now
  busy_runs     uuid[];  -- those that somebody else holds
  distinct_runs boolean; -- whether no two reports are of the same run
  none_failed   boolean; -- whether none of the runs has failed
  completed     int;
  positions     int[];   -- in the arguments
  runs          uuid[];
  steps         text[];
  indexes       int[];
  messages      bigint[];
  claims        int[];
  kinds         text[];
  results       jsonb[];
  causes        text[];
  waits         double precision[];
  failed        int[];
  statuses      text[];
  left_values   jsonb[];
  owned         boolean[];
begin
  if report.suppress_notify then
    perform set_config('flowc.suppress_notify', 'on', true);
  end if;
  perform flowc.require_readable(report.outputs);
  select coalesce(array_agg(r.run_id), '{}'), not bool_or(r.status = 'failed') into locked_runs, none_failed
  from (select o.run_id, o.status from pgflow.runs o where o.run_id = any (report.run_ids) order by o.run_id for update skip locked) r;
  distinct_runs := cardinality(locked_runs) = cardinality(report.run_ids);
  if not distinct_runs then
    busy_runs := array(
      select u.run_id from (select distinct f.run_id from unnest(report.run_ids) f(run_id) where f.run_id <> all (locked_runs)) u
      where exists (select from pgflow.runs r where r.run_id = u.run_id offset 0)); -- reports of a run that does not exist are refused below
    if busy_runs <> '{}' then
      return query
        select u.n::int, false, 'locked', null::double precision
        from unnest(report.run_ids) with ordinality u(run_id, n) where u.run_id = any (busy_runs);
      -- The rest is a report of its own.
      select array_agg(u.run_id), array_agg(u.step_slug), array_agg(u.task_index), array_agg(u.message_id), array_agg(u.claim_number),
             array_agg(coalesce(u.outcome, 'completed')), array_agg(u.output), array_agg(u.error), array_agg(u.delay), array_agg(u.kept),
             array_agg(u.n::int)
      into runs, steps, indexes, messages, claims, kinds, results, causes, waits, left_values, positions
      from unnest(report.run_ids, report.step_slugs, report.task_indexes, report.message_ids, report.claim_numbers,
                  report.outcomes, report.outputs, report.errors, report.delays, report.kept)
        with ordinality u(run_id, step_slug, task_index, message_id, claim_number, outcome, output, error, delay, kept, n)
      where u.run_id <> all (busy_runs);
      if runs is not null then
        return query
          select positions[f.n], f.accepted, f.task_status, f.retry_in
          from flowc.report(report.worker_id, runs, steps, indexes, messages, claims, kinds, results, causes, waits, report.suppress_notify, left_values) f;
      end if;
      return;
    end if;
  end if;

  if exists (select from flowc.gates) then
    perform flowc.leave_gates(report.worker_id, report.message_ids, report.claim_numbers, case when not all_completed then array(
      select case when u.outcome = 'held off' then u.delay end
      from unnest(report.outcomes, report.delays) with ordinality u(outcome, delay, n) order by u.n) end);
  end if;
  report.outcomes := array_replace(report.outcomes, 'held off', 'failed');
  if all_completed then
    runs := report.run_ids; steps := report.step_slugs; indexes := report.task_indexes;
    messages := report.message_ids; claims := report.claim_numbers; results := report.outputs;
  else
    select array_agg(u.run_id), array_agg(u.step_slug), array_agg(u.task_index), array_agg(u.message_id), array_agg(u.claim_number),
           array_agg(u.output)
    into runs, steps, indexes, messages, claims, results
    from unnest(report.run_ids, report.step_slugs, report.task_indexes, report.message_ids, report.claim_numbers, report.outputs, report.outcomes)
      u(run_id, step_slug, task_index, message_id, claim_number, output, outcome)
    where u.outcome = 'completed';
  end if;
  if runs is not null then
    if distinct_runs then
      completed := flowc.complete_batch_slice(runs, steps, indexes, results, messages, claims, report.worker_id, none_failed);
    else
      completed := flowc.complete_tasks(runs, steps, indexes, results, messages, claims, report.worker_id, none_failed);
    end if;
    if completed < cardinality(runs) then
      return query -- an output that had to be an array and is none counts as a failure
        select u.n::int, coalesce(t.status = 'failed' and t.error_message like '[TYPE_VIOLATION]%', false), t.status, null::double precision
        from unnest(report.run_ids, report.step_slugs, report.task_indexes, report.message_ids, report.claim_numbers, report.outcomes)
          with ordinality u(run_id, step_slug, task_index, message_id, claim_number, outcome, n)
        left join pgflow.step_tasks t on t.run_id = any (array[u.run_id]) and t.step_slug = u.step_slug and t.task_index = u.task_index
        where coalesce(u.outcome, 'completed') = 'completed'
          and (t.status, t.message_id, t.claims_count, t.last_worker_id)
              is distinct from ('completed', u.message_id, u.claim_number, report.worker_id);
    end if;
  end if;
  if all_completed then
    return;
  end if;
  if report.kept is not null then
    perform flowc.keep_values(report.run_ids, report.step_slugs, report.task_indexes, report.kept, report.message_ids, report.claim_numbers, report.worker_id);
  end if;
  if 'snoozed' = any (report.outcomes) then
    select array_agg(s.n), array_agg(s.accepted), array_agg(s.task_status), array_agg(s.snoozed_for) into positions, owned, statuses, waits
    from flowc.snooze_tasks(
      report.run_ids, report.step_slugs, report.task_indexes, report.outcomes, report.errors, report.delays,
      report.message_ids, report.claim_numbers, report.worker_id) s;
    return query
      select s.* from unnest(positions, owned, statuses, waits) s(n, accepted, task_status, snoozed_for) where s.task_status is distinct from 'overdue';
    select array_agg(case when s.n is null then u.outcome else 'failed' end order by u.n),
           array_agg(case when s.n is null then u.error else format('flowc: it was snoozed for as long as it may be: %s', coalesce(u.error, '')) end order by u.n),
           array_agg(case when s.n is null then u.delay end order by u.n)
    into report.outcomes, report.errors, report.delays
    from unnest(report.outcomes, report.errors, report.delays) with ordinality u(outcome, error, delay, n)
    left join unnest(positions, statuses) s(n, status) on s.n = u.n and s.status = 'overdue';
  end if;

  select array_agg(u.run_id), array_agg(u.step_slug), array_agg(u.task_index), array_agg(u.message_id), array_agg(u.claim_number),
         array_agg(u.outcome), array_agg(u.error), array_agg(u.delay), array_agg(u.n::int)
  into runs, steps, indexes, messages, claims, kinds, causes, waits, positions
  from unnest(report.run_ids, report.step_slugs, report.task_indexes, report.message_ids, report.claim_numbers,
              report.outcomes, report.errors, report.delays)
    with ordinality u(run_id, step_slug, task_index, message_id, claim_number, outcome, error, delay, n)
  where u.outcome not in ('completed', 'snoozed');
  if runs is null then
    return;
  end if;
  select array_agg(f.n), array_agg(f.task_status), array_agg(f.retry_in) into failed, statuses, waits
  from flowc.fail_tasks(runs, steps, indexes, kinds, causes, waits, messages, claims, report.worker_id) f;
  return query
    select positions[f.n], true, f.task_status, f.retry_in from unnest(failed, statuses, waits) f(n, task_status, retry_in);
  return query
    select positions[u.n], false, t.status, null::double precision
    from unnest(runs, steps, indexes) with ordinality u(run_id, step_slug, task_index, n)
    left join pgflow.step_tasks t on t.run_id = any (array[u.run_id]) and t.step_slug = u.step_slug and t.task_index = u.task_index
    where u.n <> all (coalesce(failed, '{}'));
end $$;

-- Completes a task in the transaction that its handler has written in, so that the one is
-- committed exactly if the other is. The worker commits if the task is accepted and there is
-- no failure, and rolls back otherwise; the failure is that of an output that had to be an
-- array. The handler must not have ended the transaction: the worker has marked it with
-- flowc.in_task.
--
-- Unlike report, it waits for the run: what the handler has done is lost if it is not
-- accepted. From now on, the transaction holds the lock of the run; it is ended for a worker
-- that is gone. And a task that this claim has completed before is not accepted again: it
-- would be a second time that the handler has written.
create or replace function flowc.complete_in_transaction(
  worker_id uuid, run_id uuid, step_slug text, task_index int, message_id bigint, claim_number int, output jsonb,
  out accepted boolean, out failure text)
language plpgsql
set lock_timeout = 0
as $$
declare
  none_failed boolean;
begin
  if current_setting('flowc.in_task', true) is distinct from 'on' then
    raise no_active_sql_transaction using message = 'the handler ended the transaction of its task';
  end if;
  perform set_config('idle_in_transaction_session_timeout', '5s', true);
  perform flowc.require_readable(array[complete_in_transaction.output]);
  select r.status <> 'failed' into none_failed from pgflow.runs r where r.run_id = complete_in_transaction.run_id for update;
  accepted := none_failed and coalesce((
    select flowc.is_owned(t, complete_in_transaction.message_id, complete_in_transaction.claim_number, complete_in_transaction.worker_id)
    from pgflow.step_tasks t
    where t.run_id = complete_in_transaction.run_id and t.step_slug = complete_in_transaction.step_slug
      and t.task_index = complete_in_transaction.task_index), false);
  if accepted is not true then
    accepted := false;
    return;
  end if;
  if exists (select from flowc.gates) then
    perform flowc.leave_gates(complete_in_transaction.worker_id, array[complete_in_transaction.message_id], array[complete_in_transaction.claim_number]);
  end if;
  if flowc.complete_batch_slice(
    array[complete_in_transaction.run_id], array[complete_in_transaction.step_slug], array[complete_in_transaction.task_index],
    array[complete_in_transaction.output], array[complete_in_transaction.message_id], array[complete_in_transaction.claim_number],
    complete_in_transaction.worker_id, true) = 0
  then
    select t.status = 'failed', t.error_message into accepted, failure
    from pgflow.step_tasks t
    where t.run_id = complete_in_transaction.run_id and t.step_slug = complete_in_transaction.step_slug
      and t.task_index = complete_in_transaction.task_index;
  end if;
end $$;

-- Reports whether a task is started and belongs to the claim that these describe: the
-- fence of reports. Without a worker, it belongs to whoever reports it.
create or replace function flowc.is_owned(task pgflow.step_tasks, message_id bigint, claim_number int, worker_id uuid) returns boolean
language sql stable parallel safe
return is_owned.task.status = 'started'
  and (is_owned.worker_id is null
       or is_owned.task.message_id = is_owned.message_id and is_owned.task.claims_count = is_owned.claim_number
          and is_owned.task.last_worker_id = is_owned.worker_id);

-- Completes the tasks that the worker owns, and returns how many those were. Where it
-- makes a difference, different steps of one run are completed in slices, one after the
-- other as if they had been reported so: conditions and maps depend on what other steps
-- have done.
create or replace function flowc.complete_tasks(
  run_ids uuid[], step_slugs text[], task_indexes int[], outputs jsonb[],
  message_ids bigint[], claim_numbers int[], worker_id uuid, none_failed boolean) returns int
language plpgsql as $$
declare
  slice     record;
  completed int := 0;
begin
  if not exists (
      select from (select distinct r.flow_slug from pgflow.runs r where r.run_id = any (complete_tasks.run_ids) offset 0) f
      cross join lateral (
        select from pgflow.steps o
        where o.flow_slug = f.flow_slug
          and (o.step_type = 'map' or o.required_input_pattern is not null or o.forbidden_input_pattern is not null) offset 0) s)
    or not exists (
      select from unnest(run_ids, step_slugs) u(run_id, step_slug) group by u.run_id having min(u.step_slug) <> max(u.step_slug)) then
    return flowc.complete_batch_slice(run_ids, step_slugs, task_indexes, outputs, message_ids, claim_numbers, worker_id, none_failed);
  end if;
  for slice in
    select array_agg(o.run_id) as runs, array_agg(o.step_slug) as steps, array_agg(o.task_index) as indexes,
           array_agg(o.output) as outputs, array_agg(o.message_id) as messages, array_agg(o.claim_number) as claims
    from (select f.*, dense_rank() over (partition by f.run_id order by f.first) as slice
          from (select u.*, min(u.n) over (partition by u.run_id, u.step_slug) as first
                from unnest(run_ids, step_slugs, task_indexes, outputs, message_ids, claim_numbers)
                  with ordinality u(run_id, step_slug, task_index, output, message_id, claim_number, n)) f) o
    group by o.slice order by o.slice
  loop
    completed := completed + flowc.complete_batch_slice(
      slice.runs, slice.steps, slice.indexes, slice.outputs, slice.messages, slice.claims, worker_id);
  end loop;
  return completed;
end $$;

-- Completes one slice of a report; without worker_id, whoever owns the tasks.
-- none_failed says that none of the runs has failed, which then is not checked. The states
-- are looked up once: nobody else changes them while we hold the runs.
create or replace function flowc.complete_batch_slice(
  run_ids uuid[], step_slugs text[], task_indexes int[], outputs jsonb[], message_ids bigint[], claim_numbers int[], worker_id uuid,
  none_failed boolean default false) returns int
language plpgsql as $$
declare
  completed        int;
  runs             uuid[]; -- with the steps that completed
  steps            text[];
  depended_runs    uuid[]; -- with those of them that other steps wait for
  depended_steps   text[];
  map_runs         uuid[]; -- with those of them that are maps
  map_steps        text[];
  runs_to_advance  uuid[];
  waited           boolean; -- whether one of the tasks was a wait
begin
  with done as (
    update pgflow.step_tasks t
    set status = 'completed', completed_at = clock_timestamp(), output = u.output, in_queue = false, archived_at = clock_timestamp()
    from (
      select k.* from (
        select u.*, st.tid, st.flow_slug, s.step_type, s.has_dependents, s.feeds_map
        from unnest(run_ids, step_slugs, task_indexes, outputs, message_ids, claim_numbers)
          with ordinality u(run_id, step_slug, task_index, output, message_id, claim_number, n)
        cross join lateral (
          select o.ctid as tid, o.flow_slug, o.step_slug from pgflow.step_states o
          where o.run_id = u.run_id and o.step_slug = u.step_slug and o.status = 'started' offset 0) st
        cross join lateral (
          select o.step_type,
                 exists (select from pgflow.deps d where d.flow_slug = o.flow_slug and d.dep_slug = o.step_slug offset 0) as has_dependents,
                 exists (
                   select from pgflow.deps d
                   cross join lateral (
                     select from pgflow.steps m where m.flow_slug = d.flow_slug and m.step_slug = d.step_slug and m.step_type = 'map' offset 0) m
                   where d.flow_slug = o.flow_slug and d.dep_slug = o.step_slug offset 0) as feeds_map
          from pgflow.steps o where o.flow_slug = st.flow_slug and o.step_slug = st.step_slug offset 0) s
        offset 0) k -- steps are looked up by nothing but their keys, so that the lookups are memoized
      where (complete_batch_slice.none_failed or exists (select from pgflow.runs r where r.run_id = k.run_id and r.status <> 'failed' offset 0))
        and (not k.feeds_map or coalesce(jsonb_typeof(k.output), '') = 'array' or not flowc.feeds_pending_map(k.flow_slug, k.run_id, k.step_slug))
      offset 0) u
    where t.run_id = any (array[u.run_id]) and t.step_slug = u.step_slug and t.task_index = u.task_index
      and flowc.is_owned(t, u.message_id, u.claim_number, complete_batch_slice.worker_id)
    returning u.n, u.tid, u.step_type, u.has_dependents, t.output, t.message_id),
  counted as (
    select d.tid, d.has_dependents, d.n, 1 as tasks, d.output, false as map
    from done d where d.step_type = 'single'
    union all
    select d.tid, d.has_dependents, min(d.n), count(*)::int, null, true
    from done d where d.step_type = 'map' group by d.tid, d.has_dependents),
  stepped as (
    update pgflow.step_states st
    set remaining_tasks = st.remaining_tasks - c.tasks,
        status       = case when st.remaining_tasks = c.tasks then 'completed' else 'started' end,
        completed_at = case when st.remaining_tasks = c.tasks then clock_timestamp() end,
        output       = c.output
    from counted c
    where st.ctid = c.tid
    returning st.run_id, st.step_slug, c.n, c.has_dependents, c.map, st.status = 'completed' as completed)
  select (select count(*) from done), (select bool_or(d.message_id is null) from done d), s.*
  into completed, waited, runs, steps, depended_runs, depended_steps, map_runs, map_steps
  from
    (select array_agg(o.run_id), array_agg(o.step_slug),
            array_agg(o.run_id) filter (where o.has_dependents), array_agg(o.step_slug) filter (where o.has_dependents),
            array_agg(o.run_id) filter (where o.map), array_agg(o.step_slug) filter (where o.map)
     from (select * from stepped p where p.completed order by p.n) o) s;

  if waited then
    perform flowc.end_waits(run_ids, step_slugs);
  end if;
  if exists (select from flowc.carried) then
    perform flowc.drop_carried(run_ids, step_slugs, task_indexes);
  end if;
  if runs is not null then
    if map_runs is not null then
      update pgflow.step_states st
      set output = (
        select jsonb_agg(coalesce(t.output, 'null') order by t.task_index) from pgflow.step_tasks t
        where t.run_id = u.run_id and t.step_slug = u.step_slug and t.status = 'completed')
      from unnest(map_runs, map_steps) u(run_id, step_slug)
      where st.run_id = any (array[u.run_id]) and st.step_slug = u.step_slug;
    end if;
    if to_regnamespace('realtime') is not null then
      perform flowc.emit_steps(runs, steps);
    end if;
    if depended_runs is not null then
      runs_to_advance := flowc.propagate_completion(depended_runs, depended_steps, true);
    end if;
    perform flowc.decrement_remaining(runs, array_fill(1, array[cardinality(runs)]), runs_to_advance is null);
    if runs_to_advance is not null then
      perform flowc.advance_runs(runs_to_advance);
      perform flowc.complete_runs(runs);
    end if;
  end if;
  if completed < cardinality(run_ids) then
    perform flowc.fail_type_violations(run_ids, step_slugs, task_indexes, outputs, message_ids, claim_numbers, worker_id);
    perform flowc.archive_late_tasks(run_ids, step_slugs, task_indexes);
  end if;
  return completed;
end $$;

-- Reports whether a map waits for the output of this step of a run, which then has to be
-- an array. A map has no number of tasks only as long as its array is not known.
create or replace function flowc.feeds_pending_map(flow_slug text, run_id uuid, step_slug text) returns boolean
language plpgsql stable as $$
begin
  return exists (
      select from pgflow.steps s where s.flow_slug = feeds_pending_map.flow_slug and s.step_slug = feeds_pending_map.step_slug and s.step_type = 'single')
    and exists (
      select from pgflow.deps d
      cross join lateral (
        select from pgflow.step_states o where o.run_id = feeds_pending_map.run_id and o.step_slug = d.step_slug and o.initial_tasks is null offset 0) m
      where d.flow_slug = feeds_pending_map.flow_slug and d.dep_slug = feeds_pending_map.step_slug);
end $$;

-- Fails the tasks whose output should have been an array, and with each its step and its
-- run, whatever when_exhausted says.
create or replace function flowc.fail_type_violations(
  run_ids uuid[], step_slugs text[], task_indexes int[], outputs jsonb[], message_ids bigint[], claim_numbers int[], worker_id uuid) returns void
language plpgsql as $$
declare
  runs   uuid[];
  steps  text[];
  errors text[];
begin
  with failed as (
    update pgflow.step_tasks t
    set status = 'failed', failed_at = clock_timestamp(), output = u.output, in_queue = false, archived_at = clock_timestamp(),
        error_message = format('[TYPE_VIOLATION] Produced %s instead of array', coalesce(jsonb_typeof(u.output), 'null'))
    from (
      select u.*
      from unnest(run_ids, step_slugs, task_indexes, outputs, message_ids, claim_numbers)
        u(run_id, step_slug, task_index, output, message_id, claim_number)
      join pgflow.runs r on r.run_id = any (array[u.run_id]) and r.status = 'started'
      join pgflow.step_states st on st.run_id = any (array[u.run_id]) and st.step_slug = u.step_slug and st.status = 'started'
      where coalesce(jsonb_typeof(u.output), '') <> 'array' and flowc.feeds_pending_map(st.flow_slug, u.run_id, u.step_slug)
      offset 0) u
    where t.run_id = any (array[u.run_id]) and t.step_slug = u.step_slug and t.task_index = u.task_index
      and flowc.is_owned(t, u.message_id, u.claim_number, fail_type_violations.worker_id)
    returning t.flow_slug, t.run_id, t.step_slug, t.output)
  select array_agg(f.run_id), array_agg(f.step_slug),
         array_agg(format('[TYPE_VIOLATION] Map step %s expects array input but dependency %s produced %s',
           (select d.step_slug from pgflow.deps d
            join pgflow.steps c on c.flow_slug = any (array[d.flow_slug]) and c.step_slug = d.step_slug and c.step_type = 'map'
            where d.flow_slug = f.flow_slug and d.dep_slug = f.step_slug order by c.step_index limit 1),
           f.step_slug, coalesce(jsonb_typeof(f.output), 'null')))
  into runs, steps, errors
  from failed f;
  if runs is not null then
    perform flowc.fail_steps(runs, steps, errors);
  end if;
end $$;

-- Fails tasks: first those that will be retried, which affect nothing else; then those
-- that are out of attempts, one of each run at a time, since the first may end the others.
-- With messages, claim numbers and a worker, only tasks that the worker owns count.
-- Returns those that did, `n` being the position of a task in the arrays.
create or replace function flowc.fail_tasks(
  run_ids uuid[], step_slugs text[], task_indexes int[], outcomes text[], errors text[], delays double precision[],
  message_ids bigint[] default null, claim_numbers int[] default null, worker_id uuid default null)
returns table (n int, task_status text, retry_in double precision)
language plpgsql as $$
#variable_conflict use_column
declare
  retried     int[];
  waits       double precision[];
  gated_flows text[]; -- with tasks that are retried and have a gate
  gated_steps text[];
  gate_keys   text[];
  slice       record;
  positions   int[];
  runs        uuid[];
  steps       text[];
  causes      text[];
  modes       text[];
begin
  with requeued as (
    update pgflow.step_tasks t
    set status = 'queued', started_at = null, failed_at = null, error_message = u.error, subqueue = flowc.delayed_subqueue(t.gate_key),
        visible_at = clock_timestamp() + make_interval(secs => u.retry_in),
        due_at = case when t.gate_key is null then clock_timestamp() + make_interval(secs => u.retry_in)
                      else flowc.gated_due_at(t.flow_slug, t.step_slug, clock_timestamp() + make_interval(secs => u.retry_in)) end
    from (
      select u.*, o.started_at, coalesce(s.opt_max_attempts, f.opt_max_attempts) as max_attempts,
             case when u.outcome = 'failed' then coalesce(u.delay, pgflow.calculate_retry_delay(
               coalesce(s.opt_base_delay, f.opt_base_delay), o.attempts_count - o.requeued_count)) end as retry_in
      from unnest(run_ids, step_slugs, task_indexes, outcomes, errors, delays, message_ids, claim_numbers)
        with ordinality u(run_id, step_slug, task_index, outcome, error, delay, message_id, claim_number, n)
      join pgflow.runs r on r.run_id = any (array[u.run_id]) and r.status <> 'failed'
      join pgflow.step_states st on st.run_id = any (array[u.run_id]) and st.step_slug = u.step_slug and st.status = 'started'
      cross join lateral (select * from pgflow.steps o where o.flow_slug = st.flow_slug and o.step_slug = st.step_slug offset 0) s
      join pgflow.flows f on f.flow_slug = any (array[st.flow_slug])
      cross join lateral (
        select t.started_at, t.attempts_count, t.requeued_count from pgflow.step_tasks t
        where t.run_id = u.run_id and t.step_slug = u.step_slug and t.task_index = u.task_index offset 0) o
      offset 0) u
    where t.run_id = any (array[u.run_id]) and t.step_slug = u.step_slug and t.task_index = u.task_index
      and flowc.is_owned(t, u.message_id, u.claim_number, fail_tasks.worker_id)
      and u.outcome = 'failed' and t.attempts_count - t.requeued_count < u.max_attempts
    returning u.n::int, t.flow_slug, t.run_id, t.step_slug, t.task_index, t.attempts_count - t.requeued_count as attempt, t.last_worker_id,
              u.started_at, u.error, u.retry_in, t.gate_key),
  recorded as (
    insert into flowc.failed_attempts (run_id, step_slug, task_index, attempt, worker_id, started_at, error_message)
    select q.run_id, q.step_slug, q.task_index, q.attempt, q.last_worker_id, q.started_at, q.error from requeued q)
  select array_agg(q.n), array_agg(q.retry_in), array_agg(q.flow_slug) filter (where q.gate_key is not null),
         array_agg(q.step_slug) filter (where q.gate_key is not null), array_agg(q.gate_key) filter (where q.gate_key is not null)
  into retried, waits, gated_flows, gated_steps, gate_keys
  from requeued q;
  if gated_flows is not null then
    perform flowc.note_arrivals(gated_flows, gated_steps, gate_keys);
  end if;
  return query select u.n, 'queued', u.wait from unnest(retried, waits) u(n, wait);

  for slice in
    select array_agg(o.n::int) as positions, array_agg(o.run_id) as runs, array_agg(o.step_slug) as steps, array_agg(o.task_index) as indexes,
           array_agg(o.outcome) as outcomes, array_agg(o.error) as errors, array_agg(o.message_id) as messages, array_agg(o.claim_number) as claims
    from (select u.*, row_number() over (partition by u.run_id order by u.n) as slice
          from unnest(run_ids, step_slugs, task_indexes, outcomes, errors, message_ids, claim_numbers)
            with ordinality u(run_id, step_slug, task_index, outcome, error, message_id, claim_number, n)
          where u.n <> all (coalesce(retried, '{}'))) o
    group by o.slice order by o.slice
  loop
    with exhausted as (
      update pgflow.step_tasks t
      set status = 'failed', failed_at = clock_timestamp(), error_message = u.cause, in_queue = false, archived_at = clock_timestamp()
      from (
        select u.*, s.when_exhausted, case when u.outcome = 'skipped' and s.when_exhausted = 'fail' then format(
            'flowc: the handler asked to skip step %s (%s), which does not allow it: add when_exhausted:"skip" to the step', u.step_slug, u.error)
          else u.error end as cause
        from unnest(slice.positions, slice.runs, slice.steps, slice.indexes, slice.outcomes, slice.errors, slice.messages, slice.claims)
          u(n, run_id, step_slug, task_index, outcome, error, message_id, claim_number)
        join pgflow.runs r on r.run_id = any (array[u.run_id]) and r.status <> 'failed'
        join pgflow.step_states st on st.run_id = any (array[u.run_id]) and st.step_slug = u.step_slug and st.status = 'started'
        cross join lateral (select * from pgflow.steps o where o.flow_slug = st.flow_slug and o.step_slug = st.step_slug offset 0) s
        offset 0) u
      where t.run_id = any (array[u.run_id]) and t.step_slug = u.step_slug and t.task_index = u.task_index
        and flowc.is_owned(t, u.message_id, u.claim_number, fail_tasks.worker_id)
      returning u.n, t.run_id, t.step_slug, t.task_index, t.attempts_count - t.requeued_count as attempt, t.last_worker_id, t.started_at,
                u.cause, u.when_exhausted),
    recorded as (
      insert into flowc.failed_attempts (run_id, step_slug, task_index, attempt, worker_id, started_at, error_message)
      select e.run_id, e.step_slug, e.task_index, e.attempt, e.last_worker_id, e.started_at, e.cause from exhausted e)
    select array_agg(e.n), array_agg(e.run_id order by e.n), array_agg(e.step_slug order by e.n), array_agg(e.cause order by e.n),
           array_agg(e.when_exhausted order by e.n)
    into positions, runs, steps, causes, modes
    from exhausted e;
    if runs is not null then
      perform flowc.fail_or_skip_steps(runs, steps, causes, modes);
      return query select p.n, 'failed', null::double precision from unnest(positions) p(n);
    end if;
  end loop;
end $$;

-- Archives the messages of tasks that were reported after their step ended. What belongs
-- to a failed run stays as it is.
create or replace function flowc.archive_late_tasks(run_ids uuid[], step_slugs text[], task_indexes int[]) returns void
language plpgsql as $$
begin
  update pgflow.step_tasks t set in_queue = false, archived_at = clock_timestamp()
  from unnest(run_ids, step_slugs, task_indexes) u(run_id, step_slug, task_index)
  join pgflow.runs r on r.run_id = any (array[u.run_id]) and r.status <> 'failed'
  join pgflow.step_states st on st.run_id = any (array[u.run_id]) and st.step_slug = u.step_slug and st.status <> 'started'
  where t.run_id = any (array[u.run_id]) and t.step_slug = u.step_slug and t.task_index = u.task_index and t.in_queue is not false;
end $$;

-- Records the failure of tasks whose run has failed already.
create or replace function flowc.fail_late_tasks(run_ids uuid[], step_slugs text[], task_indexes int[], errors text[]) returns void
language plpgsql as $$
begin
  update pgflow.step_tasks t
  set status = 'failed', failed_at = clock_timestamp(), error_message = u.error,
      in_queue = false, archived_at = coalesce(t.archived_at, clock_timestamp())
  from unnest(run_ids, step_slugs, task_indexes, errors) u(run_id, step_slug, task_index, error)
  join pgflow.runs r on r.run_id = any (array[u.run_id]) and r.status = 'failed'
  where t.run_id = any (array[u.run_id]) and t.step_slug = u.step_slug and t.task_index = u.task_index and t.status = 'started';
  perform flowc.archive_late_tasks(run_ids, step_slugs, task_indexes);
end $$;
