//! OpenWire, versions 1 to 12, loose and tight: octets to [`Command`]s and back.
//!
//! Source of every fact: `openwire.md`, in the sections that comments name (framing 1, handshake 2, loose 4, tight 5,
//! cache 6, maps 7, bodies 8, ids 9, versions 23), and the field tables of `openwire-commands.json`. What Java puts on
//! the wire was captured (`tests/vectors/openwire`), and every captured frame is read and written back to the octet.
//!
//! # How it is made
//!
//! - *One declaration per type* (`schema.rs`, `commands/`): fields in the order of the wire, with the versions that have
//!   them. Struct, reading and writing are made from it. A field does not know whether it is written loose or tight; the
//!   few primitives that differ do (`reader.rs`, `writer.rs`).
//! - *One walk.* Tight frames have their flags in front. The writer leaves as much room for them as the last frame of
//!   that type took, walks the command once, and moves the rest only where that was wrong. A long content is not copied
//!   at all ([`Encoder::encode_sharing`]).
//! - *Slices and shares.* Texts and octets of a decoded command are slices of the frame. What travels through the object
//!   cache is shared (`Arc`), has memory of its own, and is the same object in every command that names it, with the
//!   cache on or off: an adapter may compare addresses. So a message costs no allocation in steady state.
//! - *Nothing is made from the wire* but these structs: an exception is the name of a class and a text.
//!
//! # How it is used
//!
//! A connection has a [`Decoder`] and an [`Encoder`]; they begin in the format of the handshake.
//!
//! ```text
//! encoder.encode(&ours.to_info(), out)                   our WireFormatInfo
//! decoder.decode(&mut input) -> Command::WireFormatInfo  theirs
//! let agreed = Negotiated::between(&ours, &WireFormat::of(&theirs)?)?
//! decoder.agree(&agreed.format); encoder.agree(&agreed.format)
//! decoder.decode(&mut input) -> Command::ConnectionInfo, …
//! ```
//!
//! Any error of the decoder ends the connection. One of the encoder costs only its command, of which nothing is written.
//! A message that is kept, in memory or in the journal, has the form of [`encode_stored`]: every field, and nothing that
//! refers to another frame; [`StoredDecoder`] reads it back, sharing ids between messages. Its `content` and
//! `marshalled_properties` are read by [`body`] and [`properties`] when somebody asks.
//!
//! Deliberately not here: what a command does, the timers of the inactivity monitor, and serialization of Java objects.

pub mod body;
pub mod commands;
pub mod properties;

mod cache;
mod decode;
mod encode;
mod error;
mod flags;
mod format;
mod limits;
mod negotiate;
mod reader;
mod schema;
mod text;
mod utf;
mod writer;

#[cfg(test)]
mod tests;

pub use cache::{CACHE_SIZE_MIN, CachedObject};
pub use commands::Command;
pub use decode::{Decoder, StoredDecoder};
pub use encode::{Encoder, encode_stored};
pub use error::{EncodeError, Fault, OpenWireError};
pub use format::{Format, VERSION_MAX};
pub use limits::Limits;
pub use negotiate::{Negotiated, NegotiationError, WireFormat};
pub use text::{Secret, Text};
pub use utf::JavaStr;
pub use writer::{STRING_BYTES_MAX, Shared};
