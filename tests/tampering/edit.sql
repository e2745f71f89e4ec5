-- As a superuser: what an entry says is changed in place.
alter table safelight.audit_entries disable trigger user;
update safelight.audit_entries set outcome = 'other'
where seq = (select entry from safelight.audit_leaves where seq = 4);
