//! The house that the demo runs in: Postgres, stand-ins, the intake and the worker, and their end.

use std::{path::PathBuf, process::Stdio, time::Duration};

use anyhow::{Context, bail};
use rand::RngCore;
use safelight_api::tokens::{self, Scope};
use safelight_evidence::Signer;
use safelight_jobs::{
    db::{self, Role},
    policy::Policy,
    policy_rows,
};
use safelight_sandbox::{Options, Sandbox, fal::Oddities, postgres, postgres::Postgres};
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};
use tokio::{
    process::{Child, Command},
    sync::Mutex,
};
use tokio_util::sync::CancellationToken;

use crate::{
    process::{STOP_WITH_STDIN, say},
    sandbox::environment,
};

/// How long work takes at the stand-in of Fal.
const FAL_TAKES: Duration = Duration::from_millis(500);

/// Everything that runs.
pub(crate) struct House {
    /// As the owner.
    pub(crate) db: PgPool,
    /// The providers' stand-ins.
    pub(crate) sandbox: Sandbox,
    /// Where the intake listens.
    pub(crate) url: String,
    /// Bearer of the sweep endpoints.
    pub(crate) cron_secret: String,
    /// One token a tenant.
    pub(crate) tokens: [(&'static str, String); 2],
    /// A token of the whole house, for the console.
    pub(crate) operator: String,
    environment: Vec<(&'static str, String)>,
    api: Mutex<Option<Child>>,
    worker: Mutex<Option<Child>>,
    folder: PathBuf,
    /// A database in somebody else's Postgres that we made and will drop.
    borrowed: Option<(String, String)>,
    _postgres: Option<Postgres>,
}

impl House {
    pub(crate) async fn open(database_url: Option<&str>) -> anyhow::Result<Self> {
        let (postgres, database, borrowed) = match database_url {
            Some(url) => {
                let name = format!("safelight_demo_{}", std::process::id());
                let mut admin =
                    PgConnection::connect(url).await.context("the Postgres in DATABASE_URL does not let us in")?;
                sqlx::query(AssertSqlSafe(format!(r#"create database "{name}""#))).execute(&mut admin).await?;
                let mut own = url::Url::parse(url)?;
                own.set_path(&name);
                (None, own.to_string(), Some((url.to_owned(), name)))
            }
            None => {
                let postgres = Postgres::start(postgres::Options::default()).await?;
                let url = postgres.create_database("safelight").await?;
                (Some(postgres), url, None)
            }
        };
        let db = db::connect(&database, Role::Owner, 4).await?;
        db::migrate(&db).await?;
        for policy in Policy::bundled()? {
            policy_rows::install(&db, &policy).await?;
        }

        // Beside the private server's data: what ends the server takes the objects away, too.
        let folder = match &postgres {
            Some(postgres) => postgres.folder().join("objects"),
            None => std::env::temp_dir().join(format!("safelight-demo-{}", std::process::id())),
        };
        let port = free_port()?;
        let url = format!("http://127.0.0.1:{port}");
        let mut options = Options::new(&folder);
        options.fal_delay = FAL_TAKES;
        // Each picture in work holds the decoded photos of its training.
        options.fal_concurrency = 3;
        options.fal_oddities = Oddities { nobody_at: Some(5), nsfw_at: Some(8) };
        options.stripe_webhook_url = Some(format!("{url}/webhooks/stripe"));
        let sandbox = Sandbox::start(options).await?;

        let all = [Scope::Enqueue, Scope::Read];
        let ko = tokens::create(&db, Some("koselfie"), "demo backend", &all).await?;
        let halo = tokens::create(&db, Some("haloprofile"), "demo backend", &all).await?;
        let operator = tokens::create(&db, None, "demo operator", &[Scope::Operate, Scope::Read]).await?;
        let cron_secret = secret();
        let mut env = environment(&sandbox.description());
        env.push(("DATABASE_URL", database));
        env.push(("SAFELIGHT_MASTER_KEY", secret()));
        env.push(("SAFELIGHT_PUBLIC_URL", url.clone()));
        env.push(("SAFELIGHT_LISTEN", format!("127.0.0.1:{port}")));
        env.push(("CRON_SECRET", cron_secret.clone()));
        let mut log_key = [0; 32];
        rand::rngs::OsRng.fill_bytes(&mut log_key);
        env.push(("SAFELIGHT_LOG_KEY", Signer::new("demo.example/audit", &log_key)?.secret_text()));
        env.push(("SAFELIGHT_CHECKPOINT_DIR", folder.join("checkpoints").display().to_string()));
        env.push(("SAFELIGHT_CHECKPOINT_SECONDS", "1".to_owned()));
        // glibc keeps freed memory in an arena a thread, and faces are measured on many threads in turn.
        env.push(("MALLOC_ARENA_MAX", "2".to_owned()));
        env.push(("SAFELIGHT_LEASE_SECONDS", "4".to_owned()));
        env.push((
            "SAFELIGHT_LOG",
            std::env::var_os("SAFELIGHT_LOG")
                .map_or_else(|| "error".to_owned(), |log| log.to_string_lossy().into_owned()),
        ));

        let house = Self {
            db,
            sandbox,
            url,
            cron_secret,
            tokens: [("koselfie", ko.expose().to_owned()), ("haloprofile", halo.expose().to_owned())],
            operator: operator.expose().to_owned(),
            environment: env,
            api: Mutex::default(),
            worker: Mutex::default(),
            folder,
            borrowed,
            _postgres: postgres,
        };
        *house.api.lock().await = Some(house.spawn(&["api"])?);
        *house.worker.lock().await = Some(house.spawn(&["worker", "--with-cron"])?);
        house.wait_for_the_intake().await?;
        Ok(house)
    }

    fn spawn(&self, arguments: &[&str]) -> anyhow::Result<Child> {
        let program = std::env::current_exe().context("this program does not know where it is")?;
        let mut command = Command::new(program);
        command.args(arguments).env_remove("PORT").envs(self.environment.iter().map(|(name, value)| (name, value)));
        // They end with the demo, also when it is killed: their standard input ends with it.
        command.env(STOP_WITH_STDIN, "1").stdin(Stdio::piped()).stdout(Stdio::null()).kill_on_drop(true);
        command.spawn().with_context(|| format!("`safelight {}` could not be started", arguments.join(" ")))
    }

    async fn wait_for_the_intake(&self) -> anyhow::Result<()> {
        let http = reqwest::Client::new();
        for _ in 0..200 {
            if let Some(child) = self.api.lock().await.as_mut()
                && let Some(status) = child.try_wait()?
            {
                bail!("the intake ended at once ({status})");
            }
            if http.get(format!("{}/ready", self.url)).send().await.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("the intake did not come up within ten seconds")
    }

    /// `kill -9` for the worker, and another one.
    pub(crate) async fn kill_the_worker(&self) -> anyhow::Result<()> {
        let mut worker = self.worker.lock().await;
        if let Some(mut child) = worker.take() {
            child.kill().await?;
        }
        *worker = Some(self.spawn(&["worker", "--with-cron"])?);
        Ok(())
    }

    /// Turn the clock of the whole house and of the stand-ins.
    pub(crate) async fn turn_clock(&self, by: chrono::Duration) -> anyhow::Result<()> {
        sqlx::query(
            "insert into safelight.clock (shift) values (make_interval(secs => $1))
             on conflict (only_row) do update set shift = safelight.clock.shift + excluded.shift",
        )
        .bind(by.num_milliseconds() as f64 / 1000.0)
        .execute(&self.db)
        .await?;
        self.sandbox.turn_clock(by);
        Ok(())
    }

    /// Until the person at the keyboard has seen enough.
    pub(crate) async fn leave_open(&self, stop: &CancellationToken) {
        say(format_args!("\nThe console stays open: {}/console", self.url));
        say(format_args!("Sign in with this token: {}", self.operator));
        say("End it with Ctrl-C.");
        stop.cancelled().await;
    }

    /// Stop everything and leave nothing behind.
    pub(crate) async fn close(self) {
        for child in [&self.worker, &self.api] {
            if let Some(child) = child.lock().await.as_mut() {
                let _ = child.kill().await;
            }
        }
        self.sandbox.stop().await;
        self.db.close().await;
        let _ = std::fs::remove_dir_all(&self.folder);
        if let Some((admin, name)) = self.borrowed
            && let Ok(mut admin) = PgConnection::connect(&admin).await
        {
            let _ =
                sqlx::query(AssertSqlSafe(format!(r#"drop database "{name}" with (force)"#))).execute(&mut admin).await;
        }
    }
}

fn free_port() -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn secret() -> String {
    let mut bytes = [0_u8; 32];
    rand::rngs::OsRng.fill_bytes(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
