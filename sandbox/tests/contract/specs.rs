//! Answers of the stand-ins against what the providers publish of theirs (`sandbox/specs`): each field that must be there is, and
//! is of its kind.

use safelight_sandbox::fal::{FLUX_LORA, NSFW, TRAINER};
use serde_json::{Value, json};

use crate::fal_queue::data_uri;
use crate::house::{House, photos};

/// The published form as JSON Schema: `nullable` and `x-open-enum` are words of OpenAPI and ours, and what is expandable is an id
/// or the object.
fn schema(published: &Value) -> Value {
    match published {
        Value::Object(fields) => {
            let mut schema: serde_json::Map<String, Value> =
                fields.iter().map(|(name, value)| (name.clone(), schema(value))).collect();
            let said = |name: &str| fields.get(name).is_some_and(|value| value != &json!(false));
            if said("x-open-enum") {
                schema.remove("enum");
            }
            if let Some(Value::Array(any)) = schema.get_mut("anyOf")
                && said("nullable")
            {
                any.push(json!({ "type": "null" }));
            }
            let kind = schema.get("type").cloned().filter(Value::is_string);
            if let Some(kind) = kind {
                let mut kinds = vec![kind];
                if said("x-expandable") {
                    kinds.push(json!("object"));
                }
                if said("nullable") {
                    kinds.push(json!("null"));
                    if let Some(Value::Array(values)) = schema.get_mut("enum") {
                        values.push(Value::Null);
                    }
                }
                schema.insert("type".to_owned(), json!(kinds));
            }
            Value::Object(schema)
        }
        Value::Array(parts) => parts.iter().map(schema).collect(),
        other => other.clone(),
    }
}

/// What does not fit, a line each.
fn misfits(published: &str, name: &str, answer: &Value) -> Vec<String> {
    let all: Value = serde_json::from_str(published).unwrap();
    let form = jsonschema::validator_for(&schema(&all[name])).unwrap();
    form.iter_errors(answer).map(|error| format!("{name}{}: {error}", error.instance_path())).collect()
}

#[tokio::test]
async fn stripes_sessions_payments_refunds_and_disputes_are_of_the_published_form() {
    let house = House::open().await;
    let stripe = &house.sandbox.stripe;
    let open = stripe.create_session(&crate::stripe::wish()).unwrap();
    let payment = house.paid();
    let refund = stripe.refund_part(&payment, 100).unwrap();
    let dispute = stripe.dispute(&payment).unwrap();
    let path = format!("checkout/sessions?payment_intent={payment}&expand[]=data.payment_intent.latest_charge");
    let paid = house.stripe_get(&path).await["data"][0].clone();
    let published = include_str!("../../specs/stripe-objects.schema.json");
    let wrong: Vec<String> = [
        ("CheckoutSession", &open),
        ("CheckoutSession", &paid),
        ("PaymentIntent", &paid["payment_intent"]),
        ("Charge", &paid["payment_intent"]["latest_charge"]),
        ("Refund", &refund),
        ("Dispute", &dispute),
    ]
    .into_iter()
    .flat_map(|(name, answer)| misfits(published, name, answer))
    .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn fals_results_are_of_the_published_form() {
    let house = House::open().await;
    let published = include_str!("../../specs/fal-outputs.schema.json");
    let picture = data_uri(&crate::house::photo(1));
    let mut wrong = Vec::new();
    for (model, input) in [
        (TRAINER, json!({ "images_data_url": data_uri(&photos(5)), "trigger_phrase": "ohwx" })),
        (FLUX_LORA, json!({ "prompt": "ohwx person" })),
        (NSFW, json!({ "image_url": picture })),
    ] {
        let (_, code, made) = house.fal(model, &input).await;
        assert_eq!(code, 200, "{model}: {made}");
        wrong.extend(misfits(published, model, &made));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn resends_answers_are_of_the_published_form() {
    let house = House::open().await;
    let resend = house.sandbox.description().resend;
    let mail = json!({ "from": "Safelight <hello@mail.safelight.test>", "to": "ann@safelight.test", "subject": "Ready", "text": "t", "html": "<p>t</p>" });
    let asked = house.http.post(format!("{}/emails", resend.url)).bearer_auth(&resend.api_key).json(&mail);
    let sent: Value = asked.send().await.unwrap().json().await.unwrap();
    let url = format!("{}/emails/{}", resend.url, sent["id"].as_str().unwrap());
    let shown: Value = house.http.get(url).bearer_auth(&resend.api_key).send().await.unwrap().json().await.unwrap();
    let published = include_str!("../../specs/resend-emails.schema.json");
    let mut wrong = misfits(published, "SendEmailResponse", &sent);
    wrong.extend(misfits(published, "Email", &shown));
    assert!(wrong.is_empty(), "{wrong:#?}");
}
