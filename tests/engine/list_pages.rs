//! Lists of the command line go on where the page before ended, whatever has become of its rows.

use serde_json::Value;

use crate::app::App;

/// All of a list, one row a page.
async fn turned(app: &App, words: &[&str], flag: &str, list: &str) -> Vec<Value> {
    let mut rows = Vec::new();
    let mut next: Option<String> = None;
    loop {
        let place = next.iter().flat_map(|place| [flag, place.as_str()]);
        let typed: Vec<&str> = words.iter().copied().chain(["--most", "1", "--json"]).chain(place).collect();
        let page = app.prints(&typed).await;
        rows.extend(page[list].as_array().unwrap().iter().cloned());
        match page["next"].as_str() {
            Some(place) => next = Some(place.to_owned()),
            None => return rows,
        }
        assert!(rows.len() < 20, "{words:?} never ends");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_list_of_the_command_line_goes_on_where_the_page_before_ended() {
    let app = App::spawn().await;
    for name in ["one", "two", "three"] {
        app.prints(&["token", "create", name, "--scopes", "read", "--json"]).await;
        let ann = app.person("koselfie").await;
        let subject = ann.id.to_string();
        for kind in ["access", "erasure"] {
            app.prints(&["case", "open", "koselfie", kind, "--by", "ops_1", "--json"]).await;
        }
        app.prints(&["objection", "note", &subject, "nsfw", "--by", "ops_1", "--json"]).await;
        app.prints(&["export", "ask", &subject, "--why", "access_by_mail", "--by", "ops_1", "--json"]).await;
        app.erases(&app.person("koselfie").await).await;
        app.erases(&ann).await;
    }
    // Half of them finished in the same moment, which no deletion does by a word.
    let finished = "alter table safelight.deletions disable trigger user; update safelight.deletions set state = 'complete', completed_at = (select max(requested_at) from safelight.deletions)
        where id in (select id from safelight.deletions order by id limit 3)";
    sqlx::raw_sql(finished).execute(&app.db).await.unwrap();
    for (words, flag, list, rows) in [
        (["token", "list"].as_slice(), "--after", "tokens", 3),
        (&["case", "list"], "--after", "cases", 6),
        (&["case", "list", "--all"], "--after", "cases", 6),
        (&["objection", "list", "--all"], "--after", "objections", 3),
        (&["export", "list"], "--before", "exports", 3),
        (&["deletions", "list"], "--after", "deletions", 3),
        (&["deletions", "list", "--finished"], "--after", "deletions", 3),
        (&["audit", "acts", "--actor", "cli:ops_1"], "--before", "acts", 15),
    ] {
        let whole = app.prints(&[words, &["--most", "1000", "--json"]].concat()).await;
        assert_eq!((whole[list].as_array().map(Vec::len), &whole["next"]), (Some(rows), &Value::Null), "{words:?}");
        assert_eq!(Value::from(turned(&app, words, flag, list).await), whole[list], "{words:?}");
    }
    let (code, out, remark) = app.types(&["case", "list", "--most", "2"]).await;
    assert_eq!((code, out.lines().count()), (0, 2), "{out}");
    assert!(remark.starts_with("later deadlines: --after "), "{remark}");
}
