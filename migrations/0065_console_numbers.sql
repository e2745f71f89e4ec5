-- What the console asks at any size.

-- How much of each provider's work runs and is set aside: by the partial index of each state, and counted up to a bound.
-- Sequential scans are off because the planner takes a bound for an invitation to read on until it is reached.
create function safelight.provider_numbers(p_providers text[], p_queues text[], p_most integer)
    returns table (provider text, running bigint, aside bigint, oldest timestamptz)
language sql stable
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
    select p.name,
        (select count(*) from safelight.jobs j join safelight.job_kinds k on k.kind = j.kind where j.state = 1 and k.provider = p.name),
        (select count(*) from (select from safelight.jobs j where j.state = 4 and j.why = 'provider:' || p.name limit p_most) a),
        (select min(first.run_at) from unnest(p_queues) q(name), lateral (select j.run_at from safelight.jobs j
            where j.state = 4 and j.why = 'provider:' || p.name and j.queue = q.name order by j.rank, j.id limit 1) first)
    from unnest(p_providers) p(name) order by 1
$$;
revoke execute on function safelight.provider_numbers from public;
grant execute on function safelight.provider_numbers to safelight_api;

-- The deletions that were completed last.
create index deletions_completed on safelight.deletions (completed_at) where state = 'complete';
-- Orders whose money a person has to decide about.
create index orders_in_review on safelight.orders (paid_at) where state = 'refund_review';
