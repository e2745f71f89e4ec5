//! Where operators sign in to the console, beside their tokens.

use std::time::Duration;

use clap::Args;
use safelight_api::OperatorSignIn;
use safelight_jobs::providers::{
    Secret,
    oidc::{Oidc, OidcConfig},
};

/// The longest that one call to the provider may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Where the provider sends the browser back to, behind the public address.
const BACK: &str = "/console/sign-in/oidc";

/// Sign-in to the console at an OpenID provider. Off without an issuer.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Sign-in of operators")]
pub(crate) struct Operators {
    /// The provider's issuer, as its tokens name it: https://login.example.com/realms/house; without it operators sign in with
    /// tokens only
    #[arg(long, env = "SAFELIGHT_OIDC_ISSUER")]
    oidc_issuer: Option<String>,
    /// What the console is registered as at the provider
    #[arg(long, env = "SAFELIGHT_OIDC_CLIENT_ID", default_value = "safelight-console")]
    oidc_client_id: String,
    /// The secret of a confidential client; a public one has none
    #[arg(long, env = "SAFELIGHT_OIDC_CLIENT_SECRET", hide_env_values = true)]
    oidc_client_secret: Option<String>,
    /// The claim of the ID token that holds the groups; names with dots between them for one inside others: realm_access.roles
    #[arg(long, env = "SAFELIGHT_OIDC_GROUPS_CLAIM", default_value = "groups")]
    oidc_groups_claim: String,
    /// Scopes to ask for beside openid, comma-separated, where the provider gives groups only then
    #[arg(long, env = "SAFELIGHT_OIDC_SCOPES", value_delimiter = ',')]
    oidc_scopes: Vec<String>,
    /// Groups whose members may act in the console, comma-separated
    #[arg(long, env = "SAFELIGHT_OIDC_OPERATE", value_delimiter = ',')]
    oidc_operate: Vec<String>,
    /// Groups whose members may look, comma-separated
    #[arg(long, env = "SAFELIGHT_OIDC_READ", value_delimiter = ',')]
    oidc_read: Vec<String>,
}

impl Operators {
    /// The sign-in of a console behind this public address; none without an issuer.
    pub(crate) fn sign_in(&self, public_url: &str) -> anyhow::Result<Option<OperatorSignIn>> {
        let Some(issuer) = self.oidc_issuer.clone().filter(|issuer| !issuer.trim().is_empty()) else {
            return Ok(None);
        };
        let secret = self.oidc_client_secret.as_deref().filter(|secret| !secret.is_empty());
        let oidc = Oidc::new(&OidcConfig {
            issuer,
            client_id: self.oidc_client_id.clone(),
            client_secret: secret.map(Secret::new),
            redirect_url: format!("{}{BACK}", public_url.trim_end_matches('/')),
            groups_claim: self.oidc_groups_claim.clone(),
            scopes: self.oidc_scopes.iter().filter(|scope| !scope.is_empty()).cloned().collect(),
            timeout: PATIENCE,
        })?;
        Ok(Some(OperatorSignIn::new(oidc, self.oidc_operate.clone(), self.oidc_read.clone())?))
    }
}
