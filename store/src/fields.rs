//! Little-endian fields in slices and growing buffers.
//!
//! The readers panic when the slice is too short: callers check lengths first, once per record and not once per field.

/// Reads two octets at `at`.
pub(crate) fn u16_at(octets: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(
        octets[at..at + 2]
            .try_into()
            .expect("a slice of two octets"),
    )
}

/// Reads four octets at `at`.
pub(crate) fn u32_at(octets: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(
        octets[at..at + 4]
            .try_into()
            .expect("a slice of four octets"),
    )
}

/// Reads eight octets at `at`.
pub(crate) fn u64_at(octets: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(
        octets[at..at + 8]
            .try_into()
            .expect("a slice of eight octets"),
    )
}

/// Writes four octets at `at`.
pub(crate) fn set_u32(octets: &mut [u8], at: usize, value: u32) {
    octets[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

/// Writes eight octets at `at`.
pub(crate) fn set_u64(octets: &mut [u8], at: usize, value: u64) {
    octets[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

/// A length that the format holds in four octets. Buffers of the store stay below 4 GiB: see `commit::LENGTH_MAX`.
pub(crate) fn short(length: usize) -> u32 {
    u32::try_from(length).expect("lengths in the journal fit four octets")
}

/// A stored length or offset as an index.
pub(crate) fn index(value: u32) -> usize {
    usize::try_from(value).expect("an index has at least four octets")
}

/// Appends a variable-length integer (LEB128).
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(0x80 | u8::try_from(value & 0x7f).expect("seven bits"));
        value >>= 7;
    }
    out.push(u8::try_from(value).expect("seven bits"));
}

/// Appends a string or octets with their length.
pub(crate) fn put_octets(out: &mut Vec<u8>, octets: &[u8]) {
    put_varint(out, octets.len() as u64);
    out.extend_from_slice(octets);
}

/// Reads varints and strings; every method gives `None` once the input ends early or is malformed.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    /// Whether everything has been read.
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (&octet, rest) = self.rest.split_first()?;
            self.rest = rest;
            value |= u64::from(octet & 0x7f).checked_shl(shift)?;
            if octet < 0x80 {
                return Some(value);
            }
        }
        None
    }

    pub(crate) fn short(&mut self) -> Option<u32> {
        u32::try_from(self.varint()?).ok()
    }

    pub(crate) fn octets(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.varint()?).ok()?;
        let (octets, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(octets)
    }

    /// A fixed number of octets.
    pub(crate) fn array<const LENGTH: usize>(&mut self) -> Option<[u8; LENGTH]> {
        let (octets, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*octets)
    }

    pub(crate) fn string(&mut self) -> Option<String> {
        Some(String::from_utf8_lossy(self.octets()?).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn varints_come_back(values: Vec<u64>) {
            let mut out = Vec::new();
            for &value in &values {
                put_varint(&mut out, value);
            }
            let mut reader = Reader::new(&out);
            for &value in &values {
                prop_assert_eq!(reader.varint(), Some(value));
            }
            prop_assert_eq!(reader.varint(), None);
        }

        #[test]
        fn no_octets_make_the_reader_panic(octets: Vec<u8>) {
            let mut reader = Reader::new(&octets);
            while reader.octets().is_some() {}
            while reader.varint().is_some() {}
        }
    }
}
