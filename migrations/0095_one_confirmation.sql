-- K33: a person who is erased is told so once, by mail, when everything but the second look is done. No other mail reaches them: every
-- gate is closed to them. This one has a door of its own.

-- Said by a replay after a restore: the life of the database that was restored over has told them, or was about to. Once is the promise.
alter table safelight.deletions add column told_before boolean not null default false;

-- May this erasure's person be told now? Nothing: yes. Else why not. The caller's transaction holds the person's lock.
create function safelight.pass_confirmation(p_deletion uuid) returns text
language plpgsql volatile
as $$
declare
    d record;
begin
    select x.tenant, x.subject_id, x.trigger, x.state into d from safelight.deletions x where x.id = p_deletion;
    if not found or d.trigger <> 'erasure' or d.state = 'complete' then return 'not_an_erasure'; end if;
    perform safelight.share_subject(d.subject_id);
    perform from safelight.subjects where id = d.subject_id and state = 'erasing';
    if not found then return 'not_an_erasure'; end if;
    perform from safelight.policy_rules r where r.tenant = d.tenant and r.version = safelight.policy_in_force(d.tenant)
        and r.purpose = 'dsr' and r.processor = 'resend' and r.class = 'account';
    if not found then return 'purpose_not_allowed'; end if;
    perform from safelight.deletion_steps s where s.deletion_id = p_deletion
        and s.seq < (select c.seq from safelight.deletion_steps c where c.deletion_id = p_deletion and c.targets ->> 'what' = 'confirmation')
        and s.state not in ('verified', 'retained_by_law');
    if found then return 'not_deleted_yet'; end if;
    return null;
end $$;
revoke execute on function safelight.pass_confirmation from public;
grant execute on function safelight.pass_confirmation to safelight_worker;
