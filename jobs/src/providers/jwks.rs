//! A provider's public keys, fetched when needed and kept for a while.
//!
//! Time comes from the caller in Unix seconds, so a test can turn it. At most one fetch runs at a time, and a forged
//! signature cannot make us ask the provider again and again: see `AGAIN_AFTER`.

use std::sync::Arc;

use reqwest::{Client, StatusCode};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::http::exchange;

/// A key set that did not help is fetched again at most this often, in seconds.
const AGAIN_AFTER: i64 = 60;
/// After a failed fetch the next one waits this long, in seconds: an outage is not taken for a key that does not exist.
const AFTER_FAILURE: i64 = 5;
/// Larger than any real key set, in bytes.
const MOST: usize = 256 * 1024;

/// No usable keys: the provider did not answer, or not with a key set. Try again later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoKeys;

pub(super) struct Jwks<T> {
    client: Client,
    url: String,
    max_age: i64,
    parse: fn(&[u8]) -> Option<T>,
    kept: Arc<Mutex<Kept<T>>>,
}

struct Kept<T> {
    keys: Option<(Arc<T>, i64)>,
    tried: Option<i64>,
    /// The last fetch brought no keys.
    failed: bool,
}

impl<T: Send + Sync + 'static> Jwks<T> {
    /// `max_age` in seconds. `parse` answers `None` for a body that is no key set.
    pub(super) fn new(client: Client, url: String, max_age: i64, parse: fn(&[u8]) -> Option<T>) -> Self {
        Self {
            client,
            url,
            max_age,
            parse,
            kept: Arc::new(Mutex::new(Kept { keys: None, tried: None, failed: false })),
        }
    }

    /// The kept keys, or newly fetched ones when there are none or they are too old.
    pub(super) async fn keys(&self, now: i64) -> Result<Arc<T>, NoKeys> {
        let kept = self.kept.clone().lock_owned().await;
        if let Some((keys, at)) = &kept.keys
            && is_within(now, *at, self.max_age)
        {
            return Ok(keys.clone());
        }
        if kept.tried.is_some_and(|tried| is_within(now, tried, AFTER_FAILURE)) {
            return Err(NoKeys);
        }
        self.fetch(kept, now).await
    }

    /// Keys newer than the ones that did not help; `None` when those were fetched a moment ago, so that they are the newest.
    pub(super) async fn newer(&self, now: i64) -> Result<Option<Arc<T>>, NoKeys> {
        let kept = self.kept.clone().lock_owned().await;
        let pause = if kept.failed { AFTER_FAILURE } else { AGAIN_AFTER };
        if kept.tried.is_some_and(|tried| is_within(now, tried, pause)) {
            return if kept.failed { Err(NoKeys) } else { Ok(None) };
        }
        self.fetch(kept, now).await.map(Some)
    }

    /// In a task of its own: who asks and leaves before the answer must not leave a failure behind for everybody else.
    async fn fetch(&self, mut kept: OwnedMutexGuard<Kept<T>>, now: i64) -> Result<Arc<T>, NoKeys> {
        let (request, parse) = (self.client.get(&self.url), self.parse);
        let fetched = tokio::spawn(async move {
            kept.tried = Some(now);
            kept.failed = true;
            let answer = exchange(request, MOST).await.map_err(|_| NoKeys)?;
            if answer.status != StatusCode::OK {
                return Err(NoKeys);
            }
            let keys = Arc::new(parse(&answer.body).ok_or(NoKeys)?);
            kept.keys = Some((keys.clone(), now));
            kept.failed = false;
            Ok(keys)
        });
        fetched.await.unwrap_or(Err(NoKeys))
    }
}

/// True less than `gap` seconds after `then`, and also before it: a clock that was set back changes little.
fn is_within(now: i64, then: i64, gap: i64) -> bool {
    now.abs_diff(then) < gap.unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};

    fn jwks(server: &StandIn) -> Jwks<String> {
        let parse = |body: &[u8]| String::from_utf8(body.to_vec()).ok();
        Jwks::new(Client::new(), format!("{}/keys", server.url), 3_600, parse)
    }

    fn say(text: &str) -> Reply {
        Reply::Say(200, vec![], text.into())
    }

    #[tokio::test]
    async fn keys_are_fetched_once_and_again_when_too_old() {
        let server = StandIn::start([say("one"), say("two")]).await;
        let jwks = jwks(&server);
        for now in [1_000, 999, 4_599] {
            assert_eq!(*jwks.keys(now).await.unwrap(), "one");
        }
        assert_eq!(server.asked().len(), 1);
        assert_eq!(*jwks.keys(4_600).await.unwrap(), "two");
    }

    #[tokio::test]
    async fn who_leaves_before_the_keys_are_there_leaves_no_failure_behind() {
        let server = StandIn::start([say("one")]).await;
        let jwks = jwks(&server);
        let mut asks = Box::pin(jwks.keys(1_000));
        assert!(futures::poll!(&mut asks).is_pending());
        drop(asks);
        assert_eq!(*jwks.keys(1_000).await.unwrap(), "one");
        assert_eq!(server.asked().len(), 1);
    }

    #[tokio::test]
    async fn a_flood_of_forgeries_asks_for_new_keys_once_a_minute() {
        let server = StandIn::start([say("one"), say("two"), say("three")]).await;
        let jwks = jwks(&server);
        jwks.keys(1_000).await.unwrap();
        for now in 1_000..1_060 {
            assert_eq!(jwks.newer(now).await, Ok(None));
        }
        assert_eq!(*jwks.newer(1_060).await.unwrap().unwrap(), "two");
        assert_eq!(jwks.newer(1_061).await, Ok(None));
        assert_eq!(server.asked().len(), 2);
    }

    #[tokio::test]
    async fn while_a_provider_is_away_nothing_is_known_about_a_key_that_we_do_not_have() {
        let away = || Reply::Say(503, vec![], String::new());
        let server = StandIn::start([say("one"), away(), say("two")]).await;
        let jwks = jwks(&server);
        jwks.keys(1_000).await.unwrap();
        assert_eq!(jwks.newer(1_100).await, Err(NoKeys));
        assert_eq!(jwks.newer(1_104).await, Err(NoKeys), "and asked again a little later, not at once");
        assert_eq!(*jwks.keys(1_104).await.unwrap(), "one", "the keys that we have still hold");
        assert_eq!(*jwks.newer(1_105).await.unwrap().unwrap(), "two");
        assert_eq!(server.asked().len(), 3);
    }

    #[tokio::test]
    async fn keys_that_cannot_be_had_are_no_keys_and_old_ones_do_not_step_in() {
        let server = StandIn::start([say("one"), Reply::Say(503, vec![], String::new()), say("two")]).await;
        let jwks = jwks(&server);
        jwks.keys(1_000).await.unwrap();
        assert_eq!(jwks.keys(9_000).await, Err(NoKeys));
        assert_eq!(jwks.keys(9_004).await, Err(NoKeys), "asked again too soon");
        assert_eq!(*jwks.keys(9_005).await.unwrap(), "two");
    }
}
