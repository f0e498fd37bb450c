-- Schedules: flows that the clock starts. Whichever worker comes first starts what is
-- due; there is no leader. Lock order: the definition, shared, then the schedule.

-- Sets or removes the schedule of a flow, and reports whether that is a change. A paused
-- schedule stays paused. The caller has locked the definition.
create or replace function flowc.set_schedule(flow_slug text, cron text) returns boolean
language plpgsql as $$
declare
  old   flowc.schedules;
  first timestamptz;
begin
  select * into old from flowc.schedules s where s.flow_slug = set_schedule.flow_slug;
  if old.cron is not distinct from set_schedule.cron then
    return false;
  end if;
  if set_schedule.cron is null then
    delete from flowc.schedules s where s.flow_slug = set_schedule.flow_slug;
    return true;
  end if;
  first := flowc.next_tick(set_schedule.cron, clock_timestamp());
  if first is null then
    perform flowc.refuse_cron(set_schedule.cron, 'there is no such day');
  end if;
  if exists (select from pgflow.steps s where s.flow_slug = set_schedule.flow_slug and s.step_type = 'map' and s.deps_count = 0) then
    perform flowc.refuse_cron(set_schedule.cron, 'it starts the flow with {}, and a step is a map over the input, which has to be a list');
  end if;
  if old.cron is null then
    insert into flowc.schedules (flow_slug, cron, next_at, suspended_by)
    values (set_schedule.flow_slug, set_schedule.cron, first, case when not flowc.ticks_here(set_schedule.flow_slug) then 0 end);
    perform flowc.pause_older_schedules(set_schedule.flow_slug);
  else
    update flowc.schedules s
    set cron = set_schedule.cron, computed_at = clock_timestamp(), next_at = case when s.paused_at is null then first end, error_message = null
    where s.flow_slug = set_schedule.flow_slug;
  end if;
  perform flowc.wake_flows(array[set_schedule.flow_slug]);
  return true;
end $$;

-- Pauses the schedules of older versions of a flow, which would otherwise run beside that
-- of this version.
create or replace function flowc.pause_older_schedules(flow_slug text) returns void
language plpgsql as $$
declare
  base    text := substring(pause_older_schedules.flow_slug from '^(.+)_v\d{1,9}$');
  version int  := substring(pause_older_schedules.flow_slug from '_v(\d{1,9})$')::int;
begin
  update flowc.schedules s
  set paused_at = clock_timestamp(), pause_reason = pause_older_schedules.flow_slug || ' took over', next_at = null
  where s.paused_at is null and version > 1
    and (s.flow_slug = base or substring(s.flow_slug from '^(.+)_v\d{1,9}$') = base and substring(s.flow_slug from '_v(\d{1,9})$')::int < version);
end $$;

-- Returns the id of the run of a tick, so that no tick is started twice, whatever the clock
-- does. Like other ids it sorts by time.
create or replace function flowc.tick_run_id(flow_slug text, tick timestamptz) returns uuid
language plpgsql stable as $$
declare
  hash bytea := substring(sha256(convert_to(
    (select i.secret from flowc.installation i) || '/' || tick_run_id.flow_slug || '/' || extract(epoch from tick_run_id.tick), 'UTF8')) for 16);
begin
  hash := overlay(hash placing substring(int8send((extract(epoch from tick_run_id.tick) * 1000)::bigint) from 3) from 1 for 6);
  hash := set_byte(hash, 6, 112 | (get_byte(hash, 6) & 15));
  return encode(set_byte(hash, 8, 128 | (get_byte(hash, 8) & 63)), 'hex')::uuid;
end $$;

-- Starts a run for each schedule of the flows that is due, and returns how many. If several
-- ticks were missed, only the last one is run. Schedules that somebody else is about to
-- start, or whose definition is being changed, are skipped.
create or replace function flowc.start_ticks(flow_slugs text[]) returns int
language plpgsql as $$
declare
  slug    text;
  s       flowc.schedules;
  started int := 0;
begin
  for slug in
    select d.flow_slug from unnest(start_ticks.flow_slugs) f(slug)
    join flowc.schedules d on d.flow_slug = f.slug
    where (d.next_at <= clock_timestamp() or d.computed_at > clock_timestamp()) and d.suspended_by is null
    order by d.next_at
  loop
    continue when not flowc.try_share_definition(slug);
    select d.* into s from flowc.schedules d where d.flow_slug = slug for update skip locked;
    continue when not found or s.paused_at is not null or s.suspended_by is not null;
    if s.computed_at > clock_timestamp() then
      update flowc.schedules d
      set computed_at = clock_timestamp(), next_at = least(d.next_at, flowc.next_tick(d.cron, clock_timestamp()))
      where d.flow_slug = slug returning d.* into s;
    end if;
    if s.next_at <= clock_timestamp() and flowc.start_tick(s) then
      started := started + 1;
    end if;
  end loop;
  return started;
end $$;

-- Starts the run of a schedule that is due and locked, and advances the schedule past now. A
-- tick is left out if another run has the key of its run, see uniques.sql. An error is
-- recorded, and retried after a minute: one schedule must not keep others from being started.
create or replace function flowc.start_tick(s flowc.schedules) returns boolean
language plpgsql as $$
declare
  now_at timestamptz := clock_timestamp();
  tick    timestamptz;
  run     uuid;
  existed boolean;
begin
  tick := flowc.last_tick(s.cron, s.next_at, now_at);
  run := flowc.tick_run_id(s.flow_slug, tick);
  if not flowc.try_lock_key(run, s.flow_slug, '{}') then
    return false; -- it stays due
  end if;
  select t.run_id, t.existed into run, existed from flowc.start(s.flow_slug, array['{}'::jsonb], array[run]) t;
  if not existed then -- one that existed has its tick, or is being deleted with it
    insert into flowc.ticks (run_id, tick_at) values (run, tick);
  end if;
  update flowc.schedules d
  set computed_at = now_at, next_at = flowc.next_tick(s.cron, tick), last_at = tick, last_run_id = run, error_message = null
  where d.flow_slug = s.flow_slug;
  return not existed;
exception when others then
  if sqlstate ~ '^(08|25|40|53|55|57|58|XX)' then
    raise; -- not the schedule's fault
  end if;
  update flowc.schedules d
  set computed_at = now_at, next_at = now_at + interval '1 minute', error_message = sqlerrm
  where d.flow_slug = s.flow_slug;
  return false;
end $$;

-- Starts a run as the schedule would, now, even if it is paused. Returns NULL if the flow
-- has no schedule. If a run has the id already, nothing is started; it is an error if another
-- run has the key of the run, see uniques.sql.
create or replace function flowc.run_schedule(flow_slug text, run_id uuid) returns timestamptz
language plpgsql as $$
declare
  tick    timestamptz := clock_timestamp();
  started record;
begin
  perform from flowc.definition_locks d where d.flow_slug = run_schedule.flow_slug for key share;
  if not exists (select from flowc.schedules s where s.flow_slug = run_schedule.flow_slug) then
    return null;
  end if;
  select t.* into started from flowc.start(run_schedule.flow_slug, array['{}'::jsonb], array[run_schedule.run_id], duplicates => 'refuse') t;
  if started.status = 'duplicate' then
    perform flowc.refuse_duplicate(started.run_id);
  elsif not started.existed then
    insert into flowc.ticks (run_id, tick_at) values (run_schedule.run_id, tick);
  end if;
  return tick;
end $$;

-- Pauses a schedule: no run is started until it is resumed. Returns false if it is paused
-- already, NULL if the flow has no schedule.
create or replace function flowc.pause_schedule(flow_slug text, reason text default null) returns boolean
language plpgsql as $$
declare
  paused timestamptz;
begin
  perform from flowc.definition_locks d where d.flow_slug = pause_schedule.flow_slug for key share;
  select s.paused_at into paused from flowc.schedules s where s.flow_slug = pause_schedule.flow_slug for update;
  if not found then
    return null;
  elsif paused is not null then
    return false;
  end if;
  update flowc.schedules s set paused_at = clock_timestamp(), pause_reason = pause_schedule.reason, next_at = null
  where s.flow_slug = pause_schedule.flow_slug;
  return true;
end $$;

-- Resumes a paused schedule at its next tick; missed ticks are not made up for. Returns
-- false if it is not paused, NULL if the flow has no schedule.
create or replace function flowc.resume_schedule(flow_slug text) returns boolean
language plpgsql as $$
declare
  paused timestamptz;
begin
  perform from flowc.definition_locks d where d.flow_slug = resume_schedule.flow_slug for key share;
  select s.paused_at into paused from flowc.schedules s where s.flow_slug = resume_schedule.flow_slug for update;
  if not found then
    return null;
  elsif paused is null then
    return false;
  end if;
  update flowc.schedules s
  set paused_at = null, pause_reason = null, error_message = null,
      computed_at = clock_timestamp(), next_at = flowc.next_tick(s.cron, clock_timestamp())
  where s.flow_slug = resume_schedule.flow_slug;
  perform flowc.wake_flows(array[resume_schedule.flow_slug]);
  return true;
end $$;

-- Returns all schedules with the status of their last runs.
create or replace function flowc.list_schedules(flow_slugs text[] default null)
returns table (
  flow_slug text, cron text, created_at timestamptz, next_at timestamptz, paused_at timestamptz, pause_reason text,
  last_at timestamptz, last_run_id uuid, last_status text, error_message text, overdue_seconds double precision)
language plpgsql stable as $$
#variable_conflict use_column
begin
  return query
    select s.flow_slug, s.cron, s.created_at, s.next_at, s.paused_at, left(s.pause_reason, 17000), s.last_at, s.last_run_id,
           case when r.run_id is not null then flowc.run_status(r.run_id, r.status) end, left(s.error_message, 17000),
           greatest(extract(epoch from clock_timestamp() - s.next_at), 0)::double precision
    from flowc.schedules s
    left join pgflow.runs r on r.run_id = s.last_run_id
    where s.suspended_by is null and (list_schedules.flow_slugs is null or s.flow_slug = any (list_schedules.flow_slugs))
    order by s.flow_slug;
end $$;

-- Returns the cron expressions of those of the flows that have one.
create or replace function flowc.list_crons(flow_slugs text[]) returns table (flow_slug text, cron text)
language plpgsql stable as $$
#variable_conflict use_column
begin
  return query select s.flow_slug, s.cron from unnest(list_crons.flow_slugs) f(slug) join flowc.schedules s on s.flow_slug = f.slug;
end $$;
