//! Correction (Art. 16): the account is sealed anew, mails that wait read the address when they are sent, and whoever has a copy
//! of the address is told (Art. 19); a score that its person contests is measured anew.

use crate::{
    audit::Entry,
    compare_faces::CompareFaces,
    correct_sign_in::CorrectSignIn,
    id::{Artifact, Id, Job, Subject},
    policy::Processor,
    queue,
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

/// Who has a copy of what was corrected, and is told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recipient {
    /// Who.
    pub processor: Processor,
    /// The job that tells it.
    pub job: Id<Job>,
}

/// Correct an account. Also while the person is restricted: that may be what the restriction waits for; recipients are told
/// after the release. Answers whom: Supabase Auth has a copy of the address, where the person has a sign-in user there. Resend
/// gets it with each mail anew, and nobody else has it from us.
///
/// # Errors
/// Nothing to correct, no mail address, a person who is erased.
pub async fn rectify(
    tx: &mut Tx,
    vault: &Vault,
    tenant: &str,
    subject: Id<Subject>,
    correction: &Correction,
) -> Result<Vec<Recipient>, IntakeError> {
    if correction.email.is_none() && correction.name.is_none() {
        return Err(IntakeError::invalid("nothing_to_correct", "give `email`, `name` or both"));
    }
    if let Some(email) = &correction.email {
        super::subject::mail_address(email)?;
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
    let told: Vec<_> = match correction.email {
        Some(_) => CorrectSignIn::of(tx, subject).await?.into_iter().collect(),
        None => Vec::new(),
    };
    Entry::new("intake", "subject.rectified", "sealed")
        .subject(subject)
        .count("fields", usize::from(correction.email.is_some()) + usize::from(correction.name.is_some()))
        .count("recipients", told.len())
        .write(tx)
        .await?;
    Ok(told.into_iter().map(|job| Recipient { processor: Processor::Supabase, job }).collect())
}

/// A contested score.
#[derive(Debug, Clone, Copy)]
pub struct Contested {
    /// The job that measures anew.
    pub job: Id<Job>,
    /// It was asked for already and has not ended.
    pub already: bool,
}

/// What is asked for when a person says that a score is wrong: the image is compared once more with the photos that are there
/// now, behind the same gate, and the new score replaces the old one.
///
/// # Errors
/// No such image of this person, none of whose order's photos is there any more, an order that is not compared.
pub async fn contest_similarity(
    tx: &mut Tx,
    tenant: &str,
    subject: Id<Subject>,
    image: Id<Artifact>,
) -> Result<Contested, IntakeError> {
    super::subject_of(tx, tenant, subject).await?;
    let known = sqlx::query_scalar!(
        r#"select exists (select from safelight.similarities s where s.image_id = a.id) as "scored!" from safelight.artifacts a
        where a.id = $1 and a.subject_id = $2 and a.class = 'image' and safelight.readable(a)"#,
        image.uuid(),
        subject.uuid()
    )
    .fetch_optional(&mut **tx)
    .await?
    .ok_or_else(|| IntakeError::not_found(image))?;
    if !known {
        return Err(IntakeError::Conflict {
            code: "nothing_to_compare",
            why: format!(
                "{image} has no score: it was never compared, or the photos that it was compared with are gone"
            ),
        });
    }
    let key = CompareFaces { image }.contested_key();
    // Two that contest at once are one after the other: the second finds the first one's job.
    sqlx::query!("select key from safelight.job_keys where key = $1 for update", key).fetch_optional(&mut **tx).await?;
    let waits = sqlx::query_scalar!(r#"select exists (select from safelight.jobs where key = $1) as "it!""#, key)
        .fetch_one(&mut **tx)
        .await?;
    if !waits {
        queue::forget_key(tx, &key).await?;
    }
    let enqueued = CompareFaces { image }.again(tx, key).await?;
    if !enqueued.already {
        Entry::new("intake", "score.contested", "enqueued").subject(subject).write(tx).await?;
    }
    Ok(Contested { job: enqueued.id, already: enqueued.already })
}
