-- Restrictions and their ends are noted in the erasure ledger, too: 0 not yet, 1 that it was set, 2 that it is over. A restored backup
-- must not work on data that were restricted since.
alter table safelight.restrictions add column noted smallint not null default 0 check (noted between 0 and 2);
create index restrictions_to_note on safelight.restrictions (id) where noted = 0 or noted = 1 and lifted_at is not null;
grant update (noted) on safelight.restrictions to safelight_worker;
