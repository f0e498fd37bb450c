-- Reading runs.

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

-- scheduled and cancelled are ours; to the contract they are started and failed.
create or replace function flowc.run_status(run_id uuid, status text) returns text
language plpgsql stable as $$
begin
  return case
    when status = 'failed' and exists (select from flowc.cancelled c where c.run_id = run_status.run_id) then 'cancelled'
    when status = 'started' and exists (select from flowc.scheduled s where s.run_id = run_status.run_id) then 'scheduled'
    else status end;
end $$;

-- What a waiter needs: the status and, once completed, the outputs of the steps
-- it names and the input if it wants that; of a failed run the step that failed.
create or replace function flowc.result(run_id uuid, step_slugs text[], with_input boolean)
returns table (flow_slug text, status text, input jsonb, outputs jsonb, failed_step text, error_message text)
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
           f.step_slug, coalesce(f.error_message, c.reason)
    from pgflow.runs r
    left join flowc.cancelled c on r.status = 'failed' and c.run_id = r.run_id
    left join lateral (
      select st.step_slug, st.error_message from pgflow.step_states st
      where r.status = 'failed' and st.run_id = r.run_id and st.status = 'failed'
      order by st.failed_at, st.step_slug limit 1) f on true
    where r.run_id = result.run_id;
end $$;

-- A run as it is; with its steps, in the order of their definition, if wanted.
create or replace function flowc.get_run(id uuid, with_states boolean default false)
returns table (
  run_id uuid, flow_slug text, status text, input jsonb, output jsonb, remaining_steps int,
  started_at timestamptz, completed_at timestamptz, failed_at timestamptz, scheduled_at timestamptz,
  cancelled_at timestamptz, cancel_reason text, failed_step text, error_message text, states jsonb)
language plpgsql stable as $$
#variable_conflict use_column
begin
  return query
    select r.run_id, r.flow_slug, flowc.run_status(r.run_id, r.status), r.input, r.output, r.remaining_steps,
           r.started_at, r.completed_at, r.failed_at, coalesce(d.due_at, k.tick_at), c.cancelled_at, c.reason, f.step_slug, f.error_message,
           case when get_run.with_states then (
             select coalesce(jsonb_agg(to_jsonb(st) || jsonb_build_object(
               'step_index', s.step_index, 'step_type', s.step_type, 'attempts', (
                 select coalesce(sum(t.attempts_count), 0) from pgflow.step_tasks t where t.run_id = st.run_id and t.step_slug = st.step_slug)) order by s.step_index), '[]')
             from pgflow.step_states st
             join pgflow.steps s on s.flow_slug = st.flow_slug and s.step_slug = st.step_slug
             where st.run_id = r.run_id) end
    from pgflow.runs r
    left join flowc.scheduled d on d.run_id = r.run_id
    left join flowc.ticks k on k.run_id = r.run_id
    left join flowc.cancelled c on c.run_id = r.run_id
    left join lateral (
      select st.step_slug, st.error_message from pgflow.step_states st
      where r.status = 'failed' and st.run_id = r.run_id and st.status = 'failed'
      order by st.failed_at, st.step_slug limit 1) f on true
    where r.run_id = get_run.id;
end $$;

-- The version of the engine, for programs to compare with their own.
create or replace function flowc.version() returns int
language sql stable as $$ select i.version from flowc.installation i $$;
