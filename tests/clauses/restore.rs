//! A restored backup: nobody works on it before the erasure ledger was replayed; and the master key can be replaced.

use std::{path::PathBuf, sync::Arc};

use chrono::{DateTime, Utc};
use safelight_jobs::{
    db::{self, Role},
    intake::Ground,
    policy::Purpose,
    providers::ledger::Ledger,
    restore::{self, Admission},
    vault::{Vault, VaultError},
};
use sqlx::{AssertSqlSafe, PgPool};

use crate::app::{App, MASTER_KEY, OPS, postgres};

struct Outside(PathBuf);

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Outside {
    fn new() -> (Self, Ledger) {
        let folder = std::env::temp_dir().join(format!("safelight-ledger-{}", uuid::Uuid::new_v4().simple()));
        let ledger = Ledger::folder(&folder, Vault::new(MASTER_KEY).unwrap().ledger_keys()).unwrap();
        (Self(folder), ledger)
    }
}

/// N17: who can write into the folder, and does not hold the master key, has nobody erased by a replay.
#[tokio::test(flavor = "multi_thread")]
async fn n17_an_entry_that_somebody_else_put_into_the_ledger_erases_nobody_and_is_named() {
    let mut app = App::spawn().await;
    let (outside, ledger) = Outside::new();
    Arc::get_mut(&mut app.services).unwrap().ledger = Some(ledger.clone());
    let (ann, eve) = (app.person("koselfie").await, app.person("koselfie").await);
    app.erases(&eve).await;
    app.waits_out_late_writers().await;
    let of_eve = ledger.entries().await.unwrap()[0].to_string();
    let code = std::fs::read_dir(&outside.0).unwrap().next().unwrap().unwrap().file_name().into_string().unwrap();
    let code = code.split_once('.').unwrap().1.to_owned();
    let forged = of_eve.replace(&eve.id.uuid().simple().to_string(), &ann.id.uuid().simple().to_string());
    let state = "select state from safelight.subjects where id = $1";
    let settings = [
        ("DATABASE_URL", app.database_url.as_str()),
        ("SAFELIGHT_MASTER_KEY", MASTER_KEY),
        ("SAFELIGHT_LEDGER_DIR", outside.0.to_str().unwrap()),
    ];
    for (name, why) in [(forged.clone(), "not signed"), (format!("{forged}.{code}"), "forged or altered")] {
        std::fs::write(outside.0.join(&name), "").unwrap();
        sqlx::query("update safelight.restore_gate set cleared_life = 'before'").execute(&app.db).await.unwrap();
        assert!(restore::admit(&app.worker, &ledger).await.is_err(), "no worker goes on with it");
        for words in [&["check"][..], &["replay", "--why", "a drill", "--yes"]] {
            let (exit, said) = app.command_says(&[&["restore"], words].concat(), &settings).await;
            assert!(exit == 4 && said.contains(&ann.id.to_string()) && said.contains(why), "{words:?}: {exit} {said}");
            assert_eq!(app.of::<String>(state, ann.id.uuid()).await, "active");
        }
        // By the flag what is not signed is read, so that a person can look at it; what is altered never.
        let (exit, said) = app.command_says(&["restore", "check", "--unsigned"], &settings).await;
        let ann = ann.id.to_string();
        assert!(if why == "not signed" { exit == 1 && said.contains(&ann) } else { exit == 4 }, "{exit} {said}");
        std::fs::remove_file(outside.0.join(&name)).unwrap();
    }
    // Entries from before there were codes: signed once, by a person, they count.
    let (old, signed) = (outside.0.join(&of_eve), outside.0.join(format!("{of_eve}.{code}")));
    std::fs::rename(&signed, &old).unwrap();
    assert_eq!(app.command_says(&["restore", "sign"], &settings).await.0, 4);
    assert_eq!(app.command_says(&["restore", "sign", "--unsigned"], &settings).await.0, 0);
    assert!(signed.exists() && old.exists(), "nothing is deleted there");
    assert!(matches!(restore::admit(&app.worker, &ledger).await.unwrap(), Admission::Cleared(_)));
    // The master key is replaced: the ledger is signed by the new one, before the old one goes.
    let new = MASTER_KEY.replace('5', "6");
    let both =
        [settings[0], settings[2], ("SAFELIGHT_MASTER_KEY", new.as_str()), ("SAFELIGHT_MASTER_KEY_FORMER", MASTER_KEY)];
    let (exit, said) = app.command_says(&["key", "rotate"], &both).await;
    assert!(exit == 0 && said.contains("1 entries of the ledger"), "{exit} {said}");
    let (exit, said) = app.command_says(&["restore", "check"], &both[..3]).await;
    assert!(exit == 0, "{exit} {said}");
}

/// A backup of the database as it is now, restored as another one.
async fn backup(app: &App) -> String {
    let name = url::Url::parse(&app.database_url).unwrap().path().trim_matches('/').to_owned();
    postgres().await.create_database_from_backup(&format!("{name}_restored"), &name).await.unwrap()
}

async fn number(pool: &PgPool, sql: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn n17_k51_a_database_restored_to_before_an_erasure_hands_out_no_job_until_the_ledger_is_replayed() {
    let mut app = App::spawn().await;
    let (_outside, ledger) = Outside::new();
    Arc::get_mut(&mut app.services).unwrap().ledger = Some(ledger.clone());
    assert!(matches!(restore::admit(&app.worker, &ledger).await.unwrap(), Admission::Cleared(_)));
    assert_eq!(restore::admit(&app.worker, &ledger).await.unwrap(), Admission::Open);
    let (ann, _) = app.basic_order(true).await;
    let (eve, _) = app.basic_order(true).await;
    let bob = app.person("haloprofile").await;
    let (_, of_bob) = app.uploads(&bob, 2).await;
    let fay = app.person("koselfie").await;
    let restored_url = backup(&app).await;

    let deletion = app.erases(&ann).await;
    app.withdraws(&eve, Purpose::Compare).await;
    let mut tx = app.tx().await;
    safelight_jobs::intake::delete_photo(&mut tx, None, of_bob[0], Some("ops_1")).await.unwrap();
    safelight_jobs::intake::object(&mut tx, "koselfie", fay.id, Purpose::Nsfw, None).await.unwrap();
    tx.commit().await.unwrap();
    let told = Some(app.told_now().await);
    let mut tx = app.tx().await;
    safelight_jobs::intake::decide_objection(&mut tx, fay.id, Purpose::Nsfw, true, "ops_1", "no_need", told)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    app.waits_out_late_writers().await;
    assert_eq!(app.deletion_state(deletion).await, "complete");
    let late = app.person("koselfie").await;
    app.erases(&late).await;
    app.waits_out_late_writers().await;
    assert_eq!(ledger.entries().await.unwrap().len(), 5);

    let owner = db::connect(&restored_url, Role::Owner, 2).await.unwrap();
    let worker = db::connect(&restored_url, Role::Worker, 4).await.unwrap();
    let alive = format!("select count(*) from safelight.accounts where subject_id = '{}'", ann.id.uuid());
    assert_eq!(number(&owner, &alive).await, 1, "the backup has brought Ann back");
    let sweep = "select count(*) from safelight.enqueue('sweep_retention', '{\"because\": \"restored\"}', 'sweeps')";
    number(&owner, sweep).await;
    let ran = safelight_worker::drain(&worker, &app.services, "test").await.unwrap().ran;
    assert_eq!(ran, Vec::<String>::new(), "nobody has compared it");
    let Admission::Refused(compared) = restore::admit(&worker, &ledger).await.unwrap() else { panic!("it is let in") };
    assert_eq!((compared.missing.len(), compared.strangers), (4, 1));
    let ran = safelight_worker::drain(&worker, &app.services, "test").await.unwrap().ran;
    assert_eq!(ran, Vec::<String>::new(), "it is known to lack an erasure");

    let replayed = restore::replay(&owner, &app.bell(), &ledger, false, OPS).await.unwrap();
    assert_eq!(replayed.missing.len(), 4);
    let ran = safelight_worker::drain(&worker, &app.services, "test").await.unwrap().ran;
    assert!(ran.contains(&"delete_data".to_owned()) && ran.contains(&"sweep_retention".to_owned()), "{ran:?}");
    sqlx::query("insert into safelight.clock (shift) values (interval '5 hours')").execute(&owner).await.unwrap();
    safelight_worker::drain(&worker, &app.services, "test").await.unwrap();
    assert_eq!(number(&owner, &alive).await, 0);
    for (what, count) in [
        ("select count(*) from safelight.deletions where state = 'complete' and trigger = 'erasure'", 1),
        ("select count(*) from safelight.deletions where state = 'complete' and trigger = 'withdrawal'", 1),
        ("select count(*) from safelight.deletions where state = 'complete' and trigger = 'one_photo'", 1),
        ("select count(*) from safelight.deletions where state = 'complete' and trigger = 'objection'", 1),
        ("select count(*) from safelight.objections where state = 'upheld'", 1),
        ("select count(*) from safelight.artifacts where tenant = 'haloprofile'", 1),
        ("select count(*) from safelight.audit_entries where action = 'restore.replayed'", 4),
        ("select count(*) from safelight.audit_entries where action = 'deletion.complete'", 4),
    ] {
        assert_eq!(number(&owner, what).await, count, "{what}: evidence of its own");
    }
    let to_ann = app.sandbox.resend.mails().iter().filter(|mail| mail.to[0] == ann.email).count();
    assert_eq!(to_ann, 1, "K33: told in the life that the restore has undone, and not once more");
    assert_eq!(
        restore::replay(&owner, &app.bell(), &ledger, false, OPS).await.unwrap().missing,
        [],
        "again: nothing is missing"
    );
}

/// A restart alone is another life, too: it is compared and goes on by itself. A ledger that cannot be read clears nothing.
#[tokio::test(flavor = "multi_thread")]
async fn n17_another_life_goes_on_by_itself_where_nothing_is_missing_and_not_where_the_ledger_cannot_be_read() {
    let app = App::spawn().await;
    let (outside, ledger) = Outside::new();
    restore::admit(&app.worker, &ledger).await.unwrap();
    sqlx::query("update safelight.restore_gate set cleared_life = 'the one before'").execute(&app.db).await.unwrap();
    app.wants(&safelight_jobs::sweep_retention::SweepRetention { because: "x".to_owned() }).await;
    let drained = || safelight_worker::drain(&app.worker, &app.services, "test");
    assert_eq!(drained().await.unwrap().ran.len(), 0);
    let unreadable = outside.0.join("unreadable");
    std::fs::write(&unreadable, "x").unwrap();
    assert!(restore::admit(&app.worker, &ledger).await.is_err());
    assert_eq!(drained().await.unwrap().ran.len(), 0);
    std::fs::remove_file(&unreadable).unwrap();
    assert!(matches!(restore::admit(&app.worker, &ledger).await.unwrap(), Admission::Cleared(_)));
    assert_eq!(drained().await.unwrap().ran.len(), 1);
}

/// Which folder is the right one, the database knows by what it has noted there: an empty one, one of somebody else, and one from which
/// somebody took an entry, clear nothing. What is older than all of it may be gone.
#[tokio::test(flavor = "multi_thread")]
async fn n17_an_empty_or_cut_ledger_lets_nobody_work_until_a_person_says_that_it_may_be_short() {
    let mut app = App::spawn().await;
    let (outside, ledger) = Outside::new();
    Arc::get_mut(&mut app.services).unwrap().ledger = Some(ledger.clone());
    let compared = async || restore::compare(&app.worker, &ledger).await.unwrap();
    for _ in 0..3 {
        let person = app.person("koselfie").await;
        app.erases(&person).await;
        app.waits_out_late_writers().await;
        assert!(compared().await.agree());
    }
    let another_life = async || {
        sqlx::query("update safelight.restore_gate set cleared_life = 'before'").execute(&app.db).await.unwrap();
    };
    let (_elsewhere, empty) = Outside::new();
    another_life().await;
    let Admission::Refused(empty_one) = restore::admit(&app.worker, &empty).await.unwrap() else { panic!("let in") };
    assert_eq!((empty_one.missing.len(), empty_one.lost), (0, 3));
    let refused = restore::replay(&app.db, &app.bell(), &empty, false, OPS).await.unwrap_err();
    assert!(refused.to_string().contains("another ledger"), "{refused}");
    app.wants(&safelight_jobs::sweep_retention::SweepRetention { because: "x".to_owned() }).await;
    let drained = || safelight_worker::drain(&app.worker, &app.services, "test");
    assert_eq!(drained().await.unwrap().ran.len(), 0);

    let mut files: Vec<PathBuf> = std::fs::read_dir(&outside.0).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    std::fs::remove_file(&files[0]).unwrap();
    assert!(compared().await.agree(), "the oldest went with the backups that it was for");
    let cut = std::fs::read(&files[2]).unwrap();
    std::fs::remove_file(&files[2]).unwrap();
    assert_eq!(compared().await.lost, 1, "the newest is missing");
    std::fs::write(&files[2], cut).unwrap();
    std::fs::write(&files[0], "").unwrap();
    std::fs::remove_file(&files[1]).unwrap();
    assert_eq!(compared().await.lost, 1, "one from between is missing");
    assert!(matches!(restore::admit(&app.worker, &ledger).await.unwrap(), Admission::Refused(_)));

    restore::replay(&app.db, &app.bell(), &ledger, true, OPS).await.unwrap();
    assert_eq!(drained().await.unwrap().ran.len(), 1);
    another_life().await;
    assert!(matches!(restore::admit(&app.worker, &ledger).await.unwrap(), Admission::Cleared(_)), "said once");
    let person = app.person("koselfie").await;
    app.erases(&person).await;
    app.waits_out_late_writers().await;
    another_life().await;
    let Admission::Refused(again) = restore::admit(&app.worker, &empty).await.unwrap() else { panic!("let in") };
    assert_eq!(again.lost, 1, "what was noted since then is asked for");
}

/// The second may turn between the event of a withdrawal and its deletion, whose instant the ledger has.
#[tokio::test(flavor = "multi_thread")]
async fn n17_a_withdrawal_across_the_turn_of_a_second_is_known_and_a_later_consent_stays() {
    let mut app = App::spawn().await;
    let (_outside, ledger) = Outside::new();
    Arc::get_mut(&mut app.services).unwrap().ledger = Some(ledger.clone());
    let (eve, order) = app.basic_order(true).await;
    app.withdraws(&eve, Purpose::Compare).await;
    sqlx::query("update safelight.deletions set requested_at = requested_at + interval '1 second'")
        .execute(&app.db)
        .await
        .unwrap();
    app.run_due_jobs().await;
    app.agrees_to_compare(&eve, app.batch_of(order).await).await;
    let compared = restore::compare(&app.worker, &ledger).await.unwrap();
    assert_eq!((compared.entries, compared.missing), (1, vec![]));
}

/// The first worker that has a ledger may be the first one after a restore from before there was any.
#[tokio::test(flavor = "multi_thread")]
async fn n17_nobody_claims_while_the_first_worker_with_a_ledger_has_not_compared() {
    let app = App::spawn().await;
    let (outside, ledger) = Outside::new();
    app.wants(&safelight_jobs::sweep_retention::SweepRetention { because: "x".to_owned() }).await;
    std::fs::write(outside.0.join("unreadable"), "x").unwrap();
    assert!(restore::admit(&app.worker, &ledger).await.is_err());
    let ran = safelight_worker::drain(&app.worker, &app.services, "test").await.unwrap().ran;
    assert_eq!(ran, Vec::<String>::new(), "guarded before anything is compared");
}

/// Art. 18 outlasts a backup: whose data were restricted since is restricted again, and who was released is not.
#[tokio::test(flavor = "multi_thread")]
async fn n17_k41_a_restriction_that_the_backup_forgot_is_set_again_and_one_that_is_over_is_not() {
    let app = App::spawn().await;
    let (_outside, ledger) = Outside::new();
    restore::admit(&app.worker, &ledger).await.unwrap();
    let (ann, eve) = (app.person("koselfie").await, app.person("koselfie").await);
    let bob = app.person("koselfie").await;
    app.restricts(&bob, Ground::Accuracy).await.unwrap();
    let until = app.now().await + chrono::Duration::days(40);
    let restored_url = backup(&app).await;
    app.restricts(&ann, Ground::Claims(until)).await.unwrap();
    app.restricts(&eve, Ground::Accuracy).await.unwrap();
    assert_eq!(restore::note(&app.worker, &ledger).await.unwrap(), 3);
    assert_eq!(restore::note(&app.worker, &ledger).await.unwrap(), 0, "once");
    app.turn_clock(chrono::Duration::seconds(5)).await;
    app.releases(&eve).await;
    app.releases(&bob).await;
    assert_eq!(restore::note(&app.worker, &ledger).await.unwrap(), 2);
    assert!(restore::compare(&app.worker, &ledger).await.unwrap().agree());

    let owner = db::connect(&restored_url, Role::Owner, 2).await.unwrap();
    let missing = restore::compare(&owner, &ledger).await.unwrap().missing;
    assert_eq!(missing.len(), 2, "Ann's restriction and Bob's release: {missing:?}");
    restore::replay(&owner, &app.bell(), &ledger, false, OPS).await.unwrap();
    for (person, state) in [(&ann, "restricted"), (&eve, "active"), (&bob, "active")] {
        let stands: String = sqlx::query_scalar("select state from safelight.subjects where id = $1")
            .bind(person.id.uuid())
            .fetch_one(&owner)
            .await
            .unwrap();
        assert_eq!(stands, state);
    }
    let held: DateTime<Utc> =
        sqlx::query_scalar("select keep_until from safelight.restrictions where lifted_at is null and subject_id = $1")
            .bind(ann.id.uuid())
            .fetch_one(&owner)
            .await
            .unwrap();
    assert_eq!(held.timestamp(), until.timestamp(), "with its day");
    assert!(restore::compare(&owner, &ledger).await.unwrap().agree());
}

/// A ledger that does not take the entry keeps the erasure open; nothing else waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn n17_an_erasure_that_is_not_noted_outside_is_not_complete() {
    let mut app = App::spawn().await;
    let (outside, ledger) = Outside::new();
    Arc::get_mut(&mut app.services).unwrap().ledger = Some(ledger.clone());
    let ann = app.person("koselfie").await;
    app.uploads(&ann, 1).await;
    std::fs::remove_dir_all(&outside.0).unwrap();
    std::fs::write(&outside.0, "no folder").unwrap();
    let deletion = app.erases(&ann).await;
    app.waits_out_late_writers().await;
    assert_eq!(app.stored_keys().len(), 0, "the deleting does not wait");
    assert_ne!(app.deletion_state(deletion).await, "complete");
    std::fs::remove_file(&outside.0).unwrap();
    std::fs::create_dir_all(&outside.0).unwrap();
    app.waits_out_late_writers().await;
    assert_eq!(app.deletion_state(deletion).await, "complete");
    assert_eq!(ledger.entries().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_master_key_is_replaced_while_everything_runs_and_the_former_one_opens_nothing_any_more() {
    const NEW: &str = "00000000000000000000000000000000000000000000000000000000000000aa";
    let app = App::spawn().await;
    let (ann, eve) = (app.person("koselfie").await, app.person("koselfie").await);
    let between = Vault::new(NEW).unwrap().with_former(MASTER_KEY).unwrap();
    let mut worker = app.worker.acquire().await.unwrap();
    let sealed: Vec<u8> =
        app.of("select email_sealed from safelight.accounts where subject_id = $1", ann.id.uuid()).await;
    let key = between.key(&mut worker, ann.id).await.unwrap();
    assert_eq!(key.open_text("email", &sealed).unwrap(), ann.email, "both keys are known: nothing stands still");
    assert_eq!(between.rewrap(&mut worker, 1).await.unwrap(), 1);
    assert_eq!(between.rewrap(&mut worker, 500).await.unwrap(), 1);
    assert_eq!(between.rewrap(&mut worker, 500).await.unwrap(), 0);
    let after = Vault::new(NEW).unwrap();
    for person in [&ann, &eve] {
        let sealed: Vec<u8> =
            app.of("select email_sealed from safelight.accounts where subject_id = $1", person.id.uuid()).await;
        let key = after.key(&mut worker, person.id).await.unwrap();
        assert_eq!(key.open_text("email", &sealed).unwrap(), person.email);
        let former = app.services.vault.key(&mut worker, person.id).await;
        assert!(matches!(former, Err(VaultError::OtherMaster { .. })));
    }
    let alias: uuid::Uuid =
        app.of("select alias from safelight.subject_keys where subject_id = $1", ann.id.uuid()).await;
    assert_eq!(after.key(&mut worker, ann.id).await.unwrap().alias(), alias, "the pseudonym stays");
    let unknown = Vault::new(&NEW.replace('a', "b")).unwrap();
    assert!(
        matches!(unknown.rewrap(&mut worker, 1).await, Err(VaultError::OtherMaster { .. })),
        "nothing is wrapped blindly"
    );
}
