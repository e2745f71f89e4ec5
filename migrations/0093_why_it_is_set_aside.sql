-- Why a job waits: this is its text now, in the place of that in 0050. A provider may have both a number and a rate: while the number
-- runs, it is what holds the job up; and where it does not, it is not named.
create or replace function safelight.explain_job(p_job uuid) returns table (state text, code text, detail text)
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
    v_objection text;
    v_full boolean;
begin
    select * into j from safelight.jobs x where x.id = p_job;
    if not found then
        return query select a.outcome, coalesce(a.code, 'ended'), 'ended ' || a.finished_at::timestamptz(0)
            || case when a.code = 'purpose_objected' then ': an objection of the person to its purpose was upheld' else '' end
            from safelight.jobs_archive a where a.id = p_job limit 1;
        if found then return; end if;
        return query select 'dead'::text, d.code, 'a dead letter since ' || d.died_at::timestamptz(0)
            || case when d.code = 'purpose_objected' then '; an objection of the person to its purpose was upheld: discard it'
                else '; redrive it when its cause is gone' end
            from safelight.dead_letters d where d.id = p_job;
        return;
    end if;
    if j.why like 'subject_restricted%' then
        select 'until somebody decides about the objection to ' || string_agg(o.purpose, ', ' order by o.purpose) into v_objection
            from safelight.objections o where o.subject_id = j.subject_id and o.state = 'open';
    end if;
    if j.state = 1 then
        return query select 'running'::text, case when j.lease_until < clock_timestamp() then 'lease_over' else 'running' end,
            'attempt ' || j.attempt + 1 || ' at ' || coalesce(j.worker, 'a worker') || ', lease until ' || j.lease_until::timestamptz(0);
    elsif j.state = 2 then
        return query select 'held'::text, coalesce(j.why, 'held'), coalesce(v_objection, 'until somebody releases it');
    elsif j.state = 3 then
        return query select 'scheduled'::text, coalesce(j.why, 'scheduled'), 'not before ' || j.run_at::timestamptz(0)
            || case when j.attempt > 0 then ', after ' || j.attempt || ' failed attempts' else '' end
            || coalesce(', and ' || v_objection, '');
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
        v_full := c.most <= (select count(*) from safelight.jobs r left join safelight.job_kinds k on k.kind = r.kind
            where r.state = 1 and case v_dim when 'kind' then r.kind else k.provider end = v_name);
        return query select 'set_aside'::text, v_dim || case when c.paused then '_paused' when b.state <> 'closed' then '_in_trouble'
                when c.per_second is not null and v_full is not true then '_rate' else '_full' end,
            case when c.paused then v_name || ' is paused by ' || c.actor || coalesce(': ' || c.why, '')
                when b.state <> 'closed' then v_name || ' failed ' || b.failures || ' times; one job looks again at ' || b.probe_at::timestamptz(0)
                when v_full then c.most || ' of ' || v_name || ' run at once at the most'
                when c.per_second is not null then v_name || ' is asked ' || c.per_second || ' times a second at the most'
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
