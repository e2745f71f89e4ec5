//! A database that is the application's, too: as a project of Supabase, where the login that migrates is no superuser, where each new
//! table of `public` belongs to whoever has the key that stands in every page, and where row security calls functions.

use safelight_jobs::db::{self, Role};
use safelight_sandbox::postgres::{Options, Postgres};
use sqlx::{PgPool, raw_sql};

use crate::{
    app::{App, MASTER_KEY},
    pools::until,
    processes::{Fleet, ends},
};

/// Roles and default privileges of a new project (supabase/postgres, `migrations/db/init-scripts` and `demote-postgres`, read on
/// 2026-11-28), with the login `owner` for Supabase's `postgres`.
const PROJECT: &str = "
    create role anon nologin noinherit;
    create role authenticated nologin noinherit;
    create role service_role nologin noinherit bypassrls;
    create role owner login password 'of-a-test' nosuperuser createdb createrole replication bypassrls;
    grant anon, authenticated, service_role to owner with admin option;
    grant all on schema public to owner;
    grant usage on schema public to anon, authenticated, service_role;
    grant create on database project to owner;
    alter role owner set search_path to '$user', public, extensions;
    alter default privileges for role owner in schema public grant all on tables to anon, authenticated, service_role;
    alter default privileges for role owner in schema public grant all on functions to anon, authenticated, service_role;
    alter default privileges for role owner in schema public grant all on sequences to anon, authenticated, service_role;";

/// What the roles of the application may do with anything of ours.
const GIVEN: &str = "
    select r.rolname || ' ' || what.it from pg_roles r, lateral (
        select n.nspname::text from pg_namespace n
            where n.nspname like 'safelight%' and has_schema_privilege(r.oid, n.oid, 'usage, create')
        union all select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
            where c.relkind in ('r', 'p', 'v') and (n.nspname like 'safelight%' or c.relname = '_sqlx_migrations')
            and has_table_privilege(r.oid, c.oid, 'select, insert, update, delete, truncate, references, trigger')
        union all select p.oid::regprocedure::text from pg_proc p join pg_namespace n on n.oid = p.pronamespace
            where n.nspname like 'safelight%' and has_function_privilege(r.oid, p.oid, 'execute')) what(it)
    where r.rolname in ('anon', 'authenticated', 'service_role')";

/// A new project with nothing of ours; the address of its owner.
async fn project() -> (Postgres, String) {
    let server = Postgres::start(Options { fast: true, ..Default::default() }).await.expect("a private Postgres");
    let administrator = PgPool::connect(&server.create_database("project").await.unwrap()).await.unwrap();
    raw_sql(PROJECT).execute(&administrator).await.unwrap();
    let url = format!("postgres://owner:of-a-test@127.0.0.1:{}/project", server.port());
    (server, url)
}

async fn migrates(url: &str) {
    let migrated =
        ends(&["migrate"], &[("DATABASE_URL", url.to_owned()), ("SAFELIGHT_MASTER_KEY", MASTER_KEY.to_owned())]).await;
    assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
}

async fn given(owner: &PgPool) -> Vec<String> {
    sqlx::query_scalar(GIVEN).fetch_all(owner).await.unwrap()
}

/// By an owner with no more rights than a project's: from payment to delivery, and a month later to the deletion.
#[tokio::test(flavor = "multi_thread")]
async fn in_a_project_whose_owner_is_no_superuser_an_order_is_served_and_its_data_deleted() {
    let (_server, url) = project().await;
    migrates(&url).await;
    migrates(&url).await;
    let app = App::spawn_at(url, |_| {}).await;
    let (_ann, order) = app.pro_order().await;
    let fleet = Fleet::start(&app).await;
    app.pays(order).await;
    until(&app.db, "select count(*) from safelight.orders where state = 'delivered'", 1).await;
    until(&app.db, "select count(*) from safelight.provider_calls where purge <> 'purged'", 0).await;
    until(&app.db, "select count(*) from safelight.notices where sent_at is null", 0).await;
    assert_eq!((app.sandbox.fal.trainings(), app.sandbox.fal.generations()), (1, 12));

    app.turn_clock(chrono::Duration::hours(24 * 31)).await;
    let swept = ends(&["sweep", "retention"], &fleet.environment).await;
    assert!(swept.status.success(), "{swept:?}");
    until(&app.db, "select count(*) from safelight.artifacts", 0).await;
    until(&app.db, "select count(*) from safelight.deletions where state <> 'complete'", 0).await;
    assert_eq!(app.stored_keys(), Vec::<String>::new());
    assert!(app.dead_letters().await.is_empty(), "{:?}", app.dead_letters().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_the_key_of_a_page_has_nothing_of_safelight() {
    let (_server, url) = project().await;
    migrates(&url).await;
    let owner = db::connect(&url, Role::Owner, 1).await.unwrap();
    assert_eq!(given(&owner).await, Vec::<String>::new());
    // What is asked here sees what is there to be seen.
    let leaks = "grant usage on schema safelight to anon; grant select on _sqlx_migrations to authenticated";
    raw_sql(leaks).execute(&owner).await.unwrap();
    let mut shown = given(&owner).await;
    shown.sort();
    assert_eq!(shown, ["anon safelight", "authenticated _sqlx_migrations"]);
}

/// A project cuts statements after two minutes; an index of a large table takes longer.
#[tokio::test(flavor = "multi_thread")]
async fn a_migration_takes_what_it_takes_where_statements_are_cut() {
    let (server, url) = project().await;
    let administrator = PgPool::connect(&server.url("project")).await.unwrap();
    let watched = "alter role owner set statement_timeout = '2min';
        create schema watched; grant usage on schema watched to owner;
        create table watched.limits (said text primary key); grant insert, select on watched.limits to owner;
        create function watched.see() returns event_trigger language plpgsql as $$ begin
            insert into watched.limits values (current_setting('statement_timeout')) on conflict do nothing; end $$;
        create event trigger see on ddl_command_end execute function watched.see()";
    raw_sql(watched).execute(&administrator).await.unwrap();
    migrates(&url).await;
    let limits: Vec<String> =
        sqlx::query_scalar("select said from watched.limits").fetch_all(&administrator).await.unwrap();
    assert_eq!(limits, ["0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_of_the_application_are_called_as_if_safelight_were_not_there() {
    let (_server, url) = project().await;
    migrates(&url).await;
    let owner = db::connect(&url, Role::Owner, 1).await.unwrap();
    let of_the_application = "create schema private; grant usage on schema private to authenticated;
        create function private.is_mine() returns boolean language sql as 'select true'";
    raw_sql(of_the_application).execute(&owner).await.unwrap();
    let mut tx = db::begin(&owner).await.unwrap();
    raw_sql("set local role authenticated").execute(&mut *tx).await.unwrap();
    let mine: bool = sqlx::query_scalar("select private.is_mine()").fetch_one(&mut *tx).await.unwrap();
    assert!(mine);
}

/// Every migration that makes a function says whose it is: without a word Postgres gives it to everybody.
#[tokio::test(flavor = "multi_thread")]
async fn no_function_of_the_schema_is_everybodys() {
    let app = App::spawn().await;
    let everybodys = "select p.oid::regprocedure::text from pg_proc p
        where p.pronamespace::regnamespace::text like 'safelight%' and has_function_privilege('public', p.oid, 'execute')";
    let everybodys: Vec<String> = sqlx::query_scalar(everybodys).fetch_all(&app.db).await.unwrap();
    assert_eq!(everybodys, Vec::<String>::new());
}
