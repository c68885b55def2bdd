//! Where a composite destination forwards to: a destination, and what of all messages (VIR-4).

use serde::{Deserialize, Serialize};
use toml::de::{DeTable, DeValue};

use super::leaf::{Leaf, Literal, expected, quoted};
use crate::broker::{Destination, Kind};

/// A destination to forward to; as text `"/queue/a"`, `"topic://b"` or `"a"` (a queue), or with a selector as a table,
/// `{ queue = "a", selector = "…" }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardTo {
    /// The destination.
    pub destination: Destination,
    /// What is forwarded; empty: everything.
    pub selector: String,
}

/// The same as serde writes it.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Form {
    Text(String),
    Table(Table),
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<String>,
    #[serde(default)]
    selector: String,
}

fn named(text: &str) -> Destination {
    let text = text.trim();
    let prefixes = [
        ("/queue/", Kind::Queue),
        ("queue://", Kind::Queue),
        ("/topic/", Kind::Topic),
        ("topic://", Kind::Topic),
    ];
    let found = prefixes
        .iter()
        .find_map(|(prefix, kind)| Some((*kind, text.strip_prefix(prefix)?)));
    let (kind, name) = found.unwrap_or((Kind::Queue, text));
    Destination {
        kind,
        name: name.into(),
    }
}

impl Table {
    fn read(table: &DeTable<'_>) -> Result<Self, String> {
        let mut read = Self::default();
        for (key, value) in table {
            let DeValue::String(text) = value.get_ref() else {
                return Err(format!(
                    "expected a string for {}, found {}",
                    key.get_ref(),
                    Literal::of(value)
                ));
            };
            let text = text.to_string();
            match key.get_ref().as_ref() {
                "queue" => read.queue = Some(text),
                "topic" => read.topic = Some(text),
                "selector" => read.selector = text,
                other => {
                    return Err(format!(
                        "expected queue or topic, and selector, found {other}"
                    ));
                }
            }
        }
        Ok(read)
    }

    fn forward(self) -> Result<ForwardTo, String> {
        let destination = match (self.queue, self.topic) {
            (Some(name), None) => Destination::queue(name),
            (None, Some(name)) => Destination::topic(name),
            _ => return Err("one of queue and topic is needed, to say where to".to_owned()),
        };
        Ok(ForwardTo {
            destination,
            selector: self.selector,
        })
    }
}

impl Leaf for ForwardTo {
    const EXPECTED: &'static str =
        "a destination such as \"/queue/a\", or { queue = \"a\", selector = \"…\" }";

    fn read(literal: &Literal<'_>) -> Result<Self, String> {
        match literal {
            Literal::Text(text) => Ok(Self {
                destination: named(text),
                selector: String::new(),
            }),
            Literal::Table(table) => Table::read(table)?.forward(),
            other => Err(expected::<Self>(other)),
        }
    }

    fn to_toml(&self) -> String {
        if self.selector.is_empty() {
            return quoted(&self.destination.to_string());
        }
        let kind = match self.destination.kind {
            Kind::Queue => "queue",
            Kind::Topic => "topic",
        };
        let (name, selector) = (quoted(&self.destination.name), quoted(&self.selector));
        format!("{{ {kind} = {name}, selector = {selector} }}")
    }
}

impl Serialize for ForwardTo {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let name = Some(self.destination.name.to_string());
        let selector = self.selector.clone();
        let form = match self.destination.kind {
            _ if selector.is_empty() => Form::Text(self.destination.to_string()),
            Kind::Queue => Form::Table(Table {
                queue: name,
                topic: None,
                selector,
            }),
            Kind::Topic => Form::Table(Table {
                queue: None,
                topic: name,
                selector,
            }),
        };
        form.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ForwardTo {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Form::deserialize(deserializer)? {
            Form::Text(text) => Ok(Self {
                destination: named(&text),
                selector: String::new(),
            }),
            Form::Table(table) => table.forward().map_err(serde::de::Error::custom),
        }
    }
}
