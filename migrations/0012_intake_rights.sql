-- What the intake looks at in its readiness check.

-- Readiness: has this process's schema been migrated? The table is the migrator's own; where the schema was laid by other
-- means there is none.
do $$
begin
    if to_regclass('_sqlx_migrations') is not null then
        execute 'grant select on _sqlx_migrations to safelight_api';
    end if;
end $$;
