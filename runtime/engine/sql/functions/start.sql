-- Starting runs.

-- Returns a random id that sorts by time (UUID version 7), so that the rows of new runs lie
-- together.
create or replace function flowc.new_run_id() returns uuid
language plpgsql as $$
begin
  return encode(set_byte(
    overlay(uuid_send(gen_random_uuid()) placing
      substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3) from 1 for 6),
    6, 112 | (get_byte(uuid_send(gen_random_uuid()), 6) & 15)), 'hex')::uuid;
end $$;

-- Starts a run of a flow for each input, all or none, in the order of the ids. If a run
-- with an id exists already, nothing is started and existed is true, even if it is of
-- another version of the flow: of_flow says of which. Where an id is NULL, one is
-- generated. With start_at or start_in, the runs are scheduled; and those of a flow that
-- limits how many are in progress wait in line, see limits.sql. headers[i] is what the i-th
-- run carries besides its input, if anything.
-- With suppress_notify, nobody is woken: a claim follows in the same transaction, which
-- takes the new tasks or wakes others for what it leaves.
-- If all ids were given and all runs simply started, only the first is returned.
-- With map_version, nothing is started unless that is the version of the map of shards here.
-- priority is 'high', 'normal' or 'low', NULL for that of the flow.
-- Where the flow says that one run is started for the same values in the input, existed is
-- also true of those that are not, with the id of the run that is there, see start_unique.
-- duplicates is 'allow' to start them all the same; 'refuse' to start nothing if a run were
-- to be given another id than its own.
create or replace function flowc.start(
  flow_slug text, inputs jsonb[], run_ids uuid[],
  start_at timestamptz default null, start_in interval default null, headers jsonb[] default null, suppress_notify boolean default false,
  map_version int default null, priority text default null, duplicates text default null)
returns table (n int, run_id uuid, existed boolean, status text, scheduled_at timestamptz, of_flow text)
language plpgsql as $$
#variable_conflict use_column
declare
  step_count int;
  root_maps  boolean;
  simple     boolean; -- whether the first steps start in any case
  settings   jsonb;
  of_all     "char"; -- the priority of the runs
  generated  boolean := start.run_ids is null or array_position(start.run_ids, null) is not null;
  due_at     timestamptz;
  ids        uuid[];
  fresh      uuid[];
  all_new    boolean; -- whether none of the ids existed, or was given twice
  deleted    int[] := '{}'; -- the positions of runs that existed and were deleted meanwhile
begin
  if start.map_version is not null then
    perform flowc.require_map(start.map_version);
  end if;
  if start.suppress_notify then
    perform set_config('flowc.suppress_notify', 'on', true);
  end if;
  if start.priority is not null then
    perform flowc.require_priority(start.priority);
  end if;
  perform from flowc.definition_locks d where d.flow_slug = start.flow_slug for key share;
  settings := flowc.start_settings(start.flow_slug);
  select count(*), coalesce(bool_or(s.step_type = 'map' and s.deps_count = 0), false),
         coalesce(not bool_or(s.deps_count = 0 and (s.required_input_pattern is not null or s.forbidden_input_pattern is not null)), false)
  into step_count, root_maps, simple
  from pgflow.steps s where s.flow_slug = start.flow_slug;
  if step_count = 0 and not flowc.flow_exists(start.flow_slug) then
    raise foreign_key_violation using
      message = 'insert or update on table "runs" violates foreign key constraint "runs_flow_slug_fkey"',
      detail = format('Key (flow_slug)=(%s) is not present in table "flows".', start.flow_slug),
      constraint = 'runs_flow_slug_fkey', table = 'runs', schema = 'pgflow';
  end if;
  of_all := flowc.priority_code(coalesce(start.priority, settings ->> 'priority'));
  perform flowc.require_readable(start.inputs);
  if root_maps then
    perform flowc.require_arrays(start.flow_slug, start.inputs);
    simple := simple and not ('[]' = any (start.inputs));
  end if;
  if settings is not null then
    simple := simple and not (settings -> 'slow')::boolean;
    if settings ? 'unique' and start.duplicates is distinct from 'allow' then
      return query select s.* from flowc.start_unique(
        start.flow_slug, start.inputs, start.run_ids, start.start_at, start.start_in, start.headers, start.priority, start.duplicates, settings) s;
      return;
    end if;
  end if;

  due_at := coalesce(start.start_at, clock_timestamp() + start.start_in);
  if settings ? 'concurrency' then
    due_at := coalesce(due_at, clock_timestamp());
  elsif due_at <= clock_timestamp() then
    due_at := null;
  end if;
  ids := start.run_ids;
  if generated then
    ids := array(
      select coalesce(u.run_id, flowc.new_run_id()) from unnest(start.inputs, start.run_ids) with ordinality u(input, run_id, n) order by u.n);
  end if;

  if simple and due_at is null then
    fresh := flowc.start_simple_runs(start.flow_slug, start.inputs, ids, step_count, of_all, coalesce((settings -> 'gated')::boolean, false));
    if start.priority is not null and fresh is not null then
      perform flowc.store_priorities(fresh, start.priority);
    end if;
  else
    fresh := flowc.create_runs(start.flow_slug, start.inputs, ids, step_count, start.priority);
    if fresh is null then
      null;
    elsif due_at is not null then
      insert into flowc.scheduled_runs (run_id, flow_slug, due_at) select u.run_id, start.flow_slug, due_at from unnest(fresh) u(run_id);
      if settings ? 'concurrency' then
        perform flowc.line_up(start.flow_slug, fresh); -- those that are due
      end if;
      perform flowc.wake_flows(array[start.flow_slug]);
    else
      perform flowc.start_created_runs(fresh);
    end if;
  end if;

  if start.headers is not null and fresh is not null then
    insert into flowc.run_headers (run_id, headers)
    select u.run_id, u.headers from unnest(ids, start.headers) u(run_id, headers)
    where u.headers is not null and u.run_id = any (fresh)
    on conflict do nothing; -- an id that is given twice is one run, the first
  end if;

  all_new := coalesce(cardinality(fresh) = cardinality(ids), false);
  if all_new and simple then
    return query
      select u.n::int, u.run_id, false, 'started', due_at, start.flow_slug from unnest(ids) with ordinality u(run_id, n)
      where generated or due_at is not null or u.n = 1 order by u.n;
    return;
  end if;
  if not all_new then
    deleted := array(
      select u.n::int from unnest(ids) with ordinality u(run_id, n)
      where not exists (select from pgflow.runs r where r.run_id = u.run_id) order by u.n);
  end if;
  if deleted <> '{}' then
    -- Somebody deleted them after they were found to exist, so start them now.
    return query
      select deleted[s.n], s.run_id, s.existed, s.status, s.scheduled_at, s.of_flow
      from flowc.start(start.flow_slug, array(select start.inputs[d.n] from unnest(deleted) with ordinality d(n, i) order by d.i),
        array(select ids[d.n] from unnest(deleted) with ordinality d(n, i) order by d.i), start.start_at, start.start_in,
        case when start.headers is not null then array(select start.headers[d.n] from unnest(deleted) with ordinality d(n, i) order by d.i) end,
        start.suppress_notify, priority => start.priority, duplicates => 'allow') s;
  end if;
  if not all_new and exists (select from unnest(ids) u(run_id) join pgflow.runs r on r.run_id = any (array[u.run_id])
             where flowc.base_slug(r.flow_slug) <> flowc.base_slug(start.flow_slug)) then
    raise unique_violation using
      message = 'duplicate key value violates unique constraint "runs_pkey"',
      detail = 'A run of another flow has that id.', constraint = 'runs_pkey', table = 'runs', schema = 'pgflow';
  end if;
  return query
    select u.n::int, u.run_id,
           not all_new and (fresh is null or u.run_id <> all (fresh) or u.n > array_position(ids, u.run_id)),
           r.status, s.due_at, r.flow_slug
    from unnest(ids) with ordinality u(run_id, n)
    left join pgflow.runs r on r.run_id = any (array[u.run_id])
    left join flowc.scheduled_runs s on s.run_id = any (array[u.run_id])
    where u.n <> all (deleted)
    order by u.n;
end $$;

-- Creates runs and the states of their steps, and returns those that did not exist.
create or replace function flowc.create_runs(flow_slug text, inputs jsonb[], run_ids uuid[], step_count int, priority text) returns uuid[]
language plpgsql as $$
declare
  fresh uuid[];
begin
  with made as (
    insert into pgflow.runs as r (run_id, flow_slug, input, remaining_steps)
    select u.run_id, create_runs.flow_slug, u.input, create_runs.step_count
    from unnest(create_runs.run_ids, create_runs.inputs) with ordinality u(run_id, input, n)
    order by u.run_id, u.n -- two callers with the same ids must not wait for each other
    on conflict on constraint runs_pkey do nothing
    returning r.run_id, r.input),
  state as (
    insert into pgflow.step_states (flow_slug, run_id, step_slug, remaining_deps, initial_tasks)
    select s.flow_slug, m.run_id, s.step_slug, s.deps_count,
           case when s.step_type = 'single' then 1 when s.deps_count = 0 then jsonb_array_length(m.input) end
    from made m cross join pgflow.steps s
    where s.flow_slug = create_runs.flow_slug)
  select array_agg(m.run_id) into fresh from made m;
  if create_runs.priority is not null and fresh is not null then
    perform flowc.store_priorities(fresh, create_runs.priority);
  end if;
  return fresh;
end $$;

-- Starts the first steps of runs that were created before.
create or replace function flowc.start_created_runs(run_ids uuid[]) returns void
language plpgsql as $$
begin
  if to_regnamespace('realtime') is not null then
    perform flowc.emit_runs(start_created_runs.run_ids);
  end if;
  if exists (select from flowc.settings k where k.step_slug = '' and k.settings ? 'deadline') then
    perform flowc.set_deadlines(start_created_runs.run_ids);
  end if;
  perform flowc.advance_runs(start_created_runs.run_ids);
end $$;

-- Inserts many runs at once if none of their ids exists, and reports whether it did.
-- Looking up each id first, as `on conflict` does, would cost a tenth of the start.
create or replace function flowc.insert_new_runs(flow_slug text, inputs jsonb[], run_ids uuid[], step_count int) returns boolean
language plpgsql as $$
begin
  insert into pgflow.runs (run_id, flow_slug, input, remaining_steps)
  select u.run_id, insert_new_runs.flow_slug, u.input, insert_new_runs.step_count
  from unnest(insert_new_runs.run_ids, insert_new_runs.inputs) u(run_id, input)
  order by u.run_id; -- two callers with the same ids must not wait for each other
  return true;
exception when unique_violation then
  return false;
end $$;

-- Creates runs and starts their first steps in one statement, for flows whose first steps
-- start in any case: without condition, and no empty map, and with the same priority. Nearly
-- all are such, and the cost of a single start is mostly that of its statements. gated says
-- whether steps of the flow have gates.
create or replace function flowc.start_simple_runs(flow_slug text, inputs jsonb[], run_ids uuid[], step_count int, priority "char", gated boolean) returns uuid[]
language plpgsql as $$
declare
  -- For a few, the subtransaction would cost more than it saves.
  all_new boolean := cardinality(start_simple_runs.run_ids) >= 20
    and flowc.insert_new_runs(start_simple_runs.flow_slug, start_simple_runs.inputs, start_simple_runs.run_ids, start_simple_runs.step_count);
  fresh   uuid[];
  steps   text[]; -- those with gates, and the keys of their tasks
  keys    text[];
begin
  with inserted as (
    insert into pgflow.runs as r (run_id, flow_slug, input, remaining_steps)
    select u.run_id, start_simple_runs.flow_slug, u.input, start_simple_runs.step_count
    from unnest(start_simple_runs.run_ids, start_simple_runs.inputs) with ordinality u(run_id, input, n)
    where not all_new
    order by u.run_id, u.n -- two callers with the same ids must not wait for each other
    on conflict on constraint runs_pkey do nothing
    returning r.run_id, r.input),
  made as (
    select i.run_id, i.input from inserted i
    union all
    select u.run_id, u.input from unnest(start_simple_runs.run_ids, start_simple_runs.inputs) u(run_id, input) where all_new),
  step as materialized (
    select m.run_id, s.step_slug, s.step_index, s.step_type, s.deps_count, coalesce(s.opt_start_delay, 0) as delay,
           case when s.step_type = 'single' then 1 when s.deps_count = 0 then jsonb_array_length(m.input) end as tasks,
           g.gate, coalesce(g.strict_order, false) as strict_order, g.key
    from made m
    cross join pgflow.steps s
    left join lateral ( -- the key of a first step is in the input
      select o.gate, o.strict_order, coalesce(flowc.key_of(i.value), '') as key
      from flowc.gated_steps o
      cross join lateral (select m.input #> o.key_path[2:] as value offset 0) i
      where start_simple_runs.gated and s.deps_count = 0 and o.flow_slug = s.flow_slug and o.step_slug = s.step_slug offset 0) g on true
    where s.flow_slug = start_simple_runs.flow_slug),
  state as (
    insert into pgflow.step_states (flow_slug, run_id, step_slug, remaining_deps, initial_tasks, status, started_at, remaining_tasks)
    select start_simple_runs.flow_slug, s.run_id, s.step_slug, s.deps_count, s.tasks,
           case when s.deps_count = 0 then 'started' else 'created' end,
           case when s.deps_count = 0 then clock_timestamp() end, case when s.deps_count = 0 then s.tasks end
    from step s),
  task as (
    insert into pgflow.step_tasks (flow_slug, run_id, step_slug, task_index, message_id, in_queue, visible_at, subqueue, priority, due_at, gate_key)
    select start_simple_runs.flow_slug, o.run_id, o.step_slug, o.task_index, nextval('flowc.message_ids'), true, clock_timestamp() + make_interval(secs => o.delay),
           case when o.gate is not null then 'g' when o.delay > 0 then 'd' else start_simple_runs.priority end, start_simple_runs.priority,
           case when o.delay > 0 and not o.strict_order then clock_timestamp() + make_interval(secs => o.delay) end, o.key
    from (
      select s.*, 0 as task_index
      from step s where s.deps_count = 0 and s.step_type = 'single'
      union all
      select s.*, g.task_index
      from step s cross join lateral generate_series(0, s.tasks - 1) g(task_index)
      where s.deps_count = 0 and s.step_type = 'map'
      order by run_id, step_index, task_index) o)
  select (select array_agg(m.run_id) from made m), array_agg(a.step_slug), array_agg(a.key) into fresh, steps, keys
  from (select distinct s.step_slug, s.key from step s where s.gate is not null) a;
  if fresh is not null then
    if keys is not null then
      perform flowc.note_arrivals(array_fill(start_simple_runs.flow_slug, array[cardinality(keys)]), steps, keys);
    end if;
    if start_simple_runs.priority <> 'r' then
      perform flowc.note_priorities(array[start_simple_runs.flow_slug]);
    end if;
    if to_regnamespace('realtime') is not null then
      perform flowc.emit_runs(fresh);
      perform flowc.emit_steps(array_agg(r.run_id order by r.n, s.step_index), array_agg(s.step_slug order by r.n, s.step_index))
      from unnest(fresh) with ordinality r(run_id, n) cross join pgflow.steps s
      where s.flow_slug = start_simple_runs.flow_slug and s.deps_count = 0;
    end if;
    perform flowc.wake_workers(array[start_simple_runs.flow_slug]);
  end if;
  return fresh;
end $$;

-- Starts the scheduled runs and the schedules that are due, begins runs that wait in line and
-- have room, and does what apply_due does.
-- Returns how much it did. What somebody else holds is skipped: whoever comes first does it.
create or replace function flowc.start_due(flow_slugs text[]) returns int
language plpgsql as $$
declare
  n       int := flowc.start_ticks(start_due.flow_slugs) + flowc.apply_due(start_due.flow_slugs);
  now_at  timestamptz := clock_timestamp();
  locked  uuid[];
  due     uuid[];
  limited record;
begin
  select array_agg(l.run_id) into locked
  from unnest(start_due.flow_slugs) f(slug)
  cross join lateral (
    select r.run_id from (
      select d.run_id from flowc.scheduled_runs d
      where d.flow_slug = f.slug and d.turn_key is null and d.due_at <= now_at
      order by d.due_at offset 0) s
    cross join lateral (
      select o.run_id from pgflow.runs o where o.run_id = s.run_id for update skip locked) r
    limit 1000) l;
  if locked is not null then
    for limited in -- those whose flow has a limit, which it keeps as long as we have locked them
      select s.flow_slug, array_agg(r.run_id) as run_ids
      from unnest(locked) u(run_id)
      join pgflow.runs r on r.run_id = any (array[u.run_id])
      join flowc.gated_steps s on s.flow_slug = any (array[r.flow_slug]) and s.step_slug = ''
      group by s.flow_slug order by s.flow_slug
    loop
      perform flowc.line_up(limited.flow_slug, limited.run_ids);
      locked := array(select u.run_id from unnest(locked) u(run_id) where u.run_id <> all (limited.run_ids));
      n := n + cardinality(limited.run_ids);
    end loop;
    with started as (
      delete from flowc.scheduled_runs s using unnest(locked) u(run_id)
      where s.run_id = any (array[u.run_id]) and s.due_at <= now_at -- it may have been moved since
      returning s.run_id, s.due_at)
    select array_agg(s.run_id order by s.due_at, s.run_id) into due from started s;
  end if;
  if due is not null then
    update pgflow.runs r set started_at = clock_timestamp() from unnest(due) u(run_id) where r.run_id = any (array[u.run_id]);
    perform flowc.start_created_runs(due);
    n := n + cardinality(due);
  end if;
  return n + flowc.begin_runs(start_due.flow_slugs);
end $$;

-- Refuses values that are many times as long as text as they are in storage: numbers such
-- as 1e131071 are written without exponents each time they are read. Clients of this
-- project check that themselves; this is for all others. Less than 4,000 bytes cannot
-- become much.
create or replace function flowc.require_readable(payloads jsonb[]) returns void
language plpgsql immutable as $$
declare
  longest bigint;
begin
  if pg_column_size(require_readable.payloads) < 4000 then
    return;
  end if;
  select max(o.text_bytes) into longest
  from (
    select pg_column_size(u.payload)::bigint as bytes, octet_length(u.payload::text) as text_bytes
    from unnest(require_readable.payloads) u(payload)
    where pg_column_size(u.payload) >= 4000 offset 0) o -- the text is made once
  where o.text_bytes > 8 * o.bytes + 33554432;
  if longest is not null then
    raise program_limit_exceeded using
      message = format('a value contains numbers that are too long where they are written without exponents: %s bytes', longest),
      hint = 'Write numbers of more than 1100 digits as strings.';
  end if;
end $$;

-- Refuses inputs that are no arrays, for flows whose first steps include a map.
create or replace function flowc.require_arrays(flow_slug text, inputs jsonb[]) returns void
language plpgsql immutable as $$
declare
  input jsonb;
begin
  foreach input in array require_arrays.inputs loop
    if input is null then
      raise exception 'Flow % has root map steps but input is NULL', require_arrays.flow_slug;
    elsif jsonb_typeof(input) <> 'array' then
      raise exception 'Flow % has root map steps but input is not an array (got %)', require_arrays.flow_slug, jsonb_typeof(input);
    end if;
  end loop;
end $$;
