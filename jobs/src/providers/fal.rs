//! fal: training, generation and labelling through its queue; results, cancelling, and deletion afterwards.
//!
//! fal has no idempotency key on submit, so a submit is sent once and its failure says whether fal can have accepted
//! it: [`SubmitError::NotAccepted`] may be tried again, [`SubmitError::Unknown`] never, it is reconciled by webhook, by
//! [`Fal::list_requests`] or by a person. Every submit switches off what fal would do by itself: keeping request and
//! result, keeping files for ever and open to everybody, trying again, moving to another provider.
//! Inputs are short-lived links to our own store; a link to fal's is refused, because fal cannot delete an input file
//! (policy H16). Outputs are fetched only from the listed hosts (H9) and never named in an error or a log line.
//! Sources: fal.ai/docs model-apis/inference/queue, /common-parameters, /file-access-controls, /errors and
//! api-reference/platform-apis; the JavaScript client 1.10.1; all read November 2026.

use std::time::Duration;

use reqwest::{
    Client,
    header::{AUTHORIZATION, HeaderMap, HeaderValue},
};
use serde_json::json;
use url::Url;

use super::{
    ConfigError, Secret,
    http::{Base, Limits, client, secret_header},
};

mod errors;
mod files;
mod follow;
mod outputs;
mod submit;

pub(super) use errors::code_in;
pub use errors::{FalError, ModelFailure, NotAccepted, SubmitError};
pub use files::{Download, FetchedFile, FileDeletion};
pub use follow::{CancelAnswer, FalStatus, ListedRequest, Listing};
pub use outputs::{FalFile, FalImage, images, nsfw_probability, trained_model};
pub use submit::{GenerationRequest, NsfwRequest, Submitted, TrainingRequest};

/// A result of a model with pictures inside it can be this large, in bytes.
const MOST: usize = 32 * 1024 * 1024;
/// fal reads 0 as for ever, and deletes no sooner than this.
const SHORTEST_FILE_LIFE: Duration = Duration::from_secs(60);

/// Who may read the files that a request makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileAccess {
    /// Nobody without a link signed by our key, which then needs the permission `assets:read`.
    Forbidden,
    /// Everybody who knows the link: fal's own default.
    Anyone,
}

/// Where fal is, who we are, and how long its copies live.
#[derive(Clone)]
pub struct FalConfig {
    /// `https://queue.fal.run`
    pub queue_url: String,
    /// `https://api.fal.ai/v1`
    pub platform_url: String,
    /// Hosts, with a port where it is not 443, that results are fetched from: `v3.fal.media`, `v3b.fal.media`.
    pub files_hosts: Vec<String>,
    /// The key for requests.
    pub key: Secret,
    /// A key of ADMIN scope, for deleting what a request left behind. Without it nothing can be purged.
    pub admin_key: Option<Secret>,
    /// How long files that a request makes live at fal if nobody deletes them; a minute at least. Results are
    /// collected within the hour, so a few hours are plenty.
    pub file_life: Duration,
    /// Who may read them meanwhile.
    pub file_access: FileAccess,
    /// The longest one call may take.
    pub timeout: Duration,
    /// The longest a download may take.
    pub download_timeout: Duration,
}

/// The client. Made once; clones share connections.
#[derive(Clone)]
pub struct Fal {
    http: Client,
    files: Client,
    queue: Base,
    platform: Base,
    files_hosts: Vec<String>,
    key: HeaderValue,
    admin_key: Option<HeaderValue>,
    submit_headers: HeaderMap,
    file_access: FileAccess,
}

impl Fal {
    /// Checks the settings; sends nothing.
    pub fn new(config: &FalConfig) -> Result<Self, ConfigError> {
        let queue = Base::parse("fal's queue", &config.queue_url)?;
        let platform = Base::parse("fal's platform", &config.platform_url)?;
        if config.file_life < SHORTEST_FILE_LIFE {
            return Err(ConfigError::BadSetting {
                what: "fal file life",
                why: "fal reads 0 as for ever; a minute is the least",
            });
        }
        let fine = |host: &String| Url::parse(&format!("https://{host}")).is_ok_and(|url| url.authority() == host);
        if config.files_hosts.is_empty() || !config.files_hosts.iter().all(fine) {
            return Err(ConfigError::BadSetting {
                what: "fal files hosts",
                why: "each must be a host, with a port where it is not 443, and nothing else",
            });
        }
        let connect = config.timeout.min(Duration::from_secs(5));
        let limits = |total| Limits { connect, total };
        let key = |what, key: &Secret| secret_header(what, &format!("Key {}", key.expose()), key.expose());
        Ok(Self {
            http: client("fal", &[&queue, &platform], limits(config.timeout))?,
            files: client("fal", &[&queue, &platform], limits(config.download_timeout))?,
            key: key("fal", &config.key)?,
            admin_key: config.admin_key.as_ref().map(|admin| key("fal's ADMIN key", admin)).transpose()?,
            files_hosts: config.files_hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
            submit_headers: submit_headers(config.file_life, config.file_access),
            file_access: config.file_access,
            queue,
            platform,
        })
    }

    fn authorised(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        request.header(AUTHORIZATION, self.key.clone())
    }
}

/// What every submit says: keep nothing, try nothing twice, ask nobody else.
fn submit_headers(life: Duration, access: FileAccess) -> HeaderMap {
    let default = match access {
        FileAccess::Forbidden => "forbid",
        FileAccess::Anyone => "allow",
    };
    let lifecycle = json!({
        "expiration_duration_seconds": life.as_secs(),
        "initial_acl": { "default": default, "rules": [] },
    });
    let mut headers = HeaderMap::new();
    headers.insert("x-fal-store-io", HeaderValue::from_static("0"));
    headers.insert("x-fal-no-retry", HeaderValue::from_static("1"));
    headers.insert("x-app-fal-disable-fallback", HeaderValue::from_static("true"));
    // Numbers and plain words: always a valid header.
    if let Ok(lifecycle) = HeaderValue::from_str(&lifecycle.to_string()) {
        headers.insert("x-fal-object-lifecycle-preference", lifecycle);
    }
    headers
}

#[cfg(test)]
mod tests;
