-- Money: every euro that came, went back, or is asked back, as rows of the fiscal schema. Nothing here names a person.

alter table safelight_fiscal.sales
    add column payment_intent text unique,        -- Stripe's id of the payment: what refunds and disputes name
    -- Why a person looks at money that no order holds any more; a code. An order's own reason stands on the order.
    add column review text check (review ~ '^[a-z_]{3,64}$'),
    drop constraint sales_status_check,
    add constraint sales_status_check check (status in ('paid', 'partly_refunded', 'refunded', 'disputed'));
create index sales_in_review on safelight_fiscal.sales (sold_at) where review is not null;
create index sales_by_time on safelight_fiscal.sales (sold_at);

-- Money given back, by us or at Stripe's dashboard. Written down before Stripe is asked, as a provider call is.
create table safelight_fiscal.refunds (
    id uuid primary key,                          -- stands in Stripe's metadata when it is ours
    tenant text not null,
    stripe_session text not null references safelight_fiscal.sales (stripe_session) on delete cascade,
    stripe_refund text unique,
    amount_cents bigint not null check (amount_cents > 0),
    currency text not null,
    -- `asked`: Stripe may or may not have it yet. `refused`: Stripe said no, nothing went back. Else Stripe's own word.
    state text not null check (state ~ '^[a-z_]{1,40}$'),
    code text check (code ~ '^[a-z0-9_]{1,64}$'),
    -- Both codes, never a name of a customer; none for what was made at the dashboard.
    why text check (why ~ '^[a-z0-9_]{3,64}$'),
    asked_by text check (asked_by ~ '^[a-z0-9_]{1,64}$'),
    asked_at timestamptz not null default safelight.now(),
    -- When Stripe was asked what the row says: an older answer that is written later changes nothing.
    seen_at timestamptz,
    constraint what_stripe_has_is_named check (state in ('asked', 'refused') or stripe_refund is not null)
);
create index refunds_of_a_sale on safelight_fiscal.refunds (stripe_session);
create index refunds_asked on safelight_fiscal.refunds (asked_at) where state = 'asked';

-- Money that the customer's bank asks back.
create table safelight_fiscal.disputes (
    stripe_dispute text primary key,
    tenant text not null,
    stripe_session text not null references safelight_fiscal.sales (stripe_session) on delete cascade,
    amount_cents bigint not null check (amount_cents >= 0),
    currency text not null,
    state text not null check (state ~ '^[a-z_]{1,40}$'),
    opened_at timestamptz not null,
    seen_at timestamptz not null
);
create index disputes_of_a_sale on safelight_fiscal.disputes (stripe_session);

-- Checkouts of orders that were erased before money came. It may still come: then it is seen, booked and looked at, and
-- nothing is processed. The row goes when no bank can be that slow any more.
create table safelight_fiscal.erased_checkouts (
    stripe_session text primary key,
    tenant text not null,
    erased_at timestamptz not null default safelight.now(),
    forget_after timestamptz not null default safelight.now() + interval '960 hours'
);

-- What of a sale is still there. A refund that was asked for counts as given, so that nothing is given twice; one that
-- failed or was refused does not. A dispute that is only an inquiry has taken nothing yet, one that was won gave it back.
create view safelight_fiscal.balance as
select s.tenant, s.stripe_session, s.payment_intent, s.order_id, s.status, s.review, s.currency, s.sold_at, s.amount_cents,
    coalesce(r.given, 0)::bigint as refunded_cents, coalesce(r.asked, 0)::bigint as asked_cents, coalesce(d.taken, 0)::bigint as disputed_cents,
    coalesce(d.open, false) as dispute_open,
    (s.amount_cents - coalesce(r.given, 0) - coalesce(d.taken, 0))::bigint as kept_cents
from safelight_fiscal.sales s
left join lateral (
    select sum(amount_cents) filter (where state not in ('asked', 'refused', 'failed', 'canceled')) as given,
        sum(amount_cents) filter (where state = 'asked') as asked
    from safelight_fiscal.refunds where stripe_session = s.stripe_session) r on true
left join lateral (
    select sum(amount_cents) filter (where state not in ('won', 'prevented') and state not like 'warning\_%') as taken,
        bool_or(state not in ('won', 'lost', 'prevented', 'warning_closed')) as open
    from safelight_fiscal.disputes where stripe_session = s.stripe_session) d on true;

-- A sale's word follows from its rows. Answers it.
create function safelight_fiscal.settle_sale(p_session text) returns text
language plpgsql volatile set search_path = pg_catalog
as $$
declare
    v_status text;
begin
    select case when disputed_cents > 0 then 'disputed'
            when refunded_cents >= amount_cents and amount_cents > 0 then 'refunded'
            when refunded_cents > 0 then 'partly_refunded'
            else 'paid' end
        into v_status from safelight_fiscal.balance where stripe_session = p_session;
    update safelight_fiscal.sales set status = v_status,
        -- What a person was to look at is settled when all of it went back; money that did not go back is looked at again.
        review = case when v_status = 'refunded' then null
            when v_status <> 'disputed' and exists (select from safelight_fiscal.refunds r
                where r.stripe_session = p_session and r.state in ('failed', 'refused', 'canceled')) then coalesce(review, 'refund_failed')
            else review end
        where stripe_session = p_session;
    return v_status;
end $$;

alter table safelight.orders
    -- Stripe says that the customer is through and the bank has not decided: such a checkout does not run out.
    add column payment_pending_at timestamptz,
    -- An order whose work died: where it stood, and until when a redrive takes it back there.
    add column stopped_from text check (stopped_from in ('paid', 'training', 'generating')),
    add column repair_until timestamptz,
    add constraint a_repair_says_where_it_stood check ((repair_until is null) = (stopped_from is null));
create index orders_unpaid on safelight.orders (checkout_at) where state = 'placed' and checkout_at is not null;
create index orders_under_way on safelight.orders (paid_at) where state in ('paid', 'training', 'generating');
create index orders_to_repair on safelight.orders (repair_until) where repair_until is not null;

-- The money of an order that is under way went back or is asked back: the work ends. Calls in flight are marked to be
-- cancelled and purged; their ids are answered, so that the caller enqueues their purge. Queued jobs meet the gate.
-- The caller owns the person's lock.
create function safelight.halt_order(p_order uuid, p_problem text) returns uuid[]
language plpgsql volatile security definer set search_path = pg_catalog
as $$
declare
    v_calls uuid[];
begin
    update safelight.orders set problem = p_problem, repair_until = null, stopped_from = null, state = 'refund_review'
        where id = p_order and (state in ('paid', 'training', 'generating') or state = 'refund_review' and repair_until is not null);
    if not found then return '{}'; end if;
    update safelight.artifacts set delete_after = least(delete_after, safelight.now())
        where order_id = p_order and (class = 'bundle' or class = 'image' and delivered_at is null);
    with marked as (
        update safelight.provider_calls set cancel_wanted = true, purge = case when purge = 'purged' then purge else 'wanted' end
            where order_id = p_order and state in ('intended', 'unknown', 'submitted') returning id
    )
    select coalesce(array_agg(id), '{}') into v_calls from marked;
    return v_calls;
end $$;

-- A person of the house wants money given back. Written down under the sale's lock, so that two who want it at the same
-- moment give it once. An order is named by its id, money without an order by its session. Answers a code, or the refund.
create function safelight.ask_refund(
    p_refund uuid, p_tenant text, p_order uuid, p_session text, p_amount bigint, p_why text, p_by text,
    out code text, out refund_cents bigint, out refund_currency text, out refund_tenant text, out of_order uuid, out of_subject uuid, out calls uuid[]
) language plpgsql volatile security definer set search_path = pg_catalog
as $$
declare
    o record;
    s record;
    b record;
begin
    calls := '{}';
    if p_order is null then
        select order_id into p_order from safelight_fiscal.sales
            where stripe_session = p_session and (p_tenant is null or tenant = p_tenant);
        if not found then code := 'not_found'; return; end if;
    end if;
    if p_order is not null then
        select subject_id into o from safelight.orders where id = p_order and (p_tenant is null or tenant = p_tenant);
        if not found then code := 'not_found'; return; end if;
        -- Exclusively, as who withdraws: nobody's job writes about this order meanwhile, or waits for it with a lock of its own.
        perform safelight.own_subject(o.subject_id);
        perform from safelight.orders where id = p_order for no key update;
        select stripe_session, tenant into s from safelight_fiscal.sales where order_id = p_order for no key update;
        if not found then code := 'order_unpaid'; return; end if;
        of_order := p_order;
        of_subject := o.subject_id;
    else
        select stripe_session, tenant into s from safelight_fiscal.sales where stripe_session = p_session for no key update;
    end if;
    -- A statement of its own: what it sees was committed before the lock was ours.
    select * into b from safelight_fiscal.balance where stripe_session = s.stripe_session;
    refund_cents := coalesce(p_amount, b.kept_cents - b.asked_cents);
    refund_currency := b.currency;
    refund_tenant := s.tenant;
    if b.dispute_open then code := 'sale_disputed'; return; end if;
    if b.kept_cents - b.asked_cents <= 0 then code := 'nothing_to_refund'; return; end if;
    if refund_cents <= 0 or refund_cents > b.kept_cents - b.asked_cents then code := 'refund_too_large'; return; end if;
    insert into safelight_fiscal.refunds (id, tenant, stripe_session, amount_cents, currency, state, why, asked_by)
        values (p_refund, s.tenant, s.stripe_session, refund_cents, b.currency, 'asked', p_why, p_by);
    -- Whoever gets everything back gets no work done any more.
    if of_order is not null and refund_cents = b.kept_cents - b.asked_cents then
        calls := safelight.halt_order(of_order, 'refunded');
    end if;
end $$;

-- An erasure deletes an order: its sale stays without a link, its unpaid checkout is remembered, and money for work that
-- was never delivered is for a person to look at. Answers the sessions to ask Stripe about.
create function safelight.part_from_money(p_orders uuid[]) returns text[]
language plpgsql volatile security definer set search_path = pg_catalog
as $$
declare
    v_sessions text[];
begin
    -- Orders before their sales, as everywhere.
    perform from safelight.orders where id = any (p_orders) order by id for update;
    update safelight_fiscal.sales s set order_id = null,
        review = case when o.state <> 'delivered' and s.status in ('paid', 'partly_refunded') then 'erased_before_delivery' else s.review end
        from safelight.orders o where o.id = s.order_id and o.id = any (p_orders);
    with unpaid as (
        insert into safelight_fiscal.erased_checkouts (stripe_session, tenant)
        select o.checkout_session, o.tenant from safelight.orders o
            where o.id = any (p_orders) and o.checkout_session is not null
                and not exists (select from safelight_fiscal.sales s where s.stripe_session = o.checkout_session)
        on conflict do nothing returning stripe_session
    )
    select coalesce(array_agg(stripe_session), '{}') into v_sessions from unpaid;
    return v_sessions;
end $$;

grant select, insert, update, delete on safelight_fiscal.refunds, safelight_fiscal.disputes, safelight_fiscal.erased_checkouts to safelight_worker;
grant select on safelight_fiscal.balance to safelight_worker, safelight_api, safelight_auditor;
grant select on safelight_fiscal.refunds, safelight_fiscal.disputes, safelight_fiscal.erased_checkouts to safelight_api, safelight_auditor;
grant execute on function safelight_fiscal.settle_sale to safelight_worker;
grant execute on function safelight.halt_order, safelight.part_from_money to safelight_worker;
grant execute on function safelight.ask_refund to safelight_api, safelight_worker;
grant execute on function safelight.own_subject to safelight_worker;
