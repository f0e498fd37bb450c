-- Waits: steps without a handler, which are done by whoever sends an answer.
--
-- A wait is a task that is started and has no message, with a row in flowc.waits. An answer
-- is a row in flowc.signals, which callers insert in transactions of their own: they lock
-- no run, and nothing waits for them. Passes of workers (flowc.apply_due) join the two.
-- The pass that finds no wait for an answer, and whoever begins a wait, both hold the lock
-- of the run, and look in a statement after they got it: so one of them finds the other,
-- however late the caller commits. Whoever ends a wait without an answer takes the place
-- of its answer (see close_waits): so an answer that was accepted counts, and the wait does
-- not end before the transaction that sent it.

-- Begins the waits of steps that were started. Callers hold the runs.
create or replace function flowc.begin_waits(flow_slugs text[], run_ids uuid[], step_slugs text[]) returns void
language plpgsql as $$
declare
  flows  text[];
  runs   uuid[];
  steps  text[];
  errors text[];
begin
  perform flowc.park_tasks(flow_slugs, run_ids, step_slugs);
  insert into flowc.waits as w (run_id, step_slug, flow_slug, due_at, key, unchecked_at)
  select x.run_id, x.step_slug, x.flow_slug, coalesce(clock_timestamp() + make_interval(secs => s.opt_timeout), 'infinity'), x.key, case when x.key is not null then clock_timestamp() end
  from (
    select u.*, case when k.settings ? 'key' then flowc.key_of(flowc.value_at(u.run_id, k.settings -> 'key')) end as key
    from unnest(begin_waits.flow_slugs, begin_waits.run_ids, begin_waits.step_slugs) u(flow_slug, run_id, step_slug)
    join flowc.settings k on k.flow_slug = any (array[u.flow_slug]) and k.step_slug = u.step_slug offset 0) x
  join pgflow.steps s on s.flow_slug = any (array[x.flow_slug]) and s.step_slug = x.step_slug
  on conflict on constraint waits_pkey do update
  set since_at = excluded.since_at, due_at = excluded.due_at, key = excluded.key, unchecked_at = excluded.unchecked_at;

  -- An answer with which the step failed before is forgotten, and one that came early is to
  -- be delivered now.
  delete from flowc.signals s using unnest(begin_waits.run_ids, begin_waits.step_slugs) u(run_id, step_slug)
  where s.run_id = any (array[u.run_id]) and s.step_slug = u.step_slug and s.delivered_at is not null;
  update flowc.signals s set pending_at = clock_timestamp()
  from unnest(begin_waits.run_ids, begin_waits.step_slugs) u(run_id, step_slug)
  where s.run_id = any (array[u.run_id]) and s.step_slug = u.step_slug and s.delivered_at is null;
  if found or exists (select from flowc.keyed_signals) then
    perform flowc.wake_flows(begin_waits.flow_slugs);
  else
    perform flowc.wake_workers(begin_waits.flow_slugs); -- who may have to end the waits
  end if;

  select array_agg(w.flow_slug), array_agg(w.run_id), array_agg(w.step_slug), array_agg(x.error) into flows, runs, steps, errors
  from unnest(begin_waits.run_ids, begin_waits.step_slugs) u(run_id, step_slug)
  join flowc.waits w on w.run_id = any (array[u.run_id]) and w.step_slug = u.step_slug and w.key is null
  cross join lateral (select flowc.unusable_key(w.run_id, w.flow_slug, w.step_slug) as error offset 0) x
  where x.error is not null;
  if runs is not null then
    perform flowc.fail_soon(flows, runs, steps, errors);
  end if;
end $$;

-- Fails steps that have just been started: their tasks wait for a failure, which is
-- delivered at once. To fail them here and now would be in the middle of a transition.
create or replace function flowc.fail_soon(flow_slugs text[], run_ids uuid[], step_slugs text[], errors text[]) returns void
language plpgsql as $$
begin
  perform flowc.park_tasks(flow_slugs, run_ids, step_slugs);
  insert into flowc.waits as w (run_id, step_slug, flow_slug, due_at)
  select u.run_id, u.step_slug, u.flow_slug, 'infinity'
  from unnest(fail_soon.flow_slugs, fail_soon.run_ids, fail_soon.step_slugs) u(flow_slug, run_id, step_slug)
  on conflict on constraint waits_pkey do nothing;
  insert into flowc.signals as s (run_id, step_slug, keyed, flow_slug, error)
  select u.run_id, u.step_slug, true, u.flow_slug, u.error
  from unnest(fail_soon.flow_slugs, fail_soon.run_ids, fail_soon.step_slugs, fail_soon.errors) u(flow_slug, run_id, step_slug, error)
  on conflict on constraint signals_pkey do update set error = excluded.error, pending_at = excluded.pending_at, delivered_at = null;
  perform flowc.wake_flows(fail_soon.flow_slugs);
end $$;

-- Inserts the tasks of steps that wait, or makes those that are there wait again.
create or replace function flowc.park_tasks(flow_slugs text[], run_ids uuid[], step_slugs text[]) returns void
language plpgsql as $$
begin
  insert into pgflow.step_tasks as t (flow_slug, run_id, step_slug, task_index, status, attempts_count, started_at)
  select u.flow_slug, u.run_id, u.step_slug, 0, 'started', 1, clock_timestamp()
  from unnest(park_tasks.flow_slugs, park_tasks.run_ids, park_tasks.step_slugs) u(flow_slug, run_id, step_slug)
  on conflict on constraint step_tasks_pkey do update
  set status = 'started', attempts_count = 1, requeued_count = 0, output = null, error_message = null, queued_at = clock_timestamp(),
      started_at = excluded.started_at, failed_at = null, in_queue = false, message_id = null, archived_at = null;
end $$;

-- Returns a value as text if it is a string or a whole number.
create or replace function flowc.key_text(value jsonb) returns text
language sql immutable parallel safe
return case jsonb_typeof(key_text.value)
  when 'string' then key_text.value #>> '{}'
  when 'number' then case when (key_text.value #>> '{}')::numeric % 1 = 0 then trunc((key_text.value #>> '{}')::numeric)::text end end;

-- Returns a value as the key of a wait, NULL if it cannot be one: it is a string or a whole
-- number, of at most 255 bytes as text.
create or replace function flowc.key_of(value jsonb) returns text
language sql immutable parallel safe
return case when octet_length(flowc.key_text(key_of.value)) between 1 and 255 then flowc.key_text(key_of.value) end;

-- Returns what is wrong with the key of a step, NULL if nothing is: it is too long. Without
-- a key, where the value is null, empty or of another form, the step waits all the same.
create or replace function flowc.unusable_key(run_id uuid, flow_slug text, step_slug text) returns text
language sql stable as $$
  select format('flowc: the key of step %s has more than 255 bytes: %s', k.step_slug, (
    select string_agg(e.name, '.' order by e.n) from jsonb_array_elements_text(k.settings -> 'key') with ordinality e(name, n)))
  from flowc.settings k
  where k.flow_slug = unusable_key.flow_slug and k.step_slug = unusable_key.step_slug and k.settings ? 'key'
    and octet_length(flowc.key_text(flowc.value_at(unusable_key.run_id, k.settings -> 'key'))) > 255
$$;

-- Answers a step that waits, or will: with an output, or with an error, which fails it. It
-- locks no run, and counts when the caller's transaction commits. outcome is
--
--   accepted     it is the first answer
--   already      there is an answer already
--   not_waiting  the run has ended, or the step is over: status is that of the run or the step
--   no_step      the run has no such step, or it does not wait
--   no_run       there is no such run, or it is none of this flow
create or replace function flowc.signal(
  run_id uuid, step_slug text, answer jsonb, error_message text default null, sender text default null, flow_slug text default null,
  out outcome text, out status text)
language plpgsql as $$
declare
  flow  text;
  step  text;
  kind  text;
  asked timestamptz;
begin
  perform flowc.require_readable(array[signal.answer]);
  for attempt in 1..3 loop
    select r.flow_slug, r.status, st.status, coalesce(st.started_at, st.created_at), k.kind into flow, status, step, asked, kind
    from pgflow.runs r
    left join pgflow.step_states st on st.run_id = any (array[r.run_id]) and st.step_slug = signal.step_slug
    left join flowc.settings k on k.flow_slug = any (array[r.flow_slug]) and k.step_slug = st.step_slug
    where r.run_id = signal.run_id;
    outcome := case
      when flow is null or flowc.base_slug(flow) <> flowc.base_slug(coalesce(signal.flow_slug, flow)) then 'no_run'
      when kind is distinct from 'wait' then 'no_step'
      when step = 'completed' then 'already'
      when status <> 'started' or step in ('failed', 'skipped') then 'not_waiting' end;
    if outcome is not null then
      status := case when outcome <> 'not_waiting' then null
                     when step in ('failed', 'skipped') then step
                     else flowc.run_status(signal.run_id, status) end;
      return;
    end if;
    status := null;
    insert into flowc.signals (run_id, step_slug, flow_slug, payload, bytes, error, sender, asked_at)
    values (signal.run_id, signal.step_slug, flow, signal.answer, coalesce(pg_column_size(signal.answer), 0), signal.error_message, signal.sender, asked)
    on conflict on constraint signals_pkey do nothing;
    outcome := case when found then 'accepted' else 'already' end;
    exit when found or exists (
      select from flowc.signals s
      where s.run_id = signal.run_id and s.step_slug = signal.step_slug and not s.keyed and s.delivered_at is null);
    -- The wait has ended meanwhile, or begun anew.
  end loop;
end $$;

-- Reports whether an answer of so many bytes is delivered by itself: with it, thousands of
-- tasks may be started.
create or replace function flowc.is_large(bytes int) returns boolean
language sql immutable parallel safe
return is_large.bytes >= 20000;

-- Delivers the answers that are pending, and returns how many: a thousand, or a megabyte, at
-- most. Runs that somebody else holds are skipped: their answers stay pending.
create or replace function flowc.deliver_signals(flow_slugs text[]) returns int
language plpgsql as $$
declare
  locked uuid[];
begin
  if not exists (
    select from unnest(deliver_signals.flow_slugs) f(slug) join flowc.signals s on s.flow_slug = any (array[f.slug]) and s.pending_at > '-infinity') then
    return 0;
  end if;
  locked := array(
    select o.run_id from (
      select l.run_id, sum(l.bytes) over (order by l.pending_at, l.run_id) as bytes
      from unnest(deliver_signals.flow_slugs) f(slug)
      cross join lateral (
        select r.run_id, s.pending_at, s.bytes from (
          select s.run_id, s.pending_at, s.bytes from flowc.signals s
          where s.flow_slug = f.slug and s.pending_at > '-infinity' and not flowc.is_large(s.bytes) order by s.pending_at offset 0) s
        cross join lateral (
          select o.run_id from pgflow.runs o where o.run_id = s.run_id for update skip locked) r
        limit 1000) l) o
    where o.bytes <= 1000000);
  return flowc.deliver_to(deliver_signals.flow_slugs, array(select distinct u.run_id from unnest(locked) u(run_id)), false);
end $$;

-- Delivers the oldest large answer, and returns whether there was one that it could deliver.
create or replace function flowc.deliver_large(flow_slugs text[]) returns boolean
language plpgsql as $$
declare
  locked uuid[];
begin
  locked := array(
    select l.run_id
    from unnest(deliver_large.flow_slugs) f(slug)
    cross join lateral (
      select r.run_id from (
        select s.run_id from flowc.signals s
        where s.flow_slug = f.slug and s.pending_at > '-infinity' and flowc.is_large(s.bytes) order by s.pending_at offset 0) s
      cross join lateral (
        select o.run_id from pgflow.runs o where o.run_id = s.run_id for update skip locked) r
      limit 1) l
    limit 1);
  return flowc.deliver_to(deliver_large.flow_slugs, locked, true) > 0;
end $$;

-- Returns how many bytes the longest of the large answers has that are pending, NULL if there
-- is none: delivering one takes the longer the more there are.
create or replace function flowc.large_answer(flow_slugs text[]) returns int
language plpgsql stable as $$
begin
  return (
    select max(s.bytes) from unnest(large_answer.flow_slugs) f(slug)
    join flowc.signals s on s.flow_slug = any (array[f.slug]) and s.pending_at > '-infinity'
    where flowc.is_large(s.bytes));
end $$;

-- Delivers the pending answers to runs that the caller has locked, either those that are
-- large or the others, and returns how many.
create or replace function flowc.deliver_to(flow_slugs text[], locked uuid[], large boolean) returns int
language plpgsql as $$
declare
  runs    uuid[];
  steps   text[];
  answers jsonb[];
  errors  text[];
begin
  perform flowc.set_aside_signals(deliver_to.flow_slugs, deliver_to.locked);
  select array_agg(s.run_id), array_agg(s.step_slug), array_agg(s.payload), array_agg(s.error) into runs, steps, answers, errors
  from unnest(deliver_to.locked) u(run_id)
  join flowc.signals s on s.run_id = any (array[u.run_id]) and s.pending_at is not null and flowc.is_large(s.bytes) = deliver_to.large
  join flowc.waits w on w.run_id = any (array[s.run_id]) and w.step_slug = s.step_slug;
  if runs is null then
    return 0;
  end if;
  update flowc.signals s set pending_at = null, delivered_at = clock_timestamp(), payload = null
  from unnest(runs, steps) u(run_id, step_slug)
  where s.run_id = any (array[u.run_id]) and s.step_slug = u.step_slug and s.pending_at is not null and flowc.is_large(s.bytes) = deliver_to.large;
  perform flowc.answer_waits(runs, steps, answers, errors);
  return cardinality(runs);
end $$;

-- Takes from the pending answers those that cannot be delivered. Those that came early stay
-- until their steps wait; those that came too late, after another answer, are dropped, and
-- so are those of runs that were deleted, and those to what the step asked before. The
-- caller has locked the runs.
create or replace function flowc.set_aside_signals(flow_slugs text[], locked uuid[]) returns void
language plpgsql as $$
declare
  dropped text;
  early   uuid[];
begin
  with gone as (
    select o.run_id, o.step_slug
    from unnest(set_aside_signals.flow_slugs) f(slug)
    cross join lateral (
      select s.run_id, s.step_slug from flowc.signals s
      where s.flow_slug = f.slug and s.pending_at > '-infinity'
        and not exists (select from pgflow.runs r where r.run_id = s.run_id offset 0)
      limit 1000) o
    union all
    select s.run_id, s.step_slug
    from unnest(set_aside_signals.locked) u(run_id)
    join flowc.signals s on s.run_id = any (array[u.run_id]) and s.pending_at is not null
    join pgflow.step_states st on st.run_id = any (array[s.run_id]) and st.step_slug = s.step_slug
    where st.status in ('completed', 'skipped') or s.asked_at <> st.created_at and s.asked_at is distinct from st.started_at),
  deleted as (
    delete from flowc.signals s using gone g
    where s.run_id = any (array[g.run_id]) and s.step_slug = g.step_slug and s.pending_at is not null
    returning s.run_id, s.step_slug)
  select string_agg(format('step %s of run %s', d.step_slug, d.run_id), ', ') into dropped from deleted d;
  if dropped is not null then
    raise log 'flowc: answers came too late and were dropped: %', dropped;
  end if;

  with put_aside as (
    update flowc.signals s set pending_at = null
    from unnest(set_aside_signals.locked) u(run_id)
    where s.run_id = any (array[u.run_id]) and s.pending_at is not null
      and not exists (select from flowc.waits w where w.run_id = s.run_id and w.step_slug = s.step_slug offset 0)
    returning s.run_id)
  select array_agg(distinct p.run_id) into early from put_aside p;
  if early is not null then
    -- Whoever then begins the wait with an older snapshot, in which the answer is not
    -- visible, cannot lock the run.
    update pgflow.runs r set remaining_steps = r.remaining_steps from unnest(early) u(run_id) where r.run_id = any (array[u.run_id]);
  end if;
end $$;

-- Ends waits with answers: with outputs or, where there is an error, by failing them. An
-- output that the engine cannot go on with fails its step.
create or replace function flowc.answer_waits(run_ids uuid[], step_slugs text[], answers jsonb[], errors text[]) returns void
language plpgsql as $$
declare
  one record;
begin
  begin
    perform flowc.complete_or_fail_waits(run_ids, step_slugs, answers, errors);
    return;
  exception when data_exception or integrity_constraint_violation or program_limit_exceeded or raise_exception then
    null; -- one by one, so that it does not affect the others
  end;
  for one in select * from unnest(run_ids, step_slugs, answers, errors) u(run_id, step_slug, answer, error) loop
    begin
      perform flowc.complete_or_fail_waits(array[one.run_id], array[one.step_slug], array[one.answer], array[one.error]);
    exception when data_exception or integrity_constraint_violation or program_limit_exceeded or raise_exception then
      perform flowc.fail_waits(array[one.run_id], array[one.step_slug], array['flowc: the run cannot go on with the answer: ' || sqlerrm]);
    end;
  end loop;
end $$;

-- Completes or fails waits, see answer_waits.
create or replace function flowc.complete_or_fail_waits(run_ids uuid[], step_slugs text[], answers jsonb[], errors text[]) returns void
language plpgsql as $$
declare
  runs    uuid[];
  steps   text[];
  outputs jsonb[];
  causes  text[];
begin
  select array_agg(u.run_id), array_agg(u.step_slug), array_agg(u.answer) into runs, steps, outputs
  from unnest(run_ids, step_slugs, answers, errors) u(run_id, step_slug, answer, error) where u.error is null;
  if runs is not null then
    perform flowc.complete_tasks(runs, steps, array_fill(0, array[cardinality(runs)]), outputs, null, null, null, false);
  end if;
  select array_agg(u.run_id), array_agg(u.step_slug), array_agg(u.error) into runs, steps, causes
  from unnest(run_ids, step_slugs, answers, errors) u(run_id, step_slug, answer, error) where u.error is not null;
  if runs is not null then
    perform flowc.fail_waits(runs, steps, causes);
  end if;
end $$;

-- Fails waits, as when_exhausted of their steps says.
create or replace function flowc.fail_waits(run_ids uuid[], step_slugs text[], errors text[]) returns void
language plpgsql as $$
begin
  perform flowc.fail_tasks(run_ids, step_slugs, array_fill(0, array[cardinality(run_ids)]), array_fill('permanent'::text, array[cardinality(run_ids)]),
    errors, array_fill(null::double precision, array[cardinality(run_ids)]));
end $$;

-- Takes the places of the answers to waits whose runs the caller has locked, and returns
-- those waits for which it did; they must be ended then. It does not for those that have an
-- answer, be it one that is not committed: for that it waits a few milliseconds, not longer,
-- and such a wait is left for a later pass.
create or replace function flowc.close_waits(inout run_ids uuid[], inout step_slugs text[])
language plpgsql
set lock_timeout = '10ms'
as $$
declare
  all_runs     uuid[] := close_waits.run_ids;
  all_steps    text[] := close_waits.step_slugs;
  closed_runs  uuid[];
  closed_steps text[];
begin
  begin
    select c.run_ids, c.step_slugs into close_waits.run_ids, close_waits.step_slugs from flowc.insert_expired(all_runs, all_steps) c;
    return;
  exception when lock_not_available then
    null; -- one by one, so that it does not affect the others
  end;
  perform set_config('lock_timeout', '1ms', true);
  for n in 1..cardinality(all_runs) loop
    begin
      select c.run_ids, c.step_slugs into close_waits.run_ids, close_waits.step_slugs
      from flowc.insert_expired(array[all_runs[n]], array[all_steps[n]]) c;
      closed_runs := closed_runs || close_waits.run_ids;
      closed_steps := closed_steps || close_waits.step_slugs;
    exception when lock_not_available then
      null;
    end;
  end loop;
  close_waits.run_ids := closed_runs;
  close_waits.step_slugs := closed_steps;
end $$;

-- Inserts rows in the places of answers, see close_waits, and returns the waits for which it
-- did.
create or replace function flowc.insert_expired(inout run_ids uuid[], inout step_slugs text[])
language plpgsql as $$
begin
  with closed as (
    insert into flowc.signals as s (run_id, step_slug, flow_slug, pending_at, delivered_at, expired)
    select w.run_id, w.step_slug, w.flow_slug, null, clock_timestamp(), true
    from unnest(insert_expired.run_ids, insert_expired.step_slugs) u(run_id, step_slug)
    join flowc.waits w on w.run_id = any (array[u.run_id]) and w.step_slug = u.step_slug
    on conflict on constraint signals_pkey do nothing
    returning s.run_id, s.step_slug)
  select array_agg(c.run_id), array_agg(c.step_slug) into insert_expired.run_ids, insert_expired.step_slugs from closed c;
end $$;

-- Fails the waits that nobody has answered in time, and the runs that are beyond their
-- deadlines, and returns how many. Answers that were accepted are delivered instead, before
-- that.
create or replace function flowc.expire_waits(flow_slugs text[]) returns int
language plpgsql as $$
declare
  now_at timestamptz := clock_timestamp();
  locked uuid[];
  runs   uuid[];
  steps  text[];
  errors text[];
  n      int := 0;
begin
  locked := array(
    select l.run_id
    from unnest(expire_waits.flow_slugs) f(slug)
    cross join lateral (
      select r.run_id from (
        select w.run_id from flowc.waits w where w.flow_slug = f.slug and w.due_at <= now_at order by w.due_at offset 0) w
      cross join lateral (
        select o.run_id from pgflow.runs o where o.run_id = w.run_id for update skip locked) r
      limit 1000) l);
  if locked = '{}' then
    return 0;
  end if;
  locked := array(select distinct u.run_id from unnest(locked) u(run_id));
  select array_agg(w.run_id), array_agg(w.step_slug) into runs, steps
  from unnest(locked) u(run_id)
  cross join lateral (select * from flowc.waits o where o.run_id = u.run_id offset 0) w
  where w.due_at <= now_at and w.step_slug <> '';
  if runs is not null then
    select c.run_ids, c.step_slugs into runs, steps from flowc.close_waits(runs, steps) c;
  end if;
  if runs is not null then
    select array_agg(w.run_id), array_agg(w.step_slug),
           array_agg(format('flowc: nobody answered within %ss', round(extract(epoch from w.due_at - w.since_at))))
    into runs, steps, errors
    from unnest(runs, steps) u(run_id, step_slug)
    join flowc.waits w on w.run_id = any (array[u.run_id]) and w.step_slug = u.step_slug;
    n := cardinality(runs);
    perform flowc.fail_waits(runs, steps, errors);
  end if;
  return n + flowc.fail_overdue_runs(locked, now_at);
end $$;

-- Fails those of some runs that are beyond their deadlines, in the first step that has not
-- ended, and returns how many. Those that wait and have an answer are left for a later pass,
-- which delivers it first.
create or replace function flowc.fail_overdue_runs(run_ids uuid[], now_at timestamptz) returns int
language plpgsql as $$
declare
  overdue      uuid[];
  waiting_runs uuid[];
  waits        text[];
  closed_runs  uuid[];
  closed_waits text[];
  answered     uuid[];
  runs         uuid[];
  steps        text[];
  errors       text[];
begin
  overdue := array(
    select r.run_id
    from unnest(fail_overdue_runs.run_ids) u(run_id)
    join pgflow.runs r on r.run_id = any (array[u.run_id]) and r.status = 'started'
    cross join lateral (select * from flowc.waits o where o.run_id = r.run_id and o.step_slug = '' offset 0) w
    where w.due_at <= fail_overdue_runs.now_at);
  if overdue = '{}' then
    return 0;
  end if;
  select array_agg(w.run_id), array_agg(w.step_slug) into waiting_runs, waits
  from unnest(overdue) u(run_id) join flowc.waits w on w.run_id = any (array[u.run_id]) and w.step_slug <> '';
  if waiting_runs is not null then
    select c.run_ids, c.step_slugs into closed_runs, closed_waits from flowc.close_waits(waiting_runs, waits) c;
    answered := array(
      select u.run_id from unnest(waiting_runs, waits) u(run_id, step_slug)
      where (u.run_id, u.step_slug) not in (select c.run_id, c.step_slug from unnest(closed_runs, closed_waits) c(run_id, step_slug)));
    delete from flowc.signals s using unnest(closed_runs, closed_waits) c(run_id, step_slug) -- they go on waiting
    where c.run_id = any (answered) and s.run_id = any (array[c.run_id]) and s.step_slug = c.step_slug and s.expired;
    overdue := array(select u.run_id from unnest(overdue) u(run_id) where u.run_id <> all (answered));
  end if;
  select array_agg(w.run_id), array_agg(o.step_slug),
         array_agg(format('flowc: the run was not done within its deadline of %ss', round(extract(epoch from w.due_at - w.since_at))))
  into runs, steps, errors
  from unnest(overdue) u(run_id)
  join flowc.waits w on w.run_id = any (array[u.run_id]) and w.step_slug = ''
  cross join lateral (
    select st.step_slug from pgflow.step_states st
    join pgflow.steps s on s.flow_slug = any (array[st.flow_slug]) and s.step_slug = st.step_slug
    where st.run_id = w.run_id and st.status in ('created', 'started')
    order by st.status = 'started' desc, s.step_index limit 1) o;
  if runs is null then
    return 0;
  end if;
  perform flowc.fail_steps(runs, steps, errors);
  return cardinality(runs);
end $$;

-- Has the steps of a run wait again that waited when it failed or was cancelled, with all of
-- their time. The caller has locked the run.
create or replace function flowc.resume_waits(run_id uuid) returns void
language plpgsql as $$
declare
  flows text[];
  runs  uuid[];
  steps text[];
begin
  select array_agg(st.flow_slug), array_agg(st.run_id), array_agg(st.step_slug) into flows, runs, steps
  from pgflow.step_states st
  join flowc.settings k on k.flow_slug = any (array[st.flow_slug]) and k.step_slug = st.step_slug and k.kind = 'wait'
  where st.run_id = resume_waits.run_id and st.status = 'started';
  if runs is not null then
    perform flowc.begin_waits(flows, runs, steps);
  end if;
end $$;

-- Notes until when runs have to be done that begin now, or begin anew.
create or replace function flowc.set_deadlines(run_ids uuid[]) returns void
language plpgsql as $$
begin
  insert into flowc.waits as w (run_id, step_slug, flow_slug, due_at)
  select r.run_id, '', r.flow_slug, clock_timestamp() + make_interval(secs => (k.settings ->> 'deadline')::int)
  from unnest(set_deadlines.run_ids) u(run_id)
  join pgflow.runs r on r.run_id = any (array[u.run_id]) and r.status = 'started'
  join flowc.settings k on k.flow_slug = any (array[r.flow_slug]) and k.step_slug = '' and k.settings ? 'deadline'
  on conflict on constraint waits_pkey do update set since_at = excluded.since_at, due_at = excluded.due_at;
end $$;

-- Ends the waits of runs, or of some of their steps.
create or replace function flowc.end_waits(run_ids uuid[], step_slugs text[] default null) returns void
language plpgsql as $$
begin
  if end_waits.step_slugs is null then
    delete from flowc.waits w using unnest(end_waits.run_ids) u(run_id) where w.run_id = any (array[u.run_id]);
  else
    delete from flowc.waits w using unnest(end_waits.run_ids, end_waits.step_slugs) u(run_id, step_slug)
    where w.run_id = any (array[u.run_id]) and w.step_slug = u.step_slug;
  end if;
end $$;

-- Reports whether all that a run does is to wait for answers.
create or replace function flowc.is_waiting(run_id uuid) returns boolean
language plpgsql stable as $$
begin
  return exists (select from flowc.waits w where w.run_id = is_waiting.run_id and w.step_slug <> '')
    and not exists (
      select from pgflow.step_states st
      where st.run_id = is_waiting.run_id and st.status = 'started'
        and not exists (select from flowc.waits w where w.run_id = st.run_id and w.step_slug = st.step_slug offset 0));
end $$;

-- Lists the waits of flows that nobody has answered, in any version, those that expire first before others, behind the one that expires
-- at after_due in the step after_step of the run after_run. The input of the run and the outputs that the
-- step waited for are what the one who answers is shown.
create or replace function flowc.list_waits(
  flow_slugs text[], step_slugs text[], of_key text, after_due timestamptz, after_run uuid, after_step text, at_most int, of_run uuid default null)
returns table (
  run_id uuid, flow_slug text, step_slug text, since_at timestamptz, until_at timestamptz, key text, input jsonb, outputs jsonb)
language plpgsql stable as $$
#variable_conflict use_column
begin
  return query
    select w.run_id, w.flow_slug, w.step_slug, w.since_at, nullif(w.due_at, 'infinity'), w.key, r.input, (
      select coalesce(jsonb_object_agg(p.step_slug, coalesce(p.output, 'null')), '{}')
      from pgflow.deps d
      cross join lateral (
        select o.step_slug, o.output from pgflow.step_states o
        where o.run_id = w.run_id and o.step_slug = d.dep_slug and o.status = 'completed' offset 0) p
      where d.flow_slug = w.flow_slug and d.step_slug = w.step_slug)
    from (
      select l.*
      from pgflow.flows f
      cross join lateral (
        select o.* from flowc.waits o
        where o.flow_slug = f.flow_slug and o.step_slug <> ''
          and (list_waits.after_due is null or (o.due_at, o.run_id, o.step_slug) > (list_waits.after_due, list_waits.after_run, list_waits.after_step))
          and (list_waits.step_slugs is null or o.step_slug = any (list_waits.step_slugs))
          and (list_waits.of_key is null or o.key = list_waits.of_key)
          and (list_waits.of_run is null or o.run_id = list_waits.of_run)
          and not exists ( -- an answer that a worker has yet to deliver
            select from flowc.signals s where s.run_id = o.run_id and s.step_slug = o.step_slug and s.delivered_at is null offset 0)
        order by o.due_at, o.run_id, o.step_slug
        limit list_waits.at_most) l
      where list_waits.flow_slugs is null
         or flowc.base_slug(f.flow_slug) in (select flowc.base_slug(u.slug) from unnest(list_waits.flow_slugs) u(slug))
      order by l.due_at, l.run_id, l.step_slug
      limit list_waits.at_most) w
    join pgflow.runs r on r.run_id = any (array[w.run_id])
    order by w.due_at, w.run_id, w.step_slug;
end $$;

-- Counts the waits by flow and step; those that are endless have no time at which they give
-- up.
create or replace function flowc.count_waits()
returns table (flow_slug text, step_slug text, waiting int, oldest timestamptz, endless int, oldest_endless timestamptz)
language plpgsql stable as $$
#variable_conflict use_column
begin
  return query
    select w.flow_slug, w.step_slug, count(*)::int, min(w.since_at),
           count(*) filter (where w.due_at = 'infinity')::int, min(w.since_at) filter (where w.due_at = 'infinity')
    from flowc.waits w where w.step_slug <> ''
    group by w.flow_slug, w.step_slug order by w.flow_slug, w.step_slug;
end $$;
