//! A database beyond a network that others listen to: what its address says of TLS is what happens.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use safelight_jobs::db::{self, Role};
use safelight_sandbox::postgres::{Options, Postgres};
use sqlx::{AssertSqlSafe, PgPool, raw_sql};

use crate::{
    app::MASTER_KEY,
    processes::{ends, is_sorry},
};

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut of_its_own = CertificateParams::default();
    of_its_own.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(of_its_own, KeyPair::generate().unwrap()).unwrap()
}

/// A server that speaks TLS, with a certificate of this authority for this name.
async fn server(authority: &CertifiedIssuer<'static, KeyPair>, name: &str) -> Postgres {
    let server = Postgres::start(Options { fast: true, ..Default::default() }).await.expect("a private Postgres");
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, authority).unwrap();
    let administrator = PgPool::connect(&server.admin_url()).await.unwrap();
    // By the server itself, whose user may be another one: it takes no key that others can read.
    let folder = server.folder().display();
    for (file, text) in [("certificate", certificate.pem()), ("key", key.serialize_pem())] {
        let write = format!(
            "copy (select unnest(string_to_array('{}', E'\\n'))) to program 'umask 077; cat > {folder}/tls.{file}'",
            text.trim()
        );
        raw_sql(AssertSqlSafe(write)).execute(&administrator).await.unwrap();
    }
    for setting in [
        format!("ssl_cert_file = '{folder}/tls.certificate'"),
        format!("ssl_key_file = '{folder}/tls.key'"),
        "ssl = on".into(),
    ] {
        raw_sql(AssertSqlSafe(format!("alter system set {setting}"))).execute(&administrator).await.unwrap();
    }
    server.restart().await.unwrap();
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_names_an_authority_leads_to_its_server_only_and_nobody_reads_on_the_way() {
    let (ours, anothers) = (authority(), authority());
    let folder = std::env::temp_dir().join(format!("safelight-authorities-{}", uuid::Uuid::new_v4().simple()));
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("ours"), ours.pem()).unwrap();
    std::fs::write(folder.join("anothers"), anothers.pem()).unwrap();
    let verified = |server: &Postgres, authority: &str| {
        format!("{}?sslmode=verify-full&sslrootcert={}", server.admin_url(), folder.join(authority).display())
    };
    let migrates = async |url: String| {
        ends(&["migrate"], &[("DATABASE_URL", url), ("SAFELIGHT_MASTER_KEY", MASTER_KEY.to_owned())]).await
    };

    let right = server(&ours, "127.0.0.1").await;
    let migrated = migrates(verified(&right, "ours")).await;
    assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
    let pool = db::connect(verified(&right, "ours").as_str(), Role::Owner, 1).await.unwrap();
    let hidden: bool =
        sqlx::query_scalar("select ssl from pg_stat_ssl where pid = pg_backend_pid()").fetch_one(&pool).await.unwrap();
    assert!(hidden, "it speaks TLS");

    is_sorry(&migrates(verified(&right, "anothers")).await, "certificate");
    let of_another_name = server(&ours, "elsewhere.example").await;
    is_sorry(&migrates(verified(&of_another_name, "ours")).await, "certificate");
    let open = Postgres::start(Options { fast: true, ..Default::default() }).await.unwrap();
    is_sorry(&migrates(verified(&open, "ours")).await, "TLS");
    std::fs::remove_dir_all(folder).unwrap();
}
