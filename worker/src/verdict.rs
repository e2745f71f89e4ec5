//! From what a job said to what the queue stores. The only translator.

use std::time::Duration;

use safelight_jobs::{
    job::Undecodable,
    queue::Verdict,
    registry,
    stop::{ANSWERED, Done, Stop},
};

/// `None`: the job's end was committed with its effects.
pub(crate) fn verdict(kind: &str, spent: i32, result: Result<Result<Done, Stop>, Undecodable>) -> Option<Verdict> {
    Some(match result {
        Ok(Ok(done)) if done.is_committed() => return None,
        Ok(Ok(_)) => Verdict::Done,
        Ok(Err(Stop::Retry { code, at_least, trouble, .. })) => {
            let delay = registry::retry_of(kind).delay(spent + 1).max(at_least.unwrap_or(Duration::ZERO));
            match trouble {
                Some(provider) => Verdict::Trouble { provider: provider.as_str(), delay, code: code.to_owned() },
                None => Verdict::Retry { delay, code: code.to_owned() },
            }
        }
        Ok(Err(Stop::Wait { at_least, why })) => Verdict::Wait { delay: at_least, why },
        Ok(Err(Stop::GiveUp { code, .. })) => Verdict::GiveUp { code: code.to_owned() },
        Err(Undecodable::UnknownKind { .. }) => Verdict::Park { code: "unknown_kind".to_owned() },
        Err(Undecodable::Payload { .. }) => Verdict::Park { code: "undecodable".to_owned() },
    })
}

/// Did the provider that this attempt asked answer as it should? Said of an end, and of a wait for what it has not yet. Else a breaker
/// that looks again by a job whose result takes its time would hold all others back for as long.
pub(crate) fn is_well(verdict: Option<&Verdict>) -> bool {
    match verdict {
        None | Some(Verdict::Done) => true,
        Some(Verdict::Wait { why, .. }) => ANSWERED.iter().any(|code| why.split(':').next() == Some(*code)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_that_says_not_yet_is_well_and_one_that_is_busy_or_was_not_asked_is_not_said_to_be() {
        let waits =
            |why: &str| is_well(verdict("collect_image", 3, Ok(Err(Stop::wait(Duration::from_secs(9), why)))).as_ref());
        assert!(waits("result_not_there: Fal knows the request") && waits("fal_works: the request is not finished"));
        assert!(!waits("fal_busy: too many requests") && !waits("consent_missing: compare at upload"));
        assert!(!is_well(verdict("collect_image", 3, Ok(Err(Stop::give_up("fal_rejected", "no")))).as_ref()));
    }

    #[test]
    fn retry_after_is_never_undercut() {
        let stop = Stop::Retry {
            code: "x",
            why: std::io::Error::other("x").into(),
            at_least: Some(Duration::from_secs(7200)),
            trouble: None,
        };
        let Some(Verdict::Retry { delay, .. }) = verdict("train_model", 0, Ok(Err(stop))) else {
            panic!("a retry stays one")
        };
        assert!(delay >= Duration::from_secs(7200));
    }

    #[test]
    fn a_wait_spends_nothing_and_a_give_up_keeps_its_code() {
        let wait = verdict("train_model", 3, Ok(Err(Stop::wait(Duration::from_secs(9), "early: x"))));
        assert_eq!(wait, Some(Verdict::Wait { delay: Duration::from_secs(9), why: "early: x".to_owned() }));
        let gave_up = verdict("train_model", 3, Ok(Err(Stop::give_up("fal_rejected", "no"))));
        assert_eq!(gave_up, Some(Verdict::GiveUp { code: "fal_rejected".to_owned() }));
    }
}
