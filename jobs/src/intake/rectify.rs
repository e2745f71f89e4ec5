//! Correction (Art. 16): the account is sealed anew. Mails that wait read the address when they are sent.

use crate::{
    audit::Entry,
    id::{Id, Subject},
    run::Tx,
    vault::Vault,
};

use super::IntakeError;

/// What is corrected; what is none stays. No `Debug`: it names somebody.
#[derive(Default)]
pub struct Correction {
    /// Mail address.
    pub email: Option<String>,
    /// Name.
    pub name: Option<String>,
}

/// Correct an account. Also while the person is restricted: that may be what the restriction waits for.
///
/// # Errors
/// Nothing to correct, no mail address, a person who is erased.
pub async fn rectify(
    tx: &mut Tx,
    vault: &Vault,
    tenant: &str,
    subject: Id<Subject>,
    correction: &Correction,
) -> Result<(), IntakeError> {
    if correction.email.is_none() && correction.name.is_none() {
        return Err(IntakeError::invalid("nothing_to_correct", "give `email`, `name` or both"));
    }
    if correction.email.as_ref().is_some_and(|email| !email.contains('@') || email.len() > 320) {
        return Err(IntakeError::invalid("bad_email", "`email` is not a mail address"));
    }
    sqlx::query!("select safelight.share_subject($1)", subject.uuid()).fetch_one(&mut **tx).await?;
    super::subject_of(tx, tenant, subject).await?;
    let state = sqlx::query_scalar!("select state from safelight.subjects where id = $1", subject.uuid())
        .fetch_one(&mut **tx)
        .await?;
    if !matches!(state.as_str(), "active" | "restricted") {
        return Err(crate::gate::Refusal::new("subject_erased", None).into());
    }
    let key = vault.key(tx, subject).await?;
    let seal =
        |field, value: &Option<String>| value.as_ref().map(|value| key.seal(field, value.as_bytes())).transpose();
    let done = sqlx::query!(
        r#"update safelight.accounts set email_sealed = coalesce($2, email_sealed), name_sealed = coalesce($3, name_sealed)
        where subject_id = $1"#,
        subject.uuid(),
        seal("email", &correction.email)?,
        seal("name", &correction.name)?
    )
    .execute(&mut **tx)
    .await?;
    if done.rows_affected() == 0 {
        return Err(IntakeError::not_found(format!("the account of {subject}")));
    }
    Entry::new("intake", "subject.rectified", "sealed")
        .subject(subject)
        .count("fields", usize::from(correction.email.is_some()) + usize::from(correction.name.is_some()))
        .write(tx)
        .await?;
    Ok(())
}
