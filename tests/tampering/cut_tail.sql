-- As a superuser: the last entries go, and the log is started anew, so that the sealer itself seals what is left.
alter table safelight.audit_entries disable trigger user;
alter table safelight.audit_leaves disable trigger user;
alter table safelight.audit_nodes disable trigger user;
alter table safelight.audit_checkpoints disable trigger user;
delete from safelight.audit_entries where seq in (select entry from safelight.audit_leaves where seq >= 9);
truncate safelight.audit_leaves, safelight.audit_nodes, safelight.audit_checkpoints;
update safelight.audit_log set size = 0, peaks = '', done = null, target = null, signed_size = 0, signed_at = null;
alter table safelight.audit_leaves enable trigger user;
alter table safelight.audit_nodes enable trigger user;
alter table safelight.audit_checkpoints enable trigger user;
alter table safelight.audit_entries enable trigger user;
