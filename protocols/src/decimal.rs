//! Integers to octets without `core::fmt`, and back.
//!
//! `core::fmt` costs about 20 ns per number; a MESSAGE holds six of them and the
//! whole frame has 40 ns. Two digits per step from a table cost 2–4 ns.

const PAIRS: &[u8; 200] = b"0001020304050607080910111213141516171819\
2021222324252627282930313233343536373839\
4041424344454647484950515253545556575859\
6061626364656667686970717273747576777879\
8081828384858687888990919293949596979899";

/// Appends `value` in decimal.
#[inline]
pub(crate) fn push_u64(value: u64, out: &mut Vec<u8>) {
    if value < 10 {
        out.push(digit(value));
        return;
    }
    let mut octets = [0; 20];
    let from = write_u64(value, &mut octets);
    out.extend_from_slice(&octets[from..]);
}

/// Writes `value` in decimal to the end of `octets` and tells where it begins.
#[inline]
pub(crate) fn write_u64(mut value: u64, octets: &mut [u8; 20]) -> usize {
    let mut from = octets.len();
    while value >= 100 {
        let pair = index(value % 100) * 2;
        value /= 100;
        from -= 2;
        octets[from] = PAIRS[pair];
        octets[from + 1] = PAIRS[pair + 1];
    }
    if value >= 10 {
        let pair = index(value) * 2;
        from -= 2;
        octets[from] = PAIRS[pair];
        octets[from + 1] = PAIRS[pair + 1];
    } else {
        from -= 1;
        octets[from] = digit(value);
    }
    from
}

/// Appends `value` in lower-case hexadecimal without leading zeros.
#[inline]
pub(crate) fn push_hex(mut value: u64, out: &mut Vec<u8>) {
    let mut octets = [0; 16];
    let mut from = octets.len();
    loop {
        from -= 1;
        octets[from] = b"0123456789abcdef"[index(value & 15)];
        value >>= 4;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&octets[from..]);
}

/// Reads a decimal number of digits only. `None`: empty, another character, or too large.
#[inline]
pub(crate) fn parse_u64(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    // Nineteen digits cannot overflow; longer ones are rare enough for the checked way.
    if digits.len() > 19 {
        return std::str::from_utf8(digits)
            .ok()
            .filter(|text| !text.starts_with('+'))
            .and_then(|text| text.parse().ok());
    }
    let mut value = 0u64;
    for &octet in digits {
        let digit = octet.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + u64::from(digit);
    }
    Some(value)
}

/// Reads a lower-case hexadecimal number as [`push_hex`] writes it.
pub(crate) fn parse_hex(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 16 || (digits.len() > 1 && digits[0] == b'0') {
        return None;
    }
    digits.iter().try_fold(0u64, |value, octet| {
        let digit = match octet {
            b'0'..=b'9' => octet - b'0',
            b'a'..=b'f' => octet - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u64::from(digit))
    })
}

#[expect(clippy::cast_possible_truncation, reason = "callers pass 0..=9")]
#[inline]
fn digit(value: u64) -> u8 {
    b'0' + value as u8
}

#[expect(clippy::cast_possible_truncation, reason = "callers pass 0..=99")]
#[inline]
fn index(value: u64) -> usize {
    value as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_core_fmt_writes_them() {
        let mut value = 0u64;
        for step in 0..400u64 {
            for number in [value, value.wrapping_add(step), u64::MAX - step, step] {
                let mut out = Vec::new();
                push_u64(number, &mut out);
                assert_eq!(out, number.to_string().into_bytes());
                assert_eq!(parse_u64(&out), Some(number));
                out.clear();
                push_hex(number, &mut out);
                assert_eq!(out, format!("{number:x}").into_bytes());
                assert_eq!(parse_hex(&out), Some(number));
            }
            value = value.wrapping_mul(7).wrapping_add(step);
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in [
            "",
            "+1",
            "-1",
            " 1",
            "1 ",
            "a",
            "99999999999999999999",
            "+9999999999999999999",
        ] {
            assert_eq!(parse_u64(text.as_bytes()), None, "{text:?}");
        }
        for text in ["", "G", "A", "00", "11112222333344445"] {
            assert_eq!(parse_hex(text.as_bytes()), None, "{text:?}");
        }
    }
}
