-- Workers: their rows, their leases, and waking them.

create or replace function flowc.register_worker(worker_id uuid, name text, flow_slugs text[]) returns void
language plpgsql as $$
begin
  insert into pgflow.workers as w (worker_id, queue_name, function_name)
  values (register_worker.worker_id, '*', register_worker.name)
  on conflict on constraint workers_pkey do update
  set queue_name = '*', function_name = excluded.function_name, stopped_at = null, last_heartbeat_at = clock_timestamp();
  delete from flowc.worker_flows s where s.worker_id = register_worker.worker_id and s.flow_slug <> all (register_worker.flow_slugs);
  insert into flowc.worker_flows (worker_id, flow_slug)
  select register_worker.worker_id, f.flow_slug from pgflow.flows f where f.flow_slug = any (register_worker.flow_slugs)
  on conflict do nothing;
end $$;

-- Says that a worker claims no more and ends soon: what it has in flight is not
-- suspect if it does not get to the end.
create or replace function flowc.drain_worker(worker_id uuid) returns void
language plpgsql as $$
begin
  update pgflow.workers w set deprecated_at = coalesce(w.deprecated_at, clock_timestamp()) where w.worker_id = drain_worker.worker_id;
end $$;

create or replace function flowc.stop_worker(worker_id uuid) returns void
language plpgsql as $$
begin
  delete from flowc.idle_workers s where s.worker_id = stop_worker.worker_id;
  delete from flowc.extended_leases h where h.worker_id = stop_worker.worker_id;
  perform pgflow.mark_worker_stopped(stop_worker.worker_id);
end $$;

-- Says that a worker lives and goes on holding its tasks, and tells it which are no longer
-- its own: taken over, cancelled, or of a step or run that is over, and so out of the
-- queue. `deprecated`
-- is NULL if the worker has no row any more and should register again; `silent`
-- is how many seconds ago it last said that it lives. `dead` says that recover would
-- find something, `due` that start_due would, in the flows it has served, and
-- `suspects` that this worker is to take some, see claim_suspects.
create or replace function flowc.heartbeat(
  worker_id uuid, flow_slugs text[], message_ids bigint[], claim_numbers int[], served text[] default '{}',
  out lost bigint[], out deprecated boolean, out silent double precision, out dead boolean, out due boolean, out suspects boolean)
language plpgsql as $$
declare
  held bigint[];
begin
  select extract(epoch from clock_timestamp() - w.last_heartbeat_at) into silent from pgflow.workers w where w.worker_id = heartbeat.worker_id;
  update pgflow.workers w set last_heartbeat_at = clock_timestamp(), stopped_at = null
  where w.worker_id = heartbeat.worker_id
  returning w.deprecated_at is not null into deprecated;
  select coalesce(array_agg(u.message_id), '{}') into lost
  from unnest(heartbeat.flow_slugs, heartbeat.message_ids, heartbeat.claim_numbers) u(flow_slug, message_id, claim_number)
  where not exists (
    select from unnest('{r,d,s}'::"char"[]) c(class)
    cross join lateral (
      select from pgflow.step_tasks t
      where t.flow_slug = u.flow_slug and t.subqueue = c.class and t.message_id = u.message_id and t.in_queue
        and t.status = 'started' and t.claims_count = u.claim_number and t.last_worker_id = heartbeat.worker_id offset 0) t);
  -- What may be taken over soon is the worker's until it has reported it, see
  -- flowc.extended_leases.
  held := array(
    select u.message_id
    from unnest(heartbeat.flow_slugs, heartbeat.message_ids, heartbeat.claim_numbers) u(flow_slug, message_id, claim_number)
    where exists (
      select from unnest('{r,d,s}'::"char"[]) c(class)
      cross join lateral (
        select from pgflow.step_tasks t
        where t.flow_slug = u.flow_slug and t.subqueue = c.class and t.message_id = u.message_id and t.in_queue and t.visible_at < clock_timestamp() + interval '10 seconds'
          and t.status = 'started' and t.claims_count = u.claim_number and t.last_worker_id = heartbeat.worker_id offset 0) t));
  if held = '{}' then
    delete from flowc.extended_leases h where h.worker_id = heartbeat.worker_id;
  else
    insert into flowc.extended_leases (worker_id, message_ids) values (heartbeat.worker_id, held)
    on conflict on constraint extended_leases_pkey do update set message_ids = excluded.message_ids;
  end if;
  dead := exists (select from flowc.suspects) or exists (
    select from pgflow.workers w
    where w.queue_name = '*' and w.stopped_at is null and w.last_heartbeat_at < clock_timestamp() - interval '5 seconds');
  suspects := exists (select from flowc.suspects) and flowc.should_claim_suspects(heartbeat.worker_id, heartbeat.served);
  due := exists (
      select from unnest(heartbeat.served) f(slug)
      join flowc.scheduled_runs d on d.flow_slug = any (array[f.slug]) and d.due_at <= clock_timestamp())
    or exists (
      select from flowc.schedules d
      where (d.next_at <= clock_timestamp() or d.computed_at > clock_timestamp()) and d.flow_slug = any (heartbeat.served));
end $$;

-- Reports whether a worker that lives holds a task although its lease is over.
create or replace function flowc.lease_extended(worker_id uuid, message_id bigint) returns boolean
language plpgsql stable as $$
begin
  return exists (select from flowc.extended_leases h where h.worker_id = lease_extended.worker_id and lease_extended.message_id = any (h.message_ids))
    and exists (
      select from pgflow.workers w
      where w.worker_id = lease_extended.worker_id and w.stopped_at is null and w.last_heartbeat_at > clock_timestamp() - interval '5 seconds');
end $$;

-- Gives tasks back: queued at once, the attempt not counted. A task that somebody has
-- locked is being reported, taken over or deleted.
create or replace function flowc.release(worker_id uuid, flow_slugs text[], message_ids bigint[], claim_numbers int[]) returns int
language plpgsql as $$
declare
  flows text[];
begin
  with mine as (
    select t.place
    from unnest(release.flow_slugs, release.message_ids, release.claim_numbers) u(flow_slug, message_id, claim_number)
    cross join unnest('{r,d,s}'::"char"[]) c(class)
    cross join lateral (
      select o.ctid as place from pgflow.step_tasks o
      where o.flow_slug = u.flow_slug and o.subqueue = c.class and o.message_id = u.message_id and o.in_queue
        and o.claims_count = u.claim_number and o.last_worker_id = release.worker_id and o.status = 'started'
      for update skip locked) t),
  given as (
    update pgflow.step_tasks t
    set status = 'queued', started_at = null, last_worker_id = null, attempts_count = t.attempts_count - 1, visible_at = clock_timestamp(),
        due_at = case when t.subqueue = 'd' then clock_timestamp() end
    from mine m
    where t.ctid = m.place
    returning t.flow_slug)
  select array_agg(g.flow_slug) into flows from given g;
  if flows is null then
    return 0;
  end if;
  perform flowc.wake_workers(flows);
  return cardinality(flows);
end $$;

-- Gives back every task of a worker whose message is not among these: what a
-- claim took whose reply was lost. It reads the whole queue.
create or replace function flowc.release_unknown(worker_id uuid, message_ids bigint[]) returns int
language plpgsql as $$
declare
  flows   text[];
  unknown bigint[];
  numbers int[];
begin
  select array_agg(t.flow_slug), array_agg(t.message_id), array_agg(t.claims_count) into flows, unknown, numbers
  from pgflow.step_tasks t
  where t.in_queue and t.last_worker_id = release_unknown.worker_id and t.status = 'started' and t.message_id <> all (release_unknown.message_ids);
  return case when unknown is null then 0 else flowc.release(release_unknown.worker_id, flows, unknown, numbers) end;
end $$;

-- Waking. A worker that found nothing says so, claims once more, and waits;
-- whoever makes work notifies only if somebody waits for work of that flow.

-- Returns when the next task, scheduled run or schedule of the flows is due, if
-- any is known to be.
create or replace function flowc.enter_idle(worker_id uuid, flow_slugs text[]) returns timestamptz
language plpgsql as $$
declare
  next_task timestamptz;
  next_run  timestamptz;
  next_tick timestamptz;
begin
  insert into flowc.idle_workers (flow_slug, worker_id)
  select f.flow_slug, enter_idle.worker_id from pgflow.flows f where f.flow_slug = any (enter_idle.flow_slugs) order by f.flow_slug
  on conflict do nothing;
  -- A lease that expires is seen when the worker polls.
  select min(t.due_at) into next_task
  from unnest(enter_idle.flow_slugs) f(slug)
  cross join lateral (
    select o.due_at from pgflow.step_tasks o
    where o.flow_slug = f.slug and o.in_queue and o.subqueue = 'd' and o.due_at > clock_timestamp()
    order by o.due_at limit 1) t;
  select min(s.due_at) into next_run
  from unnest(enter_idle.flow_slugs) f(slug)
  cross join lateral (
    select d.due_at from flowc.scheduled_runs d where d.flow_slug = f.slug order by d.due_at limit 1) s;
  select min(s.next_at) into next_tick
  from unnest(enter_idle.flow_slugs) f(slug) join flowc.schedules s on s.flow_slug = f.slug;
  return least(next_task, next_run, next_tick);
end $$;

create or replace function flowc.leave_idle(worker_id uuid) returns void
language plpgsql as $$
begin
  delete from flowc.idle_workers s where s.worker_id = leave_idle.worker_id;
end $$;

create or replace function flowc.wake_flows(flow_slugs text[]) returns void
language plpgsql as $$
begin
  perform pg_notify('flowc_work', f.slug)
  from unnest(wake_flows.flow_slugs) f(slug)
  where exists (select from flowc.idle_workers s where s.flow_slug = f.slug);
end $$;

-- Tells of new work, unless a claim follows in the same transaction.
create or replace function flowc.wake_workers(flow_slugs text[]) returns void
language plpgsql as $$
begin
  if current_setting('flowc.suppress_notify', true) = 'on' then
    return;
  end if;
  if exists (select from flowc.idle_workers) then
    perform flowc.wake_flows(array(select distinct f.slug from unnest(wake_workers.flow_slugs) f(slug)));
  end if;
end $$;

-- A waiter calls this, looks at the run once more, and waits. Of a run that has
-- ended nothing is left behind. The run is locked, since whoever ends it looks for
-- waiters some time before that can be seen.
create or replace function flowc.await_run(run_id uuid) returns void
language plpgsql as $$
begin
  insert into flowc.run_waiters (run_id)
  select r.run_id from pgflow.runs r where r.run_id = await_run.run_id and r.status = 'started'
  for share
  on conflict do nothing;
end $$;

-- The contract --------------------------------------------------------------------

create or replace function pgflow.mark_worker_stopped(worker_id uuid) returns void
language plpgsql as $$
begin
  update pgflow.workers w set stopped_at = clock_timestamp() where w.worker_id = mark_worker_stopped.worker_id;
end $$;

create or replace function pgflow.track_worker_function(function_name text) returns void
language plpgsql as $$
begin
  insert into pgflow.worker_functions as f (function_name, updated_at) values (track_worker_function.function_name, clock_timestamp())
  on conflict on constraint worker_functions_pkey do update set updated_at = clock_timestamp();
end $$;
