-- Cron expressions and their ticks. Nothing here reads a table. Clock and time zones are
-- the database's.

-- Returns the numbers of one field: a list of numbers, ranges and *, each with a step or
-- without. Names count from low.
create or replace function flowc.parse_cron_field(field text, what text, low int, high int, names text[] default '{}') returns int[]
language plpgsql immutable as $$
declare
  item    text;
  parts   text[];
  first   int;
  last    int;
  numbers int[] := '{}';
begin
  foreach item in array string_to_array(lower(parse_cron_field.field), ',') loop
    continue when item = '';
    for i in 1 .. cardinality(names) loop
      item := regexp_replace(item, '\m' || names[i] || '\M', (low + i - 1)::text, 'g');
    end loop;
    parts := regexp_match(item, '^(?:([*?])|([0-9]{1,4})(?:-([0-9]{1,4}))?)(?:/([0-9]{1,4}))?$');
    if parts is null then
      raise invalid_parameter_value using message = format('%s is no %s', item, what);
    end if;
    first := coalesce(parts[2]::int, low);
    last := coalesce(parts[3]::int, case when parts[1] is null and parts[4] is null then first else high end);
    if first < low or last > high or first > last then
      raise invalid_parameter_value using message = format('%s is not within %s to %s', item, low, high);
    elsif parts[4]::int = 0 then
      raise invalid_parameter_value using message = format('the step of %s is 0', item);
    end if;
    numbers := numbers || array(select generate_series(first, last, coalesce(parts[4]::int, 1)));
  end loop;
  if numbers = '{}' then
    raise invalid_parameter_value using message = format('the %s is missing', what);
  end if;
  return numbers;
end $$;

-- Fails with what is wrong with a cron expression.
create or replace function flowc.refuse_cron(spec text, problem text) returns void
language plpgsql immutable as $$
begin
  raise invalid_parameter_value using
    message = format('cron "%s": %s', refuse_cron.spec, refuse_cron.problem), detail = refuse_cron.problem, constraint = 'schedules_cron_check';
end $$;

-- Parses a cron expression: five fields, @daily and the like, or @every 5m. The time zone is
-- UTC unless it begins with CRON_TZ=.
create or replace function flowc.parse_cron(spec text) returns flowc.cron
language plpgsql stable as $$
declare
  c      flowc.cron;
  words  text := regexp_replace(btrim(parse_cron.spec), '\s+', ' ', 'g');
  zone   text := coalesce(substring(words from '^CRON_TZ=(\S+) '), 'UTC');
  fields text[];
begin
  perform now() at time zone zone; -- fails if there is no such zone
  if zone !~ '^[A-Za-z]+(/[A-Za-z_-]+)*$' and not exists (select from pg_timezone_names n where n.name = zone) then
    -- It is a rule, as in UTC-5 or UTC/2, which nobody else would read as PostgreSQL does.
    raise invalid_parameter_value using message = format('time zone "%s" not recognized', zone);
  end if;
  c.zone := zone;
  words := regexp_replace(words, '^CRON_TZ=\S+ ', '');
  if words ~ '^@every ' then
    if words !~ '^@every ([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$' then
      raise invalid_parameter_value using
        message = format('"%s" is no span of time in whole hours, minutes and seconds, like 90s or 1h30m', substring(words from 8));
    end if;
    c.every := make_interval(
      hours => coalesce(substring(words from '([0-9]+)h')::int, 0), mins => coalesce(substring(words from '([0-9]+)m')::int, 0),
      secs => coalesce(substring(words from '([0-9]+)s')::int, 0));
    if c.every < interval '1 second' then
      raise invalid_parameter_value using message = 'it has to be a second or more';
    end if;
    return c;
  end if;
  words := case words
    when '@yearly'   then '0 0 1 1 *'
    when '@annually' then '0 0 1 1 *'
    when '@monthly'  then '0 0 1 * *'
    when '@weekly'   then '0 0 * * 0'
    when '@daily'    then '0 0 * * *'
    when '@midnight' then '0 0 * * *'
    when '@hourly'   then '0 * * * *'
    else words end;
  if words like '@%' then
    raise invalid_parameter_value using
      message = format('there is no %s, only @yearly, @monthly, @weekly, @daily, @hourly and @every with a span such as 90s', words);
  end if;
  fields := string_to_array(words, ' ');
  if cardinality(fields) <> 5 then
    raise invalid_parameter_value using message = format('it has %s, not five: minute, hour, day, month and weekday', cardinality(fields) || case cardinality(fields) when 1 then ' field' else ' fields' end);
  end if;
  c.minutes := flowc.parse_cron_field(fields[1], 'minute', 0, 59);
  c.hours := flowc.parse_cron_field(fields[2], 'hour', 0, 23);
  c.days := flowc.parse_cron_field(fields[3], 'day of the month', 1, 31);
  c.months := flowc.parse_cron_field(fields[4], 'month', 1, 12, '{jan,feb,mar,apr,may,jun,jul,aug,sep,oct,nov,dec}');
  c.weekdays := flowc.parse_cron_field(fields[5], 'day of the week', 0, 6, '{sun,mon,tue,wed,thu,fri,sat}');
  c.any_day := not (fields[3] || ',' || fields[5]) ~ '(^|,)[*?](/1)?(,|$)';
  c.follows := fields[2] ~ '(^|,)[*?]';
  return c;
exception when invalid_parameter_value or interval_field_overflow then
  perform flowc.refuse_cron(parse_cron.spec, sqlerrm);
end $$;

-- Reports whether an expression has ticks on a day.
create or replace function flowc.is_cron_day(c flowc.cron, day date) returns boolean
language plpgsql immutable as $$
begin
  return extract(month from day)::int = any (c.months) and case
    when c.any_day then extract(day from day)::int = any (c.days) or extract(dow from day)::int = any (c.weekdays)
    else extract(day from day)::int = any (c.days) and extract(dow from day)::int = any (c.weekdays) end;
end $$;

-- Returns the ticks of a day in the time zone of the expression. Where the clock is set
-- forward, a time that does not exist comes as much later as the clock was set; where it is
-- set back, a time that exists twice comes once, the first time. Hours that follow the clock
-- are skipped and come twice instead.
create or replace function flowc.cron_day(c flowc.cron, day date) returns setof timestamptz
language plpgsql stable as $$
declare
  -- What the clock shows less what it shows in UTC, before and after any change on that day.
  noon   timestamptz := (day + time '12:00') at time zone 'UTC';
  before interval := ((noon - interval '2 days') at time zone c.zone) - ((noon - interval '2 days') at time zone 'UTC');
  after  interval := ((noon + interval '2 days') at time zone c.zone) - ((noon + interval '2 days') at time zone 'UTC');
begin
  if before = after then
    return query
      select (day + make_interval(hours => h.hour, mins => m.minute) - before) at time zone 'UTC'
      from unnest(c.hours) h(hour) cross join unnest(c.minutes) m(minute);
    return;
  end if;
  return query
    with local as (
      select day + make_interval(hours => h.hour, mins => m.minute) as shown
      from unnest(c.hours) h(hour) cross join unnest(c.minutes) m(minute)),
    possible as (
      select l.shown, (l.shown - before) at time zone 'UTC' as one, (l.shown - after) at time zone 'UTC' as other from local l),
    real as (
      select p.*, p.one at time zone c.zone = p.shown as is_one, p.other at time zone c.zone = p.shown as is_other from possible p)
    select x.at
    from real r
    cross join lateral (values
      (r.one, r.is_one or not r.is_other and not c.follows),
      (r.other, r.is_other and (not r.is_one or c.follows))) x(at, wanted)
    where x.wanted;
end $$;

-- Returns the first tick after a time, NULL if there is none within nine years: a 29th of
-- February is at most eight years away. Ticks of @every have the same distance from each
-- other, wherever they begin.
create or replace function flowc.next_tick(spec text, after timestamptz) returns timestamptz
language plpgsql stable as $$
declare
  c    flowc.cron := flowc.parse_cron(next_tick.spec);
  day  date;
  tick timestamptz;
begin
  if c.every is not null then
    return next_tick.after + c.every;
  end if;
  day := (next_tick.after at time zone c.zone)::date - 1; -- a tick that did not exist yesterday may come today
  for i in 0 .. 9 * 366 loop
    if flowc.is_cron_day(c, day + i) then
      select min(d.at) into tick from flowc.cron_day(c, day + i) d(at) where d.at > next_tick.after;
      if tick is not null then
        return tick;
      end if;
    end if;
  end loop;
  return null;
end $$;

-- Returns the last tick that is not after until, of a schedule that was due at due.
create or replace function flowc.last_tick(spec text, due timestamptz, until timestamptz) returns timestamptz
language plpgsql stable as $$
declare
  c    flowc.cron := flowc.parse_cron(last_tick.spec);
  day  date;
  tick timestamptz;
begin
  if c.every is not null then
    return due + c.every * floor(extract(epoch from last_tick.until - due) / extract(epoch from c.every));
  end if;
  day := (last_tick.until at time zone c.zone)::date;
  while day >= (due at time zone c.zone)::date - 1 loop
    if flowc.is_cron_day(c, day) then
      select max(d.at) into tick from flowc.cron_day(c, day) d(at) where d.at <= last_tick.until;
      if tick is not null then
        return tick;
      end if;
    end if;
    day := day - 1;
  end loop;
  return due;
end $$;

-- Returns the next ticks of an expression, for people to check what they wrote.
create or replace function flowc.next_ticks(spec text, at_most int) returns setof timestamptz
language plpgsql stable as $$
declare
  tick timestamptz := clock_timestamp();
begin
  for i in 1 .. next_ticks.at_most loop
    tick := flowc.next_tick(next_ticks.spec, tick);
    exit when tick is null;
    return next tick;
  end loop;
end $$;
