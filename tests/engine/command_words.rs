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
