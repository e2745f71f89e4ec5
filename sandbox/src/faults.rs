//! What can be made to go wrong at a stand-in, how often, and at which requests.
//!
//! Rules name what goes wrong next; weather is a share of everything, by dice with a seed.
//! A rule is used up by the request or the webhook it hits; the oldest matching rule goes first. Faults of the
//! answer (`LostAnswer`) happen after the work was accepted; faults of the door (429, 5xx, 402, `Unreachable`) before.

use std::sync::{Arc, Mutex};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::lock::lock;

/// One way of failing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fault {
    /// The work is accepted and done; the connection is cut before a byte of the answer.
    LostAnswer,
    /// The connection is cut before anything is read as a request: nothing was accepted.
    Unreachable,
    /// 429 in the provider's own shape; nothing accepted.
    TooManyRequests {
        /// Sent as `Retry-After`, seconds; none: no header.
        retry_after_seconds: Option<u64>,
    },
    /// A 5xx before any work, in the provider's own shape.
    ServerError {
        /// 500 to 599.
        status: u16,
    },
    /// 402: no money left at Fal, a declined card at Stripe.
    PaymentRequired,
    /// Resend: 429 `daily_quota_exceeded`, which no quick retry mends.
    QuotaExceeded,
    /// The answer is there and comes in sixteen pieces, this long apart; a caller with less patience never has it whole.
    SlowDrip {
        /// Between two pieces, milliseconds.
        millis: u64,
    },
    /// Stripe: a 500 after execution began; under an idempotency key it is stored and replayed.
    StoredServerError,
    /// A webhook that is never sent.
    DropWebhook,
    /// A webhook that is sent twice.
    DoubleWebhook,
    /// A webhook that comes late.
    DelayWebhook {
        /// How late, milliseconds.
        millis: u64,
    },
    /// A webhook that comes when the stand-ins' clock has been turned on by that much: hours are turned, not waited for.
    DelayWebhookByClock {
        /// How late, minutes.
        minutes: u32,
    },
    /// A webhook that is held back until the next one was sent.
    SwapWebhooks,
    /// Fal: cancel answers 202, the work goes on, and the webhook says OK.
    CancelIgnored,
    /// Fal: from this webhook on another key signs, and the key set shows the new one alone.
    RotateKey,
    /// Fal: the result is asked for in time and is gone all the same.
    ResultExpired,
    /// Fal: the model's refusal is a sentence where others send a list.
    PlainDetail,
    /// Fal: 200, and the picture is black and flagged, where the request wants the safety checker.
    BlackPicture,
    /// Stripe: the header holds two `v1` signatures, the first of another secret, as while a secret rolls.
    TwoSignatures,
    /// Fal: 422, the model's content policy refuses the input.
    ModelRefuses,
    /// Fal: the model breaks over the request: COMPLETED with an error, and no result.
    ModelBreaks,
    /// Fal: the purge answers 200 and an empty list, and every file and the result are still there.
    PurgeAnswersNothing,
    /// Fal: the purge answers 200 as if all went well, and every file is still there.
    PurgeRemovesNothing,
    /// Fal: the purge answers 200; the first file carries an exception and is still there.
    PurgeFailsOneFile,
    /// Supabase Storage: a deletion answers success, over REST with an empty list, and the object is still there.
    DeleteRemovesNothing,
    /// Supabase Storage: 200 with an empty list, though objects are there.
    ListIsEmpty,
    /// Supabase Storage: its cache still shows an object, over REST and by its own signed links, after a deletion; not over S3.
    CacheStillServes {
        /// For how long after the deletion, seconds of the sandbox clock; up to 60 at the real one.
        seconds: u32,
    },
    /// Supabase Auth and Fal: 200, and the set of public keys is empty.
    EmptyKeySet,
    /// Stripe: the event is in an older version of the API: of its object there is little more than the id, and its words are
    /// others.
    OlderEvent,
    /// Stripe: the refund succeeds, and fails afterwards.
    RefundFailsLater,
    /// Resend: the mail is taken and comes back.
    MailBounces,
    /// Supabase Auth: 500, `Database error deleting user`; the user stays.
    UserDeletionFails,
}

impl Fault {
    /// True for what happens at the door, before the provider's own code.
    fn at_the_door(self) -> bool {
        matches!(
            self,
            Fault::Unreachable
                | Fault::TooManyRequests { .. }
                | Fault::ServerError { .. }
                | Fault::PaymentRequired
                | Fault::QuotaExceeded
        )
    }

    fn of_webhooks(self) -> bool {
        matches!(
            self,
            Fault::DropWebhook
                | Fault::DoubleWebhook
                | Fault::DelayWebhook { .. }
                | Fault::DelayWebhookByClock { .. }
                | Fault::SwapWebhooks
        )
    }
}

/// A fault with its bounds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// What goes wrong.
    #[serde(flatten)]
    pub fault: Fault,
    /// How many more times; `None`: until cleared.
    #[serde(default)]
    pub times: Option<u32>,
    /// Only where `METHOD /path` (for a webhook: its event type or request id) contains this text.
    #[serde(default)]
    pub on: Option<String>,
}

/// A share of all requests and webhooks that goes wrong, thrown by dice: the same seed and the same order of requests
/// give the same weather.
#[derive(Debug)]
struct Weather {
    percent: u32,
    faults: Vec<Fault>,
    dice: StdRng,
}

impl Weather {
    /// One of the faults that fit, for so many percent of the throws.
    fn throw(&mut self, wanted: impl Fn(Fault) -> bool) -> Option<Fault> {
        let fitting: Vec<Fault> = self.faults.iter().copied().filter(|&fault| wanted(fault)).collect();
        if fitting.is_empty() || self.dice.gen_range(0..100) >= self.percent {
            return None;
        }
        fitting.get(self.dice.gen_range(0..fitting.len())).copied()
    }
}

/// The faults of one stand-in; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    rules: Arc<Mutex<Vec<Rule>>>,
    weather: Arc<Mutex<Option<Weather>>>,
}

impl Faults {
    /// Goes wrong once.
    pub fn once(&self, fault: Fault) {
        self.times(1, fault);
    }

    /// Goes wrong that many times.
    pub fn times(&self, times: u32, fault: Fault) {
        self.add(Rule { fault, times: Some(times), on: None });
    }

    /// Goes wrong until [`Faults::clear`].
    pub fn always(&self, fault: Fault) {
        self.add(Rule { fault, times: None, on: None });
    }

    /// Adds a rule with bounds of its own.
    pub fn add(&self, rule: Rule) {
        lock(&self.rules).push(rule);
    }

    /// From now on so many percent of all requests and webhooks go wrong in one of these ways, until [`Faults::clear`].
    pub fn weather(&self, seed: u64, percent: u32, faults: &[Fault]) {
        let dice = StdRng::seed_from_u64(seed);
        *lock(&self.weather) = Some(Weather { percent, faults: faults.to_vec(), dice });
    }

    /// Forgets all rules, and the weather.
    pub fn clear(&self) {
        lock(&self.rules).clear();
        *lock(&self.weather) = None;
    }

    /// The rules that still wait for their request.
    #[must_use]
    pub fn list(&self) -> Vec<Rule> {
        lock(&self.rules).clone()
    }

    pub(crate) fn take_at_the_door(&self, label: &str) -> Option<Fault> {
        self.take_if(label, Fault::at_the_door)
    }

    pub(crate) fn take_webhook(&self, label: &str) -> Option<Fault> {
        self.take_if(label, Fault::of_webhooks)
    }

    /// How far apart the pieces of this answer come, milliseconds.
    pub(crate) fn take_drip(&self, label: &str) -> Option<u64> {
        match self.take_if(label, |fault| matches!(fault, Fault::SlowDrip { .. })) {
            Some(Fault::SlowDrip { millis }) => Some(millis),
            _ => None,
        }
    }

    /// For how long the cache still shows what this deletes, seconds.
    pub(crate) fn take_cache(&self, label: &str) -> Option<u32> {
        match self.take_if(label, |fault| matches!(fault, Fault::CacheStillServes { .. })) {
            Some(Fault::CacheStillServes { seconds }) => Some(seconds),
            _ => None,
        }
    }

    pub(crate) fn take(&self, label: &str, fault: Fault) -> bool {
        self.take_if(label, |f| f == fault).is_some()
    }

    fn take_if(&self, label: &str, wanted: impl Fn(Fault) -> bool) -> Option<Fault> {
        self.take_rule(label, &wanted).or_else(|| lock(&self.weather).as_mut()?.throw(wanted))
    }

    fn take_rule(&self, label: &str, wanted: impl Fn(Fault) -> bool) -> Option<Fault> {
        let mut rules = lock(&self.rules);
        let at = rules.iter().position(|rule| {
            wanted(rule.fault) && rule.times != Some(0) && rule.on.as_deref().is_none_or(|part| label.contains(part))
        })?;
        let rule = &mut rules[at];
        let fault = rule.fault;
        if let Some(times) = &mut rule.times {
            *times -= 1;
            if *times == 0 {
                rules.remove(at);
            }
        }
        Some(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_used_up_by_the_requests_it_hits_and_by_no_others() {
        let faults = Faults::default();
        faults.add(Rule {
            fault: Fault::ServerError { status: 503 },
            times: Some(2),
            on: Some("POST /emails".to_owned()),
        });
        assert_eq!(faults.take_at_the_door("GET /emails/1"), None);
        assert_eq!(faults.take_webhook("POST /emails"), None);
        assert_eq!(faults.take_at_the_door("POST /emails"), Some(Fault::ServerError { status: 503 }));
        assert_eq!(faults.take_at_the_door("POST /emails"), Some(Fault::ServerError { status: 503 }));
        assert_eq!(faults.take_at_the_door("POST /emails"), None);
        assert!(faults.list().is_empty());
    }

    #[test]
    fn the_same_seed_is_the_same_weather_and_a_rule_goes_before_it() {
        let month = |seed| {
            let faults = Faults::default();
            faults.weather(seed, 30, &[Fault::DropWebhook, Fault::DoubleWebhook, Fault::LostAnswer]);
            (0..300).map(|_| faults.take_webhook("charge.refunded")).collect::<Vec<_>>()
        };
        assert_eq!(month(7), month(7));
        assert_ne!(month(7), month(8));
        let bad = month(7).iter().filter(|day| day.is_some()).count();
        assert!((60..120).contains(&bad), "{bad} of 300");
        assert!(!month(7).contains(&Some(Fault::LostAnswer)), "what fits the place only");

        let faults = Faults::default();
        faults.weather(7, 100, &[Fault::DropWebhook]);
        faults.once(Fault::DoubleWebhook);
        assert_eq!(faults.take_webhook("x"), Some(Fault::DoubleWebhook));
        assert_eq!(faults.take_webhook("x"), Some(Fault::DropWebhook));
        faults.clear();
        assert_eq!(faults.take_webhook("x"), None);
    }

    #[test]
    fn a_rule_written_as_json_reads_back() {
        let text = r#"{"kind":"too_many_requests","retry_after_seconds":7,"times":1,"on":"POST"}"#;
        let rule: Rule = serde_json::from_str(text).unwrap();
        assert_eq!(rule.fault, Fault::TooManyRequests { retry_after_seconds: Some(7) });
        assert_eq!(serde_json::from_str::<Rule>(&serde_json::to_string(&rule).unwrap()).unwrap(), rule);
        assert_eq!(
            serde_json::from_str::<Rule>(r#"{"kind":"lost_answer"}"#).unwrap(),
            Rule { fault: Fault::LostAnswer, times: None, on: None }
        );
    }
}
