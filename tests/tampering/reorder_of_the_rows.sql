-- As a superuser: two entries change places, the hashes stay where they are.
alter table safelight.audit_leaves disable trigger user;
alter table safelight.audit_leaves drop constraint audit_leaves_entry_key;
update safelight.audit_leaves l
set entry = (select entry from safelight.audit_leaves o where o.seq = case l.seq when 4 then 6 else 4 end)
where seq in (4, 6);
