-- Whose clocks are held (D14) has the data kept, not a copy of them that was made to be taken away: an export ends with its week.

create or replace function safelight.due_artifacts(p_until timestamptz)
returns table (id uuid, subject_id uuid, tenant text, class text, due_at timestamptz)
language sql stable
as $$
    select d.id, d.subject_id, d.tenant, d.class, d.due_at from (
        select a.id, a.subject_id, a.tenant, a.class, a.delete_after as due_at
            from safelight.artifacts a where a.deletion_id is null and a.delete_after <= p_until
        union all
        select a.id, a.subject_id, a.tenant, a.class, a.created_at + interval '24 hours'
            from safelight.artifacts a where a.deletion_id is null and a.state = 'expected'
                and a.created_at <= p_until - interval '24 hours' and (a.delete_after is null or a.delete_after > p_until)
    ) d where d.class = 'export' or not exists (select from safelight.restrictions r
        where r.subject_id = d.subject_id and r.lifted_at is null and r.keep_until > safelight.now())
$$;
