-- Control of the whole fleet: what is paused, how much runs at once, how often a provider is asked, and whether it is in
-- trouble. Stored, so that it counts for every process at once and outlasts them.

create table safelight.controls (
    scope text not null check (scope in ('queue', 'kind', 'tenant', 'provider')),
    name text not null,
    paused boolean not null default false,
    most integer check (most > 0),                        -- running at once, in the whole fleet
    per_second double precision check (per_second > 0),   -- starts; a token bucket of all processes together
    burst integer check (burst > 0),
    tokens double precision not null default 0,
    tokens_at timestamptz not null default safelight.now(),
    why text,                                             -- for the operators; no personal data
    actor text not null default 'owner',
    changed_at timestamptz not null default safelight.now(),
    primary key (scope, name),
    constraint a_rate_is_a_providers check (per_second is null or scope = 'provider'),
    constraint a_rate_has_a_burst check ((per_second is null) = (burst is null))
);

-- Who did what to the fleet, to jobs and to schedules, and why. The audit log has the same acts without names and words.
create table safelight.operator_acts (
    id uuid primary key default safelight.uuid_v7(),
    at timestamptz not null default safelight.now(),
    actor text not null,
    why text not null check (why <> ''),
    action text not null,
    outcome text not null,
    about text not null
);

-- A provider that fails again and again is left alone: its jobs are set aside and spend no attempts, until one of them,
-- sent to look, comes back well.
create table safelight.breakers (
    provider text primary key,
    state text not null default 'closed' check (state in ('closed', 'open', 'probing')),
    failures integer not null default 0,                  -- since the last success
    opens integer not null default 0,                     -- since it was last closed: each doubles the pause
    opened_at timestamptz,
    probe_at timestamptz,                                 -- when one job may look; while probing: when another may
    constraint open_says_until_when check (state = 'closed' or probe_at is not null)
);

-- How many more may start, by what limits them; null: as many as there are.
create function safelight.rooms() returns table (dim text, room integer)
language sql volatile set enable_seqscan = off
as $$
    with running as materialized (
        select j.kind, k.provider, count(*)::integer as n
        from safelight.jobs j left join safelight.job_kinds k on k.kind = j.kind where j.state = 1 group by 1, 2
    )
    select 'kind:' || c.name, case when c.paused then 0 when c.most is not null
            then greatest(0, c.most - coalesce((select sum(r.n) from running r where r.kind = c.name), 0))::integer end
        from safelight.controls c where c.scope = 'kind'
    union all
    select 'provider:' || p.name, least(
            case when c.paused then 0 end,
            case when c.most is not null
                then greatest(0, c.most - coalesce((select sum(r.n) from running r where r.provider = p.name), 0))::integer end,
            case when c.per_second is not null then floor(least(c.burst, c.tokens + greatest(0, extract(epoch from safelight.now() - c.tokens_at)) * c.per_second))::integer end,
            case when b.state <> 'closed' then case when b.probe_at <= safelight.now() then 1 else 0 end end)
        from (select name from safelight.controls where scope = 'provider' union select provider from safelight.breakers) p
        left join safelight.controls c on c.scope = 'provider' and c.name = p.name
        left join safelight.breakers b on b.provider = p.name
$$;

-- Take up to `p_batch` ready jobs of one queue under one fencing token.
--
-- The order: whose tenant runs least, then by rank. So no tenant waits for the backlog of another, only for the next
-- place. Where nothing is limited and one tenant alone has work, that is one index scan. Where something is limited, one
-- claim at a time decides; what finds no room is set aside under the name of what it waits for, so that nobody reads it
-- again before there is room.
-- `p_floor`: ranks before it are not looked at. A worker that empties a long queue passes the rank that it has reached, so
-- that it need not step over the dead rows before it while an old snapshot keeps them; every now and then it passes none.
create function safelight.claim(
    p_queue text, p_batch integer, p_worker text, p_token uuid, p_lease_seconds double precision, p_floor timestamptz default null
) returns table (id uuid, kind text, version smallint, payload jsonb, attempt integer, max_attempts integer, tenant text,
    subject_id uuid, order_id uuid, traceparent text, deadline_at timestamptz, rank timestamptz)
language plpgsql volatile
-- The table is empty one minute and full the next: plans that statistics choose are wrong in one of them.
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    v_now timestamptz := safelight.now();
    v_tenant text;
    v_limited boolean;
    v_queue safelight.controls;
    v_left integer := p_batch;
    v_tenants integer;
    v_dims text[];
    v_rooms integer[];
    v_ids uuid[];
    v_reasons text[];
    v_taken uuid[];
begin
    -- A claim that a crash of the server takes back is a job that was never claimed: whatever its attempt commits is
    -- committed durably, and the claim before it with it; and an attempt whose claim is lost has no lease.
    perform set_config('synchronous_commit', 'off', true);
    if exists (select from safelight.jobs j where j.queue = p_queue and j.state = 3 and j.run_at <= v_now) then
        update safelight.jobs j set state = 0, why = null from (
            select d.id from safelight.jobs d where d.queue = p_queue and d.state = 3 and d.run_at <= v_now
            order by d.run_at limit greatest(2 * p_batch, 100) for update skip locked
        ) due where j.id = due.id;
    end if;

    v_limited := exists (select from safelight.controls c
            where (c.paused or c.most is not null or c.per_second is not null) and (c.scope <> 'queue' or c.name = p_queue))
        or exists (select from safelight.breakers b where b.state <> 'closed')
        or exists (select from safelight.job_kinds k where k.queue = p_queue and k.lane_most is not null)
        or exists (select from safelight.jobs j where j.queue = p_queue and j.state = 4);
    if not v_limited then
        -- From the end of the index, where nothing is dead, and then whether anybody is before it: a look at the first row
        -- would step over all that was finished since the last vacuum.
        select coalesce(j.tenant, '') into v_tenant from safelight.jobs j
            where j.queue = p_queue and j.state = 0 order by j.queue desc, coalesce(j.tenant, '') desc limit 1;
        if not found then return; end if;
        if not exists (select from safelight.jobs j where j.queue = p_queue and j.state = 0 and coalesce(j.tenant, '') < v_tenant) then
            return query
                with due as materialized (
                    select j.ctid as place from safelight.jobs j
                    where j.queue = p_queue and coalesce(j.tenant, '') = v_tenant and j.state = 0
                        and j.rank >= coalesce(p_floor, '-infinity')
                    order by j.rank, j.id limit p_batch for update skip locked
                )
                -- Locked rows stay at their places.
                update safelight.jobs j set state = 1, lease_token = p_token, worker = p_worker, why = null,
                    lease_until = clock_timestamp() + make_interval(secs => p_lease_seconds), started_at = clock_timestamp()
                from due where j.ctid = due.place
                returning j.id, j.kind, j.version, j.payload, j.attempt, j.max_attempts, j.tenant, j.subject_id, j.order_id,
                    j.traceparent, j.deadline_at, j.rank;
            return;
        end if;
    else
        -- One claim at a time sees how much room there is. The lock is a statement of its own: what follows sees what the
        -- one before committed.
        perform pg_advisory_xact_lock(5319, 1);
        select * into v_queue from safelight.controls c where c.scope = 'queue' and c.name = p_queue;
        if v_queue.paused then return; end if;
        if v_queue.most is not null then
            v_left := least(v_left, v_queue.most - (select count(*) from safelight.jobs j where j.queue = p_queue and j.state = 1)::integer);
        end if;
        -- Let in what was set aside and has room by now.
        update safelight.jobs j set state = 0, why = null from (
            select a.id from safelight.rooms() r
            cross join lateral (
                select w.id from safelight.jobs w where w.why = r.dim and w.queue = p_queue and w.state = 4
                order by w.rank, w.id limit least(coalesce(r.room, p_batch), p_batch) for update skip locked
            ) a
        ) come where j.id = come.id;
    end if;

    for v_round in 1..20 loop
        exit when v_left <= 0;
        if v_limited then
            select array_agg(r.dim), array_agg(r.room) into v_dims, v_rooms from safelight.rooms() r where r.room is not null;
        end if;
        with recursive tenants as (
            (select coalesce(j.tenant, '') as t from safelight.jobs j
                where j.queue = p_queue and j.state = 0 order by j.queue, coalesce(j.tenant, '') limit 1)
            union all
            select (select coalesce(j.tenant, '') from safelight.jobs j
                where j.queue = p_queue and j.state = 0 and coalesce(j.tenant, '') > tenants.t order by coalesce(j.tenant, '') limit 1)
            from tenants where tenants.t is not null
        ), shares as (
            -- A hundred that run least, whoever they are: each of them has its turn before anybody else has two.
            select t.t as tenant, coalesce(r.here, 0) as running, c.most - coalesce(r.everywhere, 0) as room, count(*) over () as tenants
            from tenants t
            left join (
                select coalesce(j.tenant, '') as tenant, count(*) filter (where j.queue = p_queue) as here, count(*) as everywhere
                from safelight.jobs j where j.state = 1 group by 1
            ) r on r.tenant = t.t
            left join safelight.controls c on c.scope = 'tenant' and c.name = t.t
            where t.t is not null and not coalesce(c.paused, false) and (c.most is null or c.most > coalesce(r.everywhere, 0))
            order by running, random() limit 100
        ), heads as (
            select h.*, row_number() over (partition by s.tenant order by h.rank, h.id) + s.running as turn
            from shares s cross join lateral (
                select j.id, j.rank, j.kind, j.lane from safelight.jobs j
                where j.queue = p_queue and coalesce(j.tenant, '') = s.tenant and j.state = 0
                order by j.rank, j.id
                limit least(s.room, greatest(1, (v_left + least(s.tenants, 100) - 1) / least(s.tenants, 100)))
                for update skip locked
            ) h
        ), chosen as (
            select h.id, h.rank, h.turn, h.kind, h.lane, k.provider, k.lane_most from heads h
            left join safelight.job_kinds k on k.kind = h.kind
            order by h.turn, h.rank, h.id limit v_left
        ), numbered as (
            select c.*, row_number() over (partition by c.kind order by c.turn, c.rank, c.id) as of_kind,
                row_number() over (partition by c.provider order by c.turn, c.rank, c.id) as of_provider,
                row_number() over (partition by c.lane order by c.turn, c.rank, c.id) as of_lane
            from chosen c
        )
        select array_agg(n.id), array_agg(case
                when n.of_kind > (select room from unnest(v_dims, v_rooms) r(dim, room) where dim = 'kind:' || n.kind) then 'kind:' || n.kind
                when n.of_provider > (select room from unnest(v_dims, v_rooms) r(dim, room) where dim = 'provider:' || n.provider)
                    then 'provider:' || n.provider
                when n.lane is not null and n.lane_most is not null and n.of_lane + (select count(*) from safelight.jobs j
                        where j.queue = p_queue and j.state = 1 and j.lane = n.lane) > n.lane_most then 'lane:' || n.lane
            end)
            into v_ids, v_reasons from numbered n;
        exit when v_ids is null;
        v_taken := array(select i from unnest(v_ids, v_reasons) x(i, reason) where reason is null);
        return query
            update safelight.jobs j set state = 1, lease_token = p_token, worker = p_worker, why = null,
                lease_until = clock_timestamp() + make_interval(secs => p_lease_seconds), started_at = clock_timestamp()
            where j.id = any (v_taken)
            returning j.id, j.kind, j.version, j.payload, j.attempt, j.max_attempts, j.tenant, j.subject_id, j.order_id,
                j.traceparent, j.deadline_at, j.rank;
        v_left := v_left - cardinality(v_taken);
        if v_limited and cardinality(v_taken) > 0 then
            -- A token a start; and whoever starts at a provider that is left alone is the one that looks.
            update safelight.controls c set tokens_at = v_now, tokens = least(c.burst, c.tokens
                    + greatest(0, extract(epoch from v_now - c.tokens_at)) * c.per_second) - started.n
                from (select k.provider, count(*) as n from safelight.jobs j join safelight.job_kinds k on k.kind = j.kind
                    where j.id = any (v_taken) group by 1) started
                where c.scope = 'provider' and c.name = started.provider and c.per_second is not null;
            update safelight.breakers b set state = 'probing', probe_at = v_now + interval '2 minutes'
                where b.state <> 'closed' and b.provider in (select k.provider from safelight.jobs j
                    join safelight.job_kinds k on k.kind = j.kind where j.id = any (v_taken));
        end if;
        exit when cardinality(v_taken) = cardinality(v_ids) and not v_limited;
        update safelight.jobs j set state = 4, why = x.reason
            from unnest(v_ids, v_reasons) x(i, reason) where j.id = x.i and x.reason is not null;
    end loop;
end $$;

-- Whoever leaves a lane, by whatever statement, lets the next one in.
create function safelight.leave_lane() returns trigger
language plpgsql volatile
as $$
begin
    update safelight.jobs j set state = 0, why = null where j.id = (
        select n.id from safelight.jobs n where n.why = 'lane:' || old.lane and n.state = 4
        order by n.rank, n.id limit 1 for update skip locked);
    return null;
end $$;
create trigger a_finished_job_leaves_its_lane after delete on safelight.jobs
    for each row when (old.lane is not null and old.state = 1) execute function safelight.leave_lane();
create trigger a_stopped_job_leaves_its_lane after update of state on safelight.jobs
    for each row when (old.lane is not null and old.state = 1 and new.state <> 1) execute function safelight.leave_lane();

-- A job may be set aside for a lane in the moment in which the lane is left. Looked for by every rescuer.
create function safelight.open_lanes() returns bigint
language sql volatile set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
    with recursive lanes as (
        (select j.why from safelight.jobs j where j.state = 4 and j.why > 'lane:' and j.why < 'lane;' order by j.why limit 1)
        union all
        select (select j.why from safelight.jobs j where j.state = 4 and j.why > lanes.why and j.why < 'lane;' order by j.why limit 1)
        from lanes where lanes.why is not null
    ), heads as (
        select (select j.id from safelight.jobs j where j.state = 4 and j.why = l.why order by j.rank, j.id limit 1) as id
        from lanes l where l.why is not null
            and not exists (select from safelight.jobs r where r.state = 1 and r.lane = substr(l.why, 6))
    ), opened as (
        update safelight.jobs j set state = 0, why = null from heads where j.id = heads.id and j.state = 4 returning 1
    )
    select count(*) from opened
$$;

-- What attempts found out about providers: trouble opens the breaker, a success closes it. Five failures in a row open it
-- for half a minute, each further time for twice as long, ten minutes at the most.
create function safelight.provider_news(p_well text[], p_trouble text[]) returns void
language plpgsql volatile
as $$
declare
    v_now timestamptz := safelight.now();
    p text;
begin
    update safelight.breakers b set state = 'closed', failures = 0, opens = 0, opened_at = null, probe_at = null
        where b.provider = any (p_well) and (b.state <> 'closed' or b.failures > 0);
    foreach p in array p_trouble loop
        insert into safelight.breakers as b (provider, failures) values (p, 1)
            on conflict (provider) do update set failures = b.failures + 1;
        update safelight.breakers b set state = 'open', opens = b.opens + 1, opened_at = v_now,
                probe_at = v_now + least(interval '10 minutes', interval '30 seconds' * power(2, least(b.opens, 10)))
            where b.provider = p and (b.state = 'probing' or b.state = 'closed' and b.failures >= 5);
    end loop;
end $$;

-- Why does a job not run? One row for a job in whatever state.
create function safelight.explain_job(p_job uuid) returns table (state text, code text, detail text)
language plpgsql volatile set enable_seqscan = off
as $$
declare
    v_now timestamptz := safelight.now();
    j record;
    c record;
    b record;
    v_dim text;
    v_name text;
    v_ahead bigint;
begin
    select * into j from safelight.jobs x where x.id = p_job;
    if not found then
        return query select a.outcome, coalesce(a.code, 'ended'), 'ended ' || a.finished_at::timestamptz(0) from safelight.jobs_archive a where a.id = p_job limit 1;
        if found then return; end if;
        return query select 'dead'::text, d.code, 'a dead letter since ' || d.died_at::timestamptz(0) || '; redrive it when its cause is gone'
            from safelight.dead_letters d where d.id = p_job;
        return;
    end if;
    if j.state = 1 then
        return query select 'running'::text, case when j.lease_until < clock_timestamp() then 'lease_over' else 'running' end,
            'attempt ' || j.attempt + 1 || ' at ' || coalesce(j.worker, 'a worker') || ', lease until ' || j.lease_until::timestamptz(0);
    elsif j.state = 2 then
        return query select 'held'::text, coalesce(j.why, 'held'), 'until somebody releases it'::text;
    elsif j.state = 3 then
        return query select 'scheduled'::text, coalesce(j.why, 'scheduled'), 'not before ' || j.run_at::timestamptz(0)
            || case when j.attempt > 0 then ', after ' || j.attempt || ' failed attempts' else '' end;
    elsif j.state = 4 then
        v_dim := split_part(j.why, ':', 1);
        v_name := substr(j.why, length(v_dim) + 2);
        if v_dim = 'lane' then
            return query select 'set_aside'::text, 'lane_full'::text, coalesce((select 'behind job ' || r.id || ' in the lane ' || v_name
                from safelight.jobs r where r.lane = v_name and r.state = 1 limit 1), 'first in the lane ' || v_name);
            return;
        end if;
        select * into c from safelight.controls x where x.scope = v_dim and x.name = v_name;
        select * into b from safelight.breakers x where x.provider = v_name and v_dim = 'provider';
        return query select 'set_aside'::text, v_dim || case when c.paused then '_paused' when b.state <> 'closed' then '_in_trouble'
                when c.per_second is not null then '_rate' else '_full' end,
            case when c.paused then v_name || ' is paused by ' || c.actor || coalesce(': ' || c.why, '')
                when b.state <> 'closed' then v_name || ' failed ' || b.failures || ' times; one job looks again at ' || b.probe_at::timestamptz(0)
                when c.per_second is not null then v_name || ' is asked ' || c.per_second || ' times a second at the most'
                when c.most is not null then c.most || ' of ' || v_name || ' run at once at the most'
                else 'there is room again; it is let in at the next claim' end;
    else
        select * into c from safelight.controls x where x.scope = 'queue' and x.name = j.queue and (x.paused or x.most is not null);
        if c.paused then
            return query select 'ready'::text, 'queue_paused'::text, j.queue || ' is paused by ' || c.actor || coalesce(': ' || c.why, '');
            return;
        elsif c.most <= (select count(*) from safelight.jobs r where r.queue = j.queue and r.state = 1) then
            return query select 'ready'::text, 'queue_full'::text, c.most || ' of ' || j.queue || ' run at once at the most';
            return;
        end if;
        select * into c from safelight.controls x where x.scope = 'tenant' and x.name = j.tenant and (x.paused or x.most is not null);
        if c.paused then
            return query select 'ready'::text, 'tenant_paused'::text, j.tenant || ' is paused by ' || c.actor || coalesce(': ' || c.why, '');
            return;
        elsif c.most <= (select count(*) from safelight.jobs r where r.tenant = j.tenant and r.state = 1) then
            return query select 'ready'::text, 'tenant_full'::text, c.most || ' of ' || j.tenant || ' run at once at the most';
            return;
        end if;
        if not exists (select from safelight.workers w where j.queue = any (w.queues) and w.seen_at > clock_timestamp() - interval '1 minute') then
            return query select 'ready'::text, 'no_worker'::text, 'no live worker serves the queue ' || j.queue;
            return;
        end if;
        select count(*) into v_ahead from (select from safelight.jobs x where x.queue = j.queue and x.state = 0
            and coalesce(x.tenant, '') = coalesce(j.tenant, '') and (x.rank, x.id) < (j.rank, j.id) limit 1000) a;
        return query select 'ready'::text, 'in_line'::text,
            case when v_ahead = 1000 then '1000 or more' else v_ahead::text end || ' of its tenant are before it in the queue ' || j.queue;
    end if;
end $$;

grant select on safelight.controls, safelight.breakers to safelight_api, safelight_worker, safelight_auditor;
grant insert, update on safelight.controls to safelight_api;
grant insert, select on safelight.operator_acts to safelight_api;
grant select on safelight.operator_acts to safelight_auditor;
grant update (tokens, tokens_at) on safelight.controls to safelight_worker;
grant insert, update on safelight.breakers to safelight_api, safelight_worker;
grant execute on function safelight.rooms, safelight.claim, safelight.leave_lane, safelight.open_lanes, safelight.provider_news,
    safelight.explain_job to safelight_worker;
grant execute on function safelight.leave_lane, safelight.explain_job, safelight.rooms to safelight_api;
