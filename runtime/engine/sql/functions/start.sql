-- Starting runs.

-- A random id that sorts by time, so that the rows of new runs lie together.
create or replace function flowc.new_run_id() returns uuid
language plpgsql as $$
begin
  return encode(set_byte(
    overlay(uuid_send(gen_random_uuid()) placing
      substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3) from 1 for 6),
    6, 112 | (get_byte(uuid_send(gen_random_uuid()), 6) & 15)), 'hex')::uuid;
end $$;

-- Starts a run of one flow for each input, all or none. A run id that exists
-- already starts nothing and is reported as existing; a NULL one is made up. With
-- a time to start at, or to wait before it, the runs are only scheduled.
create or replace function flowc.start(
  flow_slug text, inputs jsonb[], run_ids uuid[],
  start_at timestamptz default null, start_in interval default null)
returns table (n int, run_id uuid, existed boolean, status text, scheduled_at timestamptz)
language plpgsql as $$
#variable_conflict use_column
declare
  step_count int;
  root_maps  boolean;
  plain      boolean;
  due_at     timestamptz;
  ids        uuid[];
  fresh      uuid[];
  runs       uuid[];
  steps      text[];
begin
  perform pg_advisory_xact_lock_shared(1, hashtext(start.flow_slug));
  select count(*), coalesce(bool_or(s.step_type = 'map' and s.deps_count = 0), false),
         coalesce(not bool_or(s.deps_count = 0 and (s.required_input_pattern is not null or s.forbidden_input_pattern is not null)), false)
  into step_count, root_maps, plain
  from pgflow.steps s where s.flow_slug = start.flow_slug;
  if step_count = 0 and not flowc.flow_exists(start.flow_slug) then
    raise foreign_key_violation using
      message = 'insert or update on table "runs" violates foreign key constraint "runs_flow_slug_fkey"',
      detail = format('Key (flow_slug)=(%s) is not present in table "flows".', start.flow_slug),
      constraint = 'runs_flow_slug_fkey', table = 'runs', schema = 'pgflow';
  end if;
  if root_maps then
    perform flowc.require_arrays(start.flow_slug, start.inputs);
    plain := plain and not exists (select from unnest(start.inputs) i(input) where i.input = '[]');
  end if;

  due_at := coalesce(start.start_at, clock_timestamp() + start.start_in);
  if due_at <= clock_timestamp() then
    due_at := null;
  end if;

  select array_agg(coalesce(u.run_id, flowc.new_run_id()) order by u.n) into ids
  from unnest(start.inputs, start.run_ids) with ordinality u(input, run_id, n);
  with made as (
    insert into pgflow.runs (run_id, flow_slug, input, remaining_steps)
    select u.run_id, start.flow_slug, u.input, step_count
    from unnest(ids, start.inputs) with ordinality u(run_id, input, n) order by u.n
    on conflict on constraint runs_pkey do nothing
    returning run_id)
  select array_agg(m.run_id) into fresh from made m;

  if fresh is not null then
    -- Roots that nothing can hold up are inserted as started.
    plain := plain and due_at is null;
    with made as (
      insert into pgflow.step_states (flow_slug, run_id, step_slug, remaining_deps, initial_tasks, status, started_at, remaining_tasks)
      select s.flow_slug, u.run_id, s.step_slug, s.deps_count, t.tasks,
             case when plain and s.deps_count = 0 then 'started' else 'created' end,
             case when plain and s.deps_count = 0 then now() end,
             case when plain and s.deps_count = 0 then t.tasks end
      from unnest(fresh) with ordinality u(run_id, n)
      cross join pgflow.steps s
      cross join lateral (
        select case when s.step_type = 'single' then 1
                    when s.deps_count = 0 then (select jsonb_array_length(r.input) from pgflow.runs r where r.run_id = u.run_id) end) t(tasks)
      where s.flow_slug = start.flow_slug
      returning run_id, step_slug, status)
    select array_agg(m.run_id order by m.run_id, s.step_index), array_agg(m.step_slug order by m.run_id, s.step_index) into runs, steps
    from made m join pgflow.steps s on s.flow_slug = start.flow_slug and s.step_slug = m.step_slug
    where m.status = 'started';

    if due_at is not null then
      insert into flowc.scheduled (run_id, flow_slug, due_at) select u.run_id, start.flow_slug, due_at from unnest(fresh) u(run_id);
      perform flowc.wake_flows(array[start.flow_slug]);
    else
      if flowc.events_wanted() then
        perform flowc.emit_runs(fresh);
        if runs is not null then
          perform flowc.emit_steps(runs, steps);
        end if;
      end if;
      if runs is not null then
        perform flowc.spawn_tasks(runs, steps);
        perform flowc.wake_flows(array[start.flow_slug]);
      end if;
      if not plain or step_count = 0 then
        perform flowc.advance(fresh);
      end if;
    end if;
  end if;

  if coalesce(cardinality(fresh), 0) < cardinality(ids) and exists (
    select from unnest(ids) u(run_id) join pgflow.runs r on r.run_id = u.run_id where r.flow_slug <> start.flow_slug) then
    raise unique_violation using
      message = 'duplicate key value violates unique constraint "runs_pkey"',
      detail = 'A run of another flow has that id.', constraint = 'runs_pkey', table = 'runs', schema = 'pgflow';
  end if;
  return query
    select u.n::int, u.run_id, coalesce(cardinality(fresh), 0) < cardinality(ids)
             and (u.run_id <> all (coalesce(fresh, '{}')) or u.n > array_position(ids, u.run_id)),
           r.status, due_at
    from unnest(ids) with ordinality u(run_id, n)
    join pgflow.runs r on r.run_id = u.run_id
    order by u.n;
end $$;

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

-- Starts scheduled runs whose time has come, and says how many. Whoever comes
-- first takes them.
create or replace function flowc.start_due(flow_slugs text[]) returns int
language plpgsql as $$
declare
  due uuid[];
begin
  with taken as (
    select s.run_id from unnest(start_due.flow_slugs) f(slug)
    cross join lateral (
      select d.run_id from flowc.scheduled d
      where d.flow_slug = f.slug and d.due_at <= clock_timestamp()
      order by d.due_at limit 1000
      for update skip locked) s),
  gone as (
    delete from flowc.scheduled s using taken t where s.run_id = t.run_id returning s.run_id, s.due_at)
  select array_agg(g.run_id order by g.due_at, g.run_id) into due from gone g;
  if due is null then
    return 0;
  end if;
  update pgflow.runs r set started_at = clock_timestamp() from unnest(due) u(run_id) where r.run_id = u.run_id;
  if flowc.events_wanted() then
    perform flowc.emit_runs(due);
  end if;
  perform flowc.advance(due);
  return cardinality(due);
end $$;

create or replace function pgflow.start_flow(flow_slug text, input jsonb, run_id uuid default null) returns setof pgflow.runs
language plpgsql as $$
declare
  started record;
begin
  select s.run_id, s.existed into started from flowc.start(start_flow.flow_slug, array[start_flow.input], array[start_flow.run_id]) s;
  if started.existed then
    raise unique_violation using
      message = 'duplicate key value violates unique constraint "runs_pkey"',
      detail = format('Key (run_id)=(%s) already exists.', start_flow.run_id),
      constraint = 'runs_pkey', table = 'runs', schema = 'pgflow';
  end if;
  return query select r.* from pgflow.runs r where r.run_id = started.run_id;
end $$;

create or replace function pgflow.start_flow_with_states(flow_slug text, input jsonb, run_id uuid default null) returns jsonb
language plpgsql as $$
declare
  id uuid;
begin
  select r.run_id into id from pgflow.start_flow(start_flow_with_states.flow_slug, start_flow_with_states.input, start_flow_with_states.run_id) r;
  return pgflow.get_run_with_states(id);
end $$;
