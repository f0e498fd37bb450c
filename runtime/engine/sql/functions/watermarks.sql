-- Watermarks: the message id from which on a subqueue of a flow may have ready tasks, see
-- flowc.watermarks.

-- Returns the watermark of a subqueue of a flow, 0 if it has none.
create or replace function flowc.watermark(flow_slug text, subqueue "char") returns bigint
language plpgsql stable as $$
begin
  return coalesce((
    select w.message_id from flowc.watermarks w where w.flow_slug = watermark.flow_slug and w.subqueue = watermark.subqueue), 0);
end $$;

-- Returns the open transactions of this database that have taken message ids, the oldest
-- first. They hold a lock on the sequence until they end, prepared transactions included.
create or replace function flowc.enqueuing_transactions() returns table (pid int, xid xid8)
language plpgsql as $$
#variable_conflict use_column
begin
  return query
    with holder as ( -- locks name transactions by the last 32 bits of their ids
      select l.pid, t.transactionid::text::bigint as id
      from pg_locks l
      join pg_locks t on t.virtualtransaction = l.virtualtransaction and t.pid is not distinct from l.pid
        and t.locktype = 'transactionid' and t.mode = 'ExclusiveLock' and t.granted
      where l.locktype = 'relation' and l.mode = 'RowExclusiveLock' and l.granted
        and l.relation = 'flowc.message_ids'::regclass and l.database = (select d.oid from pg_database d where d.datname = current_database()))
    select h.pid, min(n.id - (((n.id - h.id + 2147483648) & 4294967295) - 2147483648))::text::xid8 as first
    from holder h cross join (select pg_snapshot_xmax(pg_current_snapshot())::text::bigint as id) n
    group by h.pid order by first;
end $$;

-- Advances the watermarks of flows. It has to be a transaction of its own, in which each
-- statement sees what has been committed: in any other it does nothing.
--
-- A task below the first one of a subqueue could only come from a transaction that took its
-- message id earlier and has not ended. Such a transaction has written before it took the
-- id, so its xid is less than the one that we take afterwards. When all of them with
-- lesser xids have ended, their tasks are visible. Transactions that took no message id do
-- not count, nor do those of other databases.
create or replace function flowc.advance_watermarks(flow_slugs text[]) returns void
language plpgsql as $$
declare
  oldest    xid8; -- of the open transactions that have taken message ids
  unused    bigint;
  flows     text[];
  subqueues "char"[];
  firsts    bigint[];
begin
  if pg_current_xact_id_if_assigned() is not null or current_setting('transaction_isolation') <> 'read committed' then
    return;
  end if;
  begin -- one at a time is enough; unlike a row's lock, this one assigns us no xid yet
    lock table flowc.installation in share update exclusive mode nowait;
  exception when lock_not_available then
    return;
  end;
  select min(o.xid) into oldest from flowc.enqueuing_transactions() o;
  select s.last_value + s.is_called::int into unused from flowc.message_ids s; -- before the queues are read, which may get this id meanwhile
  select array_agg(f.slug order by f.slug, p.priority), array_agg(p.priority order by f.slug, p.priority),
         array_agg(coalesce(t.message_id, unused) order by f.slug, p.priority)
  into flows, subqueues, firsts
  from unnest(advance_watermarks.flow_slugs) f(slug)
  join pgflow.flows w on w.flow_slug = any (array[f.slug])
  cross join lateral unnest(flowc.priorities_in_use(f.slug)) p(priority)
  left join lateral (
    select o.message_id from pgflow.step_tasks o
    where o.flow_slug = f.slug and o.subqueue = p.priority and o.message_id >= flowc.watermark(f.slug, p.priority) and o.in_queue
    order by o.message_id limit 1) t on true;
  insert into flowc.watermarks as w (flow_slug, subqueue, next_id, next_xid)
  select u.slug, u.subqueue, u.first, pg_current_xact_id() from unnest(flows, subqueues, firsts) u(slug, subqueue, first)
  on conflict on constraint watermarks_pkey do update
  set message_id = case when w.message_id > unused then 0 -- the sequence began anew: the database was restored without it
                        when w.next_xid <= coalesce(oldest, w.next_xid) then greatest(w.message_id, least(w.next_id, excluded.next_id))
                        else w.message_id end,
      next_id = excluded.next_id, next_xid = excluded.next_xid
  where w.next_xid <= coalesce(oldest, w.next_xid) or w.message_id > unused
     or w.next_xid > excluded.next_xid; -- of the database that this one was restored from
end $$;
