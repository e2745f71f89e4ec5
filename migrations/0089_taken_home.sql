-- Results that may be another person's are counted at every look at the metrics: few among very many entries.
create index audit_entries_taken_home on safelight.audit_entries (at) where action = 'call.request_differs' and outcome = 'taken_home';
