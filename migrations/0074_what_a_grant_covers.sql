-- What a consent covers, and what ends with it, whichever purpose a tenant's policy rests on consent.

-- The gate: this is its text now, in the place of that in 0050. A grant covers what its own policy version said of the purpose.
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
            select id, at, event, policy_version into latest from safelight.consents c
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
            -- N30: a grant covers what its own version said of the purpose; what a later one adds is not agreed to yet.
            select c into a.detail from unnest(p_classes) c
                where not exists (select from safelight.policy_rules r where r.tenant = s.tenant and r.version = latest.policy_version
                    and r.purpose = p_purpose and r.processor = p_processor and r.class = c) limit 1;
            if found then
                a.code := 'consent_missing';
                a.detail := p_purpose || ' of ' || a.detail || ' by ' || p_processor || ', which version ' || latest.policy_version || ' did not name';
                return a;
            end if;
            a.detail := p_purpose || ' at ' || point;
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

-- Classes of objects that a purpose makes.
create function safelight.made_for(p_purpose text) returns text[]
language sql immutable
as $$ select case p_purpose when 'train' then array['bundle', 'model'] when 'generate' then array['image'] else array[]::text[] end $$;
grant execute on function safelight.made_for to safelight_worker;

-- Consent withdrawn: this is its text now, in the place of that in 0007. What was said of training there is so of every purpose
-- that an order needs.
create or replace function safelight.withdraw_consent(p_id uuid, p_subject uuid, p_purpose text, p_actor text, p_kinds text[]) returns integer
language plpgsql volatile security definer set search_path = pg_catalog
as $$
declare
    s record;
    v_cancelled integer;
begin
    perform safelight.own_subject(p_subject);
    select tenant into s from safelight.subjects where id = p_subject;
    if not found then raise exception 'subject_unknown' using errcode = 'SL002'; end if;
    perform from safelight.policy_purposes where tenant = s.tenant and version = safelight.policy_in_force(s.tenant)
        and purpose = p_purpose and basis = 'consent';
    if not found then
        raise exception 'consent_not_asked_for' using errcode = 'SL002', detail = p_purpose;
    end if;
    insert into safelight.consents (id, tenant, subject_id, event, purpose, capture_point, policy_version, actor)
        values (p_id, s.tenant, p_subject, 'withdrawn', p_purpose, 'settings', safelight.policy_in_force(s.tenant), p_actor);
    -- No gate and no reader is let to what was made on this consent from this instant, whenever it is deleted.
    update safelight.artifacts set delete_after = least(delete_after, safelight.now())
        where subject_id = p_subject and class = any (safelight.made_for(p_purpose));
    -- An order that needs it is for a person to look at, and a redrive does not take it back: its repair is over, whatever the
    -- clock does. A comparison is done without (N31).
    if p_purpose in ('train', 'generate', 'nsfw') then
        update safelight.orders set state = 'refund_review', problem = 'consent_withdrawn',
                repair_until = case when repair_until is not null then '-infinity'::timestamptz end
            where subject_id = p_subject and (needs_model or p_purpose <> 'train')
                and (state in ('paid', 'training', 'generating') or state = 'refund_review' and repair_until is not null);
        update safelight.artifacts a set delete_after = least(a.delete_after, safelight.now())
            from safelight.orders o where o.id = a.order_id and o.subject_id = p_subject and o.state = 'refund_review'
                and (a.class = 'bundle' or a.class = 'image' and a.delivered_at is null);
    elsif p_purpose = 'compare' then
        update safelight.orders set selfies_measured_at = null where subject_id = p_subject and state in ('paid', 'training', 'generating');
    end if;
    v_cancelled := safelight.cancel_jobs(p_subject, p_kinds, 'consent_withdrawn');
    update safelight.provider_calls set cancel_wanted = true, purge = case when purge = 'purged' then purge else 'wanted' end
        where subject_id = p_subject and purpose = p_purpose;
    return v_cancelled;
end $$;
