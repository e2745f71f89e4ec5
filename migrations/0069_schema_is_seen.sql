-- Workers look whether the schema is as new as they are before they do anything (0012 let the intake look).
do $$
begin
    if to_regclass('_sqlx_migrations') is not null then
        execute 'grant select on _sqlx_migrations to safelight_worker';
    end if;
end $$;
