-- What runs at set times: one row a schedule, so that any number of processes may tick and each tick is one job; stored, so
-- that what an outage swallowed is known afterwards and made up for as the schedule says.

create table safelight.schedules (
    name text primary key,                -- the kind of job, where one kind has one schedule
    cron text not null,                   -- sec min hour day month weekday, in UTC
    -- After an outage: one job for all ticks that were missed, or one for each.
    catch_up text not null check (catch_up in ('once', 'each')),
    paused boolean not null default false,
    last_tick timestamptz not null default safelight.now(),   -- looked at until here
    why text,
    actor text not null default 'owner'
);
grant select, insert, update on safelight.schedules to safelight_worker;
grant select, update (paused, why, actor) on safelight.schedules to safelight_api;
