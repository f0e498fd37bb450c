-- Waking. A worker that found nothing registers as idle, claims once more, and waits;
-- whoever creates work notifies only if a worker is idle. Likewise, the end of a run is
-- notified only if somebody waits for it.

-- Registers a worker as idle, to be woken, and returns when the next task, scheduled run,
-- schedule or wait of its flows is due, NULL if none is known to be. tried says that the
-- worker has just tried to do what is due, see next_due.
create or replace function flowc.enter_idle(worker_id uuid, flow_slugs text[], tried boolean default false) returns timestamptz
language plpgsql as $$
declare
  next_task timestamptz;
  next_run  timestamptz;
  next_tick timestamptz;
begin
  insert into flowc.idle_workers (flow_slug, worker_id)
  select f.flow_slug, enter_idle.worker_id from pgflow.flows f where f.flow_slug = any (enter_idle.flow_slugs) order by f.flow_slug
  on conflict do nothing;
  -- Expired leases are found when the worker polls.
  select min(t.due_at) into next_task
  from unnest(enter_idle.flow_slugs) f(slug)
  cross join lateral unnest(flowc.priorities_in_use(f.slug)) p(priority)
  cross join lateral (
    select o.due_at from pgflow.step_tasks o
    where o.flow_slug = f.slug and o.in_queue and o.subqueue = 'd' and o.priority = p.priority and o.due_at > clock_timestamp()
    order by o.due_at limit 1) t;
  select min(s.due_at) into next_run
  from unnest(enter_idle.flow_slugs) f(slug)
  cross join lateral (
    select d.due_at from flowc.scheduled_runs d where d.flow_slug = f.slug and d.turn_key is null order by d.due_at limit 1) s;
  select min(s.next_at) into next_tick
  from unnest(enter_idle.flow_slugs) f(slug) join flowc.schedules s on s.flow_slug = f.slug and s.suspended_by is null;
  return least(next_task, next_run, next_tick, flowc.next_due(enter_idle.flow_slugs, enter_idle.tried),
    case when exists (select from flowc.gates) then flowc.next_turn(enter_idle.flow_slugs) end);
end $$;

-- Removes a worker from the idle ones.
create or replace function flowc.leave_idle(worker_id uuid) returns void
language plpgsql as $$
begin
  delete from flowc.idle_workers s where s.worker_id = leave_idle.worker_id;
end $$;

-- Wakes the idle workers of flows.
create or replace function flowc.wake_flows(flow_slugs text[]) returns void
language plpgsql as $$
begin
  perform pg_notify('flowc_work', f.slug)
  from unnest(wake_flows.flow_slugs) f(slug)
  where exists (select from flowc.idle_workers s where s.flow_slug = f.slug);
end $$;

-- Wakes the idle workers of a flow for which a row was inserted, when the transaction
-- commits: that may be long after, and other workers may be idle then.
create or replace function flowc.wake_at_commit() returns trigger
language plpgsql as $$
begin
  perform flowc.wake_flows(array[new.flow_slug]);
  return null;
end $$;

do $$
begin
  if not exists (select from pg_trigger t where t.tgname = 'wake' and t.tgrelid = 'flowc.signals'::regclass) then
    create constraint trigger wake after insert on flowc.signals deferrable initially deferred
    for each row when (new.pending_at is not null) execute function flowc.wake_at_commit();
    create constraint trigger wake after insert on flowc.keyed_signals deferrable initially deferred
    for each row execute function flowc.wake_at_commit();
    create constraint trigger wake after insert on flowc.requests deferrable initially deferred
    for each row execute function flowc.wake_at_commit();
  end if;
end $$;

-- Wakes the idle workers of flows that have new tasks, unless a claim follows in the same
-- transaction.
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

-- Registers that somebody waits for the end of a run, unless it has ended. The waiter then
-- looks at the run once more, and waits. The run is locked, since whoever ends it looks for
-- waiters some time before its end is visible.
create or replace function flowc.await_run(run_id uuid) returns void
language plpgsql as $$
begin
  insert into flowc.run_waiters (run_id)
  select r.run_id from pgflow.runs r where r.run_id = await_run.run_id and r.status = 'started'
  for share
  on conflict do nothing;
end $$;

-- Emits the events of runs that ended, and notifies who waits for them.
create or replace function flowc.notify_run_end(run_ids uuid[]) returns void
language plpgsql as $$
declare
  awaited uuid[];
begin
  if to_regnamespace('realtime') is not null then
    perform flowc.emit_runs(notify_run_end.run_ids);
  end if;
  if not exists (select from flowc.run_waiters) then
    return;
  end if;
  with woken as (
    delete from flowc.run_waiters w using unnest(notify_run_end.run_ids) u(run_id) where w.run_id = any (array[u.run_id]) returning w.run_id)
  select array_agg(w.run_id) into awaited from woken w;
  if awaited is not null then
    -- Hashed, since anybody may listen, and whoever knows the id of a run may read it.
    perform pg_notify('flowc_done', encode(sha256(uuid_send(w.run_id)), 'hex')) from unnest(awaited) w(run_id);
  end if;
end $$;
