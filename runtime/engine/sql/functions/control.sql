-- Operating runs and flows: cancelling, retrying, rescheduling, pausing.
--
-- Each function locks the run first and reads it afterwards, in a statement of its own:
-- what it saw before may have changed while it waited. What was not there to be locked is
-- left alone, even if it is visible a moment later: a start of the same id may be halfway
-- through.

-- Cancels a run. To the contract it failed; workers that hold its tasks learn of it with
-- their next heartbeat. If the run has ended, and a retry of it waits in line, that is what is
-- cancelled. Returns false if the run had ended already, NULL if there is no such run.
create or replace function flowc.cancel_run(run_id uuid, reason text default null) returns boolean
language plpgsql as $$
declare
  status text;
begin
  select r.status into status from pgflow.runs r where r.run_id = cancel_run.run_id for update;
  if status is distinct from 'started' then
    delete from flowc.requests q where q.run_id = cancel_run.run_id and q.turn_key is not null and q.error is null;
    return case when status is not null then found end;
  end if;
  delete from flowc.scheduled_runs s where s.run_id = cancel_run.run_id;
  insert into flowc.cancelled_runs (run_id, reason) values (cancel_run.run_id, cancel_run.reason);
  perform flowc.fail_runs(array[cancel_run.run_id]);
  return true;
end $$;

-- Resumes a run that failed or was cancelled: what completed is kept, and all other tasks
-- of its steps get all their attempts again, and may be snoozed for as long again. What is
-- left of the delay of a step that had started is waited for. They also get new messages, so that late
-- reports of the old ones change nothing. Returns false if the run has not failed, NULL if
-- there is no such run. It is an error if another run has its key, see uniques.sql. If as many
-- runs of the flow are in progress as may be, the retry waits in line, see limits.sql.
create or replace function flowc.retry_run(run_id uuid) returns boolean
language plpgsql as $$
declare
  flow       text;
  status     text;
  unreadable text[]; -- steps of which nobody can tell when they may start
begin
  select r.flow_slug, r.status into flow, status from pgflow.runs r where r.run_id = retry_run.run_id for update;
  if status is distinct from 'failed' then
    return case when status is not null then false end;
  end if;
  if not flowc.take_place(retry_run.run_id, 'retry') then
    return true;
  end if;
  delete from flowc.cancelled_runs c where c.run_id = retry_run.run_id;
  update pgflow.runs r set status = 'started', failed_at = null where r.run_id = retry_run.run_id;
  -- A step that its condition failed was never started: its condition is evaluated again.
  update pgflow.step_states st
  set status = case when st.started_at is null then 'created' else 'started' end, failed_at = null, error_message = null
  where st.run_id = retry_run.run_id and st.status = 'failed';
  if to_regnamespace('realtime') is not null then
    perform flowc.emit_runs(array[retry_run.run_id]);
  end if;

  update pgflow.step_tasks t
  set status = 'queued', message_id = nextval('flowc.message_ids'), attempts_count = 0, requeued_count = 0, output = null, error_message = null,
      queued_at = clock_timestamp(), started_at = null, failed_at = null, last_worker_id = null, last_requeued_at = null,
      permanently_stalled_at = null,
      visible_at = clock_timestamp() + make_interval(secs => coalesce(x.delay, 0)), in_queue = true, archived_at = null, read_count = 0,
      subqueue = case when x.delay > 0 then 'd' else t.priority end,
      due_at = case when x.delay > 0 then clock_timestamp() + make_interval(secs => x.delay) end
  from (
    select st.run_id, st.step_slug, flowc.remaining_delay(st.run_id, st.flow_slug, st.step_slug, st.started_at) as delay
    from pgflow.step_states st where st.run_id = retry_run.run_id and st.status = 'started' offset 0) x
  where t.run_id = any (array[x.run_id]) and t.step_slug = x.step_slug and t.status <> 'completed';
  update flowc.carried c set snoozes = 0, snoozed_since = null, note = null where c.run_id = retry_run.run_id;
  if exists (select from flowc.settings k where k.flow_slug = flow) then
    perform flowc.retake_key(retry_run.run_id);
    perform flowc.resume_waits(retry_run.run_id);
    perform flowc.set_deadlines(array[retry_run.run_id]);
    select array_agg(st.step_slug) into unreadable
    from pgflow.step_states st
    join flowc.settings k on k.flow_slug = any (array[st.flow_slug]) and k.step_slug = st.step_slug and k.settings ?| '{startAt,startDelay}'
    where st.run_id = retry_run.run_id and st.status = 'started' and flowc.read_start_delay(st.run_id, k.settings) is null;
    if unreadable is not null then
      perform flowc.fail_soon(array_agg(flow), array_agg(retry_run.run_id), array_agg(u.step_slug), array_agg(flowc.unreadable_start(flow, u.step_slug)))
      from unnest(unreadable) u(step_slug);
    end if;
  end if;
  perform flowc.gate_tasks(retry_run.run_id);
  delete from flowc.suspects s where s.run_id = retry_run.run_id; -- after the tasks, in the order of recovery
  perform flowc.wake_flows(array[flow]);
  perform flowc.advance_runs(array[retry_run.run_id]);
  return true;
end $$;

-- Re-runs a step of an ended run and everything behind it, discarding their outputs; what
-- other steps completed is kept. In a run that failed or was cancelled, all other steps
-- that did not complete are resumed, too. Steps that were skipped because of a step that is
-- not re-run stay skipped. Returns false if the run has not ended or the step stays
-- skipped, NULL if there is no such run or step.
create or replace function flowc.retry_step(run_id uuid, step_slug text) returns boolean
language plpgsql as $$
declare
  flow   text;
  status text;
  behind text[]; -- the step and all behind it
  rerun  text[]; -- those of them that do not stay skipped
begin
  select r.flow_slug, r.status into flow, status from pgflow.runs r where r.run_id = retry_step.run_id for update;
  if not found or not exists (select from pgflow.step_states st where st.run_id = retry_step.run_id and st.step_slug = retry_step.step_slug) then
    return null;
  end if;
  if status = 'started' then
    return false;
  end if;
  with recursive dependent(step_slug) as (
    select retry_step.step_slug
    union
    select d.step_slug from dependent h join pgflow.deps d on d.flow_slug = flow and d.dep_slug = h.step_slug),
  stays(step_slug) as (
    select d.step_slug
    from dependent h
    join pgflow.deps d on d.flow_slug = flow and d.step_slug = h.step_slug
    join pgflow.steps s on s.flow_slug = flow and s.step_slug = d.dep_slug
    join pgflow.step_states st on st.run_id = retry_step.run_id and st.step_slug = d.dep_slug and st.status = 'skipped'
    where d.dep_slug not in (select o.step_slug from dependent o)
      and case st.skip_reason when 'dependency_skipped' then true when 'condition_unmet' then s.when_unmet = 'skip-cascade'
                              when 'handler_failed' then s.when_exhausted = 'skip-cascade' else false end
    union
    select d.step_slug from stays y join pgflow.deps d on d.flow_slug = flow and d.dep_slug = y.step_slug)
  select array_agg(h.step_slug), array_agg(h.step_slug) filter (where h.step_slug not in (select y.step_slug from stays y))
  into behind, rerun from dependent h;
  if rerun is null or retry_step.step_slug <> all (rerun) then
    return false;
  end if;
  if not flowc.take_place(retry_step.run_id, 'retry_step', retry_step.step_slug) then
    return true;
  end if;

  delete from pgflow.step_tasks t using unnest(rerun) a(step_slug) where t.run_id = retry_step.run_id and t.step_slug = a.step_slug;
  delete from flowc.failed_attempts t using unnest(rerun) a(step_slug) where t.run_id = retry_step.run_id and t.step_slug = a.step_slug;
  delete from flowc.signals s using unnest(rerun) a(step_slug) where s.run_id = retry_step.run_id and s.step_slug = a.step_slug;
  delete from flowc.carried c using unnest(rerun) a(step_slug) where c.run_id = retry_step.run_id and c.step_slug = a.step_slug;
  update pgflow.step_states st
  set status = 'created', remaining_tasks = null, output = null, error_message = null, skip_reason = null,
      started_at = null, completed_at = null, failed_at = null, skipped_at = null
  where st.run_id = retry_step.run_id and st.step_slug = any (rerun);
  -- Steps that stay skipped count the steps before them again.
  update pgflow.step_states st
  set remaining_deps = n.open, initial_tasks = case when s.step_type = 'map' and n.rerun > 0 then null else st.initial_tasks end
  from pgflow.steps s
  cross join lateral (
    select count(*) filter (where p.status not in ('completed', 'skipped')) as open, count(*) filter (where d.dep_slug = any (rerun)) as rerun
    from pgflow.deps d
    join pgflow.step_states p on p.run_id = retry_step.run_id and p.step_slug = d.dep_slug
    where d.flow_slug = flow and d.step_slug = s.step_slug) n
  where s.flow_slug = flow and st.run_id = retry_step.run_id and st.step_slug = s.step_slug and st.step_slug = any (behind);
  update pgflow.runs r
  set status = 'failed', completed_at = null, failed_at = clock_timestamp(), output = null, -- which retry_run resumes
      remaining_steps = (select count(*) from pgflow.step_states st where st.run_id = r.run_id and st.status not in ('completed', 'skipped'))
  where r.run_id = retry_step.run_id;
  return flowc.retry_run(retry_step.run_id);
end $$;

-- Makes delayed tasks of a run claimable now, those that wait for a start delay or for
-- their next attempt, of one step or of all. Returns how many there were.
create or replace function flowc.run_now(run_id uuid, step_slug text default null) returns int
language plpgsql as $$
declare
  locked uuid[] := flowc.lock_runs(array[run_now.run_id]);
  flows  text[];
  steps  text[];
  keys   text[];
begin
  with moved as (
    update pgflow.step_tasks t set visible_at = clock_timestamp(), due_at = flowc.due_now(t.subqueue)
    where t.run_id = any (locked) and (run_now.step_slug is null or t.step_slug = run_now.step_slug)
      and t.status = 'queued' and t.in_queue is not false and t.visible_at > clock_timestamp()
    returning t.flow_slug, t.step_slug, t.gate_key)
  select array_agg(m.flow_slug), array_agg(m.step_slug), array_agg(m.gate_key) into flows, steps, keys from moved m;
  if flows is null then
    return 0;
  end if;
  if array_remove(keys, null) <> '{}' then
    perform flowc.note_arrivals(flows, steps, keys);
  end if;
  perform flowc.wake_workers(flows);
  return cardinality(flows);
end $$;

-- Moves the start of a scheduled run. Returns false if it is not waiting for its start.
create or replace function flowc.reschedule_run(run_id uuid, start_at timestamptz) returns boolean
language plpgsql as $$
declare
  locked uuid[] := flowc.lock_runs(array[reschedule_run.run_id]);
  flow   text;
begin
  update flowc.scheduled_runs s set due_at = reschedule_run.start_at, turn_key = null where s.run_id = any (locked) returning s.flow_slug into flow;
  if flow is null then
    return false;
  end if;
  perform flowc.wake_flows(array[flow]);
  return true;
end $$;

-- Pauses a flow, so that its tasks are given to no worker, in any language, or resumes it.
-- Runs can be started meanwhile, and tasks in flight go on. Returns false if nothing
-- changed, NULL if there is no such flow. paused_by defaults to the session's user.
create or replace function flowc.pause_flow(flow_slug text, paused boolean, paused_by text default null) returns boolean
language plpgsql as $$
begin
  -- A flow that is being deleted must not be left paused for whoever defines it anew.
  perform from flowc.definition_locks d where d.flow_slug = pause_flow.flow_slug for key share;
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
