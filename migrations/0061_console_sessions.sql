-- Who is signed in to the console: as rows, so that any process of the intake serves any page and a deploy signs nobody out.

create table safelight.console_sessions (
    id_sha256 bytea primary key,                  -- of what the cookie holds, which is never stored
    token_id uuid not null references safelight.tokens on delete cascade,
    why text not null check (why <> ''),          -- what somebody signed in for; no personal data
    seen_at timestamptz not null default safelight.now(),
    ends_at timestamptz not null
);
create index console_sessions_by_end on safelight.console_sessions (ends_at);
grant select, insert, delete, update (seen_at) on safelight.console_sessions to safelight_api;
