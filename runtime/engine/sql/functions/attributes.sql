-- Attributes of all functions, set in one place so that none is forgotten. This file comes
-- last.

do $$
declare
  f       record;
  entries text[] := flowc.role_functions('starter') || flowc.role_functions('worker') || flowc.role_functions('viewer');
begin
  for f in
    select p.oid::regprocedure::text as signature, n.nspname as schema, p.proname as name, l.lanname as language, p.prosqlbody is not null as parsed
    from pg_proc p
    join pg_namespace n on n.oid = p.pronamespace
    join pg_language l on l.oid = p.prolang
    where n.nspname in ('pgflow', 'pgmq', 'flowc')
      and p.xmin = pg_current_xact_id()::xid -- what users have added themselves stays as it is
  loop
    execute format('revoke all on function %s from public', f.signature);
    -- A body that was parsed when it was created depends on no search_path. Without
    -- attributes, the planner inlines such a function.
    continue when f.parsed;
    -- Names in the bodies are qualified, so that nothing in a caller's search_path or
    -- temporary schema is used instead.
    execute format('alter function %s set search_path = pg_catalog, pg_temp', f.signature);
    -- With these, a role that may execute the entry points needs no rights on tables.
    if f.schema = 'flowc' or f.name = 'requeue_stalled_tasks' or f.schema || '.' || f.name = any (entries) then
      execute format('alter function %s security definer', f.signature);
    end if;
    -- Every lookup here is by key, and planning each call anew would cost more than the
    -- call. So plans are kept, and one made while the tables were empty must not scan them
    -- later. The settings rule out sequential scans and sorts of whole queues. Full index
    -- scans are ruled out by how joins are written: the first column of a key is compared
    -- with `= any (array[x])`, which can only be looked up; and where several tables are
    -- looked up by the same columns, a subquery with `offset 0` keeps the planner from
    -- looking up one by the columns of another. growth_test.go tests it.
    if f.language = 'plpgsql' and f.name <> 'requeue_stalled_tasks' then
      -- start_tasks is planned anew, at half a millisecond: pgflow's own tests compare
      -- the slowest of twenty calls with their mean, and a call that finds nothing
      -- must not be too fast for that.
      execute format('alter function %s set plan_cache_mode = %s', f.signature,
        case when f.name = 'start_tasks' then 'force_custom_plan' else 'force_generic_plan' end);
      execute format('alter function %s set enable_seqscan = off', f.signature);
      execute format('alter function %s set enable_bitmapscan = off', f.signature);
      execute format('alter function %s set enable_hashjoin = off', f.signature);
      execute format('alter function %s set enable_mergejoin = off', f.signature);
      execute format('alter function %s set jit = off', f.signature);
    end if;
  end loop;
  perform flowc.grant_privileges();
end $$;
