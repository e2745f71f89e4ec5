-- A training may take longer than the hour after which a result that Fal has not is lost: the hour counts from Fal's first word.
alter table safelight.provider_calls
    -- Since when Fal answers that it does not have it; none: it never said so, or it has it again.
    add column not_found_since timestamptz;
