//! What the command line takes and refuses, what a shell offers, and what the manual says of it.

use serde_json::{Value, json};

use crate::{
    app::App,
    processes::{ends, environment},
};

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

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_offers_the_words_that_an_argument_takes() {
    let app = App::spawn().await;
    let script = async |shell: &str| app.types(&["completions", shell]).await.1;
    let (bash, zsh, fish) = (script("bash").await, script("zsh").await, script("fish").await);
    let states = "ready running held scheduled set_aside dead done cancelled";
    let after = |command: &str, option: &str| {
        let part = bash.split(&format!("\n        {command})\n")).nth(1).unwrap_or_else(|| panic!("{command}"));
        let case = part.split(&format!(" {option})\n")).nth(1).unwrap_or_else(|| panic!("{option}"));
        case.trim_start().lines().next().unwrap().to_owned()
    };
    for (command, option, words) in [
        ("safelight__subcmd__jobs__subcmd__list", "--state", states),
        ("safelight__subcmd__jobs__subcmd__hold", "--queue", "payments training generation"),
        ("safelight__subcmd__jobs__subcmd__hold", "--kind", "train_model"),
        ("safelight__subcmd__dead__subcmd__list", "--kind", "train_model"),
        ("safelight__subcmd__token__subcmd__create", "--scopes", "enqueue read operate sweep audit"),
        ("safelight__subcmd__case__subcmd__open", "--channel", "mail product letter"),
        ("safelight__subcmd__worker", "--queues", "payments training generation"),
    ] {
        let offered = after(command, option);
        assert!(offered.contains("compgen -W") && offered.contains(words), "{command} {option}: {offered}");
    }
    for words in [states, "payments training generation faces notices deletion sweeps"] {
        assert!(zsh.contains(words), "{words}");
        for word in words.split(' ') {
            assert!(fish.contains(&format!("{word}\\t''")), "{word}");
        }
    }
    // What has no option stands among the words of its command.
    let pause = bash.split("\n        safelight__subcmd__control__subcmd__pause)\n").nth(1).unwrap();
    let pause = pause.lines().next().unwrap();
    assert!(["training", "train_model", "fal"].iter().all(|name| pause.contains(&format!(" {name} "))), "{pause}");
    let (_, help, _) = app.types(&["jobs", "list", "--help"]).await;
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(help.contains(&states.replace(' ', ", ")), "{help}");
    for (words, says) in [
        (["jobs", "list", "--state", "asleep"], "a state is one of: ready, running,"),
        (["jobs", "list", "--queue", "asleep"], "no queue is named `asleep`; there are payments, training,"),
    ] {
        let (code, _, complaint) = app.types(&words).await;
        assert!(code == 2 && complaint.contains(says), "{words:?}: {complaint}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_jobs_says_of_one_that_is_set_aside_how_that_stands_which_it_waits_for() {
    let app = App::spawn().await;
    sqlx::raw_sql(
        "insert into safelight.controls (scope, name, paused, most) values ('kind', 'train_model', true, null), ('kind', 'send_notice', false, 1)
            on conflict (scope, name) do update set paused = excluded.paused, most = excluded.most;
        insert into safelight.jobs (id, queue, kind, payload, tenant, state, run_at, rank, max_attempts, created_at, why)
        select safelight.uuid_v7(), 'training', kind, '{}', 'koselfie', state, now(), now(), 5, now(), why from (values
            ('train_model', 4, 'kind:train_model'), ('train_model', 4, 'kind:train_model'), ('send_notice', 4, 'kind:send_notice'),
            ('delete_data', 3, 'kind:train_model'), ('measure_selfies', 0, null)) j(kind, state, why)",
    )
    .execute(&app.db)
    .await
    .unwrap();
    let listed = app.prints(&["jobs", "list", "--json"]).await;
    let of = |kind: &str| -> Vec<&Value> {
        listed["jobs"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|job| job["kind"] == kind)
            .map(|job| &job["set_aside"])
            .collect()
    };
    assert_eq!(of("train_model"), [&json!("paused"), &json!("paused")]);
    assert_eq!(of("send_notice"), [&json!("full")]);
    assert_eq!((of("delete_data"), of("measure_selfies")), (vec![&Value::Null], vec![&Value::Null]), "not set aside");
    let (_, out, _) = app.types(&["jobs", "list", "--state", "set_aside"]).await;
    assert_eq!(out.matches("set_aside  kind:train_model paused").count(), 2, "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_help_of_yes_says_to_what_one_says_it() {
    let app = App::spawn().await;
    for (words, says) in [
        (["dead", "redrive"].as_slice(), "`discard` always asks, `redrive` with --all"),
        (&["job", "cancel"], "it leaves the queue"),
        (&["job", "discard"], "nobody can redrive it"),
        (&["jobs", "hold"], "how many match"),
        (&["case", "verify"], "everything about them is erased"),
        (&["delete", "photo"], "does not come back"),
        (&["provider", "resolve"], "the provider is asked once more"),
        (&["refund"], "the money is given back"),
        (&["token", "rotate"], "--keep-hours 0"),
        (&["token", "revoke"], "turned away"),
        (&["objection", "decide"], "what was done for it goes"),
        (&["policy", "announce"], "everybody is mailed"),
        (&["restore", "replay"], "erased and withdrawn again"),
    ] {
        let (code, help, _) = app.types(&[words, &["--help"]].concat()).await;
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(code == 0 && help.contains("--yes Say yes beforehand") && help.contains(says), "{words:?}: {help}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_policies_keys_and_the_ledger_say_is_printed_for_machines_with_the_fields_of_the_table() {
    let app = App::spawn().await;
    let ann = app.person("koselfie").await.id;
    let checked = app.prints(&["policy", "check", "--json"]).await;
    let ko = checked["policies"].as_array().unwrap().iter().find(|one| one["tenant"] == "koselfie").unwrap().clone();
    assert!(ko["accepted_gaps"].is_u64(), "{ko}");
    let shown = app.prints(&["policy", "show", "koselfie", "--json"]).await;
    assert_eq!((&shown["tenant"], &shown["version"]), (&json!("koselfie"), &ko["version"]));
    for list in ["purposes", "processors", "rules", "retention"] {
        assert!(!shown[list].as_array().unwrap().is_empty(), "{list}: {shown}");
    }
    let upload = shown["retention"].as_array().unwrap().iter().find(|one| one["class"] == "upload").unwrap();
    assert!(upload["stays"].is_string() && upload["hours"].is_u64() && upload["from"].is_string(), "{upload}");
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/policies/koselfie.toml");
    assert_eq!(app.prints(&["policy", "diff", file, file, "--json"]).await, json!({ "changes": [] }));
    let status = app.prints(&["policy", "status", "--json"]).await;
    let ko = status["policies"].as_array().unwrap().iter().find(|one| one["tenant"] == "koselfie").unwrap();
    assert_eq!((&ko["in_force"], &ko["version"]), (&json!(true), &shown["version"]));

    let folder = std::env::temp_dir().join(format!("safelight-ledger-{}", uuid::Uuid::new_v4().simple()));
    std::fs::create_dir_all(&folder).unwrap();
    let mut settings = environment(&app, "http://127.0.0.1:1");
    settings.push(("SAFELIGHT_LEDGER_DIR", folder.to_str().unwrap().to_owned()));
    let says = async |words: &[&str]| -> (i32, Value) {
        let ended = ends(words, &settings).await;
        let complaint = String::from_utf8_lossy(&ended.stderr).into_owned();
        let document =
            serde_json::from_slice(&ended.stdout).unwrap_or_else(|error| panic!("{words:?}: {error}: {complaint}"));
        (ended.status.code().unwrap(), document)
    };
    let (code, keys) = says(&["key", "status", "--json"]).await;
    assert_eq!((code, keys["keys"].as_array().unwrap().len()), (0, 1), "{keys}");
    assert_eq!((&keys["keys"][0]["current"], &keys["keys"][0]["persons"]), (&json!(true), &json!(1)), "{keys}");
    let (code, check) = says(&["restore", "check", "--json"]).await;
    assert_eq!(code, 0, "{check}");
    for (field, value) in [("entries", json!(0)), ("missing", json!([])), ("strangers", json!(0)), ("lost", json!(0))] {
        assert_eq!(check[field], value, "{field}: {check}");
    }
    // One that the database does not know: it is named, and the code says that something is to be done.
    std::fs::write(folder.join(format!("000000000001_koselfie_{}_erasure", ann.uuid().simple())), "").unwrap();
    let (code, check) = says(&["restore", "check", "--unsigned", "--json"]).await;
    let missing = json!([{ "what": "erasure", "tenant": "koselfie", "subject": ann }]);
    assert_eq!((code, &check["missing"]), (1, &missing), "{check}");
    std::fs::remove_dir_all(folder).unwrap();
}
