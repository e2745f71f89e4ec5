//! Links by which a provider reads an object of ours: for as long as its work may take, and never beyond the object's own term (K23).
//!
//! Never: stored or logged. Whoever has one can read.

use std::time::Duration;

use crate::{
    gate::Refusal,
    id::{Artifact, Id},
    providers::{Secret, storage::Key},
    run::Run,
    stop::Stop,
};

/// A link that ends after `most`, or with the object. In the object's last second there is none: it could not be short enough.
pub(crate) async fn input(run: &Run, object: Id<Artifact>, key: &Key, most: Duration) -> Result<Secret, Stop> {
    let left = sqlx::query_scalar!(
        "select extract(epoch from delete_after - safelight.now())::float8 from safelight.artifacts where id = $1",
        object.uuid()
    )
    .fetch_optional(&mut *run.reads().await?)
    .await?
    .flatten();
    let life = within(most, left).ok_or_else(|| Refusal::new("object_gone", None))?;
    Ok(run.services.storage.signed_get(key, life).await?)
}

/// `left`: seconds until the object's end; none: it has no term.
fn within(most: Duration, left: Option<f64>) -> Option<Duration> {
    match left {
        None => Some(most),
        Some(seconds) if seconds >= 1.0 => Some(most.min(Duration::from_secs_f64(seconds.floor()))),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_lives_as_long_as_its_object_and_no_longer() {
        let hours = Duration::from_secs(7200);
        assert_eq!(within(hours, None), Some(hours));
        assert_eq!(within(hours, Some(100_000.0)), Some(hours));
        assert_eq!(within(hours, Some(1799.9)), Some(Duration::from_secs(1799)));
        assert_eq!(within(hours, Some(0.9)), None);
        assert_eq!(within(hours, Some(-5.0)), None);
    }
}
