//! Who answers for the data, where to write, and what a processor must have before anything leaves for it: in the policy's file,
//! and from there on everything that a person gets.

use safelight_evidence::Signer;
use safelight_jobs::{
    db,
    gate::{Ask, Host, Train},
    policy::{CapturePoint, DataClass, Finding, Policy, Processor, Purpose},
    policy_rows::{self, InstallError},
    providers::witness::Witness,
    sealer::{self, Sealer, Sign},
};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::app::{App, WORDING};

const TEXTS: [(&str, &str); 2] = [
    ("koselfie", include_str!("../../policies/koselfie.toml")),
    ("haloprofile", include_str!("../../policies/haloprofile.toml")),
];

/// A receipt over HTTP, an export, a certificate and its page.
#[tokio::test(flavor = "multi_thread")]
async fn k2_k45_the_controller_and_its_address_stand_on_receipt_export_certificate_and_register() {
    let app = App::spawn().await;
    let policy = app.services.policies.of("koselfie").unwrap().clone();
    let (controller, contact) = (json!(policy.controller()), json!(policy.contact()));
    let token = app.token("koselfie").await;
    let ann = app.person("koselfie").await;
    app.uploads(&ann, 1).await;

    let consent = json!({ "purpose": Purpose::Compare, "capture_point": CapturePoint::SignUp, "wording_sha256": WORDING,
        "policy_version": policy.version() });
    let (status, receipt) = app.post(&token, &format!("/v1/subjects/{}/consents", ann.id), consent).await;
    assert_eq!(status, 201, "{receipt}");
    assert_eq!((&receipt["controller"], &receipt["contact"]), (&controller, &contact));
    assert_eq!((&receipt["purpose"], &receipt["policy_version"]), (&json!("compare"), &json!(policy.version())));
    assert!(receipt["given_at"].is_string() && receipt["wording_sha256"] == WORDING);
    assert!(receipt["rights"].as_str().is_some_and(|text| text.contains("withdraw") && text.contains("authority")));

    let (_, asked) = app.post(&token, &format!("/v1/subjects/{}/exports", ann.id), json!({})).await;
    app.run_due_jobs().await;
    let path = format!("/v1/subjects/{}/exports/{}", ann.id, asked["export"].as_str().unwrap());
    let (_, ready) = app.get(&token, &path).await;
    let export: Value = app.http.get(ready["url"].as_str().unwrap()).send().await.unwrap().json().await.unwrap();
    assert_eq!((&export["controller"], &export["contact"]), (&controller, &contact));

    let deletion = app.erases(&ann).await;
    app.waits_out_late_writers().await;
    let outside = std::env::temp_dir().join(format!("safelight-outside-{}", uuid::Uuid::new_v4().simple()));
    let signer = Signer::new("photos.example/audit", &[6; 32]).unwrap();
    let sealer = Sealer::new(signer, None, vec![Witness::folder(&outside).unwrap()]).unwrap();
    let pool = db::connect_sealer(&app.database_url, 2).await.unwrap();
    sealer::pass(&pool, &sealer, Sign::Now).await.unwrap();
    std::fs::remove_dir_all(&outside).unwrap();
    let signed = sealer::certificate(&app.db, deletion, None).await.unwrap().expect("a certificate");
    assert_eq!(signed.certificate.controller, policy.controller());
    assert_eq!(signed.certificate.contact.as_deref(), Some(policy.contact()));
    let page = safelight_api::certificate_page(&signed);
    assert!(page.contains(policy.controller()) && page.contains(policy.contact()));
}

/// No policy without a mailbox; and what comes into it is a case whose clock runs from the mail's own time.
#[tokio::test(flavor = "multi_thread")]
async fn k3_h26_each_tenant_has_a_mailbox_and_a_mail_in_it_becomes_a_case_with_the_laws_deadline() {
    for (tenant, text) in TEXTS {
        let policy = Policy::parse(text).unwrap();
        assert!(policy.contact().contains('@'), "{tenant}");
        let without = text.replacen(policy.contact(), "by post", 1);
        let refused = Policy::parse(&without).unwrap().check().unwrap_err();
        assert_eq!(refused, [Finding::NoMailbox("by post".to_owned())], "{tenant}");
    }
    let app = App::spawn().await;
    let received = app.now().await - chrono::Duration::days(2);
    for (tenant, text) in TEXTS {
        let contact = Policy::parse(text).unwrap().contact().to_owned();
        let mut command = Command::new(env!("CARGO_BIN_EXE_safelight"));
        command.args(["case", "open", tenant, "erasure", "--received", &received.to_rfc3339(), "--by", "ops_1"]);
        command.env("DATABASE_URL", &app.database_url).env("SAFELIGHT_LOG", "error").kill_on_drop(true);
        let output = command.output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && said.contains(&contact), "{said}");
    }
    let due: Vec<chrono::DateTime<chrono::Utc>> =
        sqlx::query_scalar("select answer_due from safelight.cases").fetch_all(&app.db).await.unwrap();
    let month = (received + chrono::Months::new(1)).timestamp();
    assert_eq!(due.iter().map(chrono::DateTime::timestamp).collect::<Vec<_>>(), [month, month]);
}

/// A transfer without its safeguards and their agreement does not happen: that policy is installed nowhere, no process starts with
/// it, and a gate lets nothing pass to whom the policy does not list.
#[tokio::test(flavor = "multi_thread")]
async fn k37_h22_nothing_leaves_for_a_processor_without_a_named_safeguard_and_a_dated_agreement() {
    let app = App::spawn().await;
    for (tenant, text) in TEXTS {
        let policy = Policy::parse(text).unwrap();
        for (processor, entry) in policy.processors() {
            assert!(!entry.safeguards.trim().is_empty() && entry.agreed_on.is_some(), "{tenant}: {processor}");
            if entry.region != "EU" {
                assert!(entry.safeguards.contains("(EU) 2021/914"), "{tenant}: {processor} names the clauses");
            }
        }
        let at = text.find("[processor.fal]").unwrap();
        for line in ["safeguards", "agreement", "agreed_on"] {
            let of_fal = &text[at..];
            let start = at + of_fal.find(&format!("\n{line} = ")).unwrap();
            let end = start + 1 + text[start + 1..].find('\n').unwrap();
            let without = format!("{}{}", &text[..start], &text[end..]).replacen("version = \"", "version = \"9-", 1);
            let policy = Policy::parse(&without).unwrap();
            let refused = policy_rows::install(&app.db, &policy).await;
            assert!(matches!(refused, Err(InstallError::Unfit { .. })), "{tenant}, {line}: {refused:?}");
            let started = policy_rows::in_force(&app.worker, std::slice::from_ref(&policy)).await;
            assert!(started.is_err(), "{tenant}, {line}: and nobody starts with it");
        }
    }
    let ann = app.person("koselfie").await;
    let bob = app.person("haloprofile").await;
    let unlisted = Ask::of(bob.id, Processor::Resend, &[DataClass::Account]);
    assert_eq!(app.gate::<Host>(unlisted).await.unwrap_err(), "purpose_not_allowed");
    let unlisted = Ask::of(ann.id, Processor::Vercel, &[DataClass::Upload]);
    assert_eq!(app.gate::<Train>(unlisted).await.unwrap_err(), "purpose_not_allowed");
}
