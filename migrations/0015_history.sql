-- History does not rot: the archive in weekly partitions that are dropped whole; attempts, keys and the inbox by age.

-- Makes the partitions of the coming weeks and drops those whose last day is over. Answers how many of each. Every
-- process may call it; one does it at a time, the others leave it to that one.
create function safelight.turn_archive(p_weeks integer default 20, out made integer, out dropped integer)
language plpgsql volatile security definer set search_path = pg_catalog
as $$
declare
    v_week date := date_trunc('week', safelight.now() at time zone 'UTC')::date;
    v_name text;
    r record;
begin
    made := 0;
    dropped := 0;
    if not pg_try_advisory_xact_lock(5319, 2) then return; end if;
    -- A lock that others wait behind is not waited for long.
    set local lock_timeout = '2s';
    for r in
        select c.oid::regclass as part, substring(c.relname from '\d{8}$') as week
        from pg_inherits i join pg_class c on c.oid = i.inhrelid
        where i.inhparent = 'safelight.jobs_archive'::regclass and c.relname ~ '^jobs_archive_\d{8}$'
    loop
        if to_date(r.week, 'YYYYMMDD') + 7 <= safelight.now()::date then
            execute format('drop table %s', r.part);
            dropped := dropped + 1;
        end if;
    end loop;
    for n in 0..p_weeks loop
        v_name := 'jobs_archive_' || to_char(v_week + 7 * n, 'YYYYMMDD');
        if to_regclass('safelight.' || v_name) is null
            and not exists (select from safelight.jobs_archive_rest where prune_on >= v_week + 7 * n and prune_on < v_week + 7 * n + 7) then
            execute format('create table safelight.%I partition of safelight.jobs_archive for values from (%L) to (%L)',
                v_name, v_week + 7 * n, v_week + 7 * n + 7);
            execute format('alter table safelight.%I set (autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05)', v_name);
            made := made + 1;
        end if;
    end loop;
end $$;

-- One bounded bite out of everything that has no partitions. Answers how many rows went; call it until it answers zero.
create function safelight.prune_history(p_most integer default 5000) returns integer
language plpgsql volatile security definer set search_path = pg_catalog
as $$
declare
    v_now timestamptz := safelight.now();
    v_gone integer := 0;
    v_n integer;
begin
    delete from safelight.jobs_archive_rest where ctid = any (array(
        select ctid from safelight.jobs_archive_rest where prune_on < v_now::date limit p_most));
    get diagnostics v_n = row_count; v_gone := v_gone + v_n;
    delete from safelight.job_attempts where ctid = any (array(
        select ctid from safelight.job_attempts where at < v_now - interval '28 days' limit p_most));
    get diagnostics v_n = row_count; v_gone := v_gone + v_n;
    delete from safelight.job_steps where ctid = any (array(
        select s.ctid from safelight.job_steps s where s.at < clock_timestamp() - interval '28 days'
            and not exists (select from safelight.jobs j where j.id = s.job_id) limit p_most));
    get diagnostics v_n = row_count; v_gone := v_gone + v_n;
    delete from safelight.job_keys where key = any (array(
        select key from safelight.job_keys where expires_at <= v_now order by expires_at limit p_most));
    get diagnostics v_n = row_count; v_gone := v_gone + v_n;
    return v_gone;
end $$;

select safelight.turn_archive();

grant execute on function safelight.turn_archive, safelight.prune_history to safelight_worker;
