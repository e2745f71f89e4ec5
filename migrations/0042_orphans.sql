-- The store and its rows, compared both ways.

-- The comparison goes along the store's own order, which is that of bytes.
create index artifacts_by_key on safelight.artifacts (storage_key collate "C");

-- Rows that say `stored` while the store has nothing. A row here goes with its artifact, or when the object is there again.
create table safelight.missing_objects (
    artifact_id uuid primary key references safelight.artifacts on delete cascade,
    tenant text not null,
    first_seen_at timestamptz not null default safelight.now(),
    last_seen_at timestamptz not null default safelight.now()
);
grant select, insert, update, delete on safelight.missing_objects to safelight_worker;
grant select on safelight.missing_objects to safelight_api, safelight_auditor;

-- The last run of each sweep, whatever came before it.
create index sweeps_last on safelight.sweeps (kind, finished_at desc);
