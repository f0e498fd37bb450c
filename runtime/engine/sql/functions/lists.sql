-- Lists and figures for dashboards and tools. None reads a payload unless asked to, and
-- each limits how much of a payload, or of an error that another client reported, it
-- returns. Errors that our workers report have 17,000 letters at most.

-- Returns a value as text, NULL if it takes more bytes than allowed, in the table or as text.
create or replace function flowc.text_up_to(payload jsonb, in_table int, as_text bigint) returns text
language plpgsql stable as $$
declare
  written text;
begin
  if pg_column_size(text_up_to.payload) <= text_up_to.in_table then
    written := text_up_to.payload::text;
  end if;
  return case when octet_length(written) <= text_up_to.as_text then written end;
end $$;

-- Returns runs, newest first. Each filter may be NULL. The page begins behind the run that
-- started at after_time and has the id after_id.
create or replace function flowc.list_runs(
  flow_slugs text[], statuses text[], started_from timestamptz, started_before timestamptz, input_contains jsonb,
  after_time timestamptz, after_id uuid, at_most int, marks text[] default null, search text default null)
returns setof flowc.run_summary
language plpgsql stable as $$
#variable_conflict use_column
begin
  return query
    select p.run_id, p.flow_slug, p.status, p.steps::int, p.remaining_steps, m.skipped, m.gave_up, p.started_at, p.ended_at,
           p.due_at, k.tick_at, e.step_slug, e.task_index, left(e.error_message, 17000), flowc.run_priority(p.run_id, p.flow_slug)
    from (
      select r.*
      from pgflow.flows f
      cross join lateral (select count(*) from pgflow.steps s where s.flow_slug = f.flow_slug) c(steps)
      cross join lateral (
        select o.run_id, o.flow_slug, c.steps, o.remaining_steps, o.started_at, coalesce(o.completed_at, o.failed_at) as ended_at, d.due_at,
               case when x.run_id is not null then 'cancelled' when d.run_id is not null then 'scheduled'
                    when w.waiting then 'waiting' when o.status = 'started' then 'running' else o.status end as status
        from pgflow.runs o
        left join lateral (select c.run_id from flowc.cancelled_runs c where o.status = 'failed' and c.run_id = o.run_id offset 0) x on true
        left join lateral (select s.run_id, s.due_at from flowc.scheduled_runs s where o.status = 'started' and s.run_id = o.run_id offset 0) d on true
        cross join lateral (select o.status = 'started' and flowc.is_waiting(o.run_id)) w(waiting)
        where o.flow_slug = f.flow_slug
          and (list_runs.started_from is null or o.started_at >= list_runs.started_from)
          and (list_runs.started_before is null or o.started_at < list_runs.started_before)
          and (list_runs.after_time is null or (o.started_at, o.run_id) < (list_runs.after_time, list_runs.after_id))
          and (list_runs.input_contains is null or o.input @> list_runs.input_contains)
          and (list_runs.statuses is null
               or case when x.run_id is not null then 'cancelled' when d.run_id is not null then 'scheduled'
                       when w.waiting then 'waiting' when o.status = 'started' then 'running' else o.status end = any (list_runs.statuses))
          and (list_runs.marks is null or flowc.has_mark(o.run_id, list_runs.marks))
          and (list_runs.search is null or flowc.run_matches(o.run_id, list_runs.search))
        order by o.started_at desc, o.run_id desc
        limit list_runs.at_most) r
      where list_runs.flow_slugs is null or f.flow_slug = any (list_runs.flow_slugs)
      order by r.started_at desc, r.run_id desc
      limit list_runs.at_most) p
    left join flowc.ticks k on k.run_id = p.run_id
    cross join lateral flowc.count_skips(p.run_id) m
    left join lateral flowc.failed_step(p.run_id, p.status) e on true
    order by p.started_at desc, p.run_id desc;
end $$;

-- Returns the runs that failed last, not counting those that were cancelled.
create or replace function flowc.recent_failures(since timestamptz, at_most int)
returns setof flowc.run_summary
language plpgsql stable as $$
#variable_conflict use_column
begin
  return query
    select r.run_id, r.flow_slug, r.status, c.steps::int, r.remaining_steps, m.skipped, m.gave_up, r.started_at, r.failed_at, null::timestamptz, k.tick_at,
           e.step_slug, e.task_index, left(e.error_message, 17000), flowc.run_priority(r.run_id, r.flow_slug)
    from (
      select o.* from pgflow.runs o
      where o.failed_at >= recent_failures.since and o.status = 'failed'
        and not exists (select from flowc.cancelled_runs x where x.run_id = o.run_id)
      order by o.failed_at desc limit recent_failures.at_most) r
    left join flowc.ticks k on k.run_id = r.run_id
    cross join lateral (select count(*) from pgflow.steps s where s.flow_slug = r.flow_slug) c(steps)
    cross join lateral flowc.count_skips(r.run_id) m
    left join lateral flowc.failed_step(r.run_id, r.status) e on true
    order by r.failed_at desc;
end $$;

-- Counts the steps of a run that were skipped, and those of them that gave up: out of
-- attempts, with when_exhausted allowing to skip them.
create or replace function flowc.count_skips(run_id uuid, out skipped int, out gave_up int)
language plpgsql stable as $$
#variable_conflict use_column
begin
  select count(*) filter (where st.skip_reason is distinct from 'handler_failed'), count(*) filter (where st.skip_reason = 'handler_failed')
  into skipped, gave_up
  from pgflow.step_states st where st.run_id = count_skips.run_id and st.status = 'skipped';
end $$;

-- Reports whether a run has one of these marks.
create or replace function flowc.has_mark(run_id uuid, marks text[]) returns boolean
language plpgsql stable as $$
declare
  s record;
begin
  select k.skipped, k.gave_up into s from flowc.count_skips(has_mark.run_id) k;
  return s.skipped > 0 and 'skipped' = any (marks) or s.gave_up > 0 and 'gave_up' = any (marks)
      or s.skipped + s.gave_up = 0 and 'clean' = any (marks);
end $$;

-- Reports whether a text is the beginning or the end of a run's id, with or without dashes,
-- or is contained in an error of the run or the reason why it was cancelled.
create or replace function flowc.run_matches(run_id uuid, search text) returns boolean
language plpgsql stable as $$
declare
  id   text := replace(run_matches.run_id::text, '-', '');
  part text := lower(replace(search, '-', ''));
begin
  if part <> '' and (starts_with(id, part) or right(id, length(part)) = part) then
    return true;
  end if;
  return exists (
      select from pgflow.step_states st
      where st.run_id = run_matches.run_id and strpos(lower(st.error_message), lower(search)) > 0)
    or exists (
      select from pgflow.step_tasks t
      where t.run_id = run_matches.run_id and t.status <> 'completed' and strpos(lower(t.error_message), lower(search)) > 0)
    or exists (
      select from flowc.cancelled_runs c
      where c.run_id = run_matches.run_id and strpos(lower(c.reason), lower(search)) > 0);
end $$;

-- Returns the first tasks of each step of a run after an index, with the beginnings of their
-- last failed attempts, and with outputs that take at most output_bytes in the table and
-- four times as many as text.
create or replace function flowc.list_tasks(run_id uuid, step text, statuses text[], after_index int, per_step int, output_bytes int)
returns table (
  step_slug text, task_index int, status text, attempts int, error_message text, queued_at timestamptz, started_at timestamptz,
  completed_at timestamptz, failed_at timestamptz, worker_id uuid, visible_at timestamptz, output text, failed_attempts jsonb, bytes int, priority text)
language plpgsql stable as $$
#variable_conflict use_column
begin
  return query
    select t.step_slug, t.task_index, t.status, t.attempts_count - t.requeued_count, left(t.error_message, 17000), t.queued_at, t.started_at, t.completed_at, t.failed_at,
           t.last_worker_id, case when t.in_queue then t.visible_at end, flowc.text_up_to(t.output, list_tasks.output_bytes, 4 * list_tasks.output_bytes::bigint),
           (select coalesce(jsonb_agg(jsonb_build_object('attempt', f.attempt, 'worker_id', f.worker_id, 'started_at', f.started_at,
                                                         'failed_at', f.failed_at, 'error_message', left(f.error_message, 4000)) order by f.failed_at), '[]')
            from (
              select * from flowc.failed_attempts o where o.run_id = t.run_id and o.step_slug = t.step_slug and o.task_index = t.task_index
              order by o.failed_at desc limit 20) f),
           coalesce(pg_column_size(t.output), 0), nullif(flowc.priority_name(t.priority), 'normal')
    from pgflow.runs r
    join pgflow.steps s on s.flow_slug = r.flow_slug and (list_tasks.step is null or s.step_slug = list_tasks.step)
    cross join lateral (
      select o.* from pgflow.step_tasks o
      where o.run_id = r.run_id and o.step_slug = s.step_slug and (list_tasks.after_index is null or o.task_index > list_tasks.after_index)
        and (list_tasks.statuses is null or o.status = any (list_tasks.statuses))
      order by o.task_index limit list_tasks.per_step) t
    where r.run_id = list_tasks.run_id
    order by s.step_index, t.task_index;
end $$;

-- Returns a run as flowc.get_run does, but without payloads, for polling. The attempts of
-- maps with very many tasks are not counted.
create or replace function flowc.run_progress(id uuid)
returns table (
  run_id uuid, flow_slug text, status text, remaining_steps int, scheduled_at timestamptz, tick timestamptz, started_at timestamptz,
  completed_at timestamptz, failed_at timestamptz, cancelled_at timestamptz, cancel_reason text, failed_step text, failed_index int,
  error_message text, states jsonb, unique_values text, priority text)
language plpgsql stable as $$
#variable_conflict use_column
begin
  return query
    select r.run_id, r.flow_slug, flowc.run_status(r.run_id, r.status), r.remaining_steps, d.due_at, k.tick_at, r.started_at,
           r.completed_at, r.failed_at, c.cancelled_at, left(c.reason, 17000), f.step_slug, f.task_index, left(f.error_message, 17000), (
             select coalesce(jsonb_agg(jsonb_build_object(
               'step_slug', st.step_slug, 'status', st.status, 'step_type', coalesce(w.kind, s.step_type), 'step_index', s.step_index, 'wait', w.wait,
               'remaining_tasks', st.remaining_tasks, 'initial_tasks', st.initial_tasks, 'remaining_deps', st.remaining_deps,
               'error_message', left(st.error_message, 17000), 'failed_index', flowc.failed_index(st.run_id, st.step_slug, s.step_type, st.error_message),
               'skip_reason', st.skip_reason, 'created_at', st.created_at, 'started_at', st.started_at,
               'completed_at', st.completed_at, 'failed_at', st.failed_at, 'skipped_at', st.skipped_at,
               'attempts', case when st.initial_tasks <= 100 then (
                 select coalesce(sum(t.attempts_count - t.requeued_count), 0) from pgflow.step_tasks t where t.run_id = st.run_id and t.step_slug = st.step_slug) else 0 end)
               order by s.step_index), '[]')
             from pgflow.step_states st
             join pgflow.steps s on s.flow_slug = st.flow_slug and s.step_slug = st.step_slug
             left join lateral flowc.wait_state(st.run_id, st.flow_slug, st.step_slug) w on true
             where st.run_id = r.run_id), flowc.unique_words(r.flow_slug, r.input), flowc.run_priority(r.run_id, r.flow_slug)
    from pgflow.runs r
    left join flowc.scheduled_runs d on d.run_id = r.run_id
    left join flowc.ticks k on k.run_id = r.run_id
    left join flowc.cancelled_runs c on c.run_id = r.run_id
    left join lateral flowc.failed_step(r.run_id, r.status) f on true
    where r.run_id = run_progress.id;
end $$;

-- Returns the input and the outputs of a run and its steps: the bytes that each takes in the
-- table, and the value itself unless that is more than at_most, or more than four times as
-- much as text.
create or replace function flowc.payloads(run_id uuid, at_most int)
returns table (kind text, step_slug text, bytes int, payload text)
language plpgsql stable as $$
#variable_conflict use_column
begin
  return query
    select v.kind, v.step_slug, pg_column_size(v.payload), flowc.text_up_to(v.payload, payloads.at_most, 4 * payloads.at_most::bigint)
    from (
      select 'run_input' as kind, null::text as step_slug, r.input as payload from pgflow.runs r where r.run_id = payloads.run_id
      union all
      select 'run_output', null, r.output from pgflow.runs r where r.run_id = payloads.run_id
      union all
      select 'run_result', null, flowc.compose_result(payloads.run_id)
      union all
      select 'step_output', st.step_slug, st.output from pgflow.step_states st where st.run_id = payloads.run_id) v
    where v.payload is not null;
end $$;

-- Returns one payload and the bytes that it takes in the table, no row if there is none. Its
-- text is NULL if it is longer than at_most.
create or replace function flowc.payload(run_id uuid, kind text, step text, task_index int, at_most bigint)
returns table (bytes int, payload text)
language plpgsql stable as $$
declare
  value jsonb := case payload.kind
    when 'run_input' then (select r.input from pgflow.runs r where r.run_id = payload.run_id)
    when 'run_output' then (select r.output from pgflow.runs r where r.run_id = payload.run_id)
    when 'run_result' then flowc.compose_result(payload.run_id)
    when 'step_output' then (select st.output from pgflow.step_states st where st.run_id = payload.run_id and st.step_slug = payload.step)
    when 'task_output' then (
      select t.output from pgflow.step_tasks t
      where t.run_id = payload.run_id and t.step_slug = payload.step and t.task_index = payload.task_index)
  end;
begin
  if value is not null then
    return query select pg_column_size(value), flowc.text_up_to(value, 2147483647, payload.at_most);
  end if;
end $$;

-- Returns the runs of the same flow that started just after and just before a run, and when.
-- Of a run that another database has, flow_slug and started_at are given.
create or replace function flowc.adjacent_runs(
  run_id uuid, flow_slug text default null, started_at timestamptz default null,
  out newer uuid, out newer_at timestamptz, out older uuid, out older_at timestamptz)
language plpgsql stable as $$
declare
  flow    text := adjacent_runs.flow_slug;
  at_time timestamptz := adjacent_runs.started_at;
begin
  if flow is null then
    select r.flow_slug, r.started_at into flow, at_time from pgflow.runs r where r.run_id = adjacent_runs.run_id;
  end if;
  select r.run_id, r.started_at into newer, newer_at from pgflow.runs r
  where r.flow_slug = flow and (r.started_at, r.run_id) > (at_time, adjacent_runs.run_id)
  order by r.started_at, r.run_id limit 1;
  select r.run_id, r.started_at into older, older_at from pgflow.runs r
  where r.flow_slug = flow and (r.started_at, r.run_id) < (at_time, adjacent_runs.run_id)
  order by r.started_at desc, r.run_id desc limit 1;
end $$;

-- Returns all flows, with definitions as upsert_flow takes them, and figures of the runs that
-- started since a time.
create or replace function flowc.list_flows(since timestamptz)
returns table (
  flow_slug text, definition jsonb, created_at timestamptz, started bigint, completed bigint, failed bigint, running bigint,
  mean_seconds double precision, p95_seconds double precision, waiting bigint, delayed bigint, in_flight bigint, oldest_waiting timestamptz,
  workers bigint, paused_at timestamptz, paused_by text)
language plpgsql stable as $$
#variable_conflict use_column
begin
  return query
    select f.flow_slug, flowc.get_definition(f.flow_slug), f.created_at, r.started, r.completed, r.failed, r.running, r.mean, r.p95,
           q.waiting, q.delayed, q.in_flight, q.oldest,
           flowc.live_workers(f.flow_slug),
           p.paused_at, p.paused_by
    from pgflow.flows f
    left join flowc.paused_flows p on p.flow_slug = f.flow_slug
    cross join lateral (
      select count(*), count(*) filter (where o.status = 'completed'), count(*) filter (where o.status = 'failed'), count(*) filter (where o.status = 'started'),
             avg(extract(epoch from o.completed_at - o.started_at))::double precision,
             percentile_cont(0.95) within group (order by extract(epoch from o.completed_at - o.started_at)::double precision)
      from pgflow.runs o where o.flow_slug = f.flow_slug and o.started_at >= list_flows.since) r(started, completed, failed, running, mean, p95)
    cross join lateral (
      select count(*) filter (where m.vt <= clock_timestamp()), count(*) filter (where m.vt > clock_timestamp() and m.worker_id is null),
             count(*) filter (where m.vt > clock_timestamp() and m.worker_id is not null), min(m.enqueued_at) filter (where m.vt <= clock_timestamp())
      from flowc.queue m where m.queue_name = f.flow_slug) q(waiting, delayed, in_flight, oldest)
    order by f.flow_slug;
end $$;

-- Counts the runs that started, completed and failed in each bucket of time.
create or replace function flowc.throughput(since timestamptz, bucket interval)
returns table (from_time timestamptz, started bigint, completed bigint, failed bigint)
language plpgsql stable as $$
#variable_conflict use_column
begin
  return query
    -- Counted before the join, which would otherwise pair every event with every bucket.
    select b.from_time, coalesce(c.started, 0), coalesce(c.completed, 0), coalesce(c.failed, 0)
    from generate_series(throughput.since, clock_timestamp(), throughput.bucket) b(from_time)
    left join (
      select date_bin(throughput.bucket, k.at_time, throughput.since) as from_time, count(*) filter (where k.kind = 'started') as started,
             count(*) filter (where k.kind = 'completed') as completed, count(*) filter (where k.kind = 'failed') as failed
      from pgflow.flows f
      join pgflow.runs r on r.flow_slug = f.flow_slug and r.started_at >= throughput.since
      cross join lateral (values ('started', r.started_at), ('completed', r.completed_at), ('failed', r.failed_at)) k(kind, at_time)
      where k.at_time is not null
      group by 1) c on c.from_time = b.from_time
    order by b.from_time;
end $$;

-- Returns the workers that are not stopped, or stopped since a time, with their tasks in flight.
create or replace function flowc.list_workers(since timestamptz)
returns table (
  worker_id uuid, name text, queue_name text, started_at timestamptz, last_heartbeat_at timestamptz, deprecated_at timestamptz,
  stopped_at timestamptz, status text, in_flight bigint, flow_slugs text[])
language plpgsql stable as $$
#variable_conflict use_column
begin
  return query
    select w.worker_id, w.function_name, w.queue_name, w.started_at, w.last_heartbeat_at, w.deprecated_at, w.stopped_at,
           case when w.stopped_at is not null then 'stopped'
                when w.last_heartbeat_at < flowc.silent_before() then 'silent'
                when w.deprecated_at is not null then 'draining'
                else 'working' end,
           coalesce(h.tasks, 0),
           case w.queue_name when '*' then array(select s.flow_slug from flowc.worker_flows s where s.worker_id = w.worker_id order by s.flow_slug)
                             else array[w.queue_name] end
    from pgflow.workers w
    left join (
      select t.last_worker_id, count(*) as tasks from pgflow.step_tasks t where t.in_queue and t.status = 'started' group by t.last_worker_id) h
      on h.last_worker_id = w.worker_id
    where w.stopped_at is null or w.last_heartbeat_at >= list_workers.since
    order by w.started_at desc;
end $$;

-- Returns the tasks in flight, those that have been longest first.
create or replace function flowc.tasks_in_flight(at_most int)
returns table (worker_id uuid, flow_slug text, run_id uuid, step_slug text, task_index int, attempt int, started_at timestamptz, due_at timestamptz)
language plpgsql stable as $$
#variable_conflict use_column
begin
  return query
    select t.last_worker_id, t.flow_slug, t.run_id, t.step_slug, t.task_index, t.attempts_count - t.requeued_count, t.started_at, t.visible_at
    from pgflow.step_tasks t
    where t.in_queue and t.status = 'started'
    order by t.started_at limit tasks_in_flight.at_most;
end $$;
