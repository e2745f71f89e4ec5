-- K48, by mail: a change of the policy may be told to each person by mail instead of being on display. It is told when no mail
-- of a living person is missing; from then on the version counts as one whose notice went on display at that instant. A mail
-- that came back told nobody.

alter table safelight.policy_versions add column mailed_from timestamptz;

alter table safelight.notices
    add column policy_version text,
    add column delivered_at timestamptz,          -- seen in the provider's books
    add column bounced_at timestamptz,
    drop constraint notices_template_check,
    add constraint notices_template_check
        check (template in ('order_delivered', 'order_refused', 'erasure_complete', 'policy_changes')),
    add constraint a_notice_of_a_policy_names_its_version check ((template = 'policy_changes') = (policy_version is not null));
create unique index one_notice_per_policy_version on safelight.notices (subject_id, policy_version) where policy_version is not null;

-- Whom a version that is told by mail has not reached. Whoever is restricted is mailed after the release; until then nobody
-- can say that they know.
create view safelight.policy_untold as
    select v.tenant, v.version, s.id as subject_id, s.state, n.id as notice_id, n.sent_at, n.bounced_at
    from safelight.policy_versions v
    join safelight.subjects s on s.tenant = v.tenant and s.state in ('active', 'restricted')
    left join safelight.notices n on n.subject_id = s.id and n.policy_version = v.version
    where v.mailed_from is not null and n.delivered_at is null;

-- It is told by mail from now on; once, a later word moves nothing. Answers since when; nothing for a version that is not
-- installed. The owner's alone.
create function safelight.mail_policy(p_tenant text, p_version text) returns timestamptz
language sql volatile
as $$
    update safelight.policy_versions set mailed_from = coalesce(mailed_from, safelight.now())
        where tenant = p_tenant and version = p_version returning mailed_from
$$;

-- A worker says that everybody is told. It is not believed: the rows are asked. Answers from when on the version counts;
-- nothing while somebody is not told.
create function safelight.policy_is_told(p_tenant text, p_version text) returns timestamptz
language sql volatile security definer set search_path = pg_catalog
as $$
    update safelight.policy_versions v set
        announced_at = coalesce(announced_at, safelight.now()),
        in_force_from = coalesce(in_force_from, greatest(effective_at, safelight.now() + make_interval(hours => display_hours)))
        where tenant = p_tenant and version = p_version and mailed_from is not null and not exists (
            select from safelight.policy_untold u where u.tenant = v.tenant and u.version = v.version)
        returning in_force_from
$$;

grant select on safelight.policy_untold to safelight_api, safelight_worker;
grant execute on function safelight.policy_is_told to safelight_worker;
