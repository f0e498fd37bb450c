-- Bringing back what a dead worker held.

-- Sweeps once: tasks of dead workers become visible, and tasks that were taken
-- over too often end. Any worker may call it at any time; what another sweep
-- holds is passed over. Returns how many workers were found dead.
create or replace function flowc.recover() returns int
language plpgsql as $$
declare
  dead  uuid[];
  flows text[];
  runs  uuid[];
  steps text[];
  tasks int[];
  tries int[];
begin
  with silent as (
    select w.worker_id from pgflow.workers w
    where w.queue_name = '*' and w.stopped_at is null and w.last_heartbeat_at < clock_timestamp() - interval '5 seconds'
    for update skip locked),
  buried as (
    update pgflow.workers w set stopped_at = clock_timestamp() from silent s where w.worker_id = s.worker_id returning w.worker_id)
  select array_agg(b.worker_id) into dead from buried b;
  if dead is not null then
    delete from flowc.sleepers s where s.worker_id = any (dead);
    delete from flowc.holds h where h.worker_id = any (dead);
    with held as ( -- what somebody has locked is being dealt with
      select t.ctid as place from pgflow.step_tasks t
      where t.in_queue and t.status = 'started' and t.last_worker_id = any (dead) and t.visible_at > clock_timestamp()
      for update skip locked),
    shown as (
      update pgflow.step_tasks t set visible_at = clock_timestamp() from held h where t.ctid = h.place returning t.flow_slug)
    select array_agg(distinct s.flow_slug) into flows from shown s;
    perform flowc.wake_flows(coalesce(flows, '{}'));
  end if;

  with taken as (
    select s.run_id, s.step_slug, s.task_index from flowc.stalled s limit 1000 for update skip locked),
  gone as (
    delete from flowc.stalled s using taken t
    where s.run_id = any (array[t.run_id]) and s.step_slug = t.step_slug and s.task_index = t.task_index
    returning s.*)
  select array_agg(g.run_id), array_agg(g.step_slug), array_agg(g.task_index), array_agg(g.attempt)
  into runs, steps, tasks, tries from gone g;
  if runs is not null then
    perform flowc.end_stalled(runs, steps, tasks, tries);
  end if;
  return coalesce(cardinality(dead), 0);
end $$;

-- Ends tasks whose workers died once too often: they stay started, marked as
-- permanently stalled, and count as exhausted. Those whose runs somebody else holds
-- are passed over: the next sweep finds them again.
create or replace function flowc.end_stalled(run_ids uuid[], step_slugs text[], task_indexes int[], attempts int[]) returns void
language plpgsql as $$
declare
  locked uuid[] := flowc.lock_runs(end_stalled.run_ids, wait => false);
  ended  record;
begin
  for ended in
    update pgflow.step_tasks t set permanently_stalled_at = clock_timestamp(), in_queue = false, archived_at = clock_timestamp()
    from unnest(end_stalled.run_ids, end_stalled.step_slugs, end_stalled.task_indexes, end_stalled.attempts) u(run_id, step_slug, task_index, attempt)
    where u.run_id = any (locked) and t.run_id = any (array[u.run_id]) and t.step_slug = u.step_slug and t.task_index = u.task_index and t.attempts_count = u.attempt
      and t.status = 'started' and t.requeued_count >= 3 and t.permanently_stalled_at is null
    returning t.run_id, t.step_slug, t.task_index
  loop
    perform flowc.exhaust_steps(array[st.run_id], array[st.step_slug],
      array[format('flowc: task %s of step %s stalled: its worker died or overran its timeout 4 times', ended.task_index, ended.step_slug)],
      array[s.when_exhausted])
    from pgflow.step_states st
    join pgflow.runs r on r.run_id = any (array[st.run_id]) and r.status = 'started'
    join pgflow.steps s on s.flow_slug = any (array[st.flow_slug]) and s.step_slug = st.step_slug
    where st.run_id = ended.run_id and st.step_slug = ended.step_slug and st.status = 'started';
  end loop;
end $$;

-- The contract's recovery, by time alone: a task that has been started for longer
-- than its timeout and half a minute is queued again, three times at most.
create or replace function pgflow.requeue_stalled_tasks() returns int
language plpgsql as $$
declare
  runs  uuid[];
  steps text[];
  tasks int[];
  tries int[];
  flows text[];
begin
  -- First those to be ended: that takes the locks of their runs, which come before
  -- those of tasks. Whatever is started is in the queue, which is small where the
  -- tables of runs are long.
  select array_agg(t.run_id), array_agg(t.step_slug), array_agg(t.task_index), array_agg(t.attempts_count)
  into runs, steps, tasks, tries
  from pgflow.step_tasks t
  join pgflow.steps s on s.flow_slug = any (array[t.flow_slug]) and s.step_slug = t.step_slug
  join pgflow.flows f on f.flow_slug = any (array[t.flow_slug])
  where t.in_queue and t.status = 'started' and t.requeued_count >= 3 and t.permanently_stalled_at is null
    and t.started_at < now() - make_interval(secs => coalesce(s.opt_timeout, f.opt_timeout) + 30.0::double precision)
    and not flowc.is_held(t.last_worker_id, t.message_id);
  if runs is not null then
    perform flowc.end_stalled(runs, steps, tasks, tries);
  end if;

  with stalled as (
    select t.ctid as place
    from pgflow.step_tasks t
    join pgflow.steps s on s.flow_slug = any (array[t.flow_slug]) and s.step_slug = t.step_slug
    join pgflow.flows f on f.flow_slug = any (array[t.flow_slug])
    where t.in_queue and t.status = 'started' and t.requeued_count < 3
      and t.started_at < now() - make_interval(secs => coalesce(s.opt_timeout, f.opt_timeout) + 30.0::double precision)
      and not flowc.is_held(t.last_worker_id, t.message_id)
    for update of t skip locked),
  again as (
    update pgflow.step_tasks t
    set status = 'queued', started_at = null, last_worker_id = null, requeued_count = t.requeued_count + 1, last_requeued_at = clock_timestamp(),
        visible_at = clock_timestamp()
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
