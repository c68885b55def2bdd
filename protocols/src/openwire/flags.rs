//! The flags in front of a tight frame (openwire.md section 5.1): a header with their number of octets, then the bits,
//! least significant first.

use super::error::Fault;

/// Reads flags that lie in a frame.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FlagReader {
    /// Where the octets of flags begin in the frame.
    start: usize,
    /// How many flags are taken.
    taken: usize,
    /// How many there are, spare ones included.
    count: usize,
}

impl FlagReader {
    /// Reads the header at `at`. Gives the flags and where they end.
    pub(super) fn open(frame: &[u8], at: usize) -> Result<(Self, usize), Fault> {
        let (octets, header) = match frame[at..] {
            [0xc0, octets, ..] => (usize::from(octets), 2),
            [0x80, high, low, ..] => (usize::from(high) << 8 | usize::from(low), 3),
            // As few as can be missing: who has no size of a frame asks again with that many.
            [] => return Err(truncated(1, 0)),
            [0xc0] => return Err(truncated(2, 1)),
            [0x80, ref rest @ ..] => return Err(truncated(3, 1 + rest.len())),
            [octets, ..] => (usize::from(octets), 1),
        };
        let start = at + header;
        if frame.len() - start < octets {
            return Err(truncated(header + octets, frame.len() - at));
        }
        let flags = Self {
            start,
            taken: 0,
            count: octets * 8,
        };
        Ok((flags, start + octets))
    }

    #[inline]
    pub(super) fn next(&mut self, frame: &[u8]) -> Result<bool, Fault> {
        if self.taken == self.count {
            return Err(Fault::Flags);
        }
        let octet = frame[self.start + self.taken / 8];
        let flag = octet >> (self.taken % 8) & 1 != 0;
        self.taken += 1;
        Ok(flag)
    }

    /// How many flags are left, spare ones included.
    pub(super) fn left(&self) -> usize {
        self.count - self.taken
    }
}

/// `wanted` octets where `left` are.
pub(super) fn truncated(wanted: usize, left: usize) -> Fault {
    let clamp = |octets: usize| u32::try_from(octets).unwrap_or(u32::MAX);
    Fault::Truncated {
        wanted: clamp(wanted),
        left: clamp(left),
    }
}

/// Gathers flags.
#[derive(Clone, Debug, Default)]
pub(super) struct FlagWriter {
    octets: Vec<u8>,
    count: usize,
}

impl FlagWriter {
    /// Octets of flags that the format can tell.
    pub(super) const OCTETS_MAX: usize = 32_767;

    pub(super) fn clear(&mut self) {
        self.octets.clear();
        self.count = 0;
    }

    #[inline]
    pub(super) fn push(&mut self, flag: bool) {
        let bit = self.count % 8;
        if bit == 0 {
            self.octets.push(0);
        }
        if let Some(last) = self.octets.last_mut() {
            *last |= u8::from(flag) << bit;
        }
        self.count += 1;
    }

    /// The octets of flags.
    pub(super) fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// Octets that [`write`](Self::write) takes.
    pub(super) fn len(&self) -> usize {
        let header = match self.octets.len() {
            0..64 => 1,
            64..256 => 2,
            _ => 3,
        };
        header + self.octets.len()
    }

    /// Writes header and flags into `out`, which has [`len`](Self::len) octets.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "each arm is the range that fits"
    )]
    pub(super) fn write(&self, out: &mut [u8]) {
        let octets = self.octets.len();
        let (header, flags) = out.split_at_mut(out.len() - octets);
        match header {
            [short] => *short = octets as u8,
            [escape, short] => (*escape, *short) = (0xc0, octets as u8),
            [escape, long @ ..] => {
                *escape = 0x80;
                long.copy_from_slice(&(octets as u16).to_be_bytes());
            }
            [] => {}
        }
        flags.copy_from_slice(&self.octets);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_every_header_come_back() {
        for count in [
            0,
            1,
            8,
            9,
            63 * 8,
            63 * 8 + 1,
            255 * 8,
            255 * 8 + 1,
            32_767 * 8,
        ] {
            let mut writer = FlagWriter::default();
            let flag = |n: usize| n.is_multiple_of(3);
            (0..count).for_each(|n| writer.push(flag(n)));
            let mut frame = vec![0xaa; writer.len() + 1];
            writer.write(&mut frame[1..]);
            let (mut reader, end) = FlagReader::open(&frame, 1).expect("it is whole");
            assert_eq!(end, frame.len());
            assert!(
                (0..count).all(|n| reader.next(&frame) == Ok(flag(n))),
                "{count}"
            );
            assert!(reader.left() < 8, "only spare ones are left");
            for cut in 1..frame.len().min(300) {
                assert!(
                    FlagReader::open(&frame[..cut], 1).is_err(),
                    "{cut} of {count}"
                );
            }
        }
    }

    #[test]
    fn headers_are_those_of_the_specification() {
        let header = |octets: usize| {
            let mut writer = FlagWriter::default();
            (0..octets * 8).for_each(|_| writer.push(true));
            let mut out = vec![0; writer.len()];
            writer.write(&mut out);
            out.truncate(writer.len() - octets);
            out
        };
        assert_eq!(header(0), [0]);
        assert_eq!(header(63), [63]);
        assert_eq!(header(64), [0xc0, 64]);
        assert_eq!(header(255), [0xc0, 255]);
        assert_eq!(header(256), [0x80, 1, 0]);
    }
}
