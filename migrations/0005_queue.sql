-- The queue. Finished jobs leave the hot table for the archive; dead letters have a table of their own.

-- What each kind of job is, as the program declares it: written by `safelight migrate`, so that SQL callers need only name
-- the kind, and the claim knows limits. A kind that is not in here is still a job; nothing is enforced for it.
create table safelight.job_kinds (
    kind text primary key,
    queue text not null,
    provider text,                                -- whom its attempts ask
    effect text not null check (effect in ('reconcile', 'repeatable', 'until_verified')),
    version smallint not null,
    max_attempts integer not null check (max_attempts > 0),
    timeout_seconds integer not null check (timeout_seconds > 0),       -- of one attempt
    deadline_seconds integer check (deadline_seconds > 0),              -- of the whole job, from its creation
    lane_most smallint check (lane_most > 0),     -- how many of one lane run at once
    keep_days smallint not null check (keep_days > 0)                   -- in the archive
);

create table safelight.jobs (
    id uuid primary key,
    queue text not null,
    kind text not null,
    version smallint not null default 1,
    payload jsonb not null,                       -- ids only
    tenant text,
    subject_id uuid,
    order_id uuid,
    key text,
    lane text,                                    -- jobs of one lane run one after the other
    priority smallint not null default 0,         -- lower runs first: a step is worth a minute of waiting
    -- 0 ready, 1 running, 2 held by a person, 3 scheduled for later, 4 set aside until there is room
    state smallint not null default 0,
    run_at timestamptz not null,
    -- The order among ready jobs: due time plus priority in minutes. So priorities age by themselves: whoever waits long
    -- enough is first, however many more urgent ones come.
    rank timestamptz not null,
    attempt integer not null default 0,           -- attempts spent
    max_attempts integer not null,
    crashes smallint not null default 0,
    waits integer not null default 0,
    lease_token uuid,                             -- the fencing token of the running attempt
    lease_until timestamptz,
    started_at timestamptz,
    worker text,
    why text,                                     -- code: what it waits for, or why it is held
    traceparent text,
    created_at timestamptz not null,
    deadline_at timestamptz,                      -- not tried again after this
    keep_days smallint not null default 21,
    -- One constraint, because each costs every statement. A running job has a lease, and no other has; what is set aside says
    -- for what it waits.
    constraint a_state_has_what_it_needs check (state between 0 and 4 and max_attempts > 0
        and (state = 1) = (lease_token is not null and lease_until is not null) and (state <> 4 or why is not null))
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
        autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 20000, autovacuum_vacuum_cost_delay = 0);
create index jobs_ready on safelight.jobs (queue, (coalesce(tenant, '')), rank, id) where state = 0;
create index jobs_scheduled on safelight.jobs (queue, run_at) where state = 3;
create index jobs_aside on safelight.jobs (why, queue, rank, id) where state = 4;
-- Not by `lease_until`: a heartbeat then changes no indexed column. By a time that grows, so that each claim appends; what
-- runs is never many.
create index jobs_running on safelight.jobs (started_at) where state = 1;
create index jobs_by_subject on safelight.jobs (subject_id) where subject_id is not null;
create index jobs_by_order on safelight.jobs (order_id) where order_id is not null;

-- One wish, one job: a key outlives its job until `expires_at`.
create table safelight.job_keys (
    key text primary key,
    job_id uuid not null,
    payload_sha256 bytea not null,
    subject_id uuid,
    expires_at timestamptz
);
create index job_keys_by_end on safelight.job_keys (expires_at) where expires_at is not null;
create index job_keys_by_subject on safelight.job_keys (subject_id) where subject_id is not null;

-- Answers of steps that already ran, so that a later attempt does not repeat them. They go with their job, by the statement
-- that ends it: a foreign key would ask for each finished job on its own.
create table safelight.job_steps (
    job_id uuid not null,
    name text not null,
    answer jsonb not null,
    at timestamptz not null default clock_timestamp(),
    primary key (job_id, name)
);

-- Every attempt that did not simply succeed: the timeline of a job. Codes only, no free text.
create table safelight.job_attempts (
    job_id uuid not null,
    subject_id uuid,
    at timestamptz not null default clock_timestamp(),
    attempt integer not null,
    verdict text not null check (verdict in ('retry', 'wait', 'gave_up', 'crashed', 'released', 'cancelled')),
    code text not null,
    worker text
);
create index job_attempts_by_job on safelight.job_attempts (job_id, at);
create index job_attempts_by_subject on safelight.job_attempts (subject_id) where subject_id is not null;
create index job_attempts_by_time on safelight.job_attempts using brin (at);

-- Finished jobs, in weekly partitions by the day from which they may go: a kind's `keep_days` is kept by dropping whole
-- partitions. What finds no partition of its own lies in the default one and is deleted row by row.
create table safelight.jobs_archive (
    id uuid not null,
    queue text not null,
    kind text not null,
    version smallint not null,
    payload jsonb not null,
    tenant text,
    subject_id uuid,
    order_id uuid,
    key text,
    attempt integer not null,
    waits integer not null,
    outcome text not null check (outcome in ('done', 'cancelled')),
    code text,
    run_at timestamptz not null,
    created_at timestamptz not null,
    started_at timestamptz,
    finished_at timestamptz not null,
    prune_on date not null
) partition by range (prune_on);
create table safelight.jobs_archive_rest partition of safelight.jobs_archive default;
create index jobs_archive_by_id on safelight.jobs_archive (id);
create index jobs_archive_by_order on safelight.jobs_archive (order_id) where order_id is not null;
create index jobs_archive_by_subject on safelight.jobs_archive (subject_id) where subject_id is not null;
create index jobs_archive_by_time on safelight.jobs_archive using brin (finished_at);

create table safelight.dead_letters (
    id uuid primary key,
    queue text not null,
    kind text not null,
    version smallint not null,
    payload jsonb not null,
    tenant text,
    subject_id uuid,
    order_id uuid,
    key text,
    lane text,
    priority smallint not null,
    attempt integer not null,
    max_attempts integer not null,
    crashes smallint not null,
    waits integer not null,
    code text not null,
    traceparent text,
    created_at timestamptz not null,
    died_at timestamptz not null default safelight.now(),
    keep_days smallint not null default 21
);
create index dead_letters_by_subject on safelight.dead_letters (subject_id) where subject_id is not null;
create index dead_letters_by_time on safelight.dead_letters (died_at);

create table safelight.workers (
    name text primary key,                        -- new for every process start
    host text not null,
    pid integer not null,
    queues text[] not null,
    version text not null,
    started_at timestamptz not null default clock_timestamp(),
    seen_at timestamptz not null default clock_timestamp()
);
