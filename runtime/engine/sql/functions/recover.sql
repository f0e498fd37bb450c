-- Bringing back what a dead worker held.

-- Recovers once: tasks of dead workers are queued again, and suspects that crashed too
-- often fail. Any worker may call it at any time; what another call holds, or anybody
-- else, is passed over. Returns how many workers were found dead.
--
-- The attempt that a death ends does not count. What a worker had in flight that was
-- draining when it died is not suspect: it was stopped.
create or replace function flowc.recover(max_crashes int default 3) returns int
language plpgsql as $$
declare
  dead    uuid[];
  drained uuid[];
  flows   text[];
begin
  with silent as (
    select w.worker_id from pgflow.workers w
    where w.queue_name = '*' and w.stopped_at is null and w.last_heartbeat_at < clock_timestamp() - interval '5 seconds'
    for update skip locked),
  buried as (
    update pgflow.workers w set stopped_at = clock_timestamp() from silent s where w.worker_id = s.worker_id
    returning w.worker_id, w.deprecated_at is not null as draining)
  select array_agg(b.worker_id), coalesce(array_agg(b.worker_id) filter (where b.draining), '{}') into dead, drained from buried b;
  if dead is not null then
    delete from flowc.idle_workers s where s.worker_id = any (dead);
    delete from flowc.extended_leases h where h.worker_id = any (dead);
    with held as ( -- what somebody has locked is being dealt with
      select t.ctid as place, t.last_worker_id as worker_id, t.last_worker_id = any (drained) as innocent
      from pgflow.step_tasks t
      where t.in_queue and t.status = 'started' and t.last_worker_id = any (dead)
      for update skip locked),
    queued as (
      update pgflow.step_tasks t
      set status = 'queued', started_at = null, last_worker_id = null, visible_at = clock_timestamp(),
          due_at = case when t.subqueue = 'd' then clock_timestamp() end,
          requeued_count = t.requeued_count + 1, last_requeued_at = clock_timestamp(),
          subqueue = case when h.innocent then t.subqueue else 's' end
      from held h
      where t.ctid = h.place
      returning t.flow_slug, t.run_id, t.step_slug, t.task_index, h.worker_id, h.innocent),
    suspected as (
      insert into flowc.suspects as s (run_id, step_slug, task_index, group_size, isolated_crashes)
      select q.run_id, q.step_slug, q.task_index, greatest(d.tasks / 2, 1), (d.tasks = 1)::int
      from queued q
      join (select h.worker_id, count(*)::int as tasks from held h group by h.worker_id) d on d.worker_id = q.worker_id
      where not q.innocent
      on conflict on constraint suspects_pkey do update set group_size = excluded.group_size, isolated_crashes = s.isolated_crashes + excluded.isolated_crashes, total_crashes = s.total_crashes + 1)
    select array_agg(distinct q.flow_slug) into flows from queued q;
    perform flowc.wake_flows(coalesce(flows, '{}'));
  end if;
  if exists (select from flowc.suspects) then
    perform flowc.resolve_suspects(recover.max_crashes);
  end if;
  return coalesce(cardinality(dead), 0);
end $$;

-- Fails the suspects that crashed so often, alone; never, if that is negative. Those
-- whose attempts have ended are suspects no more.
create or replace function flowc.resolve_suspects(max_crashes int) returns void
language plpgsql as $$
declare
  suspect record;
  cause   text;
begin
  delete from flowc.suspects s where not exists (
    select from pgflow.step_tasks t
    where t.run_id = s.run_id and t.step_slug = s.step_slug and t.task_index = s.task_index and t.in_queue is not false and t.subqueue = 's' offset 0);
  for suspect in -- the run, then the task
    select o.* from flowc.suspects o
    cross join lateral (select from pgflow.runs r where r.run_id = o.run_id offset 0 for update skip locked) r
    where resolve_suspects.max_crashes >= 0 and o.isolated_crashes >= resolve_suspects.max_crashes
    order by o.run_id limit 1000
  loop
    update pgflow.step_tasks t
    set status = 'failed', failed_at = clock_timestamp(), in_queue = false, archived_at = clock_timestamp(),
        error_message = format('flowc: the worker died %s times while it ran nothing but task %s of step %s', suspect.isolated_crashes, suspect.task_index, suspect.step_slug)
    where t.run_id = suspect.run_id and t.step_slug = suspect.step_slug and t.task_index = suspect.task_index
      and t.status = 'queued' and t.subqueue = 's' and t.in_queue is not false
    returning t.error_message into cause;
    if found then
      perform flowc.fail_or_skip_steps(array[suspect.run_id], array[suspect.step_slug], array[cause], array[o.when_exhausted])
      from pgflow.step_states st
      join pgflow.steps o on o.flow_slug = any (array[st.flow_slug]) and o.step_slug = st.step_slug
      where st.run_id = suspect.run_id and st.step_slug = suspect.step_slug and st.status = 'started';
    end if;
  end loop;
end $$;

-- Whether a worker is one of those that take the suspects of these flows: as many as
-- there are suspects, but no more than half of the workers, so that other work goes on.
create or replace function flowc.should_claim_suspects(worker_id uuid, flow_slugs text[]) returns boolean
language plpgsql stable as $$
declare
  flows   text[];
  waiting bigint;
  before  bigint;
  workers bigint;
begin
  select array_agg(distinct t.flow_slug), count(*) into flows, waiting
  from unnest(should_claim_suspects.flow_slugs) f(slug)
  cross join lateral (
    select o.flow_slug from pgflow.step_tasks o
    where o.flow_slug = f.slug and o.subqueue = 's' and o.in_queue and o.status = 'queued' and o.visible_at <= clock_timestamp()
    limit 100) t
  where not exists (select from flowc.paused_flows p where p.flow_slug = f.slug);
  if waiting = 0 then
    return false;
  end if;
  select count(*) filter (where w.worker_id < should_claim_suspects.worker_id), count(*) into before, workers
  from pgflow.workers w
  where w.queue_name = '*' and w.stopped_at is null and w.deprecated_at is null and w.last_heartbeat_at >= clock_timestamp() - interval '5 seconds'
    and exists (select from flowc.worker_flows s where s.worker_id = w.worker_id and s.flow_slug = any (flows) offset 0);
  return before < greatest(1, least(waiting, workers / 2));
end $$;

-- Ends tasks that stalled once too often: they stay started, marked as permanently
-- stalled, and count as exhausted. Those whose runs somebody else holds are passed over:
-- the next call finds them again.
create or replace function flowc.mark_permanently_stalled(run_ids uuid[], step_slugs text[], task_indexes int[], claim_numbers int[]) returns void
language plpgsql as $$
declare
  locked uuid[] := flowc.lock_runs(mark_permanently_stalled.run_ids, wait => false);
  ended  record;
begin
  for ended in
    update pgflow.step_tasks t set permanently_stalled_at = clock_timestamp(), in_queue = false, archived_at = clock_timestamp()
    from unnest(mark_permanently_stalled.run_ids, mark_permanently_stalled.step_slugs, mark_permanently_stalled.task_indexes, mark_permanently_stalled.claim_numbers) u(run_id, step_slug, task_index, claim_number)
    where u.run_id = any (locked) and t.run_id = any (array[u.run_id]) and t.step_slug = u.step_slug and t.task_index = u.task_index and t.claims_count = u.claim_number
      and t.status = 'started' and t.requeued_count >= 3 and t.permanently_stalled_at is null
    returning t.run_id, t.step_slug, t.task_index
  loop
    perform flowc.fail_or_skip_steps(array[st.run_id], array[st.step_slug],
      array[format('flowc: task %s of step %s stalled: its worker died or overran its timeout 4 times', ended.task_index, ended.step_slug)],
      array[s.when_exhausted])
    from pgflow.step_states st
    join pgflow.runs r on r.run_id = any (array[st.run_id]) and r.status = 'started'
    join pgflow.steps s on s.flow_slug = any (array[st.flow_slug]) and s.step_slug = st.step_slug
    where st.run_id = ended.run_id and st.step_slug = ended.step_slug and st.status = 'started';
  end loop;
end $$;

-- The contract's recovery, by time alone: a task that has been started for longer
-- than its timeout and half a minute is queued again, three times at most. What a
-- worker of this project has in flight is left to its lease while the worker lives: it
-- may be done, and wait to be reported.
create or replace function pgflow.requeue_stalled_tasks() returns int
language plpgsql as $$
declare
  runs    uuid[];
  steps   text[];
  tasks   int[];
  numbers int[];
  flows   text[];
begin
  -- First those to be ended: that takes the locks of their runs, which come before
  -- those of tasks. Whatever is started is in the queue, which is small where the
  -- tables of runs are long.
  select array_agg(t.run_id), array_agg(t.step_slug), array_agg(t.task_index), array_agg(t.claims_count)
  into runs, steps, tasks, numbers
  from pgflow.step_tasks t
  join pgflow.steps s on s.flow_slug = any (array[t.flow_slug]) and s.step_slug = t.step_slug
  join pgflow.flows f on f.flow_slug = any (array[t.flow_slug])
  where t.in_queue and t.status = 'started' and t.requeued_count >= 3 and t.permanently_stalled_at is null
    and t.started_at < now() - make_interval(secs => coalesce(s.opt_timeout, f.opt_timeout) + 30.0::double precision)
    and not flowc.lease_extended(t.last_worker_id, t.message_id);
  if runs is not null then
    perform flowc.mark_permanently_stalled(runs, steps, tasks, numbers);
  end if;

  with stalled as (
    select t.ctid as place
    from pgflow.step_tasks t
    join pgflow.steps s on s.flow_slug = any (array[t.flow_slug]) and s.step_slug = t.step_slug
    join pgflow.flows f on f.flow_slug = any (array[t.flow_slug])
    where t.in_queue and t.status = 'started' and t.requeued_count < 3
      and t.started_at < now() - make_interval(secs => coalesce(s.opt_timeout, f.opt_timeout) + 30.0::double precision)
      and not flowc.lease_extended(t.last_worker_id, t.message_id)
    for update of t skip locked),
  again as (
    update pgflow.step_tasks t
    set status = 'queued', started_at = null, last_worker_id = null, requeued_count = t.requeued_count + 1, last_requeued_at = clock_timestamp(),
        visible_at = clock_timestamp(), due_at = case when t.subqueue = 'd' then clock_timestamp() end
    from stalled s
    where t.ctid = s.place
    returning t.flow_slug)
  select array_agg(a.flow_slug) into flows from again a;
  if flows is null then
    return 0;
  end if;
  perform flowc.wake_workers(flows);
  return cardinality(flows);
end $$;
