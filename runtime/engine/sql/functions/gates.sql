-- Gates: limits of how many tasks of some steps are in flight at once, over all workers, and
-- of how many attempts begin in a time; and turns among the keys of tasks.
--
-- The tasks of gated steps are in a part of the queue of their own, where only claim_gated
-- looks. It takes the keys whose turn it is, and of each no more tasks than its gate has
-- room for. A key without room is not looked at again before there may be some, so that it
-- costs nothing.
--
-- What a worker has in flight is what it was given and has not reported or returned, and
-- nothing else: of a run that was cancelled or deleted, the handlers still run. flowc.held
-- has a row for each such task; whoever deletes one says so in flowc.gate_changes, and the
-- next claim counts it. So reports, starts and cancels only insert and delete rows of their
-- own, and nobody waits for the row of a gate. If a worker dies, recover returns what it
-- held.
--
-- The row of a key in flowc.gate_keys is locked by claims only, which skip what others have
-- locked. It comes before the locks of tasks.

-- Definitions ---------------------------------------------------------------

-- Returns the name of the gate that a step has of its own, or with step '' the runs of a flow.
create or replace function flowc.own_gate(flow_slug text, step_slug text) returns text
language sql immutable parallel safe
return own_gate.flow_slug || '.' || coalesce(nullif(own_gate.step_slug, ''), 'run');

-- Reports whether a gate is that of the runs of a flow.
create or replace function flowc.is_gate_of_runs(name text) returns boolean
language sql immutable parallel safe
return is_gate_of_runs.name like '%.run';

-- Returns the gates in a flow's settings: of each gated step, the gate's name, its limits as
-- declared, and where the key is. Step '' is the flow's runs, see limits.sql.
create or replace function flowc.declared_gates(flow_slug text)
returns table (step_slug text, gate text, declared jsonb, key_path text[], strict_order boolean)
language sql stable as $$
  select k.step_slug, coalesce(k.settings ->> 'gate', flowc.own_gate(k.flow_slug, k.step_slug)),
         jsonb_strip_nulls(jsonb_build_object('concurrency', k.settings -> 'concurrency', 'rate', k.settings -> 'rate')),
         case when k.settings ? 'gateKey' then array(
           select e.name from jsonb_array_elements_text(k.settings -> 'gateKey') with ordinality e(name, n) order by e.n) end,
         coalesce((k.settings ->> 'strictOrder')::boolean, false)
  from flowc.settings k
  where k.flow_slug = declared_gates.flow_slug and k.settings ?| case k.step_slug when '' then '{concurrency}' else '{concurrency,rate,gate,gateKey,strictOrder}' end::text[]
$$;

-- Has the gates of a flow be those of its settings, which have just been stored. Tasks of
-- steps that get a gate or lose it move to where they are claimed then.
create or replace function flowc.set_gates(flow_slug text) returns void
language plpgsql as $$
declare
  toggled text[]; -- steps that were not gated and are, or the other way round
  moved   text[]; -- steps whose gate is another one
  changed text[]; -- gates whose limits changed
  recount boolean; -- whether the flow's runs have got a limit, have lost it, or have another key
begin
  if not exists (select from flowc.declared_gates(set_gates.flow_slug))
    and not exists (select from flowc.gated_steps s where s.flow_slug = set_gates.flow_slug) then
    return;
  end if;
  if exists (
    select from flowc.declared_gates(set_gates.flow_slug) d
    join flowc.gated_steps s on s.flow_slug = set_gates.flow_slug and s.step_slug = d.step_slug where s.gate <> d.gate) then
    -- So that no claim counts at the former gate what move_held does not see. Others wait.
    lock table flowc.gate_keys in exclusive mode;
  end if;
  with declared as (
    insert into flowc.gates as g (name, concurrency, rate_tokens, rate_seconds, rate_burst, declared)
    select d.gate, l.concurrency, l.rate_tokens, l.rate_seconds, l.rate_burst, d.declared
    from (select distinct on (o.gate) o.gate, o.declared from flowc.declared_gates(set_gates.flow_slug) o order by o.gate, o.step_slug) d
    cross join lateral flowc.read_limits(d.declared) l
    order by d.gate
    on conflict on constraint gates_pkey do update
    set concurrency = excluded.concurrency, rate_tokens = excluded.rate_tokens, rate_seconds = excluded.rate_seconds,
        rate_burst = excluded.rate_burst, declared = excluded.declared, overridden = false
    where g.declared <> excluded.declared
    returning g.name)
  select array_agg(d.name) into changed from declared d;

  select array_agg(coalesce(d.step_slug, s.step_slug)) filter (where (d.gate is null or s.gate is null) and coalesce(d.step_slug, s.step_slug) <> ''),
         array_agg(d.step_slug) filter (where d.gate <> s.gate),
         bool_or(coalesce(d.step_slug, s.step_slug) = '' and (d.gate is null or s.gate is null or d.key_path is distinct from s.key_path))
  into toggled, moved, recount
  from flowc.declared_gates(set_gates.flow_slug) d
  full join (select * from flowc.gated_steps o where o.flow_slug = set_gates.flow_slug) s on s.step_slug = d.step_slug;
  delete from flowc.gated_steps s
  where s.flow_slug = set_gates.flow_slug
    and not exists (select from flowc.declared_gates(set_gates.flow_slug) d where d.step_slug = s.step_slug);
  insert into flowc.gated_steps as s (flow_slug, step_slug, gate, key_path, strict_order)
  select set_gates.flow_slug, d.step_slug, d.gate, d.key_path, d.strict_order from flowc.declared_gates(set_gates.flow_slug) d
  on conflict on constraint gated_steps_pkey do update
  set gate = excluded.gate, key_path = excluded.key_path, strict_order = excluded.strict_order
  where (s.gate, s.key_path, s.strict_order) is distinct from (excluded.gate, excluded.key_path, excluded.strict_order);

  if (toggled is not null or recount) and exists (select from pgflow.runs r where r.flow_slug = set_gates.flow_slug and r.status = 'started') then
    -- So that no run advances meanwhile, and makes tasks of the other kind, or ends.
    perform from pgflow.runs r where r.flow_slug = set_gates.flow_slug and r.status = 'started' order by r.run_id for update;
    perform flowc.move_tasks(set_gates.flow_slug, toggled);
  end if;
  if num_nonnulls(toggled, moved) > 0 then
    perform flowc.move_held(set_gates.flow_slug);
  end if;
  if recount then
    perform flowc.recount_runs(set_gates.flow_slug);
  end if;
  delete from flowc.turns t
  where t.flow_slug = set_gates.flow_slug
    and not exists (select from flowc.gated_steps s where s.flow_slug = t.flow_slug and s.step_slug = t.step_slug);
  insert into flowc.gate_changes (gate, flow_slug, step_slug, key)
  select s.gate, s.flow_slug, s.step_slug, t.key
  from flowc.gated_steps s
  join flowc.turns t on t.flow_slug = any (array[s.flow_slug]) and t.step_slug = s.step_slug
  where s.gate = any (changed) or s.flow_slug = set_gates.flow_slug and s.step_slug = any (moved);
  perform flowc.prune_gates();
end $$;

-- Returns the limits that a declaration or an override says.
create or replace function flowc.read_limits(
  declared jsonb, out concurrency int, out rate_tokens int, out rate_seconds int, out rate_burst int)
language sql immutable as $$
  select (read_limits.declared ->> 'concurrency')::int, (read_limits.declared #>> '{rate,tokens}')::int,
         (read_limits.declared #>> '{rate,seconds}')::int,
         coalesce((read_limits.declared #>> '{rate,burst}')::int,
           case when read_limits.declared ? 'rate' then least((read_limits.declared #>> '{rate,tokens}')::int, 100) end)
$$;

-- Moves the tasks in the queue of steps that have got a gate, or have lost it, to where they
-- are claimed now. What workers of this project have in flight counts from now on. The
-- caller has locked the runs.
create or replace function flowc.move_tasks(flow_slug text, step_slugs text[]) returns void
language plpgsql as $$
begin
  with moved as (
    update pgflow.step_tasks t
    set gate_key = x.key,
        subqueue = case when t.subqueue = 's' then 's' when x.gate is null then 'd' else 'g' end::"char",
        due_at = case when t.subqueue = 's' then t.due_at
                      when x.gate is null then case when t.status = 'queued' then t.visible_at else clock_timestamp() end
                      when t.subqueue = 'd' and t.status = 'queued' and not x.strict_order and t.visible_at > clock_timestamp() then t.due_at end
    from (
      select o.run_id, o.step_slug, o.task_index, s.gate, s.strict_order,
             case when s.gate is not null then coalesce(o.gate_key, flowc.gate_key_of(o.run_id, s.key_path)) end as key
      from unnest(flowc.subqueues()) c(subqueue)
      cross join lateral (
        select q.* from pgflow.step_tasks q
        where q.flow_slug = move_tasks.flow_slug and q.subqueue = c.subqueue and q.in_queue and q.step_slug = any (move_tasks.step_slugs) offset 0) o
      left join flowc.gated_steps s on s.flow_slug = any (array[move_tasks.flow_slug]) and s.step_slug = o.step_slug
      offset 0) x
    where t.run_id = any (array[x.run_id]) and t.step_slug = x.step_slug and t.task_index = x.task_index and t.in_queue is not false
    returning t.*, x.gate),
  held as (
    insert into flowc.held (worker_id, message_id, claim_number, gate, key, flow_slug, step_slug, claimed_at)
    select m.last_worker_id, m.message_id, m.claims_count, m.gate, m.gate_key, m.flow_slug, m.step_slug, clock_timestamp()
    from moved m
    where m.gate is not null and m.status = 'started'
      and exists (select from pgflow.workers w where w.worker_id = m.last_worker_id and w.queue_name = '*' offset 0)
    on conflict on constraint held_pkey do nothing
    returning *)
  insert into flowc.gate_changes (gate, flow_slug, step_slug, key, departed)
  select m.gate, m.flow_slug, m.step_slug, m.gate_key, -(
    select count(*) from held h where h.gate = m.gate and h.flow_slug = m.flow_slug and h.step_slug = m.step_slug and h.key = m.gate_key)
  from (select distinct o.gate, o.flow_slug, o.step_slug, o.gate_key from moved o where o.gate is not null) m;
  perform flowc.wake_flows(array[move_tasks.flow_slug]);
end $$;

-- Has what workers hold of a flow's steps be in flight at the gates that the steps have now,
-- rather than at those where it was claimed.
create or replace function flowc.move_held(flow_slug text) returns void
language plpgsql as $$
begin
  with old as materialized (
    select h.ctid as tid, h.gate as former, s.gate, h.flow_slug, h.step_slug, h.key
    from flowc.held h
    cross join lateral (select o.gate from flowc.gated_steps o where o.flow_slug = h.flow_slug and o.step_slug = h.step_slug offset 0) s
    where h.flow_slug = move_held.flow_slug and h.gate <> s.gate
    for update of h),
  moved as (
    update flowc.held h set gate = o.gate from old o where h.ctid = o.tid
    returning o.former, o.gate, o.flow_slug, o.step_slug, o.key)
  insert into flowc.gate_changes (gate, flow_slug, step_slug, key, departed)
  select m.former, m.flow_slug, m.step_slug, m.key, count(*) from moved m group by 1, 2, 3, 4
  union all
  select m.gate, m.flow_slug, m.step_slug, m.key, -count(*) from moved m group by 1, 2, 3, 4;
end $$;

-- Deletes gates that no step has any more, and what was counted there unless a worker still
-- has tasks of it in flight.
create or replace function flowc.prune_gates() returns void
language plpgsql as $$
begin
  delete from flowc.gates g
  where not exists (select from flowc.gated_steps s where s.gate = g.name offset 0)
    and not exists (select from flowc.held h where h.gate = g.name offset 0);
  delete from flowc.gate_keys k
  where not exists (select from flowc.gates g where g.name = k.gate offset 0);
  delete from flowc.gate_changes c
  where not exists (select from flowc.gates g where g.name = c.gate offset 0);
end $$;

-- Arrivals and departures -----------------------------------------------------

-- Returns the key of the tasks of a step: the value that the path leads to, '' if that is
-- missing or can be no key.
create or replace function flowc.gate_key_of(run_id uuid, key_path text[]) returns text
language plpgsql stable as $$
begin
  return case when gate_key_of.key_path is null then ''
              else coalesce(flowc.key_of(flowc.value_at(gate_key_of.run_id, to_jsonb(gate_key_of.key_path))), '') end;
end $$;

-- Reports whether a start of a flow makes tasks that have gates.
create or replace function flowc.is_gated(flow_slugs text[]) returns boolean
language plpgsql stable as $$
begin
  return exists (select from unnest(is_gated.flow_slugs) f(slug) join flowc.gated_steps s on s.flow_slug = any (array[f.slug]) and s.step_slug <> '');
end $$;

-- Enqueues the tasks of those of the steps that have gates, see enqueue_tasks, and returns the
-- others. A task that keeps its place is not among the delayed ones.
create or replace function flowc.enqueue_gated(
  inout flow_slugs text[], inout run_ids uuid[], inout step_slugs text[], inout tasks int[], inout delays double precision[])
language plpgsql as $$
declare
  priorities "char"[] := flowc.priorities_of(enqueue_gated.flow_slugs, enqueue_gated.run_ids, enqueue_gated.step_slugs);
  flows      text[];
  runs       uuid[];
  steps      text[];
begin
  with step as materialized (
    select u.*, s.gate, s.strict_order,
           case when s.key_path[1] = 'run' then coalesce(flowc.key_of(i.value), '') else flowc.gate_key_of(u.run_id, s.key_path) end as key
    from unnest(enqueue_gated.flow_slugs, enqueue_gated.run_ids, enqueue_gated.step_slugs, enqueue_gated.tasks, enqueue_gated.delays, priorities)
      with ordinality u(flow_slug, run_id, step_slug, tasks, delay, priority, n)
    cross join lateral (select * from flowc.gated_steps o where o.flow_slug = u.flow_slug and o.step_slug = u.step_slug offset 0) s
    left join lateral (
      select r.input #> s.key_path[2:] as value from pgflow.runs r where s.key_path[1] = 'run' and r.run_id = u.run_id offset 0) i on true),
  queued as (
    insert into pgflow.step_tasks (flow_slug, run_id, step_slug, task_index, message_id, in_queue, visible_at, subqueue, priority, due_at, gate_key)
    select t.flow_slug, t.run_id, t.step_slug, t.task_index, nextval('flowc.message_ids'), true, clock_timestamp() + make_interval(secs => t.delay), 'g',
           coalesce(t.priority, 'r'),
           case when t.delay > 0 and not t.strict_order then clock_timestamp() + make_interval(secs => t.delay) end, t.key
    from (
      select s.*, i.task_index from step s cross join lateral generate_series(0, s.tasks - 1) i(task_index)
      order by s.n, i.task_index) t),
  arrived as (
    insert into flowc.gate_changes (gate, flow_slug, step_slug, key)
    select distinct s.gate, s.flow_slug, s.step_slug, s.key from step s)
  select array_agg(s.flow_slug order by s.n), array_agg(s.run_id order by s.n), array_agg(s.step_slug order by s.n) into flows, runs, steps from step s;
  if flows is null then
    return;
  end if;
  if to_regnamespace('realtime') is not null then
    perform flowc.emit_steps(runs, steps);
  end if;
  perform flowc.wake_workers(flows);
  select array_agg(u.flow_slug order by u.n), array_agg(u.run_id order by u.n), array_agg(u.step_slug order by u.n), array_agg(u.tasks order by u.n),
         array_agg(u.delay order by u.n)
  into flow_slugs, run_ids, step_slugs, tasks, delays
  from unnest(enqueue_gated.flow_slugs, enqueue_gated.run_ids, enqueue_gated.step_slugs, enqueue_gated.tasks, enqueue_gated.delays)
    with ordinality u(flow_slug, run_id, step_slug, tasks, delay, n)
  where not exists (select from flowc.gated_steps s where s.flow_slug = u.flow_slug and s.step_slug = u.step_slug offset 0);
end $$;

-- Notes that tasks of steps with a gate can be claimed, or will be, so that a claim looks at
-- their keys.
create or replace function flowc.note_arrivals(flow_slugs text[], step_slugs text[], keys text[]) returns void
language plpgsql as $$
begin
  insert into flowc.gate_changes (gate, flow_slug, step_slug, key)
  select distinct s.gate, u.flow_slug, u.step_slug, u.key
  from unnest(note_arrivals.flow_slugs, note_arrivals.step_slugs, note_arrivals.keys) u(flow_slug, step_slug, key)
  join flowc.gated_steps s on s.flow_slug = any (array[u.flow_slug]) and s.step_slug = u.step_slug
  where u.key is not null;
end $$;

-- Notes it of those of the tasks with these tids that have a gate.
create or replace function flowc.note_arrivals_of(tids tid[]) returns void
language plpgsql as $$
begin
  if exists (select from flowc.gated_steps) then
    perform flowc.note_arrivals(array_agg(t.flow_slug), array_agg(t.step_slug), array_agg(t.gate_key))
    from unnest(note_arrivals_of.tids) u(tid) join pgflow.step_tasks t on t.ctid = u.tid and t.gate_key is not null;
  end if;
end $$;

-- Returns the part of the queue where a task waits for its time.
create or replace function flowc.delayed_subqueue(gate_key text) returns "char"
language sql immutable parallel safe
return case when delayed_subqueue.gate_key is null then 'd' else 'g' end::"char";

-- Returns the due_at of a task with a gate that can be claimed at a time: NULL if it keeps
-- its place.
create or replace function flowc.gated_due_at(flow_slug text, step_slug text, at timestamptz) returns timestamptz
language plpgsql stable as $$
begin
  return case when not coalesce((
    select s.strict_order from flowc.gated_steps s
    where s.flow_slug = gated_due_at.flow_slug and s.step_slug = gated_due_at.step_slug), false) then gated_due_at.at end;
end $$;

-- Has the tasks of a run that is retried wait where tasks of their steps do now.
create or replace function flowc.gate_tasks(run_id uuid) returns void
language plpgsql as $$
declare
  flows text[];
  steps text[];
  keys  text[];
begin
  with gated as (
    update pgflow.step_tasks t
    set subqueue = case when x.gate is not null then 'g' when t.due_at > clock_timestamp() then 'd' else t.priority end,
        due_at   = case when not x.strict_order or x.gate is null then t.due_at end,
        gate_key = case when x.gate is not null then coalesce(t.gate_key, flowc.gate_key_of(t.run_id, x.key_path)) end
    from (
      select o.step_slug, o.task_index, s.gate, s.key_path, s.strict_order
      from pgflow.step_tasks o
      left join flowc.gated_steps s on s.flow_slug = any (array[o.flow_slug]) and s.step_slug = o.step_slug
      where o.run_id = gate_tasks.run_id and o.in_queue is not false and (s.gate is not null or o.gate_key is not null)
      offset 0) x
    where t.run_id = gate_tasks.run_id and t.step_slug = x.step_slug and t.task_index = x.task_index
    returning t.flow_slug, t.step_slug, t.gate_key)
  select array_agg(g.flow_slug), array_agg(g.step_slug), array_agg(g.gate_key) into flows, steps, keys
  from gated g where g.gate_key is not null;
  if flows is not null then
    perform flowc.note_arrivals(flows, steps, keys);
  end if;
end $$;

-- Notes that tasks are no longer in flight at a worker, whatever became of them, so that
-- others with their keys can begin. holds[i] is for how many seconds from now on nothing
-- with the key of the i-th is to begin.
create or replace function flowc.leave_gates(worker_id uuid, message_ids bigint[], claim_numbers int[], holds double precision[] default null) returns void
language plpgsql as $$
declare
  flows  text[];
  missed boolean;
begin
  with seen as materialized (
    select x.tid, u.hold
    from unnest(leave_gates.message_ids, leave_gates.claim_numbers, leave_gates.holds) u(message_id, claim_number, hold)
    cross join lateral (
      select o.ctid as tid from flowc.held o
      where o.worker_id = leave_gates.worker_id and o.message_id = u.message_id and o.claim_number = u.claim_number offset 0) x),
  left_held as (
    delete from flowc.held h using seen x where h.ctid = x.tid
    returning h.gate, h.flow_slug, h.step_slug, h.key, x.hold),
  changed as (
    insert into flowc.gate_changes (gate, flow_slug, step_slug, key, departed, hold_until)
    select h.gate, h.flow_slug, h.step_slug, h.key, count(*), clock_timestamp() + make_interval(secs => max(h.hold))
    from left_held h group by h.gate, h.flow_slug, h.step_slug, h.key
    returning gate, key)
  select array_agg(distinct s.flow_slug), (select count(*) from seen) > (select count(*) from left_held) into flows, missed
  from changed c
  join flowc.gated_steps s on s.gate = any (array[c.gate])
  cross join lateral (
    select t.waiting from flowc.turns t where t.flow_slug = s.flow_slug and t.step_slug = s.step_slug and t.key = c.key offset 0) t
  where t.waiting;
  if flows is not null then
    perform flowc.wake_workers(flows);
  end if;
  if missed then -- move_held has moved some meanwhile
    perform flowc.leave_gates(leave_gates.worker_id, leave_gates.message_ids, leave_gates.claim_numbers, leave_gates.holds);
  end if;
end $$;

-- Returns the tasks to the queue that a worker has in flight as far as is known, but not
-- according to itself, although it has had the time to learn of them.
create or replace function flowc.leave_unknown(worker_id uuid, message_ids bigint[]) returns int
language plpgsql as $$
declare
  flows    text[];
  messages bigint[];
  claims   int[];
begin
  select array_agg(h.flow_slug), array_agg(h.message_id), array_agg(h.claim_number) into flows, messages, claims
  from flowc.held h
  where h.worker_id = leave_unknown.worker_id and h.message_id <> all (leave_unknown.message_ids)
    and h.claimed_at < clock_timestamp() - interval '15 seconds';
  if flows is null then
    return 0;
  end if;
  perform flowc.release(leave_unknown.worker_id, flows, messages, claims);
  return cardinality(flows);
end $$;

-- Returns the workers that hold tasks with a gate and are not alive.
create or replace function flowc.dead_holders() returns uuid[]
language plpgsql stable as $$
begin
  return array(
    with recursive holder(worker_id) as (
      (select h.worker_id from flowc.held h order by h.worker_id limit 1)
      union all
      select n.worker_id from holder o
      cross join lateral (select h.worker_id from flowc.held h where h.worker_id > o.worker_id order by h.worker_id limit 1) n)
    select o.worker_id from holder o
    where not exists (select from pgflow.workers w where w.worker_id = o.worker_id and w.stopped_at is null offset 0));
end $$;

-- Frees what workers hold that are not alive, and queues it again if it is still theirs.
-- What somebody has locked is left for the next time.
create or replace function flowc.leave_for_dead() returns void
language plpgsql as $$
declare
  dead  uuid[] := flowc.dead_holders();
  flows text[];
begin
  if dead = '{}' then
    return;
  end if;
  with lost as materialized (
    select h.* from unnest(dead) w(worker_id)
    cross join lateral (
      select o.ctid as tid, o.* from flowc.held o where o.worker_id = w.worker_id for update skip locked) h),
  task as materialized ( -- those that are still theirs, and whether we have locked them
    select l.tid as held, f.tid as seen, t.tid
    from lost l
    cross join unnest(flowc.subqueues()) c(subqueue)
    cross join lateral (
      select o.ctid as tid, o.run_id, o.step_slug, o.task_index from pgflow.step_tasks o
      where o.flow_slug = l.flow_slug and o.subqueue = c.subqueue and o.message_id = l.message_id and o.in_queue
        and flowc.is_owned(o, l.message_id, l.claim_number, l.worker_id) offset 0) f
    left join lateral (
      select o.ctid as tid from pgflow.step_tasks o
      where o.run_id = f.run_id and o.step_slug = f.step_slug and o.task_index = f.task_index
        and o.in_queue is not false and flowc.is_owned(o, l.message_id, l.claim_number, l.worker_id)
      for update skip locked) t on true),
  queued as (
    update pgflow.step_tasks t
    set status = 'queued', started_at = null, last_worker_id = null, visible_at = clock_timestamp(), due_at = flowc.due_now(t.subqueue),
        requeued_count = t.requeued_count + 1, last_requeued_at = clock_timestamp()
    from task k where t.ctid = k.tid),
  freed as (
    delete from flowc.held h using lost l
    where h.ctid = l.tid and not exists (select from task k where k.held = l.tid and k.tid is null)
    returning h.gate, h.flow_slug, h.step_slug, h.key),
  changed as (
    insert into flowc.gate_changes (gate, flow_slug, step_slug, key, departed)
    select f.gate, f.flow_slug, f.step_slug, f.key, count(*) from freed f group by f.gate, f.flow_slug, f.step_slug, f.key
    returning gate)
  select array_agg(distinct s.flow_slug) into flows from changed c join flowc.gated_steps s on s.gate = any (array[c.gate]);
  perform flowc.wake_flows(coalesce(flows, '{}'));
end $$;

-- Claims ----------------------------------------------------------------------

-- Claims tasks of gated steps, as claim does: at most limits[i] of flow_slugs[i], which is
-- 'flow.step'. A step that has no gate here is claimed like any other.
create or replace function flowc.claim_gated(worker_id uuid, flow_slugs text[], limits int[], wake boolean default false)
returns setof flowc.claimed_task
language plpgsql as $$
declare
  step         record;
  tids         tid[];
  chosen       tid[] := '{}';
  filled       text[] := '{}'; -- flows of which there may be more
  plain        text[] := '{}';
  plain_limits int[] := '{}';
begin
  for step in
    select split_part(u.name, '.', 1) as flow, split_part(u.name, '.', 2) as step, u.name, u.max_tasks, s.gate
    from unnest(claim_gated.flow_slugs, claim_gated.limits) u(name, max_tasks)
    left join flowc.gated_steps s on s.flow_slug = any (array[split_part(u.name, '.', 1)]) and s.step_slug = split_part(u.name, '.', 2)
    where not exists (select from flowc.paused_flows p where p.flow_slug = split_part(u.name, '.', 1))
    order by s.gate, u.name -- who inserts rows with the same keys does so in the same order
  loop
    if step.gate is null then
      plain := plain || step.name;
      plain_limits := plain_limits || step.max_tasks;
      continue;
    end if;
    tids := flowc.pass_gate(claim_gated.worker_id, step.flow, step.step, step.max_tasks);
    chosen := chosen || tids;
    if cardinality(tids) >= step.max_tasks then
      filled := filled || step.flow;
    end if;
  end loop;
  if chosen <> '{}' then
    return query select * from flowc.claim(claim_gated.worker_id, '{}', '{}', chosen => chosen);
  end if;
  if plain <> '{}' then
    return query select * from flowc.claim(claim_gated.worker_id, plain, plain_limits, '{}', claim_gated.wake);
  end if;
  if claim_gated.wake and filled <> '{}' then
    perform flowc.wake_flows(array(select distinct f.slug from unnest(filled) f(slug)));
  end if;
end $$;

-- Counts what has changed at a gate: takes tasks that have departed from those in flight,
-- and has claims look at the keys again. What concerns a key that somebody else has locked
-- is left to the next claim. Returns how many changes it counted, at most 256.
create or replace function flowc.count_changes(gate text) returns int
language plpgsql as $$
declare
  now_at   timestamptz := clock_timestamp();
  tids     tid[];
  flows    text[];
  steps    text[];
  keys     text[];
  departed int[];
  holds    timestamptz[];
  locked   text[];
  counted  int;
begin
  select array_agg(c.tid), array_agg(c.flow_slug), array_agg(c.step_slug), array_agg(c.key), array_agg(c.departed), array_agg(c.hold_until)
  into tids, flows, steps, keys, departed, holds
  from (
    select o.ctid as tid, o.* from flowc.gate_changes o where o.gate = count_changes.gate
    order by o.changed_at limit 256 for update skip locked) c;
  if tids is null then
    return 0;
  end if;
  insert into flowc.gate_keys (gate, key)
  select count_changes.gate, u.key from (select distinct o.key from unnest(keys) o(key)) u
  where not exists (select from flowc.gate_keys k where k.gate = count_changes.gate and k.key = u.key offset 0)
  order by u.key
  on conflict do nothing;
  locked := array(
    select k.key from (select distinct o.key from unnest(keys) o(key) order by o.key) u
    cross join lateral (
      select o.key from flowc.gate_keys o where o.gate = count_changes.gate and o.key = u.key for update skip locked) k);
  with change as materialized (
    select u.* from unnest(tids, flows, steps, keys, departed, holds) u(tid, flow_slug, step_slug, key, departed, hold_until)
    where u.key = any (locked)),
  counted as (
    update flowc.gate_keys k
    set in_flight = k.in_flight - c.departed,
        held_until = case when c.hold_until = '-infinity' then null else greatest(k.held_until, c.hold_until) end
    from (
      select o.key, sum(o.departed)::int as departed,
             case when bool_or(o.hold_until = '-infinity') then '-infinity' else max(o.hold_until) end as hold_until
      from change o group by o.key) c
    cross join lateral (select o.ctid as tid from flowc.gate_keys o where o.gate = count_changes.gate and o.key = c.key offset 0) x
    where k.ctid = x.tid and (c.departed <> 0 or c.hold_until is not null)),
  own as (
    insert into flowc.turns as t (flow_slug, step_slug, key, due_at)
    select distinct s.flow_slug, s.step_slug, c.key, now_at
    from change c
    join flowc.gated_steps s on s.flow_slug = any (array[c.flow_slug]) and s.step_slug = c.step_slug and s.gate = count_changes.gate
    on conflict on constraint turns_pkey do update set due_at = excluded.due_at
    where t.due_at > excluded.due_at),
  other as ( -- of other steps that have the gate
    update flowc.turns t set due_at = now_at
    from (
      select s.flow_slug, s.step_slug, c.key
      from (select distinct o.key from change o where o.departed <> 0 or o.hold_until is not null) c
      cross join (select * from flowc.gated_steps o where o.gate = count_changes.gate) s
      where (s.flow_slug, s.step_slug, c.key) not in (select o.flow_slug, o.step_slug, o.key from change o)) o
    cross join lateral (
      select x.ctid as tid from flowc.turns x where x.flow_slug = o.flow_slug and x.step_slug = o.step_slug and x.key = o.key offset 0) x
    where t.ctid = x.tid and t.due_at > now_at)
  delete from flowc.gate_changes g using change c where g.ctid = c.tid;
  get diagnostics counted = row_count;
  return counted;
end $$;

-- Chooses tasks of a gated step to be claimed by a worker, at most so many, and counts them
-- as in flight. Returns them, locked. The keys have turns, in which each gets the same share.
create or replace function flowc.pass_gate(worker_id uuid, flow_slug text, step_slug text, wanted int) returns tid[]
language plpgsql as $$
declare
  now_at timestamptz;
  gate   record;
  keys   text[];
  tids   tid[];
  chosen tid[] := '{}';
  round  int := 0;
begin
  select g.*, g.rate_tokens::double precision / g.rate_seconds as rate, s.strict_order,
         make_interval(secs => coalesce(o.opt_timeout, f.opt_timeout) + 10.0::double precision) as lease,
         case when exists (select from flowc.prioritized_flows p where p.flow_slug = s.flow_slug) then '{h,r,l}' else '{r}' end::"char"[] as priorities
  into gate
  from flowc.gated_steps s
  join flowc.gates g on g.name = any (array[s.gate])
  join pgflow.steps o on o.flow_slug = any (array[s.flow_slug]) and o.step_slug = s.step_slug
  join pgflow.flows f on f.flow_slug = any (array[s.flow_slug])
  where s.flow_slug = pass_gate.flow_slug and s.step_slug = pass_gate.step_slug;
  perform flowc.count_changes(gate.name);
  while cardinality(chosen) < pass_gate.wanted and round < 10 loop
    round := round + 1;
    now_at := clock_timestamp();
    exit when gate.held_until > now_at;
    keys := array(
      select k.key
      from (
        select t.key from flowc.turns t
        where t.flow_slug = pass_gate.flow_slug and t.step_slug = pass_gate.step_slug and t.due_at <= now_at
        order by t.due_at offset 0) t
      cross join lateral (
        select o.key from flowc.gate_keys o where o.gate = gate.name and o.key = t.key for update skip locked) k
      limit pass_gate.wanted - cardinality(chosen));
    exit when keys = '{}';
    tids := flowc.take_turns(
      pass_gate.worker_id, pass_gate.flow_slug, pass_gate.step_slug, keys, chosen,
      (pass_gate.wanted - cardinality(chosen) + cardinality(keys) - 1) / cardinality(keys), pass_gate.wanted - cardinality(chosen),
      gate.name, gate.concurrency, gate.rate, gate.rate_burst, gate.strict_order, gate.lease, gate.priorities, now_at);
    chosen := chosen || tids;
  end loop;
  return chosen;
end $$;

-- Chooses tasks with keys that the caller has locked: of each key at most share, as many as
-- the limits allow, and at most wanted of all; none that were chosen before. Then it says
-- when to look at the keys again.
create or replace function flowc.take_turns(
  worker_id uuid, flow_slug text, step_slug text, keys text[], chosen_before tid[], share int, wanted int,
  gate text, concurrency int, rate double precision, burst int, strict_order boolean, lease interval, priorities "char"[],
  now_at timestamptz) returns tid[]
language plpgsql as $$
declare
  chosen tid[];
begin
  with turn as materialized (
    select k.*,
           case when k.held_until > now_at then 0 -- least ignores NULL
                else greatest(least(take_turns.share, take_turns.concurrency - k.in_flight, floor(k.tokens)::int), 0) end as room
    from (
      select o.tid, t.tid as turn, o.key, u.n, o.in_flight, o.held_until,
             case when take_turns.rate is not null then
               least(take_turns.burst, coalesce(o.tokens + greatest(extract(epoch from now_at - o.refilled_at), 0) * take_turns.rate, take_turns.burst))::double precision end as tokens
      from unnest(take_turns.keys) with ordinality u(key, n)
      cross join lateral (select k.ctid as tid, k.* from flowc.gate_keys k where k.gate = take_turns.gate and k.key = u.key offset 0) o
      cross join lateral (
        select t.ctid as tid, t.due_at from flowc.turns t
        where t.flow_slug = take_turns.flow_slug and t.step_slug = take_turns.step_slug and t.key = u.key offset 0) t
      where t.due_at <= now_at -- another claim may have taken its turn before the key was locked
        and exists ( -- an upsert may have given the step another gate before
          select from flowc.gated_steps s
          where s.flow_slug = take_turns.flow_slug and s.step_slug = take_turns.step_slug and s.gate = take_turns.gate)
      offset 0) k),
  -- One more than there is room for, to see whether there is one; of each priority, so that
  -- those of a higher one come first.
  due as materialized (
    select q.key, q.n, q.room, p.rank, t.*
    from turn q
    cross join unnest(take_turns.priorities) with ordinality p(priority, rank)
    cross join lateral (
      select o.ctid as tid, o.message_id, o.claims_count, false as ready, o.due_at
      from pgflow.step_tasks o
      where not take_turns.strict_order and o.flow_slug = take_turns.flow_slug and o.step_slug = take_turns.step_slug and o.gate_key = q.key
        and o.priority = p.priority and o.subqueue = 'g' and o.in_queue and o.due_at <= now_at and o.visible_at <= now_at and o.status = 'queued'
        and o.ctid <> all (take_turns.chosen_before)
      order by o.due_at
      limit q.room + 1
      for update skip locked) t),
  ready as materialized (
    select q.key, q.n, q.room, q.rank, t.*
    from (
      select o.*, p.*, o.room + 1 - (select count(*) from due d where d.key = o.key and d.rank <= p.rank) as left
      from turn o cross join unnest(take_turns.priorities) with ordinality p(priority, rank) offset 0) q
    cross join lateral (
      select o.ctid as tid, o.message_id, o.claims_count, true as ready, o.due_at
      from pgflow.step_tasks o
      where not take_turns.strict_order and o.flow_slug = take_turns.flow_slug and o.step_slug = take_turns.step_slug and o.gate_key = q.key
        and o.priority = q.priority and o.subqueue = 'g' and o.in_queue and o.due_at is null and o.visible_at <= now_at and o.status = 'queued'
        and o.ctid <> all (take_turns.chosen_before)
      order by o.due_at, o.message_id
      limit greatest(q.left, 0)
      for update skip locked) t),
  -- The first one, if that can begin: no other can before it, whatever its priority.
  first as materialized (
    select q.key, q.n, q.room, 1::bigint as rank, t.*
    from turn q
    cross join lateral (
      select f.run_id, f.step_slug, f.task_index
      from (
        (select r.* from unnest('{h,r,l}'::"char"[]) p(priority)
         cross join lateral (
           select o.run_id, o.step_slug, o.task_index, o.message_id, o.visible_at, o.status
           from pgflow.step_tasks o
           where take_turns.strict_order and o.flow_slug = take_turns.flow_slug and o.step_slug = take_turns.step_slug and o.gate_key = q.key
             and o.priority = p.priority and o.subqueue = 'g' and o.in_queue and o.due_at is null
           order by o.due_at, o.message_id limit 1) r)
        union all
        (select o.run_id, o.step_slug, o.task_index, o.message_id, o.visible_at, o.status
         from pgflow.step_tasks o
         where take_turns.strict_order and o.flow_slug = take_turns.flow_slug and o.step_slug = take_turns.step_slug and o.gate_key = q.key
           and o.subqueue = 'g' and o.in_queue and o.due_at is not null -- from before the order was strict
         order by o.message_id limit 1)
        order by 4 limit 1) f
      where f.visible_at <= now_at and f.status = 'queued'
        and not exists ( -- one that is tried apart from others
          select from pgflow.step_tasks s
          where s.flow_slug = take_turns.flow_slug and s.subqueue = 's' and s.in_queue and s.step_slug = take_turns.step_slug and s.gate_key = q.key
          offset 0)) f
    cross join lateral (
      select o.ctid as tid, o.message_id, o.claims_count, true as ready, o.due_at
      from pgflow.step_tasks o
      where o.run_id = f.run_id and o.step_slug = f.step_slug and o.task_index = f.task_index and o.in_queue is not false and o.subqueue = 'g'
        and o.status = 'queued' and o.visible_at <= now_at
      for update skip locked) t),
  found as materialized (
    select f.*, row_number() over (partition by f.key order by f.rank, f.ready, f.due_at, f.message_id) as place
    from (select * from due union all select * from ready union all select * from first) f),
  taken as materialized (
    select f.* from found f where f.place <= f.room order by f.place, f.n limit take_turns.wanted),
  -- Counted by a window, since a join would scan what was found for each key.
  looked as materialized (
    select o.tid, o.turn, o.key, o.in_flight, o.tokens, o.held_until, o.found > o.taken as more, o.taken, coalesce(o.tids, '{}') as tids
    from (
      select c.*, count(c.found_tid) over of_key as found, (count(c.taken_tid) over of_key)::int as taken,
             array_agg(c.taken_tid) filter (where c.taken_tid is not null) over of_key as tids
      from (
        select q.n, q.tid, q.turn, q.key, q.in_flight, q.tokens, q.held_until, null::tid as found_tid, null::tid as taken_tid from turn q
        union all
        select f.n, null, null, null, null, null, null, f.tid, null from found f
        union all
        select t.n, null, null, null, null, null, null, null, t.tid from taken t) c
      window of_key as (partition by c.n)) o
    where o.turn is not null),
  next as materialized (
    select l.*, w.at is not null as waiting,
           case when l.held_until > now_at then l.held_until
                when take_turns.concurrency <= l.in_flight + l.taken then now_at + take_turns.lease
                when l.tokens - l.taken < 1 and w.at is not null then
                  greatest(w.at, now_at + make_interval(secs => (1 - (l.tokens - l.taken)) / take_turns.rate))
                when l.more then w.at
                else least(w.at, case when l.in_flight + l.taken > 0 then now_at + take_turns.lease end,
                           case when l.tokens - l.taken < take_turns.burst then
                             now_at + make_interval(secs => (take_turns.burst - (l.tokens - l.taken)) / take_turns.rate) end) end as due_at
    from looked l
    cross join lateral (
      select case when l.more and not take_turns.strict_order then now_at
                  else least(
                    -- Somebody has locked it, or hides it for a while; or it keeps its place.
                    (select min(greatest(r.visible_at, now_at + interval '1 second'))
                     from unnest(take_turns.priorities) p(priority)
                     cross join lateral (
                       select o.visible_at from pgflow.step_tasks o
                       where o.flow_slug = take_turns.flow_slug and o.step_slug = take_turns.step_slug and o.gate_key = l.key and o.priority = p.priority
                         and o.subqueue = 'g' and o.in_queue and o.due_at is null and o.status = 'queued'
                         and o.ctid <> all (l.tids) and o.ctid <> all (take_turns.chosen_before)
                       order by o.due_at, o.message_id limit 1) r),
                    (select min(greatest(r.at, now_at + interval '100 milliseconds'))
                     from unnest(take_turns.priorities) p(priority)
                     cross join lateral (
                       select greatest(o.due_at, o.visible_at) as at from pgflow.step_tasks o
                       where o.flow_slug = take_turns.flow_slug and o.step_slug = take_turns.step_slug and o.gate_key = l.key and o.priority = p.priority
                         and o.subqueue = 'g' and o.in_queue and o.due_at is not null and o.status = 'queued'
                         and o.ctid <> all (l.tids) and o.ctid <> all (take_turns.chosen_before)
                       order by o.due_at limit 1) r)) end as at) w),
  held as (
    insert into flowc.held (worker_id, message_id, claim_number, gate, key, flow_slug, step_slug, claimed_at)
    select take_turns.worker_id, t.message_id, t.claims_count + 1, take_turns.gate, t.key, take_turns.flow_slug, take_turns.step_slug, now_at from taken t),
  counted as (
    update flowc.gate_keys k
    set in_flight = k.in_flight + n.taken, tokens = n.tokens - n.taken, refilled_at = now_at
    from next n
    where k.ctid = n.tid and n.taken > 0),
  moved as (
    update flowc.turns t set due_at = n.due_at, waiting = n.waiting
    from next n
    where t.ctid = n.turn and n.due_at is not null),
  ended as (
    delete from flowc.turns t using next n where t.ctid = n.turn and n.due_at is null),
  idle as (
    delete from flowc.gate_keys k using next n
    where k.ctid = n.tid and n.due_at is null
      and not exists (
        select from (select * from flowc.gated_steps o where o.gate = take_turns.gate offset 0) s
        cross join lateral (
          select from flowc.turns o where o.flow_slug = s.flow_slug and o.step_slug = s.step_slug and o.key = n.key offset 0) t
        where (s.flow_slug, s.step_slug) <> (take_turns.flow_slug, take_turns.step_slug)))
  select array_agg(t.tid) into chosen from taken t;
  return coalesce(chosen, '{}');
end $$;

-- Suspects --------------------------------------------------------------------

-- Reports whether a gate has room for a task of a step with a key.
create or replace function flowc.has_room(flow_slug text, step_slug text, key text) returns boolean
language plpgsql stable as $$
declare
  now_at timestamptz := clock_timestamp();
  gate   flowc.gates;
  counts flowc.gate_keys;
begin
  select g.* into gate
  from flowc.gated_steps s join flowc.gates g on g.name = any (array[s.gate])
  where s.flow_slug = has_room.flow_slug and s.step_slug = has_room.step_slug;
  if not found then
    return true;
  end if;
  select k.* into counts from flowc.gate_keys k where k.gate = gate.name and k.key = has_room.key;
  return not coalesce(gate.held_until > now_at or counts.held_until > now_at, false)
    and coalesce(gate.concurrency > coalesce(counts.in_flight, 0) - (
      select coalesce(sum(c.departed), 0) from flowc.gate_changes c where c.gate = gate.name and c.key = has_room.key), true)
    and coalesce(counts.tokens + greatest(extract(epoch from now_at - counts.refilled_at), 0) * gate.rate_tokens / gate.rate_seconds >= 1, true);
end $$;

-- Counts a suspect as in flight that a worker is about to claim, and reports whether the gate
-- of its step had room for it.
create or replace function flowc.enter_gate(worker_id uuid, task tid) returns boolean
language plpgsql as $$
declare
  now_at timestamptz := clock_timestamp();
  t      pgflow.step_tasks;
  gate   flowc.gates;
begin
  select o.* into t from pgflow.step_tasks o where o.ctid = enter_gate.task;
  select g.* into gate
  from flowc.gated_steps s join flowc.gates g on g.name = any (array[s.gate])
  where s.flow_slug = t.flow_slug and s.step_slug = t.step_slug;
  if not found then
    return true;
  end if;
  perform flowc.count_changes(gate.name);
  insert into flowc.gate_keys (gate, key) values (gate.name, t.gate_key) on conflict do nothing;
  perform from flowc.gate_keys k where k.gate = gate.name and k.key = t.gate_key for update skip locked;
  if not found or not flowc.has_room(t.flow_slug, t.step_slug, t.gate_key) then
    return false;
  end if;
  update flowc.gate_keys k
  set in_flight = k.in_flight + 1, refilled_at = now_at,
      tokens = least(gate.rate_burst, coalesce(
        k.tokens + greatest(extract(epoch from now_at - k.refilled_at), 0) * gate.rate_tokens / gate.rate_seconds, gate.rate_burst)) - 1
  where k.gate = gate.name and k.key = t.gate_key;
  insert into flowc.held (worker_id, message_id, claim_number, gate, key, flow_slug, step_slug, claimed_at)
  values (enter_gate.worker_id, t.message_id, t.claims_count + 1, gate.name, t.gate_key, t.flow_slug, t.step_slug, now_at);
  insert into flowc.turns (flow_slug, step_slug, key, due_at) values (t.flow_slug, t.step_slug, t.gate_key, now_at) on conflict do nothing;
  return true;
end $$;

-- Operating -------------------------------------------------------------------

-- Returns when claims of gated steps of these flows will next find something, NULL if that
-- is not known: now if something changed within the last second. What is older is found by
-- polls, since somebody may have locked it.
create or replace function flowc.next_turn(flow_slugs text[]) returns timestamptz
language plpgsql stable as $$
declare
  now_at  timestamptz := clock_timestamp();
  recent  timestamptz := now_at - interval '1 second';
begin
  return (
    select min(n.at)
    from unnest(next_turn.flow_slugs) f(slug)
    join flowc.gated_steps s on s.flow_slug = any (array[f.slug])
    join flowc.gates g on g.name = any (array[s.gate])
    left join lateral (
      select t.due_at from flowc.turns t
      where t.flow_slug = s.flow_slug and t.step_slug = s.step_slug and t.due_at > recent order by t.due_at limit 1) t on true
    cross join lateral (
      select case when g.held_until > now_at then g.held_until
                  when exists (select from flowc.gate_changes c where c.gate = g.name and c.changed_at > recent offset 0) then now_at
                  else t.due_at end) n(at));
end $$;

-- Overrides the limits of a gate until an upsert changes what is declared; what is NULL stays
-- as declared, and if all is, the override ends. Returns false if there is no such gate.
create or replace function flowc.set_gate(
  name text, concurrency int default null, tokens int default null, seconds int default null, burst int default null) returns boolean
language plpgsql as $$
declare
  flows text[];
begin
  if least(set_gate.concurrency, set_gate.tokens, set_gate.seconds, set_gate.burst) < 1 then
    raise invalid_parameter_value using message = 'the limits of a gate must be positive', hint = 'flowc.hold_gate stops a gate for a while.';
  elsif (set_gate.tokens is null) <> (set_gate.seconds is null) then
    raise invalid_parameter_value using message = 'the rate of a gate needs tokens and seconds';
  elsif num_nonnulls(set_gate.tokens, set_gate.burst) > 0 and flowc.is_gate_of_runs(set_gate.name) then
    raise invalid_parameter_value using message = 'the gate of a flow''s runs has no rate';
  end if;
  update flowc.gates g
  set concurrency = coalesce(set_gate.concurrency, l.concurrency),
      rate_tokens = coalesce(set_gate.tokens, l.rate_tokens),
      rate_seconds = coalesce(set_gate.seconds, l.rate_seconds),
      rate_burst = coalesce(set_gate.burst, case when set_gate.tokens is not null then least(set_gate.tokens, 100) end, l.rate_burst),
      overridden = num_nonnulls(set_gate.concurrency, set_gate.tokens, set_gate.burst) > 0
  from (select o.name, r.* from flowc.gates o cross join lateral flowc.read_limits(o.declared) r where o.name = set_gate.name) l
  where g.name = l.name;
  if not found then
    return false;
  end if;
  perform flowc.look_again(set_gate.name);
  return true;
end $$;

-- Has no attempt begin at a gate, or with a key of it, for some seconds from now on; none
-- ends that. Returns false if there is no such gate.
create or replace function flowc.hold_gate(name text, key text, seconds double precision) returns boolean
language plpgsql as $$
declare
  until timestamptz := case when hold_gate.seconds > 0 then clock_timestamp() + make_interval(secs => hold_gate.seconds) end;
begin
  if hold_gate.key is null then
    update flowc.gates g set held_until = until where g.name = hold_gate.name;
    if not found then
      return false;
    end if;
  elsif not exists (select from flowc.gates g where g.name = hold_gate.name) then
    return false;
  else
    insert into flowc.gate_changes (gate, flow_slug, step_slug, key, hold_until)
    select s.gate, s.flow_slug, s.step_slug, hold_gate.key, coalesce(until, '-infinity')
    from flowc.gated_steps s where s.gate = hold_gate.name
    order by s.flow_slug, s.step_slug limit 1;
  end if;
  perform flowc.look_again(hold_gate.name);
  return true;
end $$;

-- Has claims look again at all keys of a gate.
create or replace function flowc.look_again(gate text) returns void
language plpgsql as $$
begin
  insert into flowc.gate_changes (gate, flow_slug, step_slug, key)
  select s.gate, s.flow_slug, s.step_slug, t.key
  from flowc.gated_steps s
  join flowc.turns t on t.flow_slug = any (array[s.flow_slug]) and t.step_slug = s.step_slug and t.due_at > clock_timestamp()
  where s.gate = look_again.gate;
  perform flowc.wake_flows(array(select distinct s.flow_slug from flowc.gated_steps s where s.gate = look_again.gate));
end $$;

-- Lists gates with each of their keys that tasks have, in the order of their names and keys,
-- behind a gate and key. The key is NULL if tasks have none. in_flight counts what workers
-- have in hand, waiting the tasks in the queue, at most 10,000. At a gate of a flow's runs,
-- in_flight counts those in progress, waiting those in line.
create or replace function flowc.list_gates(
  flow_slug text default null, after_gate text default null, after_key text default null, at_most int default 100)
returns table (
  gate text, steps text[], key text, in_flight int, concurrency int, tokens double precision, rate_tokens int, rate_seconds int, burst int,
  waiting int, oldest_at timestamptz, held_until timestamptz, overridden boolean, declared jsonb)
language plpgsql stable as $$
#variable_conflict use_column
declare
  now_at timestamptz := clock_timestamp();
begin
  return query
    select p.name, p.steps, p.key,
           (coalesce(k.in_flight, 0) - coalesce(c.departed, 0))::int, p.concurrency,
           case when p.rate_tokens is not null then
             least(p.rate_burst, coalesce(
               k.tokens + greatest(extract(epoch from now_at - k.refilled_at), 0) * p.rate_tokens / p.rate_seconds, p.rate_burst))::double precision end,
           p.rate_tokens, p.rate_seconds, p.rate_burst,
           coalesce(w.waiting, 0)::int, w.oldest_at,
           case when h.until > now_at then h.until end, p.overridden, p.declared
    from (
      select g.*, s.steps, s.flows, s.slugs, x.key
      from flowc.gates g
      cross join lateral (
        select array_agg(flowc.own_gate(o.flow_slug, o.step_slug) order by o.flow_slug, o.step_slug), array_agg(o.flow_slug), array_agg(o.step_slug),
               bool_or(list_gates.flow_slug is null or o.flow_slug = list_gates.flow_slug)
        from flowc.gated_steps o where o.gate = g.name) s(steps, flows, slugs, asked)
      left join lateral (
        select o.key from flowc.gate_keys o where o.gate = g.name
        union
        select o.key from flowc.gate_changes o where o.gate = g.name) x on true
      where s.asked and g.name >= coalesce(list_gates.after_gate, '')
        and (list_gates.after_gate is null or (g.name, coalesce(x.key, '')) > (list_gates.after_gate, coalesce(list_gates.after_key, '')))
      order by g.name, x.key
      limit list_gates.at_most) p
    left join lateral (select o.* from flowc.gate_keys o where o.gate = p.name and o.key = p.key offset 0) k on true
    left join lateral (
      select sum(o.departed) as departed,
             case when bool_or(o.hold_until = '-infinity') then '-infinity' else max(o.hold_until) end as hold_until
      from flowc.gate_changes o where o.gate = p.name and o.key = p.key) c on true
    cross join lateral (
      select greatest(p.held_until, case when c.hold_until = '-infinity' then null else greatest(k.held_until, c.hold_until) end) as until) h
    left join lateral (
      select sum(q.waiting) as waiting, min(q.oldest_at) as oldest_at
      from unnest(p.flows, p.slugs) u(flow_slug, step_slug)
      cross join lateral (
        select count(*) as waiting, min(o.queued_at) as oldest_at
        from (
          (select t.queued_at from pgflow.step_tasks t
           where t.flow_slug = u.flow_slug and t.step_slug = u.step_slug and t.gate_key = p.key and t.subqueue = 'g' and t.in_queue and t.status = 'queued'
           limit 10000)
          union all
          (select d.due_at from flowc.scheduled_runs d where u.step_slug = '' and d.flow_slug = u.flow_slug and d.turn_key = p.key limit 10000)
          union all
          (select r.requested_at from flowc.requests r
           where u.step_slug = '' and r.flow_slug = u.flow_slug and r.turn_key = p.key and r.error is null limit 10000)
          limit 10000) o) q) w on true
    order by p.name, p.key;
end $$;

-- Lists what is wrong with gates: what counts do not add up, what dead workers hold, and
-- tasks that no claim would look at. There should be nothing.
create or replace function flowc.check_gates() returns table (gate text, key text, problem text)
language plpgsql stable as $$
#variable_conflict use_column
begin
  return query
    select o.gate, o.key, case when flowc.is_gate_of_runs(o.gate) then format('%s runs are counted as in progress, but there are %s', o.counted, o.held)
                               else format('%s tasks are counted as in flight, but workers hold %s', o.counted, o.held) end
    from (
      select x.gate, x.key, sum(x.counted) as counted, sum(x.held) as held
      from (
        select k.gate, k.key, k.in_flight as counted, 0 as held from flowc.gate_keys k
        union all
        select c.gate, c.key, -c.departed, 0 from flowc.gate_changes c
        union all
        select h.gate, h.key, 0, 1 from flowc.held h
        union all
        select flowc.own_gate(l.flow_slug, ''), l.key, 0, 1 from flowc.limited_runs l) x
      group by x.gate, x.key) o
    where o.counted <> o.held;
  return query
    select flowc.own_gate(l.flow_slug, ''), l.key, format('run %s is counted as in progress, and is not', l.run_id)
    from flowc.limited_runs l
    where not exists (select from pgflow.runs r where r.run_id = l.run_id and r.status = 'started' offset 0)
      or exists (select from flowc.scheduled_runs d where d.run_id = l.run_id offset 0);
  return query
    select x.gate, x.turn_key, format('%s runs of flow %s wait in line, but nobody looks at them', count(*), x.flow_slug)
    from (
      select flowc.own_gate(d.flow_slug, '') as gate, d.flow_slug, d.turn_key from flowc.scheduled_runs d where d.turn_key is not null
      union all
      select flowc.own_gate(q.flow_slug, ''), q.flow_slug, q.turn_key from flowc.requests q where q.turn_key is not null and q.error is null) x
    where not exists (select from flowc.turns o where o.flow_slug = x.flow_slug and o.step_slug = '' and o.key = x.turn_key offset 0)
      and not exists (select from flowc.gate_changes c where c.gate = x.gate and c.key = x.turn_key offset 0)
    group by x.gate, x.flow_slug, x.turn_key;
  return query
    select h.gate, h.key, format('worker %s holds %s tasks since %s, and is not alive', h.worker_id, count(*), min(h.claimed_at))
    from flowc.held h
    where h.claimed_at < clock_timestamp() - interval '1 minute'
      and not exists (select from pgflow.workers w where w.worker_id = h.worker_id and w.stopped_at is null offset 0)
    group by h.gate, h.key, h.worker_id;
  return query
    select s.gate, t.gate_key, format('%s tasks of step %s in flow %s wait, but no claim looks at them', t.tasks, s.step_slug, s.flow_slug)
    from flowc.gated_steps s
    cross join lateral (
      select o.gate_key, count(*) as tasks from pgflow.step_tasks o
      where o.flow_slug = s.flow_slug and o.step_slug = s.step_slug and o.subqueue = 'g' and o.in_queue and o.status = 'queued'
      group by o.gate_key) t
    where not exists (select from flowc.turns o where o.flow_slug = s.flow_slug and o.step_slug = s.step_slug and o.key = t.gate_key offset 0)
      and not exists (
        select from flowc.gate_changes c
        where c.gate = s.gate and c.flow_slug = s.flow_slug and c.step_slug = s.step_slug and c.key = t.gate_key offset 0);
end $$;
