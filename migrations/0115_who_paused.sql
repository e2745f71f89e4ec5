-- Who paused something, and why, stays with it while it is paused: a limit that somebody else changes meanwhile is not a pause. Kept by
-- the row itself, so that the version before, which knows these columns not, keeps them as well.
alter table safelight.controls add column paused_by text, add column paused_why text, add column paused_at timestamptz;
update safelight.controls set paused_by = actor, paused_why = why, paused_at = changed_at where paused;

create function safelight.who_paused() returns trigger language plpgsql as $$
begin
    if not new.paused then
        new.paused_by := null; new.paused_why := null; new.paused_at := null;
    elsif tg_op = 'INSERT' or not old.paused then
        new.paused_by := new.actor; new.paused_why := new.why; new.paused_at := new.changed_at;
    end if;
    return new;
end $$;
revoke execute on function safelight.who_paused from public;
create trigger who_paused before insert or update on safelight.controls for each row execute function safelight.who_paused();

-- Why a job waits: this is its text now, in the place of that in 0093. While nothing may be claimed, that is why; and a job whose time is
-- over waits for what any other that is due waits for.
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
    v_state text;
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
    v_state := case j.state when 3 then 'scheduled' else 'ready' end;
    if j.why like 'subject_restricted%' then
        select 'until somebody decides about the objection to ' || string_agg(o.purpose, ', ' order by o.purpose) into v_objection
            from safelight.objections o where o.subject_id = j.subject_id and o.state = 'open';
    end if;
    if j.state = 1 then
        return query select 'running'::text, case when j.lease_until < clock_timestamp() then 'lease_over' else 'running' end,
            'attempt ' || j.attempt + 1 || ' at ' || coalesce(j.worker, 'a worker') || ', lease until ' || j.lease_until::timestamptz(0);
    elsif j.state = 2 then
        return query select 'held'::text, coalesce(j.why, 'held'), coalesce(v_objection, 'until somebody releases it');
    elsif (j.state in (0, 4) or j.run_at <= v_now) and not safelight.may_claim() then
        return query select case j.state when 0 then 'ready' when 4 then 'set_aside' else 'scheduled' end, 'nothing_is_claimed'::text,
            'this database was restored, or is a copy: nothing is claimed until safelight restore check, and replay, have brought it up to the ledger'::text;
    elsif j.state = 3 and j.run_at > v_now then
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
            case when c.paused then v_name || ' is paused by ' || coalesce(c.paused_by, c.actor) || coalesce(': ' || c.paused_why, '')
                when b.state <> 'closed' then v_name || ' failed ' || b.failures || ' times; one job looks again at ' || b.probe_at::timestamptz(0)
                when v_full then c.most || ' of ' || v_name || ' run at once at the most'
                when c.per_second is not null then v_name || ' is asked ' || c.per_second || ' times a second at the most'
                else 'there is room again; it is let in at the next claim' end;
    else
        select * into c from safelight.controls x where x.scope = 'queue' and x.name = j.queue and (x.paused or x.most is not null);
        if c.paused then
            return query select v_state, 'queue_paused'::text, j.queue || ' is paused by ' || coalesce(c.paused_by, c.actor) || coalesce(': ' || c.paused_why, '');
            return;
        elsif c.most <= (select count(*) from safelight.jobs r where r.queue = j.queue and r.state = 1) then
            return query select v_state, 'queue_full'::text, c.most || ' of ' || j.queue || ' run at once at the most';
            return;
        end if;
        select * into c from safelight.controls x where x.scope = 'tenant' and x.name = j.tenant and (x.paused or x.most is not null);
        if c.paused then
            return query select v_state, 'tenant_paused'::text, j.tenant || ' is paused by ' || coalesce(c.paused_by, c.actor) || coalesce(': ' || c.paused_why, '');
            return;
        elsif c.most <= (select count(*) from safelight.jobs r where r.tenant = j.tenant and r.state = 1) then
            return query select v_state, 'tenant_full'::text, c.most || ' of ' || j.tenant || ' run at once at the most';
            return;
        end if;
        if not exists (select from safelight.workers w where j.queue = any (w.queues) and w.seen_at > clock_timestamp() - interval '1 minute') then
            return query select v_state, 'no_worker'::text, 'no live worker serves the queue ' || j.queue;
            return;
        end if;
        select count(*) into v_ahead from (select from safelight.jobs x where x.queue = j.queue and x.state = 0
            and coalesce(x.tenant, '') = coalesce(j.tenant, '') and (x.rank, x.id) < (j.rank, j.id) limit 1000) a;
        return query select v_state, 'in_line'::text,
            case when v_ahead = 1000 then '1000 or more' else v_ahead::text end || ' of its tenant are before it in the queue ' || j.queue;
    end if;
end $$;
