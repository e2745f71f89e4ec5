-- Which token is nobody's any more shows in the day of its last use. A day, not an instant: written once a day, it costs a request nothing.
create function safelight.today() returns date
language sql stable
as $$ select (safelight.now() at time zone 'UTC')::date $$;
grant execute on function safelight.today to safelight_api;
alter table safelight.tokens add column last_used_on date;
grant update (last_used_on) on safelight.tokens to safelight_api;
