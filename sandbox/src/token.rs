//! Ids and keys in the shapes providers use. They open nothing but a sandbox.

use rand::distributions::{Alphanumeric, DistString as _};

/// That many random letters and digits.
pub(crate) fn letters(count: usize) -> String {
    Alphanumeric.sample_string(&mut rand::thread_rng(), count)
}

/// A key or an id: the prefix and 24 random characters.
pub(crate) fn prefixed(prefix: &str) -> String {
    format!("{prefix}{}", letters(24))
}
