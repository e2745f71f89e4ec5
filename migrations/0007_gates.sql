-- Gates, and the only ways to record personal data. Each takes the subject's advisory lock in share mode and then
-- checks, as two statements: in one statement the snapshot would be older than the wait for the lock. Who withdraws or
-- erases takes the same lock exclusively. Short transactions only; never a provider call inside one.

create type safelight.gate_answer as (
    code text,               -- null when the data may pass
    detail text,             -- which consent, which object
    tenant text,
    generation integer,
    grants uuid[],
    policy_version text
);

create function safelight.share_subject(p_subject uuid) returns void
language sql volatile as $$ select pg_advisory_xact_lock_shared(7301, hashtext(p_subject::text)) $$;

create function safelight.own_subject(p_subject uuid) returns void
language sql volatile as $$ select pg_advisory_xact_lock(7301, hashtext(p_subject::text)) $$;

create function safelight.pass_gate(
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

-- Raises SL002 with the gate's code, so that a caller who forgets to look still records nothing.
create function safelight.must_pass(
    p_subject uuid, p_purpose text, p_processor text, p_classes text[],
    p_order uuid default null, p_batch uuid default null, p_objects uuid[] default '{}', p_generation integer default null
) returns safelight.gate_answer
language plpgsql volatile
as $$
declare
    a safelight.gate_answer;
begin
    a := safelight.pass_gate(p_subject, p_purpose, p_processor, p_classes, p_order, p_batch, p_objects, p_generation);
    if a.code is not null then
        raise exception '%', a.code using errcode = 'SL002', detail = coalesce(a.detail, '');
    end if;
    return a;
end $$;

-- H4: the only way to make an upload row is an act of uploading.
create function safelight.record_upload(p_id uuid, p_subject uuid, p_batch uuid, p_key text) returns void
language plpgsql volatile security definer set search_path = pg_catalog
as $$
declare
    a safelight.gate_answer;
begin
    a := safelight.must_pass(p_subject, 'host', 'supabase', array['upload'], null, p_batch);
    insert into safelight.artifacts (id, tenant, subject_id, generation, class, batch_id, storage_key)
        values (p_id, a.tenant, p_subject, a.generation, 'upload', p_batch, p_key);
end $$;

-- The bytes are in the store: this starts the clock of an upload.
create function safelight.upload_arrived(p_id uuid, p_content_type text, p_bytes bigint, p_sha256 text) returns void
language plpgsql volatile security definer set search_path = pg_catalog
as $$
declare
    x record;
begin
    select * into strict x from safelight.artifacts where id = p_id and class = 'upload';
    perform safelight.must_pass(x.subject_id, 'host', 'supabase', array['upload'], null, x.batch_id, '{}', x.generation);
    update safelight.artifacts set state = 'stored', content_type = p_content_type, bytes = p_bytes, sha256 = p_sha256,
        uploaded_at = safelight.now() where id = p_id and state = 'expected';
end $$;

-- A row for a model or an image that is about to be stored, behind the gate of the purpose that makes it.
create function safelight.expect_artifact(
    p_id uuid, p_subject uuid, p_generation integer, p_order uuid, p_class text, p_position integer, p_key text
) returns uuid
language plpgsql volatile security definer set search_path = pg_catalog
as $$
declare
    a safelight.gate_answer;
    v_purpose text := case p_class when 'model' then 'train' when 'image' then 'generate' end;
    v_id uuid;
begin
    a := safelight.must_pass(p_subject, v_purpose, 'supabase', array[p_class], p_order, null, '{}', p_generation);
    insert into safelight.artifacts (id, tenant, subject_id, generation, class, order_id, position, storage_key)
        values (p_id, a.tenant, p_subject, a.generation, p_class, p_order, p_position, p_key)
        on conflict do nothing;
    select id into strict v_id from safelight.artifacts
        where order_id = p_order and class = p_class and position is not distinct from p_position;
    return v_id;
end $$;

-- The training zip: a copy of uploads under our own key, for the time of one training.
create function safelight.record_bundle(
    p_id uuid, p_subject uuid, p_generation integer, p_order uuid, p_key text, p_sources uuid[]
) returns uuid
language plpgsql volatile security definer set search_path = pg_catalog
as $$
declare
    a safelight.gate_answer;
    v_id uuid;
begin
    a := safelight.must_pass(p_subject, 'train', 'supabase', array['upload'], p_order, null, p_sources, p_generation);
    perform from safelight.artifacts where id = any (p_sources) and class <> 'upload';
    if found then raise exception 'object_foreign' using errcode = 'SL002', detail = 'a training takes uploads only'; end if;
    insert into safelight.artifacts (id, tenant, subject_id, generation, class, order_id, storage_key, delete_after)
        select p_id, a.tenant, p_subject, a.generation, 'bundle', p_order, p_key, min(delete_after)
        from safelight.artifacts where id = any (p_sources)
        on conflict do nothing;
    select id into strict v_id from safelight.artifacts where order_id = p_order and class = 'bundle';
    insert into safelight.artifact_sources (artifact_id, source_id) select v_id, s from unnest(p_sources) s on conflict do nothing;
    return v_id;
end $$;

create function safelight.artifact_arrived(
    p_id uuid, p_content_type text, p_bytes bigint, p_sha256 text, p_deliver boolean
) returns void
language plpgsql volatile security definer set search_path = pg_catalog
as $$
declare
    x record;
begin
    select * into strict x from safelight.artifacts where id = p_id and class in ('bundle', 'model', 'image');
    perform safelight.must_pass(x.subject_id, case x.class when 'image' then 'generate' else 'train' end, 'supabase',
        array[case x.class when 'bundle' then 'upload' else x.class end], x.order_id, null, '{}', x.generation);
    update safelight.artifacts set state = 'stored', content_type = p_content_type, bytes = p_bytes, sha256 = p_sha256,
        delivered_at = case when p_deliver then safelight.now() end
        where id = p_id and state = 'expected';
end $$;

-- K13: a vector exists only behind the consent to compare, checked in the transaction that inserts it.
create function safelight.record_embedding(
    p_subject uuid, p_generation integer, p_order uuid, p_upload uuid, p_model_name text, p_model_sha256 text, p_dimension integer, p_sealed bytea
) returns void
language plpgsql volatile security definer set search_path = pg_catalog
as $$
declare
    a safelight.gate_answer;
begin
    a := safelight.must_pass(p_subject, 'compare', 'self', array['upload', 'embedding'], p_order, null, array[p_upload], p_generation);
    -- K7: of a photo that the person gave, never of an image that was made.
    perform from safelight.artifacts where id = p_upload and class = 'upload';
    if not found then raise exception 'object_foreign' using errcode = 'SL002', detail = 'a vector is kept of an upload only'; end if;
    insert into safelight.embeddings (subject_id, upload_id, order_id, model_name, model_sha256, dimension, vector_sealed, grants)
        values (p_subject, p_upload, p_order, p_model_name, p_model_sha256, p_dimension, p_sealed, a.grants)
        on conflict do nothing;
end $$;

-- The provider accepted: its request id is recorded in any case. Where the gate is closed by now, it is recorded as
-- to be cancelled and purged: losing the id would be worse than keeping it. Answers whether the gate was open.
create function safelight.record_request(
    p_call uuid, p_request_id text, p_response_url text, p_status_url text, p_cancel_url text, p_classes text[]
) returns boolean
language plpgsql volatile security definer set search_path = pg_catalog
as $$
declare
    c record;
    a safelight.gate_answer;
begin
    select * into strict c from safelight.provider_calls where id = p_call;
    a := safelight.pass_gate(c.subject_id, c.purpose, c.processor, p_classes, c.order_id, null, '{}', c.generation);
    update safelight.provider_calls set
        state = case when state in ('intended', 'unknown') then 'submitted' else state end,
        request_id = coalesce(request_id, p_request_id),
        response_url = coalesce(response_url, p_response_url),
        status_url = coalesce(status_url, p_status_url),
        cancel_url = coalesce(cancel_url, p_cancel_url),
        submitted_at = coalesce(submitted_at, safelight.now()),
        cancel_wanted = cancel_wanted or a.code is not null,
        purge = case when a.code is not null and purge = 'none' then 'wanted' else purge end
        where id = p_call;
    return a.code is null;
end $$;

-- A provider calls back with the token of an intent. Answers nothing for an unknown token. The request id is learned
-- here if the answer to our own call was lost, and for a person who is gone the result is marked to be purged.
create function safelight.provider_called_back(
    p_token_sha256 bytea, p_request_id text,
    out call_id uuid, out purpose text, out subject_gone boolean
) language plpgsql volatile security definer set search_path = pg_catalog
as $$
declare
    c record;
begin
    select * into c from safelight.provider_calls where token_sha256 = p_token_sha256;
    if not found then return; end if;
    perform safelight.share_subject(c.subject_id);
    select state in ('erasing', 'erased') or generation <> c.generation into subject_gone
        from safelight.subjects where id = c.subject_id;
    update safelight.provider_calls set
        request_id = coalesce(request_id, p_request_id),
        submitted_at = coalesce(submitted_at, safelight.now()),
        state = case when state in ('intended', 'unknown') then 'submitted' else state end,
        purge = case when subject_gone and purge = 'none' then 'wanted' else purge end
        where id = c.id;
    call_id := c.id;
    purpose := c.purpose;
end $$;

-- Consent given: an event. Purposes, capture points and scopes that the policy in force does not know are refused.
create function safelight.grant_consent(
    p_id uuid, p_subject uuid, p_purpose text, p_capture_point text, p_batch uuid, p_order uuid, p_wording_sha256 text, p_policy_version text
) returns void
language plpgsql volatile security definer set search_path = pg_catalog
as $$
declare
    s record;
begin
    perform safelight.own_subject(p_subject);
    select tenant, state into s from safelight.subjects where id = p_subject;
    if not found or s.state in ('erasing', 'erased') then
        raise exception 'subject_erased' using errcode = 'SL002';
    end if;
    perform from safelight.policy_purposes where tenant = s.tenant and version = p_policy_version
        and version = safelight.policy_in_force(s.tenant) and purpose = p_purpose
        and basis = 'consent' and p_capture_point = any (capture_points);
    if not found then
        raise exception 'consent_not_asked_for' using errcode = 'SL002', detail = p_purpose || ' at ' || p_capture_point;
    end if;
    if p_batch is not null and not exists (select from safelight.upload_batches where id = p_batch and subject_id = p_subject)
        or p_order is not null and not exists (select from safelight.orders where id = p_order and subject_id = p_subject) then
        raise exception 'object_foreign' using errcode = 'SL002', detail = 'batch or order of another person';
    end if;
    insert into safelight.consents (id, tenant, subject_id, event, purpose, capture_point, batch_id, order_id,
            wording_sha256, policy_version, actor)
        values (p_id, s.tenant, p_subject, 'granted', p_purpose, p_capture_point, p_batch, p_order, p_wording_sha256, p_policy_version, 'subject');
end $$;

-- Consent withdrawn: committed first, under the exclusive lock; work of that purpose leaves the queue in the same
-- transaction and calls in flight are marked to be cancelled and purged. Waits for no provider.
create function safelight.withdraw_consent(p_id uuid, p_subject uuid, p_purpose text, p_actor text, p_kinds text[]) returns integer
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
    if p_purpose = 'train' then
        -- No gate lets the model or the copy of the photos pass from this instant, whenever they are deleted; an order
        -- that needs them is for a person to look at.
        update safelight.artifacts set delete_after = least(delete_after, safelight.now())
            where subject_id = p_subject and class in ('bundle', 'model');
        update safelight.orders set state = 'refund_review', problem = 'consent_withdrawn'
            where subject_id = p_subject and needs_model and state in ('paid', 'training', 'generating');
        update safelight.artifacts a set delete_after = least(a.delete_after, safelight.now())
            from safelight.orders o where o.id = a.order_id and o.subject_id = p_subject and o.state = 'refund_review'
                and a.class = 'image' and a.delivered_at is null;
    elsif p_purpose = 'compare' then
        update safelight.orders set selfies_measured_at = null where subject_id = p_subject and state in ('paid', 'training', 'generating');
    end if;
    v_cancelled := safelight.cancel_jobs(p_subject, p_kinds, 'consent_withdrawn');
    update safelight.provider_calls set cancel_wanted = true, purge = case when purge = 'purged' then purge else 'wanted' end
        where subject_id = p_subject and purpose = p_purpose;
    return v_cancelled;
end $$;

-- Takes jobs of a subject out of the queue, running ones too: without its row an attempt holds no lease and writes
-- nothing. No kinds given: every job of the subject but those that delete.
create function safelight.cancel_jobs(p_subject uuid, p_kinds text[], p_code text) returns integer
language plpgsql volatile security definer set search_path = pg_catalog
as $$
declare
    v_count integer;
begin
    with mine as materialized (
        -- In the order of ids, as the settler takes them: two that want the same rows do not wait for each other.
        select j.id from safelight.jobs j where j.subject_id = p_subject
            and case when p_kinds is null then j.kind not in ('delete_data', 'purge_call') else j.kind = any (p_kinds) end
        order by j.id for update
    ), gone as (
        delete from safelight.jobs j using mine where j.id = mine.id returning j.*
    ), forgotten as (
        delete from safelight.job_steps s using gone where s.job_id = gone.id
    ), noted as (
        insert into safelight.job_attempts (job_id, subject_id, attempt, verdict, code, worker)
        select id, subject_id, attempt, 'cancelled', p_code, worker from gone
    ), freed as (
        update safelight.job_keys k set expires_at = safelight.now() from gone g where k.key = g.key
    ), kept as (
        insert into safelight.jobs_archive (id, queue, kind, version, payload, tenant, subject_id, order_id, key, attempt, waits,
            outcome, code, run_at, created_at, started_at, finished_at, prune_on)
        select id, queue, kind, version, payload, tenant, subject_id, order_id, key, attempt, waits,
            'cancelled', p_code, run_at, created_at, started_at, safelight.now(), safelight.now()::date + keep_days from gone
        returning 1
    )
    select count(*) into v_count from kept;
    return v_count;
end $$;

-- A checkout that nobody paid: its consent ends with it (K16).
create function safelight.expire_order(p_order uuid) returns boolean
language plpgsql volatile security definer set search_path = pg_catalog
as $$
declare
    o record;
begin
    select subject_id into o from safelight.orders where id = p_order;
    if not found then return false; end if;
    perform safelight.own_subject(o.subject_id);
    update safelight.orders set state = 'expired' where id = p_order and state = 'placed' and paid_at is null returning * into o;
    if not found then return false; end if;
    insert into safelight.consents (id, tenant, subject_id, event, purpose, capture_point, order_id, policy_version, actor)
        select gen_random_uuid(), o.tenant, o.subject_id, 'expired', purpose, 'checkout', p_order, safelight.policy_in_force(o.tenant), 'system'
        from (select distinct purpose from safelight.consents where order_id = p_order and event = 'granted') g;
    return true;
end $$;

-- Erasure begins: the fence. Commit it alone; delete afterwards. Implies the withdrawal of every grant (K17).
create function safelight.fence_subject(p_subject uuid) returns boolean
language plpgsql volatile security definer set search_path = pg_catalog
as $$
declare
    s record;
begin
    perform safelight.own_subject(p_subject);
    select tenant, state into s from safelight.subjects where id = p_subject;
    if not found then raise exception 'subject_unknown' using errcode = 'SL002'; end if;
    if s.state in ('erasing', 'erased') then return false; end if;
    update safelight.subjects set state = 'erasing', generation = generation + 1 where id = p_subject;
    insert into safelight.consents (id, tenant, subject_id, event, purpose, capture_point, policy_version, actor)
        select gen_random_uuid(), s.tenant, p_subject, 'withdrawn', purpose, 'settings', safelight.policy_in_force(s.tenant), 'subject'
        from (select distinct purpose from safelight.consents where subject_id = p_subject and event = 'granted') g;
    perform safelight.cancel_jobs(p_subject, null, 'subject_erased');
    update safelight.provider_calls set cancel_wanted = state in ('intended', 'unknown', 'submitted'),
        purge = case when purge = 'purged' then purge else 'wanted' end
        where subject_id = p_subject;
    return true;
end $$;
