//! What each client's error means for a job: try again, wait, or give up. Every variant is named, so that a new one asks
//! to be thought about.

use std::time::Duration;

use crate::{
    policy::Processor,
    providers::{
        auth::AuthError,
        fal::{FalError, NotAccepted, SubmitError},
        mail::MailError,
        storage::StorageError,
        stripe::StripeError,
    },
    stop::Stop,
};

/// Codes of waits as long as this one stand in [`crate::queue::REFUSED_US`], which the console and an alert look at.
const A_PERSON_ACTS: Duration = Duration::from_secs(15 * 60);

fn busy(who: &str, after: Option<Duration>) -> Stop {
    Stop::wait(after.unwrap_or(Duration::from_secs(10)), format!("{who}_busy: too many requests"))
}

impl From<SubmitError> for Stop {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::NotAccepted(NotAccepted::Busy { after }) => busy("fal", after),
            SubmitError::NotAccepted(NotAccepted::Unsent { .. }) => {
                Self::trouble(Processor::Fal, "fal_unreachable", error)
            }
            SubmitError::NotAccepted(NotAccepted::NoMoney) => {
                Self::wait(A_PERSON_ACTS, "fal_without_money: the account's balance is used up")
            }
            SubmitError::NotAccepted(NotAccepted::NotAllowed { .. }) => {
                Self::wait(A_PERSON_ACTS, "fal_key_refused: check FAL_KEY")
            }
            SubmitError::NotAccepted(NotAccepted::Refused { .. }) => Self::give_up("fal_rejected", error.to_string()),
            SubmitError::NotAccepted(NotAccepted::BadInput { .. }) => Self::give_up("bad_input", error.to_string()),
            SubmitError::Unknown { .. } => Self::wait(Duration::from_secs(300), "call_unknown: being reconciled"),
        }
    }
}

impl From<FalError> for Stop {
    fn from(error: FalError) -> Self {
        match error {
            FalError::NotFound => Self::give_up("result_expired", error.to_string()),
            FalError::Unfinished => Self::wait(Duration::from_secs(60), "fal_works: the request is not finished"),
            FalError::Failed(_) => Self::give_up("fal_failed", error.to_string()),
            FalError::ForeignLink => Self::give_up("foreign_link", error.to_string()),
            FalError::NotAllowed { .. } => {
                Self::wait(A_PERSON_ACTS, "fal_key_refused: check FAL_KEY and FAL_ADMIN_KEY")
            }
            FalError::NoAdminKey => Self::wait(A_PERSON_ACTS, "fal_admin_key_missing: set FAL_ADMIN_KEY"),
            FalError::Busy { after } => busy("fal", after),
            FalError::Unreachable { .. } => Self::trouble(Processor::Fal, "fal_unreachable", error),
            FalError::Unreadable { .. } => Self::trouble(Processor::Fal, "fal_unreadable", error),
            FalError::TooLarge { .. } => Self::give_up("file_too_large", error.to_string()),
        }
    }
}

impl From<StripeError> for Stop {
    fn from(error: StripeError) -> Self {
        match error {
            StripeError::NotFound { .. } => Self::give_up("session_not_found", error.to_string()),
            StripeError::Refused { .. } => Self::give_up("stripe_refused", error.to_string()),
            StripeError::NotAllowed { .. } => Self::wait(A_PERSON_ACTS, "stripe_key_refused: check STRIPE_SECRET_KEY"),
            StripeError::Busy { after } => busy("stripe", after.into()),
            StripeError::Unreachable { .. } => Self::trouble(Processor::Stripe, "stripe_unreachable", error),
            StripeError::Unreadable { .. } => Self::trouble(Processor::Stripe, "stripe_unreadable", error),
            StripeError::BadInput { .. } => Self::give_up("bad_input", error.to_string()),
        }
    }
}

impl From<StorageError> for Stop {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::BadKey => Self::give_up("bad_key", error.to_string()),
            StorageError::NotFound => Self::give_up("object_gone", error.to_string()),
            StorageError::TooLarge { .. } => Self::give_up("file_too_large", error.to_string()),
            StorageError::NotAllowed => Self::wait(A_PERSON_ACTS, "store_key_refused: check the S3 access key"),
            StorageError::NotSupported | StorageError::BadLife => Self::give_up("store_cannot_sign", error.to_string()),
            StorageError::Unreachable => Self::trouble(Processor::Supabase, "store_unreachable", error),
            StorageError::SourceBroke => Self::retry("source_broke", error),
        }
    }
}

impl From<MailError> for Stop {
    fn from(error: MailError) -> Self {
        match error {
            MailError::Busy { after } | MailError::InFlight { after } => busy("resend", Some(after)),
            MailError::QuotaUsedUp { after, .. } => {
                Self::wait(after.unwrap_or(Duration::from_secs(3600)), "resend_quota: the plan's mails are used up")
            }
            MailError::NotAllowed { .. } => {
                Self::wait(A_PERSON_ACTS, "resend_key_refused: check RESEND_API_KEY and the domain")
            }
            MailError::KeyReused | MailError::Refused { .. } | MailError::BadInput { .. } => {
                Self::give_up("mail_refused", error.to_string())
            }
            MailError::Unreachable { .. } | MailError::Unreadable => {
                Self::trouble(Processor::Resend, "resend_unreachable", error)
            }
        }
    }
}

impl From<AuthError> for Stop {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Kept { .. } => Self::retry("auth_user_kept", error),
            AuthError::Unchanged { .. } => Self::retry("auth_address_unchanged", error),
            AuthError::BadAddress { .. } => Self::give_up("auth_address_refused", error.to_string()),
            AuthError::NotAllowed { .. } => Self::wait(A_PERSON_ACTS, "auth_key_refused: check SUPABASE_SERVICE_KEY"),
            AuthError::Refused { .. } => Self::retry("auth_refused", error),
            AuthError::Busy { after } => busy("supabase", Some(after)),
            AuthError::Unreachable { .. } => Self::trouble(Processor::Supabase, "auth_unreachable", error),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::queue::REFUSED_US;

    #[test]
    fn whoever_waits_for_a_person_is_counted_among_those() {
        let source = include_str!("client_errors.rs").split("#[cfg(test)]").next().unwrap();
        let waits: Vec<&str> =
            source.split("wait(A_PERSON_ACTS, \"").skip(1).map(|rest| rest.split(':').next().unwrap()).collect();
        assert!(waits.len() > 5, "{waits:?}");
        assert_eq!(
            waits.len(),
            source.matches("A_PERSON_ACTS").count() - 1,
            "each wait names its code where it is made"
        );
        for code in waits {
            assert!(REFUSED_US.contains(&code), "{code}");
        }
    }
}
