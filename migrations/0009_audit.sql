-- Audit: written in the transaction of the effect, without personal data, by insert only. No global lock: the sealer
-- orders entries afterwards. `alias` is the subject's pseudonym, whose mapping dies with the subject's key.

create table safelight.audit_entries (
    seq bigint generated always as identity primary key,
    at timestamptz not null default safelight.now(),
    tenant text,
    actor text not null,
    action text not null check (action ~ '^[a-z_.]+$'),
    job_kind text,
    job_id uuid,
    order_id uuid,
    alias uuid,
    purpose text,
    grants uuid[] not null default '{}',
    outcome text not null check (outcome ~ '^[a-z_]+$'),
    counts jsonb not null default '{}',
    policy_version text,
    commitment bytea
);
create index audit_entries_by_order on safelight.audit_entries (order_id, seq) where order_id is not null;
create index audit_entries_by_job on safelight.audit_entries (job_id) where job_id is not null;
create trigger audit_is_only_written before update or delete on safelight.audit_entries
    for each row execute function safelight.never();
create trigger audit_is_never_emptied before truncate on safelight.audit_entries
    for each statement execute function safelight.never();
