-- The contract's functions that need the services of a hosted Supabase: cron, net and
-- vault. If a service is missing, they say which one. None is used that somebody else may
-- have created in its place.

-- Fails unless a function or relation of a service exists and can be trusted.
create or replace function flowc.require_service(name text, procedure text) returns void
language plpgsql stable as $$
begin
  -- Not to_regproc: it does not find a function that is overloaded.
  if to_regclass(require_service.procedure) is null and not exists (
    select from pg_proc p join pg_namespace n on n.oid = p.pronamespace
    where n.nspname = split_part(require_service.procedure, '.', 1) and p.proname = split_part(require_service.procedure, '.', 2)) then
    raise feature_not_supported using
      message = format('%s is not available in this database: %s does not exist', require_service.name, require_service.procedure),
      hint = 'This function exists for hosted Supabase. A flowc worker recovers stalled tasks and starts cron flows by itself.';
  elsif not flowc.is_trusted(require_service.procedure) then
    raise insufficient_privilege using
      message = format('%s is not used: it or its schema belongs to neither a superuser nor the owner of the engine', require_service.procedure),
      hint = 'Look at who made it; if it is the real one, give both to one of them.';
  end if;
end $$;

-- Reports whether this is a stack that the Supabase command started on a developer's
-- machine, which all share one secret.
create or replace function pgflow.is_local() returns boolean
language sql stable parallel safe as $$
  select coalesce(current_setting('app.settings.jwt_secret', true) = 'super-secret-jwt-token-with-at-least-32-characters-long', false)
$$;

-- Returns a secret of the vault.
create or replace function flowc.vault_secret(name text) returns text
language plpgsql stable as $$
declare
  secret text;
begin
  select nullif(s.decrypted_secret, '') into secret from vault.decrypted_secrets s where s.name = vault_secret.name;
  return secret;
end $$;

-- Calls the edge functions that should have a worker and have none.
create or replace function pgflow.ensure_workers() returns table (function_name text, invoked boolean, request_id bigint)
language plpgsql as $$
#variable_conflict use_column
declare
  local   boolean := pgflow.is_local();
  base    text;
  headers jsonb := '{}';
  token   text;
begin
  perform flowc.require_service('pg_net', 'net.http_post');
  if local then
    base := 'http://kong:8000/functions/v1';
  else
    perform flowc.require_service('vault', 'vault.decrypted_secrets');
    base  := 'https://' || flowc.vault_secret('supabase_project_id') || '.supabase.co/functions/v1';
    token := coalesce(flowc.vault_secret('pgflow_auth_secret'), flowc.vault_secret('supabase_service_role_key'));
    headers := jsonb_build_object('Content-Type', 'application/json', 'Authorization', 'Bearer ' || token);
  end if;
  if base is null or (token is null and not local) then
    return;
  end if;
  return query
    with idle as (
      select w.function_name from pgflow.worker_functions w
      where w.enabled and w.function_name ~ '^[A-Za-z0-9_-]+$' -- not a path to something else
        and (local or (
        (w.last_invoked_at is null or w.last_invoked_at < now() - w.debounce)
        and not exists (
          select from pgflow.workers k
          where k.function_name = w.function_name and k.stopped_at is null and k.deprecated_at is null
            and k.last_heartbeat_at > now() - w.debounce)))),
    pinged as (
      select i.function_name, net.http_post(url => base || '/' || i.function_name, headers => headers, body => '{}'::jsonb) as request_id
      from idle i),
    noted as (
      update pgflow.worker_functions w set last_invoked_at = clock_timestamp() from pinged p where w.function_name = p.function_name)
    select p.function_name, true, p.request_id from pinged p;
end $$;

create or replace function pgflow.cleanup_ensure_workers_logs(retention_hours int default 24) returns table (cron_deleted bigint)
language plpgsql security definer as $$
begin
  perform flowc.require_service('pg_cron', 'cron.job_run_details');
  delete from cron.job_run_details d where d.end_time < now() - make_interval(hours => cleanup_ensure_workers_logs.retention_hours);
  get diagnostics cron_deleted = row_count;
  return next;
end $$;

-- Schedules a job of pg_cron, in place of one of the same name.
create or replace function flowc.set_cron_job(name text, schedule text, command text) returns void
language plpgsql as $$
begin
  perform flowc.require_service('pg_cron', n.name) from unnest('{cron.schedule,cron.unschedule,cron.job}'::text[]) n(name);
  perform cron.unschedule(j.jobname) from cron.job j where j.jobname = set_cron_job.name;
  perform cron.schedule(job_name => set_cron_job.name, schedule => set_cron_job.schedule, command => set_cron_job.command);
end $$;

create or replace function pgflow.setup_ensure_workers_cron(cron_interval text default '1 second') returns text
language plpgsql security definer as $$
begin
  perform flowc.set_cron_job('pgflow_ensure_workers', setup_ensure_workers_cron.cron_interval, 'select pgflow.ensure_workers()');
  perform flowc.set_cron_job('pgflow_cleanup_logs', '0 * * * *', 'select pgflow.cleanup_ensure_workers_logs()');
  return format('pgflow_ensure_workers runs every %s, pgflow_cleanup_logs every hour', setup_ensure_workers_cron.cron_interval);
end $$;

create or replace function pgflow.setup_requeue_stalled_tasks_cron(cron_interval text default '15 seconds') returns text
language plpgsql security definer as $$
begin
  perform flowc.set_cron_job('pgflow_requeue_stalled_tasks', setup_requeue_stalled_tasks_cron.cron_interval, 'select pgflow.requeue_stalled_tasks()');
  return format('pgflow_requeue_stalled_tasks runs every %s', setup_requeue_stalled_tasks_cron.cron_interval);
end $$;
