-- Answers by key: whoever answers knows no run, only what it waits for.
--
-- There is no lock that such an answer and a wait could share. So both are marked, the
-- answer as pending and the wait as unchecked, until a pass that has locked it finds, in
-- a later statement, that there is no other. A pass that finds the other but cannot lock it
-- leaves both for a later one.

-- Answers every run that waits with a key in a step; if there is none, the answer is kept
-- for the next one, for a time. It locks no run, and counts when the caller's transaction
-- commits. Returns false if the flow has no such step with a key, NULL if there is no such
-- flow.
create or replace function flowc.signal_by(flow_slug text, step_slug text, key text, answer jsonb, sender text default null) returns boolean
language plpgsql as $$
declare
  keep interval;
begin
  perform flowc.require_readable(array[signal_by.answer]);
  select make_interval(secs => coalesce((k.settings ->> 'keep')::int, 86400)) into keep
  from flowc.settings k
  where k.flow_slug = signal_by.flow_slug and k.step_slug = signal_by.step_slug and k.kind = 'wait' and k.settings ? 'key';
  if not found then
    return case when flowc.flow_exists(signal_by.flow_slug) then false end;
  end if;
  insert into flowc.keyed_signals (flow_slug, step_slug, key, payload, bytes, sender, expires_at)
  values (signal_by.flow_slug, signal_by.step_slug, signal_by.key, signal_by.answer, pg_column_size(signal_by.answer), signal_by.sender, clock_timestamp() + keep);
  return true;
end $$;

-- Joins answers by key with the runs that wait, and returns how many waits were answered.
create or replace function flowc.match_keys(flow_slugs text[]) returns int
language plpgsql as $$
declare
  n int;
begin
  if not exists (select from flowc.keyed_signals)
    and not exists (
      select from unnest(match_keys.flow_slugs) f(slug)
      cross join lateral (
        select from flowc.waits w where w.flow_slug = f.slug and w.unchecked_at > '-infinity' and w.unchecked_at <= clock_timestamp() order by w.unchecked_at limit 1) w) then
    return 0;
  end if;
  n := flowc.send_to_all(match_keys.flow_slugs);
  n := n + flowc.take_kept(match_keys.flow_slugs);
  delete from flowc.keyed_signals k using unnest(match_keys.flow_slugs) f(slug)
  where k.flow_slug = any (array[f.slug]) and k.expires_at <= clock_timestamp() and k.pending_at is null;
  return n;
end $$;

-- Delivers each pending answer to all runs that wait with its key, or keeps it if there is
-- none. Returns how many waits were answered.
create or replace function flowc.send_to_all(flow_slugs text[]) returns int
language plpgsql as $$
declare
  answer flowc.keyed_signals;
  runs   uuid[];
  locked uuid[];
  n      int := 0;
begin
  for answer in
    select k.*
    from unnest(send_to_all.flow_slugs) f(slug)
    cross join lateral (
      select o.* from flowc.keyed_signals o where o.flow_slug = f.slug and o.pending_at > '-infinity' and o.pending_at <= clock_timestamp() order by o.pending_at limit 1000 for update skip locked) k
    order by k.id
  loop
    runs := array(
      select w.run_id from flowc.waits w
      where w.flow_slug = answer.flow_slug and w.step_slug = answer.step_slug and w.key = answer.key order by w.run_id);
    locked := flowc.lock_runs(runs, wait => false);
    continue when cardinality(locked) < cardinality(runs);
    runs := array( -- those that still do
      select w.run_id from unnest(locked) u(run_id)
      cross join lateral (select * from flowc.waits o where o.run_id = u.run_id and o.step_slug = answer.step_slug offset 0) w
      where w.key = answer.key);
    if runs = '{}' then
      update flowc.keyed_signals k set pending_at = null where k.id = answer.id;
    else
      perform flowc.answer_by_key(runs, answer);
      n := n + cardinality(runs);
    end if;
  end loop;
  return n;
end $$;

-- Gives answers that were kept to runs that began to wait, one to each, in the order in
-- which they came. Returns how many waits were answered.
create or replace function flowc.take_kept(flow_slugs text[]) returns int
language plpgsql as $$
declare
  wait   record;
  answer flowc.keyed_signals;
  n      int := 0;
begin
  for wait in
    select l.*
    from unnest(take_kept.flow_slugs) f(slug)
    cross join lateral (
      select w.* from (
        select o.* from flowc.waits o where o.flow_slug = f.slug and o.unchecked_at > '-infinity' and o.unchecked_at <= clock_timestamp() order by o.unchecked_at offset 0) w
      cross join lateral (
        select o.run_id from pgflow.runs o where o.run_id = w.run_id for update skip locked) r
      limit 1000) l
    order by l.since_at, l.run_id
  loop
    continue when not exists ( -- it may have ended before its run was locked
      select from (select * from flowc.waits o where o.run_id = wait.run_id and o.step_slug = wait.step_slug offset 0) w
      where w.key = wait.key and w.unchecked_at is not null);
    select k.* into answer
    from flowc.keyed_signals k
    where k.flow_slug = wait.flow_slug and k.step_slug = wait.step_slug and k.key = wait.key and k.expires_at > clock_timestamp()
      and k.pending_at is null -- one that is pending came after send_to_all looked, and is for all that wait
    order by k.id limit 1 for update skip locked;
    if found then
      perform flowc.answer_by_key(array[wait.run_id], answer);
      n := n + 1;
    elsif not exists ( -- one that somebody else holds, or that is pending
      select from flowc.keyed_signals k
      where k.flow_slug = wait.flow_slug and k.step_slug = wait.step_slug and k.key = wait.key and k.expires_at > clock_timestamp()) then
      update flowc.waits w set unchecked_at = null where w.run_id = wait.run_id and w.step_slug = wait.step_slug;
    end if;
  end loop;
  return n;
end $$;

-- Answers the waits of runs, which the caller has locked, with an answer by key, and deletes
-- that. What was sent to a run itself and is still pending comes too late. A large answer is
-- pending for each run then.
create or replace function flowc.answer_by_key(run_ids uuid[], answer flowc.keyed_signals) returns void
language plpgsql as $$
declare
  n int := cardinality(answer_by_key.run_ids);
begin
  delete from flowc.keyed_signals k where k.id = answer.id;
  if flowc.is_large(answer.bytes) then
    insert into flowc.signals as s (run_id, step_slug, keyed, flow_slug, payload, bytes, sender, sent_at)
    select u.run_id, answer.step_slug, true, answer.flow_slug, answer.payload, answer.bytes, answer.sender, answer.sent_at
    from unnest(answer_by_key.run_ids) u(run_id)
    on conflict on constraint signals_pkey do update
    set payload = excluded.payload, bytes = excluded.bytes, sender = excluded.sender, sent_at = excluded.sent_at, pending_at = excluded.pending_at,
        delivered_at = null;
    update flowc.waits w set key = null, unchecked_at = null from unnest(answer_by_key.run_ids) u(run_id)
    where w.run_id = any (array[u.run_id]) and w.step_slug = answer.step_slug;
    return;
  end if;
  insert into flowc.signals as s (run_id, step_slug, keyed, flow_slug, sender, sent_at, pending_at, delivered_at)
  select u.run_id, answer.step_slug, true, answer.flow_slug, answer.sender, answer.sent_at, null, clock_timestamp()
  from unnest(answer_by_key.run_ids) u(run_id)
  on conflict on constraint signals_pkey do update
  set sender = excluded.sender, sent_at = excluded.sent_at, delivered_at = excluded.delivered_at;
  perform flowc.answer_waits(answer_by_key.run_ids, array_fill(answer.step_slug, array[n]), array_fill(answer.payload, array[n]), array_fill(null::text, array[n]));
end $$;
