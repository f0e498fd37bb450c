-- Events for realtime.send. Where that function does not exist, nothing is built and
-- nothing is sent. These are called after the change and in its transaction, with the rows
-- that changed, and only if the schema realtime exists: looking that up is faster than
-- calling a function.

-- Reports whether a function or relation of another schema may be used with the rights of
-- the engine's owner: everything of that name, and the schema, belongs to a superuser or to
-- that owner. Otherwise, whoever may create schemas could act as the owner.
create or replace function flowc.is_trusted(name text) returns boolean
language sql stable as $$
  select coalesce(bool_and(r.rolsuper or r.oid = home.nspowner), false)
  from (select split_part(is_trusted.name, '.', 1), split_part(is_trusted.name, '.', 2)) x(schema, name)
  join pg_namespace n on n.nspname = x.schema
  cross join lateral (
    select n.nspowner
    union all select p.proowner from pg_proc p where p.pronamespace = n.oid and p.proname = x.name
    union all select c.relowner from pg_class c where c.relnamespace = n.oid and c.relname = x.name) o(owner)
  join pg_roles r on r.oid = o.owner
  join pg_namespace home on home.nspname = 'flowc'
$$;

-- Emits run:started, run:completed or run:failed, by the status that each run has now.
create or replace function flowc.emit_runs(run_ids uuid[]) returns void
language plpgsql as $$
begin
  if to_regprocedure('realtime.send(jsonb,text,text,boolean)') is null or not flowc.is_trusted('realtime.send') then
    return;
  end if;
  perform realtime.send(e.payload, e.payload ->> 'event_type', 'pgflow:run:' || e.run_id, false)
  from (
    select r.run_id,
           jsonb_build_object('event_type', 'run:' || r.status, 'run_id', r.run_id, 'flow_slug', r.flow_slug, 'status', r.status) ||
           case r.status
             when 'started' then jsonb_build_object('input', r.input, 'remaining_steps', r.remaining_steps, 'started_at', r.started_at)
             when 'completed' then jsonb_build_object('output', r.output, 'completed_at', r.completed_at)
             else jsonb_build_object('failed_at', r.failed_at, 'error_message', (
               select s.error_message from pgflow.step_states s
               where s.run_id = r.run_id and s.status = 'failed' order by s.failed_at, s.step_slug limit 1))
           end as payload
    from unnest(emit_runs.run_ids) with ordinality u(run_id, n)
    join pgflow.runs r on r.run_id = any (array[u.run_id])
    order by u.n) e;
end $$;

-- Emits step:<slug>:started, completed, failed or skipped, by the status that each step has
-- now.
create or replace function flowc.emit_steps(run_ids uuid[], step_slugs text[]) returns void
language plpgsql as $$
begin
  if to_regprocedure('realtime.send(jsonb,text,text,boolean)') is null or not flowc.is_trusted('realtime.send') then
    return;
  end if;
  perform realtime.send(e.payload, e.event, 'pgflow:run:' || e.run_id, false)
  from (
    select s.run_id, format('step:%s:%s', s.step_slug, s.status) as event,
           jsonb_build_object('event_type', 'step:' || s.status, 'run_id', s.run_id, 'flow_slug', s.flow_slug,
                              'step_slug', s.step_slug, 'status', s.status) ||
           case s.status
             when 'failed' then jsonb_build_object('error_message', s.error_message, 'failed_at', s.failed_at)
             when 'skipped' then jsonb_build_object('skip_reason', s.skip_reason, 'skipped_at', s.skipped_at, 'error_message', s.error_message)
             else jsonb_build_object('started_at', s.started_at, 'remaining_tasks', s.remaining_tasks, 'remaining_deps', s.remaining_deps)
           end ||
           case s.status when 'completed' then jsonb_build_object('completed_at', s.completed_at, 'output', s.output) else '{}' end as payload
    from unnest(emit_steps.run_ids, emit_steps.step_slugs) with ordinality u(run_id, step_slug, n)
    join pgflow.step_states s on s.run_id = any (array[u.run_id]) and s.step_slug = u.step_slug
    order by u.n) e;
end $$;
