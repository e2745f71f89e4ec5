-- The sealed log: what audit entries say is put into one order, hashed into a Merkle tree and sworn to by signed
-- checkpoints. None of it happens in the transaction of the effect: that one only inserts, and takes no common lock.
--
-- Which entries are new is asked of transactions, not of numbers. `xid` is the transaction that wrote the entry; `done` is a
-- snapshot in which everything visible is sealed, `target` a later one. New is what is visible in `target` and was not in
-- `done`. A transaction that was still open in `done` stands in its list of open ones and is looked for by name until it has
-- ended, so that a slow one is neither passed by nor waited for.

alter table safelight.audit_entries
    add column xid xid8 not null default pg_current_xact_id(),
    add column class text,
    add column codes jsonb not null default '{}',
    add column processor text,
    add column deletion_id uuid;

-- Nothing is sealed yet: what had no place of its own in an entry gets it once.
alter table safelight.audit_entries disable trigger audit_is_only_written;
update safelight.audit_entries
set class = counts ->> 'class', processor = counts ->> 'processor',
    codes = (select coalesce(jsonb_object_agg(key, value), '{}') from jsonb_each(counts)
        where jsonb_typeof(value) = 'string' and key not in ('class', 'processor')),
    counts = (select coalesce(jsonb_object_agg(key, value), '{}') from jsonb_each(counts) where jsonb_typeof(value) = 'number')
where exists (select from jsonb_each(counts) where jsonb_typeof(value) <> 'number');
alter table safelight.audit_entries enable trigger audit_is_only_written;

-- Every entry has a canonical form (evidence/src/entry.rs): codes, ids, and whole numbers below 2^53. An entry that had none
-- would stop the sealer.
alter table safelight.audit_entries
    add constraint audit_holds_codes check (
        actor || action || outcome || coalesce(tenant, '') || coalesce(job_kind, '') || coalesce(purpose, '')
            || coalesce(policy_version, '') || coalesce(class, '') || coalesce(processor, '') ~ '^[A-Za-z0-9_.:-]+$'
        and least(length(actor), length(tenant), length(job_kind), length(purpose), length(policy_version), length(class),
            length(processor)) > 0
        and greatest(length(actor), length(action), length(outcome), length(tenant), length(job_kind), length(purpose),
            length(policy_version), length(class), length(processor)) <= 100),
    add constraint audit_counts_numbers check (
        counts::text ~ '^\{("[A-Za-z0-9_.:-]+": [0-9]{1,15}(, )?)*\}$' and counts::text !~ '"[^"]{101,}"'),
    add constraint audit_codes_are_codes check (
        codes::text ~ '^\{("[A-Za-z0-9_.:-]+": "[A-Za-z0-9_.:-]+"(, )?)*\}$' and codes::text !~ '"[^"]{101,}"'),
    add constraint a_commitment_is_a_hash check (octet_length(commitment) = 32);

create index audit_entries_to_seal on safelight.audit_entries (xid, seq);
create index audit_entries_by_deletion on safelight.audit_entries (deletion_id, seq) where deletion_id is not null;

-- The head of the log. Its row lock is what makes one sealer of many.
create table safelight.audit_log (
    only_row boolean primary key default true check (only_row),
    -- Cluster and database that the snapshots speak of. Elsewhere, after a restore from a dump, they mean nothing.
    home text,
    done pg_snapshot,
    target pg_snapshot,
    after_xid xid8 not null default '0',
    after_seq bigint not null default 0,
    size bigint not null default 0 check (size >= 0),
    -- Roots of the full subtrees, largest first, 32 bytes each: with the size the whole tree (evidence/src/merkle.rs).
    peaks bytea not null default '',
    signed_size bigint not null default 0,
    signed_at timestamptz
);
insert into safelight.audit_log default values;

-- An entry's place in the log, and its hash when it was sealed.
create table safelight.audit_leaves (
    seq bigint primary key check (seq >= 0),
    entry bigint not null unique,
    leaf bytea not null check (octet_length(leaf) = 32)
);
-- How many entries are committed and not sealed, counted up to a bound, and since when. Never reads a long table whole,
-- whatever the planner thinks of it.
create function safelight.audit_unsealed(p_most bigint, out entries bigint, out oldest timestamptz)
language sql stable
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
    select count(*), min(at) from (
        (select e.at from safelight.audit_entries e
        where e.xid = any (array(select pg_snapshot_xip(l.done) from safelight.audit_log l))
            and not exists (select from safelight.audit_leaves s where s.entry = e.seq) limit p_most)
        union all
        (select e.at from safelight.audit_entries e
        where e.xid >= (select pg_snapshot_xmax(l.done) from safelight.audit_log l)
            and not exists (select from safelight.audit_leaves s where s.entry = e.seq) limit p_most)
        union all
        (select e.at from safelight.audit_entries e
        where (select l.done is null from safelight.audit_log l)
            and not exists (select from safelight.audit_leaves s where s.entry = e.seq) limit p_most)
        limit p_most) waiting
$$;

-- Roots of full subtrees of 256, 65,536 ... leaves, so that a proof costs the same in a long log (evidence/src/tiles.rs).
create table safelight.audit_nodes (
    level smallint not null check (level > 0),
    index bigint not null check (index >= 0),
    hash bytea not null check (octet_length(hash) = 32),
    primary key (level, index)
);
create table safelight.audit_checkpoints (
    size bigint primary key check (size > 0),
    note text not null,
    key_ids text[] not null,
    signed_at timestamptz not null default safelight.now()
);

-- Where checkpoints go outside the database, and up to which size they are there.
create table safelight.audit_destinations (
    name text primary key check (name ~ '^[a-z]+$'),
    delivered bigint not null default 0,
    tries integer not null default 0,
    code text,
    -- One process at a time delivers; the token is its fence. After a failure nobody tries before this.
    token bigint not null default 0,
    claimed_until timestamptz,
    updated_at timestamptz not null default safelight.now()
);

-- Begun when the end of a deletion is sealed; the document comes with the checkpoint that covers it.
create table safelight.deletion_certificates (
    deletion_id uuid primary key,
    document text,
    issued_at timestamptz,
    constraint an_issued_certificate_says_when check ((document is null) = (issued_at is null))
);
create index certificates_to_issue on safelight.deletion_certificates (deletion_id) where document is null;

do $$
declare
    t text;
begin
    foreach t in array array['audit_leaves', 'audit_nodes', 'audit_checkpoints'] loop
        execute format('create trigger %I before update or delete on safelight.%I for each row execute function safelight.never()',
            t || '_are_only_written', t);
        execute format('create trigger %I before truncate on safelight.%I for each statement execute function safelight.never()',
            t || '_are_never_emptied', t);
    end loop;
end $$;

-- A certificate is issued once.
create function safelight.issued_once() returns trigger
language plpgsql as $$
begin
    if old.document is not null then
        raise exception 'the certificate of deletion % is issued', old.deletion_id;
    end if;
    return new;
end $$;
create trigger issued_once before update on safelight.deletion_certificates
    for each row execute function safelight.issued_once();
create trigger a_certificate_stays before delete on safelight.deletion_certificates
    for each row execute function safelight.never();

set local client_min_messages = warning;
do $$
begin
    begin
        create role safelight_sealer nologin;
    exception when duplicate_object or unique_violation then null;
    end;
    grant safelight_sealer to current_user;
end $$;

grant usage on schema safelight to safelight_sealer;
grant execute on function safelight.now to safelight_sealer;
grant select on safelight.clock, safelight.audit_entries, safelight.audit_log, safelight.audit_leaves, safelight.audit_nodes,
    safelight.audit_checkpoints, safelight.audit_destinations, safelight.deletion_certificates, safelight.deletions,
    safelight.deletion_steps, safelight.tenants to safelight_sealer;
-- The sealer adds to the log and changes no entry; who writes entries does not touch the log.
grant update on safelight.audit_log to safelight_sealer;
grant insert on safelight.audit_leaves, safelight.audit_nodes, safelight.audit_checkpoints to safelight_sealer;
grant insert, update on safelight.audit_destinations to safelight_sealer;
grant insert, update (document, issued_at) on safelight.deletion_certificates to safelight_sealer;

-- Insert only, and neither the number, nor the time, nor the transaction of an entry.
revoke insert on safelight.audit_entries from safelight_api, safelight_worker;
grant insert (tenant, actor, action, job_kind, job_id, order_id, alias, purpose, grants, outcome, counts, policy_version,
    commitment, class, processor, deletion_id, codes) on safelight.audit_entries to safelight_api, safelight_worker;

grant select on safelight.audit_log, safelight.audit_leaves, safelight.audit_nodes, safelight.audit_checkpoints,
    safelight.audit_destinations, safelight.deletion_certificates to safelight_api, safelight_auditor;
grant select on safelight.tenants, safelight.clock to safelight_auditor;
revoke execute on function safelight.audit_unsealed, safelight.issued_once from public;
grant execute on function safelight.audit_unsealed to safelight_api, safelight_auditor, safelight_sealer;
