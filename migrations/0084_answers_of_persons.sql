-- Who sent a key is a token, or, under `/v1/me`, somebody who signed in: then the column holds a hash of who they are at the
-- project and at which tenant, and no token has that id.
alter table safelight.idempotent_answers drop constraint idempotent_answers_token_id_fkey;
