-- K48: a material change is told before it applies. The first version of a tenant counts from its date; a later one from its
-- date, or from the end of the time that its announcement was on display in the product, whichever is later.

alter table safelight.policy_versions
    add column display_hours integer not null default 336 check (display_hours > 0),
    add column announced_at timestamptz,
    -- From when on it counts; empty: it was never announced, and counts for nobody.
    add column in_force_from timestamptz,
    add constraint an_announced_version_counts_after_its_notice check (announced_at is null
        or in_force_from >= announced_at + make_interval(hours => display_hours)),
    add constraint no_version_counts_before_its_date check (in_force_from >= effective_at);
update safelight.policy_versions set in_force_from = effective_at;

create or replace function safelight.policy_in_force(p_tenant text) returns text
language sql stable
as $$
    select version from safelight.policy_versions
    where tenant = p_tenant and in_force_from <= safelight.now()
    order by in_force_from desc, version desc limit 1
$$;

-- The notice is on display from now on. Announced once: a later word moves nothing. Answers from when on the version counts;
-- nothing for a version that is not installed. The owner's alone.
create function safelight.announce_policy(p_tenant text, p_version text) returns timestamptz
language sql volatile
as $$
    update safelight.policy_versions set
        announced_at = coalesce(announced_at, case when in_force_from is null then safelight.now() end),
        in_force_from = coalesce(in_force_from, greatest(effective_at, safelight.now() + make_interval(hours => display_hours)))
        where tenant = p_tenant and version = p_version returning in_force_from
$$;
