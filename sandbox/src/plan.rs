//! Faults of a whole sandbox as one document: for each provider rules, and a share of everything that goes wrong by dice.
//!
//! `{"fal": {"rules": [{"kind": "lost_answer", "times": 1, "on": "POST"}], "weather": {"seed": 7, "percent": 30, "faults": [{"kind":
//! "drop_webhook"}]}}}`: what `safelight sandbox --faults FILE` reads. Kinds are those of [`Fault`], in small letters.

use serde::{Deserialize, Serialize};

use crate::faults::{Fault, Faults, Rule};
use crate::sandbox::Sandbox;

/// What goes wrong at whom.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FaultPlan {
    /// At Stripe.
    pub stripe: OfOne,
    /// At Fal.
    pub fal: OfOne,
    /// At Supabase.
    pub supabase: OfOne,
    /// At Resend.
    pub resend: OfOne,
    /// At Sentry.
    pub sentry: OfOne,
}

/// What goes wrong at one provider.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OfOne {
    /// Used up by what they hit, the oldest first.
    pub rules: Vec<Rule>,
    /// A share of everything.
    pub weather: Option<Share>,
}

/// A share that goes wrong, by dice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// The same seed and the same order of requests give the same faults.
    #[serde(default)]
    pub seed: u64,
    /// Of a hundred.
    pub percent: u32,
    /// Which ones; each where it fits.
    pub faults: Vec<Fault>,
}

impl FaultPlan {
    /// Adds the plan's faults to a running sandbox.
    pub fn apply(&self, sandbox: &Sandbox) {
        let at = [
            (&self.stripe, sandbox.stripe.faults()),
            (&self.fal, sandbox.fal.faults()),
            (&self.supabase, sandbox.supabase.faults()),
            (&self.resend, sandbox.resend.faults()),
            (&self.sentry, sandbox.sentry.faults()),
        ];
        for (plan, faults) in at {
            plan.add_to(faults);
        }
    }
}

impl OfOne {
    fn add_to(&self, faults: &Faults) {
        self.rules.iter().cloned().for_each(|rule| faults.add(rule));
        if let Some(share) = &self.weather {
            faults.weather(share.seed, share.percent, &share.faults);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_reads_its_example_and_refuses_a_word_that_nobody_knows() {
        let text = r#"{"fal": {"rules": [{"kind": "lost_answer", "times": 1, "on": "POST"}],
            "weather": {"seed": 7, "percent": 30, "faults": [{"kind": "drop_webhook"}, {"kind": "slow_drip", "millis": 5}]}}}"#;
        let plan: FaultPlan = serde_json::from_str(text).unwrap();
        assert_eq!(plan.fal.rules[0].fault, Fault::LostAnswer);
        assert_eq!(plan.fal.weather.as_ref().unwrap().faults[1], Fault::SlowDrip { millis: 5 });
        assert_eq!(plan.stripe, OfOne::default());
        let faults = Faults::default();
        plan.fal.add_to(&faults);
        assert_eq!(faults.list(), plan.fal.rules);
        assert!(serde_json::from_str::<FaultPlan>(r#"{"fall": {}}"#).is_err());
        assert!(serde_json::from_str::<FaultPlan>(r#"{"fal": {"rules": [{"kind": "lost_anwser"}]}}"#).is_err());
    }
}
