-- Whose request it is: a webhook with a call's own token is proof, an id out of a listing or out of a person's mouth is a guess.

-- As before, and: where the call goes by another id, and nothing was taken home under it, the webhook's id takes its place, and the
-- links that belonged to the other one go. A call of somebody else that goes by this id loses it and is unknown again. What was
-- taken home already stays as it is. `differs` says which of it happened, for the audit log; none: nothing differed.
drop function safelight.provider_called_back(bytea, text);
create function safelight.provider_called_back(
    p_token_sha256 bytea, p_request_id text,
    out call_id uuid, out purpose text, out subject_gone boolean, out differs text
) language plpgsql volatile security definer set search_path = pg_catalog
as $$
declare
    c record;
    o record;
    v_takes boolean := true;
    v_replaces boolean := false;
begin
    select * into c from safelight.provider_calls where token_sha256 = p_token_sha256;
    if not found then return; end if;
    perform safelight.share_subject(c.subject_id);
    select state in ('erasing', 'erased') or generation <> c.generation into subject_gone
        from safelight.subjects where id = c.subject_id;
    -- Both rows in the order of ids: two webhooks that correct each other's guess do not wait for each other.
    perform from safelight.provider_calls x where x.id = c.id or x.processor = c.processor and x.request_id = p_request_id
        order by x.id for no key update;
    select * into c from safelight.provider_calls x where x.id = c.id;
    select x.id, x.collected_at into o from safelight.provider_calls x
        where x.processor = c.processor and x.request_id = p_request_id and x.id <> c.id;
    if found and o.collected_at is not null then
        v_takes := false;
        differs := 'taken_home';
    elsif found then
        update safelight.provider_calls x set request_id = null, response_url = null, status_url = null, cancel_url = null,
            state = case when x.state = 'submitted' then 'unknown' else x.state end
            where x.id = o.id;
        differs := 'taken_back';
    end if;
    if c.request_id <> p_request_id then
        v_replaces := v_takes and c.collected_at is null;
        differs := coalesce(differs, case when v_replaces then 'replaced' else 'taken_home' end);
    end if;
    update safelight.provider_calls x set
        request_id = case when v_replaces or v_takes and x.request_id is null then p_request_id else x.request_id end,
        response_url = case when v_replaces then null else x.response_url end,
        status_url = case when v_replaces then null else x.status_url end,
        cancel_url = case when v_replaces then null else x.cancel_url end,
        submitted_at = coalesce(x.submitted_at, safelight.now()),
        state = case when x.state in ('intended', 'unknown') and (v_takes or x.request_id is not null) then 'submitted' else x.state end,
        -- What was purged under the other id is still there under its own.
        purge = case when subject_gone and x.purge = 'none' or v_replaces and x.purge = 'purged' then 'wanted' else x.purge end
        where x.id = c.id;
    call_id := c.id;
    purpose := c.purpose;
end $$;
grant execute on function safelight.provider_called_back to safelight_api;
