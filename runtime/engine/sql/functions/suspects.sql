-- Suspects: tasks that may have killed their worker, see flowc.suspects.

-- Claims suspects: the oldest, and as many others as may run beside it. A worker calls it
-- when it has nothing else in flight, and claims nothing beside them for isolated_for seconds
-- or until they are done: a minute, doubled with each crash that a task may have caused.
create or replace function flowc.claim_suspects(worker_id uuid, flow_slugs text[], limits int[], except_steps text[] default '{}')
returns setof flowc.claimed_task
language plpgsql as $$
declare
  group_size int;
  chosen     tid[];
begin
  if not exists (select from flowc.suspects) then
    return;
  end if;
  select flowc.suspect_group_size(l.run_id, l.step_slug, l.task_index) into group_size
  from flowc.lock_suspects(
    claim_suspects.flow_slugs, array_fill(1, array[cardinality(claim_suspects.limits)]), claim_suspects.except_steps, 0) l
  order by l.message_id limit 1;
  if group_size is null then
    return;
  end if;
  chosen := array(
    select g.tid
    from (
      select l.* from flowc.lock_suspects(claim_suspects.flow_slugs, claim_suspects.limits, claim_suspects.except_steps, group_size) l
      order by l.message_id limit group_size) g
    where g.gate_key is null or g.status = 'queued' and flowc.enter_gate(claim_suspects.worker_id, g.tid));
  return query
    select c.flow_slug, c.run_id, c.step_slug, c.task_index, c.message_id, c.claim_number, c.attempt, c.max_attempts, c.base_delay, c.timeout,
           c.queued_at, c.input, c.run_input, c.array_from, c.headers, c.waited, c.tick,
           60 * (1 << least(coalesce(s.total_crashes, 0), 10))::double precision, c.kept
    from flowc.claim(claim_suspects.worker_id, '{}', '{}', chosen => chosen) c
    left join flowc.suspects s on s.run_id = any (array[c.run_id]) and s.step_slug = c.step_slug and s.task_index = c.task_index;
end $$;

-- Locks suspects that can run now and may do so in a group of a size, at most limits[i] of
-- flow_slugs[i]: the oldest, whatever their priority, since there are few.
create or replace function flowc.lock_suspects(flow_slugs text[], limits int[], except_steps text[], group_size int)
returns table (tid tid, run_id uuid, step_slug text, task_index int, message_id bigint, status text, gate_key text)
language plpgsql as $$
#variable_conflict use_column
begin
  return query
    select t.*
    from unnest(lock_suspects.flow_slugs, lock_suspects.limits) u(name, max_tasks)
    cross join lateral (
      select o.ctid, o.run_id, o.step_slug, o.task_index, o.message_id, o.status, o.gate_key
      from pgflow.step_tasks o
      where o.flow_slug = split_part(u.name, '.', 1) and o.subqueue = 's' and o.in_queue and o.visible_at <= clock_timestamp()
        and flowc.is_requested(o.flow_slug, o.step_slug, split_part(u.name, '.', 2), lock_suspects.except_steps)
        and flowc.suspect_group_size(o.run_id, o.step_slug, o.task_index) >= lock_suspects.group_size
        and (o.gate_key is null or flowc.has_room(o.flow_slug, o.step_slug, o.gate_key))
      order by o.message_id
      limit u.max_tasks
      for update skip locked) t
    where not exists (select from flowc.paused_flows p where p.flow_slug = split_part(u.name, '.', 1));
end $$;

-- Returns how many suspects may run together if this one is among them.
create or replace function flowc.suspect_group_size(run_id uuid, step_slug text, task_index int) returns int
language plpgsql stable as $$
begin
  return coalesce((
    select s.group_size from flowc.suspects s
    where s.run_id = suspect_group_size.run_id and s.step_slug = suspect_group_size.step_slug and s.task_index = suspect_group_size.task_index), 1);
end $$;

-- Reports whether a worker is one of those that claim the suspects of these flows: as many
-- as there are suspects, but at most half of the workers, so that other work goes on.
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
      and (o.gate_key is null or flowc.has_room(o.flow_slug, o.step_slug, o.gate_key))
    limit 100) t
  where not exists (select from flowc.paused_flows p where p.flow_slug = f.slug);
  if waiting = 0 then
    return false;
  end if;
  select count(*) filter (where w.worker_id < should_claim_suspects.worker_id), count(*) into before, workers
  from pgflow.workers w
  where w.queue_name = '*' and w.stopped_at is null and w.deprecated_at is null and w.last_heartbeat_at >= flowc.silent_before()
    and exists (select from flowc.worker_flows s where s.worker_id = w.worker_id and s.flow_slug = any (flows) offset 0);
  return before < greatest(1, least(waiting, workers / 2));
end $$;

-- Fails the suspects that crashed max_crashes times while they ran alone; none if that is
-- negative. Tasks whose attempt has ended are no longer suspects.
create or replace function flowc.resolve_suspects(max_crashes int) returns void
language plpgsql as $$
declare
  suspect record;
  cause   text;
begin
  delete from flowc.suspects s where not exists (
    select from pgflow.step_tasks t
    where t.run_id = s.run_id and t.step_slug = s.step_slug and t.task_index = s.task_index
      and t.in_queue is not false and t.subqueue = 's' offset 0);
  for suspect in -- locks the run, then the task
    select o.* from flowc.suspects o
    cross join lateral (select from pgflow.runs r where r.run_id = o.run_id offset 0 for update skip locked) r
    where resolve_suspects.max_crashes >= 0 and o.isolated_crashes >= resolve_suspects.max_crashes
    order by o.run_id limit 1000
  loop
    update pgflow.step_tasks t
    set status = 'failed', failed_at = clock_timestamp(), in_queue = false, archived_at = clock_timestamp(),
        error_message = format('flowc: the worker died %s times while it ran nothing but task %s of step %s',
          suspect.isolated_crashes, suspect.task_index, suspect.step_slug)
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
