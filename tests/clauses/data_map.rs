//! The data map is the whole truth: the catalog of a migrated database has no column that it does not know, and the register
//! is drawn from it.

use std::collections::BTreeSet;

use safelight_jobs::{data_map::DataMap, id::Id, policy::Policy, register::Register};

use crate::app::App;

/// Columns of base tables of ours; partitions are their parent.
async fn catalog(app: &App) -> BTreeSet<String> {
    let columns: Vec<String> = sqlx::query_scalar(
        "select c.table_schema || '.' || c.table_name || '.' || c.column_name
        from information_schema.columns c join pg_class r on r.oid = format('%I.%I', c.table_schema, c.table_name)::regclass
        where c.table_schema not in ('pg_catalog', 'information_schema') and r.relkind in ('r', 'p') and not r.relispartition
            and r.relname <> '_sqlx_migrations'",
    )
    .fetch_all(&app.db)
    .await
    .unwrap();
    columns.into_iter().collect()
}

fn declared(map: &DataMap) -> BTreeSet<String> {
    map.tables().iter().flat_map(|table| table.columns().map(|column| format!("{}.{column}", table.name))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_column_is_declared_as_personal_with_its_class_or_as_not_personal_with_a_reason() {
    let app = App::spawn().await;
    let declared = declared(&DataMap::bundled().unwrap());
    let there = catalog(&app).await;
    let undeclared: Vec<_> = there.difference(&declared).collect();
    assert_eq!(undeclared, Vec::<&String>::new(), "declare them in data-map.toml");
    let gone: Vec<_> = declared.difference(&there).collect();
    assert_eq!(gone, Vec::<&String>::new(), "data-map.toml declares what is not there");
    // What the next migration might bring.
    sqlx::raw_sql("alter table safelight.accounts add column phone text; create table safelight.diary (entry text)")
        .execute(&app.db)
        .await
        .unwrap();
    let there = catalog(&app).await;
    let undeclared: Vec<_> = there.difference(&declared).map(String::as_str).collect();
    assert_eq!(undeclared, ["safelight.accounts.phone", "safelight.diary.entry"]);
}

/// The worker itself asks what is left: every condition of the map is one that its role may ask.
#[tokio::test(flavor = "multi_thread")]
async fn h17_the_map_finds_everything_of_a_person_and_nothing_after_the_erasure() {
    let app = App::spawn().await;
    let map = DataMap::bundled().unwrap();
    let (ann, order) = app.pro_order().await;
    app.fulfils(order).await;
    let mut reads = app.worker.acquire().await.unwrap();
    assert_eq!(map.left(&mut reads, Id::new()).await.unwrap(), []);
    let found: BTreeSet<String> =
        map.holds(&mut reads, ann.id).await.unwrap().into_iter().map(|found| found.table).collect();
    for table in
        ["accounts", "artifacts", "embeddings", "similarities", "orders", "notices", "jobs_archive", "subject_keys"]
    {
        assert!(found.contains(&format!("safelight.{table}")), "{table} is not found: {found:?}");
    }
    drop(reads);
    let deletion = app.erases(&ann).await;
    app.waits_out_late_writers().await;
    assert_eq!(app.deletion_state(deletion).await, "complete");
    assert_eq!(map.left(&mut app.worker.acquire().await.unwrap(), ann.id).await.unwrap(), []);
}

#[test]
fn h22_k31_k36_the_register_says_what_the_policy_says_and_where_each_class_lies() {
    let map = DataMap::bundled().unwrap();
    let registers: Vec<Register> =
        Policy::bundled().unwrap().iter().map(|policy| Register::draw(policy, &map)).collect();
    let [halo, ko] = &registers[..] else { panic!("two tenants") };
    let class = |register: &Register, name: &str| register.data.iter().find(|data| data.class == name).cloned();
    assert!(class(halo, "embedding").is_none(), "it never exists there");
    let embedding = class(ko, "embedding").unwrap();
    assert!(embedding.special_category);
    assert!(embedding.places.iter().any(|place| place.place == "safelight.embeddings.vector_sealed" && place.sealed));
    for register in &registers {
        for data in &register.data {
            assert!(!data.places.is_empty(), "{}: nobody knows where {} lies", register.tenant, data.class);
            assert!(data.places.iter().all(|place| !place.erasure.is_empty()));
        }
        assert!(register.recipients.iter().all(|one| !one.region.is_empty() && !one.safeguards.is_empty()));
    }
    assert!(ko.accepted_gaps.iter().any(|gap| gap.starts_with("D7")), "the gap is shown");
    let train = ko.activities.iter().find(|activity| activity.purpose == "train").unwrap();
    assert_eq!((train.basis, &train.consent_at[..]), ("consent", &["checkout"][..]));
    let page = safelight_api::register_page(&registers);
    for word in [ko.controller.as_str(), halo.contact.as_str(), "special category", "D7"] {
        assert!(page.contains(word), "the page lacks {word}");
    }
}
