//! The one door that is open to an erased person: to tell them, once, that it was done (policy row K33).
//!
//! The proof is made here and nowhere else, and serves for that one mail. Never: opens for a person who is not being erased, before
//! what was theirs is gone, or for a tenant whose policy names no mail for it.

use sqlx::PgConnection;

use crate::id::{Deletion, Id};

/// The proof that the person of this erasure may be told of it now. Ask again for every attempt.
#[derive(Debug)]
pub struct MayConfirm(Id<Deletion>);

impl MayConfirm {
    /// Of which erasure.
    pub fn deletion(&self) -> Id<Deletion> {
        self.0
    }
}

/// Ask, inside a short transaction of the caller. Refused: why, as a code that nobody outside is answered with.
///
/// # Errors
/// Those of the database.
pub(crate) async fn pass_confirmation(
    tx: &mut PgConnection,
    deletion: Id<Deletion>,
) -> Result<Result<MayConfirm, String>, sqlx::Error> {
    let code =
        sqlx::query_scalar!("select safelight.pass_confirmation($1)", deletion.uuid()).fetch_one(&mut *tx).await?;
    Ok(code.map_or(Ok(MayConfirm(deletion)), Err))
}
