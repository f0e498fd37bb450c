-- Workers: their rows, their leases, and waking them.

create or replace function flowc.register_worker(worker_id uuid, name text, flow_slugs text[]) returns void
language plpgsql as $$
begin
  insert into pgflow.workers as w (worker_id, queue_name, function_name)
  values (register_worker.worker_id, '*', register_worker.name)
  on conflict on constraint workers_pkey do update
  set queue_name = '*', function_name = excluded.function_name, stopped_at = null, last_heartbeat_at = clock_timestamp();
  delete from flowc.served s where s.worker_id = register_worker.worker_id and s.flow_slug <> all (register_worker.flow_slugs);
  insert into flowc.served (worker_id, flow_slug)
  select register_worker.worker_id, f.slug from unnest(register_worker.flow_slugs) f(slug)
  on conflict do nothing;
end $$;

create or replace function flowc.stop_worker(worker_id uuid) returns void
language plpgsql as $$
begin
  delete from flowc.sleepers s where s.worker_id = stop_worker.worker_id;
  perform pgflow.mark_worker_stopped(stop_worker.worker_id);
end $$;

-- Says that a worker lives, and tells it which of the tasks it holds are no longer
-- its own: taken over, cancelled, or of a step or run that is over. `deprecated`
-- is NULL if the worker has no row any more and should register again; `silent`
-- is how many seconds ago it last said that it lives. `dead` says that recover would
-- find something, `due` that start_due would, in these flows.
create or replace function flowc.heartbeat(
  worker_id uuid, message_ids bigint[], attempts int[], flow_slugs text[] default '{}',
  out lost bigint[], out deprecated boolean, out silent double precision, out dead boolean, out due boolean)
language plpgsql as $$
begin
  select extract(epoch from clock_timestamp() - w.last_heartbeat_at) into silent from pgflow.workers w where w.worker_id = heartbeat.worker_id;
  update pgflow.workers w set last_heartbeat_at = clock_timestamp(), stopped_at = null
  where w.worker_id = heartbeat.worker_id
  returning w.deprecated_at is not null into deprecated;
  select coalesce(array_agg(u.message_id), '{}') into lost
  from unnest(heartbeat.message_ids, heartbeat.attempts) u(message_id, attempt)
  where not exists (
    select from pgflow.step_tasks t
    join pgflow.runs r on r.run_id = any (array[t.run_id]) and r.status = 'started'
    join pgflow.step_states st on st.run_id = any (array[t.run_id]) and st.step_slug = t.step_slug and st.status = 'started'
    where t.message_id = any (array[u.message_id]) and t.status = 'started' and t.attempts_count = u.attempt and t.last_worker_id = heartbeat.worker_id);
  dead := exists (select from flowc.stalled) or exists (
    select from pgflow.workers w
    where w.queue_name = '*' and w.stopped_at is null and w.last_heartbeat_at < clock_timestamp() - interval '5 seconds');
  due := exists (
      select from unnest(heartbeat.flow_slugs) f(slug)
      join flowc.scheduled d on d.flow_slug = any (array[f.slug]) and d.due_at <= clock_timestamp())
    or exists (
      select from flowc.schedules d
      where (d.next_at <= clock_timestamp() or d.computed_at > clock_timestamp()) and d.flow_slug = any (heartbeat.flow_slugs));
end $$;

-- Gives tasks back untried: queued at once, the attempt not counted. A task that
-- somebody has locked is being reported, taken over or deleted.
create or replace function flowc.release(worker_id uuid, message_ids bigint[], attempts int[]) returns int
language plpgsql as $$
declare
  runs     uuid[];
  queues   text[];
  messages bigint[];
begin
  with mine as (
    select t.run_id, t.step_slug, t.task_index
    from unnest(release.message_ids, release.attempts) u(message_id, attempt)
    join pgflow.step_tasks t on t.message_id = any (array[u.message_id])
    join flowc.queue q on q.queue_name = any (array[t.flow_slug]) and q.msg_id = u.message_id
    where t.attempts_count = u.attempt and t.last_worker_id = release.worker_id and t.status = 'started'
    for update of q, t skip locked),
  given as (
    update pgflow.step_tasks t
    set status = 'queued', started_at = null, last_worker_id = null, attempts_count = t.attempts_count - 1
    from mine m
    where t.run_id = any (array[m.run_id]) and t.step_slug = m.step_slug and t.task_index = m.task_index
    returning t.flow_slug, t.message_id, t.run_id)
  select array_agg(g.run_id), array_agg(g.flow_slug), array_agg(g.message_id) into runs, queues, messages from given g;
  if runs is null then
    return 0;
  end if;
  perform flowc.show_messages(queues, messages);
  perform flowc.wake_workers(runs);
  return cardinality(runs);
end $$;

-- Gives back every task of a worker whose message is not among these: what a
-- claim took whose reply was lost. It reads the whole queue.
create or replace function flowc.release_unknown(worker_id uuid, message_ids bigint[]) returns int
language plpgsql as $$
declare
  unknown bigint[];
  tries   int[];
begin
  select array_agg(t.message_id), array_agg(t.attempts_count) into unknown, tries
  from flowc.queue q
  join pgflow.step_tasks t on t.message_id = any (array[q.msg_id]) and t.flow_slug = q.queue_name
  where q.worker_id = release_unknown.worker_id and t.last_worker_id = release_unknown.worker_id and t.status = 'started'
    and q.msg_id <> all (release_unknown.message_ids);
  return case when unknown is null then 0 else flowc.release(release_unknown.worker_id, unknown, tries) end;
end $$;

-- Waking. A worker that found nothing says so, claims once more, and waits;
-- whoever makes work notifies only if somebody waits for work of that flow.

-- Returns when the next message, scheduled run or schedule of the flows is due, if
-- any is known to be.
create or replace function flowc.sleep(worker_id uuid, flow_slugs text[]) returns timestamptz
language plpgsql as $$
declare
  next_message timestamptz;
  next_run     timestamptz;
  next_tick    timestamptz;
begin
  insert into flowc.sleepers (flow_slug, worker_id)
  select f.slug, sleep.worker_id from unnest(sleep.flow_slugs) f(slug) order by f.slug
  on conflict do nothing;
  -- A look at the oldest is enough: the worker polls besides.
  select min(m.vt) into next_message
  from unnest(sleep.flow_slugs) f(slug)
  cross join lateral (
    select q.vt from (
      select o.vt from flowc.queue o where o.queue_name = f.slug order by o.msg_id limit 200) q
    where q.vt > clock_timestamp()) m;
  select min(s.due_at) into next_run
  from unnest(sleep.flow_slugs) f(slug)
  cross join lateral (
    select d.due_at from flowc.scheduled d where d.flow_slug = f.slug order by d.due_at limit 1) s;
  select min(s.next_at) into next_tick
  from unnest(sleep.flow_slugs) f(slug) join flowc.schedules s on s.flow_slug = f.slug;
  return least(next_message, next_run, next_tick);
end $$;

create or replace function flowc.awake(worker_id uuid) returns void
language plpgsql as $$
begin
  delete from flowc.sleepers s where s.worker_id = awake.worker_id;
end $$;

create or replace function flowc.wake_flows(flow_slugs text[]) returns void
language plpgsql as $$
begin
  perform pg_notify('flowc_work', f.slug)
  from unnest(wake_flows.flow_slugs) f(slug)
  where exists (select from flowc.sleepers s where s.flow_slug = f.slug);
end $$;

create or replace function flowc.wake_workers(run_ids uuid[]) returns void
language plpgsql as $$
begin
  if exists (select from flowc.sleepers) and current_setting('flowc.quiet', true) is distinct from 'on' then
    perform flowc.wake_flows(array(
      select distinct r.flow_slug from unnest(wake_workers.run_ids) u(run_id) join pgflow.runs r on r.run_id = any (array[u.run_id])));
  end if;
end $$;

-- A waiter calls this, looks at the run once more, and waits. Of a run that has
-- ended nothing is left behind. The run is locked, since whoever ends it looks for
-- waiters some time before that can be seen.
create or replace function flowc.await_run(run_id uuid) returns void
language plpgsql as $$
begin
  insert into flowc.waiters (run_id)
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
