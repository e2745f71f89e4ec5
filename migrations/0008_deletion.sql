-- Deletions as sagas: the plan is persisted with its exact targets before the first delete, every step is verified by
-- looking, and nothing is complete before each step is verified or retained by law.

create table safelight.deletions (
    id uuid primary key,
    tenant text not null,
    subject_id uuid not null,
    trigger text not null check (trigger in ('erasure', 'retention', 'withdrawal', 'one_photo', 'failed_order')),
    purpose text,                                 -- of a withdrawal
    state text not null default 'fenced' check (state in ('fenced', 'planned', 'deleting', 'complete', 'stuck')),
    requested_at timestamptz not null default safelight.now(),
    -- One calendar month, not 30 days: the legal deadline of an answer.
    answer_due timestamptz not null,
    completed_at timestamptz,
    foreign key (subject_id, tenant) references safelight.subjects (id, tenant),
    constraint a_complete_deletion_says_when check ((state = 'complete') = (completed_at is not null))
);
alter table safelight.artifacts add foreign key (deletion_id) references safelight.deletions on delete set null;
create unique index one_erasure_per_subject on safelight.deletions (subject_id) where trigger = 'erasure';
create index deletions_open on safelight.deletions (state, answer_due) where state <> 'complete';
create index deletions_by_subject on safelight.deletions (subject_id);

create table safelight.deletion_steps (
    deletion_id uuid not null references safelight.deletions,
    seq integer not null,
    class text not null,
    processor text not null,
    -- Exactly what goes: storage keys, row ids, request ids. Emptied when the deletion is complete.
    targets jsonb not null,
    planned integer not null,
    state text not null default 'todo' check (state in (
        'todo', 'doing', 'deleted', 'verified', 'waiting_provider', 'retained_by_law', 'held', 'stuck')),
    deleted integer not null default 0,
    -- How absence was checked, and what was seen; for what stays: by which law and until when.
    evidence text,
    tries integer not null default 0,
    code text,
    updated_at timestamptz not null default safelight.now(),
    verified_at timestamptz,
    primary key (deletion_id, seq),
    constraint verified_says_how check (state <> 'verified' or (evidence is not null and verified_at is not null)),
    constraint retained_says_by_which_law check (state <> 'retained_by_law' or evidence is not null)
);

create function safelight.complete_only_when_verified() returns trigger
language plpgsql as $$
begin
    if new.state = 'complete' and old.state <> 'complete' and (
        not exists (select from safelight.deletion_steps where deletion_id = new.id)
        or exists (select from safelight.deletion_steps
            where deletion_id = new.id and state not in ('verified', 'retained_by_law'))) then
        raise exception 'deletion % has steps that are neither verified nor retained by law', new.id;
    end if;
    return new;
end $$;
create trigger complete_only_when_verified before update on safelight.deletions
    for each row execute function safelight.complete_only_when_verified();

create table safelight.sweeps (
    id uuid primary key,
    kind text not null check (kind ~ '^[a-z_]{3,30}$'),
    asked_by text not null,
    started_at timestamptz not null default safelight.now(),
    finished_at timestamptz,
    found integer,
    acted integer,
    -- What was still due after the run; null means 'could not check', which is never zero.
    residue integer
);
