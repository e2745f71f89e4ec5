//! The words of a policy as types. Each is stored in rows and files, so a word never changes its meaning.

use serde::{Deserialize, Serialize};

/// A word that is none of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` is no {kind}; expected one of: {expected}")]
pub struct UnknownName {
    /// What kind of word was expected.
    pub kind: &'static str,
    /// What was found.
    pub word: String,
    /// All that there are.
    pub expected: String,
}

macro_rules! names {
    ($(#[$about:meta])* $kind:literal $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$doc])* #[serde(rename = $word)] $variant,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The word, as it is stored.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = UnknownName;

            fn from_str(word: &str) -> Result<Self, UnknownName> {
                match word {
                    $($word => Ok(Self::$variant),)*
                    _ => Err(UnknownName { kind: $kind, word: word.to_owned(), expected: [$($word),*].join(", ") }),
                }
            }
        }
    };
}

names! {
    /// What a processing is for.
    "purpose" Purpose {
        /// Train a personal model.
        Train = "train",
        /// Make images that the person asked for.
        Generate = "generate",
        /// Measure how alike selfies and images are.
        Compare = "compare",
        /// Label images that are not safe for work.
        Nsfw = "nsfw",
        /// Take and confirm a payment.
        Pay = "pay",
        /// Tell the person something, by mail or in the product.
        Notify = "notify",
        /// Keep the person's data in database, store and sign-in.
        Host = "host",
        /// Watch for errors.
        Observe = "observe",
        /// Keep what tax and accounting law asks for.
        Fiscal = "fiscal",
        /// Serve the rights of the person: access, correction, deletion, restriction, portability.
        Dsr = "dsr",
        /// Protect the service and its data.
        Security = "security",
    }
}

names! {
    /// Who processes. A new one is a contract first, then a line in a policy, then a word here.
    "processor" Processor {
        /// The service itself, on its own machines.
        SelfHosted = "self",
        /// Training and inference.
        Fal = "fal",
        /// Database, storage, sign-in.
        Supabase = "supabase",
        /// Payment.
        Stripe = "stripe",
        /// Mail.
        Resend = "resend",
        /// Hosting.
        Vercel = "vercel",
        /// Error monitoring.
        Sentry = "sentry",
    }
}

names! {
    /// Kinds of data about a person.
    "data class" DataClass {
        /// Email, name, sign-in id.
        Account = "account",
        /// A photo that the person uploaded.
        Upload = "upload",
        /// A face as a vector.
        Embedding = "embedding",
        /// A trained personal model.
        Model = "model",
        /// A generated image.
        Image = "image",
        /// What was concluded about an image: similarity, label.
        Verdict = "verdict",
        /// What was asked to be shown.
        Prompt = "prompt",
        /// Order and payment metadata.
        Order = "order",
        /// The record of a consent.
        Consent = "consent",
        /// Job, attempt, dead letter, log line, trace.
        Job = "job",
        /// A copy that a processor holds.
        ProcessorCopy = "processor_copy",
        /// A backup.
        Backup = "backup",
    }
}

names! {
    /// Why a processing is lawful (GDPR Art. 6).
    "basis" Basis {
        /// The person said yes.
        Consent = "consent",
        /// What was bought needs it.
        Contract = "contract",
        /// A law asks for it.
        LegalObligation = "legal_obligation",
        /// An interest of the service that outweighs the person's.
        LegitimateInterest = "legitimate_interest",
    }
}

names! {
    /// Where a consent is asked for.
    "capture point" CapturePoint {
        /// When the account is made.
        SignUp = "sign_up",
        /// With one act of uploading.
        Upload = "upload",
        /// Immediately before payment.
        Checkout = "checkout",
        /// In the settings.
        Settings = "settings",
    }
}

names! {
    /// How far one consent reaches.
    "scope" Scope {
        /// All of the account.
        Account = "account",
        /// One act of uploading.
        Batch = "batch",
        /// One order.
        Order = "order",
    }
}
