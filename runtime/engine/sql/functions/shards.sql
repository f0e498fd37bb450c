-- Shards: databases among which runs are distributed, see package shards. Each has the
-- whole map in flowc.shard, and says by its version who may start runs there.

-- Returns what this database knows of the map of shards; no row if it is no shard.
create or replace function flowc.get_shard() returns table (map_id uuid, number int, maps jsonb)
language plpgsql stable as $$
#variable_conflict use_column
begin
  return query select s.map_id, s.number, s.maps from flowc.shard s;
end $$;

-- Refuses to go on unless the map has this version here, and keeps it from changing until
-- the transaction ends: whoever placed a run by another map may have placed it wrongly.
create or replace function flowc.require_map(map_version int) returns void
language plpgsql as $$
declare
  current int;
begin
  lock table flowc.shard in row share mode; -- which publish_map waits for, and which waits for it
  if current_setting('transaction_isolation') <> 'read committed' then
    perform from flowc.shard s for share; -- fails if the snapshot is older than the map
  end if;
  select s.version into current from flowc.shard s;
  if current is distinct from require_map.map_version then
    raise exception using
      errcode = 'FC002',
      message = format('the map of shards has version %s here, not %s', coalesce(current, 0), require_map.map_version);
  end if;
end $$;

-- Returns those of the runs that this database has. It is for a start on another shard: as
-- long as the map has the version, none of the other runs is started here.
create or replace function flowc.find_runs(map_version int, run_ids uuid[])
returns table (run_id uuid, flow_slug text, scheduled_at timestamptz)
language plpgsql as $$
#variable_conflict use_column
begin
  perform flowc.require_map(find_runs.map_version);
  return query
    select r.run_id, r.flow_slug, s.due_at
    from unnest(find_runs.run_ids) u(run_id)
    cross join lateral (select o.run_id, o.flow_slug from pgflow.runs o where o.run_id = any (array[u.run_id]) offset 0) r
    left join lateral (select o.due_at from flowc.scheduled_runs o where o.run_id = any (array[u.run_id]) offset 0) s on true;
end $$;

-- Returns the shard that a key belongs to. Package shards computes it in the same way. When
-- a shard is added, only keys that it gets move; when one is drained, only those it had.
create or replace function flowc.rendezvous(key text, numbers int[]) returns int
language plpgsql immutable as $$
begin
  return (
    select n.number from unnest(rendezvous.numbers) n(number)
    order by sha256(convert_to(rendezvous.key || '/' || n.number, 'UTF8')) desc limit 1);
end $$;

-- Reports whether this database starts the runs of a schedule: one of the shards does. The
-- map keeps its version until the transaction ends.
create or replace function flowc.ticks_here(flow_slug text) returns boolean
language plpgsql as $$
declare
  here flowc.shard;
begin
  lock table flowc.shard in row share mode;
  select * into here from flowc.shard;
  return not found or coalesce(here.number = flowc.rendezvous(ticks_here.flow_slug, array(
    select (s ->> 'number')::int from jsonb_array_elements(here.maps -> -1) m(s) where s ->> 'state' = 'active')), false);
end $$;

-- Stores newer versions of the map, gives up the schedules that other shards have now, and
-- reports whether there was something to do. number is that of this database, NULL if it is
-- not in the map yet. With require_empty, it must have no runs, nor get any from a
-- transaction that is open.
create or replace function flowc.publish_map(map_id uuid, number int, maps jsonb, require_empty boolean default false) returns boolean
language plpgsql as $$
declare
  here   flowc.shard;
  newest int := jsonb_array_length(publish_map.maps);
begin
  lock table flowc.shard in exclusive mode;
  select * into here from flowc.shard;
  if here.version > 0 and here.map_id <> publish_map.map_id or here.number <> publish_map.number or exists (
    select from generate_series(0, least(here.version, newest) - 1) v(i) where here.maps -> v.i <> publish_map.maps -> v.i) then
    raise exception using
      errcode = 'FC003',
      message = format('this database is shard %s of map %s, version %s, and not shard %s of map %s, version %s',
        here.number, here.map_id, here.version, publish_map.number, publish_map.map_id, newest);
  end if;
  if here.version > newest or here.version = newest and here.map_id = publish_map.map_id and (here.number is not null or publish_map.number is null) then
    return false;
  end if;
  if publish_map.require_empty then
    lock table pgflow.runs in share mode;
    if exists (select from pgflow.runs) then
      raise exception using errcode = 'FC004', message = 'the shard has runs';
    end if;
  end if;
  insert into flowc.shard as s (map_id, number, version, maps) values (publish_map.map_id, publish_map.number, newest, publish_map.maps)
  on conflict (single) do update
  set map_id = excluded.map_id, number = coalesce(excluded.number, s.number), version = excluded.version, maps = excluded.maps;
  update flowc.schedules s set suspended_by = newest + 1 where s.suspended_by is null and not flowc.ticks_here(s.flow_slug);
  return true;
end $$;

-- Returns the flows whose schedules this shard is to take from another.
create or replace function flowc.schedules_to_take() returns setof text
language plpgsql as $$
begin
  return query select s.flow_slug from flowc.schedules s where s.suspended_by is not null and flowc.ticks_here(s.flow_slug) order by s.flow_slug;
end $$;

-- Returns those of the flows' schedules that this shard had and has given up.
create or replace function flowc.schedules_given_up(flow_slugs text[]) returns setof flowc.schedules
language plpgsql stable as $$
begin
  return query select s.* from flowc.schedules s where s.flow_slug = any (schedules_given_up.flow_slugs) and s.suspended_by > 0;
end $$;

-- Takes a schedule from another shard, which has given it up: next_at, paused_at and so on
-- are what it has there. If there is none, it goes on with the next tick.
create or replace function flowc.take_schedule(
  flow_slug text, next_at timestamptz, paused_at timestamptz, pause_reason text, last_at timestamptz, last_run_id uuid) returns void
language plpgsql as $$
begin
  if not flowc.ticks_here(take_schedule.flow_slug) then
    return;
  end if;
  update flowc.schedules s
  set suspended_by = null, computed_at = clock_timestamp(), error_message = null,
      paused_at = take_schedule.paused_at, pause_reason = take_schedule.pause_reason,
      last_at = take_schedule.last_at, last_run_id = take_schedule.last_run_id,
      next_at = case when take_schedule.paused_at is null then coalesce(take_schedule.next_at, flowc.next_tick(s.cron, clock_timestamp())) end
  where s.flow_slug = take_schedule.flow_slug and s.suspended_by is not null;
  perform flowc.wake_flows(array[take_schedule.flow_slug]);
end $$;

-- Returns all flows with their definitions, to define them on a new shard.
create or replace function flowc.export_flows()
returns table (flow_slug text, definition jsonb, paused boolean, paused_by text)
language plpgsql stable as $$
#variable_conflict use_column
begin
  return query
    select f.flow_slug, flowc.get_definition(f.flow_slug), p.flow_slug is not null, p.paused_by
    from pgflow.flows f left join flowc.paused_flows p on p.flow_slug = f.flow_slug
    order by f.flow_slug;
end $$;

-- Returns how many runs of a flow have not ended.
create or replace function flowc.count_started(flow_slug text) returns int
language plpgsql stable as $$
begin
  return (select count(*) from pgflow.runs r where r.flow_slug = count_started.flow_slug and r.status = 'started');
end $$;
