-- Limits of flows: how many runs of a flow, or with each key, are in progress at once.
--
-- The gate of a flow's runs is called FLOW.run, and belongs to step '' in flowc.gated_steps. Its
-- keys have turns as those of steps do, see gates.sql. A run that is due waits in line, not
-- begun: its row in flowc.scheduled_runs has a turn_key. So do retries of runs that have ended,
-- as requests. begin_runs begins what there is room for, in the order in which it was due.
--
-- A run in progress has a row in flowc.limited_runs from when it begins until it has ended or
-- is deleted, and in_flight of its key counts these. Whoever ends a run deletes its row and
-- says so in flowc.gate_changes. So starts and reports only insert and delete rows of their
-- own, and nobody waits for the row of a key, which is locked by those who begin runs.

-- Puts those scheduled runs into line that are due; the caller has made or locked them.
create or replace function flowc.line_up(flow_slug text, run_ids uuid[]) returns void
language plpgsql as $$
begin
  with lined as (
    update flowc.scheduled_runs d set turn_key = flowc.gate_key_of(x.run_id, s.key_path)
    from unnest(line_up.run_ids) u(run_id)
    cross join lateral (
      select o.ctid as tid, o.run_id, o.due_at, o.turn_key from flowc.scheduled_runs o where o.run_id = u.run_id offset 0) x
    join flowc.gated_steps s on s.flow_slug = any (array[line_up.flow_slug]) and s.step_slug = ''
    where d.ctid = x.tid and x.turn_key is null and x.due_at <= clock_timestamp()
    returning d.turn_key)
  insert into flowc.gate_changes (gate, flow_slug, step_slug, key)
  select distinct flowc.own_gate(line_up.flow_slug, ''), line_up.flow_slug, '', l.turn_key from lined l;
end $$;

-- Begins runs that wait in line, as many as the limits of the flows have room for, and returns
-- how many. What somebody else holds is skipped: whoever comes first does it.
create or replace function flowc.begin_runs(flow_slugs text[]) returns int
language plpgsql as $$
declare
  gate    record;
  one_key text;
  n       int := 0;
begin
  for gate in
    select g.*, s.flow_slug
    from unnest(begin_runs.flow_slugs) f(slug)
    join flowc.gated_steps s on s.flow_slug = any (array[f.slug]) and s.step_slug = ''
    join flowc.gates g on g.name = any (array[s.gate])
    where not exists (select from flowc.paused_flows p where p.flow_slug = f.slug)
    order by g.name -- who inserts rows with the same keys does so in the same order
  loop
    for round in 1..20 loop
      exit when flowc.count_changes(gate.name) < 256;
    end loop;
    continue when gate.held_until > clock_timestamp();
    foreach one_key in array array(
      select k.key
      from (
        select t.key from flowc.turns t
        where t.flow_slug = gate.flow_slug and t.step_slug = '' and t.due_at <= clock_timestamp()
        order by t.due_at offset 0) t
      cross join lateral (
        select o.key from flowc.gate_keys o where o.gate = gate.name and o.key = t.key for update skip locked) k
      limit 100)
    loop
      begin
        n := n + flowc.begin_runs_with(gate.flow_slug, gate.name, one_key, gate.concurrency);
      exception when data_exception or integrity_constraint_violation or program_limit_exceeded or raise_exception then
        raise log 'flowc: no run of % with the key "%" can begin: %', gate.flow_slug, one_key, sqlerrm; -- which must not hold up other keys
        update flowc.turns t set due_at = clock_timestamp() + interval '1 minute' where t.flow_slug = gate.flow_slug and t.step_slug = '' and t.key = one_key;
      end;
      exit when n >= 1000;
    end loop;
    exit when n >= 1000;
  end loop;
  return n;
end $$;

-- Begins runs with a key, whose row in flowc.gate_keys the caller has locked, and says when to
-- look at the key again. Returns how many it began.
create or replace function flowc.begin_runs_with(flow_slug text, gate text, key text, concurrency int) returns int
language plpgsql as $$
declare
  now_at  timestamptz := clock_timestamp();
  counts  flowc.gate_keys;
  room    int;
  locked  uuid[];   -- runs in line
  retries bigint[]; -- requests in line
  due     uuid[];
  one     bigint;
  n       int := 0;
  waits   boolean;
  next_at timestamptz;
begin
  if not exists ( -- somebody else may have looked before the key was locked
    select from flowc.turns t
    where t.flow_slug = begin_runs_with.flow_slug and t.step_slug = '' and t.key = begin_runs_with.key and t.due_at <= now_at) then
    return 0;
  end if;
  select k.* into counts from flowc.gate_keys k where k.gate = begin_runs_with.gate and k.key = begin_runs_with.key;
  room := case when counts.held_until > now_at then 0 else least(begin_runs_with.concurrency - counts.in_flight, 500) end;
  if room > 0 then
    with run as materialized (
      select l.* from (
        select r.run_id, s.due_at from (
          select d.run_id, d.due_at from flowc.scheduled_runs d
          where d.flow_slug = begin_runs_with.flow_slug and d.turn_key = begin_runs_with.key
          order by d.due_at, d.run_id offset 0) s
        cross join lateral (
          select o.run_id from pgflow.runs o where o.run_id = s.run_id for update skip locked) r
        limit room) l),
    retry as materialized (
      select l.* from (
        select s.id, s.requested_at from (
          select q.id, q.run_id, q.requested_at from flowc.requests q
          where q.flow_slug = begin_runs_with.flow_slug and q.turn_key = begin_runs_with.key and q.error is null
          order by q.requested_at, q.id offset 0) s
        cross join lateral (
          select o.run_id from pgflow.runs o where o.run_id = s.run_id for update skip locked) r
        limit room) l),
    first as (
      select r.run_id, null::bigint as id, r.due_at as at from run r
      union all
      select null, r.id, r.requested_at from retry r
      order by at, run_id, id limit room)
    select array_agg(f.run_id) filter (where f.run_id is not null), array_agg(f.id order by f.at, f.id) filter (where f.id is not null)
    into locked, retries from first f;
    with begun as (
      delete from flowc.scheduled_runs d
      using unnest(locked) u(run_id)
      cross join lateral (
        select o.ctid as tid, o.turn_key from flowc.scheduled_runs o where o.run_id = u.run_id offset 0) x
      where d.ctid = x.tid and x.turn_key = begin_runs_with.key -- it may have been moved since
      returning d.run_id, d.due_at),
    counted as (
      insert into flowc.limited_runs (run_id, flow_slug, key)
      select b.run_id, begin_runs_with.flow_slug, begin_runs_with.key from begun b)
    select array_agg(b.run_id order by b.due_at, b.run_id), count(*) into due, n from begun b;
    if due is not null then
      update pgflow.runs r set started_at = clock_timestamp() from unnest(due) u(run_id) where r.run_id = any (array[u.run_id]);
      perform flowc.start_created_runs(due);
    end if;
    foreach one in array coalesce(retries, '{}') loop
      n := n + flowc.begin_retry(one)::int;
    end loop;
  end if;

  waits := flowc.is_in_line(begin_runs_with.flow_slug, begin_runs_with.key);
  next_at := case when counts.held_until > now_at then counts.held_until
                  when waits and counts.in_flight + n >= begin_runs_with.concurrency then now_at + interval '1 minute' -- or when a run ends
                  when waits and n = 500 then now_at
                  when waits then now_at + interval '1 second' end; -- somebody has locked what waits
  if next_at is not null then
    update flowc.turns t set due_at = next_at, waiting = waits
    where t.flow_slug = begin_runs_with.flow_slug and t.step_slug = '' and t.key = begin_runs_with.key;
  else
    delete from flowc.turns t where t.flow_slug = begin_runs_with.flow_slug and t.step_slug = '' and t.key = begin_runs_with.key;
  end if;
  if next_at is null and counts.in_flight + n = 0 then
    delete from flowc.gate_keys k where k.gate = begin_runs_with.gate and k.key = begin_runs_with.key;
  elsif n > 0 then
    update flowc.gate_keys k set in_flight = k.in_flight + n where k.gate = begin_runs_with.gate and k.key = begin_runs_with.key;
  end if;
  return n;
end $$;

-- Reports whether a run, or a retry of one, with a key waits in line.
create or replace function flowc.is_in_line(flow_slug text, key text) returns boolean
language plpgsql stable as $$
begin
  return exists (select from flowc.scheduled_runs d where d.flow_slug = is_in_line.flow_slug and d.turn_key = is_in_line.key)
    or exists (select from flowc.requests q where q.flow_slug = is_in_line.flow_slug and q.turn_key = is_in_line.key and q.error is null);
end $$;

-- Notes that runs have ended, or are being deleted, so that others can begin.
create or replace function flowc.leave_runs(run_ids uuid[]) returns void
language plpgsql as $$
declare
  flows text[];
begin
  with ended as (
    delete from flowc.limited_runs l using unnest(leave_runs.run_ids) u(run_id)
    where l.run_id = any (array[u.run_id])
    returning l.flow_slug, l.key),
  changed as (
    insert into flowc.gate_changes (gate, flow_slug, step_slug, key, departed)
    select flowc.own_gate(e.flow_slug, ''), e.flow_slug, '', e.key, count(*) from ended e group by e.flow_slug, e.key
    returning flow_slug)
  select array_agg(distinct c.flow_slug) into flows from changed c;
  if flows is not null then
    perform flowc.wake_flows(flows);
  end if;
end $$;

-- Reports whether begin_runs would look at something.
create or replace function flowc.can_begin_runs(flow_slugs text[]) returns boolean
language plpgsql stable as $$
declare
  now_at timestamptz := clock_timestamp();
begin
  return exists (
    select from unnest(can_begin_runs.flow_slugs) f(slug)
    join flowc.gated_steps s on s.flow_slug = any (array[f.slug]) and s.step_slug = ''
    join flowc.gates g on g.name = any (array[s.gate])
    where not coalesce(g.held_until > now_at, false)
      and not exists (select from flowc.paused_flows p where p.flow_slug = f.slug)
      and (exists (select from flowc.gate_changes c where c.gate = g.name offset 0)
        or exists (select from flowc.turns t where t.flow_slug = s.flow_slug and t.step_slug = '' and t.due_at <= now_at offset 0)));
end $$;

-- Retries -----------------------------------------------------------------------

-- Counts a run that has ended among those in progress, which the caller has locked and retries.
-- Without room, or behind others in line, the retry becomes a request that waits in line, in
-- place of one that does already, and the result is false.
create or replace function flowc.take_place(run_id uuid, action text, argument text default null) returns boolean
language plpgsql as $$
declare
  of record;
begin
  select s.flow_slug, s.gate, flowc.gate_key_of(take_place.run_id, s.key_path) as key into of
  from pgflow.runs r join flowc.gated_steps s on s.flow_slug = any (array[r.flow_slug]) and s.step_slug = ''
  where r.run_id = take_place.run_id;
  if not found or exists (select from flowc.limited_runs l where l.run_id = take_place.run_id) then
    return true;
  end if;
  perform flowc.count_changes(of.gate);
  insert into flowc.gate_keys (gate, key) values (of.gate, of.key) on conflict do nothing;
  perform from flowc.gate_keys k where k.gate = of.gate and k.key = of.key for update skip locked;
  if found and not flowc.is_in_line(of.flow_slug, of.key) and flowc.has_room(of.flow_slug, '', of.key)
    and not exists (select from flowc.paused_flows p where p.flow_slug = of.flow_slug) then
    insert into flowc.limited_runs (run_id, flow_slug, key) values (take_place.run_id, of.flow_slug, of.key);
    update flowc.gate_keys k set in_flight = k.in_flight + 1 where k.gate = of.gate and k.key = of.key;
    return true;
  end if;
  update flowc.requests q set action = take_place.action, argument = take_place.argument
  where q.run_id = take_place.run_id and q.turn_key is not null and q.error is null;
  if not found then
    insert into flowc.requests (run_id, flow_slug, action, argument, turn_key)
    values (take_place.run_id, of.flow_slug, take_place.action, take_place.argument, of.key);
  end if;
  insert into flowc.gate_changes (gate, flow_slug, step_slug, key) values (of.gate, of.flow_slug, '', of.key);
  return false;
end $$;

-- Reports whether a retry of a run waits in line.
create or replace function flowc.retry_in_line(run_id uuid) returns boolean
language plpgsql stable as $$
begin
  return exists (
    select from (select * from flowc.requests o where o.run_id = retry_in_line.run_id offset 0) q
    where q.turn_key is not null and q.error is null);
end $$;

-- Does a retry that has waited in line, of a run that the caller has locked, and reports
-- whether the run is in progress.
create or replace function flowc.begin_retry(id bigint) returns boolean
language plpgsql as $$
declare
  asked flowc.requests;
  done  boolean;
begin
  select q.* into asked from flowc.requests q where q.id = begin_retry.id and q.turn_key is not null and q.error is null;
  if not found or not flowc.try_lock_key(asked.run_id) then
    return false;
  end if;
  begin
    insert into flowc.limited_runs (run_id, flow_slug, key) values (asked.run_id, asked.flow_slug, asked.turn_key);
    select a.done into done from flowc.do_action(asked.run_id, asked.action, asked.argument) a;
    delete from flowc.requests q where q.id = asked.id;
    if done is not true then
      delete from flowc.limited_runs l where l.run_id = asked.run_id;
      raise log 'flowc: the run % was in the wrong status for what was requested of it: %', asked.run_id, asked.action;
    end if;
    return coalesce(done, false);
  exception when data_exception or integrity_constraint_violation or program_limit_exceeded or raise_exception then
    update flowc.requests q set error = sqlerrm where q.id = asked.id;
    return false;
  end;
end $$;

-- Definitions -------------------------------------------------------------------

-- Counts the runs of a flow in progress anew, whose runs have got a limit, have lost it, or
-- have another key. Those in line get into line again, or begin. The caller has locked the
-- runs, and the gate is up to date.
create or replace function flowc.recount_runs(flow_slug text) returns void
language plpgsql as $$
begin
  delete from flowc.limited_runs l where l.flow_slug = recount_runs.flow_slug;
  delete from flowc.gate_keys k where k.gate = flowc.own_gate(recount_runs.flow_slug, '');
  delete from flowc.gate_changes c where c.gate = flowc.own_gate(recount_runs.flow_slug, '');
  delete from flowc.turns t where t.flow_slug = recount_runs.flow_slug and t.step_slug = '';
  insert into flowc.limited_runs (run_id, flow_slug, key)
  select r.run_id, r.flow_slug, flowc.gate_key_of(r.run_id, s.key_path)
  from flowc.gated_steps s
  cross join lateral (select o.* from pgflow.runs o where o.flow_slug = s.flow_slug and o.status = 'started' offset 0) r
  where s.flow_slug = recount_runs.flow_slug and s.step_slug = ''
    and not exists (select from flowc.scheduled_runs d where d.run_id = r.run_id offset 0);
  insert into flowc.gate_keys (gate, key, in_flight)
  select flowc.own_gate(recount_runs.flow_slug, ''), l.key, count(*) from flowc.limited_runs l where l.flow_slug = recount_runs.flow_slug group by l.key;
  update flowc.scheduled_runs d set turn_key = null where d.flow_slug = recount_runs.flow_slug and d.turn_key is not null;
  update flowc.requests q set turn_key = null where q.flow_slug = recount_runs.flow_slug and q.turn_key is not null;
  perform flowc.wake_flows(array[recount_runs.flow_slug]);
end $$;
