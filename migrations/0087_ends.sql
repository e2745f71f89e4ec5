-- What ends although nobody asks for it: words of orders that came to nothing, proofs of consent, orders that never got a checkout.
-- And what is held is not said to be due.

-- Orders that nobody paid: of those that were refused or ran out, and of those that never got a checkout and so cannot run out.
create function safelight.orders_over(p_hours integer) returns table (id uuid, placed boolean)
language sql stable
as $$
    select o.id, o.state = 'placed' from safelight.orders o join safelight.subjects s on s.id = o.subject_id
        where (o.state in ('refused', 'expired') or o.state = 'placed' and o.checkout_at is null)
            and o.created_at <= safelight.now() - make_interval(hours => p_hours) and s.state in ('active', 'restricted')
            and not exists (select from safelight_fiscal.sales x where x.order_id = o.id)
            and not exists (select from safelight.deletions d where d.order_id = o.id)
$$;
revoke execute on function safelight.orders_over from public;
grant execute on function safelight.orders_over to safelight_worker;
create index orders_without_checkout on safelight.orders (created_at) where state = 'placed' and checkout_at is null;
create index orders_with_words on safelight.orders (id)
    where prompt_sealed is not null and state in ('delivered', 'refused', 'expired', 'refund_review');

create index webhook_inbox_by_age on safelight.webhook_inbox (received_at);

-- Events of consent of persons who were erased so many years ago. Answers how many went.
create function safelight.end_proofs(p_tenant text, p_years integer, p_most bigint) returns bigint
language plpgsql volatile security definer set search_path = pg_catalog
as $$
declare
    v_gone bigint;
begin
    if p_years < 1 then raise exception 'a proof is kept for a year at the least'; end if;
    delete from safelight.consents where id in (select c.id from safelight.subjects s join safelight.consents c on c.subject_id = s.id
        where s.tenant = p_tenant and s.state = 'erased' and s.erased_at + make_interval(years => p_years) <= safelight.now() limit p_most);
    get diagnostics v_gone = row_count;
    return v_gone;
end $$;
revoke execute on function safelight.end_proofs from public;
grant execute on function safelight.end_proofs to safelight_worker;
create index subjects_erased on safelight.subjects (tenant, erased_at) where state = 'erased';

-- Persons whose clocks are held at this instant: few.
create function safelight.held_persons() returns uuid[]
language sql stable
as $$
    select coalesce(array_agg(r.subject_id), '{}') from safelight.restrictions r
        where r.lifted_at is null and r.keep_until > safelight.now()
$$;
revoke execute on function safelight.held_persons from public;
grant execute on function safelight.held_persons to safelight_api, safelight_worker;

-- As before (0067), and: what is held is due when its hold ends, as `due_artifacts` has it.
create or replace function safelight.due_numbers(p_tenant text, p_days integer, p_most integer)
    returns table (tenant text, class text, day integer, due bigint)
language sql stable
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
    with clock as (select safelight.now() as n, safelight.held_persons() as held),
    -- Rows whose bytes never came are due a day after they were made: never many, since the sweep takes them.
    expected as materialized (
        select a.tenant, a.class, a.created_at, a.delete_after from safelight.artifacts a, clock
        where a.state = 'expected' and a.deletion_id is null and (a.class = 'export' or a.subject_id <> all (clock.held)) order by a.created_at limit p_most
    )
    select d.tenant, d.class, d.day, sum(d.due)::bigint from (
        select t.id, c.name, g.day, (select count(*) from (
            select from safelight.artifacts a where a.deletion_id is null and a.tenant = t.id and a.class = c.name
                and a.delete_after > case g.day when 0 then '-infinity'::timestamptz else clock.n + make_interval(hours => 24 * (g.day - 1)) end
                and a.delete_after <= clock.n + make_interval(hours => 24 * g.day)
                and (a.class = 'export' or a.subject_id <> all (clock.held)) limit p_most) x)
        from clock, safelight.tenants t, unnest(array['upload', 'bundle', 'model', 'image', 'export']) c(name), generate_series(0, p_days) g(day)
        where p_tenant is null or t.id = p_tenant
        union all
        select e.tenant, e.class, (e.created_at > clock.n - interval '24 hours')::integer, count(*)
        from clock, expected e
        where (p_tenant is null or e.tenant = p_tenant)
            and (e.delete_after is null or e.delete_after > clock.n + make_interval(hours => 24 * p_days))
        group by 1, 2, 3
        union all
        select h.tenant, h.class, h.day, count(*) from (
            select a.tenant, a.class, ceil(extract(epoch from greatest(a.delete_after, r.keep_until) - clock.n) / 86400)::integer as day
            from clock, safelight.restrictions r join safelight.artifacts a on a.subject_id = r.subject_id
            where r.lifted_at is null and r.keep_until > clock.n and a.deletion_id is null and a.delete_after is not null
                and a.class <> 'export' and (p_tenant is null or a.tenant = p_tenant)) h
        where h.day <= p_days group by 1, 2, 3) d(tenant, class, day, due)
    where d.due > 0 group by 1, 2, 3 order by 1, 2, 3
$$;
