//! Stripe's lists: newest first, `limit`, `starting_after`, `ending_before`, `has_more`.

use serde_json::{Value, json};

use super::error::StripeError;

/// One page of these objects, given oldest first.
pub(crate) fn page(mut objects: Vec<Value>, params: &Value, url: &str) -> Result<Value, StripeError> {
    objects.reverse();
    let limit = match params["limit"].as_str().map(str::parse::<usize>) {
        None => 10,
        Some(Ok(limit @ 1..=100)) => limit,
        Some(_) => return Err(StripeError::invalid("limit", "limit must be between 1 and 100")),
    };
    let place = |name: &str| match params[name].as_str() {
        None => Ok(None),
        Some(id) => match objects.iter().position(|object| object["id"] == id) {
            Some(at) => Ok(Some(at)),
            None => Err(StripeError::no_such("object", id)),
        },
    };
    let (after, before) = (place("starting_after")?, place("ending_before")?);
    let (data, has_more) = match (after, before) {
        (_, Some(at)) => {
            let from = at.saturating_sub(limit);
            (objects[from..at].to_vec(), from > 0)
        }
        (after, None) => {
            let from = after.map_or(0, |at| at + 1);
            let to = (from + limit).min(objects.len());
            (objects[from..to].to_vec(), to < objects.len())
        }
    };
    Ok(json!({ "object": "list", "url": url, "has_more": has_more, "data": data }))
}

/// True when `created` (or any unix time) is within `params[name]`, given as a number or as gt, gte, lt, lte.
pub(crate) fn within(params: &Value, name: &str, time: i64) -> bool {
    let bound = |value: &Value| value.as_str().and_then(|text| text.parse::<i64>().ok());
    let wish = &params[name];
    bound(wish).is_none_or(|exact| time == exact)
        && bound(&wish["gt"]).is_none_or(|limit| time > limit)
        && bound(&wish["gte"]).is_none_or(|limit| time >= limit)
        && bound(&wish["lt"]).is_none_or(|limit| time < limit)
        && bound(&wish["lte"]).is_none_or(|limit| time <= limit)
}
