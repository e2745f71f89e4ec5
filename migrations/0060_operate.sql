-- What operators do to jobs and dead letters over HTTP: the intake's role may do to a job's rows what its commands do.

-- A cancelled job's steps go with it; a dead letter rises or is put into the archive. A row lock asks for a right to update.
grant delete on safelight.job_steps to safelight_api;
grant delete, update (code) on safelight.dead_letters to safelight_api;

-- What was done to one job, control or schedule, newest first.
create index operator_acts_by_about on safelight.operator_acts (about, id);
-- Held jobs are few, and nothing else finds them.
create index jobs_held on safelight.jobs (id) where state = 2;
