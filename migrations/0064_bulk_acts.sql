-- What an operator does to all jobs that match a search: what was looked for, who wants it and why, and how far it has come. A
-- job of the house carries it out in batches; each batch and its progress are one commit.

create table safelight.bulk_acts (
    id uuid primary key,
    job_id uuid not null,                         -- the job that carries it out
    act text not null check (act in ('cancel', 'hold', 'release', 'retry', 'discard')),
    -- The search. What is null does not narrow; a tenant's operator has its own tenant here.
    wanted_job uuid,
    kind text,
    state text,
    tenant text,
    order_id uuid,
    subject_id uuid,
    code text,
    made_from timestamptz,
    made_until timestamptz,
    matched bigint not null check (matched >= 0), -- when it was asked for
    matched_whole boolean not null,               -- everything was looked at then; else there may be more
    actor text not null,
    why text not null check (why <> ''),
    asked_at timestamptz not null default safelight.now(),
    done bigint not null default 0,
    passed_over bigint not null default 0,        -- matched, and stood elsewhere when it was their turn
    reached uuid not null,                        -- looked at down to here; at first the youngest job that it may touch
    finished_at timestamptz
);
grant select on safelight.bulk_acts to safelight_api, safelight_worker, safelight_auditor;
grant insert on safelight.bulk_acts to safelight_api;
grant update (done, passed_over, reached, finished_at) on safelight.bulk_acts to safelight_worker;
