-- People: the subject row is what remains of a person after erasure; everything that names them hangs on it.

create table safelight.subjects (
    id uuid primary key,
    tenant text not null references safelight.tenants,
    state text not null default 'active' check (state in ('active', 'restricted', 'erasing', 'erased')),
    -- Only grows. Work that started under an older generation records nothing.
    generation integer not null default 1 check (generation > 0),
    created_at timestamptz not null default safelight.now(),
    erased_at timestamptz,
    constraint an_erased_subject_says_when check ((state = 'erased') = (erased_at is not null)),
    unique (id, tenant)
);

-- The data key of one person, wrapped by the master key that is kept outside the database, and the pseudonym that
-- audit entries use. This row dies last: then no entry can be tied to anyone.
create table safelight.subject_keys (
    subject_id uuid primary key references safelight.subjects,
    alias uuid not null unique default gen_random_uuid(),
    master_key_id text not null,
    wrapped_key bytea not null
);

-- Account data, sealed under the subject's key. K4: exactly these fields.
create table safelight.accounts (
    subject_id uuid primary key references safelight.subjects,
    auth_user uuid unique,
    email_sealed bytea not null,
    name_sealed bytea,
    google_id_sealed bytea,
    created_at timestamptz not null default safelight.now()
);

create function safelight.subject_changes_one_way() returns trigger
language plpgsql as $$
begin
    if new.id <> old.id or new.tenant <> old.tenant then
        raise exception 'a subject keeps its id and tenant';
    end if;
    if new.generation < old.generation then
        raise exception 'the generation of subject % only grows', old.id;
    end if;
    if old.state = 'erased' and new.state <> 'erased' then
        raise exception 'subject % is erased and stays erased', old.id;
    end if;
    if old.state = 'erasing' and new.state not in ('erasing', 'erased') then
        raise exception 'subject % is being erased', old.id;
    end if;
    return new;
end $$;
create trigger subject_changes_one_way before update on safelight.subjects
    for each row execute function safelight.subject_changes_one_way();
create function safelight.never() returns trigger
language plpgsql as $$
begin
    raise exception '% on %.% is never allowed', tg_op, tg_table_schema, tg_table_name;
end $$;
create trigger a_subject_row_is_the_tombstone before delete on safelight.subjects
    for each row execute function safelight.never();
