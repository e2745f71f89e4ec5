-- Enqueue: in the caller's transaction, from any language, one wish or many.

-- Ids that grow with time: what is written next to each other lies next to each other in the indexes, however long the
-- archive is.
create function safelight.uuid_v7() returns uuid
language sql volatile parallel safe
as $$
    select encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid())
        placing substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3)
        from 1 for 6), 52, 1), 53, 1), 'hex')::uuid
$$;

-- The same key and payload: the same job id and `already`. The same key with another payload: `conflict`, no id, and
-- nothing stored; an error would end the caller's transaction although a double wish is no fault of its other work.
-- What is left out is taken from the kind's declaration. Rings no bell: a bell in the enqueuing transaction would
-- serialise all commits; workers poll, and Safelight's own processes ring after the commit.
create function safelight.enqueue(
    p_kind text,
    p_payload jsonb,
    p_queue text default null,
    p_key text default null,
    p_run_at timestamptz default null,
    p_priority smallint default 0,
    p_max_attempts integer default null,
    p_version smallint default null,
    p_tenant text default null,
    p_subject uuid default null,
    p_order uuid default null,
    p_traceparent text default null,
    p_id uuid default null,
    p_lane text default null,
    out job_id uuid,
    out already boolean,
    out conflict boolean
) language plpgsql volatile
as $$
declare
    v_now timestamptz := safelight.now();
    v_run_at timestamptz := coalesce(p_run_at, v_now);
    v_kind safelight.job_kinds;
    v_hash bytea;
    v_known record;
begin
    job_id := coalesce(p_id, safelight.uuid_v7());
    already := false;
    conflict := false;
    select * into v_kind from safelight.job_kinds k where k.kind = p_kind;
    if v_kind.kind is null and p_queue is null then
        raise exception 'no job is named %: name its queue, or one of safelight.job_kinds', p_kind using errcode = 'SL404';
    end if;
    if p_order is not null and p_subject is null then
        select o.tenant, o.subject_id into p_tenant, p_subject from safelight.orders o where o.id = p_order;
    elsif p_subject is not null and p_tenant is null then
        select s.tenant into p_tenant from safelight.subjects s where s.id = p_subject;
    end if;
    if p_key is not null then
        v_hash := sha256(convert_to(p_payload::text, 'UTF8'));
        loop
            insert into safelight.job_keys (key, job_id, payload_sha256, subject_id)
                values (p_key, job_id, v_hash, p_subject) on conflict (key) do nothing;
            exit when found;
            select k.job_id, k.payload_sha256, k.expires_at into v_known
                from safelight.job_keys k where k.key = p_key for update;
            continue when not found;
            if v_known.expires_at is not null and v_known.expires_at <= v_now then
                delete from safelight.job_keys k where k.key = p_key;
                continue;
            end if;
            if v_known.payload_sha256 <> v_hash then
                job_id := null;
                conflict := true;
                return;
            end if;
            job_id := v_known.job_id;
            already := true;
            return;
        end loop;
    end if;
    insert into safelight.jobs (id, queue, kind, version, payload, tenant, subject_id, order_id, key, lane, priority,
            state, run_at, rank, max_attempts, traceparent, created_at, deadline_at, keep_days)
        values (job_id, coalesce(p_queue, v_kind.queue), p_kind, coalesce(p_version, v_kind.version, 1::smallint), p_payload,
            p_tenant, p_subject, p_order, p_key, p_lane, p_priority,
            case when v_run_at <= v_now then 0 else 3 end, v_run_at, v_run_at + p_priority * interval '1 minute',
            coalesce(p_max_attempts, v_kind.max_attempts, 5), p_traceparent, v_now,
            greatest(v_run_at, v_now) + v_kind.deadline_seconds * interval '1 second', coalesce(v_kind.keep_days, 21::smallint));
end $$;

-- Many jobs of one kind in one statement. One row of answers an item, in order: a key that is known, or that the batch
-- itself repeats, is an answer for its item and fails none of the others. Arrays that are given are as long as the payloads.
create function safelight.enqueue_many(
    p_kind text,
    p_payloads jsonb[],
    p_queue text default null,
    p_keys text[] default null,
    p_run_at timestamptz[] default null,
    p_priority smallint default 0,
    p_max_attempts integer default null,
    p_tenants text[] default null,
    p_subjects uuid[] default null,
    p_orders uuid[] default null,
    p_lanes text[] default null,
    p_traceparent text default null,
    p_ids uuid[] default null
) returns table (item integer, job_id uuid, already boolean, conflict boolean)
language plpgsql volatile
as $$
#variable_conflict use_column
declare
    v_now timestamptz := safelight.now();
    v_kind safelight.job_kinds;
    v_items integer := coalesce(cardinality(p_payloads), 0);
    v_ids uuid[] := p_ids;
    v_tenants text[] := p_tenants;
    v_subjects uuid[] := p_subjects;
    v_ours boolean[];          -- does item n become a job?
begin
    select * into v_kind from safelight.job_kinds k where k.kind = p_kind;
    if v_kind.kind is null and p_queue is null then
        raise exception 'no job is named %: name its queue, or one of safelight.job_kinds', p_kind using errcode = 'SL404';
    end if;
    if exists (select from unnest(array[cardinality(p_keys), cardinality(p_run_at), cardinality(p_tenants), cardinality(p_subjects),
            cardinality(p_orders), cardinality(p_lanes), cardinality(p_ids)]) n where n <> v_items) then
        raise exception 'each array needs one element a payload: % of them', v_items using errcode = 'SL400';
    end if;
    if v_ids is null then
        v_ids := array(select safelight.uuid_v7() from generate_series(1, v_items));
    end if;
    if p_orders is not null or p_subjects is not null then
        select array_agg(coalesce(o.tenant, s.tenant, t) order by n), array_agg(coalesce(o.subject_id, u) order by n)
            into v_tenants, v_subjects
            from unnest(p_orders, p_subjects, p_tenants) with ordinality as w(ord, u, t, n)
            left join safelight.orders o on o.id = w.ord
            left join safelight.subjects s on s.id = w.u;
    end if;
    if p_keys is not null then
        -- In the order of the keys, so that two batches that share some never wait for each other in a circle.
        delete from safelight.job_keys k where k.key = any (p_keys) and k.expires_at <= v_now;
        with wished as (
            select distinct on (key) key, n from unnest(p_keys) with ordinality w(key, n) where key is not null order by key, n
        ), taken as (
            insert into safelight.job_keys (key, job_id, payload_sha256, subject_id)
            select w.key, v_ids[n], sha256(convert_to(p_payloads[n]::text, 'UTF8')), v_subjects[n] from wished w order by w.key
            on conflict (key) do nothing returning job_id
        )
        select array_agg(p_keys[n] is null or v_ids[n] in (select t.job_id from taken t) order by n)
            into v_ours from generate_series(1, v_items) n;
    end if;
    insert into safelight.jobs (id, queue, kind, version, payload, tenant, subject_id, order_id, key, lane, priority,
            state, run_at, rank, max_attempts, traceparent, created_at, deadline_at, keep_days)
        select id, coalesce(p_queue, v_kind.queue), p_kind, coalesce(v_kind.version, 1::smallint), payload, tenant, subject, ord, key, lane,
            p_priority, case when coalesce(at, v_now) <= v_now then 0 else 3 end, coalesce(at, v_now),
            coalesce(at, v_now) + p_priority * interval '1 minute',
            coalesce(p_max_attempts, v_kind.max_attempts, 5), p_traceparent, v_now,
            greatest(at, v_now) + v_kind.deadline_seconds * interval '1 second', coalesce(v_kind.keep_days, 21::smallint)
        from unnest(v_ids, p_payloads, v_tenants, v_subjects, p_orders, p_keys, p_lanes, p_run_at)
            with ordinality as w(id, payload, tenant, subject, ord, key, lane, at, n)
        where v_ours is null or v_ours[n];
    if v_ours is null then
        return query select n, v_ids[n], false, false from generate_series(1, v_items) n;
        return;
    end if;
    -- A statement of its own: it sees the keys that another transaction committed while this one waited for it.
    return query
        select n, case when k.payload_sha256 = h.hash then k.job_id end, not v_ours[n] and k.payload_sha256 = h.hash,
            not v_ours[n] and k.payload_sha256 is distinct from h.hash
        from generate_series(1, v_items) n
        cross join lateral (select sha256(convert_to(p_payloads[n]::text, 'UTF8')) as hash) h
        cross join lateral (
            select known.job_id, known.payload_sha256 from safelight.job_keys known where known.key = p_keys[n]
            union all
            select v_ids[n], h.hash where p_keys[n] is null
        ) k
        order by n;
end $$;

-- Does this attempt still hold its lease? Locks the row in share mode, so a rescue or a cancel waits for the
-- transaction that asks. Answers false for a zombie, which must then write nothing.
create function safelight.holds_lease(p_job uuid, p_token uuid) returns boolean
language plpgsql volatile
as $$
begin
    perform from safelight.jobs where id = p_job and lease_token = p_token for share;
    return found;
end $$;

grant execute on function safelight.uuid_v7, safelight.enqueue, safelight.enqueue_many to safelight_api, safelight_worker;
grant execute on function safelight.holds_lease to safelight_worker;
grant select on safelight.job_kinds to safelight_api, safelight_worker, safelight_auditor;
