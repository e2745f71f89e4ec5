//! Register a person.

use crate::{
    audit::Entry,
    id::{Id, Subject},
    run::Tx,
    vault::Vault,
};
use uuid::Uuid;

use super::IntakeError;

/// What is known of a person at sign-up (policy rows H3 and K4): these fields and no others. No `Debug`: it names one.
pub struct Account {
    /// Mail address.
    pub email: String,
    /// Name, where the service asks for one.
    pub name: Option<String>,
    /// Google account id, where sign-in is by Google.
    pub google_id: Option<String>,
    /// The sign-in user at Supabase.
    pub auth_user: Option<Uuid>,
}

/// One address, as a mailer takes it: no second one, no name before it, nothing that ends a line of a mail's head. Whoever's address
/// no mailer takes would never be told that their erasure is done.
pub(super) fn mail_address(text: &str) -> Result<(), IntakeError> {
    let odd = |c: char| c.is_whitespace() || c.is_control() || "\",;:<>()[]\\".contains(c);
    let is_domain = |domain: &str| domain.contains('.') && domain.split('.').all(|label| !label.is_empty());
    let fits = text.len() <= 320
        && !text.contains(odd)
        && text.split_once('@').is_some_and(|(local, domain)| {
            !local.is_empty() && local.len() <= 64 && !domain.contains('@') && is_domain(domain)
        });
    fits.then_some(()).ok_or_else(|| {
        IntakeError::invalid(
            "bad_email",
            "`email` is not one mail address, such as ann@example.org, without a name or blanks",
        )
    })
}

/// A new subject with a key of its own; the account is sealed under that key.
pub async fn register(tx: &mut Tx, vault: &Vault, tenant: &str, account: &Account) -> Result<Id<Subject>, IntakeError> {
    mail_address(&account.email)?;
    let subject = Id::<Subject>::new();
    sqlx::query!("insert into safelight.subjects (id, tenant) values ($1, $2)", subject.uuid(), tenant)
        .execute(&mut **tx)
        .await?;
    let key = vault.create_key(tx, subject).await?;
    let seal =
        |field, value: &Option<String>| value.as_ref().map(|value| key.seal(field, value.as_bytes())).transpose();
    let inserted = sqlx::query!(
        r#"insert into safelight.accounts (subject_id, auth_user, email_sealed, name_sealed, google_id_sealed)
        values ($1, $2, $3, $4, $5) on conflict (auth_user) do nothing"#,
        subject.uuid(),
        account.auth_user,
        key.seal("email", account.email.as_bytes())?,
        seal("name", &account.name)?,
        seal("google_id", &account.google_id)?
    )
    .execute(&mut **tx)
    .await?;
    if inserted.rows_affected() == 0 {
        return Err(IntakeError::Conflict {
            code: "auth_user_taken",
            why: "this sign-in user belongs to another subject already".to_owned(),
        });
    }
    Entry::new("intake", "subject.registered", "created").subject(subject).write(tx).await?;
    Ok(subject)
}
