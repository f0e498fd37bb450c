-- Defining flows, and comparing definitions.

-- Takes the lock of a definition, see flowc.definition_locks.
create or replace function flowc.lock_definition(flow_slug text) returns void
language plpgsql as $$
begin
  insert into flowc.definition_locks (flow_slug) values (lock_definition.flow_slug) on conflict do nothing;
  perform from flowc.definition_locks d where d.flow_slug = lock_definition.flow_slug for update;
end $$;

-- Shares the lock of a definition, unless somebody has it, and says whether it did.
create or replace function flowc.try_share_definition(flow_slug text) returns boolean
language plpgsql as $$
begin
  perform from flowc.definition_locks d where d.flow_slug = try_share_definition.flow_slug for key share skip locked;
  return found;
end $$;

create or replace function pgflow.create_flow(flow_slug text, max_attempts int default null, base_delay int default null, timeout int default null)
returns pgflow.flows
language plpgsql as $$
declare
  flow pgflow.flows;
begin
  perform flowc.lock_definition(create_flow.flow_slug); -- somebody who deletes the flow now deletes its queue as well, or neither
  -- The row before the queue, so that a bad slug is told in the words of the check.
  insert into pgflow.flows as f (flow_slug, opt_max_attempts, opt_base_delay, opt_timeout)
  values (create_flow.flow_slug, coalesce(create_flow.max_attempts, 3), coalesce(create_flow.base_delay, 5), coalesce(create_flow.timeout, 60))
  on conflict on constraint flows_pkey do nothing;
  perform pgmq.create(create_flow.flow_slug);
  select * into flow from pgflow.flows f where f.flow_slug = create_flow.flow_slug;
  return flow;
end $$;

create or replace function pgflow.add_step(
  flow_slug               text,
  step_slug               text,
  deps_slugs              text[] default '{}',
  max_attempts            int    default null,
  base_delay              int    default null,
  timeout                 int    default null,
  start_delay             int    default null,
  step_type               text   default 'single',
  required_input_pattern  jsonb  default null,
  forbidden_input_pattern jsonb  default null,
  when_unmet              text   default 'skip',
  when_exhausted          text   default 'fail'
) returns pgflow.steps
language plpgsql as $$
declare
  step pgflow.steps;
  deps text[] := coalesce(add_step.deps_slugs, '{}');
begin
  if add_step.step_type = 'map' and cardinality(deps) > 1 then
    raise exception 'Map step "%" can have at most one dependency, but % were provided: %',
      add_step.step_slug, cardinality(deps), array_to_string(deps, ', ');
  end if;
  perform flowc.require_readable(array[add_step.required_input_pattern, add_step.forbidden_input_pattern]);
  perform flowc.lock_definition(add_step.flow_slug); -- a run that starts now has the step or has it not

  insert into pgflow.steps as s (
    flow_slug, step_slug, step_type, step_index, deps_count,
    opt_max_attempts, opt_base_delay, opt_timeout, opt_start_delay,
    required_input_pattern, forbidden_input_pattern, when_unmet, when_exhausted)
  values (
    add_step.flow_slug, add_step.step_slug, coalesce(add_step.step_type, 'single'),
    coalesce((select max(o.step_index) + 1 from pgflow.steps o where o.flow_slug = add_step.flow_slug), 0), cardinality(deps),
    add_step.max_attempts, add_step.base_delay, add_step.timeout, add_step.start_delay,
    add_step.required_input_pattern, add_step.forbidden_input_pattern, add_step.when_unmet, add_step.when_exhausted)
  on conflict on constraint steps_pkey do nothing
  returning * into step;

  if found then
    -- Only a new step gets its edges: more of them would not be in deps_count.
    insert into pgflow.deps (flow_slug, dep_slug, step_slug)
    select add_step.flow_slug, d.slug, add_step.step_slug from unnest(deps) d(slug)
    on conflict on constraint deps_pkey do nothing;
  else
    select * into step from pgflow.steps s where s.flow_slug = add_step.flow_slug and s.step_slug = add_step.step_slug;
  end if;
  return step;
end $$;

create or replace function pgflow.delete_flow_and_data(p_flow_slug text) returns void
language plpgsql as $$
begin
  perform flowc.delete_flow(p_flow_slug, true);
end $$;

-- Deletes a flow with all its runs; says what there was. If the runs that have not
-- ended are to be kept and there are some, nothing is deleted.
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
  -- The locks of its runs, in their order, so that none goes on meanwhile.
  perform from pgflow.runs r where r.flow_slug = delete_flow.flow_slug order by r.run_id for update;
  if not delete_flow.allow_data_loss then
    select count(*) into active from pgflow.runs r where r.flow_slug = delete_flow.flow_slug and r.status = 'started';
    if active > 0 then
      return jsonb_build_object('existed', known, 'active', active);
    end if;
  end if;
  delete from flowc.scheduled_runs s where s.flow_slug = delete_flow.flow_slug;
  delete from flowc.paused_flows p where p.flow_slug = delete_flow.flow_slug;
  delete from flowc.watermarks w where w.flow_slug = delete_flow.flow_slug;
  delete from flowc.failed_attempts t using pgflow.runs r where r.flow_slug = delete_flow.flow_slug and t.run_id = r.run_id;
  delete from flowc.cancelled_runs c using pgflow.runs r where r.flow_slug = delete_flow.flow_slug and c.run_id = r.run_id;
  delete from flowc.run_waiters w using pgflow.runs r where r.flow_slug = delete_flow.flow_slug and w.run_id = r.run_id;
  delete from flowc.run_headers h using pgflow.runs r where r.flow_slug = delete_flow.flow_slug and h.run_id = r.run_id;
  delete from flowc.ticks k using pgflow.runs r where r.flow_slug = delete_flow.flow_slug and k.run_id = r.run_id;
  delete from flowc.suspects s using pgflow.runs r where r.flow_slug = delete_flow.flow_slug and s.run_id = r.run_id;
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
  return jsonb_build_object('existed', known, 'runs', runs, 'steps', steps);
end $$;

create or replace function flowc.flow_exists(flow_slug text) returns boolean
language sql stable as $$ select exists (select from pgflow.flows f where f.flow_slug = flow_exists.flow_slug) $$;

-- Shapes --------------------------------------------------------------------
-- A shape is what makes two definitions the same flow: the steps, their edges
-- and conditions, in order. Options are not part of it.

create or replace function pgflow._get_flow_shape(p_flow_slug text) returns jsonb
language sql stable as $$
  select jsonb_build_object('steps', coalesce(jsonb_agg(jsonb_build_object(
    'slug', s.step_slug,
    'stepType', s.step_type,
    'dependencies', coalesce((
      select jsonb_agg(d.dep_slug order by d.dep_slug) from pgflow.deps d
      where d.flow_slug = s.flow_slug and d.step_slug = s.step_slug), '[]'),
    'whenUnmet', s.when_unmet,
    'whenExhausted', s.when_exhausted,
    'requiredInputPattern', flowc.pattern_shape(s.required_input_pattern),
    'forbiddenInputPattern', flowc.pattern_shape(s.forbidden_input_pattern)) order by s.step_index), '[]'))
  from pgflow.steps s
  where s.flow_slug = p_flow_slug
$$;

create or replace function flowc.pattern_shape(pattern jsonb) returns jsonb
language sql immutable as $$
  select case when pattern is null then '{"defined": false}' else jsonb_build_object('defined', true, 'value', pattern) end
$$;

create or replace function flowc.sorted_texts(list jsonb) returns text
language sql immutable as $$
  select coalesce(string_agg(e.slug, ', ' order by e.slug), '') from jsonb_array_elements_text(coalesce(list, '[]')) e(slug)
$$;

create or replace function pgflow._compare_flow_shapes(p_local jsonb, p_db jsonb) returns text[]
language plpgsql stable as $$
declare
  local_steps jsonb  := coalesce(p_local -> 'steps', '[]');
  db_steps    jsonb  := coalesce(p_db -> 'steps', '[]');
  local_count int    := jsonb_array_length(local_steps);
  db_count    int    := jsonb_array_length(db_steps);
  differences text[] := '{}';
  l           jsonb;
  d           jsonb;
  place       text;
begin
  if local_count <> db_count then
    differences := differences || format('Step count differs: %s vs %s', local_count, db_count);
  end if;
  for i in 0 .. greatest(local_count, db_count) - 1 loop
    l := local_steps -> i;
    d := db_steps -> i;
    place := format('Step at index %s: ', i);
    if l is null then
      differences := differences || format('%smissing in first shape (second has ''%s'')', place, d ->> 'slug');
      continue;
    elsif d is null then
      differences := differences || format('%smissing in second shape (first has ''%s'')', place, l ->> 'slug');
      continue;
    end if;
    -- A key that one side lacks is no difference, except for a pattern.
    if l ->> 'slug' <> d ->> 'slug' then
      differences := differences || format('%sslug differs ''%s'' vs ''%s''', place, l ->> 'slug', d ->> 'slug');
    end if;
    if l ->> 'stepType' <> d ->> 'stepType' then
      differences := differences || format('%stype differs ''%s'' vs ''%s''', place, l ->> 'stepType', d ->> 'stepType');
    end if;
    if flowc.sorted_texts(l -> 'dependencies') <> flowc.sorted_texts(d -> 'dependencies') then
      differences := differences || format('%sdependencies differ [%s] vs [%s]', place,
        flowc.sorted_texts(l -> 'dependencies'), flowc.sorted_texts(d -> 'dependencies'));
    end if;
    if l ->> 'whenUnmet' <> d ->> 'whenUnmet' then
      differences := differences || format('%swhenUnmet differs ''%s'' vs ''%s''', place, l ->> 'whenUnmet', d ->> 'whenUnmet');
    end if;
    if l ->> 'whenExhausted' <> d ->> 'whenExhausted' then
      differences := differences || format('%swhenExhausted differs ''%s'' vs ''%s''', place, l ->> 'whenExhausted', d ->> 'whenExhausted');
    end if;
    if l -> 'requiredInputPattern' is distinct from d -> 'requiredInputPattern' then
      differences := differences || format('%srequiredInputPattern differs ''%s'' vs ''%s''', place,
        l -> 'requiredInputPattern', d -> 'requiredInputPattern');
    end if;
    if l -> 'forbiddenInputPattern' is distinct from d -> 'forbiddenInputPattern' then
      differences := differences || format('%sforbiddenInputPattern differs ''%s'' vs ''%s''', place,
        l -> 'forbiddenInputPattern', d -> 'forbiddenInputPattern');
    end if;
  end loop;
  return differences;
end $$;

create or replace function pgflow._create_flow_from_shape(p_flow_slug text, p_shape jsonb) returns void
language plpgsql as $$
declare
  step jsonb;
begin
  perform pgflow.create_flow(p_flow_slug,
    (p_shape #>> '{options,maxAttempts}')::int, (p_shape #>> '{options,baseDelay}')::int, (p_shape #>> '{options,timeout}')::int);
  for step in select e.value from jsonb_array_elements(coalesce(p_shape -> 'steps', '[]')) with ordinality e(value, n) order by e.n loop
    perform pgflow.add_step(
      flow_slug       => p_flow_slug,
      step_slug       => step ->> 'slug',
      deps_slugs      => array(select jsonb_array_elements_text(coalesce(step -> 'dependencies', '[]'))),
      max_attempts    => (step #>> '{options,maxAttempts}')::int,
      base_delay      => (step #>> '{options,baseDelay}')::int,
      timeout         => (step #>> '{options,timeout}')::int,
      start_delay     => (step #>> '{options,startDelay}')::int,
      step_type       => coalesce(step ->> 'stepType', 'single'),
      required_input_pattern  => case when (step #>> '{requiredInputPattern,defined}')::boolean then step #> '{requiredInputPattern,value}' end,
      forbidden_input_pattern => case when (step #>> '{forbiddenInputPattern,defined}')::boolean then step #> '{forbiddenInputPattern,value}' end,
      when_unmet      => coalesce(step ->> 'whenUnmet', 'skip'),
      when_exhausted  => coalesce(step ->> 'whenExhausted', 'fail'));
  end loop;
end $$;

create or replace function pgflow.ensure_flow_compiled(flow_slug text, shape jsonb, allow_data_loss boolean default false) returns jsonb
language plpgsql as $$
declare
  differences text[];
begin
  perform flowc.lock_definition(ensure_flow_compiled.flow_slug);
  if not flowc.flow_exists(ensure_flow_compiled.flow_slug) then
    perform pgflow._create_flow_from_shape(ensure_flow_compiled.flow_slug, ensure_flow_compiled.shape);
    return '{"status": "compiled", "differences": []}';
  end if;
  differences := pgflow._compare_flow_shapes(ensure_flow_compiled.shape, pgflow._get_flow_shape(ensure_flow_compiled.flow_slug));
  if differences = '{}' then
    return '{"status": "verified", "differences": []}';
  end if;
  if ensure_flow_compiled.allow_data_loss or pgflow.is_local() then
    perform flowc.delete_flow(ensure_flow_compiled.flow_slug, true);
    perform pgflow._create_flow_from_shape(ensure_flow_compiled.flow_slug, ensure_flow_compiled.shape);
    return jsonb_build_object('status', 'recompiled', 'differences', differences);
  end if;
  return jsonb_build_object('status', 'mismatch', 'differences', differences);
end $$;

-- What compare_flow and upsert_flow take is a shape that has every key.
create or replace function flowc.compare_flow(flow_slug text, definition jsonb) returns text[]
language sql stable as $$
  select pgflow._compare_flow_shapes(compare_flow.definition, pgflow._get_flow_shape(f.flow_slug))
  from pgflow.flows f where f.flow_slug = compare_flow.flow_slug
$$;

-- Puts a definition into the database. Unlike ensure_flow_compiled it also
-- carries changed options over, in place, and destroys runs only if told so,
-- wherever the database runs.
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
    return '{"status": "compiled", "differences": [], "deleted_runs": 0}';
  elsif differences <> '{}' and not upsert_flow.allow_data_loss then
    return jsonb_build_object('status', 'mismatch', 'differences', differences, 'deleted_runs', 0);
  elsif differences <> '{}' then
    deleted := flowc.delete_flow(upsert_flow.flow_slug, true);
    perform pgflow._create_flow_from_shape(upsert_flow.flow_slug, upsert_flow.definition);
    perform flowc.set_schedule(upsert_flow.flow_slug, cron);
    perform flowc.set_flow_metadata(upsert_flow.flow_slug, upsert_flow.definition);
    return jsonb_build_object('status', 'recompiled', 'differences', differences, 'deleted_runs', deleted -> 'runs');
  end if;
  changed := flowc.set_options(upsert_flow.flow_slug, upsert_flow.definition);
  changed := flowc.set_schedule(upsert_flow.flow_slug, cron) or changed;
  perform flowc.set_flow_metadata(upsert_flow.flow_slug, upsert_flow.definition);
  return jsonb_build_object('differences', '[]'::jsonb, 'deleted_runs', 0,
    'status', case when changed then 'options_updated' else 'verified' end);
end $$;

-- Keeps what a definition says besides its steps and options.
create or replace function flowc.set_flow_metadata(flow_slug text, definition jsonb) returns void
language plpgsql as $$
begin
  insert into flowc.flow_metadata as d (flow_slug, result, forms)
  select set_flow_metadata.flow_slug, set_flow_metadata.definition -> 'result', set_flow_metadata.definition -> 'forms'
  on conflict on constraint flow_metadata_pkey do update set result = excluded.result, forms = excluded.forms
  where (d.result, d.forms) is distinct from (excluded.result, excluded.forms);
end $$;

-- Brings the options of a flow to those of a definition of the same shape.
-- Says whether any differed.
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
