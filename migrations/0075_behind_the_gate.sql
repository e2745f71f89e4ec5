-- What a worker writes about a person by itself, a score, a label, an intent, passes the gate in the statement that writes it: a
-- handler that forgets to ask writes nothing. Vectors, images and models have functions of their own (0007).

-- Under the person's lock, as each gate. SQLSTATE SL002 where it is closed.
create function safelight.score_passes() returns trigger
language plpgsql set search_path = pg_catalog
as $$
declare
    image record;
begin
    select subject_id, order_id, generation into image from safelight.artifacts where id = new.image_id;
    if not found then raise exception 'object_gone' using errcode = 'SL002'; end if;
    perform safelight.must_pass(image.subject_id, 'compare', 'self', array['upload', 'embedding', 'image'], image.order_id, null,
        array[new.image_id], image.generation);
    return new;
end $$;
create function safelight.label_passes() returns trigger
language plpgsql set search_path = pg_catalog
as $$
declare
    image record;
begin
    select subject_id, order_id, generation into image from safelight.artifacts where id = new.image_id;
    if not found then raise exception 'object_gone' using errcode = 'SL002'; end if;
    perform safelight.must_pass(image.subject_id, 'nsfw', 'fal', array['image'], image.order_id, null, array[new.image_id],
        image.generation);
    return new;
end $$;
-- The classes are the handler's to name (`calls::intend` asks with them, in the same transaction); person, generation, purpose,
-- consent and order are asked here.
create function safelight.intent_passes() returns trigger
language plpgsql set search_path = pg_catalog
as $$
begin
    perform safelight.must_pass(new.subject_id, new.purpose, new.processor, '{}', new.order_id, null, '{}', new.generation);
    return new;
end $$;

grant execute on function safelight.must_pass to safelight_worker;

create trigger behind_the_gate before insert on safelight.similarities for each row
    when (current_user = 'safelight_worker') execute function safelight.score_passes();
create trigger behind_the_gate before insert on safelight.image_checks for each row
    when (current_user = 'safelight_worker') execute function safelight.label_passes();
create trigger behind_the_gate before insert on safelight.provider_calls for each row
    when (current_user = 'safelight_worker') execute function safelight.intent_passes();

-- Of a person the worker says one thing: that they are erased.
revoke update on safelight.subjects from safelight_worker;
grant update (state, erased_at) on safelight.subjects to safelight_worker;
