-- Definitions of flows: defining, comparing and deleting them.

-- Locks a definition, see flowc.definition_locks.
create or replace function flowc.lock_definition(flow_slug text) returns void
language plpgsql as $$
begin
  insert into flowc.definition_locks (flow_slug) values (lock_definition.flow_slug) on conflict do nothing;
  perform from flowc.definition_locks d where d.flow_slug = lock_definition.flow_slug for update;
end $$;

-- Locks a definition in share mode, unless somebody has locked it, and reports whether it did.
create or replace function flowc.try_share_definition(flow_slug text) returns boolean
language plpgsql as $$
begin
  perform from flowc.definition_locks d where d.flow_slug = try_share_definition.flow_slug for key share skip locked;
  return found;
end $$;

-- Defines a flow. Unlike pgflow.ensure_flow_compiled it also updates changed options, in
-- place, and deletes runs only with allow_data_loss, wherever the database runs.
create or replace function flowc.upsert_flow(flow_slug text, definition jsonb, allow_data_loss boolean default false) returns jsonb
language plpgsql as $$
declare
  differences text[];
  deleted     jsonb;
  cron        text := upsert_flow.definition #>> '{options,cron}';
  changed     boolean;
begin
  perform flowc.lock_definition(upsert_flow.flow_slug);
  differences := flowc.compare_flow(upsert_flow.flow_slug, upsert_flow.definition);
  if differences is null then
    perform pgflow._create_flow_from_shape(upsert_flow.flow_slug, upsert_flow.definition);
    perform flowc.set_schedule(upsert_flow.flow_slug, cron);
    perform flowc.set_flow_metadata(upsert_flow.flow_slug, upsert_flow.definition);
    perform flowc.set_settings(upsert_flow.flow_slug, upsert_flow.definition);
    return '{"status": "compiled", "differences": [], "deleted_runs": 0}';
  elsif differences <> '{}' and not upsert_flow.allow_data_loss then
    return jsonb_build_object('status', 'mismatch', 'differences', differences, 'deleted_runs', 0);
  elsif differences <> '{}' then
    deleted := flowc.delete_flow(upsert_flow.flow_slug, true);
    perform pgflow._create_flow_from_shape(upsert_flow.flow_slug, upsert_flow.definition);
    perform flowc.set_schedule(upsert_flow.flow_slug, cron);
    perform flowc.set_flow_metadata(upsert_flow.flow_slug, upsert_flow.definition);
    perform flowc.set_settings(upsert_flow.flow_slug, upsert_flow.definition);
    return jsonb_build_object('status', 'recompiled', 'differences', differences, 'deleted_runs', deleted -> 'runs');
  end if;
  changed := flowc.set_options(upsert_flow.flow_slug, upsert_flow.definition);
  changed := flowc.set_schedule(upsert_flow.flow_slug, cron) or changed;
  changed := flowc.set_settings(upsert_flow.flow_slug, upsert_flow.definition) or changed;
  perform flowc.set_flow_metadata(upsert_flow.flow_slug, upsert_flow.definition);
  return jsonb_build_object('differences', '[]'::jsonb, 'deleted_runs', 0,
    'status', case when changed then 'options_updated' else 'verified' end);
end $$;

-- Compares a flow with a definition and returns the differences, NULL if there is no such
-- flow. The definition is a shape that has every key, as for upsert_flow.
create or replace function flowc.compare_flow(flow_slug text, definition jsonb) returns text[]
language sql stable as $$
  select pgflow._compare_flow_shapes(compare_flow.definition, pgflow._get_flow_shape(f.flow_slug))
      || flowc.compare_kinds(f.flow_slug, compare_flow.definition)
  from pgflow.flows f where f.flow_slug = compare_flow.flow_slug
$$;

-- Sets the options of a flow and its steps to those of a definition of the same shape, and
-- reports whether any differed.
create or replace function flowc.set_options(flow_slug text, definition jsonb) returns boolean
language plpgsql as $$
declare
  changed int;
  more    int;
begin
  update pgflow.flows f
  set opt_max_attempts = o.max_attempts, opt_base_delay = o.base_delay, opt_timeout = o.timeout
  from (select coalesce((d ->> 'maxAttempts')::int, 3), coalesce((d ->> 'baseDelay')::int, 5), coalesce((d ->> 'timeout')::int, 60)
        from (select coalesce(set_options.definition -> 'options', '{}')) x(d)) o(max_attempts, base_delay, timeout)
  where f.flow_slug = set_options.flow_slug
    and (f.opt_max_attempts, f.opt_base_delay, f.opt_timeout) is distinct from (o.max_attempts, o.base_delay, o.timeout);
  get diagnostics changed = row_count;

  update pgflow.steps s
  set opt_max_attempts = o.max_attempts, opt_base_delay = o.base_delay, opt_timeout = o.timeout, opt_start_delay = o.start_delay
  from (select e.step ->> 'slug', (e.step #>> '{options,maxAttempts}')::int, (e.step #>> '{options,baseDelay}')::int,
               (e.step #>> '{options,timeout}')::int, (e.step #>> '{options,startDelay}')::int
        from jsonb_array_elements(set_options.definition -> 'steps') e(step)) o(step_slug, max_attempts, base_delay, timeout, start_delay)
  where s.flow_slug = set_options.flow_slug and s.step_slug = o.step_slug
    and (s.opt_max_attempts, s.opt_base_delay, s.opt_timeout, s.opt_start_delay)
        is distinct from (o.max_attempts, o.base_delay, o.timeout, o.start_delay);
  get diagnostics more = row_count;
  return changed + more > 0;
end $$;

-- Stores what a definition says besides its steps and options.
create or replace function flowc.set_flow_metadata(flow_slug text, definition jsonb) returns void
language plpgsql as $$
begin
  insert into flowc.flow_metadata as d (flow_slug, result, forms)
  select set_flow_metadata.flow_slug, set_flow_metadata.definition -> 'result', set_flow_metadata.definition -> 'forms'
  on conflict on constraint flow_metadata_pkey do update set result = excluded.result, forms = excluded.forms
  where (d.result, d.forms) is distinct from (excluded.result, excluded.forms);
end $$;

-- Returns a flow's definition as upsert_flow takes it, NULL if there is no such flow.
create or replace function flowc.get_definition(flow_slug text) returns jsonb
language plpgsql stable as $$
begin
  return (
    select jsonb_build_object(
      'options', jsonb_strip_nulls(jsonb_build_object(
        'maxAttempts', f.opt_max_attempts, 'baseDelay', f.opt_base_delay, 'timeout', f.opt_timeout,
        'cron', (select c.cron from flowc.schedules c where c.flow_slug = f.flow_slug))),
      'steps', (
        select coalesce(jsonb_agg(e.step || jsonb_build_object('options', jsonb_strip_nulls(jsonb_build_object(
            'maxAttempts', s.opt_max_attempts, 'baseDelay', s.opt_base_delay, 'timeout', s.opt_timeout, 'startDelay', s.opt_start_delay)))
          || flowc.settings_shape(f.flow_slug, s.step_slug) order by e.n), '[]')
        from jsonb_array_elements(pgflow._get_flow_shape(f.flow_slug) -> 'steps') with ordinality e(step, n)
        join pgflow.steps s on s.flow_slug = f.flow_slug and s.step_slug = e.step ->> 'slug'))
      || coalesce((
        select jsonb_strip_nulls(jsonb_build_object('result', d.result)) || case when d.forms is null then '{}' else jsonb_build_object('forms', d.forms) end
        from flowc.flow_metadata d where d.flow_slug = f.flow_slug), '{}')
      || flowc.settings_shape(f.flow_slug, '')
    from pgflow.flows f where f.flow_slug = get_definition.flow_slug);
end $$;

-- Reports whether a flow is defined.
create or replace function flowc.flow_exists(flow_slug text) returns boolean
language sql stable as $$ select exists (select from pgflow.flows f where f.flow_slug = flow_exists.flow_slug) $$;

-- Returns what the versions of a flow have in common: the slug without _v2 or the like.
create or replace function flowc.base_slug(flow_slug text) returns text
language sql immutable as $$
  select coalesce(substring(base_slug.flow_slug from '^(.+)_v(?:[2-9]|[1-9]\d{1,8})$'), base_slug.flow_slug)
$$;

-- Deletes a flow with all its runs, and returns how much there was. Without allow_data_loss,
-- nothing is deleted if some runs have not ended.
create or replace function flowc.delete_flow(flow_slug text, allow_data_loss boolean default false) returns jsonb
language plpgsql as $$
declare
  steps  int;
  runs   bigint;
  known  boolean;
  active bigint;
begin
  perform flowc.lock_definition(delete_flow.flow_slug);
  known := exists (select from pgflow.flows f where f.flow_slug = delete_flow.flow_slug);
  -- Locks its runs, in their order, so that none advances meanwhile.
  perform from pgflow.runs r where r.flow_slug = delete_flow.flow_slug order by r.run_id for update;
  if not delete_flow.allow_data_loss then
    select count(*) into active from pgflow.runs r where r.flow_slug = delete_flow.flow_slug and r.status = 'started';
    if active > 0 then
      return jsonb_build_object('existed', known, 'active', active);
    end if;
  end if;
  delete from flowc.scheduled_runs s where s.flow_slug = delete_flow.flow_slug;
  delete from flowc.limited_runs l where l.flow_slug = delete_flow.flow_slug;
  delete from flowc.paused_flows p where p.flow_slug = delete_flow.flow_slug;
  delete from flowc.watermarks w where w.flow_slug = delete_flow.flow_slug;
  delete from flowc.failed_attempts t using pgflow.runs r where r.flow_slug = delete_flow.flow_slug and t.run_id = r.run_id;
  delete from flowc.cancelled_runs c using pgflow.runs r where r.flow_slug = delete_flow.flow_slug and c.run_id = r.run_id;
  delete from flowc.run_waiters w using pgflow.runs r where r.flow_slug = delete_flow.flow_slug and w.run_id = r.run_id;
  delete from flowc.run_headers h using pgflow.runs r where r.flow_slug = delete_flow.flow_slug and h.run_id = r.run_id;
  delete from flowc.ticks k using pgflow.runs r where r.flow_slug = delete_flow.flow_slug and k.run_id = r.run_id;
  delete from flowc.priorities p using pgflow.runs r where r.flow_slug = delete_flow.flow_slug and p.run_id = r.run_id;
  delete from flowc.prioritized_flows p where p.flow_slug = delete_flow.flow_slug;
  delete from flowc.suspects s using pgflow.runs r where r.flow_slug = delete_flow.flow_slug and s.run_id = r.run_id;
  delete from flowc.carried c using pgflow.runs r where r.flow_slug = delete_flow.flow_slug and c.run_id = r.run_id;
  delete from flowc.signals s using pgflow.runs r where r.flow_slug = delete_flow.flow_slug and s.run_id = r.run_id;
  delete from flowc.waits w where w.flow_slug = delete_flow.flow_slug;
  delete from flowc.keyed_signals k where k.flow_slug = delete_flow.flow_slug;
  delete from flowc.requests q where q.flow_slug = delete_flow.flow_slug;
  delete from flowc.turns t where t.flow_slug = delete_flow.flow_slug;
  delete from flowc.uniques q using pgflow.runs r where r.flow_slug = delete_flow.flow_slug and q.run_id = r.run_id;
  delete from pgflow.step_tasks t where t.flow_slug = delete_flow.flow_slug;
  -- Only a queue that belongs to a flow is ours to drop.
  if known and exists (select from pgmq.meta m where m.queue_name = delete_flow.flow_slug) then
    perform pgmq.drop_queue(delete_flow.flow_slug);
  end if;
  delete from pgflow.step_states s where s.flow_slug = delete_flow.flow_slug;
  delete from pgflow.runs r where r.flow_slug = delete_flow.flow_slug;
  get diagnostics runs = row_count;
  delete from pgflow.deps d where d.flow_slug = delete_flow.flow_slug;
  delete from pgflow.steps s where s.flow_slug = delete_flow.flow_slug;
  get diagnostics steps = row_count;
  delete from pgflow.flows f where f.flow_slug = delete_flow.flow_slug;
  perform flowc.prune_gates();
  return jsonb_build_object('existed', known, 'runs', runs, 'steps', steps);
end $$;
