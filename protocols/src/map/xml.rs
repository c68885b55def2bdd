//! `<map><entry><string>k</string><int>5</int></entry></map>`.
//!
//! Read is what such a text needs: elements, text, references to characters, CDATA; prolog, comments and attributes are
//! passed over. Document types are refused, so that no entity can grow.

use std::borrow::Cow;

use super::{MapEntries, MapError, MapValue};

/// Elements within elements at most.
const DEPTH_MAX: usize = 16;

/// Writes the XML form.
#[must_use]
pub fn to_xml(entries: &[(String, MapValue)]) -> String {
    let mut out = String::from("<map>");
    for (key, value) in entries {
        out.push_str("<entry><string>");
        out.push_str(&escape_text(key));
        out.push_str("</string>");
        let kind = value.kind();
        if *value == MapValue::Null {
            out.push_str("<null/>");
        } else {
            let text = value.text();
            out.push_str(&format!("<{kind}>{}</{kind}>", escape_text(&text)));
        }
        out.push_str("</entry>");
    }
    out.push_str("</map>");
    out
}

/// Text as it stands between tags. What XML cannot say (most control characters) is left out.
#[must_use]
pub fn escape_text(text: &str) -> Cow<'_, str> {
    let needs =
        |character: char| matches!(character, '<' | '>' | '&' | '\r') || is_unsayable(character);
    if !text.contains(needs) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\r' => out.push_str("&#xd;"),
            other if is_unsayable(other) => {}
            other => out.push(other),
        }
    }
    Cow::Owned(out)
}

fn is_unsayable(character: char) -> bool {
    character < ' ' && !matches!(character, '\t' | '\n' | '\r')
        || matches!(character, '\u{fffe}' | '\u{ffff}')
}

/// Reads the XML form.
///
/// # Errors
/// The text is not XML, or no map.
pub fn from_xml(text: &str) -> Result<MapEntries, MapError> {
    const PAIR: MapError = MapError::Shape("an entry has a string as its key, and one value");
    let mut reader = Reader { text, at: 0 };
    reader.skip_misc()?;
    let root = reader.element(0)?;
    reader.skip_misc()?;
    if reader.at < text.len() {
        return Err(reader.error("something follows the root element"));
    }
    if root.name != "map" {
        return Err(MapError::Shape("the root element is not 'map'"));
    }
    let read = |entry: &Element<'_>| match (entry.name, &entry.children[..]) {
        ("entry", [key, value]) if key.name == "string" => {
            Ok((key.text.clone(), MapValue::parse(value.name, &value.text)?))
        }
        ("entry", _) => Err(PAIR),
        _ => Err(MapError::Shape("'map' holds elements 'entry' only")),
    };
    root.children.iter().map(read).collect()
}

/// An element that has been read.
struct Element<'a> {
    name: &'a str,
    /// Its own text, without that of its children.
    text: String,
    children: Vec<Element<'a>>,
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn error(&self, what: &'static str) -> MapError {
        MapError::Xml { at: self.at, what }
    }

    /// Goes behind `end`; returns what lies before it.
    fn until(&mut self, end: &str, what: &'static str) -> Result<&'a str, MapError> {
        let rest = self.rest();
        let len = rest.find(end).ok_or_else(|| self.error(what))?;
        self.at += len + end.len();
        Ok(&rest[..len])
    }

    fn skips(&mut self, prefix: &str) -> bool {
        let found = self.rest().starts_with(prefix);
        if found {
            self.at += prefix.len();
        }
        found
    }

    /// Passes over white space, comments and what is meant for programs (`<?xml …?>`).
    fn skip_misc(&mut self) -> Result<(), MapError> {
        loop {
            let rest = self.rest();
            self.at += rest.len() - rest.trim_start().len();
            if self.skips("<!--") {
                self.until("-->", "a comment does not end")?;
            } else if self.skips("<?") {
                self.until("?>", "a processing instruction does not end")?;
            } else {
                return Ok(());
            }
        }
    }

    fn element(&mut self, depth: usize) -> Result<Element<'a>, MapError> {
        if depth > DEPTH_MAX {
            return Err(self.error("elements lie too deep"));
        }
        if !self.skips("<") {
            return Err(self.error("expected an element"));
        }
        let tag = self.until(">", "a tag does not end")?;
        let (tag, is_empty) = match tag.strip_suffix('/') {
            Some(tag) => (tag, true),
            None => (tag, false),
        };
        let name = tag.split_ascii_whitespace().next().unwrap_or_default();
        let is_name =
            |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.' | b':');
        if name.is_empty() || !name.bytes().all(is_name) || !tag.starts_with(name) {
            return Err(self.error("no name of an element"));
        }
        let mut element = Element {
            name,
            text: String::new(),
            children: Vec::new(),
        };
        if !is_empty {
            self.content(&mut element, depth)?;
        }
        Ok(element)
    }

    /// Reads what an element holds, and its end.
    fn content(&mut self, element: &mut Element<'a>, depth: usize) -> Result<(), MapError> {
        loop {
            let rest = self.rest();
            let len = rest
                .find('<')
                .ok_or_else(|| self.error("an element does not end"))?;
            self.unescape(&rest[..len], &mut element.text)?;
            self.at += len;
            if self.skips("</") {
                let name = self.until(">", "a tag does not end")?;
                if name.trim_end() != element.name {
                    return Err(self.error("another element ends than began"));
                }
                return Ok(());
            } else if self.skips("<!--") {
                self.until("-->", "a comment does not end")?;
            } else if self.skips("<![CDATA[") {
                let text = self.until("]]>", "a CDATA section does not end")?;
                element.text.push_str(text);
            } else if self.skips("<?") {
                self.until("?>", "a processing instruction does not end")?;
            } else {
                let child = self.element(depth + 1)?;
                element.children.push(child);
            }
        }
    }

    /// Appends text with its references to characters resolved.
    fn unescape(&self, text: &str, out: &mut String) -> Result<(), MapError> {
        let mut parts = text.split('&');
        out.push_str(parts.next().unwrap_or_default());
        for part in parts {
            let (name, tail) = part
                .split_once(';')
                .ok_or_else(|| self.error("a reference does not end"))?;
            let character = match name {
                "lt" => Some('<'),
                "gt" => Some('>'),
                "amp" => Some('&'),
                "quot" => Some('"'),
                "apos" => Some('\''),
                _ => {
                    let code = match name.strip_prefix("#x") {
                        Some(digits) => u32::from_str_radix(digits, 16).ok(),
                        None => name
                            .strip_prefix('#')
                            .and_then(|digits| digits.parse().ok()),
                    };
                    code.and_then(char::from_u32)
                }
            };
            out.push(character.ok_or_else(|| self.error("an unknown reference"))?);
            out.push_str(tail);
        }
        Ok(())
    }
}
