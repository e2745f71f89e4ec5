//! Lists of what grows: each goes on behind a link, to its end, and shows each thing once, also where many share one time and where
//! the last of a page is gone when the next one is asked for.

use axum::http::StatusCode;
use safelight_api::tokens::Scope;
use safelight_jobs::id::{self, Id};

use crate::{browser::Browser, house::House};

/// What stands between the mark and the next sign that is part of no id: on a page, and on each behind its link to more.
async fn on_all_pages(operator: &Browser<'_>, first: &str, more: &str, mark: &str) -> Vec<Vec<String>> {
    let (mut found, mut path) = (Vec::new(), first.to_owned());
    loop {
        let page = operator.opens(&path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}: {}", page.text);
        let named = |rest: &str| rest.split(['<', '"', '/', '?']).next().unwrap_or_default().to_owned();
        found.push(page.text.split(mark).skip(1).map(named).collect());
        let Some((before, _)) = page.text.split_once(&format!("\" rel=\"next\">{more}<")) else { return found };
        path = before.rsplit("href=\"").next().expect("an address").replace("&amp;", "&");
    }
}

/// Each list of `lists`: its page, the words of its link, what stands before each thing, and how many each page shows.
async fn each_goes_on(operator: &Browser<'_>, lists: Vec<(String, &str, &str, Vec<usize>)>) {
    for (page, more, mark, counts) in lists {
        let found = on_all_pages(operator, &page, more, mark).await;
        assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), counts, "{page}, {mark}");
        let mut each: Vec<&String> = found.iter().flatten().collect();
        each.sort();
        each.dedup();
        assert_eq!(each.len(), counts.iter().sum::<usize>(), "{page}, {mark}: each thing once");
    }
}

#[tokio::test]
async fn every_list_of_what_grows_goes_on_behind_a_link_and_shows_each_thing_once() {
    let house = House::build().await;
    house
        .run(
            "insert into safelight.sweeps (id, kind, asked_by, finished_at, found, acted, residue)
            select safelight.uuid_v7(), 'retention', 'tick:' || n, now(), 1, 1, 0 from generate_series(1, 120) n;
            insert into safelight.tokens (id, name, secret_sha256, scopes, revoked_at)
            select safelight.uuid_v7(), 'of a test', sha256(n::text::bytea), '{read}', case when n % 2 = 0 then now() end from generate_series(1, 240) n;
            insert into safelight.bulk_acts (id, job_id, act, kind, matched, matched_whole, actor, why, reached, finished_at)
            select id, gen_random_uuid(), 'hold', 'train_model', 1, true, 'x', 'x', id, now()
            from (select safelight.uuid_v7() as id from generate_series(1, 120)) a;
            insert into safelight.subjects (id, tenant) select safelight.uuid_v7(), 'koselfie' from generate_series(1, 120);
            insert into safelight.deletions (id, tenant, subject_id, trigger, state, answer_due)
            select safelight.uuid_v7(), tenant, id, 'retention', 'planned', now() + interval '30 days' from safelight.subjects;
            insert into safelight.provider_calls (id, tenant, subject_id, generation, job_id, purpose, processor, model, wish, token_sha256, state, policy_version)
            select safelight.uuid_v7(), tenant, id, 1, gen_random_uuid(), 'generate', 'fal', 'a model', 'image:' || id, sha256(convert_to(id::text, 'UTF8')),
                case when row_number() over () % 2 = 0 then 'unknown' else 'intended' end, safelight.policy_in_force(tenant) from safelight.subjects;
            insert into safelight.cases (id, tenant, subject_id, kind, channel, received_at, answer_due, state, opened_by, closed_at)
            select safelight.uuid_v7(), tenant, id, 'access', 'mail', now(), now(), case when closed then 'answered' else 'open' end, 'ops_1', case when closed then now() end
            from safelight.subjects, unnest(array[false, true]) closed;
            insert into safelight.objections (tenant, subject_id, purpose, policy_version, received_at)
            select tenant, id, 'observe', safelight.policy_in_force(tenant), now() from safelight.subjects;
            insert into safelight.artifacts (id, tenant, subject_id, generation, class, state, storage_key, created_at, delete_after)
            select id, 'koselfie', subject, 1, 'export', 'expected', 'koselfie/' || replace(subject::text, '-', '') || '/export/' || replace(id::text, '-', ''), now(),
                now() + interval '50 hours' from (select safelight.uuid_v7() as id, s.id as subject from safelight.subjects s) x;
            insert into safelight.workers (name, host, pid, queues, version, seen_at)
            select 'fleet ' || n || ' &', 'here', n, '{training}', '1', clock_timestamp() - case when n % 3 = 0 then interval '5 minutes' else interval '0' end
            from generate_series(1, 120) n;
            insert into safelight.differences (code, object, provider, about_at, first_seen_at, last_seen_at)
            select 'd_' || translate(n::text, '0123456789', 'abcdefghij'), 'object_' || n, 'stripe', now(), now(), now() from generate_series(1, 220) n;
            insert into safelight.missing_objects (artifact_id, tenant, first_seen_at, last_seen_at)
            select id, tenant, now(), now() from safelight.artifacts;
            insert into safelight_fiscal.sales (tenant, stripe_session, payment_intent, status, amount_cents, currency, sold_at, country)
            select 'koselfie', 'cs_test_f' || n, 'pi_f' || n, 'paid', 100, 'eur', now(), 'X' || n from generate_series(1, 220) n;
            insert into safelight.audit_entries (tenant, actor, action, outcome, order_id)
            select 'koselfie', 'provider', 'call.request_differs', 'taken_home', safelight.uuid_v7() from generate_series(1, 220) n;
            insert into safelight.subjects (id, tenant) values ('00000000-0000-4000-8000-00000000c001', 'koselfie');
            insert into safelight.upload_batches (id, tenant, subject_id)
                values ('00000000-0000-4000-8000-00000000c002', 'koselfie', '00000000-0000-4000-8000-00000000c001');
            insert into safelight.orders (id, tenant, subject_id, batch_id, plan, needs_model, images_wanted, amount_cents, currency, state, paid_at)
            select safelight.uuid_v7(), 'koselfie', '00000000-0000-4000-8000-00000000c001', '00000000-0000-4000-8000-00000000c002', 'basic', false, 4, 1900,
                'eur', 'paid', now() - interval '3 hours' from generate_series(1, 120)",
        )
        .await;
    let operator = Browser::of(&house, None, &[Scope::Operate]).await;
    let lists = [
        ("/console/orders/late", "Later paid ones", "/console/orders/order_", vec![50, 50, 20]),
        ("/console/findings", "Later differences", "<code>d_", vec![100, 100, 20]),
        ("/console/findings", "Later seen ones", "<code>artifact_", vec![100, 20]),
        ("/console/findings", "Later sales", "<td>X", vec![100, 100, 20]),
        ("/console/findings", "Later results", "/console/orders/order_", vec![100, 100, 20]),
        ("/console/bulk", "Older", "/console/bulk/bulk_", vec![50, 50, 20]),
        ("/console/sweeps", "Older runs", "tick:", vec![50, 50, 20]),
        ("/console/deletions", "Later deadlines", "/console/deletions/deletion_", vec![50, 50, 20]),
        ("/console/providers", "More calls", "<code>intent_", vec![50, 50, 20]),
        // The operator's own is one of them.
        ("/console/tokens", "Older", "<code>token_", vec![50, 50, 21]),
        ("/console/tokens?all=1", "Older", "<code>token_", vec![50, 50, 50, 50, 41]),
        ("/console/cases", "Later deadlines", "<code>case_", vec![50, 50, 20]),
        ("/console/cases?all=1", "Later deadlines", "<code>case_", vec![50, 50, 50, 50, 40]),
        ("/console/cases", "Later objections", "/console/subjects/subject_", vec![50, 50, 20]),
        ("/console/cases", "Older exports", "<code>artifact_", vec![50, 50, 20]),
        ("/console/workers", "More workers", "<code>fleet ", vec![50, 50, 20]),
    ];
    each_goes_on(&operator, lists.map(|(page, more, mark, counts)| (page.to_owned(), more, mark, counts)).to_vec())
        .await;
}

#[tokio::test]
async fn the_next_page_begins_where_it_began_although_the_last_of_the_page_before_has_changed_or_is_gone() {
    let house = House::build().await;
    // One after the other in time; with ids of one moment, the order of the ids is not that of the times.
    house
        .run(
            "insert into safelight.subjects (id, tenant) select safelight.uuid_v7(), 'koselfie' from generate_series(1, 120);
            insert into safelight.provider_calls (id, tenant, subject_id, generation, job_id, purpose, processor, model, wish, token_sha256, state, policy_version,
                created_at)
            select gen_random_uuid(), tenant, id, 1, gen_random_uuid(), 'generate', 'fal', 'a model', 'image:' || id, sha256(convert_to(id::text, 'UTF8')),
                case when row_number() over () % 2 = 0 then 'unknown' else 'intended' end, safelight.policy_in_force(tenant),
                now() + row_number() over () * interval '1 second' from safelight.subjects;
            insert into safelight.workers (name, host, pid, queues, version, seen_at)
            select 'fleet-' || lpad(n::text, 3, '0'), 'here', n, '{training}', '1', clock_timestamp() from generate_series(1, 60) n",
        )
        .await;
    let operator = Browser::of(&house, None, &[Scope::Operate]).await;
    let next = async |page: &str, name: &str| {
        let first = operator.opens(page).await.text;
        first
            .split(&format!("{name}="))
            .nth(1)
            .and_then(|rest| rest.split(['"', '#']).next())
            .expect("a link")
            .to_owned()
    };

    // Of sixty that are unknown fifty stand on the first page. All but the newest have an end by now.
    let place = next("/console/providers", "calls_after").await;
    assert!(place.starts_with("unknown."), "{place}");
    house
        .run(
            "delete from safelight.provider_calls where state = 'unknown' and id <> (select id from safelight.provider_calls
                where state = 'unknown' order by created_at desc limit 1)",
        )
        .await;
    let rest = operator.opens(&format!("/console/providers?calls_after={place}")).await.text;
    assert_eq!(rest.matches("<code>intent_").count(), 50, "those that are known, and the one that is not");
    assert!(rest.contains("the outcome is looked for"), "{rest}");

    let place = next("/console/workers", "after").await;
    house.run("delete from safelight.workers where name <= 'fleet-050'").await;
    let rest = operator.opens(&format!("/console/workers?after={place}")).await.text;
    assert_eq!(rest.matches("<code>fleet-").count(), 10, "{rest}");
    assert!(rest.contains("10 seen within a minute, 0 silent"), "{rest}");
}

#[tokio::test]
async fn what_belongs_to_one_order_job_or_person_goes_on_behind_a_link_too() {
    let house = House::build().await;
    let backend = house.backend("koselfie").await;
    let subject = house.person(&backend).await;
    let order = house.order(&backend, subject, "cs_test_lists").await;
    let job = uuid::Uuid::now_v7();
    let about =
        format!("from safelight.audit_entries where order_id = '{}' and action <> 'console.look'", order.uuid());
    let before = usize::try_from(house.count(&about).await).expect("a few");
    house
        .run(&format!(
            "insert into safelight.jobs (id, queue, kind, payload, tenant, state, run_at, rank, max_attempts, created_at, order_id, subject_id)
            select case n when 1 then '{job}'::uuid else safelight.uuid_v7() end, 'training', 'train_model', '{{}}', 'koselfie', 0, now(), now(), 5, now(),
                '{order}', '{subject}' from generate_series(1, 450) n;
            insert into safelight.audit_entries (tenant, actor, action, outcome, order_id, job_id, codes, counts)
            select 'koselfie', 'worker', 'image.delivered', 'done', '{order}', '{job}', jsonb_build_object('place', 'e' || n), jsonb_build_object('place', n)
            from generate_series(1, 450) n;
            insert into safelight.provider_calls (id, tenant, subject_id, generation, order_id, job_id, purpose, processor, model, wish, token_sha256, state,
                policy_version, created_at)
            select safelight.uuid_v7(), 'koselfie', '{subject}', 1, '{order}', '{job}', 'generate', 'fal', 'a model', 'image:' || n, sha256(n::text::bytea),
                'refused', '{policy}', now() from generate_series(1, 450) n;
            insert into safelight.job_attempts (job_id, subject_id, at, attempt, verdict, code)
            select '{job}', '{subject}', now() + n * interval '1 microsecond', n, 'wait', 'fal_is_busy' from generate_series(1, 250) n;
            insert into safelight.operator_acts (actor, why, action, outcome, about)
            select 'x', 'because of ' || n, 'job.hold', 'held', 'job_' || replace('{job}', '-', '') from generate_series(1, 250) n;
            insert into safelight_fiscal.sales (tenant, order_id, stripe_session, payment_intent, status, amount_cents, currency, sold_at, keep_until, review)
            select 'koselfie', null, 'cs_test_' || n, 'pi_' || n, 'paid', 900 + n, 'eur', now(), now() + interval '10 years', 'refund_failed' from generate_series(1, 120) n;
            insert into safelight_fiscal.sales (tenant, order_id, stripe_session, payment_intent, status, amount_cents, currency, sold_at, keep_until)
            values ('koselfie', '{order}', 'cs_test_lists', 'pi_lists', 'paid', 90000, 'eur', now(), now() + interval '10 years');
            insert into safelight_fiscal.refunds (id, tenant, stripe_session, stripe_refund, amount_cents, currency, state, asked_at)
            select safelight.uuid_v7(), 'koselfie', 'cs_test_lists', 're_' || n, n, 'eur', 'succeeded', now() from generate_series(1, 120) n;
            insert into safelight.restrictions (tenant, subject_id, ground, set_at, lifted_at)
            select 'koselfie', '{subject}', 'accuracy', now() - n * interval '1 second', now() from generate_series(1, 120) n;
            insert into safelight.objections (tenant, subject_id, purpose, policy_version, received_at, state, decided_at, decided_by, why)
            select 'koselfie', '{subject}', 'observe', '{policy}', now(), 'overridden', now(), 'ops_' || n, 'compelling' from generate_series(1, 120) n;
            insert into safelight.cases (id, tenant, subject_id, kind, channel, received_at, answer_due, state, opened_by, closed_at)
            select safelight.uuid_v7(), 'koselfie', '{subject}', 'access', 'mail', now(), now(), 'answered', 'ops_1', now() from generate_series(1, 120) n;
            insert into safelight.deletions (id, tenant, subject_id, trigger, state, answer_due, completed_at)
            select safelight.uuid_v7(), 'koselfie', '{subject}', 'retention', 'complete', now() + interval '30 days', now() from generate_series(1, 120);
            insert into safelight.orders (id, tenant, subject_id, batch_id, plan, state, problem, needs_model, images_wanted, amount_cents, currency)
            select safelight.uuid_v7(), 'koselfie', subject_id, batch_id, plan, 'refused', 'listed_' || n, needs_model, 1, 100, 'eur'
            from safelight.orders, generate_series(1, 120) n where id = '{order}';
            insert into safelight.consents (id, tenant, subject_id, event, purpose, capture_point, batch_id, wording_sha256, policy_version, actor)
            select safelight.uuid_v7(), 'koselfie', '{subject}', 'granted', 'listed', 'upload', gen_random_uuid(), encode(sha256(n::text::bytea), 'hex'),
                '{policy}', 'subject' from generate_series(1, 120) n",
            order = order.uuid(),
            subject = subject.uuid(),
            policy = crate::house::POLICY,
        ))
        .await;
    let operator = Browser::of(&house, None, &[Scope::Operate]).await;
    let (of_job, of_order) =
        (format!("/console/jobs/{}", Id::<id::Job>::from(job)), format!("/console/orders/{order}"));
    let of_person = format!("/console/subjects/{subject}");
    each_goes_on(
        &operator,
        vec![
            (of_order.clone(), "Later calls", "<code>intent_", vec![200, 200, 50]),
            (of_order.clone(), "Later jobs", "<td><a class=\"id\" href=\"/console/jobs/job_", vec![200, 200, 50]),
            (of_order.clone(), "Later entries", " · place ", vec![200 - before, 200, 50 + before]),
            (of_order, "Later refunds", "<th scope=\"row\">refund</th><td class=\"n\">", vec![50, 50, 20]),
            (of_job.clone(), "Later calls", "<code>intent_", vec![100, 100, 100, 100, 50]),
            (of_job.clone(), "Earlier attempts", "<span class=\"small\"> attempt ", vec![100, 100, 50]),
            (of_job.clone(), "Earlier acts", "because of ", vec![100, 100, 50]),
            (of_job, "Later entries", " · place ", vec![100, 100, 100, 100, 50]),
            (
                "/console/orders".to_owned(),
                "Later sales",
                "<td class=\"free\">refund failed</td><td class=\"n\">",
                vec![50, 50, 20],
            ),
            (of_person.clone(), "Older restrictions", "<td>accuracy</td><td><time datetime=\"", vec![50, 50, 20]),
            (of_person.clone(), "Older cases", "<code>case_", vec![50, 50, 20]),
            (of_person.clone(), "Older objections", "<td>ops_", vec![50, 50, 20]),
            (of_person.clone(), "Older orders", "<td>listed ", vec![50, 50, 20]),
            (of_person.clone(), "Older consents", "<td>listed</td><td><code>batch_", vec![50, 50, 20]),
            (of_person, "Older deletions", "/console/deletions/deletion_", vec![50, 50, 20]),
        ],
    )
    .await;
}

#[tokio::test]
async fn of_very_many_outcomes_of_calls_the_most_frequent_are_shown_and_the_page_says_that_there_are_others() {
    let house = House::build().await;
    house
        .run(&format!(
            "insert into safelight.subjects (id, tenant) values (safelight.uuid_v7(), 'koselfie');
            insert into safelight.provider_calls (id, tenant, subject_id, generation, job_id, purpose, processor, model, wish, token_sha256, state, code, policy_version)
            select safelight.uuid_v7(), tenant, s.id, 1, gen_random_uuid(), 'generate', 'fal', 'a model', n || ':' || often, sha256(convert_to(n || ':' || often, 'UTF8')),
                'refused', 'seen_' || n, '{policy}' from safelight.subjects s, generate_series(1, 200) n, generate_series(1, 1 + (n % 2)) often",
            policy = crate::house::POLICY
        ))
        .await;
    let operator = Browser::of(&house, None, &[Scope::Operate]).await;
    let others = "others are not shown";
    let page = operator.opens("/console/providers").await.text;
    assert_eq!((page.matches("<td>seen ").count(), page.contains(others)), (200, false), "{page}");

    house
        .run(
            "insert into safelight.provider_calls (id, tenant, subject_id, generation, job_id, purpose, processor, model, wish, token_sha256, state, code,
                policy_version)
            select safelight.uuid_v7(), tenant, subject_id, 1, gen_random_uuid(), 'generate', 'fal', 'a model', 'another', sha256('another'), 'refused', 'seldom',
                policy_version from safelight.provider_calls where wish = '1:1'",
        )
        .await;
    let page = operator.opens("/console/providers").await.text;
    assert_eq!(
        (page.matches("<td>seen ").count() + page.matches("<td>seldom").count(), page.contains(others)),
        (200, true),
        "{page}"
    );
    assert!(page.contains("<td>seen 99<"), "of what came twice nothing is left out: {page}");
}
