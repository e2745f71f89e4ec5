-- An idempotency key outlives the token that it came with: a request whose answer got lost is sent again under the same key, and
-- between the two the token may have been replaced. `line` is the first token of those that replaced each other; null: this one.
alter table safelight.tokens add column line uuid;
