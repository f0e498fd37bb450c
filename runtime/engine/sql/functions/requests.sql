-- Requests: what is to be done with runs after the commit of those who ask for it.
--
-- A transaction that holds the lock of a run holds up the reports of that run, and what a
-- user's program does in a transaction may take long. So in one, cancelling, retrying and
-- the like are rows that a worker applies after the commit.

-- Does an action on a run, or leaves a request to do it: without now, and if somebody else
-- holds the run. Actions are those of flowc.requests. In a transaction that goes on after
-- it, now should be false: it locks the run.
--
-- known says that there is such a run, and step; done what the action returned, NULL if it
-- is requested. A retry that has to wait in line, see limits.sql, is requested, too.
create or replace function flowc.request(
  run_id uuid, action text, argument text, now boolean, out known boolean, out requested boolean, out done boolean, out affected int)
language plpgsql as $$
declare
  flow text;
begin
  known := false; requested := false;
  if request.now and flowc.try_lock_run(request.run_id)
    and (request.action not in ('retry', 'retry_step') or flowc.try_lock_key(request.run_id)) then
    perform flowc.apply_requests_of(request.run_id); -- which came before
    select a.done, a.affected into done, affected from flowc.do_action(request.run_id, request.action, request.argument) a;
    known := done is not null;
    if done and request.action in ('retry', 'retry_step') and flowc.retry_in_line(request.run_id) then
      requested := true; done := null;
    end if;
    return;
  end if;
  select r.flow_slug into flow from pgflow.runs r
  where r.run_id = request.run_id and (request.action <> 'retry_step' or exists (
    select from pgflow.step_states st where st.run_id = r.run_id and st.step_slug = request.argument));
  if flow is null then
    return;
  end if;
  insert into flowc.requests (run_id, flow_slug, action, argument) values (request.run_id, flow, request.action, request.argument);
  known := true; requested := true;
end $$;

-- Cancels a run, or leaves a request to do it, see request.
create or replace function flowc.request_cancel(
  run_id uuid, reason text, now boolean, out known boolean, out requested boolean, out done boolean)
language plpgsql as $$
begin
  select q.known, q.requested, q.done into known, requested, done
  from flowc.request(request_cancel.run_id, 'cancel', request_cancel.reason, request_cancel.now) q;
end $$;

-- Locks a run, and reports whether it did: it waits half a second, not longer, for somebody
-- else who holds it.
create or replace function flowc.try_lock_run(run_id uuid) returns boolean
language plpgsql
set lock_timeout = '500ms'
as $$
begin
  perform from pgflow.runs r where r.run_id = try_lock_run.run_id for update;
  return found;
exception when lock_not_available then
  return false;
end $$;

-- Does an action on a run that the caller has locked. done is true, false if the run is in
-- the wrong status, NULL if there is no such run or step.
create or replace function flowc.do_action(run_id uuid, action text, argument text, out done boolean, out affected int)
language plpgsql as $$
begin
  case do_action.action
    when 'cancel' then done := flowc.cancel_run(do_action.run_id, do_action.argument);
    when 'retry' then done := flowc.retry_run(do_action.run_id);
    when 'retry_step' then done := flowc.retry_step(do_action.run_id, do_action.argument);
    when 'set_priority' then done := flowc.set_priority(do_action.run_id, do_action.argument);
    when 'run_now' then
      affected := flowc.run_now(do_action.run_id, do_action.argument);
      done := true;
  end case;
end $$;

-- Does what was requested of runs, and returns how many requests those were. Runs that
-- somebody else holds are skipped.
create or replace function flowc.apply_requests(flow_slugs text[]) returns int
language plpgsql as $$
declare
  locked uuid[];
  run    uuid;
  n      int := 0;
begin
  if not exists (select from flowc.requests) then
    return 0;
  end if;
  locked := array(
    select l.run_id
    from unnest(apply_requests.flow_slugs) f(slug)
    cross join lateral (
      select r.run_id from (
        select q.run_id from flowc.requests q where q.flow_slug = f.slug and q.error is null and q.turn_key is null order by q.id offset 0) q
      cross join lateral (
        select o.run_id from pgflow.runs o where o.run_id = q.run_id for update skip locked) r
      limit 100) l);
  foreach run in array array(select distinct u.run_id from unnest(locked) u(run_id)) loop
    n := n + flowc.apply_requests_of(run);
  end loop;
  -- Those of runs that were deleted.
  delete from flowc.requests q using unnest(apply_requests.flow_slugs) f(slug)
  where q.flow_slug = any (array[f.slug]) and q.error is null and q.turn_key is null
    and not exists (select from pgflow.runs r where r.run_id = q.run_id offset 0);
  return n;
end $$;

-- Does what was requested of a run that the caller has locked, and returns how many requests
-- those were. What needs a key that somebody else holds is left for later.
create or replace function flowc.apply_requests_of(run_id uuid) returns int
language plpgsql as $$
declare
  asked flowc.requests;
  done  boolean;
  n     int := 0;
begin
  for asked in
    select q.*
    from (select * from flowc.requests o where o.run_id = apply_requests_of.run_id offset 0) q
    where q.error is null and q.turn_key is null order by q.id
  loop
    exit when asked.action in ('retry', 'retry_step') and not flowc.try_lock_key(asked.run_id);
    begin
      select a.done into done from flowc.do_action(asked.run_id, asked.action, asked.argument) a;
      delete from flowc.requests q where q.id = asked.id;
      if done is not true then
        raise log 'flowc: the run % was in the wrong status for what was requested of it: %', asked.run_id, asked.action;
      end if;
    exception when data_exception or integrity_constraint_violation or program_limit_exceeded or raise_exception then
      update flowc.requests q set error = sqlerrm where q.id = asked.id;
    end;
    n := n + 1;
  end loop;
  return n;
end $$;

-- Lists the requests that nobody has applied although they are older than a time, and those
-- that could not be applied, oldest first.
create or replace function flowc.list_requests(before timestamptz, at_most int)
returns table (id bigint, run_id uuid, flow_slug text, action text, argument text, requested_at timestamptz, error text)
language plpgsql stable as $$
#variable_conflict use_column
begin
  return query
    select q.id, q.run_id, q.flow_slug, q.action, q.argument, q.requested_at, q.error
    from flowc.requests q
    where q.error is not null or q.requested_at < list_requests.before and q.turn_key is null
    order by q.id limit list_requests.at_most;
end $$;
