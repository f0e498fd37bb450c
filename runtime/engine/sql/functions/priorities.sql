-- Priorities of tasks: that of the step, else that of the run, else that of the flow, see
-- pgflow.step_tasks. Claims of a flow take what has a higher priority first.

-- Returns how a priority is stored: as the subqueue of ready tasks.
create or replace function flowc.priority_code(priority text) returns "char"
language sql immutable parallel safe
return case priority_code.priority when 'high' then 'h' when 'low' then 'l' else 'r' end::"char";

-- Fails unless it is the name of a priority.
create or replace function flowc.require_priority(priority text) returns void
language plpgsql immutable as $$
begin
  if require_priority.priority not in ('high', 'normal', 'low') then
    raise invalid_parameter_value using message = format('priority is high, normal or low, not %s', require_priority.priority);
  end if;
end $$;

-- Returns the name of a priority.
create or replace function flowc.priority_name(priority "char") returns text
language sql immutable parallel safe
return case priority_name.priority when 'h' then 'high' when 'l' then 'low' else 'normal' end;

-- Returns the name of the priority of a run, NULL if it is normal.
create or replace function flowc.run_priority(run_id uuid, flow_slug text) returns text
language plpgsql stable as $$
begin
  return nullif(coalesce(
    (select flowc.priority_name(p.priority) from flowc.priorities p where p.run_id = run_priority.run_id),
    (select k.settings ->> 'priority' from flowc.settings k where k.flow_slug = run_priority.flow_slug and k.step_slug = '')), 'normal');
end $$;

-- Returns the priorities that tasks of a flow may have, the highest first.
create or replace function flowc.priorities_in_use(flow_slug text) returns "char"[]
language plpgsql stable as $$
begin
  return case when exists (select from flowc.prioritized_flows p where p.flow_slug = priorities_in_use.flow_slug)
              then '{h,r,l}' else '{r}' end;
end $$;

-- Notes that flows have tasks whose priority is not normal.
create or replace function flowc.note_priorities(flow_slugs text[]) returns void
language plpgsql as $$
begin
  insert into flowc.prioritized_flows (flow_slug)
  select distinct f.slug from unnest(note_priorities.flow_slugs) f(slug)
  where not exists (select from flowc.prioritized_flows p where p.flow_slug = f.slug);
end $$;

-- Stores the priority that runs were given.
create or replace function flowc.store_priorities(run_ids uuid[], priority text) returns void
language plpgsql as $$
begin
  insert into flowc.priorities (run_id, priority)
  select u.run_id, flowc.priority_code(store_priorities.priority) from unnest(store_priorities.run_ids) u(run_id);
end $$;

-- Returns the priorities of the tasks of steps, to be enqueued; NULL if all are normal.
create or replace function flowc.priorities_of(flow_slugs text[], run_ids uuid[], step_slugs text[]) returns "char"[]
language plpgsql as $$
declare
  priorities "char"[];
begin
  if not exists (select from flowc.settings k where k.flow_slug = any (priorities_of.flow_slugs) and k.settings ? 'priority')
    and not exists (
      select from unnest(priorities_of.run_ids) u(run_id) join flowc.priorities p on p.run_id = any (array[u.run_id])) then
    return null;
  end if;
  priorities := array(
    select coalesce(
      (select flowc.priority_code(k.settings ->> 'priority') from flowc.settings k
       where k.flow_slug = u.flow_slug and k.step_slug = u.step_slug and k.settings ? 'priority'),
      (select p.priority from flowc.priorities p where p.run_id = u.run_id),
      (select flowc.priority_code(k.settings ->> 'priority') from flowc.settings k where k.flow_slug = u.flow_slug and k.step_slug = ''),
      'r')
    from unnest(priorities_of.flow_slugs, priorities_of.run_ids, priorities_of.step_slugs) with ordinality u(flow_slug, run_id, step_slug, n)
    order by u.n);
  if 'r' = all (priorities) then
    return null;
  end if;
  perform flowc.note_priorities(array(
    select u.flow_slug from unnest(priorities_of.flow_slugs, priorities) u(flow_slug, priority) where u.priority <> 'r'));
  return priorities;
end $$;

-- Sets the priority of a run, and of those of its tasks that have not ended and whose step
-- has none of its own. Tasks in flight go on. Returns false if the run has completed, NULL if
-- there is no such run.
create or replace function flowc.set_priority(run_id uuid, priority text) returns boolean
language plpgsql as $$
declare
  flow   text;
  status text;
  code   "char" := flowc.priority_code(set_priority.priority);
begin
  perform flowc.require_priority(set_priority.priority);
  select r.flow_slug, r.status into flow, status from pgflow.runs r where r.run_id = set_priority.run_id for update;
  if status is null then
    return null;
  elsif status = 'completed' then
    return false;
  end if;
  insert into flowc.priorities as p (run_id, priority) values (set_priority.run_id, code)
  on conflict on constraint priorities_pkey do update set priority = excluded.priority where p.priority <> excluded.priority;
  if code <> 'r' then
    perform flowc.note_priorities(array[flow]);
  end if;
  -- What is ready, or was when it was claimed, becomes delayed, and due at once: its message
  -- may be below the watermark of another subqueue.
  update pgflow.step_tasks t
  set priority = code,
      subqueue = case when t.subqueue = t.priority then 'd' else t.subqueue end,
      due_at = case when t.subqueue = t.priority and t.status = 'queued' then t.visible_at
                    when t.subqueue = t.priority then t.started_at else t.due_at end
  where t.run_id = set_priority.run_id and t.status <> 'completed' and t.message_id is not null and t.priority <> code
    and not exists (
      select from flowc.settings k where k.flow_slug = flow and k.step_slug = t.step_slug and k.settings ? 'priority' offset 0);
  return true;
end $$;
