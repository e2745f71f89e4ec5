-- The lists of findings go on behind a link, the oldest first: however many there are, one page reads one page.
create index differences_open_by_age on safelight.differences (first_seen_at, (md5(code || object)::uuid)) where resolved_at is null;
create index sales_without_rule_by_age on safelight_fiscal.sales (sold_at, id) where keep_until is null;
drop index safelight.differences_open;
