//! Each finished deletion yields a certificate: signed, provable against the log, with a line for every object, and without
//! a word about the person.

use std::path::PathBuf;

use safelight_evidence::{
    SignedCertificate, Signer, Verdict, certificate::Certificate, check::checkpoints, verify_certificate,
};
use safelight_jobs::{
    db,
    id::{Deletion, Id},
    policy::Purpose,
    providers::witness::Witness,
    sealer::{self, Sealer, Sign},
    vault::VaultError,
};
use serde_json::Value;

use crate::app::App;

fn key() -> Signer {
    Signer::new("photos.example/audit", &[6; 32]).unwrap()
}

/// A place outside for one app's checkpoints.
struct Outside(PathBuf);

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Outside {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("safelight-outside-{}", uuid::Uuid::new_v4().simple())))
    }

    async fn seals(&self, app: &App) -> sealer::Passed {
        let sealer = Sealer::new(key(), None, vec![Witness::folder(&self.0).unwrap()]).unwrap();
        let pool = db::connect_sealer(&app.database_url, 2).await.unwrap();
        sealer::pass(&pool, &sealer, Sign::Now).await.unwrap()
    }

    async fn certificate(&self, app: &App, deletion: Id<Deletion>) -> SignedCertificate {
        self.seals(app).await;
        let signed = sealer::certificate(&app.db, deletion, None).await.unwrap().expect("a certificate");
        let file = serde_json::to_vec(&signed).unwrap();
        let report =
            verify_certificate(&file, &checkpoints(std::slice::from_ref(&self.0)).unwrap(), &[key().verifier()]);
        assert_eq!((report.verdict, &report.findings[..]), (Verdict::Verified, &[][..]));
        assert_fits_the_schema(&serde_json::to_value(&signed).unwrap());
        signed
    }
}

fn assert_fits_the_schema(document: &Value) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/schemas/deletion-certificate.schema.json");
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> =
        validator.iter_errors(document).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert_eq!(errors, Vec::<String>::new());
    for (pointer, bad) in [
        ("/certificate/deletion", Value::from("ann@example.org")),
        ("/certificate/steps/0/state", Value::from("skipped")),
        ("/certificate/stays/0/why", Value::from("")),
        ("/certificate/lines/0/entry/counts", serde_json::json!({ "to": "ann" })),
        ("/signature", Value::Null),
    ] {
        let mut changed = document.clone();
        *changed.pointer_mut(pointer).unwrap() = bad;
        assert!(!validator.is_valid(&changed), "{pointer} may be anything");
    }
}

fn objects(certificate: &Certificate, class: &str) -> Vec<Option<String>> {
    let lines = certificate.lines.iter().map(|line| &line.entry);
    lines
        .filter(|entry| entry.action == "deletion.object" && entry.class.as_deref() == Some(class))
        .map(|entry| entry.commitment.clone())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn k18_n19_an_erasure_yields_a_certificate_with_a_line_for_every_object_and_none_about_the_person() {
    let app = App::spawn().await;
    let outside = Outside::new();
    let (ann, order) = app.pro_order().await;
    app.fulfils(order).await;
    let stored: Vec<(String, String)> = sqlx::query_as(
        "select class, storage_key from safelight.artifacts where subject_id = $1 order by class, storage_key",
    )
    .bind(ann.id.uuid())
    .fetch_all(&app.db)
    .await
    .unwrap();
    assert!(stored.len() > 20);
    let mut connection = app.db.acquire().await.unwrap();
    let person = app.services.vault.key(&mut connection, ann.id).await.unwrap();
    let alias: uuid::Uuid =
        app.of("select alias from safelight.subject_keys where subject_id = $1", ann.id.uuid()).await;
    assert_eq!(alias, person.alias(), "the pseudonym is of the person's own key");

    let deletion = app.erases(&ann).await;
    outside.seals(&app).await;
    let early = sealer::certificate(&app.db, deletion, None).await.unwrap();
    assert!(early.is_none(), "nothing is certified before it is done");
    app.waits_out_late_writers().await;
    assert_eq!(app.deletion_state(deletion).await, "complete");
    let signed = outside.certificate(&app, deletion).await;
    let certificate = &signed.certificate;

    for class in ["upload", "model", "image"] {
        let keys = stored.iter().filter(|(of, _)| of == class).map(|(_, key)| Some(hex::encode(person.commit(key))));
        let (mut expected, mut named): (Vec<_>, Vec<_>) = (keys.collect(), objects(certificate, class));
        expected.sort();
        named.sort();
        assert_eq!(named, expected, "one line for every {class}");
        let step = certificate.steps.iter().find(|step| step.class == class && step.planned > 0).unwrap();
        assert_eq!((step.state.as_str(), step.deleted), ("verified", expected.len() as u64));
    }
    let stays: Vec<_> = certificate.steps.iter().filter(|step| step.state == "retained_by_law").collect();
    assert!(stays.iter().any(|step| step.evidence.contains("tax law")), "{stays:?}");
    assert!(stays.iter().any(|step| step.evidence.contains("GDPR Art. 7(1)")), "{stays:?}");
    assert_eq!((certificate.trigger.as_str(), certificate.tenant.as_str()), ("erasure", "koselfie"));

    // The salts are gone with the key: what the commitments mean cannot be shown any more.
    let gone = app.services.vault.key(&mut connection, ann.id).await;
    assert!(matches!(gone, Err(VaultError::NoKey(_))));
    let page = safelight_api::certificate_page(&signed);
    let entries: Vec<String> =
        sqlx::query_scalar("select to_jsonb(e)::text from safelight.audit_entries e").fetch_all(&app.db).await.unwrap();
    let all = format!("{}\n{page}\n{}", serde_json::to_string(&signed).unwrap(), entries.join("\n"));
    let subject = ann.id.uuid();
    let mut markers = vec![ann.email.clone(), ann.id.to_string(), subject.to_string(), subject.simple().to_string()];
    markers.push("in a garden".to_owned());
    markers.push(ann.auth_user.to_string());
    markers.extend(stored.into_iter().map(|(_, key)| key));
    for marker in markers {
        assert!(!all.contains(&marker), "{marker} stands in the log or in the certificate");
    }
    assert!(page.contains("tax law") && page.contains("@media print") && !page.contains("<script"));
}

#[tokio::test(flavor = "multi_thread")]
async fn k23_a_retention_yields_a_certificate_of_its_own() {
    let app = App::spawn().await;
    let outside = Outside::new();
    let ann = app.person("koselfie").await;
    app.uploads(&ann, 2).await;
    app.turn_clock(chrono::Duration::hours(721)).await;
    app.sweeps().await;
    let deletion: uuid::Uuid = sqlx::query_scalar("select id from safelight.deletions where trigger = 'retention'")
        .fetch_one(&app.db)
        .await
        .unwrap();
    let signed = outside.certificate(&app, deletion.into()).await;
    assert_eq!(objects(&signed.certificate, "upload").len(), 2);
    assert_eq!(outside.seals(&app).await.issued, 0, "a certificate is issued once");
    let changed = sqlx::query("update safelight.deletion_certificates set document = 'other'").execute(&app.db).await;
    assert!(changed.is_err(), "and not changed");
}

/// One photo, and an order that failed: certified like any other, and what stays says by which law and until when.
#[tokio::test(flavor = "multi_thread")]
async fn k26_k29_a_photo_and_a_failed_order_yield_certificates_and_the_law_is_named_with_its_day() {
    let app = App::spawn().await;
    let outside = Outside::new();
    let (ann, order) = app.basic_order(true).await;
    app.fulfils(order).await;
    let mut tx = app.tx().await;
    let photo = app.artifacts("upload", ann.id.uuid()).await[0];
    let started = safelight_jobs::intake::delete_photo(&mut tx, None, photo, Some("ops_1")).await.unwrap();
    tx.commit().await.unwrap();
    app.waits_out_late_writers().await;
    let signed = outside.certificate(&app, started.deletion).await;
    assert_eq!((signed.certificate.trigger.as_str(), objects(&signed.certificate, "upload").len()), ("one_photo", 1));

    let (_eve, failed) = app.basic_order(false).await;
    app.pays(failed).await;
    let dead = app.runs_up_to("generate_batch").await;
    app.dies(&dead, "fal_rejected").await;
    app.reconciles().await;
    let until: String = app
        .of("select to_char(keep_until, 'YYYY-MM-DD') from safelight_fiscal.sales where order_id = $1", failed.uuid())
        .await;
    let mut tx = app.tx().await;
    let started = safelight_jobs::intake::delete_failed_order(&mut tx, Some("koselfie"), failed, None).await.unwrap();
    tx.commit().await.unwrap();
    app.run_due_jobs().await;
    let signed = outside.certificate(&app, started.deletion).await;
    let certificate = &signed.certificate;
    assert_eq!(certificate.trigger, "failed_order");
    let stays: Vec<_> = certificate.steps.iter().filter(|step| step.state == "retained_by_law").collect();
    assert_eq!(stays.len(), 1);
    assert!(stays[0].evidence.contains(&format!("until {until} (Directive 2006/112/EC")), "{stays:?}");
    assert!(safelight_api::certificate_page(&signed).contains(&until));
}

#[tokio::test(flavor = "multi_thread")]
async fn k40_a_withdrawal_is_certified_with_its_purpose() {
    let app = App::spawn().await;
    let outside = Outside::new();
    let (ann, order) = app.pro_order().await;
    app.fulfils(order).await;
    app.withdraws(&ann, Purpose::Compare).await;
    app.run_due_jobs().await;
    let deletion: uuid::Uuid = sqlx::query_scalar("select id from safelight.deletions where trigger = 'withdrawal'")
        .fetch_one(&app.db)
        .await
        .unwrap();
    let signed = outside.certificate(&app, deletion.into()).await;
    assert_eq!(signed.certificate.purpose.as_deref(), Some("compare"));
}

/// The answer and the certificate name the copies that no call of ours reaches, and only those of processors that the tenant has.
#[tokio::test(flavor = "multi_thread")]
async fn k32_k33_h29_an_erasure_says_what_no_step_takes_where_it_stays_and_why() {
    let app = App::spawn().await;
    let outside = Outside::new();
    for (tenant, has_mail) in [("koselfie", true), ("haloprofile", false)] {
        let person = app.person(tenant).await;
        let deletion = app.erases(&person).await;
        app.waits_out_late_writers().await;
        let signed = outside.certificate(&app, deletion).await;
        let stays = signed.certificate.stays.clone().unwrap();
        let at = |processor: &str, words: &str| {
            stays.iter().any(|one| one.processor == processor && format!("{}: {}", one.place, one.why).contains(words))
        };
        assert!(at("supabase", "Auth's own log"), "{tenant}: {stays:?}");
        assert!(at("stripe", "90 days after the last payment"), "{tenant}: {stays:?}");
        assert!(at("self", "backups of the database"), "{tenant}: {stays:?}");
        assert!(at("supabase", "safelight.consents"), "{tenant}: {stays:?}");
        assert_eq!(at("resend", "no call that deletes a sent mail"), has_mail, "{tenant}: {stays:?}");
        assert!(stays.iter().all(|one| !one.why.is_empty()));
        let token = app.token(tenant).await;
        let (status, answer) = app.get(&token, &format!("/v1/deletions/{deletion}")).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["stays"], serde_json::to_value(&stays).unwrap(), "{tenant}: the answer says the same");
        let page = safelight_api::certificate_page(&signed);
        assert!(page.contains("Auth&#39;s own log") || page.contains("Auth's own log"), "{tenant}");
        assert_eq!(page.contains("no call that deletes a sent mail"), has_mail, "{tenant}");
    }
}

/// D7: what is done although the text does not list it stands on every certificate of the tenant, until the text names it.
#[tokio::test(flavor = "multi_thread")]
async fn d7_a_certificate_says_which_gap_was_accepted_by_whom_when_and_why() {
    let app = App::spawn().await;
    let outside = Outside::new();
    for (tenant, gaps) in [("koselfie", 1), ("haloprofile", 0)] {
        let person = app.person(tenant).await;
        app.uploads(&person, 1).await;
        let deletion = app.erases(&person).await;
        app.waits_out_late_writers().await;
        let signed = outside.certificate(&app, deletion).await;
        let page = safelight_api::certificate_page(&signed);
        assert_eq!(signed.certificate.accepted_gaps.len(), gaps, "{tenant}");
        assert_eq!(page.contains("the published policy does not list"), gaps > 0, "{tenant}");
        if let Some(gap) = signed.certificate.accepted_gaps.first() {
            let says =
                "train of model and upload by fal: D7, accepted by Data protection lead of KoSelfie on 2026-05-26: ";
            assert!(gap.starts_with(says) && page.contains(says), "{gap}");
        }
    }
}

/// The rows of a deletion are the database's; a certificate is sworn to only where the log says the same.
#[tokio::test(flavor = "multi_thread")]
async fn n23_rows_that_say_more_than_the_log_are_not_sworn_to_and_keep_no_other_certificate_waiting() {
    let app = App::spawn().await;
    let outside = Outside::new();
    let (ann, eve) = (app.person("koselfie").await, app.person("koselfie").await);
    let (bent, honest) = (app.erases(&ann).await, app.erases(&eve).await);
    // A sweep speaks of a deletion, too, and is of no tenant.
    sqlx::query("insert into safelight.audit_entries (actor, action, outcome, deletion_id) values ('cron', 'deletion.stuck', 'alarmed', $1)")
        .bind(honest.uuid())
        .execute(&app.worker)
        .await
        .unwrap();
    app.waits_out_late_writers().await;
    for sql in [
        "update safelight.deletion_steps set deleted = deleted + 7 where deletion_id = $1 and seq = 1",
        "update safelight.deletion_steps set state = 'retained_by_law' where deletion_id = $1 and seq = 1",
    ] {
        sqlx::query(sql).bind(bent.uuid()).execute(&app.db).await.unwrap();
        outside.seals(&app).await;
        assert!(sealer::certificate(&app.db, bent, None).await.unwrap().is_none(), "{sql}");
    }
    outside.certificate(&app, honest).await;
    let lag = sealer::lag(&app.db).await.unwrap();
    assert_eq!((lag.certificates_due, lag.certificates_late), (1, 0), "and it is seen to be due");
    app.turn_clock(chrono::Duration::minutes(15)).await;
    assert_eq!(sealer::lag(&app.db).await.unwrap().certificates_late, 1, "and somebody is called about it");
    sqlx::query("update safelight.deletion_steps set deleted = deleted - 7, state = 'verified' where deletion_id = $1 and seq = 1")
        .bind(bent.uuid())
        .execute(&app.db)
        .await
        .unwrap();
    outside.certificate(&app, bent).await;
    assert_eq!(sealer::lag(&app.db).await.unwrap().certificates_late, 0);
}

/// However many are not sworn to.
#[tokio::test(flavor = "multi_thread")]
async fn n23_sixty_certificates_that_cannot_be_issued_keep_no_later_one_waiting() {
    let app = App::spawn().await;
    let outside = Outside::new();
    let ann = app.person("koselfie").await;
    // Their rows say that they are complete; the log says nothing of them.
    sqlx::query(
        "with claimed as (insert into safelight.deletions (id, tenant, subject_id, trigger, answer_due, state, completed_at)
            select ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, 'koselfie', $1, 'retention', now(), 'complete', now()
            from generate_series(1, 60) n returning id)
        insert into safelight.deletion_certificates (deletion_id) select id from claimed on conflict do nothing",
    )
    .bind(ann.id.uuid())
    .execute(&app.db)
    .await
    .unwrap();
    let honest = app.erases(&ann).await;
    app.waits_out_late_writers().await;
    assert_eq!(app.deletion_state(honest).await, "complete");
    let sealer = Sealer::new(key(), None, vec![Witness::folder(&outside.0).unwrap()]).unwrap();
    let pool = db::connect_sealer(&app.database_url, 2).await.unwrap();
    for _ in 0..3 {
        sealer::pass(&pool, &sealer, Sign::Now).await.unwrap();
    }
    assert!(sealer::certificate(&app.db, honest, None).await.unwrap().is_some(), "the fifty before it are passed by");
}
