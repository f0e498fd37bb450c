-- Roles that need no privileges on tables: the functions that they may call run with the
-- rights of the engine's owner (see attributes.sql).

-- Returns the functions that a role of a kind may call, in all schemas of the engine. A
-- function that programs call has to be added here.
create or replace function flowc.role_functions(kind text) returns text[]
language plpgsql immutable as $$
declare
  -- For one run, known by its id. Only await_run locks it.
  reading text[] := '{flowc.get_run, flowc.result, flowc.explain_run, flowc.flow_exists, pgflow.get_run_with_states}';
  starting text[] := '{flowc.await_run, flowc.start, flowc.find_runs, pgflow.start_flow, pgflow.start_flow_with_states, flowc.cancel_run, flowc.request_cancel, flowc.signal, flowc.signal_by, flowc.reschedule_run}';
  working text[] := '{
    flowc.register_worker, flowc.drain_worker, flowc.stop_worker, flowc.heartbeat, flowc.recover, flowc.enter_idle, flowc.leave_idle,
    flowc.claim, flowc.claim_gated, flowc.claim_suspects, flowc.leave_unknown, flowc.read_values, flowc.fail_unclaimable, flowc.report, flowc.complete_in_transaction, flowc.release, flowc.release_unknown,
    flowc.start_due, flowc.begin_runs, flowc.large_answer, flowc.deliver_large, flowc.schedules_to_take, flowc.schedules_given_up, flowc.take_schedule, flowc.list_crons, flowc.advance_watermarks, flowc.prune_served, flowc.compare_flow, flowc.flow_exists,
    pgflow.start_tasks, pgflow.complete_task, pgflow.fail_task, pgflow.set_vt_batch, pgflow.mark_worker_stopped, pgflow.track_worker_function,
    pgmq.read, pgmq.read_with_poll, pgmq.set_vt}';
  viewing text[] := '{
    flowc.list_runs, flowc.list_tasks, flowc.list_flows, flowc.list_workers, flowc.list_schedules, flowc.next_ticks,
    flowc.get_definition, flowc.compare_flow, flowc.adjacent_runs, flowc.payload, flowc.payloads, flowc.read_values, flowc.recent_failures,
    flowc.run_progress, flowc.tasks_in_flight, flowc.throughput, flowc.list_waits, flowc.count_waits, flowc.list_requests, flowc.list_gates, flowc.check_gates}';
  operating text[] := '{
    flowc.await_run, flowc.start, flowc.find_runs, flowc.signal, flowc.signal_by, flowc.request, flowc.request_cancel, flowc.cancel_run, flowc.retry_run, flowc.retry_step, flowc.set_priority, flowc.run_now, flowc.reschedule_run, flowc.delete_run,
    flowc.prune, flowc.pause_flow, flowc.set_gate, flowc.hold_gate, flowc.pause_schedule, flowc.resume_schedule, flowc.run_schedule}';
begin
  return '{flowc.version, flowc.get_shard}'::text[] || case kind
    when 'starter' then starting || reading
    when 'worker' then working
    when 'viewer' then viewing || reading
    when 'operator' then operating || viewing || reading
  end;
end $$;

-- Gives a role the rights of a kind, now and after every migration, and returns whether it
-- created the role, which then cannot log in.
create or replace function flowc.grant_role(kind text, role_name text) returns boolean
language plpgsql as $$
declare
  made boolean := not exists (select from pg_roles r where r.rolname = grant_role.role_name);
begin
  if octet_length(grant_role.role_name) > 63 then -- it would be cut off, and be another
    raise name_too_long using message = format('the name of a role has at most 63 bytes: %s', grant_role.role_name);
  end if;
  if made then
    execute format('create role %I nologin', grant_role.role_name);
  end if;
  insert into flowc.granted_roles (role_name, kind) values (grant_role.role_name, grant_role.kind) on conflict do nothing;
  perform flowc.grant_privileges();
  return made;
end $$;

-- Takes from a role the rights of a kind; the role stays. Returns false if it had none.
create or replace function flowc.revoke_role(kind text, role_name text) returns boolean
language plpgsql as $$
begin
  delete from flowc.granted_roles m where m.role_name = revoke_role.role_name and m.kind = revoke_role.kind;
  if not found then
    return false;
  end if;
  if not exists (select from flowc.granted_roles m where m.role_name = revoke_role.role_name)
    and exists (select from pg_roles r where r.rolname = revoke_role.role_name) then
    execute format('revoke all on schema flowc, pgflow, pgmq from %I', revoke_role.role_name);
  end if;
  perform flowc.revoke_privileges(revoke_role.role_name);
  perform flowc.grant_privileges();
  return true;
end $$;

-- Revokes all privileges on functions and tables from a role that is not the owner.
create or replace function flowc.revoke_privileges(role_name text) returns void
language plpgsql as $$
begin
  if exists (
    select from pg_roles r join pg_namespace n on n.nspname = 'flowc'
    where r.rolname = revoke_privileges.role_name and r.oid <> n.nspowner) then
    execute format('revoke all on all functions in schema flowc, pgflow, pgmq from %I', revoke_privileges.role_name);
    execute format('revoke all on pgflow.workers from %I', revoke_privileges.role_name);
  end if;
end $$;

-- Grants all roles what role_functions says, and revokes everything else.
create or replace function flowc.grant_privileges() returns void
language plpgsql as $$
declare
  member record;
  f      regprocedure;
begin
  delete from flowc.granted_roles m where not exists (select from pg_roles r where r.rolname = m.role_name);
  for member in
    select m.role_name, array_agg(m.kind) as kinds, bool_or(m.kind = 'worker') as works
    from flowc.granted_roles m group by m.role_name order by m.role_name
  loop
    perform flowc.revoke_privileges(member.role_name);
    execute format('grant usage on schema flowc, pgflow, pgmq to %I', member.role_name);
    for f in
      select distinct p.oid::regprocedure
      from unnest(member.kinds) k(kind)
      cross join lateral unnest(flowc.role_functions(k.kind)) e(name)
      join pg_namespace n on n.nspname = split_part(e.name, '.', 1)
      join pg_proc p on p.pronamespace = n.oid and p.proname = split_part(e.name, '.', 2)
    loop
      execute format('grant execute on function %s to %I', f, member.role_name);
    end loop;
    if member.works then -- which workers in other languages write themselves
      execute format('grant select, insert, update on pgflow.workers to %I', member.role_name);
    end if;
  end loop;
end $$;
