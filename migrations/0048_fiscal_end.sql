-- The end of order data: sales, refunds and disputes are there for as long as tax law asks for them, and not a day longer.

-- A sale whose rule is known ends with a year; which sales are over is asked by the fiscal sweep.
create index sales_due on safelight_fiscal.sales (keep_until) where keep_until is not null;
create index sales_without_rule on safelight_fiscal.sales (tenant, country) where keep_until is null;
-- Orders that nobody paid: the sweep finds them by their age.
create index orders_never_paid on safelight.orders (created_at) where state in ('refused', 'expired');

-- The order's row goes with its sale, unless something of it is still there by its own term: then it goes with that.
create function safelight.forget_order(p_order uuid) returns boolean
language plpgsql volatile security definer set search_path = pg_catalog
as $$
declare
    v_subject uuid;
begin
    select o.subject_id into v_subject from safelight.orders o where o.id = p_order;
    if not found then return false; end if;
    perform safelight.own_subject(v_subject);
    delete from safelight.orders o where o.id = p_order and o.state not in ('placed', 'paid', 'training', 'generating')
        and not exists (select from safelight_fiscal.sales s where s.order_id = o.id)
        and not exists (select from safelight.artifacts a where a.order_id = o.id)
        and not exists (select from safelight.embeddings e where e.order_id = o.id);
    return found;
end $$;
grant execute on function safelight.forget_order to safelight_worker;
