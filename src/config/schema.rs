//! What a section is, and the one declaration everything else is derived from.
//!
//! `section!` takes, for each key, its meaning (the doc comment), type, default and range, and makes of them the plain
//! struct, its `Default`, the reading and range check of each key, and the list of keys that `activemq.toml` and
//! the "did you mean" are written from. Nothing about a key is said twice, so nothing can drift.

use std::fmt;

use super::leaf::{Leaf, Literal};

/// A key as people know it.
#[derive(Debug, Clone)]
pub struct Key {
    /// Its name within the section.
    pub name: &'static str,
    /// Its meaning and unit, line by line, each with the leading space of a doc comment.
    pub doc: &'static [&'static str],
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
        min: Some(*min),
        max,
    }
    .range();
    Err(format!("must be {range}, found {}", value.to_toml()))
}

/// Declares one section: `key: Type = default, from min to max;`, the range and its upper end being optional.
macro_rules! section {
    (
        $(#[doc = $section_doc:literal])*
        $section:ident in $section_name:literal {
            $(
                $(#[doc = $doc:literal])*
                $key:ident: $type:ty = $default:literal $(, from $min:literal $(to $max:literal)?)?;
            )*
        }
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
        }

        impl Default for $section {
            fn default() -> Self {
                use $crate::config::leaf::{Leaf, Literal};
                Self {
                    $($key: <$type as Leaf>::read(&Literal::from($default)).expect("a default is readable"),)*
                }
            }
        }

        impl $crate::config::schema::Section for $section {
            const NAME: &'static str = $section_name;
            const DOC: &'static [&'static str] = &[$($section_doc),*];

            fn keys() -> Vec<$crate::config::schema::Key> {
                #[expect(unused_imports, reason = "a section may have no range at all")]
                use $crate::config::leaf::Literal;
                vec![$($crate::config::schema::Key {
                    name: stringify!($key),
                    doc: &[$($doc),*],
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
                use $crate::config::schema::{Section, SectionInfo};
                vec![$(SectionInfo {
                    name: <$section as Section>::NAME,
                    doc: <$section as Section>::DOC,
                    keys: <$section as Section>::keys(),
                },)*]
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
