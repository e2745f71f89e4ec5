-- The console shows cases and objections a page at a time, decided ones too: each page goes on from a place, by time and then by id.
-- And it counts the objections that are open and those that were upheld: among many that were overridden, without reading all.

create index cases_by_deadline on safelight.cases (answer_due, id);
create index objections_by_age on safelight.objections (received_at, id);
create index objections_open on safelight.objections (received_at, id) where state = 'open';
create index objections_upheld on safelight.objections (tenant) where state = 'upheld';
