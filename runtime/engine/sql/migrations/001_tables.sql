-- The tables of the engine.
--
-- pgflow and pgmq are the contract: clients and workers in other languages read and write
-- them. flowc is ours: side tables, most of which have rows only for what is unusual.
--
-- No index contains a column that a transition changes, not even in its predicate, so that
-- every update can be HOT; the fill factors leave room for that. The one exception is that
-- a task leaves the queue, once. There are no foreign keys on rows that are written per run
-- or task, and few checks: PostgreSQL parses each check in every statement that writes to
-- the table, for 5 µs. Those that are left guard counters, which could otherwise be wrong
-- unnoticed, and two that other languages' tests look up. None compares times: a server
-- clock that jumps back must not make it impossible to report a finished task.
--
-- When a table is vacuumed or analyzed, every connection has to plan its statements anew,
-- which takes the next calls some milliseconds. So autovacuum does not run for every few
-- rows; plans do not depend on statistics. A hundred thousand tasks leave behind some
-- 100 MB, which slows nothing down (see flowc.watermarks).

-- Whoever owns a schema may replace the engine's functions with their own.
do $$
declare
  foreign_schema name;
begin
  select n.nspname into foreign_schema
  from pg_namespace n join pg_roles r on r.oid = n.nspowner
  where n.nspname in ('pgflow', 'pgmq', 'flowc') and not r.rolsuper and r.rolname <> current_user;
  if found then
    raise insufficient_privilege using
      message = format('the schema %s is there already and belongs to somebody else', foreign_schema),
      hint = 'Drop it, or give it to the role that installs the engine.';
  end if;
end $$;

create schema if not exists pgflow;
create schema if not exists pgmq;
create schema if not exists flowc;

-- The installed version: one row; and a row for each migration.
create table flowc.installation (
  single             boolean     not null default true primary key check (single),
  version            int         not null,
  functions_checksum text        not null,
  installed_at       timestamptz not null default now(),
  secret             uuid        not null default gen_random_uuid() -- for ids that nobody else may compute
);
create table flowc.migrations (
  version    int         not null primary key,
  name       text        not null,
  checksum   text        not null,
  applied_at timestamptz not null default now()
);

-- The map of shards, if this database is one of several, see shards.sql: one row, or none.
-- map_id identifies the set of databases. number is that of this one, NULL until it is in
-- the map. maps has all versions of the map, the oldest first; version is their number.
create table flowc.shard (
  single  boolean not null default true primary key check (single),
  map_id  uuid    not null,
  number  int     check (number between 1 and 65535),
  version int     not null,
  maps    jsonb   not null
);

-- Roles with rights on the engine, which migrations grant anew.
create table flowc.granted_roles (
  role_name text not null,
  kind      text not null check (kind in ('starter', 'worker', 'viewer', 'operator')),
  primary key (role_name, kind)
);

-- Reports whether a slug has only letters, digits and underscores, and is not 'run', the key
-- of the run's input.
create function pgflow.is_valid_slug(slug text) returns boolean
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(slug ~ '^[a-zA-Z_][a-zA-Z0-9_]*$' and length(slug) <= 128 and slug <> 'run', false)
$$;

-- Definitions ---------------------------------------------------------------

-- A row for each slug that was ever defined. Its lock replaces the foreign key that runs do
-- not have: starting a run shares it, changing or deleting the definition takes it
-- exclusively. Advisory locks would not do: anybody who may connect can hold those.
create table flowc.definition_locks (flow_slug text not null primary key);

create table pgflow.flows (
  flow_slug        text        not null primary key,
  opt_max_attempts int         not null default 3,
  opt_base_delay   int         not null default 1,
  opt_timeout      int         not null default 60,
  created_at       timestamptz not null default now(),
  constraint slug_is_valid                   check (pgflow.is_valid_slug(flow_slug)),
  constraint opt_max_attempts_is_nonnegative check (opt_max_attempts >= 0),
  constraint opt_base_delay_is_nonnegative   check (opt_base_delay >= 0),
  constraint opt_timeout_is_positive         check (opt_timeout > 0)
);

create table pgflow.steps (
  flow_slug               text        not null,
  step_slug               text        not null,
  step_type               text        not null default 'single',
  step_index              int         not null default 0,
  deps_count              int         not null default 0,
  opt_max_attempts        int,
  opt_base_delay          int,
  opt_timeout             int,
  opt_start_delay         int,
  required_input_pattern  jsonb,
  forbidden_input_pattern jsonb,
  when_unmet              text        not null default 'skip',
  when_exhausted          text        not null default 'fail',
  created_at              timestamptz not null default now(),
  unique (flow_slug, step_index),
  foreign key (flow_slug) references pgflow.flows (flow_slug),
  check (pgflow.is_valid_slug(step_slug)),
  check (step_type in ('single', 'map')),
  check (deps_count >= 0),
  constraint opt_max_attempts_is_nonnegative   check (opt_max_attempts >= 0),
  constraint opt_base_delay_is_nonnegative     check (opt_base_delay >= 0),
  constraint opt_timeout_is_positive           check (opt_timeout > 0),
  constraint opt_start_delay_is_nonnegative    check (opt_start_delay >= 0),
  constraint required_input_pattern_is_object  check (jsonb_typeof(required_input_pattern) = 'object'),
  constraint forbidden_input_pattern_is_object check (jsonb_typeof(forbidden_input_pattern) = 'object'),
  constraint when_unmet_is_valid     check (when_unmet in ('fail', 'skip', 'skip-cascade')),
  constraint when_exhausted_is_valid check (when_exhausted in ('fail', 'skip', 'skip-cascade'))
);

alter table pgflow.steps add primary key (flow_slug, step_slug); -- the last one, as of pgflow.runs

create table pgflow.deps (
  flow_slug  text        not null references pgflow.flows (flow_slug),
  dep_slug   text        not null,
  step_slug  text        not null,
  created_at timestamptz not null default now(),
  primary key (flow_slug, dep_slug, step_slug),
  foreign key (flow_slug, dep_slug) references pgflow.steps (flow_slug, step_slug),
  foreign key (flow_slug, step_slug) references pgflow.steps (flow_slug, step_slug),
  check (dep_slug <> step_slug)
);
create index deps_step_idx on pgflow.deps (flow_slug, step_slug);

-- Runs ----------------------------------------------------------------------

create table pgflow.runs (
  run_id          uuid        not null default gen_random_uuid(),
  flow_slug       text        not null,
  status          text        not null default 'started',
  input           jsonb       not null,
  output          jsonb,
  remaining_steps int         not null default 0,
  started_at      timestamptz not null default now(),
  completed_at    timestamptz,
  failed_at       timestamptz,
  check (remaining_steps >= 0)
) with (
  fillfactor = 45, autovacuum_vacuum_threshold = 100000, autovacuum_vacuum_insert_threshold = 100000, autovacuum_analyze_threshold = 10000);
create index runs_newest_idx on pgflow.runs (flow_slug, started_at desc, run_id desc);
create index runs_failed_idx on pgflow.runs (failed_at) where failed_at is not null;
-- All indexes of an empty table cost the same, and the planner takes the newest: a plan made then,
-- and kept, is to look runs up by this key, and not to read another index from end to end.
alter table pgflow.runs add primary key (run_id);

create table pgflow.step_states (
  flow_slug       text        not null,
  run_id          uuid        not null,
  step_slug       text        not null,
  status          text        not null default 'created',
  remaining_tasks int,
  initial_tasks   int,
  remaining_deps  int         not null default 0,
  output          jsonb,
  error_message   text,
  skip_reason     text,
  created_at      timestamptz not null default now(),
  started_at      timestamptz,
  completed_at    timestamptz,
  failed_at       timestamptz,
  skipped_at      timestamptz,
  primary key (run_id, step_slug),
  constraint initial_tasks_known_when_started check (status <> 'started' or initial_tasks is not null),
  constraint output_only_for_completed_or_null check (output is null or status = 'completed'),
  constraint counts_are_nonnegative check (least(remaining_tasks, remaining_deps) >= 0)
) with (
  fillfactor = 45, autovacuum_vacuum_threshold = 100000, autovacuum_vacuum_insert_threshold = 100000, autovacuum_analyze_threshold = 10000);

-- A task and its message are one row; the last columns are the message. While it is in the
-- queue, it can be claimed from visible_at on, or it has been claimed and its lease ends
-- then. When it has left the queue, it is in the archive, unless it was deleted.
--
-- The queue has several parts, in which claims look. Subqueues 'h', 'r' and 'l' have ready
-- tasks of high, normal and low priority, in the order of message ids; 'd' has delayed ones
-- of any priority, which had to wait for their time, by due_at; 's' has suspects, see
-- flowc.suspects; 'g' has tasks of gated steps, ready ones, whose due_at is NULL, and delayed
-- ones: only flowc.claim_gated looks there. gate_key is NULL unless the step is gated.
-- priority is the subqueue in which the task is when it is ready. due_at is
-- what visible_at was before the task was claimed, so that claims change no index. No task
-- becomes ready again under the same message id, see flowc.watermarks: one whose priority
-- is changed becomes a delayed one that is due.
--
-- attempts_count - requeued_count is the number of attempts that count. claims_count is the
-- fence of reports: every claim increments it, and nothing else does.
create table pgflow.step_tasks (
  flow_slug              text        not null,
  run_id                 uuid        not null,
  step_slug              text        not null,
  message_id             bigint,
  task_index             int         not null default 0,
  status                 text        not null default 'queued',
  attempts_count         int         not null default 0,
  error_message          text,
  output                 jsonb,
  queued_at              timestamptz not null default now(),
  started_at             timestamptz,
  completed_at           timestamptz,
  failed_at              timestamptz,
  last_worker_id         uuid,
  requeued_count         int         not null default 0,
  last_requeued_at       timestamptz,
  permanently_stalled_at timestamptz,
  visible_at             timestamptz,
  archived_at            timestamptz,
  read_count             int         not null default 0,
  claims_count           int         not null default 0,
  in_queue               boolean     not null default false,
  subqueue            "char"      not null default 'r',
  priority            "char"      not null default 'r',
  due_at                 timestamptz,
  gate_key               text,
  primary key (run_id, step_slug, task_index)
) with (
  fillfactor = 30, autovacuum_vacuum_threshold = 100000, autovacuum_vacuum_insert_threshold = 100000, autovacuum_analyze_threshold = 10000);
-- A statement that uses another key says `in_queue is not false`: otherwise, a plan made
-- while the queue was small might read this index from end to end.
-- A statement that looks for a message looks it up in one subqueue after the other: given
-- several, the planner may read the whole queue.
create index step_tasks_queue_idx on pgflow.step_tasks (flow_slug, subqueue, message_id) where in_queue;
create index step_tasks_delayed_idx on pgflow.step_tasks (flow_slug, priority, due_at) where in_queue and subqueue = 'd';
create index step_tasks_gated_idx on pgflow.step_tasks (flow_slug, step_slug, gate_key, priority, due_at, message_id) where in_queue and subqueue = 'g';

create type pgflow.step_task_record as (
  flow_slug  text,
  run_id     uuid,
  step_slug  text,
  input      jsonb,
  msg_id     bigint,
  task_index int,
  flow_input jsonb
);

-- What a claim returns, see flowc.claim.
create type flowc.claimed_task as (
  flow_slug    text,
  run_id       uuid,
  step_slug    text,
  task_index   int,
  message_id   bigint,
  claim_number int,
  attempt      int,
  max_attempts int,
  base_delay   int,
  timeout      int,
  queued_at    timestamptz,
  input        jsonb,
  run_input    jsonb,
  array_from   text,
  headers      jsonb,
  waited       double precision,
  tick         timestamptz,
  isolated_for double precision,
  kept         jsonb
);

-- A run in a list, see flowc.list_runs.
create type flowc.run_summary as (
  run_id          uuid,
  flow_slug       text,
  status          text,
  steps           int,
  remaining_steps int,
  skipped         int,
  gave_up         int,
  started_at      timestamptz,
  ended_at        timestamptz,
  scheduled_at    timestamptz,
  tick            timestamptz,
  failed_step     text,
  failed_index    int,
  error_message   text,
  priority        text -- NULL if it is normal
);

-- Workers -------------------------------------------------------------------

-- A worker of this project has one row for all its flows, with the queue name '*'.
create table pgflow.workers (
  worker_id         uuid        not null primary key,
  queue_name        text        not null,
  function_name     text        not null,
  started_at        timestamptz not null default now(),
  deprecated_at     timestamptz,
  stopped_at        timestamptz,
  last_heartbeat_at timestamptz not null default now()
) with (fillfactor = 50, autovacuum_vacuum_threshold = 1000, autovacuum_analyze_threshold = 10000);

create table pgflow.worker_functions (
  function_name   text        not null primary key,
  enabled         boolean     not null default true,
  debounce        interval    not null default interval '6 seconds' check (debounce >= interval '1 second'),
  last_invoked_at timestamptz,
  created_at      timestamptz not null default now(),
  updated_at      timestamptz not null default now()
);

-- The queue -----------------------------------------------------------------

create type pgmq.message_record as (
  msg_id      bigint,
  read_ct     int,
  enqueued_at timestamptz,
  vt          timestamptz,
  message     jsonb,
  headers     jsonb
);

create type pgmq.queue_record as (
  queue_name     text,
  is_partitioned boolean,
  is_unlogged    boolean,
  created_at     timestamptz
);

create table pgmq.meta (
  queue_name     text        not null primary key,
  is_partitioned boolean     not null default false,
  is_unlogged    boolean     not null default false,
  created_at     timestamptz not null default now()
);
-- View names fold case, so the names of queues must, too.
create unique index meta_folded_idx on pgmq.meta (lower(queue_name));

-- One sequence for all queues: an id is never used twice, not even after a queue was
-- dropped and created again.
create sequence flowc.message_ids;

-- Messages that belong to no task: other languages may send to a queue what they like.
-- flowc.queue and flowc.archive show them together with the messages of tasks.
create table flowc.messages (
  msg_id      bigint      not null default nextval('flowc.message_ids'),
  enqueued_at timestamptz not null default now(),
  vt          timestamptz not null,
  read_ct     int         not null default 0,
  queue_name  text        not null,
  message     jsonb,
  headers     jsonb,
  primary key (queue_name, msg_id)
);
create table flowc.archived_messages (
  msg_id      bigint      not null,
  enqueued_at timestamptz not null,
  vt          timestamptz not null,
  archived_at timestamptz not null default now(),
  read_ct     int         not null,
  queue_name  text        not null,
  message     jsonb,
  headers     jsonb,
  primary key (queue_name, msg_id)
);

-- Side tables ---------------------------------------------------------------

-- Runs that wait for their time to start. Their steps are all still created. turn_key is not
-- NULL if the run waits in line, since its flow limits how many are in progress, see limits.sql.
create table flowc.scheduled_runs (
  run_id    uuid        not null primary key,
  flow_slug text        not null,
  due_at    timestamptz not null check (isfinite(due_at)), -- workers compute the time until then
  turn_key  text
);
create index scheduled_runs_due_idx on flowc.scheduled_runs (flow_slug, due_at) where turn_key is null;
create index scheduled_runs_turn_idx on flowc.scheduled_runs (flow_slug, turn_key, due_at, run_id) where turn_key is not null;

-- Runs in progress of flows that limit how many there are, see limits.sql. The row goes when
-- the run ends.
create table flowc.limited_runs (
  run_id    uuid not null primary key,
  flow_slug text not null,
  key       text not null
) with (autovacuum_vacuum_threshold = 1000, autovacuum_analyze_threshold = 10000);
create index limited_runs_flow_idx on flowc.limited_runs (flow_slug);

-- What runs were started with besides their input, such as a trace context.
create table flowc.run_headers (
  run_id  uuid  not null primary key,
  headers jsonb not null
);

-- Schedules of flows. next_at is when the next run is started, NULL while the schedule is
-- paused. computed_at is when next_at was computed: a time in the future means that the
-- clock has been set back since. suspended_by is NULL unless another shard starts the runs:
-- then the shard that had the schedule last has the highest, and 0 is one that never had it.
create table flowc.schedules (
  flow_slug     text        not null primary key references pgflow.flows (flow_slug) on delete cascade,
  cron          text        not null,
  created_at    timestamptz not null default clock_timestamp(),
  computed_at   timestamptz not null default clock_timestamp(),
  next_at       timestamptz,
  paused_at     timestamptz,
  pause_reason  text,
  last_at       timestamptz,
  last_run_id   uuid,
  error_message text,
  suspended_by  int,
  constraint paused_or_armed check ((paused_at is null) = (next_at is not null))
) with (fillfactor = 50);

-- Runs that were started by a schedule, and the tick of each.
create table flowc.ticks (
  run_id  uuid        not null primary key,
  tick_at timestamptz not null
);

-- A parsed cron expression, see flowc.parse_cron.
create type flowc.cron as (
  zone     text,
  every    interval,
  minutes  int[],
  hours    int[],
  days     int[],
  months   int[],
  weekdays int[],
  any_day  boolean, -- a day has to be one of days or one of weekdays, not both
  follows  boolean  -- the hours follow the clock where it is set forward or back
);

-- Runs that were cancelled; to the contract they failed.
create table flowc.cancelled_runs (
  run_id       uuid        not null primary key,
  cancelled_at timestamptz not null default now(),
  reason       text
);

-- Failed attempts, for the history of a task, which itself has only the last one.
create table flowc.failed_attempts (
  run_id        uuid        not null,
  step_slug     text        not null,
  task_index    int         not null,
  attempt       int         not null,
  worker_id     uuid,
  started_at    timestamptz,
  failed_at     timestamptz not null default clock_timestamp(),
  error_message text,
  primary key (run_id, step_slug, task_index, failed_at)
);

-- Tasks that a worker had in flight when it died, one of which may have killed it. Only
-- workers with nothing else in flight claim them, at most group_size of them at a time,
-- and each crash halves that: so the culprit is found, and only a crash while a task was
-- alone counts against it (isolated_crashes). total_crashes includes those in a group.
-- The row goes when the task's attempt ends.
create table flowc.suspects (
  run_id           uuid not null,
  step_slug        text not null,
  task_index       int  not null,
  group_size       int  not null,
  isolated_crashes int  not null,
  total_crashes    int  not null default 1,
  primary key (run_id, step_slug, task_index)
);

-- The flows that each worker of this project serves.
create table flowc.worker_flows (
  worker_id uuid not null,
  flow_slug text not null,
  primary key (worker_id, flow_slug)
);
create index worker_flows_flow_idx on flowc.worker_flows (flow_slug);

-- Paused flows, whose tasks are not claimed.
create table flowc.paused_flows (
  flow_slug text        not null primary key,
  paused_at timestamptz not null default clock_timestamp(),
  paused_by text
);

-- What definitions say besides steps and options: of which outputs the result of a run is
-- composed, and how the values are written in JSON. NULL if a definition does not say.
create table flowc.flow_metadata (
  flow_slug text  not null primary key references pgflow.flows (flow_slug) on delete cascade,
  result    jsonb,
  forms     jsonb
);

-- What definitions say that the contract does not know: of a step its kind, 'wait' if it
-- waits for an answer, and its settings; step '' is the flow. Most flows have no row.
create table flowc.settings (
  flow_slug text  not null references pgflow.flows (flow_slug) on delete cascade,
  step_slug text  not null,
  kind      text  check (kind = 'wait'),
  settings  jsonb not null,
  primary key (flow_slug, step_slug)
);

-- Steps that wait for an answer, until due_at, which may be infinity; with step '', runs
-- that have a deadline. The task of such a step is started, and has no message. unchecked_at
-- is since when a wait with a key has been looked at by nobody, see keys.sql. Who looks in a
-- flow for waits that are unchecked, or below for answers that are pending, compares the time
-- as the index does; who looks in a run does not, so that only the primary key serves.
create table flowc.waits (
  run_id       uuid        not null,
  step_slug    text        not null,
  flow_slug    text        not null,
  since_at     timestamptz not null default clock_timestamp(),
  due_at       timestamptz not null,
  key          text,
  unchecked_at timestamptz,
  primary key (run_id, step_slug)
);
create index waits_due_idx on flowc.waits (flow_slug, due_at, run_id, step_slug);
create index waits_key_idx on flowc.waits (flow_slug, step_slug, key) where key is not null;
create index waits_unchecked_idx on flowc.waits (flow_slug, unchecked_at) where unchecked_at > '-infinity';

-- Answers to steps that wait, or will: an output, or an error that fails the step. The
-- first one counts. A pending one, since pending_at, is to be delivered; one that came early
-- is not pending until its step waits. What was delivered stays, without its payload, until the run is
-- deleted or asks again. Callers insert rows that are not keyed, and may take long to
-- commit; rows that are keyed are those of answers by key, and are delivered at once.
-- asked_at tells which asking a caller's row answers: it is when the step had started, or
-- was created if the answer came early. bytes is how long the payload is: one that is long
-- is delivered by itself. A row that is expired is no answer: it keeps the
-- place, so that there is none after the wait has ended.
create table flowc.signals (
  run_id       uuid        not null,
  step_slug    text        not null,
  keyed        boolean     not null default false,
  flow_slug    text        not null,
  payload      jsonb,
  bytes        int         not null default 0,
  error        text,
  sender       text,
  asked_at     timestamptz,
  sent_at      timestamptz not null default clock_timestamp(),
  pending_at   timestamptz          default clock_timestamp(),
  delivered_at timestamptz,
  expired      boolean     not null default false,
  primary key (run_id, step_slug, keyed)
);
create index signals_pending_idx on flowc.signals (flow_slug, pending_at) where pending_at > '-infinity';

-- Answers by key. A pending one, since pending_at, goes to every run that waits with the key;
-- if there is none, it is kept, no longer pending, for the next one.
create table flowc.keyed_signals (
  id         bigint      not null generated always as identity primary key,
  flow_slug  text        not null,
  step_slug  text        not null,
  key        text        not null,
  payload    jsonb       not null,
  bytes      int         not null default 0,
  sender     text,
  sent_at    timestamptz not null default clock_timestamp(),
  expires_at timestamptz not null,
  pending_at timestamptz          default clock_timestamp()
);
create index keyed_signals_key_idx on flowc.keyed_signals (flow_slug, step_slug, key, id);
create index keyed_signals_pending_idx on flowc.keyed_signals (flow_slug, pending_at) where pending_at > '-infinity';
create index keyed_signals_expiry_idx on flowc.keyed_signals (flow_slug, expires_at);

-- Which run holds a key, for flows of which one run is started for the same values in its
-- input, see uniques.sql. flow_slug is without version. until_at is until when, if it is not
-- for as long as the run has not ended; of a flow with debounce, when the run is due at the
-- latest. The row goes with the run.
create table flowc.uniques (
  flow_slug text        not null,
  key       bytea       not null,
  run_id    uuid        not null,
  until_at  timestamptz,
  primary key (flow_slug, key)
);
create index uniques_run_idx on flowc.uniques (run_id);

-- What is to be done with runs, in the order of the ids: it was asked for in a caller's
-- transaction, which locks no run, or while somebody else had locked the run. error is why
-- a request could not be done; it is not tried again. turn_key is not NULL if it is a retry
-- that waits in line, see limits.sql.
create table flowc.requests (
  id           bigint      not null generated always as identity primary key,
  run_id       uuid        not null,
  flow_slug    text        not null,
  action       text        not null check (action in ('cancel', 'retry', 'retry_step', 'run_now', 'set_priority')),
  argument     text, -- the reason to cancel, the step, or the priority
  requested_at timestamptz not null default clock_timestamp(),
  error        text,
  turn_key     text
);
create index requests_flow_idx on flowc.requests (flow_slug, id) where error is null and turn_key is null;
create index requests_turn_idx on flowc.requests (flow_slug, turn_key, requested_at, id) where error is null and turn_key is not null;
create index requests_run_idx on flowc.requests (run_id, id);

-- What tasks carry from one attempt to the next: the value that their handler kept, and how
-- often they were snoozed since when. The row goes when the task completes.
create table flowc.carried (
  run_id        uuid not null,
  step_slug     text not null,
  task_index    int  not null,
  value         jsonb,
  snoozes       int  not null default 0,
  snoozed_since timestamptz,
  note          text,
  primary key (run_id, step_slug, task_index)
) with (fillfactor = 50);

-- The priorities of runs that were given one, which is that of their tasks unless a step has
-- its own.
create table flowc.priorities (
  run_id   uuid   not null primary key,
  priority "char" not null check (priority in ('h', 'r', 'l'))
);

-- Flows that have, or had, a task whose priority is not normal: only of these do claims look
-- for others. A flow may have several rows: two transactions that enqueue the first such
-- tasks do not wait for each other.
create table flowc.prioritized_flows (flow_slug text not null);
create index prioritized_flows_idx on flowc.prioritized_flows (flow_slug);

-- Gates: how many tasks may be in flight at once (concurrency), and how many attempts may
-- begin: rate_tokens every rate_seconds, and at most rate_burst at once; NULL is no limit.
-- Keys have limits of their own. declared is what definitions say, as settings do; the
-- limits differ from it while they are overridden. A step's own gate is named flow.step, that
-- of a flow's runs flow.run.
create table flowc.gates (
  name         text    not null primary key,
  concurrency  int,
  rate_tokens  int,
  rate_seconds int,
  rate_burst   int,
  declared     jsonb   not null,
  overridden   boolean not null default false,
  held_until   timestamptz -- no attempt begins before
);

-- The steps that have gates, from their settings; step '' is the flow's runs. key_path leads
-- to the key of a task.
-- With strict_order, a task keeps its place between two attempts.
create table flowc.gated_steps (
  flow_slug    text    not null references pgflow.flows (flow_slug) on delete cascade,
  step_slug    text    not null,
  gate         text    not null,
  key_path     text[],
  strict_order boolean not null,
  primary key (flow_slug, step_slug)
);
create index gated_steps_gate_idx on flowc.gated_steps (gate);

-- The keys of gates, as long as tasks have them. The lock of a row belongs to a claim, and
-- protects the turns with that key, too; nobody else writes to either, see gates.sql.
-- tokens were there at refilled_at; NULL is as many as there can be.
create table flowc.gate_keys (
  gate        text             not null,
  key         text             not null,
  in_flight   int              not null default 0,
  tokens      double precision,
  refilled_at timestamptz,
  held_until  timestamptz,
  primary key (gate, key)
) with (fillfactor = 50, autovacuum_vacuum_threshold = 1000, autovacuum_analyze_threshold = 10000);

-- When a claim of a gated step looks at a key next: the first in the order of due_at has its
-- turn. waiting says whether tasks waited when it was last looked at.
create table flowc.turns (
  flow_slug text        not null,
  step_slug text        not null,
  key       text        not null,
  due_at    timestamptz not null,
  waiting   boolean     not null default false
) with (fillfactor = 50, autovacuum_vacuum_threshold = 1000, autovacuum_analyze_threshold = 10000);
create index turns_due_idx on flowc.turns (flow_slug, step_slug, due_at);
alter table flowc.turns add primary key (flow_slug, step_slug, key); -- the last one, as of pgflow.runs

-- What claims have to look at again: tasks with a key arrived, so many of them are no longer
-- in flight, or attempts must not begin before hold_until. Others only insert rows, so that
-- nobody waits for a claim, and no claim for them.
create table flowc.gate_changes (
  gate       text        not null,
  changed_at timestamptz not null default clock_timestamp(),
  flow_slug  text        not null,
  step_slug  text        not null,
  key        text        not null,
  departed   int         not null default 0,
  hold_until timestamptz
) with (autovacuum_vacuum_threshold = 1000, autovacuum_analyze_threshold = 10000);
create index gate_changes_idx on flowc.gate_changes (gate, changed_at);

-- The tasks of gated steps that workers have in flight, whatever has become of the tasks
-- since: a row goes when the worker has reported or returned the task, or is dead. So many
-- rows with a gate and key as there are, in_flight counts.
create table flowc.held (
  worker_id    uuid        not null,
  message_id   bigint      not null,
  claim_number int         not null,
  gate         text        not null,
  key          text        not null,
  flow_slug    text        not null,
  step_slug    text        not null,
  claimed_at   timestamptz not null,
  primary key (worker_id, message_id, claim_number)
) with (autovacuum_vacuum_threshold = 1000, autovacuum_analyze_threshold = 10000);

-- Where claims begin to search: a subqueue of a flow has no ready task below message_id, and
-- never will. Otherwise, a claim would pass over everything that left the queue since the
-- last vacuum, or since the oldest open snapshot. next_id replaces message_id once all
-- transactions before next_xid that took message ids have ended, see
-- flowc.advance_watermarks.
create table flowc.watermarks (
  flow_slug  text   not null,
  subqueue   "char" not null,
  message_id bigint not null default 0,
  next_id    bigint not null,
  next_xid   xid8   not null,
  primary key (flow_slug, subqueue)
) with (fillfactor = 50, autovacuum_vacuum_threshold = 1000, autovacuum_analyze_threshold = 10000);

-- Workers that wait to be woken, by flow. Notifications are sent only for these.
create unlogged table flowc.idle_workers (
  flow_slug text not null,
  worker_id uuid not null,
  primary key (flow_slug, worker_id)
) with (autovacuum_vacuum_threshold = 1000, autovacuum_analyze_threshold = 10000);

-- Leases that have ended, or soon will, and that their workers keep all the same, because
-- the results wait to be reported: they last as long as the worker is alive. This is not a
-- column of the task, since the row is locked by the very report that takes long.
create unlogged table flowc.extended_leases (
  worker_id   uuid     not null primary key,
  message_ids bigint[] not null
) with (autovacuum_vacuum_threshold = 1000, autovacuum_analyze_threshold = 10000);

-- Runs whose end somebody waits for. Only their ends are notified.
create unlogged table flowc.run_waiters (
  run_id   uuid        not null primary key,
  since_at timestamptz not null default now()
) with (autovacuum_vacuum_threshold = 1000, autovacuum_analyze_threshold = 10000);
