-- What the intake does in a withdrawal and looks at in its readiness check.

-- A withdrawal stops the orders that rested on the consent, in its own transaction.
grant update (state, problem) on safelight.orders to safelight_api;

-- Readiness: has this process's schema been migrated? The table is the migrator's own; where the schema was laid by other
-- means there is none.
do $$
begin
    if to_regclass('_sqlx_migrations') is not null then
        execute 'grant select on _sqlx_migrations to safelight_api';
    end if;
end $$;
