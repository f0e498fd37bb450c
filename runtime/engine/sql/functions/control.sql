-- Steering runs: cancelling, retrying, rescheduling, deleting; and pausing flows.
--
-- Each function locks the run first and looks at it afterwards, in a statement of its
-- own: what it saw before may have changed while it waited. What was not there to be
-- locked is left alone, even if it can be seen a moment later: a start of the same id
-- may be halfway through.

-- Ends a run that has not ended. To the contract it failed; whoever holds one of
-- its tasks is told by the next heartbeat. False if it had ended already, NULL if
-- there is no such run.
create or replace function flowc.cancel_run(run_id uuid, reason text default null) returns boolean
language plpgsql as $$
declare
  status text;
begin
  select r.status into status from pgflow.runs r where r.run_id = cancel_run.run_id for update;
  if status is distinct from 'started' then
    return case when status is not null then false end;
  end if;
  delete from flowc.scheduled_runs s where s.run_id = cancel_run.run_id;
  insert into flowc.cancelled_runs (run_id, reason) values (cancel_run.run_id, cancel_run.reason);
  perform flowc.fail_runs(array[cancel_run.run_id]);
  return true;
end $$;

-- Takes up a run that failed or was cancelled where it stopped: what completed is
-- kept, and every other task of its steps gets all its tries again. Tasks get new
-- messages, so that late reports of the old ones change nothing. False if the run
-- has not failed, NULL if there is no such run.
create or replace function flowc.retry_run(run_id uuid) returns boolean
language plpgsql as $$
declare
  flow   text;
  status text;
begin
  select r.flow_slug, r.status into flow, status from pgflow.runs r where r.run_id = retry_run.run_id for update;
  if status is distinct from 'failed' then
    return case when status is not null then false end;
  end if;
  delete from flowc.cancelled_runs c where c.run_id = retry_run.run_id;
  update pgflow.runs r set status = 'started', failed_at = null where r.run_id = retry_run.run_id;
  -- A step that its condition failed was never started, and is judged again.
  update pgflow.step_states st
  set status = case when st.started_at is null then 'created' else 'started' end, failed_at = null, error_message = null
  where st.run_id = retry_run.run_id and st.status = 'failed';
  if to_regnamespace('realtime') is not null then
    perform flowc.emit_runs(array[retry_run.run_id]);
  end if;

  update pgflow.step_tasks t
  set status = 'queued', message_id = nextval('flowc.message_ids'), attempts_count = 0, requeued_count = 0, output = null, error_message = null,
      queued_at = clock_timestamp(), started_at = null, failed_at = null, last_worker_id = null, last_requeued_at = null, permanently_stalled_at = null,
      visible_at = clock_timestamp(), in_queue = true, subqueue = 'r', due_at = null, archived_at = null, read_count = 0
  from pgflow.step_states st
  where st.run_id = retry_run.run_id and st.status = 'started'
    and t.run_id = any (array[st.run_id]) and t.step_slug = st.step_slug and t.status <> 'completed';
  delete from flowc.suspects s where s.run_id = retry_run.run_id; -- after the tasks, as recovery writes them
  perform flowc.wake_flows(array[flow]);
  perform flowc.advance_runs(array[retry_run.run_id]);
  return true;
end $$;

-- Does a step of a run that has ended again, and all behind it: what they gave is
-- forgotten, what other steps completed is kept. In a run that failed or was
-- cancelled everything else that did not complete goes on as well. What was skipped
-- because of a step that is not among them stays so. False if the run has not ended
-- or the step stays skipped, NULL if there is no such run or step.
create or replace function flowc.retry_step(run_id uuid, step_slug text) returns boolean
language plpgsql as $$
declare
  flow   text;
  status text;
  behind text[]; -- the step and all behind it
  again  text[]; -- those of them that do not stay skipped
begin
  select r.flow_slug, r.status into flow, status from pgflow.runs r where r.run_id = retry_step.run_id for update;
  if not found or not exists (select from pgflow.step_states st where st.run_id = retry_step.run_id and st.step_slug = retry_step.step_slug) then
    return null;
  end if;
  if status = 'started' then
    return false;
  end if;
  with recursive hit(step_slug) as (
    select retry_step.step_slug
    union
    select d.step_slug from hit h join pgflow.deps d on d.flow_slug = flow and d.dep_slug = h.step_slug),
  stays(step_slug) as (
    select d.step_slug
    from hit h
    join pgflow.deps d on d.flow_slug = flow and d.step_slug = h.step_slug
    join pgflow.steps s on s.flow_slug = flow and s.step_slug = d.dep_slug
    join pgflow.step_states st on st.run_id = retry_step.run_id and st.step_slug = d.dep_slug and st.status = 'skipped'
    where d.dep_slug not in (select o.step_slug from hit o)
      and case st.skip_reason when 'dependency_skipped' then true when 'condition_unmet' then s.when_unmet = 'skip-cascade'
                              when 'handler_failed' then s.when_exhausted = 'skip-cascade' else false end
    union
    select d.step_slug from stays y join pgflow.deps d on d.flow_slug = flow and d.dep_slug = y.step_slug)
  select array_agg(h.step_slug), array_agg(h.step_slug) filter (where h.step_slug not in (select y.step_slug from stays y))
  into behind, again from hit h;
  if again is null or retry_step.step_slug <> all (again) then
    return false;
  end if;

  delete from pgflow.step_tasks t using unnest(again) a(step_slug) where t.run_id = retry_step.run_id and t.step_slug = a.step_slug;
  delete from flowc.failed_attempts t using unnest(again) a(step_slug) where t.run_id = retry_step.run_id and t.step_slug = a.step_slug;
  update pgflow.step_states st
  set status = 'created', remaining_tasks = null, output = null, error_message = null, skip_reason = null,
      started_at = null, completed_at = null, failed_at = null, skipped_at = null
  where st.run_id = retry_step.run_id and st.step_slug = any (again);
  -- What stays skipped is told again of the steps before it, and counts them.
  update pgflow.step_states st
  set remaining_deps = n.open, initial_tasks = case when s.step_type = 'map' and n.again > 0 then null else st.initial_tasks end
  from pgflow.steps s
  cross join lateral (
    select count(*) filter (where p.status not in ('completed', 'skipped')) as open, count(*) filter (where d.dep_slug = any (again)) as again
    from pgflow.deps d
    join pgflow.step_states p on p.run_id = retry_step.run_id and p.step_slug = d.dep_slug
    where d.flow_slug = flow and d.step_slug = s.step_slug) n
  where s.flow_slug = flow and st.run_id = retry_step.run_id and st.step_slug = s.step_slug and st.step_slug = any (behind);
  update pgflow.runs r
  set status = 'failed', completed_at = null, failed_at = clock_timestamp(), output = null, -- which retry_run takes up
      remaining_steps = (select count(*) from pgflow.step_states st where st.run_id = r.run_id and st.status not in ('completed', 'skipped'))
  where r.run_id = retry_step.run_id;
  return flowc.retry_run(retry_step.run_id);
end $$;

-- Makes what waits in a run visible now: tasks behind a start delay or between two
-- tries, of one step or of all. Returns how many there were.
create or replace function flowc.run_now(run_id uuid, step_slug text default null) returns int
language plpgsql as $$
declare
  locked uuid[] := flowc.lock_runs(array[run_now.run_id]);
  flows  text[];
begin
  with hurried as (
    update pgflow.step_tasks t set visible_at = clock_timestamp(), due_at = case when t.subqueue = 'd' then clock_timestamp() end
    where t.run_id = any (locked) and (run_now.step_slug is null or t.step_slug = run_now.step_slug)
      and t.status = 'queued' and t.in_queue is not false and t.visible_at > clock_timestamp()
    returning t.flow_slug)
  select array_agg(h.flow_slug) into flows from hurried h;
  if flows is null then
    return 0;
  end if;
  perform flowc.wake_workers(flows);
  return cardinality(flows);
end $$;

-- Moves the start of a scheduled run. False if it is not waiting for its start.
create or replace function flowc.reschedule_run(run_id uuid, start_at timestamptz) returns boolean
language plpgsql as $$
declare
  locked uuid[] := flowc.lock_runs(array[reschedule_run.run_id]);
  flow   text;
begin
  update flowc.scheduled_runs s set due_at = reschedule_run.start_at where s.run_id = any (locked) returning s.flow_slug into flow;
  if flow is null then
    return false;
  end if;
  perform flowc.wake_flows(array[flow]);
  return true;
end $$;

-- Deletes runs with all that belongs to them; says how many there were.
create or replace function flowc.delete_runs(run_ids uuid[]) returns int
language plpgsql as $$
begin
  return flowc.delete_locked_runs(flowc.lock_runs(delete_runs.run_ids));
end $$;

-- Deletes runs that the caller has locked, with all that belongs to them.
create or replace function flowc.delete_locked_runs(run_ids uuid[]) returns int
language plpgsql as $$
begin
  if delete_locked_runs.run_ids = '{}' then
    return 0;
  end if;
  delete from flowc.scheduled_runs where run_id = any (delete_locked_runs.run_ids);
  delete from flowc.failed_attempts where run_id = any (delete_locked_runs.run_ids);
  delete from flowc.run_waiters where run_id = any (delete_locked_runs.run_ids);
  delete from flowc.cancelled_runs where run_id = any (delete_locked_runs.run_ids);
  delete from flowc.run_headers where run_id = any (delete_locked_runs.run_ids);
  delete from flowc.ticks where run_id = any (delete_locked_runs.run_ids);
  delete from pgflow.step_tasks where run_id = any (delete_locked_runs.run_ids);
  delete from flowc.suspects where run_id = any (delete_locked_runs.run_ids); -- which recovery may just have written
  delete from pgflow.step_states where run_id = any (delete_locked_runs.run_ids);
  delete from pgflow.runs where run_id = any (delete_locked_runs.run_ids);
  return cardinality(delete_locked_runs.run_ids);
end $$;

-- Deletes what is left of runs that do not exist, so that their ids can be started
-- again; says of how many runs something was deleted. While it is at it, rows of their own hold
-- the ids, so that none is started meanwhile; one that has been started since is left alone.
create or replace function flowc.delete_orphans(run_ids uuid[]) returns int
language plpgsql as $$
declare
  held uuid[];
begin
  with reserved as (
    insert into pgflow.runs as r (run_id, flow_slug, input)
    select distinct u.run_id, '', '{}'::jsonb from unnest(delete_orphans.run_ids) u(run_id) order by u.run_id
    on conflict on constraint runs_pkey do nothing
    returning r.run_id)
  select coalesce(array_agg(h.run_id), '{}') into held from reserved h;
  return flowc.delete_locked_runs(held);
end $$;

-- Deletes a run that has ended, or with allow_data_loss whatever its status. False if it
-- has not ended, NULL if there is no such run.
create or replace function flowc.delete_run(run_id uuid, allow_data_loss boolean default false) returns boolean
language plpgsql as $$
declare
  status text;
begin
  select r.status into status from pgflow.runs r where r.run_id = delete_run.run_id for update;
  if status is null then
    return null;
  elsif status = 'started' and not delete_run.allow_data_loss then
    return false;
  end if;
  perform flowc.delete_runs(array[delete_run.run_id]);
  return true;
end $$;

-- Hands no more tasks of a flow to workers, of any language, or does so again. Runs
-- can be started meanwhile, and what workers have in flight goes on. False if it was
-- so already, NULL if there is no such flow. Who pauses it is the session's user if
-- nobody is named.
create or replace function flowc.pause_flow(flow_slug text, paused boolean, paused_by text default null) returns boolean
language plpgsql as $$
begin
  perform from flowc.definition_locks d where d.flow_slug = pause_flow.flow_slug for key share; -- a flow that is being deleted is not paused for whoever makes it again
  if not exists (select from pgflow.flows f where f.flow_slug = pause_flow.flow_slug) then
    return null;
  end if;
  if pause_flow.paused then
    insert into flowc.paused_flows (flow_slug, paused_by) values (pause_flow.flow_slug, coalesce(nullif(pause_flow.paused_by, ''), session_user))
    on conflict do nothing;
    return found;
  end if;
  delete from flowc.paused_flows p where p.flow_slug = pause_flow.flow_slug;
  if not found then
    return false;
  end if;
  perform flowc.wake_flows(array[pause_flow.flow_slug]);
  return true;
end $$;

-- The runs that ended before a time, oldest first, of some flows or all.
create or replace function flowc.find_ended_runs(before timestamptz, flow_slugs text[], at_most int) returns uuid[]
language plpgsql stable as $$
begin
  return array(
    select o.run_id
    from pgflow.flows f
    cross join lateral (
      select r.run_id, r.started_at from pgflow.runs r
      where r.flow_slug = f.flow_slug and r.started_at < find_ended_runs.before
        and r.status <> 'started' and coalesce(r.completed_at, r.failed_at) < find_ended_runs.before
      order by r.started_at limit find_ended_runs.at_most) o
    where find_ended_runs.flow_slugs is null or f.flow_slug = any (find_ended_runs.flow_slugs)
    order by o.started_at limit find_ended_runs.at_most);
end $$;

-- Deletes those of some runs that ended before a time; says how many they were. One
-- may have been retried since somebody found it, or deleted and started anew. Runs
-- that others hold are waited for, or passed over.
create or replace function flowc.delete_ended_runs(run_ids uuid[], before timestamptz, wait boolean) returns int
language plpgsql as $$
declare
  locked uuid[] := flowc.lock_runs(delete_ended_runs.run_ids, delete_ended_runs.wait);
begin
  return flowc.delete_locked_runs(array(
    select r.run_id from pgflow.runs r
    where r.run_id = any (locked) and r.status <> 'started' and coalesce(r.completed_at, r.failed_at) < delete_ended_runs.before));
end $$;

-- Deletes the rows of workers that have been silent since a time, but of none that may
-- be alive.
create or replace function flowc.prune_workers(before timestamptz) returns void
language plpgsql as $$
begin
  delete from pgflow.workers w where w.last_heartbeat_at < least(prune_workers.before, clock_timestamp() - interval '1 minute');
  delete from flowc.worker_flows s where not exists (select from pgflow.workers w where w.worker_id = s.worker_id);
end $$;

-- Deletes runs that ended before a time, at most so many; says how many, or with
-- dry_run how many of them there would be.
create or replace function flowc.prune(before timestamptz, flow_slugs text[] default null, at_most int default 1000, dry_run boolean default false) returns int
language plpgsql as $$
declare
  old     uuid[] := flowc.find_ended_runs(prune.before, prune.flow_slugs, prune.at_most);
  deleted int;
begin
  if prune.dry_run then
    return cardinality(old);
  end if;
  perform flowc.prune_workers(prune.before);
  loop
    deleted := flowc.delete_ended_runs(old, prune.before, true);
    exit when deleted > 0 or old = '{}';
    -- Others deleted or retried them all, which does not mean that there are no more.
    old := flowc.find_ended_runs(prune.before, prune.flow_slugs, prune.at_most);
  end loop;
  return deleted;
end $$;

-- Deletes runs of some flows that ended longer ago than they are to be kept, at
-- most so many; says how many. A flow that somebody else prunes just now, or whose
-- definition somebody changes, is passed over, and so are runs that somebody steers.
-- Locks: the definition, shared, the flow's row, then the runs.
create or replace function flowc.prune_flows(flow_slugs text[], keep interval, at_most int) returns int
language plpgsql as $$
declare
  before timestamptz := clock_timestamp() - prune_flows.keep;
  mine   text[];
begin
  mine := array(select u.slug from unnest(prune_flows.flow_slugs) u(slug) where flowc.try_share_definition(u.slug));
  mine := array(select f.flow_slug from pgflow.flows f where f.flow_slug = any (mine) order by f.flow_slug for no key update skip locked);
  if mine = '{}' then
    return 0;
  end if;
  perform flowc.prune_workers(before);
  return flowc.delete_ended_runs(flowc.find_ended_runs(before, mine, prune_flows.at_most), before, false);
end $$;

-- prune_flows for a worker, of those of the flows that it serves.
create or replace function flowc.prune_served(worker_id uuid, flow_slugs text[], keep interval, at_most int) returns int
language plpgsql as $$
begin
  if prune_served.keep <= interval '0' then
    raise invalid_parameter_value using message = format('runs cannot be kept for %s', prune_served.keep);
  end if;
  return flowc.prune_flows(array(
    select s.flow_slug from flowc.worker_flows s where s.worker_id = prune_served.worker_id and s.flow_slug = any (prune_served.flow_slugs)), prune_served.keep, prune_served.at_most);
end $$;
