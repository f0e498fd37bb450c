-- Uniques: flows of which one run is started for the same values in the input.
--
-- A row in flowc.uniques says which run has a key, which is that of its values. Starts lock
-- the rows of their keys, in the order of the keys, and judge them in a statement after
-- that: whoever had locked a row before may have given it to another run. Nothing else
-- touches the rows but retries, and deletions of runs, so that a caller's transaction with a
-- start holds up nobody but those with the same keys.
--
-- A run has its key until it has ended, or until a time; or, in a flow with debounce, until
-- it begins. Keys are the same for all versions of a flow that look at the same fields.

-- Returns the key of an input: that of the values that paths lead to. A value that is
-- missing is null.
create or replace function flowc.unique_key(input jsonb, paths jsonb) returns bytea
language plpgsql immutable as $$
begin
  return (
    select sha256(convert_to(jsonb_agg(jsonb_build_array(p.path, case jsonb_typeof(v.value)
      when 'number' then to_jsonb(trim_scale((v.value #>> '{}')::numeric)) else v.value end) order by p.n)::text, 'UTF8'))
    from jsonb_array_elements(unique_key.paths) with ordinality p(path, n)
    cross join lateral (
      select unique_key.input #> array(select e.name from jsonb_array_elements_text(p.path - 0) with ordinality e(name, n) order by e.n)) v(value));
end $$;

-- Returns the values of a run's key in words, such as account_id=7; NULL if one run of the
-- flow may be like another.
create or replace function flowc.unique_words(flow_slug text, input jsonb) returns text
language plpgsql stable as $$
declare
  settings jsonb := (select k.settings from flowc.settings k where k.flow_slug = unique_words.flow_slug and k.step_slug = '');
begin
  if settings is null or not settings ? 'unique' then
    return null;
  end if;
  return (
    select string_agg(case when jsonb_array_length(p.path) = 1 then '' else w.name || '=' end || left(coalesce(w.value #>> '{}', 'null'), 200), ', ' order by p.n)
    from jsonb_array_elements(settings -> 'unique') with ordinality p(path, n)
    cross join lateral (select array(select e.name from jsonb_array_elements_text(p.path - 0) with ordinality e(name, n) order by e.n)) x(names)
    cross join lateral (select array_to_string(x.names, '.'), unique_words.input #> x.names) w(name, value));
end $$;

-- Starts runs of a flow that says which of them are alike, as flowc.start does, which has
-- checked the inputs. Of inputs with the same key in one call one is started, as if they came
-- one by one: the last if it replaces the others, else the first. Where a run has the key
-- already, the flow says what becomes of another start:
--
--   keep      nothing: the result is the run that is there
--   error     nothing is started at all: the result is those runs, with the status duplicate
--   replace   the run that is there is to be cancelled
--   debounce  the run that is there, which has not begun, gets the new input
--
-- An id that exists is the run that it is, and has nothing to do with keys.
create or replace function flowc.start_unique(
  flow_slug text, inputs jsonb[], run_ids uuid[], start_at timestamptz, start_in interval, headers jsonb[], priority text, duplicates text, settings jsonb)
returns table (n int, run_id uuid, existed boolean, status text, scheduled_at timestamptz, of_flow text)
language plpgsql as $$
#variable_conflict use_column
declare
  base     text        := flowc.base_slug(start_unique.flow_slug);
  mode     text        := case when settings ? 'debounce' then 'debounce' else coalesce(settings ->> 'onDuplicate', 'keep') end;
  due      timestamptz := coalesce(start_unique.start_at, clock_timestamp() + start_unique.start_in);
  ids      uuid[];
  keys     bytea[];
  created  bytea[]; -- the keys that had no row
  leaders  int[];   -- of each input the one with the same key that is started, NULL if its id exists
  held     int[];   -- the leaders whose keys other runs have
  holders  uuid[];  -- and these runs
  runs     uuid[];  -- of each leader the run that has the key in the end
  passed   int[];   -- those that are started, and those whose ids exist
  existing int[];   -- those of them that existed
  lost     int[];   -- and of these the leaders
begin
  ids := array(
    select coalesce(u.run_id, flowc.new_run_id()) from unnest(inputs, start_unique.run_ids) with ordinality u(input, run_id, n) order by u.n);
  keys := array(select flowc.unique_key(u.input, settings -> 'unique') from unnest(inputs) with ordinality u(input, n) order by u.n);
  created := flowc.lock_keys(base, keys, ids, settings, mode = 'replace');
  if cardinality(ids) = 1 then -- as most calls
    leaders := array[case when not exists (select from pgflow.runs r where r.run_id = ids[1]) then 1 end];
  else
    leaders := flowc.key_leaders(keys, ids, mode = 'replace');
  end if;
  if cardinality(created) is distinct from cardinality(keys) then
    select h.held, h.holders into held, holders from flowc.key_holders(start_unique.flow_slug, keys, ids, leaders, created, settings, mode) h;
  end if;

  if held is not null and (mode = 'error' or mode in ('keep', 'debounce') and duplicates = 'refuse') then
    delete from flowc.uniques q using unnest(created) m(key) where q.flow_slug = any (array[base]) and q.key = m.key;
    return query
      select h.n, h.run_id, true, 'duplicate', null::timestamptz, r.flow_slug
      from unnest(held, holders) h(n, run_id) join pgflow.runs r on r.run_id = any (array[h.run_id]) order by h.n;
    return;
  elsif held is not null and mode = 'replace' then
    perform flowc.request_replacement(holders, array(select ids[h.n] from unnest(held) with ordinality h(n, i) order by h.i));
    held := null;
  end if;
  if mode = 'debounce' then
    inputs := flowc.last_of_each(leaders, inputs);
    headers := flowc.last_of_each(leaders, headers);
    if held is not null then
      select h.held, h.holders into held, holders from flowc.debounce(held, holders, inputs, headers, due, settings) h;
    end if;
    due := greatest(due, clock_timestamp() + make_interval(secs => (settings -> 'debounce')::int));
  end if;

  runs := ids;
  for i in 1 .. coalesce(cardinality(held), 0) loop
    runs[held[i]] := holders[i];
  end loop;
  passed := array(
    select l.n::int from unnest(leaders) with ordinality l(leader, n)
    where l.leader is null or l.leader = l.n and runs[l.n::int] = ids[l.n::int] order by l.n);
  if cardinality(created) is distinct from cardinality(keys) or array_position(leaders, null) is not null then
    perform flowc.take_keys(base, keys, ids, leaders, passed, created, settings);
  end if;
  existing := case when passed = '{}' then '{}' else array(
    select passed[s.n]
    from flowc.start(
      start_unique.flow_slug, array(select inputs[p.n] from unnest(passed) with ordinality p(n, i) order by p.i),
      array(select ids[p.n] from unnest(passed) with ordinality p(n, i) order by p.i), due, null,
      case when headers is not null then array(select headers[p.n] from unnest(passed) with ordinality p(n, i) order by p.i) end,
      priority => start_unique.priority, duplicates => 'allow') s
    where s.existed) end;
  if existing <> '{}' then
    -- Somebody else has started a run with the id, and another input, meanwhile: the key goes
    -- to the next in line.
    lost := array(select e.n from unnest(existing) e(n) where leaders[e.n] is not null);
    delete from flowc.uniques q using unnest(lost) l(n)
    where q.flow_slug = any (array[base]) and q.key = keys[l.n] and q.run_id = ids[l.n];
    passed := array(
      select l.n::int from unnest(leaders) with ordinality l(leader, n) where l.leader = any (lost) and l.leader <> l.n order by l.n);
    if passed <> '{}' then
      return query
        select passed[s.n], s.run_id, s.existed, s.status, s.scheduled_at, s.of_flow
        from flowc.start_unique(
          start_unique.flow_slug, array(select inputs[p.n] from unnest(passed) with ordinality p(n, i) order by p.i),
          array(select ids[p.n] from unnest(passed) with ordinality p(n, i) order by p.i), start_unique.start_at, start_unique.start_in,
          case when headers is not null then array(select headers[p.n] from unnest(passed) with ordinality p(n, i) order by p.i) end,
          start_unique.priority, duplicates, settings) s;
    end if;
  else
    passed := '{}';
  end if;
  return query
    select o.n, o.run_id, o.existed, r.status, d.due_at, r.flow_slug
    from (
      select l.n::int, runs[coalesce(l.leader, l.n::int)] as run_id,
             coalesce(l.leader <> l.n or runs[l.n::int] <> ids[l.n::int], false) or l.n = any (existing) as existed
      from unnest(leaders) with ordinality l(leader, n)
      where l.n <> all (passed)) o
    left join pgflow.runs r on r.run_id = any (array[o.run_id])
    left join flowc.scheduled_runs d on d.run_id = any (array[o.run_id])
    order by o.n;
end $$;

-- Locks the rows of keys, in the order of the keys, and returns those that had none: they
-- get one, of the first run with the key, or of the last.
create or replace function flowc.lock_keys(base text, keys bytea[], ids uuid[], settings jsonb, of_last boolean default false) returns bytea[]
language plpgsql as $$
declare
  created bytea[];
begin
  with wanted as (
    select distinct on (u.key) u.key, u.run_id from unnest(lock_keys.keys, lock_keys.ids) with ordinality u(key, run_id, n)
    order by u.key, case when lock_keys.of_last then -u.n else u.n end),
  made as (
    insert into flowc.uniques as q (flow_slug, key, run_id, until_at)
    select lock_keys.base, w.key, w.run_id, flowc.key_until(settings) from wanted w
    order by w.key -- two callers with the same keys must not wait for each other
    on conflict on constraint uniques_pkey do update set run_id = q.run_id where false -- which locks the row
    returning q.key)
  select array_agg(m.key) into created from made m;
  return created;
end $$;

-- Returns until when a run that is started now has its key, see flowc.uniques.
create or replace function flowc.key_until(settings jsonb) returns timestamptz
language sql as $$
  select clock_timestamp() + make_interval(secs => coalesce(settings -> 'debounceMax', settings -> 'per')::int)
$$;

-- Returns for each input the number of the first one with the same key, or of the last, NULL
-- for those whose ids are those of runs.
create or replace function flowc.key_leaders(keys bytea[], ids uuid[], of_last boolean) returns int[]
language plpgsql stable as $$
begin
  return array(
    select case when not o.known then
      case when key_leaders.of_last then max(o.n) filter (where not o.known) over (partition by o.key)
           else min(o.n) filter (where not o.known) over (partition by o.key) end end
    from (
      select u.n::int, u.key, exists (select from pgflow.runs r where r.run_id = u.run_id offset 0) as known
      from unnest(key_leaders.keys, key_leaders.ids) with ordinality u(key, run_id, n) offset 0) o
    order by o.n);
end $$;

-- Returns those of the leaders whose keys other runs have, and these runs. The rows of the
-- keys are locked, and were there before, unless they are among those created. A run whose
-- cancellation was requested no longer has its key.
create or replace function flowc.key_holders(
  flow_slug text, keys bytea[], ids uuid[], leaders int[], created bytea[], settings jsonb, mode text, out held int[], out holders uuid[])
language plpgsql as $$
#variable_conflict use_column
begin
  select array_agg(o.n order by o.n), array_agg(o.run_id order by o.n) into held, holders
  from (
    select l.n::int, q.run_id, q.until_at
    from unnest(leaders) with ordinality l(leader, n)
    join flowc.uniques q on q.flow_slug = any (array[flowc.base_slug(key_holders.flow_slug)]) and q.key = keys[l.n::int]
    where l.leader = l.n and q.run_id <> ids[l.n::int] and q.key <> all (coalesce(created, '{}')) offset 0) o
  join pgflow.runs r on r.run_id = any (array[o.run_id])
  where case
    when settings ? 'per' then o.until_at > clock_timestamp()
    else r.status = 'started'
      and (mode <> 'debounce' or r.flow_slug = key_holders.flow_slug and exists (select from flowc.scheduled_runs d where d.run_id = r.run_id))
      and not exists (select from flowc.requests a where a.run_id = r.run_id and a.action = 'cancel' and a.error is null) end;
end $$;

-- Gives keys to the runs that are to be started. What was created for runs that exist goes.
create or replace function flowc.take_keys(
  base text, keys bytea[], ids uuid[], leaders int[], passed int[], created bytea[], settings jsonb) returns void
language plpgsql as $$
declare
  winners int[] := take_keys.passed;
begin
  if array_position(take_keys.leaders, null) is not null then
    winners := array(select p.n from unnest(take_keys.passed) p(n) where take_keys.leaders[p.n] is not null);
    delete from flowc.uniques q
    using (select m.key from unnest(take_keys.created) m(key) except select take_keys.keys[w.n] from unnest(winners) w(n)) o
    where q.flow_slug = any (array[take_keys.base]) and q.key = o.key;
  elsif cardinality(take_keys.created) = cardinality(winners) then
    return; -- they have them
  end if;
  update flowc.uniques q set run_id = take_keys.ids[w.n], until_at = flowc.key_until(settings)
  from unnest(winners) w(n)
  where q.flow_slug = any (array[take_keys.base]) and q.key = take_keys.keys[w.n] and q.run_id <> take_keys.ids[w.n];
end $$;

-- Returns values with that of the last input of each key in place of its leader's.
create or replace function flowc.last_of_each(leaders int[], vals jsonb[]) returns jsonb[]
language plpgsql immutable as $$
begin
  return case when last_of_each.vals is not null then array(
    select last_of_each.vals[case when l.leader is null then l.n else max(l.n) over (partition by l.leader) end::int]
    from unnest(last_of_each.leaders) with ordinality l(leader, n) order by l.n) end;
end $$;

-- Gives runs that have not begun the inputs and headers of later starts, and moves their own
-- start, to due at the earliest, but not beyond the time by which they have to begin. Returns
-- those that it did it for: others have begun meanwhile.
create or replace function flowc.debounce(
  inout held int[], inout holders uuid[], inputs jsonb[], headers jsonb[], due timestamptz, settings jsonb)
language plpgsql as $$
#variable_conflict use_column
declare
  locked uuid[] := flowc.lock_runs(holders);
begin
  with moved as (
    update flowc.scheduled_runs d
    set turn_key = null,
        due_at = greatest(debounce.due, least(clock_timestamp() + make_interval(secs => (settings -> 'debounce')::int), q.until_at))
    from unnest(debounce.held, debounce.holders) h(n, run_id)
    join flowc.uniques q on q.run_id = any (array[h.run_id])
    where d.run_id = any (array[h.run_id]) and h.run_id = any (locked)
    returning h.n, d.run_id)
  select array_agg(m.n), array_agg(m.run_id) into held, holders from moved m;
  if held is null then
    return;
  end if;
  update pgflow.runs r set input = inputs[h.n]
  from unnest(debounce.held, debounce.holders) h(n, run_id) where r.run_id = any (array[h.run_id]);
  delete from flowc.run_headers x using unnest(debounce.holders) h(run_id) where x.run_id = any (array[h.run_id]);
  insert into flowc.run_headers (run_id, headers)
  select h.run_id, debounce.headers[h.n] from unnest(debounce.held, debounce.holders) h(n, run_id) where debounce.headers[h.n] is not null;
end $$;

-- Has runs cancelled that others replace. Like any request it is done after the commit.
create or replace function flowc.request_replacement(run_ids uuid[], by_ids uuid[]) returns void
language plpgsql as $$
begin
  insert into flowc.requests (run_id, flow_slug, action, argument)
  select r.run_id, r.flow_slug, 'cancel', format('replaced by run %s', u.by_id)
  from unnest(request_replacement.run_ids, request_replacement.by_ids) u(run_id, by_id)
  join pgflow.runs r on r.run_id = any (array[u.run_id]);
  perform flowc.wake_flows(array(
    select distinct r.flow_slug from unnest(request_replacement.run_ids) u(run_id) join pgflow.runs r on r.run_id = any (array[u.run_id])));
end $$;

-- Retries and schedules -------------------------------------------------------
--
-- These are done by workers, which must not be held up by the transaction of a caller that
-- starts a run with the same key.

-- Locks the row of the key that a start of a flow or a retry of a run needs, and reports
-- whether it did: it waits half a second, not longer, for somebody else who holds it.
create or replace function flowc.try_lock_key(run_id uuid, flow_slug text default null, input jsonb default null) returns boolean
language plpgsql
set lock_timeout = '500ms'
as $$
begin
  perform flowc.lock_keys(k.base, array[k.key], array[try_lock_key.run_id], k.settings)
  from flowc.key_of_run(try_lock_key.run_id, try_lock_key.flow_slug, try_lock_key.input) k;
  return true;
exception when lock_not_available then
  return false;
end $$;

-- Returns the key of a run, that is there or is to be started; no row if one run of its flow
-- may be like another. A key that limits nothing but starts does not matter to a retry.
create or replace function flowc.key_of_run(run_id uuid, flow_slug text default null, input jsonb default null)
returns table (base text, key bytea, settings jsonb)
language plpgsql stable as $$
#variable_conflict use_column
begin
  return query
    select flowc.base_slug(o.flow_slug), flowc.unique_key(o.input, k.settings -> 'unique'), k.settings
    from (
      select key_of_run.flow_slug as flow_slug, key_of_run.input as input where key_of_run.flow_slug is not null
      union all
      select r.flow_slug, r.input from pgflow.runs r where r.run_id = key_of_run.run_id and key_of_run.flow_slug is null) o
    join flowc.settings k on k.flow_slug = any (array[o.flow_slug]) and k.step_slug = ''
    where k.settings ? 'unique' and (key_of_run.flow_slug is not null or not k.settings ?| '{per,debounce}');
end $$;

-- Gives a run that is retried its key again. If another run has it, that is an error.
create or replace function flowc.retake_key(run_id uuid) returns void
language plpgsql as $$
declare
  k      record;
  others uuid[];
begin
  select * into k from flowc.key_of_run(retake_key.run_id);
  if not found then
    return;
  end if;
  perform flowc.lock_keys(k.base, array[k.key], array[retake_key.run_id], k.settings);
  select h.holders into others from flowc.key_holders(k.base, array[k.key], array[retake_key.run_id], '{1}', '{}', k.settings, 'keep') h;
  if others is not null then
    perform flowc.refuse_duplicate(others[1]);
  end if;
  update flowc.uniques q set run_id = retake_key.run_id
  where q.flow_slug = k.base and q.key = k.key and q.run_id <> retake_key.run_id;
end $$;

-- Raises that another run has the key.
create or replace function flowc.refuse_duplicate(run_id uuid) returns void
language plpgsql as $$
begin
  raise unique_violation using
    message = format('flowc: run %s was started with the same unique values, and has not ended', refuse_duplicate.run_id),
    detail = (select r.run_id || ' ' || r.flow_slug from pgflow.runs r where r.run_id = refuse_duplicate.run_id), constraint = 'uniques_pkey', table = 'uniques', schema = 'flowc';
end $$;
