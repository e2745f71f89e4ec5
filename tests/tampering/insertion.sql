-- As a superuser: an entry is put between two others; what comes after it moves up by one place.
alter table safelight.audit_entries disable trigger user;
alter table safelight.audit_leaves disable trigger user;
update safelight.audit_leaves set seq = seq + 1000 where seq >= 4;
update safelight.audit_leaves set seq = seq - 999 where seq >= 1000;
insert into safelight.audit_entries (actor, action, outcome, xid) values ('worker', 'test.entry', 'ok', '3');
insert into safelight.audit_leaves (seq, entry, leaf)
select 4, max(seq), sha256(max(seq)::text::bytea) from safelight.audit_entries;
