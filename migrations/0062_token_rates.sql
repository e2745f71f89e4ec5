-- How often a token may ask, where that is another number than the usual one; and who replaced it.

alter table safelight.tokens add column per_minute integer check (per_minute > 0);
