-- Settings of flows and steps that the contract does not know, see flowc.settings.

-- Stores the kinds and settings of a definition, and reports whether any differed.
create or replace function flowc.set_settings(flow_slug text, definition jsonb) returns boolean
language plpgsql as $$
declare
  gone    int;
  changed int;
begin
  delete from flowc.settings s
  where s.flow_slug = set_settings.flow_slug
    and not exists (select from flowc.defined_settings(set_settings.definition) d where d.step_slug = s.step_slug);
  get diagnostics gone = row_count;
  insert into flowc.settings as s (flow_slug, step_slug, kind, settings)
  select set_settings.flow_slug, d.step_slug, d.kind, d.settings from flowc.defined_settings(set_settings.definition) d
  on conflict on constraint settings_pkey do update set kind = excluded.kind, settings = excluded.settings
  where (s.kind, s.settings) is distinct from (excluded.kind, excluded.settings);
  get diagnostics changed = row_count;
  if gone + changed > 0 then
    perform flowc.set_gates(set_settings.flow_slug);
  end if;
  return gone + changed > 0;
end $$;

-- Returns the kinds and settings in a definition: those of the flow, as step '', and of the
-- steps that have any.
create or replace function flowc.defined_settings(definition jsonb) returns table (step_slug text, kind text, settings jsonb)
language sql immutable as $$
  select '', null, defined_settings.definition -> 'settings' where defined_settings.definition ? 'settings'
  union all
  select e.step ->> 'slug', e.step ->> 'kind', coalesce(e.step -> 'settings', '{}')
  from jsonb_array_elements(coalesce(defined_settings.definition -> 'steps', '[]')) e(step)
  where e.step ? 'kind' or e.step ? 'settings'
$$;

-- Compares the kinds of the steps in a definition with those of a flow, in the words in
-- which shapes are compared. A flow that another language has defined anew has lost them.
create or replace function flowc.compare_kinds(flow_slug text, definition jsonb) returns text[]
language sql stable as $$
  select coalesce(array_agg(format('Step at index %s: kind differs ''%s'' vs ''%s''',
    e.n - 1, coalesce(e.step ->> 'kind', 'task'), coalesce(k.kind, 'task')) order by e.n), '{}')
  from jsonb_array_elements(coalesce(compare_kinds.definition -> 'steps', '[]')) with ordinality e(step, n)
  join pgflow.steps s on s.flow_slug = compare_kinds.flow_slug and s.step_slug = e.step ->> 'slug'
  left join flowc.settings k on k.flow_slug = compare_kinds.flow_slug and k.step_slug = s.step_slug
  where (e.step ->> 'kind') is distinct from k.kind
$$;

-- Returns the settings of a flow or a step as a definition has them, an empty object if
-- there are none.
create or replace function flowc.settings_shape(flow_slug text, step_slug text) returns jsonb
language sql stable as $$
  select coalesce((
    select case when k.kind is null then '{}' else jsonb_build_object('kind', k.kind) end
        || case when k.settings = '{}' then '{}' else jsonb_build_object('settings', k.settings) end
    from flowc.settings k where k.flow_slug = settings_shape.flow_slug and k.step_slug = settings_shape.step_slug), '{}')
$$;

-- Returns the settings of a flow that matter where a run is started, NULL if there are none:
-- those of the flow itself; "slow" if its first steps take more than being put into the queue,
-- since one of them waits, reads when to start or has its own priority, or the run has a
-- deadline; and "gated" if steps have gates.
create or replace function flowc.start_settings(flow_slug text) returns jsonb
language plpgsql stable as $$
begin
  if not exists (select from flowc.settings k where k.flow_slug = start_settings.flow_slug) then
    return null;
  end if;
  return coalesce(
    (select k.settings from flowc.settings k where k.flow_slug = start_settings.flow_slug and k.step_slug = ''), '{}')
    || jsonb_build_object('gated', flowc.is_gated(array[start_settings.flow_slug]), 'slow', exists (
      select from flowc.settings k
      where k.flow_slug = start_settings.flow_slug
        and (k.kind = 'wait' or k.settings ?| case k.step_slug when '' then '{deadline}' else '{startAt,startDelay,priority}' end::text[])
        and (k.step_slug = '' or exists (
          select from pgflow.steps s where s.flow_slug = k.flow_slug and s.step_slug = k.step_slug and s.deps_count = 0 offset 0))));
end $$;

-- Returns the value that a path leads to, NULL if there is none: ["run", …] in the input of
-- a run, [step, …] in the output of a step.
create or replace function flowc.value_at(run_id uuid, path jsonb) returns jsonb
language plpgsql stable as $$
declare
  names text[] := array(select e.name from jsonb_array_elements_text(value_at.path) with ordinality e(name, n) order by e.n);
  value jsonb;
begin
  if names[1] = 'run' then
    select r.input into value from pgflow.runs r where r.run_id = value_at.run_id;
  else
    select st.output into value from pgflow.step_states st
    where st.run_id = value_at.run_id and st.step_slug = names[1] and st.status = 'completed';
  end if;
  return value #> names[2:];
end $$;

-- Returns what is wrong with a step whose start cannot be read.
create or replace function flowc.unreadable_start(flow_slug text, step_slug text) returns text
language sql stable as $$
  select format('flowc: %s of step %s is no %s: %s', x.option, k.step_slug, x.form, (
    select string_agg(e.name, '.' order by e.n) from jsonb_array_elements_text(x.path) with ordinality e(name, n)))
  from flowc.settings k
  cross join lateral (
    select case when k.settings ? 'startAt' then 'start_at' else 'start_delay' end,
           case when k.settings ? 'startAt' then 'time' else 'number of nanoseconds' end,
           coalesce(k.settings -> 'startAt', k.settings -> 'startDelay')) x(option, form, path)
  where k.flow_slug = unreadable_start.flow_slug and k.step_slug = unreadable_start.step_slug
$$;

-- Returns the seconds that are left of the start delay of a step that has started, or until
-- the time at which its tasks may start; 0 if that is over, NULL if it cannot be read.
create or replace function flowc.remaining_delay(run_id uuid, flow_slug text, step_slug text, started_at timestamptz) returns double precision
language plpgsql stable as $$
declare
  elapsed  double precision := extract(epoch from clock_timestamp() - remaining_delay.started_at);
  settings jsonb;
  delay    double precision;
begin
  select k.settings into settings
  from flowc.settings k
  where k.flow_slug = remaining_delay.flow_slug and k.step_slug = remaining_delay.step_slug and k.settings ?| '{startAt,startDelay}';
  if settings is null then
    return (
      select greatest(coalesce(s.opt_start_delay, 0) - elapsed, 0) from pgflow.steps s
      where s.flow_slug = remaining_delay.flow_slug and s.step_slug = remaining_delay.step_slug);
  elsif settings ? 'startAt' then
    return flowc.read_start_delay(remaining_delay.run_id, settings);
  end if;
  delay := flowc.read_start_delay(remaining_delay.run_id, settings);
  return case when delay is not null then greatest(delay - elapsed, 0) end;
end $$;

-- Returns the seconds until tasks of a step may start, read where its settings say. A value
-- that is null, missing or in the past is 0; one of another form gives NULL.
create or replace function flowc.read_start_delay(run_id uuid, settings jsonb) returns double precision
language plpgsql stable as $$
declare
  value jsonb := flowc.value_at(read_start_delay.run_id, coalesce(read_start_delay.settings -> 'startAt', read_start_delay.settings -> 'startDelay'));
begin
  if coalesce(jsonb_typeof(value), 'null') = 'null' then
    return 0;
  elsif read_start_delay.settings ? 'startAt' and jsonb_typeof(value) = 'string'
    and value #>> '{}' ~ '^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$' then -- RFC 3339: a cast takes 'tomorrow', too
    return greatest(extract(epoch from (value #>> '{}')::timestamptz - clock_timestamp()), 0);
  elsif not read_start_delay.settings ? 'startAt' and jsonb_typeof(value) = 'number' then
    return greatest((value #>> '{}')::numeric / 1000000000, 0); -- nanoseconds
  end if;
  return null;
exception when data_exception then
  return null;
end $$;
