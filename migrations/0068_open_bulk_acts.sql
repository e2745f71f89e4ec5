-- Acts on many jobs that are not over: the metrics ask for them, however many there have been.
create index bulk_acts_open on safelight.bulk_acts (asked_at) where finished_at is null;
