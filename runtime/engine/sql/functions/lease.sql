-- Leases: who owns a claimed task, for how long, and what happens when its worker dies.

-- Returns the time before which the last heartbeat of a dead worker was: five seconds ago.
create or replace function flowc.silent_before() returns timestamptz
language sql volatile parallel safe
return clock_timestamp() - interval '5 seconds';

-- Records that a worker is alive and still holds these tasks, and returns which of them it
-- has lost: they were reclaimed or cancelled, or their step or run has ended. deprecated
-- is NULL if the worker has no row any more and should register again; silent is how many
-- seconds ago its last heartbeat was. dead says that recover would find something, due
-- that start_due would in the flows that it serves, and suspects that this worker is to
-- claim some, see claim_suspects.
create or replace function flowc.heartbeat(
  worker_id uuid, flow_slugs text[], message_ids bigint[], claim_numbers int[], served text[] default '{}',
  out lost bigint[], out deprecated boolean, out silent double precision, out dead boolean, out due boolean, out suspects boolean)
language plpgsql as $$
declare
  expiring bigint[];
begin
  select extract(epoch from clock_timestamp() - w.last_heartbeat_at) into silent from pgflow.workers w where w.worker_id = heartbeat.worker_id;
  if silent < -1 and exists (select from flowc.gates) then -- the clock was set back: turns that are due later may be due now
    perform flowc.look_again(g.name) from flowc.gates g;
  end if;
  update pgflow.workers w set last_heartbeat_at = clock_timestamp(), stopped_at = null
  where w.worker_id = heartbeat.worker_id
  returning w.deprecated_at is not null into deprecated;
  select coalesce(array_agg(u.message_id), '{}') into lost
  from unnest(heartbeat.flow_slugs, heartbeat.message_ids, heartbeat.claim_numbers) u(flow_slug, message_id, claim_number)
  where not exists (
    select from unnest(flowc.subqueues()) c(subqueue)
    cross join lateral (
      select from pgflow.step_tasks t
      where t.flow_slug = u.flow_slug and t.subqueue = c.subqueue and t.message_id = u.message_id and t.in_queue
        and flowc.is_owned(t, u.message_id, u.claim_number, heartbeat.worker_id) offset 0) t);
  -- Leases that end soon are extended until the worker has reported, see
  -- flowc.extended_leases.
  expiring := array(
    select u.message_id
    from unnest(heartbeat.flow_slugs, heartbeat.message_ids, heartbeat.claim_numbers) u(flow_slug, message_id, claim_number)
    where exists (
      select from unnest(flowc.subqueues()) c(subqueue)
      cross join lateral (
        select from pgflow.step_tasks t
        where t.flow_slug = u.flow_slug and t.subqueue = c.subqueue and t.message_id = u.message_id and t.in_queue
          and t.visible_at < clock_timestamp() + interval '10 seconds'
          and flowc.is_owned(t, u.message_id, u.claim_number, heartbeat.worker_id) offset 0) t));
  if expiring = '{}' then
    delete from flowc.extended_leases h where h.worker_id = heartbeat.worker_id;
  else
    insert into flowc.extended_leases (worker_id, message_ids) values (heartbeat.worker_id, expiring)
    on conflict on constraint extended_leases_pkey do update set message_ids = excluded.message_ids;
  end if;
  dead := exists (select from flowc.suspects) or exists (
    select from pgflow.workers w
    where w.queue_name = '*' and w.stopped_at is null and w.last_heartbeat_at < flowc.silent_before())
    or exists (select from flowc.gates) and flowc.dead_holders() <> '{}';
  suspects := exists (select from flowc.suspects) and flowc.should_claim_suspects(heartbeat.worker_id, heartbeat.served);
  due := exists (
      select from unnest(heartbeat.served) f(slug)
      join flowc.scheduled_runs d on d.flow_slug = any (array[f.slug]) and d.turn_key is null and d.due_at <= clock_timestamp())
    or exists (
      select from flowc.schedules d
      where (d.next_at <= clock_timestamp() or d.computed_at > clock_timestamp()) and d.suspended_by is null and d.flow_slug = any (heartbeat.served))
    or flowc.is_due(heartbeat.served)
    or exists (select from flowc.gates) and flowc.can_begin_runs(heartbeat.served);
end $$;

-- Reports whether a worker that is alive has extended its lease on a task.
create or replace function flowc.lease_extended(worker_id uuid, message_id bigint) returns boolean
language plpgsql stable as $$
begin
  return exists (select from flowc.extended_leases h where h.worker_id = lease_extended.worker_id and lease_extended.message_id = any (h.message_ids))
    and exists (
      select from pgflow.workers w
      where w.worker_id = lease_extended.worker_id and w.stopped_at is null and w.last_heartbeat_at >= flowc.silent_before());
end $$;

-- Releases tasks: they are queued again at once, and the attempt does not count. kept[i] is
-- what the handler left for the next attempt. Returns how many are still the worker's because
-- somebody has locked them, to be released again: a claim that came a moment too late for a
-- task holds its lock until the end of its transaction.
create or replace function flowc.release(worker_id uuid, flow_slugs text[], message_ids bigint[], claim_numbers int[], kept jsonb[] default null) returns int
language plpgsql as $$
declare
  flows text[];
begin
  if exists (select from flowc.gates) then
    perform flowc.leave_gates(release.worker_id, release.message_ids, release.claim_numbers);
  end if;
  with owned as (
    select t.tid, u.kept
    from unnest(release.flow_slugs, release.message_ids, release.claim_numbers, release.kept) u(flow_slug, message_id, claim_number, kept)
    cross join lateral (
      select l.tid from unnest(flowc.subqueues()) c(subqueue)
      cross join lateral (
        select o.ctid as tid from pgflow.step_tasks o
        where o.flow_slug = u.flow_slug and o.subqueue = c.subqueue and o.message_id = u.message_id and o.in_queue
          and flowc.is_owned(o, u.message_id, u.claim_number, release.worker_id)
        for update skip locked) l
      limit 1) t),
  released as (
    update pgflow.step_tasks t
    set status = 'queued', started_at = null, last_worker_id = null, attempts_count = t.attempts_count - 1, visible_at = clock_timestamp(),
        due_at = flowc.due_now(t.subqueue)
    from owned o
    where t.ctid = o.tid
    returning t.flow_slug, t.run_id, t.step_slug, t.task_index, o.kept),
  carried as (
    insert into flowc.carried as c (run_id, step_slug, task_index, value)
    select r.run_id, r.step_slug, r.task_index, r.kept from released r where r.kept is not null
    on conflict on constraint carried_pkey do update set value = excluded.value)
  select array_agg(r.flow_slug) into flows from released r;
  if flows is not null then
    perform flowc.wake_workers(flows);
  end if;
  if cardinality(flows) = cardinality(release.message_ids) then
    return 0;
  end if;
  return (
    select count(*) from unnest(release.flow_slugs, release.message_ids, release.claim_numbers) u(flow_slug, message_id, claim_number)
    where exists (
      select from unnest(flowc.subqueues()) c(subqueue)
      cross join lateral (
        select from pgflow.step_tasks t
        where t.flow_slug = u.flow_slug and t.subqueue = c.subqueue and t.message_id = u.message_id and t.in_queue
          and flowc.is_owned(t, u.message_id, u.claim_number, release.worker_id) offset 0) t));
end $$;

-- Releases all tasks of a worker but those with these messages: those of claims whose
-- replies were lost. It reads the whole queue. Returns how many are still the worker's, as
-- release does.
create or replace function flowc.release_unknown(worker_id uuid, message_ids bigint[]) returns int
language plpgsql as $$
declare
  flows   text[];
  unknown bigint[];
  claims  int[];
begin
  select array_agg(t.flow_slug), array_agg(t.message_id), array_agg(t.claims_count) into flows, unknown, claims
  from pgflow.step_tasks t
  where t.in_queue and t.last_worker_id = release_unknown.worker_id and t.status = 'started' and t.message_id <> all (release_unknown.message_ids);
  return case when unknown is null then 0 else flowc.release(release_unknown.worker_id, flows, unknown, claims) end;
end $$;

-- Reports whether a claim may reclaim a task whose lease has expired: one of a worker of
-- this project that has not extended its lease, or of a worker that has no row any more.
-- A task of a worker in another language is hidden for a while: it is left to
-- requeue_stalled_tasks.
create or replace function flowc.reclaim(task tid, now_at timestamptz) returns boolean
language plpgsql as $$
declare
  t pgflow.step_tasks;
begin
  select o.* into t from pgflow.step_tasks o where o.ctid = reclaim.task;
  if t.status = 'started' and coalesce((select w.queue_name = '*' from pgflow.workers w where w.worker_id = t.last_worker_id), true)
    and not flowc.lease_extended(t.last_worker_id, t.message_id) then
    return true;
  end if;
  -- What has ended leaves the queue.
  update pgflow.step_tasks o
  set visible_at = reclaim.now_at + interval '10 seconds', in_queue = t.status = 'started',
      archived_at = case when t.status <> 'started' then clock_timestamp() end
  where o.ctid = reclaim.task;
  return false;
end $$;

-- Recovers from the death of workers: their tasks are queued again, and suspects that
-- crashed too often fail. Any worker may call it at any time; rows that others hold are
-- skipped. Returns how many workers were found dead.
--
-- The attempt that a death ends does not count. If a worker died while it was draining,
-- its tasks are no suspects: it was stopped.
create or replace function flowc.recover(max_crashes int default 3) returns int
language plpgsql as $$
declare
  dead    uuid[];
  drained uuid[];
  flows   text[];
begin
  with silent as (
    select w.worker_id from pgflow.workers w
    where w.queue_name = '*' and w.stopped_at is null and w.last_heartbeat_at < flowc.silent_before()
    for update skip locked),
  marked_dead as (
    update pgflow.workers w set stopped_at = clock_timestamp() from silent s where w.worker_id = s.worker_id
    returning w.worker_id, w.deprecated_at is not null as draining)
  select array_agg(b.worker_id), coalesce(array_agg(b.worker_id) filter (where b.draining), '{}') into dead, drained from marked_dead b;
  if dead is not null then
    delete from flowc.idle_workers s where s.worker_id = any (dead);
    delete from flowc.extended_leases h where h.worker_id = any (dead);
    with held as ( -- what somebody has locked waits for the end of its lease
      select t.ctid as tid, t.last_worker_id as worker_id, t.last_worker_id = any (drained) as drained
      from pgflow.step_tasks t
      where t.in_queue and t.status = 'started' and t.last_worker_id = any (dead)
      for update skip locked),
    queued as (
      update pgflow.step_tasks t
      set status = 'queued', started_at = null, last_worker_id = null, visible_at = clock_timestamp(),
          due_at = flowc.due_now(t.subqueue),
          requeued_count = t.requeued_count + 1, last_requeued_at = clock_timestamp(),
          subqueue = case when h.drained then t.subqueue else 's' end
      from held h
      where t.ctid = h.tid
      returning t.flow_slug, t.run_id, t.step_slug, t.task_index, h.worker_id, h.drained),
    suspected as (
      insert into flowc.suspects as s (run_id, step_slug, task_index, group_size, isolated_crashes)
      select q.run_id, q.step_slug, q.task_index, greatest(d.tasks / 2, 1), (d.tasks = 1)::int
      from queued q
      join (select h.worker_id, count(*)::int as tasks from held h group by h.worker_id) d on d.worker_id = q.worker_id
      where not q.drained
      on conflict on constraint suspects_pkey do update
      set group_size = excluded.group_size, isolated_crashes = s.isolated_crashes + excluded.isolated_crashes, total_crashes = s.total_crashes + 1)
    select array_agg(distinct q.flow_slug) into flows from queued q;
    perform flowc.wake_flows(coalesce(flows, '{}'));
  end if;
  if exists (select from flowc.gates) then
    perform flowc.leave_for_dead();
  end if;
  if exists (select from flowc.suspects) then
    perform flowc.resolve_suspects(recover.max_crashes);
  end if;
  return coalesce(cardinality(dead), 0);
end $$;
