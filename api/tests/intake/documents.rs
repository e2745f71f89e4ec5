//! What is written about the intake is what it does: the description, the reference page, and the lines of docs/api.md.

use std::{collections::BTreeMap, path::Path, process::Stdio};

use axum::http::StatusCode;
use safelight_api::tokens::Scope;
use serde_json::Value;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::{
    house::{House, photo},
    persons::SignedIn,
};

fn document() -> Value {
    serde_json::to_value(safelight_api::openapi()).expect("a document")
}

#[test]
fn the_description_in_the_documents_is_the_one_that_is_served() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
    let made = format!("{}\n", serde_json::to_string_pretty(&document()).expect("JSON"));
    if std::env::var_os("SAFELIGHT_WRITE_DOCS").is_some() {
        std::fs::write(&file, &made).expect("written");
    }
    let kept = std::fs::read_to_string(file).expect("docs/openapi.json");
    assert!(
        kept == made,
        "docs/openapi.json is another one: SAFELIGHT_WRITE_DOCS=1 writes it; a change of it is seen by every client"
    );
}

/// The description keeps one body of a name: of two, one would be described as the other.
#[test]
fn no_two_bodies_of_the_description_share_a_name() {
    let mut named = BTreeMap::<String, Vec<String>>::new();
    for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/routes")).expect("the routes") {
        let path = file.expect("a file").path();
        let text = std::fs::read_to_string(&path).expect("text");
        let bodies = text.split("ToSchema)]").skip(1).filter_map(|rest| {
            let declared = rest.split_once("struct ").or_else(|| rest.split_once("enum "))?.1;
            declared.split(|letter: char| !letter.is_alphanumeric()).next()
        });
        for body in bodies {
            named.entry(body.to_owned()).or_default().push(path.display().to_string());
        }
    }
    assert!(named.len() > 40, "{named:?}");
    named.retain(|_, places| places.len() > 1);
    assert!(named.is_empty(), "{named:#?}");
}

#[test]
fn the_description_is_openapi_3_1_and_says_of_each_operation_what_it_takes_and_answers() {
    let document = document();
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")), "{}", document["openapi"]);
    let mut names = Vec::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, said) in methods.as_object().expect("methods") {
            names.push(said["operationId"].as_str().expect("a name").to_owned());
            assert!(said["summary"].as_str().is_some_and(|text| !text.is_empty()), "{method} {path} has a summary");
            let refused =
                said["responses"].as_object().expect("responses").keys().any(|status| status.starts_with('4'));
            assert!(refused || !path.starts_with("/v1/"), "{method} {path} says how it refuses");
        }
    }
    let all = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), all, "no two operations have one name");
}

#[tokio::test]
async fn the_description_names_the_headers_that_are_taken_and_told() {
    let house = House::build().await;
    let token = house.backend("koselfie").await;
    let document = document();
    let named = |said: &Value, name: &str| {
        let of = |known: &Value| known["$ref"].as_str().is_some_and(|at| at.ends_with(&format!("/{name}")));
        said["parameters"].as_array().is_some_and(|all| all.iter().any(of))
    };
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, said) in methods.as_object().expect("methods") {
            let takes = path.starts_with("/v1/") && method == "post";
            assert_eq!(named(said, "idempotency-key"), takes, "{method} {path}");
            assert_eq!(named(said, "if-none-match"), said.to_string().contains("\"name\":\"wait\""), "{method} {path}");
        }
    }
    // What is told is there.
    let subject = house.person(&token).await;
    let order = house.order(&token, subject, "cs_test_headers").await;
    let path = format!("/v1/orders/{order}");
    let answer = house.get(&token, &path).await;
    let told =
        document["paths"]["/v1/orders/{order}"]["get"]["responses"]["200"]["headers"].as_object().expect("headers");
    assert!(told.len() > 4, "{told:?}");
    for (name, at) in told {
        assert!(!answer.header(name).is_empty(), "{name}");
        let at = at["$ref"].as_str().expect("a reference").trim_start_matches('#');
        assert!(document.pointer(at).is_some_and(|known| known["description"].is_string()), "{at}");
    }
}

#[tokio::test]
async fn the_reference_names_every_operation_and_needs_no_network() {
    let house = House::build().await;
    let page = house.get("", "/docs").await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.header("content-security-policy").starts_with("default-src 'none'"));
    let document = document();
    for methods in document["paths"].as_object().expect("paths").values() {
        for said in methods.as_object().expect("methods").values() {
            let name = said["operationId"].as_str().expect("a name");
            assert!(page.text.contains(&format!("id=\"{name}\"")), "{name}");
        }
    }
    for never in ["<script", "http://", "https://", "style=\""] {
        assert!(!page.text.contains(never), "{never}");
    }
}

/// Where `NAME` is its `field` stands: both.
fn taken(line: &str) -> Vec<(String, String)> {
    line.split('`')
        .collect::<Vec<_>>()
        .windows(3)
        .filter(|three| three[1].trim() == "is its")
        .map(|three| (three[0].to_owned(), three[2].to_owned()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_curl_line_of_the_documents_works() {
    let house = House::build().await;
    let token = house.backend("haloprofile").await;
    let subject = house.person(&token).await;
    let order = house.order(&token, subject, "cs_test_documents").await;
    let operator = house.token(None, &[Scope::Operate]).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    let stop = CancellationToken::new();
    let server = tokio::spawn(safelight_api::serve(listener, house.app.clone(), stop.clone()));
    let file = std::env::temp_dir().join(format!("safelight-photo-{}.png", uuid::Uuid::new_v4().simple()));
    std::fs::write(&file, photo()).expect("a photo");
    let mut known: BTreeMap<String, String> = [
        ("SAFELIGHT", address),
        ("TOKEN", token),
        ("OPERATOR", operator),
        ("SIGN_IN", SignedIn::at(&house, "koselfie", "documents").await.jwt),
        ("ORDER", order.to_string()),
        ("PHOTO", file.display().to_string()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect();

    let text =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/api.md")).expect("docs/api.md");
    let (mut ran, mut answer) = (0, Value::Null);
    for part in text.split("```sh\n").skip(1) {
        let (lines, rest) = part.split_once("```").expect("a block ends");
        let output =
            Command::new("bash").arg("-c").arg(lines).envs(&known).stdin(Stdio::null()).output().await.expect("bash");
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{lines}{out}{}", String::from_utf8_lossy(&output.stderr));
        if !out.is_empty() {
            answer = serde_json::from_str(&out).unwrap_or(Value::Null);
        }
        for (name, field) in taken(rest) {
            let value = answer[&field].as_str().unwrap_or_else(|| panic!("no {field} in {out}")).to_owned();
            known.insert(name, value);
        }
        ran += 1;
    }
    assert!(ran > 14, "the lines were found: {ran}");
    std::fs::remove_file(file).expect("removed");
    stop.cancel();
    server.await.expect("it ends").expect("well");
}

#[tokio::test]
async fn every_sql_block_of_the_documents_works_for_a_role_that_reads_no_job() {
    let house = House::build().await;
    let token = house.backend("haloprofile").await;
    let subject = house.person(&token).await;
    let order = house.order(&token, subject, "cs_test_sql").await;
    let text =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/api.md")).expect("docs/api.md");
    let role = format!("shop_{}", uuid::Uuid::new_v4().simple());
    let filled = |block: &str| {
        block
            .replace("ORDER_ID", &order.uuid().to_string())
            .replace("ORDER", &order.to_string())
            .replace(" shop;", &format!(" {role};"))
    };
    let blocks: Vec<String> = text
        .split("```sql\n")
        .skip(1)
        .filter_map(|part| part.split_once("```"))
        .map(|(block, _)| filled(block))
        .collect();
    assert_eq!(blocks.len(), 3, "the rights, one job, many jobs");
    house.run(&blocks[0]).await;
    let as_shop = format!("grant {role} to current_user; set role {role};");
    for _ in 0..2 {
        for block in &blocks[1..] {
            house.run(&format!("{as_shop} {block}; reset role;")).await;
        }
        let about = format!(
            "from safelight.jobs where kind = 'confirm_payment' and order_id = '{}' and subject_id = '{}' and tenant = 'haloprofile'",
            order.uuid(),
            subject.uuid()
        );
        assert_eq!(house.count(&about).await, 3, "each once, however often it is asked for");
    }
    let other = blocks[1].replace("\"evt_7\"", "\"evt_0\"").replace("begin;", "").replace("commit;", "");
    let asked = other.trim().trim_start_matches("-- ... your own rows ...").trim().trim_end_matches(';').to_owned();
    let (job, already, conflict): (Option<uuid::Uuid>, bool, bool) =
        sqlx::query_as(sqlx::AssertSqlSafe(asked)).fetch_one(&house.owner).await.expect("an answer");
    assert_eq!((job, already, conflict), (None, false, true));
    for table in ["jobs", "dead_letters", "accounts", "subject_keys"] {
        let looks = format!("{as_shop} select * from safelight.{table} limit 1");
        let mut connection = house.owner.acquire().await.expect("a connection");
        let refused = sqlx::raw_sql(sqlx::AssertSqlSafe(looks)).execute(&mut *connection).await;
        assert!(refused.is_err_and(|error| error.to_string().contains("permission denied")), "{table}");
        let _ = sqlx::raw_sql("reset role").execute(&mut *connection).await;
    }
    house.run(&format!("drop owned by {role}; drop role {role}")).await;
}
