//! How often one token may ask: a bucket for each, in this process. Every answer says what is left; what is too much is refused
//! before anything is read, so that one caller's loop is not everybody's outage.
//! Shape of the headers: IETF draft-ietf-httpapi-ratelimit-headers-07, read November 2026.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Arc, PoisonError, RwLock},
};

use axum::{
    http::{HeaderMap, HeaderValue},
    response::{IntoResponse, Response},
};
use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::StateInformationMiddleware,
    state::keyed::DefaultKeyedStateStore,
};
use uuid::Uuid;

use crate::error::Error;

type Buckets = RateLimiter<Uuid, DefaultKeyedStateStore<Uuid>, DefaultClock, StateInformationMiddleware>;

/// Requests of one token a minute, where neither the token nor the settings say.
const USUAL: NonZeroU32 = NonZeroU32::new(6000).unwrap();

/// The buckets of all tokens, by how many requests a minute they hold.
pub(crate) struct Rates {
    usual: NonZeroU32,
    buckets: RwLock<HashMap<NonZeroU32, Arc<Buckets>>>,
}

/// What one request found.
pub(crate) struct Taken {
    limit: u32,
    left: u32,
    /// Seconds until the next one is let in; none: this one is.
    wait: Option<u64>,
}

impl Rates {
    /// `usual`: for tokens that have no number of their own; 6000 if none.
    pub(crate) fn new(usual: Option<u32>) -> Self {
        Self { usual: usual.and_then(NonZeroU32::new).unwrap_or(USUAL), buckets: RwLock::default() }
    }

    /// One request of a token that may make so many a minute.
    pub(crate) fn take(&self, token: Uuid, per_minute: Option<i32>) -> Taken {
        let own = per_minute.and_then(|number| u32::try_from(number).ok()).and_then(NonZeroU32::new);
        let limit = own.unwrap_or(self.usual);
        let known = self.buckets.read().unwrap_or_else(PoisonError::into_inner).get(&limit).cloned();
        let buckets = known.unwrap_or_else(|| {
            let mut all = self.buckets.write().unwrap_or_else(PoisonError::into_inner);
            let made = || Arc::new(RateLimiter::keyed(Quota::per_minute(limit)).with_middleware());
            all.entry(limit).or_insert_with(made).clone()
        });
        match buckets.check_key(&token) {
            Ok(state) => Taken { limit: limit.get(), left: state.remaining_burst_capacity(), wait: None },
            Err(refused) => {
                let wait = refused.wait_time_from(buckets.clock_now()).as_secs() + 1;
                Taken { limit: limit.get(), left: 0, wait: Some(wait) }
            }
        }
    }
}

/// The clock that the buckets read.
trait Now {
    fn clock_now(&self) -> <DefaultClock as Clock>::Instant;
}

impl Now for Buckets {
    fn clock_now(&self) -> <DefaultClock as Clock>::Instant {
        self.clock().now()
    }
}

impl Taken {
    /// The refusal, where there was no room.
    pub(crate) fn refusal(&self) -> Option<Response> {
        self.wait.map(|seconds| Error::TooOften { seconds }.into_response())
    }

    /// Say what is left.
    pub(crate) fn tell(&self, headers: &mut HeaderMap) {
        let reset = self.wait.unwrap_or_else(|| u64::from((self.limit - self.left.min(self.limit)) * 60 / self.limit));
        for (name, number) in [
            ("ratelimit-limit", u64::from(self.limit)),
            ("ratelimit-remaining", u64::from(self.left)),
            ("ratelimit-reset", reset),
        ] {
            headers.insert(name, HeaderValue::from(number));
        }
    }
}
