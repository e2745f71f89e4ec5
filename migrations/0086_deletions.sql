-- Deletions that are withdrawals of a consent that is given anew, and what a deletion finds of what it took on.

-- Does something rest on a grant that was withdrawn since? By the order of the events: no clock decides it.
create function safelight.rests_on_withdrawn(p_subject uuid, p_grants uuid[]) returns boolean
language sql stable
as $$
    select exists (select from safelight.consents g join safelight.consents w on w.subject_id = g.subject_id and w.purpose = g.purpose
            and w.event = 'withdrawn' and w.batch_id is null and w.order_id is null and w.seq > g.seq
        where g.subject_id = p_subject and g.id = any (p_grants))
$$;
revoke execute on function safelight.rests_on_withdrawn from public;
grant execute on function safelight.rests_on_withdrawn to safelight_worker;

-- The sweep of deletions goes along the deadlines, page by page.
create index deletions_by_deadline on safelight.deletions (answer_due, id) where state <> 'complete';
-- What a deletion has taken on and has not deleted yet.
create index artifacts_by_deletion on safelight.artifacts (deletion_id) where deletion_id is not null;

-- The bytes of an object that a deletion has taken on count for nothing any more: it would be said to be there, and go.
create or replace function safelight.upload_arrived(p_id uuid, p_content_type text, p_bytes bigint, p_sha256 text) returns void
language plpgsql volatile security definer set search_path = pg_catalog
as $$
declare
    x record;
begin
    select * into x from safelight.artifacts where id = p_id and class = 'upload';
    if not found then raise exception 'object_gone' using errcode = 'SL002', detail = 'upload'; end if;
    perform safelight.must_pass(x.subject_id, 'host', 'supabase', array['upload'], null, x.batch_id, '{}', x.generation);
    update safelight.artifacts set state = 'stored', content_type = p_content_type, bytes = p_bytes, sha256 = p_sha256,
        uploaded_at = safelight.now() where id = p_id and state = 'expected' and deletion_id is null;
    if not found and not exists (select from safelight.artifacts where id = p_id and deletion_id is null) then
        raise exception 'object_gone' using errcode = 'SL002', detail = 'upload';
    end if;
end $$;
