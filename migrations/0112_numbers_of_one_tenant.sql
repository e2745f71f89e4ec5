-- What the numbers of queues count for people of one tenant is found without reading what the others have. A job that is ready has the
-- tenant in its index already (0001); one that waits for its time, was held or stands aside gets it here. Jobs that run at once never
-- enter these.

create index jobs_scheduled_by_tenant on safelight.jobs ((coalesce(tenant, '')), queue, run_at) where state = 3;
create index jobs_put_by_tenant on safelight.jobs ((coalesce(tenant, '')), state, queue) where state in (2, 4);

-- As before (0107), each count twice: of all, and of one tenant along its own index.
create or replace function safelight.queue_numbers(p_queues text[], p_tenant text, p_most integer)
    returns table (queue text, due bigint, come bigint, later bigint, aside bigint, running bigint, held bigint, paused boolean, oldest_seconds bigint)
language sql stable
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
    select q.name,
        (select count(*) from (
            (select from safelight.jobs j where p_tenant is null and j.state = 0 and j.queue = q.name limit p_most)
            union all (select from safelight.jobs j where j.state = 0 and j.queue = q.name and coalesce(j.tenant, '') = p_tenant limit p_most)) x),
        (select count(*) from (
            (select from safelight.jobs j where p_tenant is null and j.state = 3 and j.queue = q.name and j.run_at <= c.n limit p_most)
            union all (select from safelight.jobs j where j.state = 3 and j.queue = q.name and coalesce(j.tenant, '') = p_tenant
                and j.run_at <= c.n limit p_most)) x),
        (select count(*) from (
            (select from safelight.jobs j where p_tenant is null and j.state = 3 and j.queue = q.name and j.run_at > c.n limit p_most)
            union all (select from safelight.jobs j where j.state = 3 and j.queue = q.name and coalesce(j.tenant, '') = p_tenant
                and j.run_at > c.n limit p_most)) x),
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
            (select j.run_at from safelight.jobs j where p_tenant is null and j.state = 3 and j.queue = q.name and j.run_at <= c.n
                order by j.run_at limit 1),
            (select j.run_at from safelight.jobs j where j.state = 3 and j.queue = q.name and coalesce(j.tenant, '') = p_tenant
                and j.run_at <= c.n order by j.run_at limit 1))))::bigint
    from unnest(p_queues) q(name)
        cross join (select safelight.now() as n) c
        -- These for all queues at once: the index of all of them is not by queue.
        left join (select x.queue, count(*) as n from (
            (select j.queue from safelight.jobs j where p_tenant is null and j.state = 4 limit p_most)
            union all (select j.queue from safelight.jobs j where j.state = 4 and coalesce(j.tenant, '') = p_tenant limit p_most)) x
            group by 1) a on a.queue = q.name
        left join (select x.queue, count(*) as n from (
            (select j.queue from safelight.jobs j where p_tenant is null and j.state = 2 limit p_most)
            union all (select j.queue from safelight.jobs j where j.state = 2 and coalesce(j.tenant, '') = p_tenant limit p_most)) x
            group by 1) h on h.queue = q.name
$$;
