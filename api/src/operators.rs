//! Operators who sign in to the console at an identity provider, and what their groups there let them do (decision 0019).

use safelight_jobs::providers::{
    ConfigError,
    oidc::{Identity, Oidc},
};

use crate::tokens::Scope;

/// The provider, and the groups that open the console. A group that is not named opens nothing.
pub struct OperatorSignIn {
    pub(crate) oidc: Oidc,
    operate: Vec<String>,
    read: Vec<String>,
}

impl OperatorSignIn {
    /// Members of a group in `operate` may act, members of one in `read` may look; who is in both may act.
    ///
    /// # Errors
    /// No group is named: nobody could sign in.
    pub fn new(oidc: Oidc, operate: Vec<String>, read: Vec<String>) -> Result<Self, ConfigError> {
        let named = |groups: Vec<String>| -> Vec<String> {
            groups.into_iter().map(|group| group.trim().to_owned()).filter(|group| !group.is_empty()).collect()
        };
        let (operate, read) = (named(operate), named(read));
        if operate.is_empty() && read.is_empty() {
            return Err(ConfigError::BadSetting {
                what: "SAFELIGHT_OIDC_OPERATE",
                why: "neither it nor SAFELIGHT_OIDC_READ names a group; nobody could sign in",
            });
        }
        Ok(Self { oidc, operate, read })
    }

    /// What this person may do here; none: nothing.
    pub(crate) fn scope_of(&self, who: &Identity) -> Option<Scope> {
        let is_in = |groups: &[String]| groups.iter().any(|group| who.groups.contains(group));
        if is_in(&self.operate) {
            Some(Scope::Operate)
        } else if is_in(&self.read) {
            Some(Scope::Read)
        } else {
            None
        }
    }
}
