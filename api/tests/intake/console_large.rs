//! The console of a house with a long history: no page reads a large table whole, seen in the server's own counters on a connection
//! with the planner's usual settings. `SAFELIGHT_ROWS=10000000` makes it a measurement: it names the pages that are slow.

use std::time::{Duration, Instant};

use axum::http::StatusCode;
use safelight_api::tokens::Scope;
use safelight_jobs::id::{self, Id};

use crate::{browser::Browser, house::House};

/// A page is slow from here on, where that is measured.
const SLOW: Duration = Duration::from_millis(200);
/// How often each page is opened: after five times the server may choose a plan for all values.
const TIMES: usize = 7;

/// Everything that grows, for N jobs: as many ended ones, an eighth of people with an order, its money, consents, calls and deletions.
const HISTORY: &[&str] = &[
    "insert into safelight.jobs (id, queue, kind, payload, tenant, state, run_at, rank, max_attempts, created_at, why)
    select safelight.uuid_v7(), 'training', 'train_model', '{}', 'koselfie', s, now(), now(), 5, now(), case s when 4 then 'provider:fal' end
    from generate_series(1, N) n, lateral (select case n % 3 when 0 then 0 when 1 then 3 else 4 end as s) x",
    "insert into safelight.jobs (id, queue, kind, payload, tenant, state, run_at, rank, max_attempts, created_at, why)
    select safelight.uuid_v7(), 'notices', 'send_notice', '{}', 'koselfie', 2, now(), now(), 5, now(), 'a_bulk_act' from generate_series(1, N / 8)",
    "insert into safelight.jobs_archive (id, queue, kind, version, payload, order_id, attempt, waits, outcome, run_at, created_at, finished_at, prune_on)
    select safelight.uuid_v7(), 'sweeps', 'expire_consents', 1, '{}', gen_random_uuid(), 1, 0, 'done', now(), now(), now(), now()::date + 21
    from generate_series(1, N)",
    "insert into safelight.operator_acts (actor, why, action, outcome, about) select 'x', 'x', 'console.look', 'seen', 'job_' || n from generate_series(1, N / 4) n",
    "insert into safelight.job_attempts (job_id, attempt, verdict, code) select gen_random_uuid(), 1, 'retry', 'x' from generate_series(1, N / 4)",
    // Each of a transaction of its own, as they come: of one alone the planner would think that every look wants all of them.
    "insert into safelight.audit_entries (actor, action, outcome, order_id, xid)
    select 'worker', 'image.delivered', 'done', gen_random_uuid(), n::text::xid8 from generate_series(1, N / 4) n",
    "insert into safelight.audit_leaves (seq, entry, leaf) select row_number() over (order by seq) - 1, seq, sha256('x') from safelight.audit_entries",
    "insert into safelight.audit_checkpoints (size, note, key_ids) select n, 'x', '{}' from generate_series(1, N / 8) n",
    // As the sealer leaves it: a log that never was sealed to some point is looked through from its beginning.
    "update safelight.audit_log set done = format('%1$s:%1$s:', N / 4 + 1)::pg_snapshot, size = N / 4, signed_size = N / 4",
    "insert into safelight.subjects (id, tenant) select safelight.uuid_v7(), 'koselfie' from generate_series(1, N / 8)",
    "insert into safelight.upload_batches (id, tenant, subject_id) select safelight.uuid_v7(), tenant, id from safelight.subjects",
    "insert into safelight.orders (id, tenant, subject_id, batch_id, plan, state, needs_model, images_wanted, amount_cents, currency, checkout_session,
        checkout_at, paid_at, delivered_at)
    select safelight.uuid_v7(), tenant, subject_id, id, 'basic', 'delivered', false, 4, 900, 'eur', 'cs_many_' || id, now(), now(), now()
    from safelight.upload_batches",
    "insert into safelight_fiscal.sales (tenant, order_id, stripe_session, payment_intent, status, amount_cents, currency, sold_at, keep_until)
    select tenant, id, checkout_session, 'pi_' || id, 'paid', amount_cents, currency, now(), now() + interval '10 years' from safelight.orders where checkout_session like 'cs_many%'",
    "insert into safelight.artifacts (id, tenant, subject_id, generation, class, order_id, position, state, storage_key, content_type, bytes, sha256, delivered_at)
    select safelight.uuid_v7(), tenant, subject_id, 1, 'image', id, 0, 'stored', tenant || '/' || replace(subject_id::text, '-', '') || '/image/' || id,
        'image/png', 9, repeat('0', 64), now() from safelight.orders where state = 'delivered'",
    "insert into safelight.consents (id, tenant, subject_id, event, purpose, capture_point, wording_sha256, policy_version, actor)
    select safelight.uuid_v7(), tenant, id, 'granted', 'compare', 'sign_up', repeat('0', 64), safelight.policy_in_force(tenant), 'subject' from safelight.subjects",
    "insert into safelight.cases (id, tenant, subject_id, kind, channel, received_at, answer_due, state, opened_by, closed_at)
    select safelight.uuid_v7(), tenant, id, 'access', 'mail', now(), now(), 'answered', 'ops_1', now() from safelight.subjects",
    "insert into safelight.objections (tenant, subject_id, purpose, policy_version, state, decided_at, decided_by, why)
    select tenant, id, 'observe', safelight.policy_in_force(tenant), 'overridden', now(), 'ops_1', 'compelling' from safelight.subjects",
    "insert into safelight.restrictions (tenant, subject_id, ground, lifted_at) select tenant, id, 'accuracy', now() from safelight.subjects",
    "insert into safelight.provider_calls (id, tenant, subject_id, generation, order_id, job_id, purpose, processor, model, wish, token_sha256, state, request_id,
        policy_version)
    select safelight.uuid_v7(), tenant, subject_id, 1, id, gen_random_uuid(), 'generate', 'fal', 'a model', 'image:' || id, sha256(convert_to(id::text, 'UTF8')), 'succeeded',
        id::text, safelight.policy_in_force(tenant) from safelight.orders",
    "insert into safelight.deletions (id, tenant, subject_id, trigger, state, answer_due, completed_at)
    select safelight.uuid_v7(), tenant, id, 'retention', 'complete', now() + interval '30 days', now() from safelight.subjects",
    "insert into safelight.deletion_steps (deletion_id, seq, class, processor, targets, planned, state, deleted, evidence, verified_at)
    select id, 1, 'image', 'supabase', '[]', 1, 'verified', 1, 'looked', now() from safelight.deletions",
    "insert into safelight.sweeps (id, kind, asked_by, finished_at, found, acted, residue)
    select safelight.uuid_v7(), case when n % 10 = 0 then 'orphans' else 'retention' end, 'tick:' || n, now(), 1, 1, 0 from generate_series(1, 130000) n",
    "insert into safelight.dead_letters (id, queue, kind, version, payload, tenant, priority, attempt, max_attempts, crashes, waits, code, created_at)
    select safelight.uuid_v7(), 'notices', 'send_notice', 1, '{}', 'koselfie', 0, 5, 5, 0, 0, 'mail_refused', now() from generate_series(1, N / 8)",
    "insert into safelight.dead_letters (id, queue, kind, version, payload, tenant, priority, attempt, max_attempts, crashes, waits, code, created_at)
    select safelight.uuid_v7(), 'sweeps', 'sweep_retention', 1, '{}', case n when 1 then null when 2 then 'haloprofile' else 'koselfie' end, 0, 5, 5, 0, 0,
        'deadline_over', now() from generate_series(1, 3) n",
    // What no sweep takes: exports whose seven days were over two hours ago.
    "insert into safelight.artifacts (id, tenant, subject_id, generation, class, state, storage_key, created_at)
    select safelight.uuid_v7(), tenant, id, 1, 'export', 'expected', tenant || '/' || replace(id::text, '-', '') || '/export/' || id, now() - interval '170 hours'
    from safelight.subjects",
    "insert into safelight.missing_objects (artifact_id, tenant, first_seen_at) select id, tenant, now() - random() * interval '9 days' from safelight.artifacts where class = 'export'",
    "insert into safelight.differences (code, object, provider, tenant, about_at, first_seen_at)
    select 'paid_not_booked', 'pi_' || n, 'stripe', 'koselfie', now(), now() - random() * interval '9 days' from generate_series(1, N / 8) n",
    "insert into safelight.deletions (id, tenant, subject_id, trigger, state, answer_due)
    select safelight.uuid_v7(), tenant, id, 'retention', 'stuck', now() - random() * interval '9 days' from safelight.subjects",
    "insert into safelight.objections (tenant, subject_id, purpose, policy_version, state, decided_at, decided_by, why)
    select tenant, id, 'measure', safelight.policy_in_force(tenant), 'upheld', now(), 'ops_1', 'compelling' from safelight.subjects",
    "insert into safelight.bulk_acts (id, job_id, act, matched, matched_whole, actor, why, reached, finished_at)
    select safelight.uuid_v7(), gen_random_uuid(), 'hold', 5, true, 'ops', 'x', gen_random_uuid(), now() from generate_series(1, 60)",
    // As a database that lives is; rows that were laid a moment ago are not yet.
    "vacuum (analyze)",
];

/// How often each table was read whole, and whether it is large: how many rows it has is told late, so a table may become one meanwhile.
async fn scans(house: &House) -> Vec<(String, i64, bool)> {
    sqlx::query("select pg_stat_force_next_flush()").execute(&house.owner).await.expect("flushed");
    let sql = "select relname::text, seq_scan, n_live_tup > 20000 from pg_stat_user_tables where schemaname in ('safelight', 'safelight_fiscal') order by 1";
    sqlx::query_as(sql).fetch_all(&house.owner).await.expect("numbers")
}

#[tokio::test]
async fn no_page_reads_a_large_table_whole() {
    let measured = std::env::var("SAFELIGHT_ROWS").ok().and_then(|rows| rows.parse::<i64>().ok());
    let rows = measured.unwrap_or(180_000);
    let house = House::build().await;
    let backend = house.backend("koselfie").await;
    let subject = house.person(&backend).await;
    let order = house.order(&backend, subject, "cs_test_large").await;
    for fill in HISTORY {
        house
            .run(
                &fill
                    .replace("N / 4", &(rows / 4).to_string())
                    .replace("N / 8", &(rows / 8).to_string())
                    .replace(", N)", &format!(", {rows})")),
            )
            .await;
    }
    let one = async |table: &str| -> uuid::Uuid {
        sqlx::query_scalar(sqlx::AssertSqlSafe(format!("select id from safelight.{table} order by id desc limit 1")))
            .fetch_one(&house.owner)
            .await
            .expect("one")
    };
    let job = Id::<id::Job>::from(one("jobs").await);
    let deletion = Id::<id::Deletion>::from(one("deletions").await);
    let bulk = Id::<id::Bulk>::from(one("bulk_acts").await);
    let place = format!("{}.{}", 4_000_000_000_000_000_u64, uuid::Uuid::nil());
    let operator = Browser::of(&house, None, &[Scope::Operate]).await;
    let theirs = Browser::of(&house, Some("haloprofile"), &[Scope::Operate]).await;
    let before = scans(&house).await;
    let large = before.iter().filter(|(.., large)| *large).count();
    assert!(large >= 14, "the large tables are seen: {before:?}");
    let pages = [
        "".to_owned(),
        "/queues".to_owned(),
        "/jobs".to_owned(),
        "/jobs?state=running".to_owned(),
        "/jobs?state=held".to_owned(),
        "/jobs?kind=send_notice".to_owned(),
        "/jobs?queue=notices".to_owned(),
        "/jobs?queue=faces&tenant=haloprofile".to_owned(),
        "/jobs?queue=training&state=ready".to_owned(),
        "/jobs?code=no_such_code&tenant=haloprofile".to_owned(),
        format!("/jobs?id={order}"),
        format!("/jobs?id={subject}"),
        format!("/jobs/{job}"),
        "/bulk".to_owned(),
        format!("/bulk/{bulk}"),
        "/bulk/preview?act=retry&code=no_such_code".to_owned(),
        "/bulk/preview?act=hold&kind=train_model".to_owned(),
        format!("/orders/{order}"),
        "/orders".to_owned(),
        "/orders?state=refund_review".to_owned(),
        "/dead".to_owned(),
        "/deletions".to_owned(),
        format!("/deletions/{deletion}"),
        "/cases".to_owned(),
        "/cases?all=1".to_owned(),
        format!("/cases?all=1&cases_after={place}"),
        format!("/cases?all=1&objections_after={place}"),
        "/findings".to_owned(),
        "/sweeps".to_owned(),
        "/policies".to_owned(),
        "/providers".to_owned(),
        "/controls".to_owned(),
        "/schedules".to_owned(),
        "/workers".to_owned(),
        "/audit".to_owned(),
        "/audit?entries_before=20000".to_owned(),
        format!("/subjects/{subject}"),
        "/tokens".to_owned(),
        // Leads to a page, or to none.
        format!("/find?id={}", job.uuid()),
        format!("/find?id={}", uuid::Uuid::nil()),
    ];
    let (mut slow, mut whole, mut seen) = (Vec::new(), Vec::new(), before);
    let people = [("the house", &operator), ("a tenant of little", &theirs)];
    for (who, page) in people.iter().flat_map(|who| pages.iter().map(move |page| (who, page))) {
        let mut took = Vec::with_capacity(TIMES);
        for _ in 0..TIMES {
            let began = Instant::now();
            let answer = who.1.opens(&format!("/console{page}")).await;
            // What is another tenant's, or of the house alone, is not there for them.
            let may_be_elsewhere = page.starts_with("/find") || who.0 != "the house";
            let is_elsewhere =
                matches!(answer.status, StatusCode::SEE_OTHER | StatusCode::NOT_FOUND | StatusCode::FORBIDDEN);
            assert!(answer.status == StatusCode::OK || (may_be_elsewhere && is_elsewhere), "{page}: {}", answer.text);
            took.push(began.elapsed());
        }
        took.sort();
        println!(
            "{:>5} ms, {:>5} ms at the most  {}: /console{page}",
            took[TIMES / 2].as_millis(),
            took[TIMES - 1].as_millis(),
            who.0
        );
        if took[TIMES / 2] > SLOW {
            slow.push(format!("{}: {page}", who.0));
        }
        let after = scans(&house).await;
        let known = |table: &str, times: i64| seen.iter().any(|(one, before, _)| one == table && *before == times);
        whole.extend(
            after
                .iter()
                .filter(|(table, times, large)| *large && !known(table, *times))
                .map(|(table, ..)| format!("{page} of {} reads {table}", who.0)),
        );
        seen = after;
    }
    assert!(whole.is_empty(), "read whole: {whole:?}");
    nothing_is_counted_beyond_its_bound(&house, &operator, &theirs).await;
    assert!(measured.is_none() || slow.is_empty(), "slower than {} ms among {rows} jobs: {slow:?}", SLOW.as_millis());
}

/// Of each there are more than 10,000, and each says that it stopped there; one of another tenant or of none is counted with them.
async fn nothing_is_counted_beyond_its_bound(house: &House, operator: &Browser<'_>, theirs: &Browser<'_>) {
    let (all, own) = (operator.opens("/console").await.text, theirs.opens("/console").await.text);
    for (what, of_the_tenant) in [
        ("dead letters", Some("1")),
        ("jobs held", None),
        ("deletions past their deadline", None),
        ("deletions stuck", None),
        ("objects an hour past their term", None),
        ("differences in money", None),
        ("rows without their object", None),
    ] {
        let card = |page: &str| {
            let before = page.split(&format!(">{what}</")).next().filter(|before| before.len() < page.len())?;
            Some(before.rsplit_once("<strong>")?.1.split('<').next()?.to_owned())
        };
        assert_eq!(card(&all).as_deref(), Some("10000 or more"), "{what}");
        assert_eq!(card(&own).as_deref(), of_the_tenant, "{what} of a tenant who has less");
    }
    let dead = operator.opens("/console/dead").await.text;
    assert!(dead.contains("10000 or more") && dead.contains("<strong class=\"many\">3</strong>"), "{dead}");
    let numbers = house.get("", "/metrics").await.text;
    for line in [
        "safelight_dead_letters 10000",
        "safelight_dead_letters_by{kind=\"send_notice\",code=\"mail_refused\"} 10000",
        "safelight_dead_letters_by{kind=\"sweep_retention\",code=\"deadline_over\"} 3",
        "safelight_deletions_open 10000",
        "safelight_deletions_stuck 10000",
        "safelight_deletions_late 10000",
        "safelight_artifacts_due 10000",
        "safelight_artifacts_overdue 10000",
        "safelight_objects_missing 10000",
        "safelight_objections_upheld 10000",
        "safelight_money_differences 10000",
    ] {
        assert!(numbers.lines().any(|said| said == line), "no `{line}` in:\n{numbers}");
    }
}
