//! Lists: tables that come any number of times, `[[section.list]]`.

use std::collections::HashSet;

use toml::Spanned;
use toml::de::DeValue;

use super::{Loader, line_of};
use crate::config::check::{Origin, nearest, snake_case};
use crate::config::leaf::Literal;
use crate::config::schema::{Section, SectionInfo, Written};

/// An entry of a list as people count: `security.user[1]` is the first.
pub(in crate::config) fn entry_path(section: &str, list: &str, index: usize) -> String {
    format!("{section}.{list}[{}]", index + 1)
}

impl Loader {
    /// Reads the tables of a list, `[[section.list]]`.
    pub(super) fn entries(
        &mut self,
        section: &str,
        list: &str,
        value: &Spanned<DeValue<'_>>,
        at: &dyn Fn(usize) -> Origin,
        broken: &HashSet<usize>,
    ) {
        let path = format!("{section}.{list}");
        let DeValue::Array(entries) = value.get_ref() else {
            let found = Literal::of(value);
            let text = format!("expected tables, each written [[{path}]], found {found}");
            self.problem(at(value.span().start), path, text, None);
            return;
        };
        for entry in entries {
            let origin = at(entry.span().start);
            let DeValue::Table(table) = entry.get_ref() else {
                let found = Literal::of(entry);
                let text = format!("expected a table, written [[{path}]], found {found}");
                self.problem(origin, path.clone(), text, None);
                continue;
            };
            let Some(index) = self.config.push(section, list) else {
                continue;
            };
            self.origins
                .insert(entry_path(section, list, index), origin);
            for (key, value) in table {
                let (key_origin, value_origin) = (at(key.span().start), at(value.span().start));
                if line_of(&key_origin).is_some_and(|line| broken.contains(&line)) {
                    continue;
                }
                let written = Written::Typed(Literal::of(value));
                let place = (section, list, index);
                self.set_in(place, key.get_ref(), written, key_origin, value_origin);
            }
        }
    }

    /// Sets one key of an entry that is there.
    fn set_in(
        &mut self,
        place: (&str, &str, usize),
        key: &str,
        written: Written<'_>,
        key_origin: Origin,
        value_origin: Origin,
    ) {
        let (section, list, index) = place;
        let path = format!("{}.{key}", entry_path(section, list, index));
        match self.config.set_in(place, key, written) {
            Some(Ok(())) => {
                self.origins.insert(path, value_origin);
            }
            Some(Err(text)) => {
                self.refused.insert(path.clone());
                self.problem(value_origin, path, text, None);
            }
            None => {
                let keys = self.list(section, list).map(|known| &known.keys);
                let names = keys.into_iter().flatten().map(|known| known.name);
                let suggestion = nearest(key, names).map(str::to_owned);
                self.problem(key_origin, path, "unknown key".to_owned(), suggestion);
            }
        }
    }

    /// Reads the tables of a list that stands in no section, `[[list]]`. Keys count in any spelling.
    pub(super) fn tables<S: Section + Default>(
        &mut self,
        value: &Spanned<DeValue<'_>>,
        at: &dyn Fn(usize) -> Origin,
        broken: &HashSet<usize>,
    ) -> Vec<S> {
        let list = S::NAME;
        let written = format!("expected tables, each written [[{list}]]");
        let DeValue::Array(tables) = value.get_ref() else {
            let text = format!("{written}, found {}", Literal::of(value));
            self.problem(at(value.span().start), list.to_owned(), text, None);
            return Vec::new();
        };
        let mut entries = Vec::new();
        for table in tables {
            let origin = at(table.span().start);
            let DeValue::Table(keys) = table.get_ref() else {
                let text = format!("{written}, found {}", Literal::of(table));
                self.problem(origin, list.to_owned(), text, None);
                continue;
            };
            let mut entry = S::default();
            let path = format!("{list}[{}]", entries.len() + 1);
            self.origins.insert(path.clone(), origin);
            for (key, value) in keys {
                let (key_origin, value_origin) = (at(key.span().start), at(value.span().start));
                if line_of(&key_origin).is_some_and(|line| broken.contains(&line)) {
                    continue;
                }
                let name = snake_case(key.get_ref());
                let read = entry.set(&name, Written::Typed(Literal::of(value)));
                let as_written = format!("{path}.{}", key.get_ref());
                let path = format!("{path}.{name}");
                match read {
                    Some(Ok(())) => {
                        self.origins.insert(path, value_origin);
                    }
                    Some(Err(text)) => {
                        self.refused.insert(path);
                        self.problem(value_origin, as_written, text, None);
                    }
                    None => {
                        let known = S::keys();
                        let near = nearest(key.get_ref(), known.iter().map(|known| known.name));
                        let near = near.map(str::to_owned);
                        self.problem(key_origin, as_written, "unknown key".to_owned(), near);
                    }
                }
            }
            entries.push(entry);
        }
        entries
    }

    pub(super) fn list(&self, section: &str, list: &str) -> Option<&SectionInfo> {
        let holds = |known: &&SectionInfo| {
            known
                .name
                .strip_prefix(section)
                .and_then(|rest| rest.strip_prefix('.'))
                == Some(list)
        };
        self.sections
            .iter()
            .flat_map(|known| &known.lists)
            .find(holds)
    }
}
