//! The stamp at the head of every body the generator sends: who sent it, its number, and when it was meant to be sent.
//!
//! ```text
//! octets 0..8    run          hexadecimal, so that what an earlier run left in a queue is told apart
//!        8..12   producer     hexadecimal
//!       12..16   destination  hexadecimal
//!       16..24   sequence     hexadecimal, counted from 0 for each pair of producer and destination
//!       24..40   intended time of sending, nanoseconds of the run's stopwatch, hexadecimal
//! ```
//!
//! Fixed widths let a producer patch a rendered frame in place and a consumer read it without looking for ends. It is text, so a
//! broker may treat the body as text or as bytes. Eight digits are written and read as one machine word, without a loop.

/// Octets of a stamp; no body of the generator is shorter.
pub(crate) const LEN: usize = 40;
/// Where the part that changes from message to message begins (destination, sequence, time).
pub(crate) const DESTINATION_AT: usize = 12;
const SEQUENCE_AT: usize = 16;
const TIME_AT: usize = 24;

const ONES: u64 = 0x0101_0101_0101_0101;

/// What a message says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The run that sent it.
    pub(crate) run: u32,
    /// Index of the producer within the run.
    pub(crate) producer: u16,
    /// Index of the destination within the run.
    pub(crate) destination: u16,
    /// Number of the message within its producer and destination.
    pub(crate) sequence: u32,
    /// When it was meant to be sent.
    pub(crate) sent_ns: u64,
}

impl Stamp {
    /// Writes all five fields over the first [`LEN`] octets of `body`.
    ///
    /// # Panics
    /// If `body` is shorter than [`LEN`].
    pub(crate) fn write(&self, body: &mut [u8]) {
        body[..8].copy_from_slice(&hex8(self.run));
        body[8..16].copy_from_slice(&hex8(
            u32::from(self.producer) << 16 | u32::from(self.destination),
        ));
        write_sequence(body, self.sequence);
        write_time(body, self.sent_ns);
    }

    /// Reads a stamp; `None` if the octets are none.
    #[inline]
    #[must_use]
    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        let octets: &[u8; LEN] = body.get(..LEN)?.try_into().ok()?;
        let word = |at: usize| -> Option<u32> { unhex8(octets[at..at + 8].try_into().ok()?) };
        let ends = word(8)?;
        Some(Self {
            run: word(0)?,
            producer: u16::try_from(ends >> 16).ok()?,
            destination: u16::try_from(ends & 0xffff).ok()?,
            sequence: word(SEQUENCE_AT)?,
            sent_ns: u64::from(word(TIME_AT)?) << 32 | u64::from(word(TIME_AT + 8)?),
        })
    }
}

/// Patches the sequence of a rendered stamp.
#[inline]
pub(crate) fn write_sequence(body: &mut [u8], sequence: u32) {
    body[SEQUENCE_AT..SEQUENCE_AT + 8].copy_from_slice(&hex8(sequence));
}

/// Patches the intended time of a rendered stamp.
#[inline]
pub(crate) fn write_time(body: &mut [u8], sent_ns: u64) {
    body[TIME_AT..TIME_AT + 16].copy_from_slice(&hex16(sent_ns));
}

/// Sixteen lower-case hexadecimal digits.
#[inline]
#[must_use]
pub(crate) fn hex16(value: u64) -> [u8; 16] {
    let mut digits = [0; 16];
    let (high, low) = (
        u32::try_from(value >> 32).unwrap_or(0),
        u32::try_from(value & 0xffff_ffff).unwrap_or(0),
    );
    digits[..8].copy_from_slice(&hex8(high));
    digits[8..].copy_from_slice(&hex8(low));
    digits
}

/// Eight lower-case hexadecimal digits: the nibbles are spread over the octets of one word, then turned to letters together.
#[inline]
#[must_use]
pub(crate) fn hex8(value: u32) -> [u8; 8] {
    let mut word = u64::from(value);
    word = (word & 0xffff_0000) << 16 | (word & 0xffff);
    word = (word << 8 | word) & 0x00ff_00ff_00ff_00ff;
    word = (word << 4 | word) & 0x0f0f_0f0f_0f0f_0f0f;
    let letters = ((word + 6 * ONES) >> 4) & ONES; // one in each octet that is above nine
    (word + 0x30 * ONES + letters * 0x27).to_be_bytes()
}

/// The inverse of [`hex8`]; `None` for anything it does not write.
#[inline]
#[must_use]
pub(crate) fn unhex8(digits: [u8; 8]) -> Option<u32> {
    let word = u64::from_be_bytes(digits);
    let mut nibbles = (word & (0x0f * ONES)) + 9 * ((word >> 6) & ONES);
    nibbles &= 0x0f * ONES; // an octet that is no digit may have carried; the comparison below finds it
    nibbles = (nibbles >> 4 | nibbles) & 0x00ff_00ff_00ff_00ff;
    nibbles = (nibbles >> 8 | nibbles) & 0x0000_ffff_0000_ffff;
    nibbles = (nibbles >> 16 | nibbles) & 0xffff_ffff;
    let value = u32::try_from(nibbles).ok()?;
    (hex8(value) == digits).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_those_of_the_formatter_and_come_back() {
        for value in [
            0,
            1,
            9,
            10,
            15,
            16,
            0xdead_beef,
            0x0123_4567,
            0x89ab_cdef,
            u32::MAX,
        ] {
            assert_eq!(hex8(value), *format!("{value:08x}").as_bytes());
            assert_eq!(unhex8(hex8(value)), Some(value));
        }
        assert_eq!(hex16(0x0123_4567_89ab_cdef), *b"0123456789abcdef");
    }

    #[test]
    fn what_is_no_digit_is_refused_at_every_place() {
        for at in 0..8 {
            for octet in (0..=255u8).filter(|o| !matches!(o, b'0'..=b'9' | b'a'..=b'f')) {
                let mut digits = *b"0a1b2c3d";
                digits[at] = octet;
                assert_eq!(unhex8(digits), None, "octet {octet} at {at}");
            }
        }
    }

    #[test]
    fn a_stamp_reads_back_what_was_written() {
        let stamp = Stamp {
            run: 0xfeed_0001,
            producer: 513,
            destination: 7,
            sequence: 4_000_000_000,
            sent_ns: 0x1234_5678_9abc,
        };
        let mut body = [b'.'; LEN + 2];
        stamp.write(&mut body);
        assert_eq!(Stamp::read(&body), Some(stamp));
        write_sequence(&mut body, 5);
        write_time(&mut body, 6);
        assert_eq!(
            Stamp::read(&body),
            Some(Stamp {
                sequence: 5,
                sent_ns: 6,
                ..stamp
            })
        );
        assert_eq!(Stamp::read(&body[..LEN - 1]), None);
    }
}
