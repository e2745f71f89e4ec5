-- What the console's charts show, at any size: along an index and counted up to a bound, as the other numbers are (0063, 0065).

-- What is due when, by class: the sweeps' page and the overview ask for each day by itself. Without the class in front a bound
-- for one class would read the others.
create index artifacts_due_by_class on safelight.artifacts (tenant, class, delete_after)
    where deletion_id is null and delete_after is not null;

-- Counts each class of each tenant: day 0 is due now, day 1 within the next 24 hours, and so on. The same question as
-- `due_artifacts`, whose rows it does not name.
create function safelight.due_numbers(p_tenant text, p_days integer, p_most integer)
    returns table (tenant text, class text, day integer, due bigint)
language sql stable
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
    with clock as (select safelight.now() as n),
    -- Rows whose bytes never came are due a day after they were made: never many, since the sweep takes them.
    expected as materialized (
        select a.tenant, a.class, a.created_at, a.delete_after from safelight.artifacts a
        where a.state = 'expected' and a.deletion_id is null order by a.created_at limit p_most
    )
    select d.tenant, d.class, d.day, sum(d.due)::bigint from (
        select t.id, c.name, g.day, (select count(*) from (
            select from safelight.artifacts a where a.deletion_id is null and a.tenant = t.id and a.class = c.name
                and a.delete_after > case g.day when 0 then '-infinity'::timestamptz else clock.n + make_interval(hours => 24 * (g.day - 1)) end
                and a.delete_after <= clock.n + make_interval(hours => 24 * g.day) limit p_most) x)
        from clock, safelight.tenants t, unnest(array['upload', 'bundle', 'model', 'image', 'export']) c(name), generate_series(0, p_days) g(day)
        where p_tenant is null or t.id = p_tenant
        union all
        select e.tenant, e.class, (e.created_at > clock.n - interval '24 hours')::integer, count(*)
        from clock, expected e
        where (p_tenant is null or e.tenant = p_tenant)
            and (e.delete_after is null or e.delete_after > clock.n + make_interval(hours => 24 * p_days))
        group by 1, 2, 3) d(tenant, class, day, due)
    where d.due > 0 group by 1, 2, 3 order by 1, 2, 3
$$;
revoke execute on function safelight.due_numbers from public;
grant execute on function safelight.due_numbers to safelight_api, safelight_worker;

-- What ended within so many minutes, minute by minute: among the newest rows of the archive by id. Where there are more, `since`
-- says when the oldest of them was made: what ended before is not counted whole.
create function safelight.finished_numbers(p_tenant text, p_minutes integer, p_most integer)
    returns table (minutes_ago integer, outcome text, jobs bigint, since timestamptz)
language sql stable
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
    with newest as materialized (
        select a.finished_at, a.outcome, a.tenant, a.created_at from safelight.jobs_archive a order by a.id desc limit p_most
    ), dead as materialized (
        select d.died_at, d.tenant from safelight.dead_letters d
        where d.died_at > safelight.now() - make_interval(mins => p_minutes) order by d.died_at desc limit p_most
    ), ended(ago, outcome) as (
        select floor(extract(epoch from clock_timestamp() - n.finished_at) / 60), n.outcome from newest n
        where n.finished_at > clock_timestamp() - make_interval(mins => p_minutes) and (p_tenant is null or n.tenant = p_tenant)
        union all
        select floor(extract(epoch from safelight.now() - d.died_at) / 60), 'gave_up' from dead d
        where p_tenant is null or d.tenant = p_tenant
    )
    select greatest(0, least(p_minutes - 1, e.ago))::integer, e.outcome, count(*),
        (select case when count(*) >= p_most then min(created_at) end from newest)
    from ended e group by 1, 2
$$;
revoke execute on function safelight.finished_numbers from public;
grant execute on function safelight.finished_numbers to safelight_api;
