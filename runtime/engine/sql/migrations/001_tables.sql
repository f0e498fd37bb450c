-- The tables of the engine.
--
-- pgflow and pgmq are the contract: other languages' clients and workers read
-- and write them. flowc is ours: side tables that hold rows only for what is
-- unusual.
--
-- No index stands on a column that a transition changes, not even in a
-- predicate, so that every update can be HOT; the fill factors leave the room
-- for it. The one exception is that a task leaves the queue, once. There are no
-- foreign keys on rows written per run or task. Of checks there are few: PostgreSQL
-- reads each from its text in every statement that writes to the table, for 5 µs. What
-- is counted twice must show, and other languages' tests look two up. None compares
-- times: a server clock that jumps back must not make a finished task impossible to
-- report.
--
-- When a table is vacuumed or analyzed, every connection has to make its plans for
-- it anew, which takes the next calls some milliseconds. So that is not done for every
-- few rows; plans do not depend on statistics. What a hundred thousand tasks leave
-- behind is some 100 MB, and in nobody's way (see flowc.watermarks).

-- Who owns a schema may put functions of their own in the place of the engine's.
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

-- What is installed: one row, and one for each migration.
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

-- Roles that were given rights, which migrations renew.
create table flowc.granted_roles (
  role_name text not null,
  kind      text not null check (kind in ('starter', 'worker', 'viewer', 'operator')),
  primary key (role_name, kind)
);

-- Only letters, digits and underscores; not the key of the run's input.
create function pgflow.is_valid_slug(slug text) returns boolean
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(slug ~ '^[a-zA-Z_][a-zA-Z0-9_]*$' and length(slug) <= 128 and slug <> 'run', false)
$$;

-- Definitions ---------------------------------------------------------------

-- A row for each slug that was ever defined. Its lock stands for the foreign key that
-- runs do not have: starting a run shares it, changing or deleting the definition takes
-- it alone. No advisory lock: anybody who may connect could hold that.
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
  primary key (flow_slug, step_slug),
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
  run_id          uuid        not null default gen_random_uuid() primary key,
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

-- A task and its message are one row. The last columns are the message: while it is
-- in the queue, it can be claimed from visible_at on, or was, and its lease ends then;
-- when it has left the queue, it is in the archive, unless it was deleted.
--
-- subqueue is how claims find it: 'r', ready, in the order of message ids; 'd',
-- delayed, by due_at, once it had to wait for its time, which is visible_at as it was
-- before the task was claimed: so claims change no index; 's', a suspect, see
-- flowc.suspects. No task becomes ready again under the same message id, see
-- flowc.watermarks.
--
-- attempts_count - requeued_count are the attempts that count. claims_count is the
-- fence of reports: it grows with every claim, and with nothing else.
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
  due_at                 timestamptz,
  primary key (run_id, step_slug, task_index)
) with (
  fillfactor = 30, autovacuum_vacuum_threshold = 100000, autovacuum_vacuum_insert_threshold = 100000, autovacuum_analyze_threshold = 10000);
-- A statement that has another key says `in_queue is not false`: otherwise a plan made
-- while the queue was small might read this index from end to end.
-- One that looks for a message has to look for it in each class, one after the other:
-- of several classes, the planner may read all that are in the queue.
create index step_tasks_queue_idx on pgflow.step_tasks (flow_slug, subqueue, message_id) where in_queue;
create index step_tasks_delayed_idx on pgflow.step_tasks (flow_slug, due_at) where in_queue and subqueue = 'd';

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
  scheduled_at timestamptz,
  isolated_for double precision
);

-- Workers -------------------------------------------------------------------

-- A worker of this project has one row for all its flows, with the queue '*'.
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
-- The names of the views fold case, so the names of the queues must too.
create unique index meta_folded_idx on pgmq.meta (lower(queue_name));

-- One sequence for all queues: an id is never used twice, not even after a
-- queue was dropped and made again.
create sequence flowc.message_ids;

-- Messages that are no tasks': other languages may send what they like to a queue.
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

-- Runs that wait for their time. Their steps are all still created.
create table flowc.scheduled_runs (
  run_id    uuid        not null primary key,
  flow_slug text        not null,
  due_at    timestamptz not null check (isfinite(due_at)) -- workers subtract the present from it
);
create index scheduled_runs_due_idx on flowc.scheduled_runs (flow_slug, due_at);

-- What runs were started with besides their input, as the context of a trace.
create table flowc.run_headers (
  run_id  uuid  not null primary key,
  headers jsonb not null
);

-- Flows that the clock starts. next_at is when the next run is started, NULL
-- while the schedule is paused. computed_at is when next_at was computed: later
-- than now means that the clock has been set back since.
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
  constraint paused_or_armed check ((paused_at is null) = (next_at is not null))
) with (fillfactor = 50);

-- Runs that schedules started, and for which of their times.
create table flowc.ticks (
  run_id  uuid        not null primary key,
  tick_at timestamptz not null
);

-- A cron expression, read: see flowc.parse_cron.
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

-- Tries that failed, for the timeline. The last try is on the task itself too.
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

-- Which flows the workers of this project serve.
create table flowc.worker_flows (
  worker_id uuid not null,
  flow_slug text not null,
  primary key (worker_id, flow_slug)
);
create index worker_flows_flow_idx on flowc.worker_flows (flow_slug);

-- Flows whose tasks are handed to nobody for the time being.
create table flowc.paused_flows (
  flow_slug text        not null primary key,
  paused_at timestamptz not null default clock_timestamp(),
  paused_by text
);

-- What definitions say of flows besides their steps: which outputs the result of a
-- run is made of, and how the values that travel are written in JSON. NULL is not told.
create table flowc.flow_metadata (
  flow_slug text  not null primary key references pgflow.flows (flow_slug) on delete cascade,
  result    jsonb,
  forms     jsonb
);

-- Where claims begin to look: the queue of a flow has no ready task below message_id,
-- and will never have one. Without that a claim passes over everything that left the
-- queue since the last vacuum, or since the oldest snapshot that is open. next_id takes
-- its place when all transactions before next_xid that took message ids have ended, see
-- flowc.advance_watermarks.
create table flowc.watermarks (
  flow_slug  text   not null primary key,
  message_id bigint not null default 0,
  next_id    bigint not null,
  next_xid   xid8   not null
) with (fillfactor = 50, autovacuum_vacuum_threshold = 1000, autovacuum_analyze_threshold = 10000);

-- Workers that wait to be woken, by flow; writers notify only for these.
create unlogged table flowc.idle_workers (
  flow_slug text not null,
  worker_id uuid not null,
  primary key (flow_slug, worker_id)
) with (autovacuum_vacuum_threshold = 1000, autovacuum_analyze_threshold = 10000);

-- Tasks whose leases are over, or soon will be, and which their workers hold all the
-- same, since their results wait to be reported; it is true as long as the worker lives.
-- Their own rows would be locked by the very report that takes long.
create unlogged table flowc.extended_leases (
  worker_id   uuid     not null primary key,
  message_ids bigint[] not null
) with (autovacuum_vacuum_threshold = 1000, autovacuum_analyze_threshold = 10000);

-- Runs whose end somebody waits for; only these are announced.
create unlogged table flowc.run_waiters (
  run_id   uuid        not null primary key,
  since_at timestamptz not null default now()
) with (autovacuum_vacuum_threshold = 1000, autovacuum_analyze_threshold = 10000);
