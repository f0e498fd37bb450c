-- Conditions of steps, evaluated once a step has no dependency left to wait for.

-- Returns the ready steps whose condition is not met. That of a step without dependencies
-- is evaluated on the run's input, any other on the outputs of the dependencies.
create or replace function flowc.unmet_conditions(run_ids uuid[])
returns table (run_id uuid, step_slug text, step_index int, when_unmet text)
language plpgsql stable as $$
#variable_conflict use_column
begin
  return query
    select r.run_id, s.step_slug, s.step_index, s.when_unmet
    from unnest(unmet_conditions.run_ids) u(run_id)
    join pgflow.runs r on r.run_id = any (array[u.run_id]) and r.status = 'started'
    join pgflow.step_states st on st.run_id = any (array[r.run_id]) and st.status = 'created' and st.remaining_deps = 0
    join pgflow.steps s on s.flow_slug = any (array[st.flow_slug]) and s.step_slug = st.step_slug
      and (s.required_input_pattern is not null or s.forbidden_input_pattern is not null)
    cross join lateral (
      select case when s.deps_count = 0 then r.input else (
        select coalesce(jsonb_object_agg(p.step_slug, coalesce(p.output, 'null')), '{}')
        from pgflow.deps d
        cross join lateral (
          select o.step_slug, o.output from pgflow.step_states o
          where o.run_id = r.run_id and o.step_slug = d.dep_slug and o.status = 'completed' offset 0) p
        where d.flow_slug = s.flow_slug and d.step_slug = s.step_slug) end) x(subject)
    where not (coalesce(x.subject @> s.required_input_pattern, true) and not coalesce(x.subject @> s.forbidden_input_pattern, false));
end $$;

-- Skips or fails the steps whose condition is not met, until there are none. A failure
-- comes before any skip; a plain skip can make further steps ready, whose conditions are
-- evaluated then.
create or replace function flowc.resolve_conditions(run_ids uuid[]) returns void
language plpgsql as $$
declare
  passes int := 0;
  runs   uuid[];
  steps  text[];
  skips  boolean;
begin
  loop
    select array_agg(f.run_id), array_agg(f.step_slug) into runs, steps from (
      select distinct on (c.run_id) c.run_id, c.step_slug
      from flowc.unmet_conditions(resolve_conditions.run_ids) c
      where c.when_unmet = 'fail' order by c.run_id, c.step_index) f;
    if runs is not null then
      perform flowc.fail_steps(runs, steps, array_fill('Condition not met'::text, array[cardinality(runs)]));
    end if;

    select array_agg(c.run_id order by c.step_index), array_agg(c.step_slug order by c.step_index) into runs, steps
    from flowc.unmet_conditions(resolve_conditions.run_ids) c where c.when_unmet = 'skip';
    skips := runs is not null;
    if skips then
      perform flowc.skip_steps(runs, steps, 'condition_unmet', null);
      perform flowc.propagate_completion(runs, steps, false);
      perform flowc.decrement_remaining(runs, array_fill(1, array[cardinality(runs)]), false);
    end if;

    select array_agg(c.run_id order by c.step_index), array_agg(c.step_slug order by c.step_index) into runs, steps
    from flowc.unmet_conditions(resolve_conditions.run_ids) c where c.when_unmet = 'skip-cascade';
    if runs is not null then
      skips := true;
      perform flowc.skip_cascade(runs, steps, 'condition_unmet');
    end if;

    exit when not skips;
    passes := passes + 1;
    if passes > 50 then
      raise exception 'cascade_resolve_conditions exceeded safety limit of 50 iterations'
        using hint = 'The flow has a chain of more than 50 steps whose conditions skip one after another.';
    end if;
  end loop;
end $$;
