-- The queue. Finished jobs leave the hot table for the archive; dead letters have a table of their own.

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
    priority smallint not null default 0,         -- lower runs first
    state smallint not null default 0 check (state in (0, 1, 2)),   -- 0 ready, 1 running, 2 held
    run_at timestamptz not null,
    attempt integer not null default 0,           -- attempts spent
    max_attempts integer not null check (max_attempts > 0),
    crashes smallint not null default 0,
    waits integer not null default 0,
    lease_token uuid,                             -- the fencing token of the running attempt
    lease_until timestamptz,
    started_at timestamptz,
    worker text,
    why text,                                     -- code: what it waits for, or why it is held
    traceparent text,
    created_at timestamptz not null,
    constraint a_running_job_has_a_lease check ((state = 1) = (lease_token is not null and lease_until is not null))
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
        autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 20000, autovacuum_vacuum_cost_delay = 0);
create index jobs_ready on safelight.jobs (queue, priority, run_at, id) where state = 0;
create index jobs_leased on safelight.jobs (lease_until) where state = 1;
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
create index job_keys_by_job on safelight.job_keys (job_id);

-- Answers of steps that already ran, so that a later attempt does not repeat them.
create table safelight.job_steps (
    job_id uuid not null references safelight.jobs on delete cascade,
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
    finished_at timestamptz not null
);
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
    priority smallint not null,
    attempt integer not null,
    max_attempts integer not null,
    crashes smallint not null,
    waits integer not null,
    code text not null,
    traceparent text,
    created_at timestamptz not null,
    died_at timestamptz not null default safelight.now()
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

-- Enqueue in the caller's transaction, from any language. The same key and payload: the same job id and `already`.
-- The same key with another payload: `conflict`, no id, and nothing stored; an error would end the caller's transaction
-- although a double wish is no fault of its other work. Rings no bell: a bell in the enqueuing transaction would serialise
-- all commits; workers poll, and Safelight's own processes ring after the commit.
create function safelight.enqueue(
    p_kind text,
    p_payload jsonb,
    p_queue text,
    p_key text default null,
    p_run_at timestamptz default null,
    p_priority smallint default 0,
    p_max_attempts integer default 5,
    p_version smallint default 1,
    p_tenant text default null,
    p_subject uuid default null,
    p_order uuid default null,
    p_traceparent text default null,
    p_id uuid default null,
    out job_id uuid,
    out already boolean,
    out conflict boolean
) language plpgsql volatile
as $$
declare
    v_now timestamptz := safelight.now();
    v_hash bytea;
    v_known record;
begin
    job_id := coalesce(p_id, gen_random_uuid());
    already := false;
    conflict := false;
    if p_order is not null and p_subject is null then
        select o.tenant, o.subject_id into p_tenant, p_subject from safelight.orders o where o.id = p_order;
    elsif p_subject is not null and p_tenant is null then
        select s.tenant into p_tenant from safelight.subjects s where s.id = p_subject;
    end if;
    if p_key is not null then
        v_hash := sha256(convert_to(p_payload::text, 'UTF8'));
        loop
            insert into safelight.job_keys (key, job_id, payload_sha256, subject_id)
                values (p_key, job_id, v_hash, p_subject) on conflict (key) do nothing;
            exit when found;
            select k.job_id, k.payload_sha256, k.expires_at into v_known
                from safelight.job_keys k where k.key = p_key for update;
            continue when not found;
            if v_known.expires_at is not null and v_known.expires_at <= v_now then
                delete from safelight.job_keys k where k.key = p_key;
                continue;
            end if;
            if v_known.payload_sha256 <> v_hash then
                job_id := null;
                conflict := true;
                return;
            end if;
            job_id := v_known.job_id;
            already := true;
            return;
        end loop;
    end if;
    insert into safelight.jobs (id, queue, kind, version, payload, tenant, subject_id, order_id, key, priority,
            run_at, max_attempts, traceparent, created_at)
        values (job_id, p_queue, p_kind, p_version, p_payload, p_tenant, p_subject, p_order, p_key, p_priority,
            coalesce(p_run_at, v_now), p_max_attempts, p_traceparent, v_now);
end $$;

-- Does this attempt still hold its lease? Locks the row in share mode, so a rescue or a cancel waits for the
-- transaction that asks. Answers false for a zombie, which must then write nothing.
create function safelight.holds_lease(p_job uuid, p_token uuid) returns boolean
language plpgsql volatile
as $$
begin
    perform from safelight.jobs where id = p_job and lease_token = p_token for share;
    return found;
end $$;
