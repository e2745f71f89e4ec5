//! What the guides of docs/ and ops/ say of settings and commands is true of the program.

use std::collections::BTreeSet;

use crate::app::App;

#[tokio::test(flavor = "multi_thread")]
async fn every_setting_that_the_guides_name_is_one_of_the_program_and_every_unit_starts_a_command() {
    let app = App::spawn().await;
    let mut helps = String::new();
    for command in ["api", "worker", "cron", "migrate"] {
        let (code, help, _) = app.types(&[command, "--help"]).await;
        assert_eq!(code, 0);
        helps.push_str(&help);
    }
    let guides = [include_str!("../../docs/deploy.md"), include_str!("../../docs/operations.md")].concat();
    let words = |text: &str| -> BTreeSet<String> {
        let words = text.split(|c: char| !c.is_ascii_uppercase() && !c.is_ascii_digit() && c != '_');
        words.map(str::to_owned).collect()
    };
    let ours = ["DATABASE_", "S3_", "STRIPE_", "FAL_", "SUPABASE_", "RESEND_", "SAFELIGHT_OIDC_", "SAFELIGHT_MODELS"];
    let named: BTreeSet<_> =
        words(&guides).into_iter().filter(|word| ours.iter().any(|start| word.starts_with(start))).collect();
    assert!(named.len() > 20, "{named:?}");
    let unknown: Vec<_> = named.difference(&words(&helps)).cloned().collect();
    assert!(unknown.is_empty(), "no setting: {unknown:?}");
    for unit in [
        include_str!("../../ops/systemd/safelight-api.service"),
        include_str!("../../ops/systemd/safelight-worker.service"),
    ] {
        let starts = unit.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/local/bin/safelight ")).unwrap();
        let words: Vec<_> = starts.split(' ').chain(["--help"]).collect();
        assert_eq!(app.types(&words).await.0, 0, "{starts}");
    }
}
