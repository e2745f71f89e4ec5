-- Objections (GDPR Art. 21): to one purpose that rests on a legitimate interest. While nobody has decided, the person's data are
-- restricted (Art. 18(1)(d)); the decision says who made it and why, in codes.
create table safelight.objections (
    id uuid primary key default safelight.uuid_v7(),
    tenant text not null,
    subject_id uuid not null,
    purpose text not null,
    policy_version text not null,
    received_at timestamptz not null default safelight.now(),
    -- `upheld`: the person is right, nothing is done for this purpose any more. `overridden`: the controller's grounds are compelling.
    state text not null default 'open' check (state in ('open', 'upheld', 'overridden')),
    decided_at timestamptz,
    decided_by text check (decided_by ~ '^[a-z0-9_]{3,64}$'),
    why text check (why ~ '^[a-z0-9_]{3,64}$'),
    foreign key (subject_id, tenant) references safelight.subjects (id, tenant),
    constraint a_decision_says_when_who_and_why check (num_nonnulls(decided_at, decided_by, why) = case state when 'open' then 0 else 3 end)
);
create unique index one_open_objection on safelight.objections (subject_id, purpose) where state = 'open';
create index objections_of_a_subject on safelight.objections (subject_id);

grant select on safelight.objections to safelight_api, safelight_worker, safelight_auditor;
grant insert, update (state, decided_at, decided_by, why) on safelight.objections to safelight_api;
-- Who notes an objection restricts: the person's lock comes before everything that is read.
grant execute on function safelight.own_subject to safelight_api;

-- The console lists exports, which are few among all objects.
create index exports_by_age on safelight.artifacts (created_at) where class = 'export';
