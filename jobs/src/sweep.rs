//! What every sweep leaves: one row that says who asked, what was found, what was done, and what is still there.

use crate::{
    id::{Id, Sweep},
    run::Tx,
};

/// The sweeps that keep promises about people's data: the console and the metrics show when each last ran.
pub const KINDS: [&str; 3] = ["retention", "deletions", "orphans"];

/// For how long runs are kept, in hours.
const KEPT_HOURS: i32 = 2160;

/// One run of one sweep.
pub(crate) struct Swept {
    /// What was to be done.
    pub(crate) found: i64,
    /// What was done.
    pub(crate) acted: i64,
    /// What was still there when it was counted after the run; none: it could not be counted, which is never zero.
    pub(crate) residue: Option<i64>,
}

/// Write the row in the commit of the sweep's end.
pub(crate) async fn record(tx: &mut Tx, kind: &str, because: &str, swept: &Swept) -> Result<Id<Sweep>, sqlx::Error> {
    let number = |count: i64| i32::try_from(count).unwrap_or(i32::MAX);
    let id = Id::<Sweep>::new();
    sqlx::query!(
        "insert into safelight.sweeps (id, kind, asked_by, finished_at, found, acted, residue) values ($1, $2, $3, safelight.now(), $4, $5, $6)",
        id.uuid(),
        kind,
        because,
        number(swept.found),
        number(swept.acted),
        swept.residue.map(number)
    )
    .execute(&mut **tx)
    .await?;
    sqlx::query!(
        r#"delete from safelight.sweeps where id in (select id from safelight.sweeps
            where kind = $1 and finished_at < safelight.now() - make_interval(hours => $2) order by finished_at limit 20 for update skip locked)"#,
        kind,
        KEPT_HOURS
    )
    .execute(&mut **tx)
    .await?;
    Ok(id)
}
