-- The export of a person's data: an object like any other under the person's folder, with a term of its own.

-- As before, and: an export ends a week after it was asked for, whatever the tenant's policy says of other classes.
create or replace function safelight.start_the_clock() returns trigger
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
    if new.class = 'export' then
        new.delete_after := case when tg_op = 'INSERT' then new.created_at + interval '168 hours'
            else least(old.delete_after, new.delete_after) end;
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

-- A right, and no purpose of the service's: it asks no consent, and a restriction does not keep it from anybody. One at a
-- time: while one is being made, asking again answers that one.
create function safelight.record_export(p_id uuid, p_subject uuid, p_key text, out id uuid, out expires_at timestamptz)
language plpgsql volatile security definer set search_path = pg_catalog
as $$
declare
    s record;
begin
    perform safelight.share_subject(p_subject);
    select * into s from safelight.subjects x where x.id = p_subject;
    if not found then raise exception 'subject_unknown' using errcode = 'SL002'; end if;
    if s.state not in ('active', 'restricted') then raise exception 'subject_erased' using errcode = 'SL002'; end if;
    select a.id, a.delete_after into id, expires_at from safelight.artifacts a
        where a.subject_id = p_subject and a.class = 'export' and a.state = 'expected' and a.deletion_id is null
            and a.created_at > safelight.now() - interval '24 hours' limit 1;
    if found then return; end if;
    insert into safelight.artifacts (id, tenant, subject_id, generation, class, storage_key)
        values (p_id, s.tenant, p_subject, s.generation, 'export', p_key)
        returning artifacts.id, artifacts.delete_after into id, expires_at;
end $$;

-- The bytes are in the store. N29: not of somebody who is being erased.
create function safelight.export_arrived(p_id uuid, p_bytes bigint, p_sha256 text) returns void
language plpgsql volatile security definer set search_path = pg_catalog
as $$
declare
    x record;
    s record;
begin
    select * into strict x from safelight.artifacts where id = p_id and class = 'export';
    perform safelight.share_subject(x.subject_id);
    select * into strict s from safelight.subjects where id = x.subject_id;
    if s.state not in ('active', 'restricted') or s.generation <> x.generation then
        raise exception 'subject_erased' using errcode = 'SL002';
    end if;
    update safelight.artifacts set state = 'stored', content_type = 'application/json', bytes = p_bytes, sha256 = p_sha256
        where id = p_id and state = 'expected';
end $$;

grant execute on function safelight.record_export to safelight_api;
grant execute on function safelight.export_arrived to safelight_worker;
