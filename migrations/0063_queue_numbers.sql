-- What stands in the queues, for the console and the metrics: by the partial index of each state, and counted up to a bound, so
-- that nobody reads ten million rows to say that they are many. Sequential scans are off because the planner takes a bound for
-- an invitation to read on until it is reached.
create function safelight.queue_numbers(p_queues text[], p_tenant text, p_most integer)
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
        (select count(*) from safelight.jobs j where j.state = 2 and j.queue = q.name and (p_tenant is null or j.tenant = p_tenant)),
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
        -- For all queues at once: its index is by what is waited for, not by queue.
        left join (select x.queue, count(*) as n from (select j.queue from safelight.jobs j where j.state = 4
            and (p_tenant is null or j.tenant = p_tenant) limit p_most) x group by 1) a on a.queue = q.name
$$;
revoke execute on function safelight.queue_numbers from public;
grant execute on function safelight.queue_numbers to safelight_api;
