-- The numbers of the first page and of the metrics, counted up to a bound, as those of the queues are (0063): a store that was away for
-- a week, or a provider that refused a million jobs, is no reason to read a million rows every quarter of a minute. Sequential scans
-- are off because the planner takes a bound for an invitation to read on until it is reached.

-- Each group's first and last letter, and as many of it as are counted, without reading the others.
create index dead_letters_by_group on safelight.dead_letters ((coalesce(tenant, '')), kind, code, died_at);
-- For people of one tenant: what is open, stuck or due of that tenant, without reading that of the others.
create index deletions_open_by_tenant on safelight.deletions (tenant, answer_due) where state <> 'complete';
-- The newest exports, also where very many came in one moment.
create index exports_by_time on safelight.artifacts (created_at, id) where class = 'export';
drop index safelight.exports_by_age;
create index deletions_stuck on safelight.deletions (tenant) where state = 'stuck';
create index artifacts_due_by_tenant on safelight.artifacts (tenant, delete_after) where delete_after is not null;
create index missing_objects_by_tenant on safelight.missing_objects (tenant);
-- The findings' page shows the oldest of them.
create index missing_objects_by_age on safelight.missing_objects (first_seen_at, artifact_id);

create function safelight.state_numbers(p_tenant text, p_most integer)
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
        (select count(*) from (select from safelight.provider_calls c where c.state = 'unknown' and (p_tenant is null or c.tenant = p_tenant) limit p_most) x),
        (select coalesce(floor(extract(epoch from clock.n - min(x.created_at))), 0)::bigint from (select c.created_at from safelight.provider_calls c
            where c.state = 'unknown' and (p_tenant is null or c.tenant = p_tenant) order by c.created_at limit 1) x),
        (select count(*) from (
            (select b.stripe_session from safelight.orders o join safelight_fiscal.balance b on b.order_id = o.id
                where o.state = 'refund_review' and b.kept_cents > 0 and (p_tenant is null or b.tenant = p_tenant) limit p_most)
            union (select s.stripe_session from safelight_fiscal.sales s
                where s.review is not null and (p_tenant is null or s.tenant = p_tenant) limit p_most)
            limit p_most) x),
        (select count(*) from (select from safelight.differences d where d.resolved_at is null and (p_tenant is null or d.tenant = p_tenant) limit p_most) x),
        (select count(*) from (select from safelight_fiscal.sales s where s.keep_until is null and (p_tenant is null or s.tenant = p_tenant) limit p_most) x),
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
        (select count(*) from (select from safelight.cases c where c.state = 'open' and (p_tenant is null or c.tenant = p_tenant) limit p_most) x),
        (select count(*) from (select from safelight.cases c where c.state = 'open' and c.answer_due < clock.n
            and (p_tenant is null or c.tenant = p_tenant) limit p_most) x),
        (select count(*) from (select from safelight.objections o where o.state = 'open' and (p_tenant is null or o.tenant = p_tenant) limit p_most) x),
        (select coalesce(least(sum(x.n), p_most), 0)::bigint from t, lateral (select count(*) as n from (select from safelight.objections o
            where o.tenant = t.id and o.state = 'upheld' limit p_most) y) x),
        -- For the house: the entry of such a result may name no tenant.
        (select count(*) from (select from safelight.audit_entries e where e.action = 'call.request_differs' and e.outcome = 'taken_home'
            and e.at > clock.n - interval '168 hours' and p_tenant is null limit p_most) x),
        (select count(*) from (select from safelight.restrictions r where r.lifted_at is null and (p_tenant is null or r.tenant = p_tenant) limit p_most) x),
        -- The work of a restricted person is held by design, so an order of theirs is not late.
        (select count(*) from (select from safelight.orders o where o.state in ('paid', 'training', 'generating')
            and o.paid_at < clock.n - interval '2 hours' and (p_tenant is null or o.tenant = p_tenant)
            and not exists (select from safelight.restrictions r where r.subject_id = o.subject_id and r.lifted_at is null) limit p_most) x),
        (select count(*) from (select from safelight.restrictions r join safelight.orders o on o.subject_id = r.subject_id
            where r.lifted_at is null and o.state in ('paid', 'training', 'generating') and o.paid_at < clock.n - interval '2 hours'
                and (p_tenant is null or o.tenant = p_tenant) limit p_most) x)
    from clock
$$;
revoke execute on function safelight.state_numbers from public;
grant execute on function safelight.state_numbers to safelight_api;

-- Dead letters by kind and code: from group to group along the index, each counted up to a bound. Rows are compared whole, so that the
-- first and the last letter of a rare group are not looked for among those of the frequent ones, by time.
create function safelight.dead_letter_groups(p_kind text, p_code text, p_tenant text, p_most integer)
    returns table (kind text, code text, letters bigint, oldest timestamptz, newest timestamptz)
language sql stable
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
    with recursive groups(tenant, kind, code) as (
        (select coalesce(d.tenant, ''), d.kind, d.code from safelight.dead_letters d where coalesce(d.tenant, '') >= coalesce(p_tenant, '')
            order by coalesce(d.tenant, ''), d.kind, d.code limit 1)
        union all
        select n.* from groups g, lateral (select coalesce(d.tenant, ''), d.kind, d.code from safelight.dead_letters d
            where (coalesce(d.tenant, ''), d.kind, d.code) > (g.tenant, g.kind, g.code)
            order by coalesce(d.tenant, ''), d.kind, d.code limit 1) n
        where p_tenant is null or g.tenant = p_tenant
    )
    select g.kind, g.code, least(sum(c.n), p_most)::bigint, min(first.at), max(last.at)
    from groups g,
        lateral (select count(*) as n from (select from safelight.dead_letters d
            where coalesce(d.tenant, '') = g.tenant and d.kind = g.kind and d.code = g.code limit p_most) x) c,
        lateral (select d.died_at as at from safelight.dead_letters d
            where (coalesce(d.tenant, ''), d.kind, d.code, d.died_at) >= (g.tenant, g.kind, g.code, '-infinity')
            order by coalesce(d.tenant, ''), d.kind, d.code, d.died_at limit 1) first,
        lateral (select d.died_at as at from safelight.dead_letters d
            where (coalesce(d.tenant, ''), d.kind, d.code, d.died_at) <= (g.tenant, g.kind, g.code, 'infinity')
            order by coalesce(d.tenant, '') desc, d.kind desc, d.code desc, d.died_at desc limit 1) last
    where (p_tenant is null or g.tenant = p_tenant) and (p_kind is null or g.kind = p_kind) and (p_code is null or g.code = p_code)
    group by g.kind, g.code
$$;
revoke execute on function safelight.dead_letter_groups from public;
grant execute on function safelight.dead_letter_groups to safelight_api;

-- As before (0063), and what is held is counted up to the bound, too: one act holds as many as it likes.
create or replace function safelight.queue_numbers(p_queues text[], p_tenant text, p_most integer)
    returns table (queue text, due bigint, come bigint, later bigint, aside bigint, running bigint, held bigint, paused boolean, oldest_seconds bigint)
language sql stable
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
    select q.name,
        (select count(*) from (select from safelight.jobs j where j.state = 0 and j.queue = q.name
            and (p_tenant is null or coalesce(j.tenant, '') = p_tenant) limit p_most) x),
        (select count(*) from (select from safelight.jobs j where j.state = 3 and j.queue = q.name and j.run_at <= c.n
            and (p_tenant is null or j.tenant = p_tenant) limit p_most) x),
        (select count(*) from (select from safelight.jobs j where j.state = 3 and j.queue = q.name and j.run_at > c.n
            and (p_tenant is null or j.tenant = p_tenant) limit p_most) x),
        coalesce(a.n, 0),
        (select count(*) from safelight.jobs j where j.state = 1 and j.queue = q.name and (p_tenant is null or j.tenant = p_tenant)),
        coalesce(h.n, 0),
        coalesce((select k.paused from safelight.controls k where k.scope = 'queue' and k.name = q.name), false),
        floor(extract(epoch from c.n - least(
            -- The first of each tenant by rank: nearly always the oldest, and found without reading the others.
            (select min(first.run_at) from (select '' as id union all select t.id from safelight.tenants t) t,
                lateral (select j.run_at from safelight.jobs j where j.state = 0 and j.queue = q.name and coalesce(j.tenant, '') = t.id
                    order by j.rank, j.id limit 1) first
                where p_tenant is null or t.id = p_tenant),
            (select j.run_at from safelight.jobs j where j.state = 3 and j.queue = q.name and j.run_at <= c.n
                and (p_tenant is null or j.tenant = p_tenant) order by j.run_at limit 1))))::bigint
    from unnest(p_queues) q(name)
        cross join (select safelight.now() as n) c
        -- These for all queues at once: their indexes are not by queue.
        left join (select x.queue, count(*) as n from (select j.queue from safelight.jobs j where j.state = 4
            and (p_tenant is null or j.tenant = p_tenant) limit p_most) x group by 1) a on a.queue = q.name
        left join (select x.queue, count(*) as n from (select j.queue from safelight.jobs j where j.state = 2
            and (p_tenant is null or j.tenant = p_tenant) limit p_most) x group by 1) h on h.queue = q.name
$$;
