-- Deleting runs, one by one or by age. Locking comes first, as in control.sql.

-- Deletes a run that has ended, or, with allow_data_loss, any run. Returns false if it has
-- not ended, NULL if there is no such run.
create or replace function flowc.delete_run(run_id uuid, allow_data_loss boolean default false) returns boolean
language plpgsql as $$
declare
  status text;
begin
  select r.status into status from pgflow.runs r where r.run_id = delete_run.run_id for update;
  if status is null then
    return null;
  elsif status = 'started' and not delete_run.allow_data_loss then
    return false;
  end if;
  perform flowc.delete_runs(array[delete_run.run_id]);
  return true;
end $$;

-- Deletes runs with all that belongs to them, and returns how many there were.
create or replace function flowc.delete_runs(run_ids uuid[]) returns int
language plpgsql as $$
begin
  return flowc.delete_locked_runs(flowc.lock_runs(delete_runs.run_ids));
end $$;

-- Deletes runs that the caller has locked, with all that belongs to them.
create or replace function flowc.delete_locked_runs(run_ids uuid[]) returns int
language plpgsql as $$
begin
  if delete_locked_runs.run_ids = '{}' then
    return 0;
  end if;
  delete from flowc.scheduled_runs where run_id = any (delete_locked_runs.run_ids);
  if exists (select from flowc.limited_runs) then
    perform flowc.leave_runs(delete_locked_runs.run_ids);
  end if;
  delete from flowc.failed_attempts where run_id = any (delete_locked_runs.run_ids);
  delete from flowc.run_waiters where run_id = any (delete_locked_runs.run_ids);
  delete from flowc.cancelled_runs where run_id = any (delete_locked_runs.run_ids);
  delete from flowc.run_headers where run_id = any (delete_locked_runs.run_ids);
  delete from flowc.ticks where run_id = any (delete_locked_runs.run_ids);
  delete from flowc.priorities where run_id = any (delete_locked_runs.run_ids);
  delete from pgflow.step_tasks where run_id = any (delete_locked_runs.run_ids);
  delete from flowc.waits where run_id = any (delete_locked_runs.run_ids);
  delete from flowc.signals where run_id = any (delete_locked_runs.run_ids);
  delete from flowc.requests where run_id = any (delete_locked_runs.run_ids);
  delete from flowc.carried where run_id = any (delete_locked_runs.run_ids);
  delete from flowc.uniques q -- those that a start holds are its own from now on, or go with the next run
  using (select u.flow_slug, u.key from flowc.uniques u where u.run_id = any (delete_locked_runs.run_ids) for update skip locked) o
  where q.flow_slug = any (array[o.flow_slug]) and q.key = o.key;
  delete from flowc.suspects where run_id = any (delete_locked_runs.run_ids); -- which recovery may just have written
  delete from pgflow.step_states where run_id = any (delete_locked_runs.run_ids);
  delete from pgflow.runs where run_id = any (delete_locked_runs.run_ids);
  return cardinality(delete_locked_runs.run_ids);
end $$;

-- Deletes what is left of runs that do not exist, so that their ids can be started again,
-- and returns of how many runs it deleted something. Meanwhile, rows of its own reserve the
-- ids; runs that have been started since are left alone.
create or replace function flowc.delete_orphans(run_ids uuid[]) returns int
language plpgsql as $$
declare
  reserved_ids uuid[];
begin
  with reserved as (
    insert into pgflow.runs as r (run_id, flow_slug, input)
    select distinct u.run_id, '', '{}'::jsonb from unnest(delete_orphans.run_ids) u(run_id) order by u.run_id
    on conflict on constraint runs_pkey do nothing
    returning r.run_id)
  select coalesce(array_agg(h.run_id), '{}') into reserved_ids from reserved h;
  return flowc.delete_locked_runs(reserved_ids);
end $$;

-- By age ----------------------------------------------------------------------

-- Deletes at most at_most runs that ended before a time, and returns how many; with
-- dry_run, how many it would delete.
create or replace function flowc.prune(before timestamptz, flow_slugs text[] default null, at_most int default 1000, dry_run boolean default false)
returns int
language plpgsql as $$
declare
  old     uuid[] := flowc.find_ended_runs(prune.before, prune.flow_slugs, prune.at_most);
  deleted int;
begin
  if prune.dry_run then
    return cardinality(old);
  end if;
  perform flowc.prune_workers(prune.before);
  loop
    deleted := flowc.delete_ended_runs(old, prune.before, true);
    exit when deleted > 0 or old = '{}';
    -- Others deleted or retried them all, which does not mean that there are no more.
    old := flowc.find_ended_runs(prune.before, prune.flow_slugs, prune.at_most);
  end loop;
  return deleted;
end $$;

-- Prunes those of the flows that a worker serves, see prune_flows.
create or replace function flowc.prune_served(worker_id uuid, flow_slugs text[], keep interval, at_most int) returns int
language plpgsql as $$
begin
  if prune_served.keep <= interval '0' then
    raise invalid_parameter_value using message = format('runs cannot be kept for %s', prune_served.keep);
  end if;
  return flowc.prune_flows(array(
    select s.flow_slug from flowc.worker_flows s
    where s.worker_id = prune_served.worker_id and s.flow_slug = any (prune_served.flow_slugs)), prune_served.keep, prune_served.at_most);
end $$;

-- Deletes at most at_most runs that ended longer ago than they are to be kept, and returns
-- how many. A flow that somebody else prunes or redefines at the same time is skipped, and
-- so are runs that others hold. Lock order: the definition, shared, the flow's row, then
-- the runs.
create or replace function flowc.prune_flows(flow_slugs text[], keep interval, at_most int) returns int
language plpgsql as $$
declare
  before timestamptz := clock_timestamp() - prune_flows.keep;
  locked text[];
begin
  locked := array(select u.slug from unnest(prune_flows.flow_slugs) u(slug) where flowc.try_share_definition(u.slug));
  locked := array(select f.flow_slug from pgflow.flows f where f.flow_slug = any (locked) order by f.flow_slug for no key update skip locked);
  if locked = '{}' then
    return 0;
  end if;
  perform flowc.prune_workers(before);
  return flowc.delete_ended_runs(flowc.find_ended_runs(before, locked, prune_flows.at_most), before, false);
end $$;

-- Returns the runs that ended before a time, oldest first, of some flows or all.
create or replace function flowc.find_ended_runs(before timestamptz, flow_slugs text[], at_most int) returns uuid[]
language plpgsql stable as $$
begin
  return array(
    select o.run_id
    from pgflow.flows f
    cross join lateral (
      select r.run_id, r.started_at from pgflow.runs r
      where r.flow_slug = f.flow_slug and r.started_at < find_ended_runs.before
        and r.status <> 'started' and coalesce(r.completed_at, r.failed_at) < find_ended_runs.before
      order by r.started_at limit find_ended_runs.at_most) o
    where find_ended_runs.flow_slugs is null or f.flow_slug = any (find_ended_runs.flow_slugs)
    order by o.started_at limit find_ended_runs.at_most);
end $$;

-- Deletes those of some runs that ended before a time, and returns how many. A run may have
-- been retried since it was found, or deleted and started anew. Runs that others hold are
-- waited for, or skipped.
create or replace function flowc.delete_ended_runs(run_ids uuid[], before timestamptz, wait boolean) returns int
language plpgsql as $$
declare
  locked uuid[] := flowc.lock_runs(delete_ended_runs.run_ids, delete_ended_runs.wait);
begin
  return flowc.delete_locked_runs(array(
    select r.run_id from pgflow.runs r
    where r.run_id = any (locked) and r.status <> 'started' and coalesce(r.completed_at, r.failed_at) < delete_ended_runs.before));
end $$;
