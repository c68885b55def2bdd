//! A pool of buffers that connections borrow while they have something to read or write.
//!
//! An idle connection holds none, so ten thousand of them cost no buffers.

use std::sync::Mutex;

use bytes::{Buf, Bytes, BytesMut};

/// Size of a buffer for frames on their way out.
pub const PIECE_BYTES: usize = 64 * 1024;
/// Size of a buffer to read into; one read fills at most this much.
pub const READ_BYTES: usize = 128 * 1024;
/// Buffers of each kind that the pool keeps.
const KEPT_MAX: usize = 32;

/// Buffers to lend.
#[derive(Default)]
pub struct Buffers {
    out: Mutex<Vec<Vec<u8>>>,
    read: Mutex<Vec<BytesMut>>,
}

impl Buffers {
    /// An empty buffer to render frames into.
    pub fn lend(&self) -> Vec<u8> {
        let kept = self.out.lock().ok().and_then(|mut kept| kept.pop());
        kept.unwrap_or_else(|| Vec::with_capacity(PIECE_BYTES + 8 * 1024))
    }

    /// Takes a buffer back.
    pub fn give_back(&self, mut buffer: Vec<u8>) {
        if buffer.capacity() > 4 * PIECE_BYTES {
            return;
        }
        buffer.clear();
        if let Ok(mut kept) = self.out.lock()
            && kept.len() < KEPT_MAX
        {
            kept.push(buffer);
        }
    }

    /// An empty buffer to read into.
    pub fn lend_read(&self) -> BytesMut {
        let kept = self.read.lock().ok().and_then(|mut kept| kept.pop());
        kept.unwrap_or_else(|| BytesMut::with_capacity(READ_BYTES))
    }

    /// What is behind `taken` in `octets`, as a buffer to read into again: the same one, unless a message keeps its body in
    /// it.
    pub fn thaw(&self, octets: Bytes, taken: usize) -> BytesMut {
        match octets.try_into_mut() {
            Ok(mut buffer) if taken == buffer.len() => {
                // Not `advance`, which would give up the room in front.
                buffer.clear();
                buffer
            }
            Ok(mut buffer) => {
                buffer.advance(taken);
                buffer
            }
            Err(kept) => {
                let mut buffer = self.lend_read();
                buffer.extend_from_slice(&kept[taken..]);
                buffer
            }
        }
    }

    /// Takes a read buffer back.
    pub fn give_back_read(&self, mut buffer: BytesMut) {
        buffer.clear();
        // One that grew for a large frame, or whose octets live on in a message, is let go.
        if buffer.capacity() < READ_BYTES || buffer.capacity() > 2 * READ_BYTES {
            return;
        }
        if let Ok(mut kept) = self.read.lock()
            && kept.len() < KEPT_MAX
        {
            kept.push(buffer);
        }
    }
}
