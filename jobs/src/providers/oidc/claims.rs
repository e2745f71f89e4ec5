//! The library's client with claims of any name beside the standard ones, and where the groups are among them.

use openidconnect::{
    AdditionalClaims, Client, EmptyExtraTokenFields, EndpointMaybeSet, EndpointNotSet, EndpointSet, IdTokenFields,
    StandardErrorResponse, StandardTokenResponse,
    core::{
        CoreAuthDisplay, CoreAuthPrompt, CoreErrorResponseType, CoreGenderClaim, CoreJsonWebKey,
        CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm, CoreRevocableToken, CoreRevocationErrorResponse,
        CoreTokenIntrospectionResponse, CoreTokenType,
    },
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// More groups than anybody's are not read.
const MOST: usize = 1000;

/// The claims beside the standard ones.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Beside {
    #[serde(flatten)]
    claims: Map<String, Value>,
}

impl AdditionalClaims for Beside {}

pub(super) type IdToken =
    openidconnect::IdToken<Beside, CoreGenderClaim, CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm>;

type Fields = IdTokenFields<
    Beside,
    EmptyExtraTokenFields,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJwsSigningAlgorithm,
>;

pub(super) type Protocol = Client<
    Beside,
    CoreAuthDisplay,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJsonWebKey,
    CoreAuthPrompt,
    StandardErrorResponse<CoreErrorResponseType>,
    StandardTokenResponse<Fields, CoreTokenType>,
    CoreTokenIntrospectionResponse,
    CoreRevocableToken,
    CoreRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

impl Beside {
    /// The groups in a claim of that name, or at the end of names with dots between them.
    pub(super) fn groups(&self, name: &str) -> Vec<String> {
        let inside = || {
            let mut names = name.split('.');
            let first = self.claims.get(names.next()?)?;
            names.try_fold(first, |value, name| value.get(name))
        };
        match self.claims.get(name).or_else(inside) {
            Some(Value::String(one)) => vec![one.clone()],
            Some(Value::Array(many)) => {
                many.iter().take(MOST).filter_map(|group| group.as_str().map(str::to_owned)).collect()
            }
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn groups_are_found_by_name_or_inside_other_claims_and_another_shape_is_no_group() {
        let beside: Beside = serde_json::from_value(json!({
            "groups": ["ops", 7, "read"], "role": "ops", "realm_access": { "roles": ["admin"] },
            "https://example.com/groups": ["named"], "number": 1,
        }))
        .unwrap();
        assert_eq!(beside.groups("groups"), ["ops", "read"]);
        assert_eq!(beside.groups("role"), ["ops"]);
        assert_eq!(beside.groups("realm_access.roles"), ["admin"]);
        assert_eq!(beside.groups("https://example.com/groups"), ["named"]);
        for none in ["number", "missing", "realm_access", "groups.0", "", "a.b"] {
            assert!(beside.groups(none).is_empty(), "{none}");
        }
    }
}
