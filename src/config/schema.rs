//! What a section is, and the one declaration everything else is derived from.
//!
//! `section!` takes, for each key, its meaning (the doc comment), type, default and range, and makes of them the plain
//! struct, its `Default`, the reading and range check of each key, and the list of keys that `activemq.toml` and
//! the "did you mean" are written from. Nothing about a key is said twice, so nothing can drift.
//!
//! A section may also have lists: tables that come any number of times, `[[security.user]]`. An entry of a list is
//! declared as a section of its own.

use std::fmt;

use super::leaf::{Leaf, Literal};

/// A key as people know it.
#[derive(Debug, Clone)]
pub struct Key {
    /// Its name within the section.
    pub name: &'static str,
    /// Its meaning and unit, line by line, each with the leading space of a doc comment.
    pub doc: &'static [&'static str],
    /// Its default as the file would have it.
    pub default: String,
    /// The smallest value, if there is one.
    pub min: Option<Literal<'static>>,
    /// The largest value, if there is one.
    pub max: Option<Literal<'static>>,
}

impl Key {
    /// The range in words, empty if every value of the type will do.
    #[must_use]
    pub fn range(&self) -> String {
        match (&self.min, &self.max) {
            (Some(min), Some(max)) => format!("from {} to {}", Bare(min), Bare(max)),
            (Some(min), None) => format!("at least {}", Bare(min)),
            (None, Some(max)) => format!("at most {}", Bare(max)),
            (None, None) => String::new(),
        }
    }
}

/// A literal without quotation marks.
struct Bare<'a>(&'a Literal<'a>);

impl fmt::Display for Bare<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Literal::Text(text) => text.fmt(out),
            other => other.fmt(out),
        }
    }
}

/// A table of the file: a struct of keys, known by name.
pub trait Section {
    /// Its name in the file.
    const NAME: &'static str;
    /// What it is about, line by line.
    const DOC: &'static [&'static str];

    /// All its keys, in the order of the declaration.
    fn keys() -> Vec<Key>;

    /// Reads one key; `None` if there is no such key. A refused value leaves the old one.
    fn set(&mut self, key: &str, written: Written<'_>) -> Option<Result<(), String>>;

    /// Checks one key against its range; `None` if there is no such key.
    fn in_range(&self, key: &str) -> Option<Result<(), String>>;

    /// The value of one key as the file would have it; `None` if there is no such key.
    fn to_toml(&self, key: &str) -> Option<String>;

    /// The lists of the section; each entry is a section of its own, known by `section.list`.
    #[must_use]
    fn lists() -> Vec<SectionInfo> {
        Vec::new()
    }

    /// Adds an entry of defaults to a list; false if there is no such list.
    fn push(&mut self, _list: &str) -> bool {
        false
    }

    /// How many entries a list has; 0 if there is no such list.
    fn count(&self, _list: &str) -> usize {
        0
    }

    /// Reads one key of an entry; `None` if there is no such list, entry or key.
    fn set_in(
        &mut self,
        _list: &str,
        _index: usize,
        _key: &str,
        _written: Written<'_>,
    ) -> Option<Result<(), String>> {
        None
    }

    /// Checks one key of an entry against its range; `None` if there is no such list, entry or key.
    fn in_range_in(&self, _list: &str, _index: usize, _key: &str) -> Option<Result<(), String>> {
        None
    }
}

/// A section without its type: what `Config::sections` lists.
#[derive(Debug, Clone)]
pub struct SectionInfo {
    /// Its name in the file.
    pub name: &'static str,
    /// What it is about, line by line.
    pub doc: &'static [&'static str],
    /// All its keys, in the order of the declaration.
    pub keys: Vec<Key>,
    /// Its lists, each named `section.list`.
    pub lists: Vec<SectionInfo>,
}

/// What there is to know of a section without a value of it.
#[must_use]
pub fn info<S: Section>() -> SectionInfo {
    SectionInfo {
        name: S::NAME,
        doc: S::DOC,
        keys: S::keys(),
        lists: S::lists(),
    }
}

/// A value that came from outside.
#[derive(Debug, Clone, Copy)]
pub enum Written<'a> {
    /// From a file, where it has a type.
    Typed(Literal<'a>),
    /// From the environment or the command line, where everything is text.
    Untyped(&'a str),
}

impl Written<'_> {
    pub(super) fn read<T: Leaf>(&self) -> Result<T, String> {
        match self {
            Self::Typed(literal) => T::read(literal),
            Self::Untyped(text) => T::read_text(text),
        }
    }
}

/// Checks a value against the bounds of its declaration.
pub(super) fn within<T: Leaf + PartialOrd>(
    value: &T,
    min: &Literal<'static>,
    max: Option<Literal<'static>>,
) -> Result<(), String> {
    let bound = |literal: &Literal<'static>| {
        T::read(literal).expect("a bound in the declaration is readable")
    };
    let inside = *value >= bound(min) && max.as_ref().is_none_or(|max| *value <= bound(max));
    if inside {
        return Ok(());
    }
    let range = Key {
        name: "",
        doc: &[],
        default: String::new(),
        min: Some(*min),
        max,
    }
    .range();
    Err(format!("must be {range}, found {}", value.to_toml()))
}

/// Declares one section: `key: Type = default, from min to max;`, the range and its upper end being optional. Lists
/// follow behind: `lists { name: Entry; }`.
macro_rules! section {
    (
        $(#[doc = $section_doc:literal])*
        $section:ident in $section_name:literal {
            $(
                $(#[doc = $doc:literal])*
                $key:ident: $type:ty = $default:literal $(, from $min:literal $(to $max:literal)?)?;
            )*
        }
        $(lists {
            $(
                $(#[doc = $list_doc:literal])*
                $list:ident: $entry:ty;
            )*
        })?
    ) => {
        $(#[doc = $section_doc])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default, deny_unknown_fields, rename_all = "snake_case")]
        pub struct $section {
            $(
                $(#[doc = $doc])*
                ///
                #[doc = concat!(
                    "Default: `", stringify!($default), "`",
                    $(", at least `", stringify!($min), "`" $(, ", at most `", stringify!($max), "`")?,)?
                    "."
                )]
                pub $key: $type,
            )*
            $($(
                $(#[doc = $list_doc])*
                #[serde(skip_serializing_if = "Vec::is_empty")]
                pub $list: Vec<$entry>,
            )*)?
        }

        impl Default for $section {
            fn default() -> Self {
                use $crate::config::leaf::{Leaf, Literal};
                Self {
                    $($key: <$type as Leaf>::read(&Literal::from($default)).expect("a default is readable"),)*
                    $($($list: Vec::new(),)*)?
                }
            }
        }

        impl $crate::config::schema::Section for $section {
            const NAME: &'static str = $section_name;
            const DOC: &'static [&'static str] = &[$($section_doc),*];

            fn keys() -> Vec<$crate::config::schema::Key> {
                vec![$($crate::config::schema::Key {
                    name: stringify!($key),
                    doc: &[$($doc),*],
                    default: {
                        use $crate::config::leaf::{Leaf, Literal};
                        let default = <$type as Leaf>::read(&Literal::from($default));
                        default.expect("a default is readable").to_toml()
                    },
                    min: $crate::config::schema::section!(@first $($min)?),
                    max: $crate::config::schema::section!(@first $($($max)?)?),
                },)*]
            }

            fn set(
                &mut self,
                key: &str,
                written: $crate::config::schema::Written<'_>,
            ) -> Option<Result<(), String>> {
                match key {
                    $(stringify!($key) => {
                        let value = match written.read::<$type>() {
                            Ok(value) => value,
                            Err(refusal) => return Some(Err(refusal)),
                        };
                        let old = std::mem::replace(&mut self.$key, value);
                        let checked = self.in_range(key);
                        if matches!(checked, Some(Err(_))) {
                            self.$key = old;
                        }
                        checked
                    })*
                    _ => None,
                }
            }

            fn in_range(&self, key: &str) -> Option<Result<(), String>> {
                match key {
                    $(stringify!($key) => {
                        $(
                            use $crate::config::{leaf::Literal, schema::within};
                            if let Err(refusal) =
                                within(&self.$key, &Literal::from($min), $crate::config::schema::section!(@first $($max)?))
                            {
                                return Some(Err(refusal));
                            }
                        )?
                        Some(Ok(()))
                    })*
                    _ => None,
                }
            }

            fn to_toml(&self, key: &str) -> Option<String> {
                match key {
                    $(stringify!($key) => Some($crate::config::leaf::Leaf::to_toml(&self.$key)),)*
                    _ => None,
                }
            }

            $(
                fn lists() -> Vec<$crate::config::schema::SectionInfo> {
                    vec![$($crate::config::schema::info::<$entry>(),)*]
                }

                fn push(&mut self, list: &str) -> bool {
                    match list {
                        $(stringify!($list) => self.$list.push(Default::default()),)*
                        _ => return false,
                    }
                    true
                }

                fn count(&self, list: &str) -> usize {
                    match list {
                        $(stringify!($list) => self.$list.len(),)*
                        _ => 0,
                    }
                }

                fn set_in(
                    &mut self,
                    list: &str,
                    index: usize,
                    key: &str,
                    written: $crate::config::schema::Written<'_>,
                ) -> Option<Result<(), String>> {
                    match list {
                        $(stringify!($list) => self.$list.get_mut(index)?.set(key, written),)*
                        _ => None,
                    }
                }

                fn in_range_in(&self, list: &str, index: usize, key: &str) -> Option<Result<(), String>> {
                    match list {
                        $(stringify!($list) => self.$list.get(index)?.in_range(key),)*
                        _ => None,
                    }
                }
            )?
        }
    };
    (@first) => { None };
    (@first $literal:literal) => { Some($crate::config::leaf::Literal::from($literal)) };
}

/// Declares the tree: `field: Section`, the field being the section's name in the file; after a `;` what is no section.
macro_rules! tree {
    (
        $(#[doc = $doc:literal])*
        $tree:ident {
            $(
                $(#[doc = $field_doc:literal])*
                $field:ident: $section:ty,
            )*
            ;
            $(
                $(#[doc = $other_doc:literal])*
                $other:ident: $other_type:ty,
            )*
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
        #[serde(default, deny_unknown_fields, rename_all = "snake_case")]
        pub struct $tree {
            $(
                $(#[doc = $field_doc])*
                pub $field: $section,
            )*
            $(
                $(#[doc = $other_doc])*
                pub $other: $other_type,
            )*
        }

        impl $tree {
            /// All sections with their keys, in the order of the declaration.
            #[must_use]
            pub fn sections() -> Vec<$crate::config::schema::SectionInfo> {
                vec![$($crate::config::schema::info::<$section>(),)*]
            }

            /// Reads one key; `None` if there is no such section or key. A refused value leaves the old one.
            pub(crate) fn set(
                &mut self,
                section: &str,
                key: &str,
                written: $crate::config::schema::Written<'_>,
            ) -> Option<Result<(), String>> {
                use $crate::config::schema::Section;
                match section {
                    $(<$section as Section>::NAME => self.$field.set(key, written),)*
                    _ => None,
                }
            }

            /// Checks one key against its range; `None` if there is no such section or key.
            pub(crate) fn in_range(&self, section: &str, key: &str) -> Option<Result<(), String>> {
                use $crate::config::schema::Section;
                match section {
                    $(<$section as Section>::NAME => self.$field.in_range(key),)*
                    _ => None,
                }
            }

            /// Adds an entry of defaults to a list and gives its place there; `None` if there is no such list.
            pub(crate) fn push(&mut self, section: &str, list: &str) -> Option<usize> {
                use $crate::config::schema::Section;
                match section {
                    $(<$section as Section>::NAME => {
                        self.$field.push(list).then(|| self.$field.count(list) - 1)
                    })*
                    _ => None,
                }
            }

            /// How many entries a list has; 0 if there is no such section or list.
            pub(crate) fn count(&self, section: &str, list: &str) -> usize {
                use $crate::config::schema::Section;
                match section {
                    $(<$section as Section>::NAME => self.$field.count(list),)*
                    _ => 0,
                }
            }

            /// Reads one key of an entry of a list; `None` if there is none. A refused value leaves the old one.
            pub(crate) fn set_in(
                &mut self,
                (section, list, index): (&str, &str, usize),
                key: &str,
                written: $crate::config::schema::Written<'_>,
            ) -> Option<Result<(), String>> {
                use $crate::config::schema::Section;
                match section {
                    $(<$section as Section>::NAME => self.$field.set_in(list, index, key, written),)*
                    _ => None,
                }
            }

            /// Checks one key of an entry of a list against its range; `None` if there is none.
            pub(crate) fn in_range_in(
                &self,
                (section, list, index): (&str, &str, usize),
                key: &str,
            ) -> Option<Result<(), String>> {
                use $crate::config::schema::Section;
                match section {
                    $(<$section as Section>::NAME => self.$field.in_range_in(list, index, key),)*
                    _ => None,
                }
            }

            /// The value of one key as the file would have it; `None` if there is no such section or key.
            #[must_use]
            pub fn to_toml(&self, section: &str, key: &str) -> Option<String> {
                use $crate::config::schema::Section;
                match section {
                    $(<$section as Section>::NAME => self.$field.to_toml(key),)*
                    _ => None,
                }
            }
        }
    };
}

pub(super) use {section, tree};
