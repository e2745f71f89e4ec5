-- Where the comparison of a tenant's folder with its rows goes on. A run looks at so many objects; the next one looks at those behind
-- them, and after the last key the next round begins at the first one.
create table safelight.orphan_rounds (
    tenant text primary key references safelight.tenants,
    -- The last key that was looked at; null: the round is over, and the next run begins one.
    after_key text,
    -- When the round began. What was missing before and was not seen missing since is there again.
    began_at timestamptz not null,
    -- What this round has left so far, and what the last whole one had; null: none was whole yet.
    left_over bigint not null default 0,
    last_left bigint
);
grant select, insert, update on safelight.orphan_rounds to safelight_worker;
grant select on safelight.orphan_rounds to safelight_api, safelight_auditor;
