-- The contract's functions for clients and workers in other languages: pgflow's names,
-- arguments and results, over the functions of the engine.

-- Definitions -----------------------------------------------------------------
--
-- A shape is what makes two definitions the same flow: the steps, their edges and
-- conditions, in order. Options are not part of it.

create or replace function pgflow.create_flow(flow_slug text, max_attempts int default null, base_delay int default null, timeout int default null)
returns pgflow.flows
language plpgsql as $$
declare
  flow pgflow.flows;
begin
  perform flowc.lock_definition(create_flow.flow_slug); -- whoever deletes the flow now deletes its queue as well, or neither
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

-- Returns a pattern as it stands in a shape.
create or replace function flowc.pattern_shape(pattern jsonb) returns jsonb
language sql immutable as $$
  select case when pattern is null then '{"defined": false}' else jsonb_build_object('defined', true, 'value', pattern) end
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

-- Returns a JSON array of strings as a sorted list.
create or replace function flowc.sorted_texts(list jsonb) returns text
language sql immutable as $$
  select coalesce(string_agg(e.slug, ', ' order by e.slug), '') from jsonb_array_elements_text(coalesce(list, '[]')) e(slug)
$$;

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

-- Runs ------------------------------------------------------------------------

create or replace function pgflow.start_flow(flow_slug text, input jsonb, run_id uuid default null) returns setof pgflow.runs
language plpgsql as $$
declare
  started record;
begin
  select s.run_id, s.existed into started from flowc.start(start_flow.flow_slug, array[start_flow.input], array[start_flow.run_id]) s;
  if started.existed and started.run_id = start_flow.run_id then -- otherwise it is a run with the same unique values
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

create or replace function pgflow.get_run_with_states(run_id uuid) returns jsonb
language plpgsql stable as $$
begin
  return (
    select jsonb_build_object('run', to_jsonb(r), 'steps', coalesce((
      select jsonb_agg(to_jsonb(st) order by s.step_index)
      from pgflow.step_states st
      join pgflow.steps s on s.flow_slug = st.flow_slug and s.step_slug = st.step_slug
      where st.run_id = r.run_id), '[]'))
    from pgflow.runs r where r.run_id = get_run_with_states.run_id);
end $$;

create or replace function pgflow.start_ready_steps(run_id uuid) returns void
language plpgsql as $$
begin
  perform flowc.start_ready_steps(flowc.lock_runs(array[start_ready_steps.run_id]));
end $$;

create or replace function pgflow.maybe_complete_run(run_id uuid) returns void
language plpgsql as $$
begin
  perform flowc.complete_runs(flowc.lock_runs(array[maybe_complete_run.run_id]));
end $$;

create or replace function pgflow.cascade_complete_taskless_steps(run_id uuid) returns int
language plpgsql as $$
begin
  return flowc.complete_taskless_steps(flowc.lock_runs(array[cascade_complete_taskless_steps.run_id]));
end $$;

create or replace function pgflow.cascade_resolve_conditions(run_id uuid) returns boolean
language plpgsql as $$
begin
  perform flowc.resolve_conditions(flowc.lock_runs(array[cascade_resolve_conditions.run_id]));
  return not exists (
    select from pgflow.runs r where r.run_id = cascade_resolve_conditions.run_id and r.status = 'failed');
end $$;

create or replace function pgflow._cascade_force_skip_steps(run_id uuid, step_slug text, skip_reason text) returns int
language plpgsql as $$
begin
  perform from pgflow.runs r where r.run_id = _cascade_force_skip_steps.run_id for update;
  if not found then
    raise exception 'Run not found: %', _cascade_force_skip_steps.run_id;
  end if;
  return flowc.skip_cascade(array[_cascade_force_skip_steps.run_id], array[_cascade_force_skip_steps.step_slug], _cascade_force_skip_steps.skip_reason);
end $$;

-- Tasks -----------------------------------------------------------------------

create or replace function pgflow.poll_for_tasks(
  queue_name text, vt int, qty int, max_poll_seconds int default 5, poll_interval_ms int default 100)
returns setof pgflow.step_task_record
language plpgsql as $$
begin
  raise notice 'poll_for_tasks is deprecated and returns nothing: use pgmq.read_with_poll and start_tasks';
end $$;

-- Starts the tasks of messages that were read, visible or not, and returns what handlers
-- of the contract need.
create or replace function pgflow.start_tasks(flow_slug text, msg_ids bigint[], worker_id uuid) returns setof pgflow.step_task_record
language plpgsql as $$
#variable_conflict use_column
begin
  return query
    with locked as materialized ( -- a task that another holds is about to be another's
      select t.tid, s.step_type, s.deps_count, coalesce(s.opt_timeout, f.opt_timeout) as timeout
      from unnest(start_tasks.msg_ids) m(msg_id)
      cross join lateral (
        select l.* from unnest(flowc.subqueues()) c(subqueue)
        cross join lateral (
          select o.ctid as tid, o.step_slug from pgflow.step_tasks o
          where o.flow_slug = start_tasks.flow_slug and o.subqueue = c.subqueue and o.message_id = m.msg_id and o.in_queue and o.status = 'queued'
            and o.gate_key is null
            and exists (select from pgflow.runs r where r.run_id = o.run_id and r.status = 'started' offset 0)
            and exists (select from pgflow.step_states st where st.run_id = o.run_id and st.step_slug = o.step_slug and st.status = 'started' offset 0)
          for update of o skip locked) l
        limit 1) t
      cross join lateral (select * from pgflow.steps o where o.flow_slug = start_tasks.flow_slug and o.step_slug = t.step_slug offset 0) s
      cross join lateral (select * from pgflow.flows o where o.flow_slug = start_tasks.flow_slug offset 0) f),
    begun as materialized (
      update pgflow.step_tasks t
      set status = 'started', attempts_count = t.attempts_count + 1, claims_count = t.claims_count + 1, started_at = clock_timestamp(),
          last_worker_id = start_tasks.worker_id,
          visible_at = clock_timestamp() + make_interval(secs => l.timeout + 2.0::double precision)
      from locked l
      where t.ctid = l.tid
      returning t.run_id, t.step_slug, t.task_index, t.message_id, l.step_type, l.deps_count),
    arrays as materialized ( -- each is taken out of storage once, however many of its elements are wanted
      select m.run_id, m.step_slug, '[]' || case m.deps_count
               when 0 then (select r.input from pgflow.runs r where r.run_id = m.run_id)
               else (
                 select p.output from pgflow.deps d
                 cross join lateral (
                   select o.output from pgflow.step_states o where o.run_id = m.run_id and o.step_slug = d.dep_slug offset 0) p
                 where d.flow_slug = start_tasks.flow_slug and d.step_slug = m.step_slug) end as elements
      from (select distinct b.run_id, b.step_slug, b.deps_count from begun b where b.step_type = 'map' offset 0) m)
    select start_tasks.flow_slug, t.run_id, t.step_slug,
           case when t.step_type = 'map' then (select a.elements -> t.task_index from arrays a where a.run_id = t.run_id and a.step_slug = t.step_slug)
                when t.deps_count = 0 then '{}'
                else (
                  select coalesce(jsonb_object_agg(p.step_slug, coalesce(p.output, 'null')), '{}')
                  from pgflow.deps d
                  cross join lateral (
                    select o.step_slug, o.output from pgflow.step_states o
                    where o.run_id = t.run_id and o.step_slug = d.dep_slug and o.status = 'completed' offset 0) p
                  where d.flow_slug = start_tasks.flow_slug and d.step_slug = t.step_slug) end,
           t.message_id, t.task_index,
           case when t.step_type = 'single' and t.deps_count = 0 then (select r.input from pgflow.runs r where r.run_id = t.run_id) end
    from begun t
    order by t.message_id;
end $$;

create or replace function pgflow.complete_task(run_id uuid, step_slug text, task_index int, output jsonb) returns setof pgflow.step_tasks
language plpgsql as $$
begin
  perform flowc.require_readable(array[complete_task.output]);
  if flowc.lock_runs(array[complete_task.run_id]) <> '{}' then
    perform flowc.complete_batch_slice(
      array[complete_task.run_id], array[complete_task.step_slug], array[complete_task.task_index], array[complete_task.output], null, null, null);
  end if;
  return query
    select t.* from pgflow.step_tasks t
    where t.run_id = complete_task.run_id and t.step_slug = complete_task.step_slug and t.task_index = complete_task.task_index;
end $$;

create or replace function pgflow.fail_task(run_id uuid, step_slug text, task_index int, error_message text) returns setof pgflow.step_tasks
language plpgsql as $$
begin
  if flowc.lock_runs(array[fail_task.run_id]) = '{}' then
    return;
  end if;
  perform flowc.fail_tasks(array[fail_task.run_id], array[fail_task.step_slug], array[fail_task.task_index],
    '{failed}', array[fail_task.error_message], '{null}');
  if not found then
    -- Late: its run has failed, or its step is over.
    perform flowc.fail_late_tasks(array[fail_task.run_id], array[fail_task.step_slug], array[fail_task.task_index], array[fail_task.error_message]);
  end if;
  return query
    select t.* from pgflow.step_tasks t
    where t.run_id = fail_task.run_id and t.step_slug = fail_task.step_slug and t.task_index = fail_task.task_index;
end $$;

-- Returns the delay before the next attempt, in seconds: the base, doubled with every
-- attempt, up to six hours or the base if that is more.
create or replace function pgflow.calculate_retry_delay(base_delay numeric, attempts_count int) returns int
language plpgsql immutable parallel safe as $$
begin
  return floor(least(base_delay * power(2::numeric, least(attempts_count, 40)), greatest(base_delay, 21600), 2147483647));
end $$;

-- Makes each message visible after its offset from now, in seconds.
create or replace function pgflow.set_vt_batch(queue_name text, msg_ids bigint[], vt_offsets int[])
returns table (msg_id bigint, read_ct int, enqueued_at timestamptz, vt timestamptz, message jsonb, headers jsonb)
language plpgsql as $$
#variable_conflict use_column
declare
  tids tid[];
begin
  if set_vt_batch.msg_ids is null or set_vt_batch.vt_offsets is null
     or cardinality(set_vt_batch.msg_ids) + cardinality(set_vt_batch.vt_offsets) = 0 then
    return;
  end if;
  if cardinality(set_vt_batch.msg_ids) <> cardinality(set_vt_batch.vt_offsets) then
    raise exception 'msg_ids length (%) must equal vt_offsets length (%)', cardinality(set_vt_batch.msg_ids), cardinality(set_vt_batch.vt_offsets);
  end if;
  perform flowc.require_queue(set_vt_batch.queue_name);
  tids := flowc.lock_queued_tasks(set_vt_batch.queue_name, set_vt_batch.msg_ids);
  perform flowc.note_arrivals_of(tids);
  return query
    with tasks as (
      update pgflow.step_tasks t
      set visible_at = clock_timestamp() + make_interval(secs => l.seconds),
          subqueue = case when flowc.is_delayed(t, l.seconds > 0) then 'd' else t.subqueue end,
          due_at = case when flowc.is_delayed(t, l.seconds > 0) then clock_timestamp() + make_interval(secs => l.seconds)
                        when t.subqueue <> 'g' then t.due_at end
      from unnest(tids, set_vt_batch.vt_offsets) l(tid, seconds)
      where t.ctid = l.tid
      returning t.*),
    others as (
      update flowc.messages m set vt = clock_timestamp() + make_interval(secs => u.seconds)
      from (select set_vt_batch.queue_name, o.* from unnest(set_vt_batch.msg_ids, set_vt_batch.vt_offsets) o(msg_id, seconds) order by o.msg_id) u
      where m.queue_name = any (array[u.queue_name]) and m.msg_id = u.msg_id
      returning m.*)
    select t.message_id, t.read_count, t.queued_at, t.visible_at, flowc.task_message(t.flow_slug, t.run_id, t.step_slug, t.task_index), null::jsonb
    from tasks t
    union all
    select m.msg_id, m.read_ct, m.enqueued_at, m.vt, m.message, m.headers from others m;
end $$;

create or replace function pgflow._archive_task_message(p_run_id uuid, p_step_slug text, p_task_index int) returns void
language plpgsql as $$
begin
  update pgflow.step_tasks t set in_queue = false, archived_at = clock_timestamp()
  where t.run_id = p_run_id and t.step_slug = p_step_slug and t.task_index = p_task_index and t.in_queue is not false and t.message_id is not null;
end $$;

-- Recovers by time alone: a task that has been started for longer than its timeout and
-- half a minute is queued again, three times at most. Tasks whose worker has extended its
-- lease (see flowc.extended_leases) are left alone: they may be done, and wait to be
-- reported.
create or replace function pgflow.requeue_stalled_tasks() returns int
language plpgsql as $$
declare
  runs    uuid[];
  steps   text[];
  indexes int[];
  claims  int[];
  flows   text[];
  keys    text[];
begin
  -- First those that stalled too often: this takes the locks of their runs, which come
  -- before those of tasks. All started tasks are in the queue, whose index is small even
  -- if the table is long.
  select array_agg(t.run_id), array_agg(t.step_slug), array_agg(t.task_index), array_agg(t.claims_count)
  into runs, steps, indexes, claims
  from pgflow.step_tasks t
  join pgflow.steps s on s.flow_slug = any (array[t.flow_slug]) and s.step_slug = t.step_slug
  join pgflow.flows f on f.flow_slug = any (array[t.flow_slug])
  where t.in_queue and t.status = 'started' and t.requeued_count >= 3 and t.permanently_stalled_at is null
    and t.started_at < now() - make_interval(secs => coalesce(s.opt_timeout, f.opt_timeout) + 30.0::double precision)
    and not flowc.lease_extended(t.last_worker_id, t.message_id);
  if runs is not null then
    perform flowc.mark_permanently_stalled(runs, steps, indexes, claims);
  end if;

  with stalled as (
    select t.ctid as tid
    from pgflow.step_tasks t
    join pgflow.steps s on s.flow_slug = any (array[t.flow_slug]) and s.step_slug = t.step_slug
    join pgflow.flows f on f.flow_slug = any (array[t.flow_slug])
    where t.in_queue and t.status = 'started' and t.requeued_count < 3
      and t.started_at < now() - make_interval(secs => coalesce(s.opt_timeout, f.opt_timeout) + 30.0::double precision)
      and not flowc.lease_extended(t.last_worker_id, t.message_id)
    for update of t skip locked),
  requeued as (
    update pgflow.step_tasks t
    set status = 'queued', started_at = null, last_worker_id = null, requeued_count = t.requeued_count + 1, last_requeued_at = clock_timestamp(),
        visible_at = clock_timestamp(), due_at = flowc.due_now(t.subqueue)
    from stalled s
    where t.ctid = s.tid
    returning t.flow_slug, t.step_slug, t.gate_key)
  select array_agg(q.flow_slug), array_agg(q.step_slug), array_agg(q.gate_key) into flows, steps, keys from requeued q;
  if flows is null then
    return 0;
  end if;
  if array_remove(keys, null) <> '{}' then
    perform flowc.note_arrivals(flows, steps, keys);
  end if;
  perform flowc.wake_workers(flows);
  return cardinality(flows);
end $$;

-- Marks tasks that stalled too often as permanently stalled, in which state they stay
-- started, and fails or skips their steps. Tasks whose runs somebody else holds are
-- skipped: the next call finds them again.
create or replace function flowc.mark_permanently_stalled(run_ids uuid[], step_slugs text[], task_indexes int[], claim_numbers int[]) returns void
language plpgsql as $$
declare
  locked uuid[] := flowc.lock_runs(mark_permanently_stalled.run_ids, wait => false);
  marked record;
begin
  for marked in
    update pgflow.step_tasks t set permanently_stalled_at = clock_timestamp(), in_queue = false, archived_at = clock_timestamp()
    from unnest(run_ids, step_slugs, task_indexes, claim_numbers) u(run_id, step_slug, task_index, claim_number)
    where u.run_id = any (locked) and t.run_id = any (array[u.run_id]) and t.step_slug = u.step_slug and t.task_index = u.task_index
      and t.claims_count = u.claim_number
      and t.status = 'started' and t.requeued_count >= 3 and t.permanently_stalled_at is null
    returning t.run_id, t.step_slug, t.task_index
  loop
    perform flowc.fail_or_skip_steps(array[st.run_id], array[st.step_slug],
      array[format('flowc: task %s of step %s stalled: its worker died or overran its timeout 4 times', marked.task_index, marked.step_slug)],
      array[s.when_exhausted])
    from pgflow.step_states st
    join pgflow.runs r on r.run_id = any (array[st.run_id]) and r.status = 'started'
    join pgflow.steps s on s.flow_slug = any (array[st.flow_slug]) and s.step_slug = st.step_slug
    where st.run_id = marked.run_id and st.step_slug = marked.step_slug and st.status = 'started';
  end loop;
end $$;

-- Workers ---------------------------------------------------------------------

create or replace function pgflow.mark_worker_stopped(worker_id uuid) returns void
language plpgsql as $$
begin
  update pgflow.workers w set stopped_at = clock_timestamp() where w.worker_id = mark_worker_stopped.worker_id;
end $$;

create or replace function pgflow.track_worker_function(function_name text) returns void
language plpgsql as $$
begin
  insert into pgflow.worker_functions as f (function_name, updated_at) values (track_worker_function.function_name, clock_timestamp())
  on conflict on constraint worker_functions_pkey do update set updated_at = clock_timestamp();
end $$;
