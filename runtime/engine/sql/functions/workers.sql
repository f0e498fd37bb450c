-- Workers: their rows and the flows that they serve.

-- Registers a worker, or registers it anew, with the flows that it serves.
create or replace function flowc.register_worker(worker_id uuid, name text, flow_slugs text[]) returns void
language plpgsql as $$
begin
  insert into pgflow.workers as w (worker_id, queue_name, function_name)
  values (register_worker.worker_id, '*', register_worker.name)
  on conflict on constraint workers_pkey do update
  set queue_name = '*', function_name = excluded.function_name, stopped_at = null, last_heartbeat_at = clock_timestamp();
  delete from flowc.worker_flows s where s.worker_id = register_worker.worker_id and s.flow_slug <> all (register_worker.flow_slugs);
  insert into flowc.worker_flows (worker_id, flow_slug)
  select register_worker.worker_id, f.flow_slug from pgflow.flows f where f.flow_slug = any (register_worker.flow_slugs)
  on conflict do nothing;
end $$;

-- Records that a worker drains: it claims nothing more and stops soon. If it dies before it
-- is done, its tasks are no suspects.
create or replace function flowc.drain_worker(worker_id uuid) returns void
language plpgsql as $$
begin
  update pgflow.workers w set deprecated_at = coalesce(w.deprecated_at, clock_timestamp()) where w.worker_id = drain_worker.worker_id;
end $$;

-- Records that a worker has stopped.
create or replace function flowc.stop_worker(worker_id uuid) returns void
language plpgsql as $$
begin
  delete from flowc.idle_workers s where s.worker_id = stop_worker.worker_id;
  delete from flowc.extended_leases h where h.worker_id = stop_worker.worker_id;
  perform pgflow.mark_worker_stopped(stop_worker.worker_id);
end $$;

-- Counts the workers that are alive, not draining, and serve a flow.
create or replace function flowc.live_workers(flow_slug text) returns bigint
language plpgsql stable as $$
begin
  return (
    select count(*) from pgflow.workers w
    where w.stopped_at is null and w.deprecated_at is null and w.last_heartbeat_at >= flowc.silent_before()
      and (w.queue_name = live_workers.flow_slug
           or exists (select from flowc.worker_flows s where s.worker_id = w.worker_id and s.flow_slug = live_workers.flow_slug)));
end $$;

-- Deletes the rows of workers whose last heartbeat is older than a time, but none that may
-- be alive; and gates of which nothing is left.
create or replace function flowc.prune_workers(before timestamptz) returns void
language plpgsql as $$
begin
  delete from pgflow.workers w where w.last_heartbeat_at < least(prune_workers.before, clock_timestamp() - interval '1 minute');
  delete from flowc.worker_flows s where not exists (select from pgflow.workers w where w.worker_id = s.worker_id);
  perform flowc.prune_gates();
end $$;
