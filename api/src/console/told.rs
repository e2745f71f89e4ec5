//! That a person was told before a restriction ends (Art. 18(3)), as an operator says it in a form: how, and in which minute.

use maud::{Markup, html};
use safelight_jobs::intake::{Told, Way};

use super::{act::Form, jobs::instant};
use crate::{error::Error, state::ApiState};

/// The two fields; both or neither are filled in.
pub(super) fn fields() -> Markup {
    html! {
        label { "How they were told" select name="told" {
            option value="" { "not yet" } option value="mail" { "by mail" } option value="product" { "in the product, where they saw it" } option value="letter" { "by letter" }
        } }
        label { "When, in UTC" input name="told_at" type="datetime-local"; }
    }
}

/// How and when: both or neither.
pub(super) async fn read(state: &ApiState, form: &Form) -> Result<Option<Told>, Error> {
    let by = match form.field("told") {
        None => None,
        Some("mail") => Some(Way::Mail),
        Some("product") => Some(Way::Product),
        Some("letter") => Some(Way::Letter),
        Some(_) => return Err(Error::BadBody { why: "`told` is none".to_owned() }),
    };
    let said = form.field("told_at").unwrap_or_default();
    let Some((by, at)) = both(by, instant(said)?)? else { return Ok(None) };
    let is_a_minute = said.matches(':').count() == 1;
    if !is_a_minute {
        return Ok(Some(Told { by, at }));
    }
    // A browser's field says no seconds. Whoever was told in the minute in which they were restricted was told after it, as far as
    // anybody says: the minute stands for its end. A minute that has not begun stays what it is, and is refused.
    let at = sqlx::query_scalar!(
        r#"select case when $1 > safelight.now() then $1
            else least($1::timestamptz + interval '1 minute' - interval '1 microsecond', safelight.now()) end as "at!""#,
        at
    )
    .fetch_one(&state.pool)
    .await?;
    Ok(Some(Told { by, at }))
}

fn both<A, B>(by: Option<A>, at: Option<B>) -> Result<Option<(A, B)>, Error> {
    match (by, at) {
        (None, None) => Ok(None),
        (Some(by), Some(at)) => Ok(Some((by, at))),
        _ => Err(Error::BadBody { why: "say both how (`told`) and when (`told_at`), or neither".to_owned() }),
    }
}
