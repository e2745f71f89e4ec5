-- What a person asks for is done, whatever stands beside it.

-- A deletion whose term has run out, and that a claim holds until a day (D14): nothing of it goes meanwhile.
create function safelight.is_on_hold(p_deletion uuid) returns boolean
language sql stable
as $$
    select exists (select from safelight.deletions d
        join safelight.restrictions r on r.subject_id = d.subject_id and r.lifted_at is null and r.keep_until > safelight.now()
        where d.id = p_deletion and d.trigger = 'retention' and d.state <> 'complete')
$$;

-- As before, and: what the person asks for is not held. A photo whose term had run out is taken over from the deletion on hold. And the
-- row is locked before it is read: a sweep that is taking it on has done so, or finds it taken.
create or replace function safelight.fence_photo(
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
    select a.tenant, a.class, a.order_id, a.deletion_id, safelight.is_on_hold(a.deletion_id) as on_hold, s.state into x
        from safelight.artifacts a join safelight.subjects s on s.id = a.subject_id where a.id = p_photo for no key update of a;
    if not found then return; end if;
    if x.state not in ('active', 'restricted') then raise exception 'subject_erased' using errcode = 'SL002'; end if;
    already := x.deletion_id is not null and not x.on_hold;
    deletion := case when already then x.deletion_id else p_new end;
    if already then
        select d.answer_due into due from safelight.deletions d where d.id = deletion;
        return;
    end if;
    insert into safelight.deletions (id, tenant, subject_id, trigger, answer_due)
        values (p_new, x.tenant, of_subject, 'one_photo', safelight.now() + interval '1 month') returning answer_due into due;
    update safelight.artifacts a set deletion_id = p_new, delete_after = least(a.delete_after, safelight.now())
        where (a.deletion_id is null or safelight.is_on_hold(a.deletion_id)) and (a.id = p_photo
            or a.class = 'bundle' and a.id in (select s.artifact_id from safelight.artifact_sources s where s.source_id = p_photo));
    if x.class = 'image' then
        perform safelight.cancel_jobs(of_subject, array['check_image', 'compare_faces'], 'object_gone', null, p_photo);
        select o.id into of_order from safelight.orders o where o.id = x.order_id and o.state = 'generating';
    end if;
end $$;

-- As before, and: so is what a deletion on hold had of the order.
create or replace function safelight.fence_failed_order(
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
        where a.order_id = p_order and (a.deletion_id is null or safelight.is_on_hold(a.deletion_id))
            and (a.class in ('bundle', 'model') or a.class = 'image' and a.delivered_at is null);
end $$;

-- As before, and: nothing ends by itself of somebody who needs their data for a claim (D14).
create or replace function safelight.orders_over(p_hours integer) returns table (id uuid, placed boolean)
language sql stable
as $$
    select o.id, o.state = 'placed' from safelight.orders o join safelight.subjects s on s.id = o.subject_id
        where (o.state in ('refused', 'expired') or o.state = 'placed' and o.checkout_at is null)
            and o.created_at <= safelight.now() - make_interval(hours => p_hours) and s.state in ('active', 'restricted')
            and o.subject_id <> all ((select safelight.held_persons())::uuid[])
            and not exists (select from safelight_fiscal.sales x where x.order_id = o.id)
            and not exists (select from safelight.deletions d where d.order_id = o.id)
$$;

-- As before, and: a job that was made for a later day keeps its day. What waited at a gate for the release looks again at once.
create or replace function safelight.release_told(p_subject uuid, p_told text, p_told_at timestamptz, out code text, out released integer)
language plpgsql volatile security definer set search_path = pg_catalog
as $$
declare
    s record;
    v_set_at timestamptz;
begin
    perform safelight.own_subject(p_subject);
    select state into s from safelight.subjects where id = p_subject;
    if not found then code := 'subject_unknown'; return; end if;
    if s.state <> 'restricted' then code := case s.state when 'active' then 'not_restricted' else 'subject_erased' end; return; end if;
    select set_at into v_set_at from safelight.restrictions where subject_id = p_subject and lifted_at is null;
    -- The instant of a replay is another life's, whose clock may have gone ahead.
    if p_told = 'replayed' then p_told_at := greatest(v_set_at, least(p_told_at, safelight.now())); end if;
    if p_told is null or p_told_at is null or p_told_at < v_set_at or p_told_at > safelight.now() then
        code := 'not_told'; return;
    end if;
    update safelight.subjects set state = 'active' where id = p_subject;
    update safelight.restrictions set lifted_at = safelight.now(), told = p_told, told_at = p_told_at
        where subject_id = p_subject and lifted_at is null;
    with mine as materialized (
        select j.id from safelight.jobs j where j.subject_id = p_subject and (j.state = 2 and j.why = 'subject_restricted'
            or j.state = 3 and j.why like 'subject_restricted%') order by j.id for update
    )
    update safelight.jobs j set why = null,
        state = case when j.state = 2 and j.run_at > safelight.now() then 3 else 0 end,
        run_at = case when j.state = 2 then j.run_at else least(j.run_at, safelight.now()) end,
        rank = case when j.state = 2 then j.rank else least(j.rank, safelight.now() + j.priority * interval '1 minute') end
        from mine where j.id = mine.id;
    get diagnostics released = row_count;
end $$;

-- Answers to requests are remembered for a day, also where no other request comes that would take them away.
create function safelight.prune_answers(p_most integer default 5000) returns integer
language plpgsql volatile security definer set search_path = pg_catalog
as $$
declare
    v_gone integer;
begin
    delete from safelight.idempotent_answers a using (
        select token_id, key from safelight.idempotent_answers where created_at < safelight.now() - interval '24 hours'
            order by created_at limit p_most for update skip locked) old
        where a.token_id = old.token_id and a.key = old.key;
    get diagnostics v_gone = row_count;
    return v_gone;
end $$;
revoke execute on function safelight.prune_answers from public;
grant execute on function safelight.prune_answers to safelight_worker;

-- Who of the house acted on many jobs, and why, is the house's matter, also where the jobs were all of one tenant.
alter table safelight.bulk_acts add column by_house boolean not null default true;
