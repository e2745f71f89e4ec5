-- Art. 18(3): a person is told before their restriction is lifted. How and when they were told stands beside its end.
alter table safelight.restrictions
    -- `replayed`: a restored backup had forgotten a release that was noted outside it; the person was told before that one.
    add column told text check (told in ('mail', 'product', 'letter', 'replayed')),
    add column told_at timestamptz,
    add constraint who_was_told_was_told_at_a_time check ((told is null) = (told_at is null)),
    add constraint told_before_it_was_lifted check (told is null or lifted_at is not null and told_at between set_at and lifted_at);

-- As before, and: nobody is released who was not told during this restriction.
create function safelight.release_told(p_subject uuid, p_told text, p_told_at timestamptz, out code text, out released integer)
language plpgsql volatile security definer set search_path = pg_catalog
as $$
declare
    s record;
    v_set_at timestamptz;
begin
    perform safelight.own_subject(p_subject);
    select state into s from safelight.subjects where id = p_subject;
    if not found then code := 'subject_unknown'; return; end if;
    if s.state <> 'restricted' then code := case s.state when 'active' then 'not_restricted' else 'subject_erased' end; return; end if;
    select set_at into v_set_at from safelight.restrictions where subject_id = p_subject and lifted_at is null;
    -- The instant of a replay is another life's, whose clock may have gone ahead.
    if p_told = 'replayed' then p_told_at := greatest(v_set_at, least(p_told_at, safelight.now())); end if;
    if p_told is null or p_told_at is null or p_told_at < v_set_at or p_told_at > safelight.now() then
        code := 'not_told'; return;
    end if;
    update safelight.subjects set state = 'active' where id = p_subject;
    update safelight.restrictions set lifted_at = safelight.now(), told = p_told, told_at = p_told_at
        where subject_id = p_subject and lifted_at is null;
    with mine as materialized (
        select j.id from safelight.jobs j where j.subject_id = p_subject and (j.state = 2 and j.why = 'subject_restricted'
            or j.state = 3 and j.why like 'subject_restricted%') order by j.id for update
    )
    update safelight.jobs j set state = 0, why = null, run_at = least(j.run_at, safelight.now()) from mine where j.id = mine.id;
    get diagnostics released = row_count;
end $$;
revoke execute on function safelight.release_told from public;
grant execute on function safelight.release_told to safelight_api;

-- A process of the version before asks without saying that the person was told: it releases nobody any more.
create or replace function safelight.release_subject(p_subject uuid, out code text, out released integer)
language sql volatile security definer set search_path = pg_catalog
as $$ select 'not_told', null::integer $$;
