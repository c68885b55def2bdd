//! Bodies of messages (openwire.md section 8), read when somebody asks: another protocol, or a selector.
//!
//! [`content`] gives the octets, inflated if need be; then [`text`], [`stream`] or [`Map::read`] says what they are. The
//! body of an object message is a serialization of Java and stays octets.

use std::borrow::Cow;

use bytes::Bytes;
use miniz_oxide::inflate::{TINFLStatus, decompress_to_vec_zlib_with_limit};

use super::commands::{Message, MessageKind};
use super::properties::{self, Value, ValueError};
use super::utf::JavaStr;

pub use super::properties::Map;

/// What is wrong with a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// It is no zlib stream.
    #[error("the compressed body cannot be inflated")]
    Deflate,
    /// It is longer than allowed when inflated.
    #[error("the body exceeds {max} octets when inflated")]
    TooLong {
        /// The limit.
        max: usize,
    },
    /// Its values cannot be read.
    #[error(transparent)]
    Value(#[from] ValueError),
}

/// The content of a message as its kind has it, without compression; `None` if it has none. Allocates only to inflate,
/// `inflated_bytes_max` at most.
///
/// # Errors
/// If it is compressed and cannot be inflated.
pub fn content(message: &Message, inflated_bytes_max: usize) -> Result<Option<Bytes>, BodyError> {
    let Some(content) = &message.content else {
        return Ok(None);
    };
    if !message.compressed {
        return Ok(Some(content.clone()));
    }
    let inflated = if message.kind == MessageKind::Bytes {
        // The length in front counts: Java deflates its whole buffer, which may be longer than what was written.
        let (length, deflated) = content.split_first_chunk().ok_or(BodyError::Deflate)?;
        let length =
            usize::try_from(i32::from_be_bytes(*length)).map_err(|_| BodyError::Deflate)?;
        inflate_prefix(deflated, length, inflated_bytes_max)?
    } else {
        inflate(content, inflated_bytes_max)?
    };
    Ok(Some(inflated.into()))
}

fn inflate(deflated: &[u8], max: usize) -> Result<Vec<u8>, BodyError> {
    decompress_to_vec_zlib_with_limit(deflated, max).map_err(|error| match error.status {
        TINFLStatus::HasMoreOutput => BodyError::TooLong { max },
        _ => BodyError::Deflate,
    })
}

/// The first `length` octets of what is deflated.
fn inflate_prefix(deflated: &[u8], length: usize, max: usize) -> Result<Vec<u8>, BodyError> {
    if length > max {
        return Err(BodyError::TooLong { max });
    }
    let mut inflated = match decompress_to_vec_zlib_with_limit(deflated, length) {
        Ok(inflated) => inflated,
        Err(error) if error.status == TINFLStatus::HasMoreOutput => error.output,
        Err(_) => return Err(BodyError::Deflate),
    };
    if inflated.len() < length {
        return Err(BodyError::Deflate);
    }
    inflated.truncate(length);
    Ok(inflated)
}

/// The text of a text message; `None` if it is null.
///
/// # Errors
/// If it is none.
pub fn text(content: &[u8]) -> Result<Option<JavaStr<'_>>, BodyError> {
    Ok(properties::big_string(content)?)
}

/// The values of a stream message; after the first error there are no more.
pub fn stream(content: &[u8]) -> impl Iterator<Item = Result<Value<'_>, ValueError>> {
    properties::stream(content)
}

/// The content of a text message.
///
/// # Errors
/// If the text is longer than the form can tell.
pub fn text_content(text: &str) -> Result<Vec<u8>, BodyError> {
    let text: Cow<'_, [u8]> = super::utf::encode(text);
    let mut out = Vec::with_capacity(4 + text.len());
    properties::push_long(&mut out, &text)?;
    Ok(out)
}
