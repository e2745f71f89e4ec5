-- The console's page of one person finds their cases and restrictions without reading those of everybody.
create index cases_by_subject on safelight.cases (subject_id) where subject_id is not null;
create index restrictions_by_subject on safelight.restrictions (subject_id);
