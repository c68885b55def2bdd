//! `{"map":{"entry":[{"string":["k","v"]},{"string":"k","int":5}]}}`.

use serde_json::{Map, Value, json};

use super::{MapEntries, MapError, MapValue};

/// Writes the JSON form.
#[must_use]
pub fn to_json(entries: &[(String, MapValue)]) -> String {
    let entries: Vec<Value> = entries
        .iter()
        .map(|(key, value)| entry(key, value))
        .collect();
    json!({ "map": { "entry": entries } }).to_string()
}

fn entry(key: &str, value: &MapValue) -> Value {
    if let MapValue::String(value) = value {
        return json!({ "string": [key, value] });
    }
    let written = match value {
        MapValue::Boolean(value) => json!(value),
        MapValue::Byte(value) => json!(value),
        MapValue::Short(value) => json!(value),
        MapValue::Int(value) => json!(value),
        MapValue::Long(value) => json!(value),
        MapValue::Double(number) if number.is_finite() => json!(number),
        // Of less precision than the numbers of JSON, which would show digits that nobody wrote.
        other => json!(other.text()),
    };
    let mut entry = Map::new();
    entry.insert("string".to_owned(), json!(key));
    entry.insert(value.kind().to_owned(), written);
    Value::Object(entry)
}

/// Reads the JSON form.
///
/// # Errors
/// The text is not JSON, or no map.
pub fn from_json(text: &str) -> Result<MapEntries, MapError> {
    let root: Value =
        serde_json::from_str(text).map_err(|error| MapError::Json(error.to_string()))?;
    let map = root.get("map").ok_or(MapError::Shape("'map' is missing"))?;
    let entries = match map {
        // An empty map, as the serialiser writes it.
        Value::String(text) if text.trim().is_empty() => return Ok(Vec::new()),
        Value::Object(map) => map.get("entry"),
        _ => return Err(MapError::Shape("'map' is no object")),
    };
    match entries {
        None => Ok(Vec::new()),
        Some(Value::Array(entries)) => entries.iter().map(read_entry).collect(),
        Some(one) => Ok(vec![read_entry(one)?]),
    }
}

fn read_entry(entry: &Value) -> Result<(String, MapValue), MapError> {
    const PAIR: MapError = MapError::Shape("an entry has a string as its key, and one value");
    let entry = entry.as_object().ok_or(PAIR)?;
    let strings = entry.get("string").ok_or(PAIR)?;
    let mut others = entry.iter().filter(|(kind, _)| *kind != "string");
    match (strings, others.next(), others.next()) {
        (Value::Array(pair), None, None) => match &pair[..] {
            [key, value] => Ok((scalar(key)?, MapValue::String(scalar(value)?))),
            _ => Err(PAIR),
        },
        (key, Some((kind, value)), None) => {
            let value = MapValue::parse(kind, &scalar(value)?)?;
            Ok((scalar(key)?, value))
        }
        _ => Err(PAIR),
    }
}

/// Text, whether it stands in quotation marks or not: the serialiser leaves them out where a text looks like a number.
fn scalar(value: &Value) -> Result<String, MapError> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Null => Ok(String::new()),
        Value::Bool(_) | Value::Number(_) => Ok(value.to_string()),
        Value::Array(_) | Value::Object(_) => {
            Err(MapError::Shape("keys and values are single values"))
        }
    }
}
