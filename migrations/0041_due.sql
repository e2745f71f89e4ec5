-- What is due, asked in one place: by the sweep that deletes, by its dry run and by the console.

-- Rows whose bytes never came are no promise to anybody: a day later they are due like what has reached its term. What a
-- deletion has taken on is not due any more, it is being deleted.
create function safelight.due_artifacts(p_until timestamptz)
returns table (id uuid, subject_id uuid, tenant text, class text, due_at timestamptz)
language sql stable
as $$
    select a.id, a.subject_id, a.tenant, a.class, a.delete_after
        from safelight.artifacts a where a.deletion_id is null and a.delete_after <= p_until
    union all
    select a.id, a.subject_id, a.tenant, a.class, a.created_at + interval '24 hours'
        from safelight.artifacts a where a.deletion_id is null and a.state = 'expected'
            and a.created_at <= p_until - interval '24 hours' and (a.delete_after is null or a.delete_after > p_until)
$$;
create index artifacts_expected on safelight.artifacts (created_at) where state = 'expected';

grant execute on function safelight.due_artifacts to safelight_worker, safelight_api;
