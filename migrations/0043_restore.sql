-- After a restore nobody works on the database before it has been compared with the erasure ledger outside it.

-- `guarded`: some worker had a ledger; from then on, and in every backup that is taken from then on, a life of the database
-- that nobody has compared is not worked on.
create table safelight.restore_gate (
    only_row boolean primary key default true check (only_row),
    guarded boolean not null default false,
    cleared_life text,
    cleared_at timestamptz
);
insert into safelight.restore_gate default values;

-- What no restore keeps: when this server was started, and which of its databases this is. A server that only restarts has
-- another life, too; comparing costs a listing.
create function safelight.life() returns text
language sql stable
as $$
    select extract(epoch from pg_postmaster_start_time())::text || ':' || (select oid from pg_database where datname = current_database())
$$;
create function safelight.may_claim() returns boolean
language sql stable
as $$ select not exists (select from safelight.restore_gate where guarded and cleared_life is distinct from safelight.life()) $$;

grant select, update on safelight.restore_gate to safelight_worker;
grant select on safelight.restore_gate to safelight_api, safelight_auditor;
grant execute on function safelight.life, safelight.may_claim to safelight_worker, safelight_api;
