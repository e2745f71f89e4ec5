-- The master key is replaced: persons' keys are wrapped anew, one after the other, while everything runs.

grant update (master_key_id, wrapped_key) on safelight.subject_keys to safelight_worker;
create index subject_keys_by_master on safelight.subject_keys (master_key_id);
