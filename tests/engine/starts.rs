//! What keeps a process from starting: a policy that says too little, or that is not the one that is installed.

use crate::{
    app::App,
    processes::{ends, environment},
};

const KOSELFIE: &str = include_str!("../../policies/koselfie.toml");
const HALOPROFILE: &str = include_str!("../../policies/haloprofile.toml");

/// Start a process on a folder with KoSelfie's policy after one change. Answers what it said at its end.
async fn refuses(app: &App, command: &str, from: &str, to: &str) -> String {
    assert!(KOSELFIE.contains(from), "{from}");
    let folder = std::env::temp_dir().join(format!("safelight-start-{}", uuid::Uuid::new_v4().simple()));
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("koselfie.toml"), KOSELFIE.replacen(from, to, 1)).unwrap();
    std::fs::write(folder.join("haloprofile.toml"), HALOPROFILE).unwrap();
    let mut environment = environment(app, "http://127.0.0.1:0");
    environment.push(("SAFELIGHT_POLICIES", folder.display().to_string()));
    let ended = ends(&[command], &environment).await;
    std::fs::remove_dir_all(folder).unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(1), "{command} does not start: {said}");
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn h10_h1_k1_no_process_starts_with_a_policy_that_says_too_little_or_changed_under_its_version() {
    let app = App::spawn().await;
    for command in ["api", "worker", "migrate"] {
        for (from, to, why) in [
            ("backup = { rolling", "# backup = { rolling", "class `backup` has no retention rule"),
            (r#"nsfw = { basis = "legitimate_interest", "#, "nsfw = { ", "purpose `nsfw`"),
            (r#"agreement = "KS-DPA-03""#, r#"agreement = """#, "processor `stripe`"),
            ("fe07f42398c1", "fe07f42398c0", "is installed with other content; give the changed policy a new version"),
        ] {
            let said = refuses(&app, command, from, to).await;
            assert!(said.contains(why), "{command}, {to}: {said}");
        }
    }
    for command in ["api", "worker"] {
        let said = refuses(&app, command, r#"version = "2026-05-25""#, r#"version = "2026-12-24""#).await;
        assert!(said.contains("policy 2026-12-24 of koselfie is not installed; run safelight migrate"), "{said}");
    }
}
