-- A paid order of a person who agreed to everything, a moment before one of its jobs. Parameters: person, batch, order, scene,
-- photo, model, image, call and its token's hash.
create function races.set(p_subject uuid, p_batch uuid, p_order uuid, p_scene text, p_photo uuid, p_model uuid, p_image uuid, p_call uuid, p_token bytea)
returns void language plpgsql as $$
declare
    v_version text := safelight.policy_in_force('koselfie');
    v_before timestamptz := safelight.now() - interval '2 minutes';
    v_prefix text := 'koselfie/' || replace(p_subject::text, '-', '') || '/';
    v_hash text := repeat('a', 64);
begin
    insert into safelight.upload_batches (id, tenant, subject_id) values (p_batch, 'koselfie', p_subject);
    insert into safelight.orders (id, tenant, subject_id, batch_id, plan, state, needs_model, images_wanted, amount_cents, currency,
            checkout_session, checkout_at, paid_at, selfies_measured_at)
        values (p_order, 'koselfie', p_subject, p_batch, 'pro', case when p_scene in ('train_model', 'measure_selfies', 'forgetful') then 'paid'
            when p_scene = 'collect_model' then 'training' else 'generating' end, true, 1, 3900, 'eur', 'cs_' || p_order,
            v_before + interval '1 minute', safelight.now(), case when p_scene <> 'measure_selfies' then safelight.now() end);
    insert into safelight.consents (id, tenant, subject_id, event, purpose, capture_point, batch_id, order_id, wording_sha256, policy_version, actor, at)
        values (gen_random_uuid(), 'koselfie', p_subject, 'granted', 'compare', 'sign_up', null, null, v_hash, v_version, 'subject', v_before),
            (gen_random_uuid(), 'koselfie', p_subject, 'granted', 'compare', 'upload', p_batch, null, v_hash, v_version, 'subject', v_before),
            (gen_random_uuid(), 'koselfie', p_subject, 'granted', 'train', 'checkout', null, p_order, v_hash, v_version, 'subject', v_before);
    insert into safelight.artifacts (id, tenant, subject_id, generation, class, batch_id, state, storage_key, content_type, bytes, sha256, uploaded_at)
        values (p_photo, 'koselfie', p_subject, 1, 'upload', p_batch, 'stored', v_prefix || 'upload/' || replace(p_photo::text, '-', ''),
            'image/jpeg', 1, v_hash, safelight.now());
    if p_scene in ('generate_batch', 'collect_image', 'compare_faces', 'check_image') then
        insert into safelight.artifacts (id, tenant, subject_id, generation, class, order_id, state, storage_key, content_type, bytes, sha256, delivered_at)
            values (p_model, 'koselfie', p_subject, 1, 'model', p_order, 'stored', v_prefix || 'model/' || replace(p_model::text, '-', ''),
                'application/octet-stream', 1, v_hash, safelight.now());
    end if;
    if p_scene in ('compare_faces', 'check_image') then
        insert into safelight.artifacts (id, tenant, subject_id, generation, class, order_id, position, state, storage_key, content_type, bytes, sha256)
            values (p_image, 'koselfie', p_subject, 1, 'image', p_order, 1, 'stored', v_prefix || 'image/' || replace(p_image::text, '-', ''),
                'image/jpeg', 1, v_hash);
    end if;
    if p_scene in ('collect_model', 'collect_image') then
        insert into safelight.provider_calls (id, tenant, subject_id, generation, order_id, position, job_id, purpose, processor, model, wish,
                token_sha256, state, request_id, policy_version, submitted_at)
            values (p_call, 'koselfie', p_subject, 1, p_order, case p_scene when 'collect_image' then 1 end, gen_random_uuid(),
                case p_scene when 'collect_model' then 'train' else 'generate' end, 'fal', 'fal-ai/any', p_scene || p_order, p_token, 'submitted',
                p_call::text, v_version, safelight.now());
    end if;
    delete from races.said where subject_id = p_subject;
end $$;
