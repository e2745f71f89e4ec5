-- Calls to providers, written down before they are made, and the inbox of what providers tell us.

create table safelight.provider_calls (
    id uuid primary key,                          -- the intent
    tenant text not null,
    subject_id uuid not null,
    generation integer not null,                  -- of the subject, when the gate let it pass
    order_id uuid,                                -- cut when the order row goes; the receipt of the call stays
    artifact_id uuid,                             -- what the call is about
    position integer,                             -- which image of the order it will make
    job_id uuid not null,
    purpose text not null,
    processor text not null,
    model text not null,                          -- the provider's model or endpoint
    -- The wish, for example `train:order_…`: at most one call of a wish is alive or succeeded.
    wish text not null,
    -- In the webhook address; only its hash is kept.
    token_sha256 bytea not null unique,
    state text not null default 'intended' check (state in (
        'intended',        -- committed; the request may or may not have left
        'unknown',         -- it left or may have left, and no answer was recorded: reconciled, never repeated
        'submitted',       -- the provider accepted and gave a request id
        'succeeded', 'failed', 'cancelled',
        'refused')),       -- certainly not accepted: nothing happened there
    code text,
    request_id text,
    response_url text,
    status_url text,
    cancel_url text,
    grants uuid[] not null default '{}',
    policy_version text not null,
    cancel_wanted boolean not null default false,
    collected_at timestamptz,
    purge text not null default 'none' check (purge in ('none', 'wanted', 'purged', 'failed')),
    purged_at timestamptz,
    created_at timestamptz not null default safelight.now(),
    submitted_at timestamptz,
    finished_at timestamptz,
    foreign key (subject_id, tenant) references safelight.subjects (id, tenant),
    foreign key (order_id, subject_id) references safelight.orders (id, subject_id) on delete set null (order_id),
    constraint a_submitted_call_has_its_request_id check (state not in ('submitted', 'succeeded') or request_id is not null)
);
create unique index one_live_call_per_wish on safelight.provider_calls (wish) where state <> 'refused';
create unique index one_call_per_request on safelight.provider_calls (processor, request_id) where request_id is not null;
create index provider_calls_by_subject on safelight.provider_calls (subject_id);
create index provider_calls_by_order on safelight.provider_calls (order_id);
create index provider_calls_open on safelight.provider_calls (state, created_at) where state in ('intended', 'unknown', 'submitted');
create index provider_calls_to_purge on safelight.provider_calls (purge) where purge in ('wanted', 'failed');

-- Allow-listed fields only; the raw body is not kept (H6). One row an event, however often it is delivered.
create table safelight.webhook_inbox (
    provider text not null check (provider in ('stripe', 'fal', 'resend')),
    event_id text not null,
    type text not null,
    object_id text,
    call_id uuid,
    fields jsonb not null default '{}',
    received_at timestamptz not null default safelight.now(),
    outcome text not null check (outcome in ('enqueued', 'ignored', 'unknown_token', 'subject_gone')),
    primary key (provider, event_id)
);
create index webhook_inbox_by_object on safelight.webhook_inbox (object_id) where object_id is not null;
