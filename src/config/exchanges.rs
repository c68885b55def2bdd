//! `[stomp.exchange_map]`: where exchanges of RabbitMQ lead.

use std::collections::BTreeMap;

use toml::de::DeValue;

use super::leaf::{Leaf, Literal, expected, quoted};

/// Destinations by the name of an exchange; `{key}` in one stands for the routing key.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct ExchangeMap(pub BTreeMap<String, String>);

/// A table: in a file `{ orders = "/topic/orders.{key}" }` or a section of its own; as text `orders=/topic/orders, a=/queue/a`.
impl Leaf for ExchangeMap {
    const EXPECTED: &'static str =
        "a table of exchanges such as { orders = \"/topic/orders.{key}\" }";

    fn read(literal: &Literal<'_>) -> Result<Self, String> {
        let mut map = BTreeMap::new();
        match literal {
            Literal::Text(text) => {
                for item in text
                    .split(',')
                    .map(str::trim)
                    .filter(|item| !item.is_empty())
                {
                    let (exchange, to) = item
                        .split_once('=')
                        .ok_or_else(|| expected::<Self>(literal))?;
                    map.insert(exchange.trim().to_owned(), to.trim().to_owned());
                }
            }
            Literal::Table(table) => {
                for (exchange, value) in *table {
                    let DeValue::String(to) = value.get_ref() else {
                        return Err(format!(
                            "expected a destination for exchange {}, found {}",
                            exchange.get_ref(),
                            Literal::of(value)
                        ));
                    };
                    map.insert(exchange.get_ref().to_string(), to.to_string());
                }
            }
            other => return Err(expected::<Self>(other)),
        }
        if let Some((exchange, _)) = map.iter().find(|(_, to)| to.is_empty()) {
            return Err(format!("exchange '{exchange}' leads nowhere"));
        }
        Ok(Self(map))
    }

    fn to_toml(&self) -> String {
        let items: Vec<String> = self
            .0
            .iter()
            .map(|(exchange, to)| format!("{} = {}", quoted(exchange), quoted(to)))
            .collect();
        match items.is_empty() {
            true => "{}".to_owned(),
            false => format!("{{ {} }}", items.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ExchangeMap, String> {
        let document = toml::de::DeTable::parse(text).expect("toml");
        ExchangeMap::read(&Literal::of(&document.get_ref()["x"]))
    }

    #[test]
    fn a_map_is_a_table_or_a_text() {
        let map = ExchangeMap::read_text("orders = /topic/o.{key}, a=/queue/a").expect("a map");
        assert_eq!(read(&format!("x = {}", map.to_toml())), Ok(map.clone()));
        assert_eq!(
            read("[x]\norders = \"/topic/o.{key}\"\na = \"/queue/a\""),
            Ok(map)
        );
        assert_eq!(read("x = {}"), Ok(ExchangeMap::default()));
        assert_eq!(ExchangeMap::default().to_toml(), "{}");
        for wrong in ["x = 1", "x = { a = 1 }", "x = { a = \"\" }", "x = \"a\""] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
