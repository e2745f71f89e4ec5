-- Where our books and a provider's differ. One row a difference, however often it is seen; one that is not seen any more
-- is resolved. Ids and codes only.

create table safelight.differences (
    code text not null check (code ~ '^[a-z_]{3,64}$'),
    -- The object it is about: cs_…, re_…, dp_…, a request of Fal's, order_…, intent_…, refund_…
    object text not null check (length(object) between 1 and 255),
    provider text not null check (provider in ('stripe', 'fal')),
    tenant text,
    amount_cents bigint,                          -- how much money it is about
    about_at timestamptz not null,                -- when the object came to be: which sweeps look at it
    first_seen_at timestamptz not null default safelight.now(),
    last_seen_at timestamptz not null default safelight.now(),
    resolved_at timestamptz,
    primary key (code, object)
);
create index differences_open on safelight.differences (first_seen_at) where resolved_at is null;

grant select, insert, update, delete on safelight.differences to safelight_worker;
grant select on safelight.differences to safelight_api, safelight_auditor;
