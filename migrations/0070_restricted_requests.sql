-- What a provider has accepted while its person is restricted.

-- As before, and: a restriction is no answer. The data stay and nothing is done with them (Art. 18), so the request is recorded
-- and nothing of it is cancelled or purged: collecting it has a gate of its own, and waits there until the release.
create or replace function safelight.record_request(
    p_call uuid, p_request_id text, p_response_url text, p_status_url text, p_cancel_url text, p_classes text[]
) returns boolean
language plpgsql volatile security definer set search_path = pg_catalog
as $$
declare
    c record;
    a safelight.gate_answer;
    v_wanted boolean;
begin
    select * into strict c from safelight.provider_calls where id = p_call;
    a := safelight.pass_gate(c.subject_id, c.purpose, c.processor, p_classes, c.order_id, null, '{}', c.generation);
    if a.code = 'subject_restricted' then a.code := null; end if;
    update safelight.provider_calls set
        state = case when state in ('intended', 'unknown') then 'submitted' else state end,
        request_id = coalesce(request_id, p_request_id),
        response_url = coalesce(response_url, p_response_url),
        status_url = coalesce(status_url, p_status_url),
        cancel_url = coalesce(cancel_url, p_cancel_url),
        submitted_at = coalesce(submitted_at, safelight.now()),
        cancel_wanted = cancel_wanted or a.code is not null or state = 'refused',
        purge = case when (a.code is not null or state = 'refused') and purge = 'none' then 'wanted' else purge end
        where id = p_call returning a.code is null and state <> 'refused' into v_wanted;
    return v_wanted;
end $$;
