-- Orders whose work died. A paid order ends delivered or in refund review: one that nothing works on any more is stopped
-- by the reconcile sweep, and a redrive of what died takes it back where it stood, as long as it can still be repaired.

-- Did the job die that would have taken this call's result home?
create function safelight.collecting_died(c safelight.provider_calls) returns boolean
language sql stable
as $$
    select exists (select from safelight.dead_letters d where d.order_id = c.order_id
        and (d.payload ->> 'call' = 'intent_' || replace(c.id::text, '-', '')
            or c.purpose = 'nsfw' and d.payload ->> 'image' = 'artifact_' || replace(c.artifact_id::text, '-', '')))
$$;
create index dead_letters_by_order on safelight.dead_letters (order_id) where order_id is not null;

-- Paid, not delivered, and nothing of it under way: no job that could go on, no call whose answer could come. A call whose
-- collecting died brings nothing any more. A job that waits for a consent to compare holds nobody up: its comparison does.
create function safelight.stands_still(o safelight.orders) returns boolean
language sql stable
as $$
    select o.state in ('paid', 'training', 'generating')
        and exists (select from safelight.subjects s where s.id = o.subject_id and s.state in ('active', 'restricted'))
        and not exists (select from safelight.jobs j where j.order_id = o.id
            and j.kind not in ('purge_call', 'send_notice', 'confirm_payment', 'measure_selfies'))
        and not exists (select from safelight.provider_calls c where c.order_id = o.id and c.state in ('intended', 'unknown', 'submitted')
            and not safelight.collecting_died(c))
$$;

-- A redrive, however it is made: the dead letter goes and its job is there again in one transaction.
create function safelight.take_order_back() returns trigger
language plpgsql volatile security definer set search_path = pg_catalog
as $$
declare
    o record;
begin
    if old.order_id is null or not exists (select from safelight.jobs where id = old.id) then return null; end if;
    select subject_id into o from safelight.orders where id = old.order_id;
    if not found then return null; end if;
    perform safelight.share_subject(o.subject_id);
    update safelight.orders set state = stopped_from, problem = null, stopped_from = null, repair_until = null
        where id = old.order_id and state = 'refund_review' and repair_until > safelight.now()
        returning tenant into o;
    if found then
        insert into safelight.audit_entries (tenant, actor, action, job_kind, job_id, order_id, outcome)
            values (o.tenant, 'operator', 'order.taken_back', old.kind, old.id, old.order_id, 'redriven');
    end if;
    return null;
end $$;
create constraint trigger take_order_back after delete on safelight.dead_letters deferrable initially deferred
    for each row execute function safelight.take_order_back();

grant execute on function safelight.stands_still, safelight.collecting_died to safelight_worker, safelight_api;
