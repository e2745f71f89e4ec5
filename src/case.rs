//! `safelight case`: what people ask for by mail or letter, and until when an answer is due.

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use safelight_jobs::{
    db::{self, Role},
    id::{Case, Id, Subject},
    intake::{self, NewCase},
    queue::Bell,
    run::Tx,
};
use serde_json::json;

use crate::{
    config,
    operator::{confirm, known_tenant},
    process::say,
    words,
};

#[derive(Debug, Args)]
pub(crate) struct CaseCommand {
    #[command(subcommand)]
    what: What,
    /// One JSON document
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    database: config::Database,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Note what was received; the clock runs from then on
    Open {
        /// Of which tenant
        tenant: String,
        /// What is asked for
        #[arg(value_parser = words::case_kinds())]
        kind: String,
        /// How it came
        #[arg(long, default_value = "mail", value_parser = words::channels())]
        channel: String,
        /// When it was received, for example 2026-01-31T10:00:00Z; now if none
        #[arg(long)]
        received: Option<DateTime<Utc>>,
        /// Whom the sender says to be: subject_…
        #[arg(long)]
        subject: Option<Id<Subject>>,
        /// Who you are, as a code
        #[arg(long)]
        by: String,
    },
    /// List open cases, the nearest deadline first
    List {
        /// Closed ones too
        #[arg(long)]
        all: bool,
    },
    /// Say that you know who it is; an erasure begins with that
    Verify {
        /// case_…
        case: Id<Case>,
        /// subject_…
        #[arg(long)]
        subject: Id<Subject>,
        /// Who you are, as a code
        #[arg(long)]
        by: String,
        /// Say yes beforehand, where an erasure begins with it: it is this person, and everything about them is erased
        #[arg(long)]
        yes: bool,
    },
    /// Take two months more; tell the person why before the first is over
    Extend {
        /// case_…
        case: Id<Case>,
        /// Why, as a code
        #[arg(long)]
        why: String,
    },
    /// Close it as answered
    Answer {
        /// case_…
        case: Id<Case>,
    },
    /// Close it without doing what was asked for
    Refuse {
        /// case_…
        case: Id<Case>,
        /// Why, as a code, for example identity_unverified
        #[arg(long)]
        why: String,
    },
}

impl CaseCommand {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let pool = db::connect(self.database.address(), Role::Api, 2).await?;
        if let What::List { all } = self.what {
            return list(&intake::cases(&pool, None, all).await?, self.json);
        }
        if let What::Verify { case, subject, yes, .. } = &self.what {
            let kind = sqlx::query_scalar!("select kind from safelight.cases where id = $1", case.uuid())
                .fetch_optional(&pool)
                .await?;
            if kind.as_deref() == Some("erasure") {
                confirm(*yes, &format!("Is {case} of {subject}? With that everything about them is erased."))?;
            }
        }
        if let What::Open { tenant, .. } = &self.what {
            known_tenant(&pool, tenant).await?;
        }
        let mut tx = Tx::begin(&pool, &Bell::start(pool.clone())).await?;
        let (document, said) = match self.what {
            What::List { .. } => return Ok(()),
            What::Open { tenant, kind, channel, received, subject, by } => {
                let new = NewCase {
                    tenant: &tenant,
                    subject,
                    kind: &kind,
                    channel: &channel,
                    received_at: received,
                    by: &by,
                };
                let (case, due) = intake::open_case(&mut tx, &new).await?;
                let contact = sqlx::query_scalar!("select contact from safelight.tenants where id = $1", tenant)
                    .fetch_one(&mut *tx)
                    .await?;
                let said = format!("{case}  answer due {}, from {contact}", due.format("%Y-%m-%d %H:%M"));
                (json!({ "case": case, "state": "open", "answer_due": due, "contact": contact }), said)
            }
            What::Verify { case, subject, by, .. } => {
                let deletion = intake::verify_case(&mut tx, case, subject, &by).await?;
                let said = match deletion {
                    Some(deletion) => format!("{case} is verified; {deletion} has begun"),
                    None => format!("{case} is verified"),
                };
                (json!({ "case": case, "identity": "verified", "deletion": deletion }), said)
            }
            What::Extend { case, why } => {
                let due = intake::extend_case(&mut tx, case, &why).await?;
                let said = format!("{case}  answer due {}; tell the person why", due.format("%Y-%m-%d %H:%M"));
                (json!({ "case": case, "state": "open", "answer_due": due }), said)
            }
            What::Answer { case } => {
                intake::close_case(&mut tx, case, None).await?;
                (json!({ "case": case, "state": "answered" }), format!("{case} is answered"))
            }
            What::Refuse { case, why } => {
                intake::close_case(&mut tx, case, Some(&why)).await?;
                let said =
                    format!("{case} is refused; tell the person why, and that they may complain to an authority");
                (json!({ "case": case, "state": "refused" }), said)
            }
        };
        tx.commit().await?;
        if self.json {
            say(document);
        } else {
            say(said);
        }
        Ok(())
    }
}

fn list(cases: &[intake::CaseRow], json: bool) -> anyhow::Result<()> {
    if json {
        say(serde_json::to_string_pretty(cases)?);
        return Ok(());
    }
    if cases.is_empty() {
        say("No case is open.");
    }
    for case in cases {
        let late = if case.late { "LATE " } else { "" };
        let objections: String =
            case.objections.iter().map(|one| format!("  {} is {}", one.purpose, one.state)).collect();
        say(format_args!(
            "{}  {:<12} {:<13} {:<10} {:<8} {late}due {}{objections}",
            case.case,
            case.tenant,
            case.kind,
            case.identity,
            case.state,
            case.answer_due.format("%Y-%m-%d %H:%M")
        ));
    }
    Ok(())
}
