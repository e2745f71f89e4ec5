-- The clock of the whole system, the tenants, and their policies as rows that gates and retention clocks read.

create schema if not exists safelight;

-- Empty in production. The demo and the tests turn the clock here; only the owner may write it, and a production
-- build refuses to start while a row is present.
create table safelight.clock (
    only_row boolean primary key default true check (only_row),
    shift interval not null
);

-- The one clock for promises, schedules and deadlines. Leases use the unshifted database clock instead, so that
-- turning the clock by a month does not take the lease of a running job.
-- In plpgsql because it keeps its plan: an SQL function is planned anew at every call.
create function safelight.now() returns timestamptz
language plpgsql stable
as $$ begin return clock_timestamp() + coalesce((select shift from safelight.clock), interval '0'); end $$;

create table safelight.tenants (
    id text primary key check (id ~ '^[a-z][a-z0-9]{1,30}$'),
    controller text not null,
    contact text not null
);

-- A version never changes: other content needs another version. Grants and calls name the version they rest on.
create table safelight.policy_versions (
    tenant text not null references safelight.tenants,
    version text not null,
    text_sha256 text not null check (text_sha256 ~ '^[0-9a-f]{64}$'),
    document jsonb not null,
    document_sha256 text not null,
    effective_at timestamptz not null,
    installed_at timestamptz not null default clock_timestamp(),
    primary key (tenant, version)
);

create table safelight.policy_purposes (
    tenant text not null,
    version text not null,
    purpose text not null,
    basis text not null,
    capture_points text[] not null default '{}',
    primary key (tenant, version, purpose),
    foreign key (tenant, version) references safelight.policy_versions,
    constraint consent_names_where_it_is_given check (basis <> 'consent' or cardinality(capture_points) > 0)
);

create table safelight.policy_rules (
    tenant text not null,
    version text not null,
    purpose text not null,
    processor text not null,
    class text not null,
    -- Filled where the policy's text does not list the rule and a named person accepted the gap (who, when, why).
    accepted_gap text,
    primary key (tenant, version, purpose, processor, class),
    foreign key (tenant, version, purpose) references safelight.policy_purposes
);

create table safelight.policy_retention (
    tenant text not null,
    version text not null,
    class text not null,
    rule text not null,
    hours integer check (hours > 0),
    counted_from text check (counted_from in ('uploaded_at', 'delivered_at')),
    primary key (tenant, version, class),
    foreign key (tenant, version) references safelight.policy_versions,
    constraint a_term_in_hours_says_from_when check ((hours is null) = (counted_from is null))
);

-- The version that counts at this instant.
create function safelight.policy_in_force(p_tenant text) returns text
language sql stable
as $$
    select version from safelight.policy_versions
    where tenant = p_tenant and effective_at <= safelight.now()
    order by effective_at desc, version desc limit 1
$$;
