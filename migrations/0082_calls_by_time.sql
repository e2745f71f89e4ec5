-- Calls of a span of time: whose request may be the one that Fal lists, and what the comparison of the books goes through.

create index provider_calls_by_time on safelight.provider_calls (created_at);
