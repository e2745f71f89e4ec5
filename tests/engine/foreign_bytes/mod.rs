//! Bytes that nobody here wrote: every parser that takes some is given good ones with a few things wrong, over and over. Nothing
//! panics, nothing hangs, no answer is a fault of ours, and what was refused has changed nothing.
//!
//! Some dozens to hundreds a parser in the normal run, and the same in each; `SAFELIGHT_SEED=7` throws other dice, and
//! `SAFELIGHT_FOREIGN=100` throws a hundred times as many. A case that fails is shrunk by proptest and printed.

mod answers;
mod console;
mod files;
mod heads;
mod house;
mod news;
mod posts;
mod sign_ins;
mod twister;

use std::{sync::Arc, time::Duration};

use proptest::{
    collection::vec,
    prelude::{Strategy, any},
    sample::Index,
    test_runner::{Config, RngSeed, TestRunner},
};
use serde_json::{Value, json};
use tokio::runtime::Handle;

/// What parsers stumble over, in the middle of whatever was there.
const NASTY: &[&[u8]] = &[
    b"",
    b"\0",
    b"\\u0000",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"1e999",
    b"-0",
    b"99999999999999999999999999",
    b"9223372036854775808",
    b"NaN",
    b"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    b"{\"a\":{\"a\":{\"a\":{\"a\":",
    b"null",
    b"\"\"",
    b"'; drop table safelight.jobs; --",
    b"\r\n\r\n",
    b"../../../../etc/passwd",
    b"%00%ff%2e%2e",
    "\u{202e}\u{1f4a9}\u{0301}".as_bytes(),
];

/// The longest that one answer may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// A name that stands in twisted values and in no error of ours.
const PLANTED: &str = "ann@planted.example";

/// What may stand where another value stood: of another type, or of its type and beyond what somebody thought of.
fn odd(which: u8) -> Value {
    // Often: what repeats a text of somebody else is to be seen.
    if which.is_multiple_of(6) {
        return json!(PLANTED);
    }
    let odd = [
        json!(null),
        json!(true),
        json!([]),
        json!({}),
        json!(0),
        json!(-1),
        json!(0.5),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(f64::MAX),
        json!(i32::MAX),
        json!(""),
        json!(" "),
        json!("\0"),
        json!("x".repeat(5000)),
        json!("NaN"),
        json!("inf"),
        json!("../../etc/passwd"),
        json!("http://127.0.0.1:1/"),
        json!("file:///etc/passwd"),
        json!("2026-02-30T25:61:61Z"),
        json!("9999-12-31T23:59:59Z"),
        json!("0000-01-01T00:00:00Z"),
        json!("+262142-12-31T23:59:59Z"),
        json!("-262143-01-01T00:00:00Z"),
        json!("2026-12-31T23:59:60Z"),
        json!("00000000-0000-0000-0000-000000000000"),
        json!("order_00000000000000000000000000000000"),
        json!("\u{202e}\u{1f4a9}\u{0301}"),
        json!([[[[[[[[{}]]]]]]]]),
        json!({ "$ref": "#/", "__proto__": {} }),
        json!([null, PLANTED]),
    ];
    odd[usize::from(which) % odd.len()].clone()
}

/// What is done to good bytes.
#[derive(Debug, Clone)]
struct Wrong {
    /// Where, with what, how: see [`Wrong::bytes`].
    edits: Vec<(Index, u8, u8)>,
    /// Which value of a JSON text becomes which odd one.
    values: Vec<(Index, u8)>,
    /// Few are below 32: those are twisted in both ways.
    both: u8,
}

impl Wrong {
    fn any() -> impl Strategy<Value = Self> {
        let edits = vec((any::<Index>(), any::<u8>(), 0..7_u8), 0..8);
        (edits, vec((any::<Index>(), any::<u8>()), 1..4), any::<u8>()).prop_map(|(edits, values, both)| Self {
            edits,
            values,
            both,
        })
    }

    /// Up to eight things wrong with these bytes.
    fn bytes(&self, good: &[u8]) -> Vec<u8> {
        let mut bytes = good.to_vec();
        for (at, byte, how) in &self.edits {
            let (at, byte) = (at.index(bytes.len() + 1), *byte);
            match how {
                0 if at < bytes.len() => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 if at < bytes.len() => drop(bytes.remove(at)),
                3 => bytes.truncate(at),
                4 => {
                    let again = bytes[at..bytes.len().min(at + usize::from(byte))].to_vec();
                    bytes.splice(at..at, again);
                }
                _ => drop(bytes.splice(at..at, NASTY[usize::from(byte) % NASTY.len()].iter().copied())),
            }
        }
        bytes
    }

    /// Up to three odd values in it, which is still JSON and reaches what looks at values; sometimes bytes besides.
    fn json(&self, good: &Value) -> Vec<u8> {
        let mut value = good.clone();
        for (at, which) in &self.values {
            let at = at.index(count(&value));
            if let Some(place) = nth(&mut value, &mut { at }) {
                *place = odd(*which);
            }
        }
        let text = value.to_string().into_bytes();
        if self.both < 32 { self.bytes(&text) } else { text }
    }

    /// As it fits: JSON stays JSON three times of four.
    fn of(&self, good: &[u8]) -> Vec<u8> {
        match serde_json::from_slice(good) {
            Ok(value) if self.both < 192 => self.json(&value),
            _ => self.bytes(good),
        }
    }
}

/// Values of a JSON text, itself included.
fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(all) => all.iter().map(count).sum(),
        Value::Object(all) => all.values().map(count).sum(),
        _ => 0,
    }
}

fn nth<'a>(value: &'a mut Value, left: &mut usize) -> Option<&'a mut Value> {
    if *left == 0 {
        return Some(value);
    }
    *left -= 1;
    match value {
        Value::Array(all) => all.iter_mut().find_map(|value| nth(value, left)),
        Value::Object(all) => all.values_mut().find_map(|value| nth(value, left)),
        _ => None,
    }
}

/// One of these with things wrong.
fn near(good: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let good = Arc::new(good);
    (any::<Index>(), Wrong::any()).prop_map(move |(which, wrong)| wrong.bytes(&good[which.index(good.len())]))
}

/// One of these JSON texts with things wrong, as values and as bytes.
fn near_json(good: &[Value]) -> impl Strategy<Value = Vec<u8>> {
    let good: Arc<[Vec<u8>]> = good.iter().map(|value| value.to_string().into_bytes()).collect();
    (any::<Index>(), Wrong::any()).prop_map(move |(which, wrong)| wrong.of(&good[which.index(good.len())]))
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

fn dice(usual: u32) -> TestRunner {
    let times = setting("SAFELIGHT_FOREIGN").unwrap_or(1).max(1);
    TestRunner::new(Config {
        cases: usual.saturating_mul(u32::try_from(times).unwrap_or(u32::MAX)),
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(setting("SAFELIGHT_SEED").unwrap_or(20_261_127)),
        ..Config::default()
    })
}

/// Try them. A panic of `check` is the finding; it is shrunk first.
fn each<S: Strategy>(tried: S, usual: u32, check: impl Fn(S::Value)) {
    let found = dice(usual).run(&tried, |tried| {
        check(tried);
        Ok(())
    });
    if let Err(found) = found {
        panic!("{found}");
    }
}

/// The same for what is answered by somebody else.
fn each_asked<S: Strategy, F: Future<Output = ()>>(tried: S, usual: u32, ask: impl Fn(S::Value) -> F) {
    tokio::task::block_in_place(|| {
        each(tried, usual, |tried| {
            let asked = tokio::time::timeout(PATIENCE, ask(tried));
            Handle::current().block_on(asked).expect("no answer within twenty seconds");
        });
    });
}
