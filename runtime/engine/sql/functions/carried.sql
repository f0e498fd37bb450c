-- What tasks carry from one attempt to the next, see flowc.carried.

-- Returns until when a task may be snoozed: for as long as its step allows, from when it was
-- first snoozed on.
create or replace function flowc.snoozable_until(flow_slug text, run_id uuid, step_slug text, task_index int, now_at timestamptz) returns timestamptz
language plpgsql stable as $$
begin
  return coalesce((
      select c.snoozed_since from flowc.carried c
      where c.run_id = snoozable_until.run_id and c.step_slug = snoozable_until.step_slug and c.task_index = snoozable_until.task_index), now_at)
    + make_interval(secs => coalesce((
      select (k.settings ->> 'maxWait')::int from flowc.settings k
      where k.flow_slug = snoozable_until.flow_slug and k.step_slug = snoozable_until.step_slug), 604800));
end $$;

-- Snoozes the tasks whose outcome is 'snoozed' and that the worker owns: they are queued
-- again, to be claimed after delays[i] seconds, and the attempt does not count. errors has
-- the notes. Returns what became of each, as flowc.report does; one that has been snoozed
-- for as long as it may is overdue, and does not change.
create or replace function flowc.snooze_tasks(
  run_ids uuid[], step_slugs text[], task_indexes int[], outcomes text[], errors text[], delays double precision[],
  message_ids bigint[], claim_numbers int[], worker_id uuid)
returns table (n int, accepted boolean, task_status text, snoozed_for double precision)
language plpgsql as $$
#variable_conflict use_column
declare
  now_at timestamptz := clock_timestamp();
begin
  return query
    with snoozing as materialized (
      select u.n, u.run_id, u.step_slug, u.task_index, u.error as note, t.tid, t.status, t.until_at <= now_at as overdue,
             least(u.delay, extract(epoch from t.until_at - now_at))::double precision as delay,
             coalesce(t.owned and r.status = 'started' and st.status = 'started', false) as owned
      from unnest(run_ids, step_slugs, task_indexes, outcomes, errors, delays, message_ids, claim_numbers)
        with ordinality u(run_id, step_slug, task_index, outcome, error, delay, message_id, claim_number, n)
      left join pgflow.runs r on r.run_id = any (array[u.run_id])
      left join pgflow.step_states st on st.run_id = any (array[u.run_id]) and st.step_slug = u.step_slug
      left join lateral (
        select o.ctid as tid, o.status, flowc.is_owned(o, u.message_id, u.claim_number, snooze_tasks.worker_id) as owned,
               flowc.snoozable_until(o.flow_slug, o.run_id, o.step_slug, o.task_index, now_at) as until_at
        from pgflow.step_tasks o
        where o.run_id = u.run_id and o.step_slug = u.step_slug and o.task_index = u.task_index offset 0) t on true
      where u.outcome = 'snoozed'),
    queued as (
      update pgflow.step_tasks t
      set status = 'queued', started_at = null, last_worker_id = null, error_message = null, attempts_count = t.attempts_count - 1,
          subqueue = flowc.delayed_subqueue(t.gate_key), visible_at = now_at + make_interval(secs => s.delay),
          due_at = case when t.gate_key is null then now_at + make_interval(secs => s.delay)
                        else flowc.gated_due_at(t.flow_slug, t.step_slug, now_at + make_interval(secs => s.delay)) end
      from snoozing s where t.ctid = s.tid and s.owned and not s.overdue),
    counted as (
      insert into flowc.carried as c (run_id, step_slug, task_index, snoozes, snoozed_since, note)
      select s.run_id, s.step_slug, s.task_index, 1, now_at, s.note from snoozing s where s.owned and not s.overdue
      on conflict on constraint carried_pkey do update
      set snoozes = c.snoozes + 1, snoozed_since = coalesce(c.snoozed_since, excluded.snoozed_since), note = excluded.note)
    select s.n::int, s.owned, case when not s.owned then s.status when s.overdue then 'overdue' else 'snoozed' end,
           case when s.owned and not s.overdue then s.delay end
    from snoozing s;
end $$;

-- Keeps the values that handlers left for the next attempts at tasks that the worker owns.
create or replace function flowc.keep_values(
  run_ids uuid[], step_slugs text[], task_indexes int[], kept jsonb[], message_ids bigint[], claim_numbers int[], worker_id uuid) returns void
language plpgsql as $$
begin
  insert into flowc.carried as c (run_id, step_slug, task_index, value)
  select u.run_id, u.step_slug, u.task_index, u.value
  from unnest(run_ids, step_slugs, task_indexes, kept, message_ids, claim_numbers) u(run_id, step_slug, task_index, value, message_id, claim_number)
  join pgflow.step_tasks t on t.run_id = any (array[u.run_id]) and t.step_slug = u.step_slug and t.task_index = u.task_index
    and flowc.is_owned(t, u.message_id, u.claim_number, keep_values.worker_id)
  where u.value is not null
  on conflict on constraint carried_pkey do update set value = excluded.value;
end $$;

-- Drops what tasks carried that have completed.
create or replace function flowc.drop_carried(run_ids uuid[], step_slugs text[], task_indexes int[]) returns void
language plpgsql as $$
begin
  delete from flowc.carried c using unnest(drop_carried.run_ids, drop_carried.step_slugs, drop_carried.task_indexes) u(run_id, step_slug, task_index)
  where c.run_id = any (array[u.run_id]) and c.step_slug = u.step_slug and c.task_index = u.task_index;
end $$;
