//! An act on everything that matches a search is carried out by a job of the house: in batches, each of them with its progress in
//! one commit, however often its worker dies.

use safelight_jobs::{
    act_on_jobs::ActOnJobs,
    bulk::{self, BulkAct},
    id::{Bulk, Id},
    operate::{Act, Operator},
    queue::{
        By,
        search::{State, Wanted},
    },
};

use crate::app::App;

const OPERATOR: Operator<'static> = Operator { by: By { actor: "ops_1", why: "the provider is well" }, tenant: None };

/// Dead letters of 5,000 mails that were refused, beside others; the later ones have greater ids.
const DEAD: &str = "
    insert into safelight.dead_letters (id, queue, kind, version, payload, tenant, priority, attempt, max_attempts, crashes, waits, code, created_at)
    select safelight.uuid_v7(), 'notices', 'send_notice', 1, '{}', 'koselfie', 0, 5, 5, 0, 0,
        case when n <= 5000 then 'mail_refused' else 'mail_rejected' end, now() from generate_series(1, 5100) n";

fn dead(code: &str) -> Wanted {
    Wanted { state: Some(State::Dead), code: Some(code.to_owned()), ..Wanted::default() }
}

impl App {
    async fn wants_all(&self, act: Act, wanted: Wanted) -> Id<Bulk> {
        let mut tx = self.tx().await;
        let bulk = bulk::ask(&mut tx, &self.db, act, wanted, OPERATOR).await.unwrap();
        tx.commit().await.unwrap();
        bulk
    }

    async fn bulk_act(&self, bulk: Id<Bulk>) -> BulkAct {
        bulk::read(&self.db, bulk, None).await.unwrap().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_dead_letters_are_previewed_and_retried_once_each_although_the_worker_dies_in_between() {
    let app = App::spawn().await;
    sqlx::query(DEAD).execute(&app.db).await.unwrap();
    let seen = bulk::preview(&app.db, Act::Retry, dead("mail_refused"), OPERATOR).await.unwrap();
    assert_eq!((seen.counted.jobs, seen.counted.whole, seen.first.len()), (5000, true, bulk::SHOWN));
    let bulk = app.wants_all(Act::Retry, dead("mail_refused")).await;
    // One that dies after the act was asked for is none of its business.
    sqlx::query(
        "insert into safelight.dead_letters (id, queue, kind, version, payload, tenant, priority, attempt, max_attempts, crashes, waits, code, created_at)
        values (safelight.uuid_v7(), 'notices', 'send_notice', 1, '{}', 'koselfie', 0, 5, 5, 0, 0, 'mail_refused', now())",
    )
    .execute(&app.db)
    .await
    .unwrap();
    // How far so many steps lead depends on how busy the machine is; a life that leads to the end is the last.
    let (mut between, mut step, mut deaths, mut whole) = (0, 10, 0, false);
    while deaths < 3 {
        if !app.crashes_after_step::<ActOnJobs>(step).await {
            whole = true;
            break;
        }
        let act = app.bulk_act(bulk).await;
        let risen = app.count("select count(*) from safelight.jobs where kind = 'send_notice'").await;
        assert_eq!(
            (act.done, act.state()),
            (risen, "under_way"),
            "what was done and how far it is said to be are one commit"
        );
        assert!(act.done >= between && act.done < 5000, "it goes on where it was: {} after {between}", act.done);
        if act.done > between {
            deaths += 1;
        } else {
            step += 10;
        }
        between = act.done;
    }
    assert!(deaths > 0, "it died with a part of it done");
    if !whole {
        app.performs_one::<ActOnJobs>().await;
    }
    let act = app.bulk_act(bulk).await;
    assert_eq!((act.done, act.passed_over, act.state()), (5000, 0, "done"));
    assert_eq!(
        app.count("select count(*) from safelight.jobs where kind = 'send_notice' and state = 0 and attempt = 0").await,
        5000
    );
    assert_eq!(app.count("select count(*) from safelight.dead_letters").await, 101, "the others and the later one");
    let sealed = "select count(*) from safelight.audit_entries where action = 'jobs.bulk' and counts->>'jobs' = '5000'";
    assert_eq!(app.count(sealed).await, 2, "that it was asked for, and that it was done");
    assert_eq!(app.count("select count(*) from safelight.operator_acts where actor = 'ops_1'").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_act_is_done_where_it_means_something_and_a_promise_is_never_ended() {
    let app = App::spawn().await;
    sqlx::query(
        "insert into safelight.jobs (id, queue, kind, payload, tenant, state, run_at, rank, max_attempts, created_at)
        select safelight.uuid_v7(), 'training', kind, '{}', 'koselfie', s, now() + s * interval '1 hour', now(), 5, now()
        from unnest(array['train_model', 'delete_data']) kind, unnest(array[0, 2, 3]) s, generate_series(1, 300)",
    )
    .execute(&app.db)
    .await
    .unwrap();
    let number = async |state: i16| -> (i64, i64) {
        sqlx::query_as(
            "select count(*) filter (where kind = 'train_model'), count(*) filter (where kind = 'delete_data')
            from safelight.jobs where state = $1",
        )
        .bind(state)
        .fetch_one(&app.db)
        .await
        .unwrap()
    };
    let all = || Wanted { tenant: Some("koselfie".to_owned()), ..Wanted::default() };
    let mut ended = Vec::new();
    for act in [Act::Hold, Act::Release, Act::Retry, Act::Cancel] {
        let bulk = app.wants_all(act, all()).await;
        app.performs_one::<ActOnJobs>().await;
        let act = app.bulk_act(bulk).await;
        assert_eq!(act.matched.jobs, act.done);
        ended.push((act.done, number(0).await, number(2).await, number(3).await));
    }
    assert_eq!(
        ended,
        [
            (1200, (0, 0), (900, 900), (0, 0)),
            (1800, (300, 300), (0, 0), (600, 600)),
            (1200, (900, 900), (0, 0), (0, 0)),
            (900, (0, 900), (0, 0), (0, 0)),
        ]
    );
    assert_eq!(app.count("select count(*) from safelight.jobs_archive where outcome = 'cancelled'").await, 900);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_of_one_queue_touches_no_job_of_another() {
    let app = App::spawn().await;
    sqlx::query(
        "insert into safelight.jobs (id, queue, kind, payload, tenant, state, run_at, rank, max_attempts, created_at)
        select safelight.uuid_v7(), queue, 'train_model', '{}', 'koselfie', 0, now(), now(), 5, now()
        from unnest(array['training', 'generation', 'notices']) queue, generate_series(1, 300)",
    )
    .execute(&app.db)
    .await
    .unwrap();
    let wanted = Wanted { queue: Some("generation".to_owned()), ..Wanted::default() };
    let bulk = app.wants_all(Act::Hold, wanted.clone()).await;
    app.performs_one::<ActOnJobs>().await;
    let act = app.bulk_act(bulk).await;
    assert_eq!((act.wanted, act.matched.jobs, act.done, act.passed_over), (wanted, 300, 300, 0));
    let held: Vec<String> = sqlx::query_scalar("select distinct queue from safelight.jobs where state = 2")
        .fetch_all(&app.db)
        .await
        .unwrap();
    assert_eq!(held, ["generation"]);
    assert_eq!(app.count("select count(*) from safelight.jobs where state = 2").await, 300);
}

/// Persons first, then rows: an erasure that has the person and wants the job's row is not in a circle with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_of_many_holds_no_job_while_it_waits_for_a_person() {
    let app = std::sync::Arc::new(App::spawn().await);
    let (ann, order) = app.basic_order(false).await;
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!(
        "insert into safelight.jobs (id, queue, kind, payload, tenant, subject_id, order_id, state, run_at, rank, max_attempts, created_at, why)
        select safelight.uuid_v7(), 'generation', 'generate_batch', '{{}}', tenant, subject_id, id, 3, now() + interval '1 hour', now(), 5, now(), 'slow'
            from safelight.orders where id = '{0}';
        insert into safelight.dead_letters (id, queue, kind, version, payload, tenant, subject_id, order_id, priority, attempt, max_attempts, crashes, waits, code, created_at)
        select safelight.uuid_v7(), 'faces', 'compare_faces', 1, '{{}}', tenant, subject_id, id, 0, 5, 5, 0, 0, 'slow', now()
            from safelight.orders where id = '{0}'",
        order.uuid()
    )))
    .execute(&app.db)
    .await
    .unwrap();
    app.wants_all(Act::Retry, Wanted { code: Some("slow".to_owned()), ..Wanted::default() }).await;
    let mut owner = safelight_jobs::db::begin(&app.db).await.unwrap();
    sqlx::query("select safelight.own_subject($1)").bind(ann.id.uuid()).execute(&mut *owner).await.unwrap();
    let worker = tokio::spawn({
        let app = app.clone();
        async move { app.performs_one::<ActOnJobs>().await }
    });
    let waits = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    while app.count(waits).await == 0 {
        tokio::task::yield_now().await;
    }
    let mine = sqlx::query("select id from safelight.jobs where kind = 'generate_batch' for update nowait");
    mine.execute(&mut *owner).await.expect("nobody holds its row");
    owner.rollback().await.unwrap();
    worker.await.unwrap();
    assert_eq!(app.count("select count(*) from safelight.dead_letters").await, 0);
    assert_eq!(app.count("select count(*) from safelight.jobs where kind = 'generate_batch' and state = 0").await, 1);
}
