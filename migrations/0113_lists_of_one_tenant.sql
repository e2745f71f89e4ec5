-- What people of one tenant are shown is found without reading what the others have: each list of the console, and each number of its
-- first page, has an index that begins with the tenant. Most are of rare states, and empty nearly always.

create index cases_by_tenant on safelight.cases (tenant, answer_due, id);
create index cases_open_by_tenant on safelight.cases (tenant, answer_due, id) where state = 'open';
create index objections_by_tenant on safelight.objections (tenant, received_at, id);
create index objections_open_by_tenant on safelight.objections (tenant, received_at, id) where state = 'open';
create index restrictions_by_tenant on safelight.restrictions (tenant) where lifted_at is null;
create index exports_by_tenant on safelight.artifacts (tenant, created_at, id) where class = 'export';
create index differences_open_by_tenant on safelight.differences (tenant, first_seen_at, (md5(code || object)::uuid)) where resolved_at is null;
create index missing_objects_by_tenant_and_age on safelight.missing_objects (tenant, first_seen_at, artifact_id);
drop index safelight.missing_objects_by_tenant;
create index provider_calls_unknown_by_tenant on safelight.provider_calls (tenant, created_at) where state = 'unknown';
create index sales_in_review_by_tenant on safelight_fiscal.sales (tenant, sold_at, id) where review is not null;
create index orders_under_way_by_tenant on safelight.orders (tenant, paid_at, id) where state in ('paid', 'training', 'generating');
create index orders_in_review_by_tenant on safelight.orders (tenant, paid_at) where state = 'refund_review';
-- The newest that are finished, also behind very many that are stuck.
create index deletions_complete_by_tenant on safelight.deletions (tenant, id) where state = 'complete';

-- As before (0107). What may be read of all, or of one tenant along its own index, is written twice: a plan for both would read all.
create or replace function safelight.state_numbers(p_tenant text, p_most integer)
    returns table (unknown bigint, oldest_unknown bigint, reviews bigint, differences bigint, unruled bigint, dead bigint, deletions_open bigint,
        deletions_stuck bigint, deletions_late bigint, due bigint, overdue bigint, missing bigint, cases bigint, cases_late bigint,
        objections_open bigint, objections_upheld bigint, taken_home bigint, restricted bigint, orders_late bigint, orders_restricted bigint)
language sql stable
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
    with clock as materialized (select safelight.now() as n),
    -- By tenant, and by a comparison of rows that only the index which begins with the tenant serves: along another one whoever has
    -- little would be looked for among what the others have.
    t as materialized (select x.id from safelight.tenants x where p_tenant is null or x.id = p_tenant)
    select
        (select count(*) from (select from safelight.provider_calls c where p_tenant is null and c.state = 'unknown'
            union all select from safelight.provider_calls c where c.tenant = p_tenant and c.state = 'unknown' limit p_most) x),
        (select coalesce(floor(extract(epoch from clock.n - least(
            (select min(c.created_at) from safelight.provider_calls c where p_tenant is null and c.state = 'unknown'),
            (select min(c.created_at) from safelight.provider_calls c where c.tenant = p_tenant and c.state = 'unknown')))), 0)::bigint),
        (select count(*) from (
            (select b.stripe_session from safelight.orders o join safelight_fiscal.balance b on b.order_id = o.id
                where p_tenant is null and o.state = 'refund_review' and b.kept_cents > 0 limit p_most)
            union (select b.stripe_session from safelight.orders o join safelight_fiscal.balance b on b.order_id = o.id
                where o.tenant = p_tenant and o.state = 'refund_review' and b.kept_cents > 0 limit p_most)
            union (select s.stripe_session from safelight_fiscal.sales s where p_tenant is null and s.review is not null limit p_most)
            union (select s.stripe_session from safelight_fiscal.sales s where s.tenant = p_tenant and s.review is not null limit p_most)
            limit p_most) x),
        (select count(*) from (select from safelight.differences d where p_tenant is null and d.resolved_at is null
            union all select from safelight.differences d where d.tenant = p_tenant and d.resolved_at is null limit p_most) x),
        (select count(*) from (select from safelight_fiscal.sales s where p_tenant is null and s.keep_until is null
            union all select from safelight_fiscal.sales s where s.tenant = p_tenant and s.keep_until is null limit p_most) x),
        (select count(*) from (select 1 from safelight.dead_letters where p_tenant is null
            union all select 1 from safelight.dead_letters d where coalesce(d.tenant, '') = p_tenant limit p_most) x),
        (select coalesce(least(sum(x.n), p_most), 0)::bigint from t, lateral (select count(*) as n from (select from safelight.deletions d
            where (d.tenant, d.answer_due) >= (t.id, '-infinity') and (d.tenant, d.answer_due) <= (t.id, 'infinity') and d.state <> 'complete' limit p_most) y) x),
        (select coalesce(least(sum(x.n), p_most), 0)::bigint from t, lateral (select count(*) as n from (select from safelight.deletions d
            where d.tenant = t.id and d.state = 'stuck' limit p_most) y) x),
        (select coalesce(least(sum(x.n), p_most), 0)::bigint from t, lateral (select count(*) as n from (select from safelight.deletions d
            where (d.tenant, d.answer_due) >= (t.id, '-infinity') and (d.tenant, d.answer_due) < (t.id, clock.n) and d.state <> 'complete' limit p_most) y) x),
        (select coalesce(least(sum(x.n), p_most), 0)::bigint from t, lateral (select count(*) as n from (select from safelight.artifacts a
            where (a.tenant, a.delete_after) >= (t.id, '-infinity') and (a.tenant, a.delete_after) <= (t.id, clock.n) and a.delete_after is not null
                and (a.class = 'export' or a.subject_id <> all ((select safelight.held_persons())::uuid[])) limit p_most) y) x),
        (select coalesce(least(sum(x.n), p_most), 0)::bigint from t, lateral (select count(*) as n from (select from safelight.artifacts a
            where (a.tenant, a.delete_after) >= (t.id, '-infinity') and (a.tenant, a.delete_after) <= (t.id, clock.n - interval '1 hour') and a.delete_after is not null
                and (a.class = 'export' or a.subject_id <> all ((select safelight.held_persons())::uuid[])) limit p_most) y) x),
        (select coalesce(least(sum(x.n), p_most), 0)::bigint from t, lateral (select count(*) as n from (select from safelight.missing_objects m
            where m.tenant = t.id limit p_most) y) x),
        (select count(*) from (select from safelight.cases c where p_tenant is null and c.state = 'open'
            union all select from safelight.cases c where c.tenant = p_tenant and c.state = 'open' limit p_most) x),
        (select count(*) from (select from safelight.cases c where p_tenant is null and c.state = 'open' and c.answer_due < clock.n
            union all select from safelight.cases c where c.tenant = p_tenant and c.state = 'open' and c.answer_due < clock.n limit p_most) x),
        (select count(*) from (select from safelight.objections o where p_tenant is null and o.state = 'open'
            union all select from safelight.objections o where o.tenant = p_tenant and o.state = 'open' limit p_most) x),
        (select coalesce(least(sum(x.n), p_most), 0)::bigint from t, lateral (select count(*) as n from (select from safelight.objections o
            where o.tenant = t.id and o.state = 'upheld' limit p_most) y) x),
        -- For the house: the entry of such a result may name no tenant.
        (select count(*) from (select from safelight.audit_entries e where e.action = 'call.request_differs' and e.outcome = 'taken_home'
            and e.at > clock.n - interval '168 hours' and p_tenant is null limit p_most) x),
        (select count(*) from (select from safelight.restrictions r where p_tenant is null and r.lifted_at is null
            union all select from safelight.restrictions r where r.tenant = p_tenant and r.lifted_at is null limit p_most) x),
        -- The work of a restricted person is held by design, so an order of theirs is not late.
        (select count(*) from (select from (
                select o.subject_id from safelight.orders o
                    where p_tenant is null and o.state in ('paid', 'training', 'generating') and o.paid_at < clock.n - interval '2 hours'
                union all select o.subject_id from safelight.orders o
                    where o.tenant = p_tenant and o.state in ('paid', 'training', 'generating') and o.paid_at < clock.n - interval '2 hours') o
            where not exists (select from safelight.restrictions r where r.subject_id = o.subject_id and r.lifted_at is null) limit p_most) x),
        (select count(*) from (select from (
                select r.subject_id from safelight.restrictions r where p_tenant is null and r.lifted_at is null
                union all select r.subject_id from safelight.restrictions r where r.tenant = p_tenant and r.lifted_at is null) r
            join safelight.orders o on o.subject_id = r.subject_id
            where o.state in ('paid', 'training', 'generating') and o.paid_at < clock.n - interval '2 hours' limit p_most) x)
    from clock
$$;

-- As before (0067), and the clock is read once instead of for each row.
create or replace function safelight.finished_numbers(p_tenant text, p_minutes integer, p_most integer)
    returns table (minutes_ago integer, outcome text, jobs bigint, since timestamptz)
language sql stable
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
    with clock as materialized (select safelight.now() as n, clock_timestamp() as archived),
    newest as materialized (
        select a.finished_at, a.outcome, a.tenant, a.created_at from safelight.jobs_archive a order by a.id desc limit p_most
    ), dead as materialized (
        select d.died_at, d.tenant from safelight.dead_letters d
        where d.died_at > (select c.n from clock c) - make_interval(mins => p_minutes) order by d.died_at desc limit p_most
    ), ended(ago, outcome) as (
        select floor(extract(epoch from c.archived - n.finished_at) / 60), n.outcome from clock c, newest n
        where n.finished_at > c.archived - make_interval(mins => p_minutes) and (p_tenant is null or n.tenant = p_tenant)
        union all
        select floor(extract(epoch from c.n - d.died_at) / 60), 'gave_up' from clock c, dead d
        where p_tenant is null or d.tenant = p_tenant
    )
    select greatest(0, least(p_minutes - 1, e.ago))::integer, e.outcome, count(*),
        (select case when count(*) >= p_most then min(created_at) end from newest)
    from ended e group by 1, 2
$$;
