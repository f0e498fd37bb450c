-- Tasks that cannot be claimed. One such would keep all others from being claimed: a
-- claim is one statement.

-- Fails, for good, those of the tasks that a claim of these flows may meet which cannot
-- be claimed, and says which and why. A worker calls it when the database refused a
-- claim. The arguments are those of the claim.
create or replace function flowc.fail_unclaimable(flow_slugs text[], except_steps text[] default '{}')
returns table (flow_slug text, run_id uuid, step_slug text, task_index int, error_message text)
language plpgsql as $$
#variable_conflict use_column
declare
  task    record;
  message text;
begin
  -- First they are found, which locks nothing for longer than a look: the lock of a run
  -- comes before those of its tasks.
  for task in
    select c.run_id, c.step_slug, c.task_index, flowc.claim_error(c.run_id, c.step_slug, c.task_index) as error
    from unnest(fail_unclaimable.flow_slugs) l(lane)
    cross join lateral (
      select o.*
      from unnest('{r,s}'::"char"[]) k(class)
      cross join lateral (
        select t.* from pgflow.step_tasks t
        where t.flow_slug = split_part(l.lane, '.', 1) and t.subqueue = k.class and t.in_queue and t.visible_at <= clock_timestamp()
        order by t.message_id limit 1000) o
      union all
      select o.*
      from (
        select t.* from pgflow.step_tasks t
        where t.flow_slug = split_part(l.lane, '.', 1) and t.subqueue = 'd' and t.in_queue and t.due_at <= clock_timestamp() and t.visible_at <= clock_timestamp()
        order by t.due_at limit 1000) o) c
    where case when c.flow_slug = l.lane then c.flow_slug || '.' || c.step_slug <> all (fail_unclaimable.except_steps)
               else c.step_slug = split_part(l.lane, '.', 2) end
    order by c.run_id, c.step_slug, c.task_index
  loop
    continue when task.error is null;
    message := 'flowc: the task cannot be claimed: ' || task.error;
    perform flowc.lock_runs(array[task.run_id]);
    with failed as (
      update pgflow.step_tasks t
      set status = 'failed', failed_at = clock_timestamp(), in_queue = false, archived_at = clock_timestamp(),
          error_message = message
      where t.run_id = task.run_id and t.step_slug = task.step_slug and t.task_index = task.task_index
        and t.in_queue is not false and t.visible_at <= clock_timestamp()
      returning t.*),
    recorded as (
      insert into flowc.failed_attempts (run_id, step_slug, task_index, attempt, worker_id, started_at, error_message)
      select f.run_id, f.step_slug, f.task_index, f.attempts_count, f.last_worker_id, f.started_at, f.error_message from failed f)
    select f.flow_slug, f.run_id, f.step_slug, f.task_index, f.error_message
    into flow_slug, run_id, step_slug, task_index, error_message from failed f;
    if found then
      perform flowc.fail_or_skip_steps(array[st.run_id], array[st.step_slug], array[message], array[s.when_exhausted])
      from pgflow.step_states st
      join pgflow.runs r on r.run_id = any (array[st.run_id]) and r.status = 'started'
      join pgflow.steps s on s.flow_slug = any (array[st.flow_slug]) and s.step_slug = st.step_slug
      where st.run_id = task.run_id and st.step_slug = task.step_slug and st.status = 'started';
      return next;
    end if;
  end loop;
end $$;

-- Why a task cannot be claimed, NULL if it can, or if somebody holds it. It does to the
-- task what a claim does, writes what a claim would give, and takes all of it back.
create or replace function flowc.claim_error(run_id uuid, step_slug text, task_index int) returns text
language plpgsql as $$
declare
  task pgflow.step_tasks;
begin
  select t.* into task from pgflow.step_tasks t
  where t.run_id = claim_error.run_id and t.step_slug = claim_error.step_slug and t.task_index = claim_error.task_index
  for update skip locked;
  if not found then
    return null;
  end if;
  update pgflow.step_tasks t
  set status = 'started', attempts_count = t.attempts_count + 1, claims_count = t.claims_count + 1, read_count = t.read_count + 1,
      requeued_count = t.requeued_count + 1, started_at = clock_timestamp(), last_requeued_at = clock_timestamp(),
      visible_at = clock_timestamp() + (
        select make_interval(secs => coalesce(s.opt_timeout, f.opt_timeout) + 2.0::double precision)
        from pgflow.steps s join pgflow.flows f on f.flow_slug = any (array[s.flow_slug])
        where s.flow_slug = task.flow_slug and s.step_slug = task.step_slug)
  where t.run_id = task.run_id and t.step_slug = task.step_slug and t.task_index = task.task_index;
  perform extract(epoch from clock_timestamp() - task.visible_at);
  perform octet_length(h.headers::text) from flowc.run_headers h where h.run_id = task.run_id;
  -- What is longer than this, no claim carries.
  perform octet_length(r.input::text) from pgflow.runs r where r.run_id = task.run_id and pg_column_size(r.input) <= 16384;
  perform octet_length(jsonb_object_agg(o.step_slug, coalesce(o.output, 'null'))::text)
  from pgflow.deps d
  join pgflow.step_states o on o.run_id = any (array[task.run_id]) and o.step_slug = d.dep_slug
    and o.status = 'completed' and coalesce(pg_column_size(o.output), 0) <= 16384
  where d.flow_slug = task.flow_slug and d.step_slug = task.step_slug;
  raise exception using errcode = 'FC001';
exception
  when sqlstate 'FC001' then
    return null;
  when others then
    -- What the data are to blame for: anything else is no better for another task.
    if left(sqlstate, 2) = any ('{22,23,54,P0,XX}') then
      return sqlerrm;
    end if;
    raise;
end $$;
