//! Whether octets that come in pieces are UTF-8.

/// A check that remembers the unfinished character at the end of a piece.
#[derive(Clone, Copy, Debug, Default)]
pub struct Utf8 {
    held: [u8; 4],
    count: usize,
}

impl Utf8 {
    /// Takes the next piece; false if no continuation can make it UTF-8 any more.
    pub fn feed(&mut self, mut piece: &[u8]) -> bool {
        while self.count > 0 {
            let Some((first, rest)) = piece.split_first() else {
                return true;
            };
            self.held[self.count] = *first;
            self.count += 1;
            piece = rest;
            match std::str::from_utf8(&self.held[..self.count]) {
                Ok(_) => self.count = 0,
                Err(error) if error.error_len().is_some() => return false,
                // At most three octets are unfinished, so the fourth always fits.
                Err(_) => {}
            }
        }
        let Err(error) = std::str::from_utf8(piece) else {
            return true;
        };
        if error.error_len().is_some() {
            return false;
        }
        let unfinished = &piece[error.valid_up_to()..];
        self.held[..unfinished.len()].copy_from_slice(unfinished);
        self.count = unfinished.len();
        true
    }

    /// Whether the octets so far end with a whole character.
    pub fn is_whole(&self) -> bool {
        self.count == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(octets: &[u8], piece: usize) -> bool {
        let mut utf8 = Utf8::default();
        octets.chunks(piece).all(|piece| utf8.feed(piece)) && utf8.is_whole()
    }

    proptest! {
        #[test]
        fn a_check_in_pieces_is_the_check_of_the_whole(
            text in "\\PC{0,20}",
            octets in prop::collection::vec(prop_oneof![any::<u8>(), 0x80..=0xf4_u8], 0..8),
            piece in 1..6_usize,
        ) {
            prop_assert!(check(text.as_bytes(), piece));
            let mixed = [text.as_bytes(), &octets].concat();
            prop_assert_eq!(check(&mixed, piece), std::str::from_utf8(&mixed).is_ok());
        }
    }
}
