-- What the HTTP intake needs: tokens, remembered answers, and notices to people.

create table safelight.tokens (
    id uuid primary key,
    tenant text references safelight.tenants,     -- null: an operator of the whole house
    name text not null,
    secret_sha256 bytea not null unique,          -- the token itself is shown once and never stored
    scopes text[] not null check (scopes <@ array['enqueue', 'read', 'operate', 'sweep', 'audit'] and cardinality(scopes) > 0),
    created_at timestamptz not null default safelight.now(),
    expires_at timestamptz,
    revoked_at timestamptz
);

create table safelight.idempotent_answers (
    token_id uuid not null references safelight.tokens,
    key text not null check (length(key) between 1 and 255),
    request_sha256 bytea not null,
    status smallint,
    body jsonb,
    created_at timestamptz not null default safelight.now(),
    primary key (token_id, key)
);
create index idempotent_answers_by_age on safelight.idempotent_answers (created_at);

create table safelight.notices (
    id uuid primary key,
    tenant text not null,
    subject_id uuid not null,
    order_id uuid,
    template text not null check (template in ('order_delivered', 'order_refused', 'erasure_complete')),
    channel text not null check (channel in ('mail', 'product')),
    message_id text,
    created_at timestamptz not null default safelight.now(),
    sent_at timestamptz,
    foreign key (subject_id, tenant) references safelight.subjects (id, tenant)
);
create unique index one_notice_per_order on safelight.notices (order_id, template) where order_id is not null;
create index notices_by_subject on safelight.notices (subject_id);
