-- Rights: restriction, and cases with their deadlines. Nothing in these tables names a person.

-- Restricted: storage only (GDPR Art. 18). The ground decides about the clocks (D14): who wants the data kept instead of
-- erased, or needs them for claims, has them kept until a day; otherwise the clocks go on.
create table safelight.restrictions (
    id uuid primary key default safelight.uuid_v7(),
    tenant text not null,
    subject_id uuid not null,
    ground text not null check (ground in ('accuracy', 'unlawful', 'claims', 'objection')),
    keep_until timestamptz,
    set_at timestamptz not null default safelight.now(),
    lifted_at timestamptz,
    foreign key (subject_id, tenant) references safelight.subjects (id, tenant),
    constraint a_held_clock_has_an_end check ((ground in ('unlawful', 'claims')) = (keep_until is not null))
);
create unique index one_restriction_at_a_time on safelight.restrictions (subject_id) where lifted_at is null;

-- Restrict: queued work is held, not failed; what runs stops at its next gate; what is in flight stays where it is, because
-- collecting it passes a gate, too. Answers a code where nothing was done.
create function safelight.restrict_subject(p_subject uuid, p_ground text, p_keep_until timestamptz, out code text, out held integer)
language plpgsql volatile security definer set search_path = pg_catalog
as $$
declare
    s record;
begin
    perform safelight.own_subject(p_subject);
    select tenant, state into s from safelight.subjects where id = p_subject;
    if not found then code := 'subject_unknown'; return; end if;
    if s.state <> 'active' then code := case s.state when 'restricted' then 'subject_restricted' else 'subject_erased' end; return; end if;
    update safelight.subjects set state = 'restricted' where id = p_subject;
    insert into safelight.restrictions (tenant, subject_id, ground, keep_until) values (s.tenant, p_subject, p_ground, p_keep_until);
    with mine as materialized (
        select j.id from safelight.jobs j where j.subject_id = p_subject and j.state in (0, 3, 4)
            and j.kind not in ('delete_data', 'purge_call', 'export_data') order by j.id for update
    )
    update safelight.jobs j set state = 2, why = 'subject_restricted' from mine where j.id = mine.id;
    get diagnostics held = row_count;
end $$;

-- Release: what was held goes on with its attempts as they were, and what waits at a gate looks again.
create function safelight.release_subject(p_subject uuid, out code text, out released integer)
language plpgsql volatile security definer set search_path = pg_catalog
as $$
declare
    s record;
begin
    perform safelight.own_subject(p_subject);
    select state into s from safelight.subjects where id = p_subject;
    if not found then code := 'subject_unknown'; return; end if;
    if s.state <> 'restricted' then code := case s.state when 'active' then 'not_restricted' else 'subject_erased' end; return; end if;
    update safelight.subjects set state = 'active' where id = p_subject;
    update safelight.restrictions set lifted_at = safelight.now() where subject_id = p_subject and lifted_at is null;
    with mine as materialized (
        select j.id from safelight.jobs j where j.subject_id = p_subject and (j.state = 2 and j.why = 'subject_restricted'
            or j.state = 3 and j.why like 'subject_restricted%') order by j.id for update
    )
    update safelight.jobs j set state = 0, why = null, run_at = least(j.run_at, safelight.now()) from mine where j.id = mine.id;
    get diagnostics released = row_count;
end $$;

-- As before, and: nothing is due of a person whose clocks are held.
create or replace function safelight.due_artifacts(p_until timestamptz)
returns table (id uuid, subject_id uuid, tenant text, class text, due_at timestamptz)
language sql stable
as $$
    select d.id, d.subject_id, d.tenant, d.class, d.due_at from (
        select a.id, a.subject_id, a.tenant, a.class, a.delete_after as due_at
            from safelight.artifacts a where a.deletion_id is null and a.delete_after <= p_until
        union all
        select a.id, a.subject_id, a.tenant, a.class, a.created_at + interval '24 hours'
            from safelight.artifacts a where a.deletion_id is null and a.state = 'expected'
                and a.created_at <= p_until - interval '24 hours' and (a.delete_after is null or a.delete_after > p_until)
    ) d where not exists (select from safelight.restrictions r
        where r.subject_id = d.subject_id and r.lifted_at is null and r.keep_until > safelight.now())
$$;

-- What somebody asks for, by whatever way it came. The clock runs from its receipt, whoever it is; nothing is done before the
-- house knows that it is that person (N28). Codes only: the mail itself stays in the mailbox.
create table safelight.cases (
    id uuid primary key,
    tenant text not null references safelight.tenants,
    subject_id uuid,
    kind text not null check (kind in ('access', 'portability', 'rectification', 'erasure', 'restriction', 'objection', 'withdrawal')),
    channel text not null check (channel in ('mail', 'product', 'letter')),
    received_at timestamptz not null,
    -- One calendar month; two more only with a reason that was told within the first.
    answer_due timestamptz not null,
    identity text not null default 'unverified' check (identity in ('unverified', 'verified', 'refused')),
    identity_by text check (identity_by ~ '^[a-z0-9_]{1,64}$'),
    state text not null default 'open' check (state in ('open', 'answered', 'refused')),
    why text check (why ~ '^[a-z0-9_]{3,64}$'),
    extended_at timestamptz,
    extended_why text check (extended_why ~ '^[a-z0-9_]{3,64}$'),
    deletion_id uuid references safelight.deletions on delete set null,
    opened_by text not null check (opened_by ~ '^[a-z0-9_]{1,64}$'),
    closed_at timestamptz,
    foreign key (subject_id, tenant) references safelight.subjects (id, tenant),
    constraint the_verified_are_somebody check (identity <> 'verified' or subject_id is not null and identity_by is not null),
    constraint a_closed_case_says_when check ((state = 'open') = (closed_at is null)),
    constraint a_refusal_says_why check (state <> 'refused' or why is not null),
    constraint an_extension_says_why check ((extended_at is null) = (extended_why is null))
);
create index cases_open on safelight.cases (answer_due) where state = 'open';

grant select on safelight.restrictions, safelight.cases to safelight_api, safelight_worker, safelight_auditor;
grant insert on safelight.cases to safelight_api;
grant update (subject_id, identity, identity_by, state, why, answer_due, extended_at, extended_why, deletion_id, closed_at) on safelight.cases
    to safelight_api;
grant execute on function safelight.restrict_subject, safelight.release_subject to safelight_api;
-- Correction: sealed anew under the person's own key, nothing else.
grant update (email_sealed, name_sealed) on safelight.accounts to safelight_api;
-- A case that is verified late has the earlier deadline.
grant update (answer_due) on safelight.deletions to safelight_api;
