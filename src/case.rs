//! `safelight case`: what people ask for by mail or letter, and until when an answer is due. Who does something about a case, and why,
//! is kept in the transaction that does it.

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use safelight_jobs::{
    db::{self, Role},
    id::{Case, Id, Subject},
    intake::{self, CaseRow, IntakeError, NewCase},
    place::Place,
    queue::{self, Bell},
    run::Tx,
};
use serde_json::json;

use crate::{
    config,
    lists::{self, Most},
    operator::{coded, confirm, known_tenant, said},
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
        #[command(flatten)]
        who: WhoAndWhy,
    },
    /// List open cases, the nearest deadline first
    List {
        /// Closed ones too
        #[arg(long)]
        all: bool,
        /// What stands behind this place: where the page before ended
        #[arg(long)]
        after: Option<Place>,
        #[command(flatten)]
        most: Most,
    },
    /// Say that you know who it is; an erasure begins with that
    Verify {
        /// case_…
        case: Id<Case>,
        /// subject_…
        #[arg(long)]
        subject: Id<Subject>,
        #[command(flatten)]
        who: WhoAndWhy,
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
        #[command(flatten)]
        by: ByCode,
    },
    /// Close it as answered
    Answer {
        /// case_…
        case: Id<Case>,
        #[command(flatten)]
        who: WhoAndWhy,
    },
    /// Close it without doing what was asked for
    Refuse {
        /// case_…
        case: Id<Case>,
        /// Why, as a code, for example identity_unverified
        #[arg(long)]
        why: String,
        #[command(flatten)]
        by: ByCode,
    },
}

#[derive(Debug, Args)]
struct ByCode {
    /// Who you are, as a code
    #[arg(long, env = "SAFELIGHT_OPERATOR")]
    by: String,
}

#[derive(Debug, Args)]
struct WhoAndWhy {
    #[command(flatten)]
    by: ByCode,
    /// Why, in a few words, without anything about a person; stored with who acts. An erasure asks for it
    #[arg(long)]
    why: Option<String>,
}

/// What is kept of an act: its name and outcome, of which case, by whom and why.
struct Kept {
    action: &'static str,
    outcome: &'static str,
    case: Id<Case>,
    by: String,
    why: String,
}

impl Kept {
    fn decided(outcome: &'static str, case: Id<Case>, by: String, why: String) -> Self {
        Self { action: "case.decided", outcome, case, by, why }
    }

    /// In the transaction of the act.
    async fn keep(&self, tx: &mut Tx) -> anyhow::Result<()> {
        if !intake::is_code(&self.by) {
            let why = "`by` is a code of 3 to 64 small letters, digits and underscores, without names".to_owned();
            return Err(IntakeError::Invalid { code: "not_a_code", why }.into());
        }
        let by = coded(&self.by);
        let by = said(&by, &self.why)?;
        Ok(queue::keep_act(tx, self.action, self.outcome, &self.case.to_string(), by).await?)
    }
}

impl CaseCommand {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let pool = db::connect(self.database.address(), Role::Api, 2).await?;
        if let What::List { all, after, most } = self.what {
            let cases = intake::cases_after(&pool, None, all, after, most.and_one()).await?;
            let (cases, next) = most.page(cases, CaseRow::place);
            return list(&cases, next, self.json);
        }
        if let What::Verify { case, subject, yes, who } = &self.what {
            let kind = sqlx::query_scalar!("select kind from safelight.cases where id = $1", case.uuid())
                .fetch_optional(&pool)
                .await?;
            if kind.as_deref() == Some("erasure") {
                said("", who.why.as_deref().unwrap_or_default())?;
                confirm(*yes, &format!("Is {case} of {subject}? With that everything about them is erased."))?;
            }
        }
        if let What::Open { tenant, .. } = &self.what {
            known_tenant(&pool, tenant).await?;
        }
        let mut tx = Tx::begin(&pool, &Bell::start(pool.clone())).await?;
        let (document, says, kept) = match self.what {
            What::List { .. } => return Ok(()),
            What::Open { tenant, kind, channel, received, subject, who: WhoAndWhy { by: ByCode { by }, why } } => {
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
                let says = format!("{case}  answer due {}, from {contact}", due.format("%Y-%m-%d %H:%M"));
                let why = why.unwrap_or_else(|| format!("{kind} by {channel}"));
                let kept = Kept { action: "case.opened", outcome: "open", case, by, why };
                (json!({ "case": case, "state": "open", "answer_due": due, "contact": contact }), says, Some(kept))
            }
            What::Verify { case, subject, who: WhoAndWhy { by: ByCode { by }, why }, .. } => {
                let before =
                    sqlx::query_scalar!("select identity from safelight.cases where id = $1 for update", case.uuid())
                        .fetch_optional(&mut *tx)
                        .await?;
                let deletion = intake::verify_case(&mut tx, case, subject, &by).await?;
                let (outcome, says) = match deletion {
                    Some(deletion) => {
                        ("verified_and_its_erasure_has_begun", format!("{case} is verified; {deletion} has begun"))
                    }
                    None => ("verified", format!("{case} is verified")),
                };
                let why = why.unwrap_or_else(|| "the house knows who it is".to_owned());
                let kept = (before.as_deref() != Some("verified")).then(|| Kept::decided(outcome, case, by, why));
                (json!({ "case": case, "identity": "verified", "deletion": deletion }), says, kept)
            }
            What::Extend { case, why, by: ByCode { by } } => {
                let due = intake::extend_case(&mut tx, case, &why).await?;
                let says = format!("{case}  answer due {}; tell the person why", due.format("%Y-%m-%d %H:%M"));
                let kept = Kept::decided("extended", case, by, why);
                (json!({ "case": case, "state": "open", "answer_due": due }), says, Some(kept))
            }
            What::Answer { case, who: WhoAndWhy { by: ByCode { by }, why } } => {
                intake::close_case(&mut tx, case, None).await?;
                let kept =
                    Kept::decided("answered", case, by, why.unwrap_or_else(|| "the person was answered".to_owned()));
                (json!({ "case": case, "state": "answered" }), format!("{case} is answered"), Some(kept))
            }
            What::Refuse { case, why, by: ByCode { by } } => {
                intake::close_case(&mut tx, case, Some(&why)).await?;
                let says =
                    format!("{case} is refused; tell the person why, and that they may complain to an authority");
                (json!({ "case": case, "state": "refused" }), says, Some(Kept::decided("refused", case, by, why)))
            }
        };
        if let Some(kept) = kept {
            kept.keep(&mut tx).await?;
        }
        tx.commit().await?;
        if self.json {
            say(document);
        } else {
            say(says);
        }
        Ok(())
    }
}

fn list(cases: &[CaseRow], next: Option<Place>, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        say(json!({ "cases": cases, "next": lists::document(next) }));
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
    lists::go_on(next, "later deadlines: --after");
    Ok(())
}
