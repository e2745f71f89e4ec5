//! The box that opens any id, on every page, and the searches that take a word as it is shown.

use axum::http::StatusCode;
use safelight_api::tokens::Scope;
use safelight_jobs::id::{self, Id, Kind, Order, Subject};
use uuid::Uuid;

use crate::{browser::Browser, house::House};

/// Where the box leads.
async fn leads(browser: &Browser<'_>, text: &str) -> (u16, String) {
    let query: String = url::form_urlencoded::Serializer::new(String::new()).append_pair("id", text).finish();
    let answer = browser.opens(&format!("/console/find?{query}")).await;
    (answer.status.as_u16(), answer.header("location").to_owned())
}

/// One order with everything about it that has an id: what each is called, and where it is shown.
async fn furnished(house: &House) -> Vec<(&'static str, Uuid, String)> {
    let backend = house.backend("koselfie").await;
    let subject = house.person(&backend).await;
    let order = house.order(&backend, subject, "cs_test_find").await;
    let [call, lone, case, nobodys, image, bulk, deletion, job, dead, done, grant, refund, gone] =
        std::array::from_fn(|_| Uuid::now_v7());
    house
        .run(&format!(
            "insert into safelight.provider_calls (id, tenant, subject_id, generation, order_id, job_id, purpose, processor, model, wish, token_sha256, state, policy_version)
            select x.id, 'koselfie', '{subject}', 1, x.order_id, '{job}', 'generate', 'fal', 'a model', 'image:' || x.id, sha256(convert_to(x.id::text, 'UTF8')), 'refused', '{policy}'
            from (values ('{call}'::uuid, '{order}'::uuid), ('{lone}', null)) x (id, order_id);
            insert into safelight.cases (id, tenant, subject_id, kind, channel, received_at, answer_due, opened_by)
            values ('{case}', 'koselfie', '{subject}', 'access', 'letter', now(), now(), 'ops_1'), ('{nobodys}', 'koselfie', null, 'access', 'letter', now(), now(), 'ops_1');
            insert into safelight.artifacts (id, tenant, subject_id, generation, class, order_id, position, state, storage_key, content_type, bytes, sha256)
            values ('{image}', 'koselfie', '{subject}', 1, 'image', '{order}', 0, 'stored', 'koselfie/{plain}/image/1', 'image/png', 9, repeat('0', 64));
            insert into safelight.bulk_acts (id, job_id, act, kind, tenant, matched, matched_whole, actor, why, reached)
            values ('{bulk}', '{job}', 'hold', 'train_model', 'koselfie', 1, true, 'x', 'x', '{job}');
            insert into safelight.deletions (id, tenant, subject_id, trigger, state, answer_due)
            values ('{deletion}', 'koselfie', '{subject}', 'retention', 'planned', now() + interval '30 days');
            insert into safelight.jobs (id, queue, kind, payload, tenant, state, run_at, rank, max_attempts, created_at)
            values ('{job}', 'training', 'train_model', '{{}}', 'koselfie', 0, now(), now(), 5, now());
            insert into safelight.dead_letters (id, queue, kind, version, payload, tenant, priority, attempt, max_attempts, crashes, waits, code, created_at)
            values ('{dead}', 'notices', 'send_notice', 1, '{{}}', 'koselfie', 0, 5, 5, 0, 0, 'mail_refused', now());
            insert into safelight.jobs_archive (id, queue, kind, version, payload, tenant, attempt, waits, outcome, run_at, created_at, finished_at, prune_on)
            values ('{done}', 'sweeps', 'expire_consents', 1, '{{}}', 'koselfie', 1, 0, 'done', now(), now(), now(), now()::date + 21);
            insert into safelight.consents (id, tenant, subject_id, event, purpose, capture_point, wording_sha256, policy_version, actor)
            values ('{grant}', 'koselfie', '{subject}', 'granted', 'compare', 'sign_up', repeat('0', 64), '{policy}', 'subject');
            insert into safelight_fiscal.sales (tenant, order_id, stripe_session, status, amount_cents, currency, sold_at)
            values ('koselfie', '{order}', 'cs_test_find', 'paid', 1900, 'eur', now()), ('koselfie', null, 'cs_test_gone', 'paid', 1900, 'eur', now());
            insert into safelight_fiscal.refunds (id, tenant, stripe_session, amount_cents, currency, state, why, asked_by)
            values ('{refund}', 'koselfie', 'cs_test_find', 100, 'eur', 'asked', 'goodwill', 'ops_1'), ('{gone}', 'koselfie', 'cs_test_gone', 100, 'eur', 'asked', 'goodwill', 'ops_1')",
            policy = crate::house::POLICY,
            subject = subject.uuid(),
            order = order.uuid(),
            plain = subject.uuid().simple(),
        ))
        .await;
    let batch: Uuid =
        sqlx::query_scalar("select batch_id from safelight.orders").fetch_one(&house.owner).await.expect("one");
    let upload: Uuid = sqlx::query_scalar("select id from safelight.artifacts where class = 'upload' limit 1")
        .fetch_one(&house.owner)
        .await
        .expect("one");
    fn of<K: Kind>(list: &str, id: Uuid) -> String {
        format!("/console/{list}/{}", Id::<K>::from(id))
    }
    let person = of::<Subject>("subjects", subject.uuid());
    let bought = of::<Order>("orders", order.uuid());
    vec![
        ("job", job, of::<id::Job>("jobs", job)),
        ("job", dead, of::<id::Job>("jobs", dead)),
        ("job", done, of::<id::Job>("jobs", done)),
        ("order", order.uuid(), bought.clone()),
        ("deletion", deletion, of::<id::Deletion>("deletions", deletion)),
        ("subject", subject.uuid(), person.clone()),
        ("bulk", bulk, of::<id::Bulk>("bulk", bulk)),
        ("intent", call, bought.clone()),
        ("intent", lone, of::<id::Job>("jobs", job)),
        ("case", case, person.clone()),
        ("case", nobodys, "/console/cases".to_owned()),
        ("artifact", image, bought),
        ("artifact", upload, person.clone()),
        ("batch", batch, person.clone()),
        ("grant", grant, person),
        ("refund", refund, of::<Order>("orders", order.uuid())),
        ("refund", gone, "/console/orders".to_owned()),
    ]
}

#[tokio::test]
async fn the_box_opens_whatever_has_an_id_with_or_without_its_word_and_whatever_stands_around_it() {
    let house = House::build().await;
    let known = furnished(&house).await;
    let operator = Browser::of(&house, None, &[Scope::Read]).await;
    let own = Browser::of(&house, Some("koselfie"), &[Scope::Read]).await;
    let other = Browser::of(&house, Some("haloprofile"), &[Scope::Read]).await;
    for (word, id, page) in &known {
        let named = format!("{word}_{}", id.simple());
        for text in
            [named.clone(), id.to_string(), id.simple().to_string(), format!(" “{named}”. "), format!("'{id}',")]
        {
            for browser in [&operator, &own] {
                assert_eq!(leads(browser, &text).await, (303, page.clone()), "{text}");
                assert_eq!(browser.opens(page).await.status, StatusCode::OK, "{page}");
            }
        }
        // To another tenant there is no such thing, under whatever name it asks.
        assert_eq!(leads(&other, &id.to_string()).await, (404, String::new()), "{word}");
        let (status, to) = leads(&other, &named).await;
        assert!(status == 404 || other.opens(&to).await.status == StatusCode::NOT_FOUND, "{named}: {status} {to}");
    }
    assert_eq!(leads(&operator, &Uuid::nil().to_string()).await, (404, String::new()));
    // An id under the word of something else names nothing.
    let job = known[0].1;
    assert_eq!(leads(&operator, &format!("case_{}", job.simple())).await, (404, String::new()));
    for none in ["", "  ", "mail_refused", "job_", "mail_0192a8f2e6c5d7b1290f3a4b5c6d7e8f", "//evil.example"] {
        assert_eq!(leads(&operator, none).await, (400, String::new()), "{none}");
    }
    assert_eq!(house.count("from safelight.operator_acts where action <> 'console.look'").await, 0);
}

#[tokio::test]
async fn the_box_opens_tokens_and_sweeps_for_people_of_the_house_and_for_no_tenant() {
    let house = House::build().await;
    let (asked, run) = (Uuid::now_v7(), Uuid::now_v7());
    house
        .run(&format!(
            "insert into safelight.sweeps (id, kind, asked_by, started_at, finished_at, found, acted)
            values ('{run}', 'retention', 'cli:sweep_{}', now(), now(), 1, 1), (safelight.uuid_v7(), 'orphans', 'cron', now(), now(), 1, 1)",
            asked.simple()
        ))
        .await;
    let operator = Browser::of(&house, None, &[Scope::Read]).await;
    let own = Browser::of(&house, Some("koselfie"), &[Scope::Read]).await;
    house.token(None, &[Scope::Read]).await;
    let tokens = safelight_api::tokens::list(&house.owner).await.expect("tokens");
    let token = tokens[0].id.to_string();
    let sweep = format!("sweep_{}", asked.simple());
    for (id, list, shows) in [
        (&token, "/console/tokens?all=1&before=", token.as_str()),
        (&sweep, "/console/sweeps?before=", sweep.as_str()),
        (&run.to_string(), "/console/sweeps?before=", sweep.as_str()),
    ] {
        let (status, to) = leads(&operator, id).await;
        assert!(status == 303 && to.starts_with(list), "{id}: {status} {to}");
        let page = operator.opens(&to).await;
        assert!(page.status == StatusCode::OK && page.text.contains(shows), "{id} stands on {to}: {}", page.text);
        assert_eq!(leads(&own, id).await, (404, String::new()), "{id}");
    }
    // The list begins with it.
    let (_, to) = leads(&operator, &token).await;
    let page = operator.opens(&to).await.text;
    assert!(tokens[1..].iter().all(|newer| !page.contains(&newer.id.to_string())), "{page}");
}

#[tokio::test]
async fn the_audit_page_finds_who_acted_seldom_and_keeps_a_look_for_one_persons_acts() {
    let house = House::build().await;
    let person = Id::<Subject>::new();
    let [order, job, deletion] =
        [Id::<Order>::new().to_string(), Id::<id::Job>::new().to_string(), Id::<id::Deletion>::new().to_string()];
    house
        .run(&format!(
            "insert into safelight.operator_acts (id, actor, why, action, outcome, about) values
                (safelight.uuid_v7(), 'seldom', 'a reason', 'objection.decided', 'upheld', '{person} nsfw'),
                (safelight.uuid_v7(), 'seldom', 'a reason', 'case.decided', 'answered', 'case_019a8f2e6c5d7b1290f3a4b5c6d7e8f9')"
        ))
        .await;
    // Later than those, whatever the millisecond.
    house
        .run(
            "insert into safelight.operator_acts (id, actor, why, action, outcome, about)
            select ('ffffffff-ffff-7fff-bfff-' || lpad(to_hex(n), 12, '0'))::uuid, 'often', 'a reason', 'job.control', 'held', 'a job' from generate_series(1, 20000) n",
        )
        .await;
    let operator = Browser::of(&house, None, &[Scope::Read]).await;
    let first = operator.opens("/console/audit?who=seldom").await.text;
    assert!(first.contains("None matches among 20000") && !first.contains("a reason"), "{first}");
    let older = first.split("href=\"/console/audit?who=seldom&amp;before=").nth(1).expect("the list goes on");
    let older = older.split('"').next().expect("an address");
    let second = operator.opens(&format!("/console/audit?who=seldom&before={older}")).await.text;
    assert_eq!(second.matches("a reason").count(), 2, "{second}");
    assert!(second.contains(&format!("href=\"/console/subjects/{person}\"")), "{second}");
    assert!(second.contains("href=\"/console/find?id=case_019a8f2e6c5d7b1290f3a4b5c6d7e8f9\""), "{second}");
    assert!(!second.contains("rel=\"next\"") || !second.contains("who=seldom&amp;before"), "that was all: {second}");

    let looks = "from safelight.operator_acts where action = 'console.look'";
    assert_eq!(house.count(looks).await, 0, "nothing there was one person's");
    let objection = format!("{person}+nsfw");
    for (about, kept) in [
        (person.to_string(), person.to_string()),
        (objection, person.to_string()),
        (order.clone(), order),
        (job.clone(), job),
        (deletion.clone(), deletion),
    ] {
        let before = house.count(&format!("{looks} and about = '{kept}' and why = 'a test' and actor = 'test'")).await;
        assert_eq!(operator.opens(&format!("/console/audit?about={about}")).await.status, StatusCode::OK);
        let after = house.count(&format!("{looks} and about = '{kept}' and why = 'a test' and actor = 'test'")).await;
        assert_eq!(after - before, 1, "{about}");
    }
    for about in ["provider+fal", "bulk_019a8f2e6c5d7b1290f3a4b5c6d7e8f9"] {
        operator.opens(&format!("/console/audit?about={about}")).await;
    }
    assert_eq!(house.count(looks).await, 5);
}

#[tokio::test]
async fn the_box_stands_once_on_every_page() {
    let house = House::build().await;
    let operator = Browser::of(&house, None, &[Scope::Operate]).await;
    // Where something was wrong, too.
    for page in [
        "",
        "/jobs",
        "/orders",
        "/dead",
        "/controls",
        "/audit",
        "/bulk",
        "/nowhere",
        "/find?id=x",
        "/jobs?state=asleep",
    ] {
        let shown = operator.opens(&format!("/console{page}")).await.text;
        assert_eq!(shown.matches("action=\"/console/find\"").count(), 1, "{page}: {shown}");
    }
}

#[tokio::test]
async fn a_search_takes_a_word_as_it_is_shown() {
    let house = House::build().await;
    furnished(&house).await;
    house
        .run(
            "update safelight.jobs set state = 4, why = 'provider:fal' where kind = 'train_model';
            insert into safelight.jobs (id, queue, kind, payload, tenant, state, run_at, rank, max_attempts, created_at, why)
            values (safelight.uuid_v7(), 'faces', 'measure_selfies', '{}', 'koselfie', 3, now() + interval '1 hour', now(), 5, now(), 'consent_missing: compare at upload');
            update safelight.orders set state = 'refund_review', problem = 'work_died'",
        )
        .await;
    let operator = Browser::of(&house, None, &[Scope::Operate]).await;
    for (search, kind) in [
        ("code=mail+refused", "send notice"),
        ("code=Mail+refused+", "send notice"),
        ("code=MAIL_REFUSED", "send notice"),
        ("code=provider%3Afal", "train model"),
        ("code=consent+missing", "measure selfies"),
        ("code=consent+missing%3A+compare+at+upload", "measure selfies"),
        ("state=set+aside&tenant=Koselfie", "train model"),
        ("kind=Send+notice", "send notice"),
        ("queue=Notices", "send notice"),
        ("queue=faces&state=scheduled", "measure selfies"),
        ("queue=sweeps", "expire consents"),
    ] {
        let found = operator.opens(&format!("/console/jobs?{search}")).await;
        assert_eq!(found.status, StatusCode::OK, "{search}: {}", found.text);
        let rows: Vec<&str> = found.text.split("<tr><td><a class=\"id\"").skip(1).collect();
        assert!(rows.len() == 1 && rows[0].contains(kind), "{search}: {}", found.text);
    }
    for search in ["state=Refund+review", "problem=work+died", "problem=Work_died&tenant=KoSelfie"] {
        let found = operator.opens(&format!("/console/orders?{search}")).await.text;
        assert!(found.contains("/console/orders/order_") && !found.contains("No order matches"), "{search}: {found}");
    }
}

#[tokio::test]
async fn an_act_on_all_that_match_is_never_done_to_more_than_one_queue_showed() {
    let house = House::build().await;
    furnished(&house).await;
    // Of the same kind, and of another queue.
    house
        .run(
            "insert into safelight.jobs (id, queue, kind, payload, tenant, state, run_at, rank, max_attempts, created_at)
            values (safelight.uuid_v7(), 'generation', 'train_model', '{}', 'koselfie', 0, now(), now(), 5, now())",
        )
        .await;
    let operator = Browser::of(&house, None, &[Scope::Operate]).await;
    for address in ["/console/jobs?queue=asleep", "/console/bulk/preview?act=hold&queue=asleep"] {
        let unknown = operator.opens(address).await;
        assert_eq!(unknown.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", unknown.text);
        assert!(unknown.text.contains("A queue is one of: payments, training,"), "{}", unknown.text);
    }
    for page in ["/console", "/console/queues"] {
        let shown = operator.opens(page).await.text;
        assert!(shown.contains("<a href=\"/console/jobs?queue=generation\">generation</a>"), "{page}: {shown}");
    }
    let found = operator.opens("/console/jobs?queue=Training").await.text;
    assert!(
        found.contains("action=\"/console/bulk/preview\"") && found.contains("name=\"queue\" value=\"Training\""),
        "{found}"
    );
    let preview = "/console/bulk/preview?act=hold&queue=Training";
    let shown = operator.opens(preview).await.text;
    assert!(shown.contains("Hold 1 job<") && shown.contains("name=\"queue\" value=\"training\""), "{shown}");
    let asked = operator.presses(preview, "/console/bulk", "&act=hold&queue=training").await;
    assert_eq!(asked.status, StatusCode::SEE_OTHER, "{}", asked.text);
    assert_eq!(house.count("from safelight.bulk_acts where queue = 'training' and matched = 1").await, 1);
    let progress = operator.opens(asked.header("location")).await.text;
    assert!(progress.contains("<code>queue=training</code>"), "{progress}");
}

#[tokio::test]
async fn a_job_that_is_set_aside_says_in_the_list_how_that_stands_which_it_waits_for() {
    let house = House::build().await;
    house
        .run(
            "insert into safelight.controls (scope, name, paused, per_second, burst) values
                ('kind', 'train_model', true, null, null), ('provider', 'resend', false, 1, 1)
                on conflict (scope, name) do update set paused = excluded.paused, per_second = excluded.per_second, burst = excluded.burst;
            insert into safelight.breakers (provider, state, failures, probe_at) values ('fal', 'open', 5, safelight.now())
                on conflict (provider) do update set state = excluded.state, failures = excluded.failures, probe_at = excluded.probe_at;
            insert into safelight.jobs (id, queue, kind, payload, tenant, state, run_at, rank, max_attempts, created_at, why)
            select safelight.uuid_v7(), 'training', 'train_model', '{}', 'koselfie', 4, now(), now(), 5, now(), why
            from unnest(array['kind:train_model', 'provider:fal', 'provider:resend', 'lane:koselfie']) why",
        )
        .await;
    let operator = Browser::of(&house, None, &[Scope::Operate]).await;
    for address in ["/console/jobs?state=set_aside", "/console/bulk/preview?act=hold&state=set_aside"] {
        let shown = operator.opens(address).await.text;
        for (code, word) in [
            ("kind:train model", "paused"),
            ("provider:fal", "in trouble"),
            ("provider:resend", "rate"),
            ("lane:koselfie", "full"),
        ] {
            let says = format!("<td>{code} <span class=\"small\">{word}</span></td>");
            assert!(shown.contains(&says), "{address}: {says}: {shown}");
        }
    }
}
