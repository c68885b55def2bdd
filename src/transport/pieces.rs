//! A place in octets that lie in several pieces.

use std::io::IoSlice;

/// A place; cheap to copy, to look ahead from it.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pieces: &'a [IoSlice<'a>],
    /// Octets of the first piece that lie before it.
    offset: usize,
}

impl<'a> Place<'a> {
    /// The place after the first `skipped` octets.
    pub(super) fn after(pieces: &'a [IoSlice<'a>], skipped: usize) -> Self {
        let mut place = Self { pieces, offset: 0 };
        place.advance(skipped);
        place
    }

    /// Moves on by `count` octets, which must be there.
    pub(super) fn advance(&mut self, count: usize) {
        self.offset += count;
        while let Some((first, rest)) = self.pieces.split_first()
            && self.offset >= first.len()
        {
            self.offset -= first.len();
            self.pieces = rest;
        }
        debug_assert!(
            self.offset == 0 || !self.pieces.is_empty(),
            "beyond the end"
        );
    }

    /// What follows, at most `limit` octets, piece by piece.
    pub(super) fn take(self, limit: usize) -> impl Iterator<Item = &'a [u8]> {
        let (mut offset, mut rest) = (self.offset, limit);
        self.pieces.iter().filter_map(move |piece| {
            let piece: &'a [u8] = &piece[offset..];
            let piece = &piece[..piece.len().min(rest)];
            offset = 0;
            rest -= piece.len();
            (!piece.is_empty()).then_some(piece)
        })
    }

    /// Whether nothing follows.
    pub(super) fn is_end(&self) -> bool {
        self.pieces.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_moves_over_the_edges_of_pieces() {
        let pieces = [&b"ab"[..], b"", b"cde", b"f"].map(IoSlice::new);
        let text = |skipped, limit| {
            let place = Place::after(&pieces, skipped);
            let parts: Vec<_> = place.take(limit).collect();
            String::from_utf8(parts.concat()).unwrap()
        };
        assert_eq!(text(0, 9), "abcdef");
        assert_eq!(text(1, 3), "bcd");
        assert_eq!(text(2, 9), "cdef");
        assert_eq!(text(3, 2), "de");
        assert!(Place::after(&pieces, 6).is_end());
        assert!(!Place::after(&pieces, 5).is_end());
    }
}
