-- Stored things about a person, what was made from what, and the clocks that end them.

create table safelight.artifacts (
    id uuid primary key,
    tenant text not null,
    subject_id uuid not null,
    generation integer not null,
    class text not null check (class in ('upload', 'bundle', 'model', 'image', 'export')),
    batch_id uuid,
    order_id uuid,
    position integer,
    -- The row is written before the bytes: an object without a row would be lost.
    state text not null default 'expected' check (state in ('expected', 'stored', 'withheld')),
    -- Why it was withheld from the buyer: a code such as `nsfw` or `no_face`.
    verdict text,
    storage_key text not null unique check (storage_key ~ '^[a-z0-9/-]+$'),
    content_type text,
    bytes bigint check (bytes > 0),
    sha256 text check (sha256 ~ '^[0-9a-f]{64}$'),
    created_at timestamptz not null default safelight.now(),
    uploaded_at timestamptz,
    delivered_at timestamptz,
    delete_after timestamptz,
    deletion_id uuid,                             -- the deletion that has taken it on
    foreign key (subject_id, tenant) references safelight.subjects (id, tenant),
    foreign key (batch_id, subject_id) references safelight.upload_batches (id, subject_id),
    foreign key (order_id, subject_id) references safelight.orders (id, subject_id),
    unique (id, subject_id),
    -- K5: everything of a person lies under that person's prefix, so that its listing finds it.
    constraint an_object_lies_under_its_person check (storage_key ~
        ('^' || tenant || '/' || replace(subject_id::text, '-', '') || '/' || class || '/[a-z0-9-]{1,64}$')),
    constraint an_upload_belongs_to_a_batch check (class <> 'upload' or (batch_id is not null and order_id is null)),
    constraint a_model_or_image_belongs_to_an_order check (class not in ('bundle', 'model', 'image') or order_id is not null),
    constraint stored_bytes_are_described check (state = 'expected' or (bytes is not null and sha256 is not null)),
    constraint what_is_withheld_says_why check ((state = 'withheld') = (verdict is not null)),
    constraint nothing_withheld_is_delivered check (state <> 'withheld' or delivered_at is null)
);
create unique index one_model_per_order on safelight.artifacts (order_id) where class = 'model';
create unique index one_bundle_per_order on safelight.artifacts (order_id) where class = 'bundle';
create unique index one_image_per_position on safelight.artifacts (order_id, position) where class = 'image';
create index artifacts_by_subject on safelight.artifacts (subject_id);
create index artifacts_due on safelight.artifacts (delete_after) where delete_after is not null;
create index uploads_by_batch on safelight.artifacts (batch_id) where class = 'upload';

create table safelight.artifact_sources (
    artifact_id uuid not null references safelight.artifacts on delete cascade,
    source_id uuid not null references safelight.artifacts on delete cascade,
    primary key (artifact_id, source_id)
);
create index artifact_sources_by_source on safelight.artifact_sources (source_id);

-- Special category (Art. 9). No cascade: whoever deletes an upload has deleted its embedding first, or fails.
create table safelight.embeddings (
    id uuid primary key default gen_random_uuid(),
    subject_id uuid not null,
    upload_id uuid not null,
    order_id uuid not null,
    model_name text not null,
    model_sha256 text not null,
    dimension integer not null check (dimension > 0),
    vector_sealed bytea not null,
    grants uuid[] not null check (cardinality(grants) > 0),
    created_at timestamptz not null default safelight.now(),
    foreign key (upload_id, subject_id) references safelight.artifacts (id, subject_id),
    foreign key (order_id, subject_id) references safelight.orders (id, subject_id),
    unique (upload_id, order_id, model_sha256)
);

-- Verdicts about generated images share the fate of the image. Vectors of generated images are never stored (D5).
create table safelight.similarities (
    image_id uuid primary key references safelight.artifacts on delete cascade,
    order_id uuid not null,
    best real check (best between -1 and 1),
    mean_best3 real check (mean_best3 between -1 and 1),
    compared integer not null default 0,
    verdict text not null check (verdict in ('alike', 'not_alike', 'no_face', 'several_faces', 'face_too_small', 'no_reliable_face', 'unreadable', 'no_reference')),
    model_sha256 text not null,
    created_at timestamptz not null default safelight.now(),
    constraint a_number_or_a_reason check ((verdict in ('alike', 'not_alike')) = (mean_best3 is not null))
);
create table safelight.image_checks (
    image_id uuid primary key references safelight.artifacts on delete cascade,
    flagged boolean not null,
    probability real check (probability between 0 and 1),
    checked_by text not null,
    created_at timestamptz not null default safelight.now()
);

-- Clocks: the start is written once, by the database clock, and the end follows from the tenant's retention rule.
create function safelight.start_the_clock() returns trigger
language plpgsql as $$
declare
    term record;
    starts timestamptz;
begin
    if tg_op = 'UPDATE' then
        if old.uploaded_at is not null and new.uploaded_at is distinct from old.uploaded_at then
            raise exception 'uploaded_at of artifact % is written once', old.id;
        end if;
        if old.delivered_at is not null and new.delivered_at is distinct from old.delivered_at then
            raise exception 'delivered_at of artifact % is written once', old.id;
        end if;
        if new.subject_id <> old.subject_id or new.class <> old.class or new.storage_key <> old.storage_key then
            raise exception 'artifact % keeps its subject, class and storage key', old.id;
        end if;
    end if;
    if new.state = 'withheld' then
        -- Never delivered: no term, gone at once.
        new.delete_after := least(new.delete_after, safelight.now());
        return new;
    end if;
    if new.class = 'bundle' then
        -- A copy of uploads for one training: set when it is made, to the first end of what is in it.
        if new.delete_after is null and exists (select from safelight.policy_retention
            where tenant = new.tenant and version = safelight.policy_in_force(new.tenant) and class = 'upload' and hours is not null) then
            raise exception 'bundle % ends with the first of its uploads', new.id;
        end if;
        return new;
    end if;
    select hours, counted_from into term from safelight.policy_retention
        where tenant = new.tenant and version = safelight.policy_in_force(new.tenant) and class = new.class;
    if not found then
        raise exception 'tenant % has no retention rule for class %', new.tenant, new.class;
    end if;
    if term.hours is not null and (tg_op = 'INSERT' or old.delete_after is null) then
        starts := case term.counted_from when 'uploaded_at' then new.uploaded_at else new.delivered_at end;
        if starts is not null then
            new.delete_after := starts + make_interval(hours => term.hours);
        end if;
    elsif tg_op = 'UPDATE' and old.delete_after is not null and new.delete_after is distinct from old.delete_after
        and new.delete_after is distinct from least(old.delete_after, new.delete_after) then
        raise exception 'the end of artifact % is never moved later', old.id;
    end if;
    return new;
end $$;
create trigger start_the_clock before insert or update on safelight.artifacts
    for each row execute function safelight.start_the_clock();

-- May this artifact be read at this instant? The same instant that the sweep uses: a late sweep is no late read.
create function safelight.readable(a safelight.artifacts) returns boolean
language sql stable
as $$
    select a.state = 'stored'
        and (a.delete_after is null or a.delete_after > safelight.now())
        and exists (select from safelight.subjects s
            where s.id = a.subject_id and s.state in ('active', 'restricted') and s.generation = a.generation)
$$;
