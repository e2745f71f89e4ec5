-- As a superuser: a row is put among the entries as if it had been there before everything was sealed.
insert into safelight.audit_entries (actor, action, outcome, xid, at)
values ('worker', 'test.entry', 'ok', '3', '2026-01-01T00:00:00Z');
