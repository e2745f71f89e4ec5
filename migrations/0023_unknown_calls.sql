-- Calls whose outcome nobody knows, and what a person says about them.

-- As before, and: a call that a person has declared not made, and that was made all the same, is cancelled and purged.
-- Another attempt may stand in its place by now; two results are never taken home.
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

-- Oldest first, by key: a sweep pages through all of them.
drop index safelight.provider_calls_open;
create index provider_calls_open on safelight.provider_calls (created_at, id) where state in ('intended', 'unknown', 'submitted');
create index provider_calls_unknown on safelight.provider_calls (created_at) where state = 'unknown';
