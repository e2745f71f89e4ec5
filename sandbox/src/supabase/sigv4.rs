//! Checks AWS Signature Version 4 in headers and in query strings, as the S3 endpoint does. It never signs.
//!
//! Source: docs.aws.amazon.com, "Create a signed AWS API request" and "Authenticating requests: query parameters";
//! held to the crate `object_store` in the tests. S3 path rule: segments are encoded once, the path is not normalised.

use axum::http::request::Parts;
use chrono::{DateTime, Duration, NaiveDateTime, Utc};
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// How far header-signed requests may be from now.
const SKEW: Duration = Duration::minutes(15);
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// Why a request is refused. All are 403 but the last.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Neither header nor query signature.
    Unsigned,
    UnknownKey,
    WrongSignature,
    Expired,
    TooSkewed,
    /// 400: a header or parameter is missing or malformed, or names another region.
    Malformed,
}

/// What a signature is checked with.
pub(crate) struct Access<'a> {
    pub(crate) key_id: &'a str,
    pub(crate) secret: &'a str,
    pub(crate) region: &'a str,
}

struct Claim {
    scope: String,
    key_id: String,
    date: String,
    signed_headers: String,
    signature: String,
    payload: String,
}

/// Checks the request; `now` is the wall clock.
pub(crate) fn check(parts: &Parts, body: &[u8], access: &Access<'_>, now: DateTime<Utc>) -> Result<(), Refused> {
    let query = query_pairs(parts);
    let presigned = query.iter().any(|(name, _)| name == "X-Amz-Signature");
    let claim = if presigned { from_query(&query, now)? } else { from_headers(parts, body, now)? };
    if claim.key_id != access.key_id {
        return Err(Refused::UnknownKey);
    }
    let day = claim.date.get(..8).ok_or(Refused::Malformed)?;
    if claim.scope != format!("{day}/{}/s3/aws4_request", access.region) {
        return Err(Refused::Malformed);
    }
    let canonical = canonical_request(parts, &query, &claim)?;
    let hash = hex::encode(Sha256::digest(canonical));
    let message = format!("{ALGORITHM}\n{}\n{}\n{hash}", claim.date, claim.scope);
    let mut key = mac(format!("AWS4{}", access.secret).as_bytes(), day);
    for part in [access.region, "s3", "aws4_request"] {
        key = mac(&key, part);
    }
    let expected = hex::encode(mac(&key, &message));
    if expected.as_bytes().ct_eq(claim.signature.as_bytes()).into() { Ok(()) } else { Err(Refused::WrongSignature) }
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    // HMAC takes keys of any length, so this cannot fail.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return Vec::new() };
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn parse_date(text: &str) -> Result<DateTime<Utc>, Refused> {
    let parsed = NaiveDateTime::parse_from_str(text, "%Y%m%dT%H%M%SZ");
    parsed.map(|t| t.and_utc()).map_err(|_| Refused::Malformed)
}

fn split_credential(text: &str) -> Result<(String, String), Refused> {
    let (key, scope) = text.split_once('/').ok_or(Refused::Malformed)?;
    Ok((key.to_owned(), scope.to_owned()))
}

fn from_query(query: &[(String, String)], now: DateTime<Utc>) -> Result<Claim, Refused> {
    let get = |name: &str| query.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone()).ok_or(Refused::Malformed);
    if get("X-Amz-Algorithm")? != ALGORITHM {
        return Err(Refused::Malformed);
    }
    let date = get("X-Amz-Date")?;
    let signed_at = parse_date(&date)?;
    let life: i64 = get("X-Amz-Expires")?.parse().map_err(|_| Refused::Malformed)?;
    if !(0..=604_800).contains(&life) {
        return Err(Refused::Malformed);
    }
    if signed_at > now + SKEW {
        return Err(Refused::TooSkewed);
    }
    if now >= signed_at + Duration::seconds(life) {
        return Err(Refused::Expired);
    }
    let (key_id, scope) = split_credential(&get("X-Amz-Credential")?)?;
    let payload = get("X-Amz-Content-Sha256").unwrap_or_else(|_| UNSIGNED.to_owned());
    let (signed_headers, signature) = (get("X-Amz-SignedHeaders")?, get("X-Amz-Signature")?);
    Ok(Claim { scope, key_id, date, signed_headers, signature, payload })
}

fn from_headers(parts: &Parts, body: &[u8], now: DateTime<Utc>) -> Result<Claim, Refused> {
    let header = |name: &str| parts.headers.get(name).and_then(|v| v.to_str().ok());
    let authorization = header("authorization").ok_or(Refused::Unsigned)?;
    let fields = authorization.strip_prefix(ALGORITHM).ok_or(Refused::Malformed)?;
    let field = |name: &str| {
        let found = fields.split(',').find_map(|f| f.trim().strip_prefix(name)?.strip_prefix('='));
        found.map(str::to_owned).ok_or(Refused::Malformed)
    };
    let date = header("x-amz-date").ok_or(Refused::Malformed)?.to_owned();
    if (parse_date(&date)? - now).abs() > SKEW {
        return Err(Refused::TooSkewed);
    }
    let payload = header("x-amz-content-sha256").ok_or(Refused::Malformed)?.to_owned();
    // A signed hash binds the body; streaming signatures are not taken here.
    if payload != UNSIGNED && payload != hex::encode(Sha256::digest(body)) {
        return Err(Refused::WrongSignature);
    }
    let (key_id, scope) = split_credential(&field("Credential")?)?;
    let (signed_headers, signature) = (field("SignedHeaders")?, field("Signature")?);
    Ok(Claim { scope, key_id, date, signed_headers, signature, payload })
}

fn canonical_request(parts: &Parts, query: &[(String, String)], claim: &Claim) -> Result<String, Refused> {
    let names: Vec<&str> = claim.signed_headers.split(';').collect();
    if !names.contains(&"host") {
        return Err(Refused::Malformed);
    }
    let mut headers = String::new();
    for name in &names {
        let values: Vec<_> = parts.headers.get_all(*name).iter().collect();
        if values.is_empty() {
            return Err(Refused::WrongSignature);
        }
        let text: Vec<String> = values
            .iter()
            .map(|v| String::from_utf8_lossy(v.as_bytes()).split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        headers.push_str(&format!("{name}:{}\n", text.join(",")));
    }
    let mut pairs: Vec<(String, String)> = query
        .iter()
        .filter(|(name, _)| name != "X-Amz-Signature")
        .map(|(name, value)| (encode(name, false), encode(value, false)))
        .collect();
    pairs.sort();
    let pairs: Vec<String> = pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    let path = encode(&decode(parts.uri.path()), true);
    let method = &parts.method;
    Ok(format!("{method}\n{path}\n{}\n{headers}\n{}\n{}", pairs.join("&"), claim.signed_headers, claim.payload))
}

/// Query parameters in order, percent-decoded. A plus stays a plus: S3 knows no form encoding.
fn query_pairs(parts: &Parts) -> Vec<(String, String)> {
    let query = parts.uri.query().unwrap_or_default();
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(n, v)| (decode(n), decode(v))).collect()
}

/// Percent-decodes; bytes that are no UTF-8 become the replacement character.
pub(crate) fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let coded = (first == b'%').then(|| tail.get(..2)).flatten().and_then(|two| hex::decode(two).ok());
        match coded {
            Some(byte) => {
                bytes.extend(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn encode(text: &str, keep_slash: bool) -> String {
    let mut coded = String::with_capacity(text.len());
    for byte in text.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || (keep_slash && byte == b'/');
        if plain { coded.push(char::from(byte)) } else { coded.push_str(&format!("%{byte:02X}")) }
    }
    coded
}
