-- An act on all jobs that match may be narrowed to one queue, too. Null: to none, as all acts before were.
alter table safelight.bulk_acts add column queue text;
