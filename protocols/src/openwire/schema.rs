//! The one declaration of a data type, from which its struct and both of its forms are made.
//!
//! [`wire!`] lists the fields in the order of the wire with the versions that have them. Their Rust types are the wire
//! kinds of openwire-commands.json, through [`Field`]:
//!
//! | wire kind | type |
//! |---|---|
//! | bool, byte, int, long | `bool`, `i8`, `i32`, `i64` |
//! | string | `Option<Text>`; `Option<Secret>` for a password |
//! | bytes, byteSequence | `Option<Bytes>` |
//! | constBytes | `[u8; N]` |
//! | nestedObject | `Option<T>`, `Option<Box<Command>>` where any type may stand |
//! | cachedObject | `Option<Arc<T>>`, `Option<CachedObject>` where any cached type may stand |
//! | objectArray | `Option<Vec<Option<T>>>` |
//! | throwable | `Option<Box<Throwable>>` |
//!
//! Loose and tight differ in a few primitives only (a flag, a long, a string), which [`Reader`] and [`Writer`] know. A
//! declaration cannot tell which form is in use, so the two cannot drift apart.

use std::sync::Arc;

use bytes::Bytes;

use super::cache::{Cacheable, CachedObject};
use super::commands::{Command, Throwable};
use super::error::Fault;
use super::reader::Reader;
use super::text::{Secret, Text};
use super::writer::Writer;

/// A data type, or a family of types that can stand in the same field.
pub trait Object: Sized {
    /// Its number on the wire.
    fn type_id(&self) -> u8;
    /// Writes the fields.
    fn write(&self, writer: &mut Writer<'_>);
    /// Reads the fields of a type of that number.
    ///
    /// # Errors
    /// What the octets say wrong; [`Fault::UnexpectedType`] for a number that is not in the family.
    fn read(type_id: u8, reader: &mut Reader<'_>) -> Result<Self, Fault>;
}

/// A value that can be a field.
pub(super) trait Field: Sized {
    /// Writes it.
    fn write(&self, writer: &mut Writer<'_>);
    /// Reads it.
    ///
    /// # Errors
    /// What the octets say wrong.
    fn read(reader: &mut Reader<'_>) -> Result<Self, Fault>;
}

macro_rules! primitive_fields {
    ($($type:ty: $method:ident),*) => {$(
        impl Field for $type {
            #[inline]
            fn write(&self, writer: &mut Writer<'_>) {
                writer.$method(*self);
            }

            #[inline]
            fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
                reader.$method()
            }
        }
    )*};
}

primitive_fields!(bool: flag, i8: byte, i32: int, i64: long);

impl<const N: usize> Field for [u8; N] {
    fn write(&self, writer: &mut Writer<'_>) {
        writer.constant(self);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        reader.constant()
    }
}

impl Field for Option<Text> {
    #[inline]
    fn write(&self, writer: &mut Writer<'_>) {
        writer.text(self.as_ref());
    }

    #[inline]
    fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        reader.text()
    }
}

impl Field for Option<Secret> {
    fn write(&self, writer: &mut Writer<'_>) {
        writer.text(self.as_ref().map(|Secret(text)| text));
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        Ok(reader.text()?.map(Secret))
    }
}

impl Field for Option<Bytes> {
    #[inline]
    fn write(&self, writer: &mut Writer<'_>) {
        writer.octets(self.as_ref());
    }

    #[inline]
    fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        reader.octets()
    }
}

impl<T: Object> Field for Option<T> {
    fn write(&self, writer: &mut Writer<'_>) {
        writer.nested(self.as_ref());
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        reader.nested()
    }
}

impl<T: Cacheable> Field for Option<Arc<T>> {
    fn write(&self, writer: &mut Writer<'_>) {
        let address = self.as_ref().map_or(0, |object| Arc::as_ptr(object).addr());
        if !writer.refer(address) {
            writer.cached(self.clone().map(T::wrap));
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let place = reader.place();
        let Some(object) = reader.cached()? else {
            return Ok(None);
        };
        let Some(wanted) = T::unwrap(&object) else {
            reader.enter(place);
            let type_id = object.type_id();
            return Err(Fault::UnexpectedType { type_id });
        };
        Ok(Some(Arc::clone(wanted)))
    }
}

impl Field for Option<CachedObject> {
    fn write(&self, writer: &mut Writer<'_>) {
        let address = self.as_ref().map_or(0, CachedObject::address);
        if !writer.refer(address) {
            writer.cached(self.clone());
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        reader.cached()
    }
}

impl<T: Object> Field for Option<Vec<Option<T>>> {
    fn write(&self, writer: &mut Writer<'_>) {
        writer.array(self.as_deref());
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        reader.array()
    }
}

impl Field for Option<Box<Throwable>> {
    fn write(&self, writer: &mut Writer<'_>) {
        writer.throwable(self.as_deref());
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        Ok(reader.throwable()?.map(Box::new))
    }
}

impl Object for Box<Command> {
    fn type_id(&self) -> u8 {
        (**self).type_id()
    }

    fn write(&self, writer: &mut Writer<'_>) {
        (**self).write(writer);
    }

    fn read(type_id: u8, reader: &mut Reader<'_>) -> Result<Self, Fault> {
        Command::read(type_id, reader).map(Box::new)
    }
}

/// Whether a field with such a rule is on the wire in a version.
macro_rules! is_present {
    ($version:expr,) => {
        true
    };
    ($version:expr, since $first:literal $($rest:tt)*) => {
        $version >= $first
    };
    ($version:expr, until $last:literal) => {
        $version <= $last
    };
}

/// What a field with such a rule holds if it is not on the wire (openwire.md section 23).
macro_rules! absent {
    (since $first:literal, else $value:expr) => {
        $value
    };
    ($($rest:tt)*) => {
        Default::default()
    };
}

/// Declares data types: `command Name = 5 { field: Type [since 2], … }`. A `command` begins with the command id and
/// whether a response is required; a `data` type does not. `fields Name { … } and { … }` declares a struct whose type
/// number is not constant: the fields of the second list are not on the wire.
macro_rules! wire {
    ($(#[$meta:meta])* command $name:ident = $id:literal { $($fields:tt)* } $($rest:tt)*) => {
        wire! {
            $(#[$meta])* data $name = $id {
                /// Numbers the commands of one sender; what a response names.
                command_id: i32,
                /// Whether the sender waits for a response.
                response_required: bool,
                $($fields)*
            }
            $($rest)*
        }
    };
    ($(#[$meta:meta])* data $name:ident = $id:literal { $($fields:tt)* } $($rest:tt)*) => {
        wire! { $(#[$meta])* fields $name { $($fields)* } and {} }

        impl $name {
            /// Its number on the wire.
            pub const TYPE_ID: u8 = $id;
        }

        impl $crate::openwire::schema::Object for $name {
            fn type_id(&self) -> u8 {
                $id
            }

            fn write(&self, writer: &mut $crate::openwire::writer::Writer<'_>) {
                self.write_fields(writer);
            }

            fn read(
                type_id: u8,
                reader: &mut $crate::openwire::reader::Reader<'_>,
            ) -> Result<Self, $crate::openwire::error::Fault> {
                if type_id == $id {
                    Self::read_fields(reader)
                } else {
                    Err($crate::openwire::error::Fault::UnexpectedType { type_id })
                }
            }
        }

        wire! { $($rest)* }
    };
    (
        $(#[$meta:meta])*
        fields $name:ident {
            $($(#[$field_meta:meta])* $field:ident: $type:ty $([$($rule:tt)*])?),* $(,)?
        } and {
            $($(#[$other_meta:meta])* $other:ident: $other_type:ty),* $(,)?
        }
        $($rest:tt)*
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $type,)*
            $($(#[$other_meta])* pub $other: $other_type,)*
        }

        impl $name {
            pub(in $crate::openwire) fn write_fields(
                &self,
                #[allow(unused_variables, reason = "some types have no fields")]
                writer: &mut $crate::openwire::writer::Writer<'_>,
            ) {
                $(if is_present!(writer.version(), $($($rule)*)?) {
                    writer.enter(concat!(stringify!($name), ".", stringify!($field)));
                    $crate::openwire::schema::Field::write(&self.$field, writer);
                })*
            }

            pub(in $crate::openwire) fn read_fields(
                #[allow(unused_variables, reason = "some types have no fields")]
                reader: &mut $crate::openwire::reader::Reader<'_>,
            ) -> Result<Self, $crate::openwire::error::Fault> {
                Ok(Self {
                    $($field: if is_present!(reader.version(), $($($rule)*)?) {
                        reader.enter(concat!(stringify!($name), ".", stringify!($field)));
                        $crate::openwire::schema::Field::read(reader)?
                    } else {
                        absent!($($($rule)*)?)
                    },)*
                    $($other: Default::default(),)*
                })
            }
        }

        #[cfg(test)]
        impl $crate::openwire::tests::Sample for $name {
            fn sample(random: &mut $crate::openwire::tests::Random) -> Self {
                random.enter();
                let sample = Self {
                    $($field: if is_present!(12, $($($rule)*)?) {
                        $crate::openwire::tests::Sample::sample(random)
                    } else {
                        absent!($($($rule)*)?)
                    },)*
                    $($other: $crate::openwire::tests::Sample::sample(random),)*
                };
                random.leave();
                sample
            }

            fn json(&self, version: u8) -> serde_json::Value {
                #[allow(unused_mut, reason = "some types have no fields")]
                let mut fields = serde_json::Map::new();
                fields.insert("_type".into(), stringify!($name).into());
                $(if is_present!(version, $($($rule)*)?) {
                    let value = $crate::openwire::tests::Sample::json(&self.$field, version);
                    fields.insert(stringify!($field).replace('_', ""), value);
                })*
                $(
                    let value = $crate::openwire::tests::Sample::json(&self.$other, version);
                    fields.insert(stringify!($other).to_uppercase(), value);
                )*
                fields.into()
            }
        }

        wire! { $($rest)* }
    };
    () => {};
}

pub(super) use {absent, is_present, wire};
