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
