//! What the command line takes and refuses, what a shell offers, and what the manual says of it.

use crate::app::App;

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_is_not_there_is_refused_with_those_there_are() {
    let app = App::spawn().await;
    for words in [
        ["case", "open", "kosefie", "erasure", "--by", "ops_1"].as_slice(),
        &["policy", "show", "kosefie"],
        &["register", "--tenant", "kosefie"],
        &["token", "create", "a backend", "--tenant", "kosefie", "--scopes", "read"],
    ] {
        let (code, out, complaint) = app.types(words).await;
        assert_eq!((code, out.as_str()), (5, ""), "{words:?}: {complaint}");
        assert!(complaint.contains("there is no tenant `kosefie`; there are: "), "{words:?}: {complaint}");
        assert!(complaint.contains("haloprofile, koselfie"), "{words:?}: {complaint}");
    }
    assert_eq!(app.count("select count(*) from safelight.cases").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_called_what_may_stand_in_the_trail() {
    let app = App::spawn().await;
    let create = async |name: &str| app.types(&["token", "create", name, "--scopes", "read"]).await;
    let long = "n".repeat(129);
    for name in ["", "  ", "ann@example.org", "ops\nops_2", "ops\u{7}", "ops/1", "jürgen", &long] {
        let (code, out, complaint) = create(name).await;
        assert_eq!((code, out.as_str()), (2, ""), "{name:?}: {complaint}");
        assert!(complaint.contains("a token's name is 1 to 128 letters, digits, blanks and"), "{name:?}: {complaint}");
    }
    assert_eq!(app.count("select count(*) from safelight.tokens").await, 0, "none was made");
    for name in ["web backend", "ops_1", "shop.example: 2nd-line"] {
        let (code, _, complaint) = create(name).await;
        assert_eq!(code, 0, "{name}: {complaint}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_made_for_ten_years_at_the_most() {
    let app = App::spawn().await;
    let create =
        async |days: &str| app.types(&["token", "create", "a night", "--scopes", "read", "--days", days]).await;
    for days in ["3651", "2147483647"] {
        let (code, _, complaint) = create(days).await;
        assert_eq!(code, 2, "{complaint}");
        assert!(complaint.contains("a token is made for 1 to 3650 days"), "{days}: {complaint}");
    }
    assert_eq!((create("99999999999").await.0, create("0").await.0), (2, 2));
    assert_eq!(app.count("select count(*) from safelight.tokens").await, 0, "none was made");
    assert_eq!(create("3650").await.0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manual_names_what_a_command_reads_from_its_environment() {
    let app = App::spawn().await;
    let folder = std::env::temp_dir().join(format!("safelight-manual-{}", uuid::Uuid::new_v4().simple()));
    let (code, first, complaint) = app.types(&["manual"]).await;
    assert_eq!(code, 0, "{complaint}");
    assert_eq!(app.types(&["manual", folder.to_str().unwrap()]).await.0, 0);
    let read = |name: &str| std::fs::read_to_string(folder.join(format!("{name}.1"))).unwrap();
    let section = |page: &str| page.split_once(".SH ENVIRONMENT").unwrap().1.replace("\\-", "-");
    // The first page names all of them, in its folder and where it is printed.
    for page in [first, read("safelight")] {
        let section = section(&page);
        for name in ["DATABASE_URL", "SAFELIGHT_MASTER_KEY", "SAFELIGHT_LOG", "STRIPE_WEBHOOK_SECRET", "S3_BUCKET"] {
            assert!(section.contains(name), "{name}: {section}");
        }
        assert!(section.contains("64 hexadecimal digits: the key that wraps the keys of persons"), "{section}");
    }
    let (worker, jobs) = (section(&read("safelight-worker")), section(&read("safelight-jobs-hold")));
    assert!(worker.contains("SAFELIGHT_QUEUES") && !worker.contains("STRIPE_WEBHOOK_SECRET"), "{worker}");
    assert!(jobs.contains("USER") && !jobs.contains("SAFELIGHT_QUEUES"), "{jobs}");
    std::fs::remove_dir_all(folder).unwrap();
}
