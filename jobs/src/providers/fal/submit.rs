//! Submitting: the request bodies, and what the answer means.

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    Fal, MOST,
    errors::{NotAccepted, SubmitError, code_of},
};
use crate::{
    gate::{Allowed, Generate, Nsfw, Train},
    providers::{
        Secret,
        http::{Answer, Lost, exchange, is_plain_id, retry_after, safe_url},
    },
};

/// Train one person's model. It has no `Debug`: it holds links to photos.
pub struct TrainingRequest {
    /// For example `fal-ai/flux-lora-fast-training`.
    pub model_id: String,
    /// A short-lived link of ours to a zip of photos.
    pub images_data_url: Secret,
    /// The word that will stand for the person in prompts; it must not be their name.
    pub trigger_word: String,
    /// The model's other settings, as its page names them: `steps`, `create_masks`…
    pub parameters: Map<String, Value>,
    /// Where fal reports; its path holds the attempt's token.
    pub webhook_url: String,
}

/// Make images.
pub struct GenerationRequest {
    /// For example `fal-ai/flux-lora` or `fal-ai/flux-lora/image-to-image`.
    pub model_id: String,
    /// What to show.
    pub prompt: String,
    /// A short-lived link of ours to the trained model, which then counts in full.
    pub lora_url: Option<Secret>,
    /// A short-lived link of ours to a picture to start from, where the model takes one.
    pub image_url: Option<Secret>,
    /// The same seed gives the same picture.
    pub seed: Option<i64>,
    /// How many pictures.
    pub num_images: u32,
    /// The model's other settings: `image_size`, `enable_safety_checker`…
    pub parameters: Map<String, Value>,
    /// Where fal reports; its path holds the attempt's token.
    pub webhook_url: String,
}

/// Label one image.
pub struct NsfwRequest {
    /// `fal-ai/imageutils/nsfw` or `fal-ai/x-ailab/nsfw`.
    pub model_id: String,
    /// A short-lived link of ours to the image.
    pub image_url: Secret,
    /// Where fal reports; its path holds the attempt's token.
    pub webhook_url: String,
}

/// fal has the request. Its links hold nothing but the request id; they are followed only to the configured host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submitted {
    /// The id to purge and to match webhooks by.
    pub request_id: String,
    /// Ask here how far it is.
    pub status_url: String,
    /// Fetch the result here.
    pub response_url: String,
    /// Ask here to cancel.
    pub cancel_url: String,
}

impl Fal {
    /// Starts a training, once. The proof says that the person allows it.
    pub async fn submit_training(
        &self,
        _proof: &Allowed<Train>,
        request: &TrainingRequest,
    ) -> Result<Submitted, SubmitError> {
        self.train(request).await
    }

    /// Starts a generation, once.
    pub async fn submit_generation(
        &self,
        _proof: &Allowed<Generate>,
        request: &GenerationRequest,
    ) -> Result<Submitted, SubmitError> {
        self.generate(request).await
    }

    /// Starts the labelling of one image, once; read its result with [`super::nsfw_probability`].
    pub async fn check_nsfw(&self, _proof: &Allowed<Nsfw>, request: &NsfwRequest) -> Result<Submitted, SubmitError> {
        self.label(request).await
    }

    pub(super) async fn train(&self, request: &TrainingRequest) -> Result<Submitted, SubmitError> {
        let trigger = trigger_field(&request.model_id);
        let images = self.own_link(&request.images_data_url, "link to the photos")?;
        let input = [("images_data_url", images), (trigger, json!(request.trigger_word))];
        self.submit(&request.model_id, &request.parameters, input, &request.webhook_url).await
    }

    pub(super) async fn generate(&self, request: &GenerationRequest) -> Result<Submitted, SubmitError> {
        let mut input = vec![("prompt", json!(request.prompt)), ("num_images", json!(request.num_images))];
        input.extend(request.seed.map(|seed| ("seed", json!(seed))));
        if let Some(lora) = &request.lora_url {
            let path = self.own_link(lora, "link to the trained model")?;
            input.push(("loras", json!([{ "path": path, "scale": 1 }])));
        }
        if let Some(image) = &request.image_url {
            input.push(("image_url", self.own_link(image, "link to the image")?));
        }
        self.submit(&request.model_id, &request.parameters, input, &request.webhook_url).await
    }

    pub(super) async fn label(&self, request: &NsfwRequest) -> Result<Submitted, SubmitError> {
        let image = self.own_link(&request.image_url, "link to the image")?;
        let input = match request.model_id.as_str() {
            "fal-ai/x-ailab/nsfw" => ("image_urls", json!([image])),
            _ => ("image_url", image),
        };
        self.submit(&request.model_id, &Map::new(), [input], &request.webhook_url).await
    }

    async fn submit(
        &self,
        model_id: &str,
        parameters: &Map<String, Value>,
        input: impl IntoIterator<Item = (&'static str, Value)>,
        webhook_url: &str,
    ) -> Result<Submitted, SubmitError> {
        if !is_model_id(model_id) {
            return Err(NotAccepted::BadInput { what: "model id" }.into());
        }
        let webhook = safe_url(webhook_url).ok_or(NotAccepted::BadInput { what: "webhook address" })?;
        let mut body = parameters.clone();
        for (name, value) in input {
            // A setting must not smuggle in another person's photos or prompt.
            if body.insert(name.to_owned(), value).is_some() {
                return Err(NotAccepted::BadInput { what: "parameter that repeats an input" }.into());
            }
        }
        if ["images_data_url", "image_url", "image_urls", "loras"].iter().any(|name| parameters.contains_key(*name)) {
            return Err(NotAccepted::BadInput { what: "parameter that is a link" }.into());
        }
        let request = self
            .authorised(self.http.request(Method::POST, self.queue.at(&format!("/{model_id}"))))
            .query(&[("fal_webhook", webhook.as_str())])
            .headers(self.submit_headers.clone())
            .json(&body);
        match exchange(request, MOST).await {
            Ok(answer) => judge(&answer),
            Err(Lost::Unsent(why)) => Err(NotAccepted::Unsent { why }.into()),
            Err(Lost::Unknown(why)) => Err(SubmitError::Unknown { why }),
        }
    }

    /// A link that fal may read: https, and not on fal's own hosts, where it could not be deleted.
    fn own_link(&self, link: &Secret, what: &'static str) -> Result<Value, NotAccepted> {
        let url = safe_url(link.expose()).ok_or(NotAccepted::BadInput { what })?;
        let host = url.host_str().unwrap_or_default();
        let at_fal = host == "fal.media"
            || host.ends_with(".fal.media")
            || host.ends_with(".fal.ai")
            || self.files_hosts.iter().any(|listed| listed == url.authority());
        if at_fal { Err(NotAccepted::BadInput { what }) } else { Ok(json!(link.expose())) }
    }
}

/// The two trainers call the same thing by two names.
fn trigger_field(model_id: &str) -> &'static str {
    if model_id.contains("portrait-trainer") { "trigger_phrase" } else { "trigger_word" }
}

/// `owner/name` and further parts, each of letters, digits, dot, dash and underscore.
pub(super) fn is_model_id(text: &str) -> bool {
    let parts: Vec<&str> = text.split('/').collect();
    let fine = |part: &&str| !part.starts_with('.') && is_plain_id(&part.replace('.', "_"));
    (2..=6).contains(&parts.len()) && parts.iter().all(fine)
}

fn judge(answer: &Answer) -> Result<Submitted, SubmitError> {
    let refused = |why: NotAccepted| Err(SubmitError::NotAccepted(why));
    match answer.status.as_u16() {
        200..=299 => serde_json::from_slice::<Submitted>(&answer.body)
            .ok()
            .filter(|submitted| is_plain_id(&submitted.request_id))
            .ok_or(SubmitError::Unknown { why: "fal accepted it and its answer could not be read" }),
        402 => refused(NotAccepted::NoMoney),
        // An empty account is also seen as a locked user: 403 with a text about the balance.
        403 if says_balance(answer) => refused(NotAccepted::NoMoney),
        status @ (401 | 403) => refused(NotAccepted::NotAllowed { status }),
        429 => refused(NotAccepted::Busy { after: retry_after(&answer.headers) }),
        // Said by something between us and the queue, perhaps after the queue had it.
        408 | 499 => Err(SubmitError::Unknown { why: "the request ended on the way" }),
        status @ 400..=499 => refused(NotAccepted::Refused { code: code_of(answer), status }),
        _ => Err(SubmitError::Unknown { why: "fal answered with a fault of its own" }),
    }
}

fn says_balance(answer: &Answer) -> bool {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    body["detail"].as_str().is_some_and(|text| text.to_ascii_lowercase().contains("balance"))
}
