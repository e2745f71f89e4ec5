-- Deletions of a part: one photo, and what is left of an order that failed. Each begins with a fence of its own, under the
-- person's exclusive lock, as an erasure does: from that commit on no gate lets the objects pass and no work of theirs goes on.

alter table safelight.deletions
    -- Of a failed order; no foreign key: the order's row may go with it.
    add column order_id uuid,
    add constraint a_failed_order_is_named check ((trigger = 'failed_order') = (order_id is not null));
create unique index one_deletion_per_failed_order on safelight.deletions (order_id) where trigger = 'failed_order';
create index embeddings_by_order on safelight.embeddings (order_id);

-- As before, and: only the jobs of one order, or those that look at one image.
drop function safelight.cancel_jobs(uuid, text[], text);
create function safelight.cancel_jobs(
    p_subject uuid, p_kinds text[], p_code text, p_order uuid default null, p_image uuid default null
) returns integer
language plpgsql volatile security definer set search_path = pg_catalog
as $$
declare
    v_count integer;
begin
    with mine as materialized (
        -- In the order of ids, as the settler takes them: two that want the same rows do not wait for each other.
        select j.id from safelight.jobs j where j.subject_id = p_subject
            and case when p_kinds is null then j.kind not in ('delete_data', 'purge_call') else j.kind = any (p_kinds) end
            and (p_order is null or j.order_id = p_order)
            and (p_image is null or j.payload ->> 'image' = 'artifact_' || replace(p_image::text, '-', ''))
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

-- One photo or image, and the copy of it that was made for a training. Answers nothing for an object that is not there, and the
-- deletion that has it already for one that somebody has taken on before. `of_order`: one that still waits for this image.
create function safelight.fence_photo(
    p_photo uuid, p_tenant text, p_new uuid,
    out deletion uuid, out due timestamptz, out already boolean, out of_subject uuid, out of_order uuid
) language plpgsql volatile security definer set search_path = pg_catalog
as $$
declare
    x record;
begin
    select a.subject_id into of_subject from safelight.artifacts a
        where a.id = p_photo and a.class in ('upload', 'image') and (p_tenant is null or a.tenant = p_tenant);
    if not found then return; end if;
    perform safelight.own_subject(of_subject);
    -- Read when the lock is ours: whoever was about to record something of this photo has done so, or finds it gone.
    select a.tenant, a.class, a.order_id, a.deletion_id, s.state into x
        from safelight.artifacts a join safelight.subjects s on s.id = a.subject_id where a.id = p_photo;
    if not found then return; end if;
    if x.state not in ('active', 'restricted') then raise exception 'subject_erased' using errcode = 'SL002'; end if;
    deletion := coalesce(x.deletion_id, p_new);
    already := x.deletion_id is not null;
    if already then
        select d.answer_due into due from safelight.deletions d where d.id = deletion;
        return;
    end if;
    insert into safelight.deletions (id, tenant, subject_id, trigger, answer_due)
        values (p_new, x.tenant, of_subject, 'one_photo', safelight.now() + interval '1 month') returning answer_due into due;
    update safelight.artifacts a set deletion_id = p_new, delete_after = least(a.delete_after, safelight.now())
        where a.deletion_id is null and (a.id = p_photo
            or a.class = 'bundle' and a.id in (select s.artifact_id from safelight.artifact_sources s where s.source_id = p_photo));
    if x.class = 'image' then
        perform safelight.cancel_jobs(of_subject, array['check_image', 'compare_faces'], 'object_gone', null, p_photo);
        select o.id into of_order from safelight.orders o where o.id = x.order_id and o.state = 'generating';
    end if;
end $$;

-- An order that came to nothing: its work leaves the queue, its calls are marked to be cancelled and purged, and what was never
-- delivered, with the model that only this order was to use, is taken on. What was delivered keeps its own term.
create function safelight.fence_failed_order(
    p_order uuid, p_tenant text, p_new uuid,
    out code text, out deletion uuid, out due timestamptz, out already boolean, out of_subject uuid
) language plpgsql volatile security definer set search_path = pg_catalog
as $$
declare
    x record;
begin
    select o.subject_id into of_subject from safelight.orders o where o.id = p_order and (p_tenant is null or o.tenant = p_tenant);
    if not found then code := 'not_found'; return; end if;
    perform safelight.own_subject(of_subject);
    select o.tenant, o.state, s.state as person into x
        from safelight.orders o join safelight.subjects s on s.id = o.subject_id where o.id = p_order for no key update of o;
    if not found then code := 'not_found'; return; end if;
    if x.person not in ('active', 'restricted') then raise exception 'subject_erased' using errcode = 'SL002'; end if;
    select d.id, d.answer_due into deletion, due from safelight.deletions d where d.order_id = p_order and d.trigger = 'failed_order';
    already := found;
    if already then return; end if;
    if x.state not in ('refused', 'expired', 'refund_review') then code := 'order_not_failed'; return; end if;
    deletion := p_new;
    insert into safelight.deletions (id, tenant, subject_id, trigger, order_id, answer_due)
        values (p_new, x.tenant, of_subject, 'failed_order', p_order, safelight.now() + interval '1 month') returning answer_due into due;
    update safelight.orders set repair_until = null, stopped_from = null where id = p_order;
    perform safelight.cancel_jobs(of_subject, array['train_model', 'collect_model', 'generate_batch', 'collect_image', 'check_image',
        'compare_faces', 'measure_selfies', 'deliver_order'], 'order_stopped', p_order);
    update safelight.provider_calls set cancel_wanted = cancel_wanted or state in ('intended', 'unknown', 'submitted'),
        purge = case when purge = 'purged' then purge else 'wanted' end where order_id = p_order;
    update safelight.artifacts a set deletion_id = p_new, delete_after = least(a.delete_after, safelight.now())
        where a.order_id = p_order and a.deletion_id is null
            and (a.class in ('bundle', 'model') or a.class = 'image' and a.delivered_at is null);
end $$;

grant execute on function safelight.fence_photo, safelight.fence_failed_order to safelight_api;
-- The reconcile sweep ends what nobody repaired, the fiscal sweep what nobody paid.
grant execute on function safelight.fence_failed_order to safelight_worker;
