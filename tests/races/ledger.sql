-- What was recorded of a person, and when the person withdrew or was erased, each with the transaction it was committed in.
-- Postgres keeps the time of each commit (track_commit_timestamp), so that the order is its own and not a test's guess.
create schema races;
create table races.said (
    seq bigint generated always as identity, subject_id uuid not null, what text not null, xid xid8 not null default pg_current_xact_id());
create index on races.said (subject_id);

create table races.forbids (ended text not null, what text not null);
insert into races.forbids
    select 'erased', what from unnest(array['vector', 'score', 'label', 'row of a upload', 'row of a bundle', 'row of a model', 'row of a image',
        'bundle stored', 'model stored', 'image stored', 'request to train', 'request to generate', 'request to nsfw',
        'accepted train', 'accepted generate', 'accepted nsfw']) what
    union all
    select 'withdrawn train', what from unnest(array['row of a bundle', 'row of a model', 'row of a image', 'bundle stored', 'model stored',
        'image stored', 'request to train', 'request to generate', 'accepted train', 'accepted generate']) what
    union all
    select 'withdrawn compare', what from unnest(array['vector', 'score']) what;

create function races.says() returns trigger language plpgsql security definer as $$
begin
    insert into races.said (subject_id, what) select
        case tg_table_name
            when 'similarities' then (select subject_id from safelight.artifacts where id = (to_jsonb(new) ->> 'image_id')::uuid)
            when 'image_checks' then (select subject_id from safelight.artifacts where id = (to_jsonb(new) ->> 'image_id')::uuid)
            when 'subjects' then (to_jsonb(new) ->> 'id')::uuid
            else (to_jsonb(new) ->> 'subject_id')::uuid end,
        case tg_table_name
            when 'embeddings' then 'vector'
            when 'similarities' then 'score'
            when 'image_checks' then 'label'
            when 'subjects' then 'erased'
            when 'consents' then 'withdrawn ' || (to_jsonb(new) ->> 'purpose')
            when 'provider_calls' then case tg_op when 'INSERT' then 'request to ' else 'accepted ' end || (to_jsonb(new) ->> 'purpose')
            else case tg_op when 'INSERT' then 'row of a ' || (to_jsonb(new) ->> 'class') else (to_jsonb(new) ->> 'class') || ' stored' end end;
    return null;
end $$;
create trigger z_says after insert on safelight.embeddings for each row execute function races.says();
create trigger z_says after insert on safelight.similarities for each row execute function races.says();
create trigger z_says after insert on safelight.image_checks for each row execute function races.says();
create trigger z_says after insert on safelight.artifacts for each row execute function races.says();
create trigger z_says_stored after update on safelight.artifacts for each row
    when (old.state <> 'stored' and new.state = 'stored') execute function races.says();
create trigger z_says after insert on safelight.provider_calls for each row execute function races.says();
-- An acceptance that is recorded as one to cancel and purge is what a closed gate asks for.
create trigger z_says_accepted after update on safelight.provider_calls for each row
    when (old.response_url is null and new.response_url is not null and not (new.cancel_wanted and new.purge <> 'none'))
    execute function races.says();
create trigger z_says after insert on safelight.consents for each row when (new.event = 'withdrawn') execute function races.says();
create trigger z_says after update on safelight.subjects for each row
    when (old.state <> 'erasing' and new.state = 'erasing') execute function races.says();

-- What was recorded after its end.
create function races.wrong(p_subject uuid) returns setof text language sql as $$
    select e.what || ' after ' || w.what from races.said w
    join races.forbids f on f.ended = w.what
    join races.said e on e.subject_id = w.subject_id and e.what = f.what
    where w.subject_id = p_subject and pg_xact_commit_timestamp(e.xid::xid) > pg_xact_commit_timestamp(w.xid::xid)
$$;
