//! What a person says about a call whose outcome nobody knows.
//!
//! `accepted`: the provider has it, under this request id; it goes on as if the answer had come. `not made`: the provider
//! never took it; one new attempt is made, and no second one by saying it twice. Each is one commit with an audit entry
//! that says who and why. Nothing here asks a provider: the person has looked.

use sqlx::PgConnection;

use crate::{
    audit::Entry,
    check_image::CheckImage,
    generate_batch::GenerateBatch,
    id::{Id, Intent},
    intake::is_code,
    place::{self, Place},
    purge_call::PurgeCall,
    queue::Wish,
    run::Tx,
    train_model::TrainModel,
};

/// What became of the call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// The provider took it; its request id.
    Accepted(String),
    /// The provider never took it.
    NotMade,
}

/// Who says so and why, both as codes.
#[derive(Debug, Clone, Copy)]
pub struct Said<'a> {
    /// An operator's short name.
    pub by: &'a str,
    /// Why, for example `fal_support_says_no_request`.
    pub why: &'a str,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolved {
    /// Its result is collected when it is there.
    GoesOn,
    /// The gate has closed meanwhile: it is cancelled and purged.
    Purged,
    /// A new attempt is made.
    AnotherAttempt,
    /// Nobody waits for it any more: no new attempt is made.
    NobodyWaits,
}

impl Resolved {
    /// As the command line answers it and the audit log keeps it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GoesOn => "goes_on",
            Self::Purged => "purged",
            Self::AnotherAttempt => "another_attempt",
            Self::NobodyWaits => "nobody_waits",
        }
    }
}

/// Why it was not taken. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum NotResolved {
    /// No such call.
    #[error("{0} does not exist; `safelight provider calls --unknown` lists the ones to resolve")]
    NoSuchCall(Id<Intent>),
    /// Its outcome is known.
    #[error("{call} is {state}, not unknown: nothing was changed")]
    Known {
        /// Which.
        call: Id<Intent>,
        /// Where it stands.
        state: String,
    },
    /// The request is another call's.
    #[error("request {request} belongs to another call of ours: look again at the provider")]
    RequestTaken {
        /// Which.
        request: String,
    },
    /// Not an id that a provider could have given.
    #[error("the request id is not one: letters, digits and dashes")]
    BadRequest,
    /// Free text would hold names sooner or later.
    #[error("`{what}` is a code of 3 to 64 small letters, digits and underscores")]
    NotACode {
        /// Which argument.
        what: &'static str,
    },
    /// The database did not answer, or a job was not taken.
    #[error(transparent)]
    Enqueue(#[from] crate::queue::EnqueueError),
    /// The database did not answer.
    #[error("the database did not answer: {0}")]
    Database(#[from] sqlx::Error),
}

/// Take a person's word for a call.
pub async fn resolve(
    tx: &mut Tx,
    call: Id<Intent>,
    resolution: &Resolution,
    said: Said<'_>,
) -> Result<Resolved, NotResolved> {
    in_codes(said)?;
    // The person's lock before the call's row, as everywhere.
    let subject = sqlx::query_scalar!("select subject_id from safelight.provider_calls where id = $1", call.uuid())
        .fetch_optional(&mut **tx)
        .await?
        .ok_or(NotResolved::NoSuchCall(call))?;
    sqlx::query!("select safelight.share_subject($1)", subject).fetch_one(&mut **tx).await?;
    let row = sqlx::query!(
        "select state, tenant, order_id from safelight.provider_calls where id = $1 for no key update",
        call.uuid()
    )
    .fetch_one(&mut **tx)
    .await?;
    if row.state != "unknown" {
        return Err(NotResolved::Known { call, state: row.state });
    }
    let (outcome, resolved) = match resolution {
        Resolution::Accepted(request) => ("accepted", accept(tx, call, request).await?),
        Resolution::NotMade => ("not_made", try_again(tx, call).await?),
    };
    let mut entry = Entry::new("operator", "call.resolved", outcome)
        .tenant(row.tenant)
        .subject(subject.into())
        .code("call", call.to_string())
        .code("by", said.by)
        .code("why", said.why);
    if let Some(order) = row.order_id {
        entry = entry.order(order.into());
    }
    entry.write(tx).await?;
    Ok(resolved)
}

/// Free text would hold names sooner or later.
pub(crate) fn in_codes(said: Said<'_>) -> Result<(), NotResolved> {
    let other = [("why", said.why), ("by", said.by)].into_iter().find(|(_, text)| !is_code(text));
    other.map_or(Ok(()), |(what, _)| Err(NotResolved::NotACode { what }))
}

/// Could a provider have given this id, and is it no other call's?
pub(crate) async fn may_be_its_request(
    connection: &mut PgConnection,
    call: Id<Intent>,
    request: &str,
) -> Result<(), NotResolved> {
    let is_id =
        |text: &str| (8..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if !is_id(request) {
        return Err(NotResolved::BadRequest);
    }
    let taken = sqlx::query_scalar!(
        r#"select exists (select from safelight.provider_calls where request_id = $1 and id <> $2) as "taken!""#,
        request,
        call.uuid()
    )
    .fetch_one(connection)
    .await?;
    if taken { Err(NotResolved::RequestTaken { request: request.to_owned() }) } else { Ok(()) }
}

async fn accept(tx: &mut Tx, call: Id<Intent>, request: &str) -> Result<Resolved, NotResolved> {
    may_be_its_request(tx, call, request).await?;
    // The provider's own links are not known; who needs one makes it from the model and the request.
    let open = sqlx::query_scalar!(
        r#"select safelight.record_request($1, $2, null, null, null, '{}') as "open!""#,
        call.uuid(),
        request
    )
    .fetch_one(&mut **tx)
    .await?;
    if open {
        return Ok(Resolved::GoesOn);
    }
    tx.enqueue(&PurgeCall { call }).await?;
    Ok(Resolved::Purged)
}

/// The call is refused: certainly nothing happened there. Its work is enqueued once more under a key that names this call,
/// so that it can be said twice and is done once.
async fn try_again(tx: &mut Tx, call: Id<Intent>) -> Result<Resolved, NotResolved> {
    sqlx::query!(
        "update safelight.provider_calls set state = 'refused', code = 'not_made', finished_at = safelight.now() where id = $1",
        call.uuid()
    )
    .execute(&mut **tx)
    .await?;
    let Some(mut wish) = work_of(tx, call).await? else { return Ok(Resolved::NobodyWaits) };
    wish.key = format!("{}:after:{call}", wish.key);
    let enqueued = wish.enqueue(tx).await?;
    tx.ring(enqueued.queue);
    Ok(Resolved::AnotherAttempt)
}

/// The job that makes such a call, if the order still waits for it.
async fn work_of(connection: &mut PgConnection, call: Id<Intent>) -> Result<Option<Wish>, NotResolved> {
    let row = sqlx::query!(
        r#"select c.purpose, c.order_id as "order!", c.artifact_id from safelight.provider_calls c
        join safelight.orders o on o.id = c.order_id join safelight.subjects s on s.id = c.subject_id
        where c.id = $1 and o.state in ('paid', 'training', 'generating') and s.state in ('active', 'restricted')"#,
        call.uuid()
    )
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let order = row.order.into();
    let wish = match (row.purpose.as_str(), row.artifact_id) {
        ("train", _) => Wish::of(&TrainModel { order }),
        ("generate", _) => Wish::of(&GenerateBatch { order }),
        ("nsfw", Some(image)) => Wish::of(&CheckImage { image: image.into() }),
        _ => return Ok(None),
    };
    Ok(Some(wish.map_err(crate::queue::EnqueueError::Payload)?))
}

/// One call whose outcome nobody knows.
#[derive(Debug, Clone)]
pub struct UnknownCall {
    /// Its id.
    pub id: Id<Intent>,
    /// Whose.
    pub tenant: String,
    /// For what.
    pub purpose: String,
    /// The provider's model.
    pub model: String,
    /// For which order.
    pub order: Option<Id<crate::id::Order>>,
    /// When it was written down.
    pub created_at: chrono::DateTime<chrono::Utc>,
    /// For how long nobody knows, in seconds.
    pub age_seconds: i64,
}

impl UnknownCall {
    /// Where it stands among the others.
    pub fn place(&self) -> Place {
        Place::of(self.created_at, self.id.uuid())
    }
}

/// The oldest first, after a place of [`UnknownCall::place`], at most so many.
///
/// # Errors
/// Those of the database.
pub async fn unknown(pool: &sqlx::PgPool, after: Option<Place>, most: i64) -> Result<Vec<UnknownCall>, sqlx::Error> {
    let (at, id) = place::halves(after);
    let rows = sqlx::query!(
        r#"select id, tenant, purpose, model, order_id, created_at,
            floor(extract(epoch from safelight.now() - created_at))::bigint as "age!"
        from safelight.provider_calls where state = 'unknown' and ($1::timestamptz is null or (created_at, id) > ($1, $2::uuid))
        order by created_at, id limit $3"#,
        at,
        id,
        most
    )
    .fetch_all(pool)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| UnknownCall {
            id: row.id.into(),
            tenant: row.tenant,
            purpose: row.purpose,
            model: row.model,
            order: row.order_id.map(Id::from),
            created_at: row.created_at,
            age_seconds: row.age,
        })
        .collect())
}
