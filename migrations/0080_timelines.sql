-- Which lives of the database the workers have seen. A failover or a restore begins another timeline; without synchronous
-- replication, and after every restore, what was committed last may be missing in it. The audit log says when.

create table safelight.timelines (
    timeline bigint primary key,
    seen_at timestamptz not null default clock_timestamp()
);
grant select, insert on safelight.timelines to safelight_worker;
grant select on safelight.timelines to safelight_api, safelight_auditor;
