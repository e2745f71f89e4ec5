-- A database may be the application's, too, as a project of Supabase is. There each new table of `public` is given to everybody who has
-- the key that stands in every page, and the migrator's list is one: whoever deletes from it keeps every process from starting. Nobody
-- but who migrates and who looks whether the schema is there has a right to it.
do $$
declare
    holder record;
begin
    for holder in
        select distinct a.grantee, r.rolname
        from pg_class c, aclexplode(c.relacl) a left join pg_roles r on r.oid = a.grantee
        where c.oid = to_regclass('_sqlx_migrations') and pg_has_role(c.relowner, 'usage') and a.grantee <> c.relowner
            and coalesce(r.rolname, '') not in (current_user, 'safelight_api', 'safelight_worker')
    loop
        execute format('revoke all on _sqlx_migrations from %s',
            case when holder.grantee = 0 then 'public' else quote_ident(holder.rolname) end);
    end loop;
end $$;

-- 0011 took from everybody what this login's later functions would have given them, in every schema: also those that the application's own
-- migrations make by it, which its row security then could not call. A migration of Safelight that makes a function says whose it is.
alter default privileges grant execute on functions to public;
