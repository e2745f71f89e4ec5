-- The erasure ledger must have what the database has noted there: an empty or cut one would let the dead in. Where a person says
-- that entries may be missing in it, they are asked for no longer: only what was noted since then is.
alter table safelight.restore_gate add column noted_from timestamptz;
