//! Tell Supabase Auth the corrected mail address of one person's sign-in user.
//!
//! Life: enqueued with a correction -> gate: host, of the account, by Supabase -> address opened now, not when it was enqueued ->
//! told -> looked whether it was corrected once more meanwhile -> done.
//! Input: a person with a sign-in user.  Output: the user's address there; the audit entry that this recipient was told (Art. 19).
//! Of two corrections the newer one stays, whichever job asks last: whoever has told an address that is not the newest any more
//! tells again.
//! Waits: `subject_restricted`, until the release.  Gives up: `subject_erased`, `auth_address_refused`, and
//! `auth_address_unchanged` when all attempts are spent: most often another user there has the address.
//! Never: makes a user, or tells one of somebody who is erased. The person's name and Google id are not told: Auth has its own.
//! Source: `providers/auth.rs`.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{
    gate::{Allowed, Ask, Host},
    id::{self, Id, Subject},
    job::{Effect, Job, JobKey, Queue, Retry, Scope},
    policy::{DataClass, Processor},
    providers::{Secret, auth::AddressChange},
    run::{Run, Tx},
    stop::{Done, Stop},
};

/// One correction that is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CorrectSignIn {
    /// Whose address.
    pub subject: Id<Subject>,
    /// Which correction asks: a hash of the sealed address, so that each is told, and none is lost in the key of another.
    pub because: String,
}

impl CorrectSignIn {
    /// Enqueue it in the transaction of the correction. None: the person has no sign-in user, and there is nobody to be told.
    pub(crate) async fn of(
        tx: &mut Tx,
        subject: Id<Subject>,
    ) -> Result<Option<Id<id::Job>>, crate::intake::IntakeError> {
        let account = sqlx::query!(
            "select email_sealed from safelight.accounts where subject_id = $1 and auth_user is not null",
            subject.uuid()
        )
        .fetch_optional(&mut **tx)
        .await?;
        let Some(account) = account else { return Ok(None) };
        let because = hex::encode(&Sha256::digest(&account.email_sealed)[..16]);
        Ok(Some(tx.enqueue(&Self { subject, because }).await?.id))
    }
}

/// The account as it is at the time of the call.
struct Account {
    user: Uuid,
    sealed: Vec<u8>,
}

impl Job for CorrectSignIn {
    const NAME: &'static str = "correct_sign_in";
    const QUEUE: Queue = Queue::Notices;
    const RETRY: Retry = Retry { attempts: 12, first: Duration::from_secs(5), most: Duration::from_secs(3600) };
    const EFFECT: Effect = Effect::Repeatable;
    const PROVIDER: Option<Processor> = Some(Processor::Supabase);
    type Pass = Allowed<Host>;

    fn key(&self) -> JobKey {
        JobKey::new(Self::NAME, &[&self.subject, &self.because])
    }

    fn scope(&self) -> Scope {
        Scope::Subject(self.subject)
    }

    async fn gate(&self, run: &Run) -> Result<Self::Pass, Stop> {
        Ok(run.pass::<Host>(Ask::of(self.subject, Processor::Supabase, &[DataClass::Account])).await?)
    }

    async fn run(&self, host: Self::Pass, run: &Run) -> Result<Done, Stop> {
        let mut connection = run.reads().await?;
        let key = run.services.vault.key(&mut connection, self.subject).await?;
        let account = self.account(&mut connection).await?;
        drop(connection);
        let address = Secret::new(key.open_text("email", &account.sealed)?);
        let change = run.services.auth.change_address(&host, account.user, &address).await?;

        let mut tx = run.begin().await?;
        // It may have been another job's word that came first: only who has told the newest address may end.
        if self.account(&mut tx).await?.sealed != account.sealed {
            return Err(Stop::wait(Duration::ZERO, "corrected_again: the newer address is told at once"));
        }
        let (action, outcome) = match change {
            AddressChange::Changed => ("recipient.told", "corrected"),
            AddressChange::NoSuchUser => ("recipient.not_told", "no_such_user"),
        };
        run.note(action, outcome)
            .allowed(&host)
            .data(DataClass::Account.as_str(), Processor::Supabase.as_str())
            .write(&mut tx)
            .await?;
        run.finish(tx).await
    }
}

impl CorrectSignIn {
    async fn account(&self, connection: &mut sqlx::PgConnection) -> Result<Account, Stop> {
        let row = sqlx::query!(
            r#"select auth_user as "user!", email_sealed as sealed from safelight.accounts
            where subject_id = $1 and auth_user is not null"#,
            self.subject.uuid()
        )
        .fetch_optional(connection)
        .await?
        .ok_or_else(|| Stop::give_up("subject_erased", format!("{} has no sign-in user any more", self.subject)))?;
        Ok(Account { user: row.user, sealed: row.sealed })
    }
}
