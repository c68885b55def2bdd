//! From the tables of a file to entries, with every problem and its place.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{self, Effect};
use super::{PolicyEntry, SCOPES, Setting, find, literal};
use crate::broker::policy::Scope;
use crate::config::check::{Origin, Problem, nearest, snake_case};

/// The name of the array of entries.
pub(in crate::config) const PREFIX: &str = "policy";

/// A value of a file with its place, the tables around it in its name.
struct Written<'a> {
    name: String,
    key_at: usize,
    value_at: usize,
    value: &'a DeValue<'a>,
}

/// Gives the place of an offset in the file.
type At<'a> = &'a dyn Fn(usize) -> Origin;

/// Reads all entries of a file. Those with a problem are left out.
pub(in crate::config) fn read_all(
    value: &Spanned<DeValue<'_>>,
    at: At<'_>,
    problems: &mut Vec<Problem>,
) -> Vec<PolicyEntry> {
    let tables = match value.get_ref() {
        DeValue::Array(tables) => tables.iter().collect(),
        _ => vec![value],
    };
    let mut entries = Vec::new();
    for (index, table) in tables.into_iter().enumerate() {
        let origin = at(table.span().start);
        match table.get_ref() {
            DeValue::Table(table) if value.get_ref().is_array() => {
                entries.extend(read_entry(index + 1, table, origin, at, problems));
            }
            _ => problems.push(Problem {
                origin,
                key: PREFIX.to_owned(),
                text: "expected entries, each written [[policy]]".to_owned(),
                suggestion: None,
            }),
        }
    }
    entries
}

/// Reads the table of one entry that stands in no file.
pub(super) fn read_one(text: &str) -> Result<PolicyEntry, String> {
    let table = DeTable::parse(text).map_err(|error| error.message().to_owned())?;
    let mut problems = Vec::new();
    let entry = read_entry(
        1,
        table.get_ref(),
        Origin::Program,
        &|_| Origin::Program,
        &mut problems,
    );
    match (entry, problems.as_slice()) {
        (Some(entry), []) => Ok(PolicyEntry {
            number: None,
            ..entry
        }),
        (_, problems) => {
            let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
            Err(texts.join("; "))
        }
    }
}

fn read_entry(
    number: usize,
    table: &DeTable<'_>,
    origin: Origin,
    at: At<'_>,
    problems: &mut Vec<Problem>,
) -> Option<PolicyEntry> {
    let before = problems.len();
    let mut written = Vec::new();
    flatten(table, "", &mut written);
    written.sort_by_key(|written| written.key_at);
    let target = targets(&written);
    let named = match target.as_slice() {
        [(scope, pattern)] => format!(
            "{PREFIX} {number} ({} = {pattern:?})",
            super::scope_name(*scope)
        ),
        _ => format!("{PREFIX} {number}"),
    };
    let mut refuse = |origin, key: &str, text: String, suggestion| {
        let key = if key.is_empty() {
            named.clone()
        } else {
            format!("{named}.{key}")
        };
        problems.push(Problem {
            origin,
            key,
            text,
            suggestion,
        });
    };
    if target.len() != 1 {
        let text = "needs one of queue, topic, tempQueue and tempTopic, with a name or a pattern such as \"orders.>\"";
        refuse(origin.clone(), "", text.to_owned(), None);
    }
    let (mut inherits, mut settings) = (false, Vec::new());
    for Written {
        name,
        key_at,
        value_at,
        value,
    } in written
    {
        if SCOPES
            .iter()
            .any(|(scope, _)| snake_case(scope) == snake_case(&name))
        {
            continue;
        }
        let value = scalar(value);
        if name == "inherit" {
            match value {
                toml::Value::Boolean(truth) => inherits = truth,
                other => refuse(
                    at(value_at),
                    &name,
                    format!("expected true or false, found {other}"),
                    None,
                ),
            }
            continue;
        }
        let Some(key) = find(name.strip_prefix("redeliveryPolicy.").unwrap_or(&name)) else {
            refuse(at(key_at), &name, "unknown key".to_owned(), near(&name));
            continue;
        };
        match refusal(key, &value) {
            Some(text) => refuse(at(value_at), key.name, text, None),
            None => settings.push(Setting {
                key,
                value,
                origin: at(value_at),
            }),
        }
    }
    if problems.len() > before {
        return None;
    }
    let (scope, pattern) = target.into_iter().next()?;
    Some(PolicyEntry {
        scope,
        pattern,
        inherits,
        settings,
        origin,
        number: Some(number),
    })
}

/// Why a key does not take a value.
fn refusal(key: &keys::PolicyKey, value: &toml::Value) -> Option<String> {
    match &key.effect {
        Effect::Sets(_) if is_query(key.name, value) => Some(
            "recovery by query is not supported; leave the key out, or use another policy"
                .to_owned(),
        ),
        Effect::Nothing { .. } => None,
        Effect::Refused(instead) => Some(format!("is not supported; {instead}")),
        Effect::Sets(setter) => {
            let mut scratch = crate::broker::DestinationPolicy::default();
            let set = (setter.set)(&mut scratch, &literal(value));
            (!set).then(|| format!("expected {}, found {}", setter.expected, literal(value)))
        }
    }
}

/// Spec: behaviour RCV-1, recovery by query is a configuration error.
fn is_query(key: &str, value: &toml::Value) -> bool {
    let text = value.to_string().to_ascii_lowercase();
    key == "subscriptionRecoveryPolicy.type" && text.contains("query")
}

/// The values of a table and of those in it. A table is taken apart only where its keys are known; the rest is one value.
fn flatten<'a>(table: &'a DeTable<'a>, prefix: &str, out: &mut Vec<Written<'a>>) {
    for (key, value) in table {
        let name = format!("{prefix}{}", key.get_ref());
        match value.get_ref() {
            DeValue::Table(inner) if !is_opaque(&name) => flatten(inner, &format!("{name}."), out),
            inner => out.push(Written {
                name,
                key_at: key.span().start,
                value_at: value.span().start,
                value: inner,
            }),
        }
    }
}

/// Whether what stands in a key's table does not matter, because the key does nothing.
fn is_opaque(name: &str) -> bool {
    find(name).is_some_and(|key| !matches!(key.effect, Effect::Sets(_)))
}

/// Whom the entry is for. ActiveMQ writes `tempQueue = "true"` for all temporary queues.
fn targets(written: &[Written<'_>]) -> Vec<(Scope, String)> {
    let found = written.iter().filter_map(|written| {
        let same = |(name, _): &&(&str, Scope)| snake_case(name) == snake_case(&written.name);
        let (_, scope) = SCOPES.iter().find(same)?;
        let temporary = matches!(scope, Scope::TempQueue | Scope::TempTopic);
        match written.value {
            DeValue::Boolean(true) if temporary => Some((*scope, ">".to_owned())),
            DeValue::String(text) if temporary && text == "true" => Some((*scope, ">".to_owned())),
            DeValue::String(text) => Some((*scope, text.trim().to_owned())),
            _ => None,
        }
    });
    found.collect()
}

fn near(name: &str) -> Option<String> {
    let names = keys::all().map(|key| (snake_case(key.name), key.name));
    let words: Vec<(String, &str)> = names
        .chain(
            [
                ("inherit", "inherit"),
                ("queue", "queue"),
                ("topic", "topic"),
            ]
            .map(|(a, b)| (a.to_owned(), b)),
        )
        .collect();
    let found = nearest(name, words.iter().map(|(snake, _)| snake.as_str())).or_else(|| {
        // A key of a table that was written without it.
        let snake = snake_case(name);
        let inner =
            |(word, _): &&(String, &str)| word.split_once('.').is_some_and(|(_, key)| key == snake);
        words.iter().find(inner).map(|(word, _)| word.as_str())
    })?;
    words
        .iter()
        .find(|(snake, _)| snake == found)
        .map(|(_, name)| (*name).to_owned())
}

/// A value as it is kept; what no key takes becomes a text that says what it was.
fn scalar(value: &DeValue<'_>) -> toml::Value {
    match value {
        DeValue::String(text) => toml::Value::String(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| toml::Value::Array(Vec::new()), toml::Value::Integer),
        DeValue::Float(number) => number
            .as_str()
            .parse()
            .map_or_else(|_| toml::Value::Array(Vec::new()), toml::Value::Float),
        DeValue::Boolean(truth) => toml::Value::Boolean(*truth),
        DeValue::Datetime(_) | DeValue::Array(_) => toml::Value::Array(Vec::new()),
        DeValue::Table(table) => toml::Value::Table(
            table
                .iter()
                .map(|(key, value)| (key.get_ref().to_string(), scalar(value.get_ref())))
                .collect(),
        ),
    }
}
