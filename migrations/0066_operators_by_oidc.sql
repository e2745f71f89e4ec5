-- An operator who signs in at an identity provider has no token: the session itself says who they are there, and what their
-- groups let them do. They are of the house; tenants' people sign in with tokens.

alter table safelight.console_sessions alter column token_id drop not null;
alter table safelight.console_sessions
    add column operator text check (operator like 'oidc:%'),    -- their id at the provider, as the trail of acts names them
    add column scope text check (scope in ('read', 'operate')),
    add constraint token_or_operator check (
        (token_id is not null and operator is null and scope is null)
        or (token_id is null and operator is not null and scope is not null));
