-- Explaining what a run waits for.

-- Returns why a run has not ended, the most telling reason first; of one that has, what was
-- requested of it. The columns that are set depend on the kind:
--
--   scheduled   its time to start has not come: until_at
--   paused      its flow is paused: since_at, who
--   no_worker   no worker serves its flow: message names other versions that are served
--   silent      the worker that holds tasks of a step sends no heartbeats: since_at
--   waiting     a step waits for an answer: since_at, until_at, message is its key
--   answered    a step has an answer that a worker has yet to deliver: since_at, who
--   requested   an action was requested of the run, and is not done yet: since_at, message says
--               which, and why it could not be done
--   retry       tasks of a step wait for their next attempt: until_at, message, attempt, max_attempts
--   delayed     tasks of a step wait for the start delay: until_at
--   snoozed     tasks of a step were snoozed: until_at, message is the note
--   suspect     tasks of a step wait to run apart from others, since a worker died with them in
--               flight: attempt is how often one died while it ran nothing else
--   turn        tasks of a step, or without one the run itself, wait for room at their gate: since_at;
--               until_at if that is known; message says the limits, and the key
--   queued      tasks of a step wait for a free worker: since_at
--   running     workers run tasks of a step: since_at
--   stuck       there is nothing that a worker could run
--
-- Of each step, only the first thousand unfinished tasks are considered.
create or replace function flowc.explain_run(run_id uuid)
returns table (
  kind text, flow_slug text, step_slug text, task_index int, tasks int, attempt int, max_attempts int,
  worker text, since_at timestamptz, until_at timestamptz, who text, message text, now_at timestamptz)
language plpgsql stable as $$
#variable_conflict use_column
declare
  flow   text;
  due    timestamptz;
  in_key text; -- the key of a run in line, or of a retry
  ended  boolean;
  asked  timestamptz; -- when the retry in line was requested
  served boolean;
  waits  boolean;
  paused flowc.paused_flows;
begin
  select r.flow_slug, r.status <> 'started', s.due_at, coalesce(s.turn_key, q.turn_key), q.requested_at into flow, ended, due, in_key, asked
  from pgflow.runs r
  left join flowc.scheduled_runs s on s.run_id = any (array[r.run_id])
  left join lateral (
    select o.turn_key, o.requested_at from flowc.requests o
    where o.run_id = r.run_id and o.turn_key is not null and o.error is null order by o.id limit 1) q on true
  where r.run_id = explain_run.run_id
    and (r.status = 'started' or exists (select from flowc.requests o where o.run_id = explain_run.run_id));
  if flow is null then
    return;
  end if;
  served := flowc.live_workers(flow) > 0;
  select p.* into paused from flowc.paused_flows p where p.flow_slug = flow;
  flow_slug := flow; tasks := 0; attempt := 0; max_attempts := 0; now_at := clock_timestamp();
  if due is not null and in_key is null then
    kind := 'scheduled'; until_at := due;
    return next;
    until_at := null;
  end if;
  if paused.flow_slug is not null then
    kind := 'paused'; since_at := paused.paused_at; who := paused.paused_by;
    return next;
    since_at := null; who := null;
  end if;
  if not served then
    kind := 'no_worker';
    message := (
      select string_agg(o.flow_slug, ', ' order by o.flow_slug)
      from pgflow.flows o
      where o.flow_slug <> flow and flowc.base_slug(o.flow_slug) = flowc.base_slug(flow) and flowc.live_workers(o.flow_slug) > 0);
    return next;
    message := null;
  end if;
  return query
    select 'requested', flow, null::text, null::int, 0, 0, 0, null::text, q.requested_at, null::timestamptz, null::text,
           concat_ws(': ', q.action, q.argument, q.error), clock_timestamp()
    from flowc.requests q where q.run_id = explain_run.run_id order by q.id;
  if in_key is not null and paused.flow_slug is null and served then
    return query
      select 'turn', flow, null::text, null::int, 0, 0, 0, null::text, coalesce(due, asked), t.until_at, null::text, t.message, clock_timestamp()
      from flowc.explain_turn(flow, '', in_key) t;
  end if;
  if ended or due is not null then
    return;
  end if;
  return query
    select case when a.sent_at is null then 'waiting' else 'answered' end, flow, w.step_slug, null::int, 1, 0, 0, null::text,
           coalesce(a.sent_at, w.since_at), case when a.sent_at is null then nullif(w.due_at, 'infinity') end, a.sender,
           case when a.sent_at is null then w.key end, clock_timestamp()
    from flowc.waits w
    join pgflow.steps s on s.flow_slug = any (array[w.flow_slug]) and s.step_slug = w.step_slug
    left join lateral (
      select o.sent_at, o.sender from flowc.signals o
      where o.run_id = w.run_id and o.step_slug = w.step_slug and o.delivered_at is null order by o.sent_at limit 1) a on true
    where w.run_id = explain_run.run_id order by s.step_index;
  waits := found;
  return query
    with task as (
      select s.step_slug, s.step_index, s.step_type, t.task_index, t.status, t.attempts_count - t.requeued_count as attempts, t.error_message,
             t.visible_at, t.started_at, t.last_worker_id, t.subqueue, t.gate_key, coalesce(s.opt_max_attempts, f.opt_max_attempts) as max_attempts,
             (select coalesce(c.note, '') from flowc.carried c
              where c.run_id = t.run_id and c.step_slug = t.step_slug and c.task_index = t.task_index and c.snoozes > 0) as note_of_snooze
      from pgflow.step_states st
      join pgflow.steps s on s.flow_slug = any (array[st.flow_slug]) and s.step_slug = st.step_slug
      join pgflow.flows f on f.flow_slug = any (array[st.flow_slug])
      cross join lateral (
        select o.* from pgflow.step_tasks o
        where o.run_id = st.run_id and o.step_slug = st.step_slug and o.in_queue is not false and o.status in ('queued', 'started')
        order by o.task_index limit 1000) t
      where st.run_id = explain_run.run_id and st.status = 'started'),
    seen as (
      select t.*, w.function_name || ' ' || right(w.worker_id::text, 12) as worker, w.last_heartbeat_at,
             case when t.status = 'started' and (w.last_heartbeat_at < flowc.silent_before() or w.stopped_at is not null) then 'silent'
                  when t.status = 'started' then 'running'
                  when t.visible_at > clock_timestamp() and t.error_message is null and t.note_of_snooze is not null then 'snoozed'
                  when t.visible_at > clock_timestamp() and t.attempts > 0 then 'retry'
                  when t.visible_at > clock_timestamp() then 'delayed'
                  when t.subqueue = 's' then 'suspect'
                  when t.subqueue = 'g' then 'turn' -- or queued, see told
                  else 'queued' end as kind
      from task t
      left join lateral (select o.* from pgflow.workers o where o.worker_id = t.last_worker_id offset 0) w on true),
    first as (
      select distinct on (s.step_index, s.kind) s.*, count(*) over (partition by s.step_index, s.kind) as same_kind
      from seen s
      order by s.step_index, s.kind, case when s.kind in ('retry', 'delayed', 'snoozed') then s.visible_at else s.started_at end, s.task_index),
    told as (
      select f.*, case when f.gate_key is not null and f.kind = 'turn' and flowc.has_room(flow, f.step_slug, f.gate_key) then 'queued' else f.kind end as reason
      from first f)
    select f.reason, flow, f.step_slug, case f.step_type when 'map' then f.task_index end, f.same_kind::int,
           case f.reason when 'suspect' then coalesce(
             (select s.isolated_crashes from flowc.suspects s where s.run_id = explain_run.run_id and s.step_slug = f.step_slug and s.task_index = f.task_index), 0)
           else f.attempts end, f.max_attempts,
           case when f.reason in ('silent', 'running') then f.worker end,
           case f.reason when 'running' then f.started_at when 'silent' then f.last_heartbeat_at when 'queued' then f.visible_at when 'turn' then f.visible_at end,
           case when f.reason in ('retry', 'delayed', 'snoozed') then f.visible_at when f.reason = 'turn' then turn.until_at end,
           null::text, case f.reason when 'retry' then f.error_message when 'snoozed' then f.note_of_snooze when 'turn' then turn.message end, clock_timestamp()
    from told f
    left join lateral flowc.explain_turn(flow, f.step_slug, f.gate_key) turn on f.reason = 'turn'
    where not (f.reason in ('queued', 'suspect', 'turn') and (paused.flow_slug is not null or not served)) -- the reason above says it
    order by array_position(array['silent', 'retry', 'delayed', 'snoozed', 'suspect', 'turn', 'queued', 'running'], f.reason), f.step_index;
  if not found and not waits and paused.flow_slug is null and served and not exists (
      select from pgflow.step_tasks t
      where t.run_id = explain_run.run_id and t.in_queue is not false and t.status in ('queued', 'started')) then
    kind := 'stuck';
    return next;
  end if;
end $$;

-- Returns what a task without room at its gate, or with step '' a run in line, waits for: the
-- limits of the gate, its name if it has one of its own, the key if there is one, and how many
-- tasks are in flight, or runs in progress, as a text; and when the next attempt may begin, as
-- far as a rate or a hold says.
create or replace function flowc.explain_turn(flow_slug text, step_slug text, key text, out until_at timestamptz, out message text)
language plpgsql stable as $$
declare
  now_at   timestamptz := clock_timestamp();
  gate     flowc.gates;
  counts   flowc.gate_keys;
  tokens   double precision;
  flying   bigint;
  of_runs  boolean := explain_turn.step_slug = '';
begin
  select g.* into gate
  from flowc.gated_steps s join flowc.gates g on g.name = any (array[s.gate])
  where s.flow_slug = explain_turn.flow_slug and s.step_slug = explain_turn.step_slug;
  select k.* into counts from flowc.gate_keys k where k.gate = gate.name and k.key = explain_turn.key;
  flying := greatest(coalesce(counts.in_flight, 0) - (
    select coalesce(sum(c.departed), 0) from flowc.gate_changes c where c.gate = gate.name and c.key = explain_turn.key), 0);
  tokens := counts.tokens + greatest(extract(epoch from now_at - counts.refilled_at), 0) * gate.rate_tokens / gate.rate_seconds;
  until_at := greatest(gate.held_until, counts.held_until,
    case when tokens < 1 then now_at + make_interval(secs => (1 - tokens) * gate.rate_seconds / gate.rate_tokens) end);
  until_at := case when until_at > now_at then until_at end;
  message := concat_ws(', ',
    case when greatest(gate.held_until, counts.held_until) > now_at then 'held' end,
    case when gate.concurrency = 1 then case when of_runs then 'one run at a time' else 'one at a time' end
         else gate.concurrency || case when of_runs then ' runs at once' else ' at once' end end,
    gate.rate_tokens || '/' || case gate.rate_seconds when 1 then 's' when 60 then 'm' when 3600 then 'h' else gate.rate_seconds || 's' end)
    || case when gate.name <> flowc.own_gate(explain_turn.flow_slug, explain_turn.step_slug) then ' at gate ' || gate.name else '' end
    || case when explain_turn.key <> '' then format(', key "%s"', explain_turn.key) else '' end
    || case when gate.concurrency <= flying then
         format(', and %s %s in %s', flying, case flying when 1 then 'is' else 'are' end, case when of_runs then 'progress' else 'flight' end) else '' end;
end $$;
