-- Orders, the acts of uploading they rest on, and consent as events. The fiscal minimum lives apart from day one.

create table safelight.upload_batches (
    id uuid primary key,
    tenant text not null,
    subject_id uuid not null,
    created_at timestamptz not null default safelight.now(),
    foreign key (subject_id, tenant) references safelight.subjects (id, tenant),
    unique (id, subject_id)
);

create table safelight.orders (
    id uuid primary key,
    tenant text not null,
    subject_id uuid not null,
    batch_id uuid not null,
    plan text not null,
    state text not null default 'placed' check (state in (
        'placed', 'paid', 'training', 'generating', 'delivered', 'refused', 'expired', 'refund_review')),
    -- A code that says why an order is refused or in refund review.
    problem text,
    needs_model boolean not null,
    images_wanted integer not null check (images_wanted between 1 and 200),
    amount_cents bigint not null check (amount_cents >= 0),
    currency text not null check (currency ~ '^[a-z]{3}$'),
    prompt_sealed bytea,
    checkout_session text unique,
    checkout_at timestamptz,
    paid_at timestamptz,
    -- Every selfie that shows one face is measured, where that is consented to.
    selfies_measured_at timestamptz,
    delivered_at timestamptz,
    created_at timestamptz not null default safelight.now(),
    foreign key (subject_id, tenant) references safelight.subjects (id, tenant),
    foreign key (batch_id, subject_id) references safelight.upload_batches (id, subject_id),
    unique (id, subject_id),
    constraint a_paid_order_says_when check (state not in ('paid', 'training', 'generating', 'delivered') or paid_at is not null),
    constraint checkout_comes_before_payment check (paid_at is null or checkout_at <= paid_at),
    constraint a_session_says_when check ((checkout_session is null) = (checkout_at is null)),
    constraint a_problem_is_named check (state not in ('refused', 'refund_review') or problem is not null)
);
create index orders_by_subject on safelight.orders (subject_id);

create table safelight.consents (
    id uuid primary key,
    -- The order of events. Writers of one person hold the person's lock, so a clock that steps back moves nothing.
    seq bigint generated always as identity,
    tenant text not null,
    subject_id uuid not null,
    event text not null check (event in ('granted', 'withdrawn', 'expired')),
    purpose text not null,
    capture_point text not null check (capture_point in ('sign_up', 'upload', 'checkout', 'settings')),
    -- What a grant covers follows from where it was given: sign_up the account, upload one batch, checkout one order.
    batch_id uuid,
    order_id uuid,
    wording_sha256 text check (wording_sha256 ~ '^[0-9a-f]{64}$'),
    policy_version text not null,
    actor text not null check (actor in ('subject', 'operator', 'system')),
    at timestamptz not null default safelight.now(),
    foreign key (subject_id, tenant) references safelight.subjects (id, tenant),
    -- No foreign key to batch and order: the proof of consent outlives both, and then names nothing any more.
    foreign key (tenant, policy_version) references safelight.policy_versions,
    constraint a_grant_names_its_scope check (event <> 'granted' or case capture_point
        when 'upload' then batch_id is not null and order_id is null
        when 'checkout' then order_id is not null and batch_id is null
        else batch_id is null and order_id is null end),
    constraint a_grant_names_its_wording check (event <> 'granted' or wording_sha256 is not null)
);
create index consents_of_a_subject on safelight.consents (subject_id, purpose, seq);
create trigger consent_is_a_history before update on safelight.consents
    for each row execute function safelight.never();

-- What tax and accounting law asks for, and nothing that names a person. No foreign key to the subject or the order:
-- `order_id` is an alias that the last step of an erasure cuts.
create schema if not exists safelight_fiscal;
create table safelight_fiscal.sales (
    id uuid primary key default gen_random_uuid(),
    tenant text not null,
    order_id uuid unique,
    stripe_session text not null unique,
    status text not null check (status in ('paid', 'refunded', 'disputed')),
    amount_cents bigint not null,
    tax_cents bigint not null default 0,
    currency text not null,
    country text,
    sold_at timestamptz not null,
    rule text,
    keep_until timestamptz
);
