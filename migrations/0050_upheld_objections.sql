-- An objection that was upheld (GDPR Art. 21) closes the gates for its purpose, and for no other one.

alter table safelight.deletions drop constraint deletions_trigger_check;
alter table safelight.deletions add constraint deletions_trigger_check
    check (trigger in ('erasure', 'retention', 'withdrawal', 'objection', 'one_photo', 'failed_order'));

-- The gate: this is its text now, in the place of that in 0007.
create or replace function safelight.pass_gate(
    p_subject uuid,
    p_purpose text,
    p_processor text,
    p_classes text[],
    p_order uuid default null,
    p_batch uuid default null,
    p_objects uuid[] default '{}',
    p_generation integer default null
) returns safelight.gate_answer
language plpgsql volatile
as $$
declare
    a safelight.gate_answer;
    s record;
    o record;
    p record;
    point text;
    latest record;
    object record;
begin
    perform safelight.share_subject(p_subject);
    -- From here on every statement sees what was committed before the lock was ours.
    select tenant, state, generation into s from safelight.subjects where id = p_subject;
    if not found then a.code := 'subject_unknown'; return a; end if;
    a.tenant := s.tenant;
    a.generation := s.generation;
    if s.state in ('erasing', 'erased') then a.code := 'subject_erased'; return a; end if;
    if s.state = 'restricted' then a.code := 'subject_restricted'; return a; end if;
    if p_generation is not null and p_generation <> s.generation then a.code := 'subject_erased'; return a; end if;

    a.policy_version := safelight.policy_in_force(s.tenant);
    if a.policy_version is null then a.code := 'no_policy'; return a; end if;
    select basis, capture_points into p from safelight.policy_purposes
        where tenant = s.tenant and version = a.policy_version and purpose = p_purpose;
    if not found then a.code := 'purpose_not_allowed'; a.detail := p_purpose; return a; end if;
    -- Art. 21: who objected and was right is right about this purpose only, and until they agree to it.
    if p.basis <> 'consent' then
        perform from safelight.objections where subject_id = p_subject and purpose = p_purpose and state = 'upheld';
        if found then a.code := 'purpose_objected'; a.detail := p_purpose; return a; end if;
    end if;
    select c into a.detail from unnest(p_classes) c
        where not exists (select from safelight.policy_rules r where r.tenant = s.tenant and r.version = a.policy_version
            and r.purpose = p_purpose and r.processor = p_processor and r.class = c) limit 1;
    if found then
        a.code := 'purpose_not_allowed';
        a.detail := p_purpose || ' of ' || a.detail || ' by ' || p_processor;
        return a;
    end if;

    if p_order is not null then
        select * into o from safelight.orders where id = p_order;
        if not found or o.subject_id <> p_subject then a.code := 'order_foreign'; return a; end if;
        if p_batch is null then p_batch := o.batch_id; end if;
        if p_purpose in ('train', 'generate', 'compare', 'nsfw') then
            if o.state in ('refused', 'expired', 'refund_review') then a.code := 'order_stopped'; return a; end if;
            if o.paid_at is null then a.code := 'order_unpaid'; return a; end if;
            if p_purpose = 'train' and not o.needs_model then a.code := 'plan_without_training'; return a; end if;
        end if;
    end if;

    a.grants := '{}';
    if p.basis = 'consent' then
        foreach point in array p.capture_points loop
            select id, at, event into latest from safelight.consents c
                where c.subject_id = p_subject and c.purpose = p_purpose
                  and (c.event <> 'granted' and c.batch_id is null and c.order_id is null
                    or c.capture_point = point and case point
                        when 'upload' then c.batch_id = p_batch
                        when 'checkout' then c.order_id = p_order
                        else true end
                    or c.event <> 'granted' and (c.batch_id = p_batch or c.order_id = p_order))
                order by c.seq desc limit 1;
            a.detail := p_purpose || ' at ' || point;
            if not found then a.code := 'consent_missing'; return a; end if;
            if latest.event <> 'granted' then a.code := 'consent_withdrawn'; return a; end if;
            -- K16, N21: the consent to train comes before the checkout, and the checkout before the payment. (Two ifs: `o`
            -- is not there for a consent without an order.)
            if point = 'checkout' then
                if o.checkout_at is null or latest.at > o.checkout_at or o.checkout_at > o.paid_at then
                    a.code := 'consent_after_checkout'; return a;
                end if;
            end if;
            a.grants := a.grants || latest.id;
        end loop;
        a.detail := null;
    end if;

    for object in
        select w.id as wanted, x.* from unnest(p_objects) w(id) left join safelight.artifacts x on x.id = w.id
    loop
        a.detail := object.class;
        if object.id is null then a.code := 'object_gone'; return a; end if;
        if object.subject_id <> p_subject
            or p_order is not null and object.order_id is distinct from p_order and object.batch_id is distinct from p_batch then
            a.code := 'object_foreign'; return a;
        end if;
        if object.state <> 'stored' or object.generation <> s.generation
            or object.delete_after is not null and object.delete_after <= safelight.now() then
            a.code := 'object_gone'; return a;
        end if;
    end loop;
    a.detail := null;
    return a;
end $$;

-- Work of a purpose that the person was right to object to leaves the queue, held work too, and calls in flight are marked to be
-- cancelled and purged, as at a withdrawal. Answers how many jobs. Nothing for an objection that nobody has upheld.
create function safelight.end_objected_work(p_subject uuid, p_purpose text, p_kinds text[]) returns integer
language plpgsql volatile security definer set search_path = pg_catalog
as $$
declare
    v_cancelled integer;
begin
    perform safelight.own_subject(p_subject);
    perform from safelight.objections where subject_id = p_subject and purpose = p_purpose and state = 'upheld';
    if not found then return 0; end if;
    v_cancelled := safelight.cancel_jobs(p_subject, p_kinds, 'purpose_objected');
    update safelight.provider_calls set cancel_wanted = true, purge = case when purge = 'purged' then purge else 'wanted' end
        where subject_id = p_subject and purpose = p_purpose;
    return v_cancelled;
end $$;
grant execute on function safelight.end_objected_work to safelight_api;

-- Why a job waits: this is its text now, in the place of that in 0014. It says which objection holds a job up or has ended it.
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
