//! Stripe's form bodies: brackets become objects and lists. `a[b]=1&c[]=2&d[0][e]=3`.

use serde_json::{Map, Value};

/// Deepest nesting that is read.
const DEEPEST: usize = 8;

/// All values are strings, as on the wire. Lists are objects with number keys until [`tidy`] turns them.
pub(crate) fn parse(text: &str) -> Value {
    let mut root = Value::Object(Map::new());
    for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
        let path = segments(&name);
        if path.len() <= DEEPEST {
            insert(&mut root, &path, &value);
        }
    }
    tidy(root)
}

fn segments(name: &str) -> Vec<&str> {
    let (first, rest) = name.split_at(name.find('[').unwrap_or(name.len()));
    let inner = rest.split('[').skip(1).map(|part| part.trim_end_matches(']'));
    std::iter::once(first).chain(inner).collect()
}

fn insert(into: &mut Value, path: &[&str], value: &str) {
    if !into.is_object() {
        *into = Value::Object(Map::new());
    }
    let (Value::Object(map), Some((name, rest))) = (into, path.split_first()) else { return };
    let name = if name.is_empty() { map.len().to_string() } else { (*name).to_owned() };
    if rest.is_empty() {
        map.insert(name, Value::String(value.to_owned()));
    } else {
        insert(map.entry(name).or_insert(Value::Null), rest, value);
    }
}

/// Objects whose keys are 0, 1, 2 ... become lists.
fn tidy(value: Value) -> Value {
    let Value::Object(map) = value else { return value };
    let is_list = !map.is_empty() && (0..map.len()).all(|n| map.contains_key(&n.to_string()));
    let count = map.len();
    let mut map: Map<String, Value> = map.into_iter().map(|(name, value)| (name, tidy(value))).collect();
    if is_list {
        return (0..count).filter_map(|n| map.remove(&n.to_string())).collect();
    }
    Value::Object(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_become_objects_and_lists() {
        let text = "mode=payment&line_items[0][price_data][unit_amount]=1900&line_items[0][quantity]=1\
                    &metadata[order]=ord_1&expand[]=line_items&expand[]=payment_intent";
        assert_eq!(
            parse(text),
            serde_json::json!({
                "mode": "payment",
                "line_items": [{ "price_data": { "unit_amount": "1900" }, "quantity": "1" }],
                "metadata": { "order": "ord_1" },
                "expand": ["line_items", "payment_intent"],
            })
        );
    }
}
