//! A text that must not be printed: a key, a token, a signed link, a mail address on its way out.
//!
//! It has no `Debug`, no `Display` and no `Serialize`, so a struct that holds one cannot be logged by accident either.

use std::{convert::Infallible, str::FromStr, sync::Arc};

use subtle::ConstantTimeEq;

/// A text that only [`Secret::expose`] hands out.
#[derive(Clone)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Wraps a text. It is not copied again by `clone`.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The text itself. Put it into a header, a body or a hash, never into an error or a log line.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// True for an empty text: an unset variable. Such a secret must refuse, not allow.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Compares in a time that depends on the length only. An empty secret matches nothing.
    pub fn matches(&self, other: &str) -> bool {
        !self.is_empty() && bool::from(self.0.as_bytes().ct_eq(other.as_bytes()))
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

/// For command lines and environment variables.
impl FromStr for Secret {
    type Err = Infallible;
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unset_secret_matches_nothing() {
        assert!(!Secret::new("").matches(""));
        assert!(Secret::new("a").matches("a"));
        assert!(!Secret::new("a").matches("ab"));
    }
}
