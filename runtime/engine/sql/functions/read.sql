-- Reading a run.

-- Returns a run, with with_states also its steps, in the order of the definition.
create or replace function flowc.get_run(id uuid, with_states boolean default false)
returns table (
  run_id uuid, flow_slug text, status text, input jsonb, output jsonb, remaining_steps int,
  started_at timestamptz, completed_at timestamptz, failed_at timestamptz, scheduled_at timestamptz, tick timestamptz,
  cancelled_at timestamptz, cancel_reason text, failed_step text, failed_index int, error_message text, states jsonb, result jsonb, unique_values text, priority text)
language plpgsql stable as $$
#variable_conflict use_column
begin
  return query
    select r.run_id, r.flow_slug, flowc.run_status(r.run_id, r.status), r.input, r.output, r.remaining_steps,
           r.started_at, r.completed_at, r.failed_at, d.due_at, k.tick_at, c.cancelled_at, c.reason, f.step_slug, f.task_index, f.error_message,
           case when get_run.with_states then (
             select coalesce(jsonb_agg(to_jsonb(st) || jsonb_build_object(
               'step_index', s.step_index, 'step_type', coalesce(w.kind, s.step_type), 'wait', w.wait, 'failed_index', flowc.failed_index(st.run_id, st.step_slug, s.step_type, st.error_message), 'attempts', (
                 select coalesce(sum(t.attempts_count - t.requeued_count), 0) from pgflow.step_tasks t where t.run_id = st.run_id and t.step_slug = st.step_slug)) order by s.step_index), '[]')
             from pgflow.step_states st
             join pgflow.steps s on s.flow_slug = st.flow_slug and s.step_slug = st.step_slug
             left join lateral flowc.wait_state(st.run_id, st.flow_slug, st.step_slug) w on true
             where st.run_id = r.run_id) end,
           flowc.compose_result(r.run_id), flowc.unique_words(r.flow_slug, r.input), flowc.run_priority(r.run_id, r.flow_slug)
    from pgflow.runs r
    left join flowc.scheduled_runs d on d.run_id = r.run_id
    left join flowc.ticks k on k.run_id = r.run_id
    left join flowc.cancelled_runs c on c.run_id = r.run_id
    left join lateral flowc.failed_step(r.run_id, r.status) f on true
    where r.run_id = get_run.id;
end $$;

-- Returns what a waiter needs: the status and, once completed, the outputs of the steps in
-- step_slugs and, with with_input, the input; of a failed run the step that failed.
create or replace function flowc.result(run_id uuid, step_slugs text[], with_input boolean)
returns table (flow_slug text, status text, input jsonb, outputs jsonb, failed_step text, failed_index int, error_message text)
language plpgsql stable as $$
#variable_conflict use_column
begin
  return query
    select r.flow_slug, case r.status when 'completed' then r.status else flowc.run_status(r.run_id, r.status) end,
           case when with_input and r.status = 'completed' then r.input end,
           case when r.status = 'completed' then (
             select coalesce(jsonb_object_agg(st.step_slug, coalesce(st.output, 'null')), '{}')
             from pgflow.step_states st
             where st.run_id = r.run_id and st.step_slug = any (result.step_slugs) and st.status = 'completed') end,
           f.step_slug, f.task_index, coalesce(f.error_message, c.reason)
    from pgflow.runs r
    left join flowc.cancelled_runs c on r.status = 'failed' and c.run_id = r.run_id
    left join lateral flowc.failed_step(r.run_id, r.status) f on true
    where r.run_id = result.run_id;
end $$;

-- Returns what flowc calls the status of a run. To the contract, running, waiting and
-- scheduled runs are started, and cancelled ones failed.
create or replace function flowc.run_status(run_id uuid, status text) returns text
language plpgsql stable as $$
begin
  return case
    when status = 'failed' and exists (select from flowc.cancelled_runs c where c.run_id = run_status.run_id) then 'cancelled'
    when status = 'started' and exists (select from flowc.scheduled_runs s where s.run_id = run_status.run_id) then 'scheduled'
    when status = 'started' and flowc.is_waiting(run_status.run_id) then 'waiting'
    when status = 'started' then 'running'
    else status end;
end $$;

-- Returns the kind of a step and, if it is a wait, what is known of it: since when it waits
-- and until when, its key, and who has answered it when. No row if the step has no settings.
create or replace function flowc.wait_state(run_id uuid, flow_slug text, step_slug text) returns table (kind text, wait jsonb)
language plpgsql stable as $$
#variable_conflict use_column
begin
  if not exists (select from flowc.settings) then
    return;
  end if;
  return query
    select k.kind, case when k.kind = 'wait' then (
      select jsonb_strip_nulls(jsonb_build_object(
        'since', w.since_at, 'until', nullif(w.due_at, 'infinity'), 'key', w.key, 'answered_by', a.sender, 'answered_at', a.sent_at))
      from (select) x
      left join flowc.waits w on w.run_id = wait_state.run_id and w.step_slug = wait_state.step_slug
      left join lateral (
        select s.sender, s.sent_at from flowc.signals s
        where s.run_id = wait_state.run_id and s.step_slug = wait_state.step_slug and s.delivered_at is not null and not s.expired
        order by s.delivered_at desc limit 1) a on true) end
    from flowc.settings k where k.flow_slug = wait_state.flow_slug and k.step_slug = wait_state.step_slug;
end $$;

-- Returns the step that made a run fail, if one did, with its last error and, if it is a
-- map, the element that failed.
create or replace function flowc.failed_step(run_id uuid, run_status text, out step_slug text, out task_index int, out error_message text)
language plpgsql stable as $$
#variable_conflict use_column
declare
  step_type text;
begin
  if run_status <> 'failed' then
    return;
  end if;
  select st.step_slug, s.step_type, st.error_message into step_slug, step_type, error_message
  from pgflow.step_states st
  join pgflow.steps s on s.flow_slug = any (array[st.flow_slug]) and s.step_slug = st.step_slug
  where st.run_id = failed_step.run_id and st.status = 'failed'
  order by st.failed_at, st.step_slug limit 1;
  task_index := flowc.failed_index(failed_step.run_id, step_slug, step_type, error_message);
end $$;

-- Returns the element of a map whose task failed for good, NULL if none did or the step is
-- no map.
create or replace function flowc.failed_index(run_id uuid, step_slug text, step_type text, error_message text) returns int
language plpgsql stable as $$
begin
  if error_message is null or step_type <> 'map' then
    return null;
  end if;
  return (
    select t.task_index from pgflow.step_tasks t
    where t.run_id = failed_index.run_id and t.step_slug = failed_index.step_slug and t.status = 'failed'
    order by t.failed_at, t.task_index limit 1);
end $$;

-- Composes the result of a completed run from the outputs that its definition names; NULL
-- if the definition names none. The output of a skipped step is null. The members of a
-- field without a name become members of the whole.
create or replace function flowc.compose_result(run_id uuid) returns jsonb
language plpgsql stable as $$
declare
  result jsonb;
  input  jsonb;
  field  jsonb;
  value  jsonb;
  made   jsonb := '{}';
begin
  select d.result, r.input into result, input
  from pgflow.runs r join flowc.flow_metadata d on d.flow_slug = any (array[r.flow_slug])
  where r.run_id = compose_result.run_id and r.status = 'completed';
  if result ? 'from' then
    return flowc.source_value(compose_result.run_id, input, result ->> 'from');
  elsif not coalesce(result ? 'fields', false) then
    return null;
  end if;
  for field in select f.value from jsonb_array_elements(result -> 'fields') f(value) loop
    value := flowc.source_value(compose_result.run_id, input, field ->> 'from');
    if field ? 'name' then
      made := made || jsonb_build_object(field ->> 'name', value);
    elsif jsonb_typeof(value) = 'object' then
      made := value || made;
    end if;
  end loop;
  return made;
end $$;

-- Returns the output of a step, or the input of the run if source is 'run'.
create or replace function flowc.source_value(run_id uuid, input jsonb, source text) returns jsonb
language plpgsql stable as $$
begin
  if source = 'run' then
    return input;
  end if;
  return coalesce((
    select st.output from pgflow.step_states st
    where st.run_id = source_value.run_id and st.step_slug = source_value.source and st.status = 'completed'), 'null');
end $$;

-- Returns the version of the engine, for programs to compare with their own.
create or replace function flowc.version() returns int
language sql stable as $$ select i.version from flowc.installation i $$;
