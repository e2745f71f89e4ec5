-- As a superuser: an entry is changed, and the whole log is recomputed, by the sealer itself and under its own key.
alter table safelight.audit_entries disable trigger user;
alter table safelight.audit_leaves disable trigger user;
alter table safelight.audit_nodes disable trigger user;
alter table safelight.audit_checkpoints disable trigger user;
update safelight.audit_entries set outcome = 'other'
where seq = (select entry from safelight.audit_leaves where seq = 4);
truncate safelight.audit_leaves, safelight.audit_nodes, safelight.audit_checkpoints;
update safelight.audit_log set size = 0, peaks = '', done = null, target = null, signed_size = 0, signed_at = null;
alter table safelight.audit_leaves enable trigger user;
alter table safelight.audit_nodes enable trigger user;
alter table safelight.audit_checkpoints enable trigger user;
alter table safelight.audit_entries enable trigger user;
