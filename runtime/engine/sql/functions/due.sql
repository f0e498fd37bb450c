-- What any worker does for flows beside claiming: requests, answers, and what is due.

-- Applies what was requested of runs, delivers answers, and ends what has waited too long,
-- in the flows. Returns how much it did. What somebody else holds is skipped.
create or replace function flowc.apply_due(flow_slugs text[]) returns int
language plpgsql as $$
begin
  return flowc.apply_requests(apply_due.flow_slugs)
    + flowc.deliver_signals(apply_due.flow_slugs)
    + flowc.match_keys(apply_due.flow_slugs)
    + flowc.expire_waits(apply_due.flow_slugs);
end $$;

-- Reports whether apply_due or deliver_large would find something.
create or replace function flowc.is_due(flow_slugs text[]) returns boolean
language plpgsql stable as $$
declare
  now_at timestamptz := clock_timestamp();
begin
  return exists (
      select from unnest(is_due.flow_slugs) f(slug)
      cross join lateral (
        select from flowc.waits w where w.flow_slug = f.slug and w.due_at <= now_at order by w.due_at limit 1) w)
    or exists (
      select from unnest(is_due.flow_slugs) f(slug)
      cross join lateral (
        select from flowc.signals s where s.flow_slug = f.slug and s.pending_at > '-infinity' and s.pending_at <= now_at order by s.pending_at limit 1) s)
    or exists (
      select from unnest(is_due.flow_slugs) f(slug)
      cross join lateral (
        select from flowc.waits w where w.flow_slug = f.slug and w.unchecked_at > '-infinity' and w.unchecked_at <= now_at order by w.unchecked_at limit 1) w)
    or exists (
      select from unnest(is_due.flow_slugs) f(slug)
      cross join lateral (
        select from flowc.keyed_signals k where k.flow_slug = f.slug and k.pending_at > '-infinity' and k.pending_at <= now_at order by k.pending_at limit 1) k)
    or exists (
      select from unnest(is_due.flow_slugs) f(slug)
      cross join lateral (
        select from flowc.requests q where q.flow_slug = f.slug and q.error is null and q.turn_key is null order by q.id limit 1) q);
end $$;

-- Returns when apply_due will next find something, NULL if that is not known. If the worker
-- has just tried, only what came within the last second counts: of older things somebody
-- holds the runs, and heartbeats find them.
create or replace function flowc.next_due(flow_slugs text[], tried boolean) returns timestamptz
language plpgsql stable as $$
declare
  now_at  timestamptz := clock_timestamp();
  recent  timestamptz := case when next_due.tried then now_at - interval '1 second' else '-infinity' end;
  next_at timestamptz;
begin
  if exists (
      select from unnest(next_due.flow_slugs) f(slug)
      cross join lateral (
        select from flowc.signals s
        where s.flow_slug = f.slug and s.pending_at > '-infinity' and s.pending_at > recent and not flowc.is_large(s.bytes) order by s.pending_at limit 1) s)
    or exists (
      select from unnest(next_due.flow_slugs) f(slug)
      cross join lateral (
        select from flowc.waits w where w.flow_slug = f.slug and w.unchecked_at > '-infinity' and w.unchecked_at > recent order by w.unchecked_at limit 1) w)
    or exists (
      select from unnest(next_due.flow_slugs) f(slug)
      cross join lateral (
        select from flowc.keyed_signals k where k.flow_slug = f.slug and k.pending_at > '-infinity' and k.pending_at > recent order by k.pending_at limit 1) k)
    or exists (
      select from unnest(next_due.flow_slugs) f(slug)
      cross join lateral (
        select q.requested_at from flowc.requests q where q.flow_slug = f.slug and q.error is null and q.turn_key is null order by q.id desc limit 1) q
      where q.requested_at > recent) then
    return now_at;
  end if;
  select min(w.due_at) into next_at
  from unnest(next_due.flow_slugs) f(slug)
  cross join lateral (
    select o.due_at from flowc.waits o
    where o.flow_slug = f.slug and o.due_at > recent and o.due_at < 'infinity' order by o.due_at limit 1) w;
  return next_at;
end $$;
