-- Least privilege. Processes connect as a login that is a member of these roles and switch to theirs. Roles belong to
-- the whole cluster, so they may exist already.

set local client_min_messages = warning;
do $$
declare
    r text;
begin
    foreach r in array array['safelight_api', 'safelight_worker', 'safelight_auditor'] loop
        begin
            execute format('create role %I nologin', r);
        exception when duplicate_object or unique_violation then null;
        end;
        execute format('grant %I to current_user', r);
    end loop;
end $$;

grant usage on schema safelight to safelight_api, safelight_worker, safelight_auditor;
grant usage on schema safelight_fiscal to safelight_worker, safelight_auditor, safelight_api;

-- What passes through a gate function is recorded by its owner; no role inserts artifacts or embeddings by itself. A
-- function that comes later is nobody's until it is named here.
revoke execute on all functions in schema safelight from public;
alter default privileges revoke execute on functions from public;
grant execute on function safelight.now, safelight.policy_in_force to safelight_api, safelight_worker, safelight_auditor;
grant execute on function safelight.share_subject, safelight.pass_gate, safelight.readable
    to safelight_api, safelight_worker;
grant execute on function safelight.record_upload, safelight.upload_arrived, safelight.grant_consent, safelight.withdraw_consent,
    safelight.fence_subject, safelight.provider_called_back to safelight_api;
grant execute on function safelight.expect_artifact, safelight.artifact_arrived, safelight.record_bundle,
    safelight.record_embedding, safelight.record_request, safelight.expire_order to safelight_worker;

grant select on safelight.clock, safelight.tenants, safelight.policy_versions, safelight.policy_purposes,
    safelight.policy_rules, safelight.policy_retention to safelight_api, safelight_worker, safelight_auditor;

-- The intake registers people, orders and wishes; it reads states, and nothing sealed but what it just wrote.
grant select, insert on safelight.subjects, safelight.subject_keys, safelight.accounts, safelight.upload_batches, safelight.orders,
    safelight.webhook_inbox, safelight.idempotent_answers, safelight.deletions to safelight_api;
grant update (checkout_session, checkout_at) on safelight.orders to safelight_api;
grant update (status, body) on safelight.idempotent_answers to safelight_api;
grant delete on safelight.idempotent_answers to safelight_api;
grant select, insert, update, delete on safelight.jobs, safelight.job_keys to safelight_api;
grant select on safelight.jobs_archive, safelight.dead_letters, safelight.job_attempts, safelight.job_steps, safelight.workers,
    safelight.deletion_steps, safelight.sweeps, safelight.notices, safelight.consents, safelight.artifacts,
    safelight.similarities, safelight.image_checks, safelight.provider_calls, safelight.audit_entries to safelight_api;
grant insert on safelight.audit_entries, safelight.sweeps, safelight.jobs_archive, safelight.job_attempts to safelight_api;
grant select, update (revoked_at) on safelight.tokens to safelight_api;
grant select on safelight_fiscal.sales to safelight_api;

-- Workers do the work and the deleting.
grant select, insert, update, delete on safelight.jobs, safelight.job_keys, safelight.job_steps, safelight.jobs_archive,
    safelight.dead_letters, safelight.workers, safelight.job_attempts, safelight.deletions, safelight.deletion_steps,
    safelight.notices, safelight.sweeps, safelight.webhook_inbox to safelight_worker;
grant select, update, delete on safelight.orders, safelight.provider_calls to safelight_worker;
grant select, delete on safelight.artifacts, safelight.accounts, safelight.subject_keys, safelight.upload_batches to safelight_worker;
grant update (state, verdict, delivered_at, delete_after, deletion_id) on safelight.artifacts to safelight_worker;
grant insert on safelight.provider_calls to safelight_worker;
grant select on safelight.consents to safelight_worker;
grant select, delete on safelight.embeddings, safelight.artifact_sources to safelight_worker;
grant select, insert, update, delete on safelight.similarities, safelight.image_checks to safelight_worker;
grant insert on safelight.artifact_sources to safelight_worker;
grant select, update on safelight.subjects to safelight_worker;
grant insert, select on safelight.audit_entries to safelight_worker;
grant select, insert, update, delete on safelight_fiscal.sales to safelight_worker;

grant select on safelight.audit_entries, safelight.deletions, safelight.deletion_steps, safelight.sweeps to safelight_auditor;
