//! Frames of a server: never masked.

use super::Opcode;

/// The longest head of a frame that [`push_frame_head`] writes.
pub const FRAME_HEAD_BYTES_MAX: usize = 10;

/// Appends the head of a frame with `payload_len` octets, which have to follow.
pub fn push_frame_head(opcode: Opcode, is_last: bool, payload_len: usize, out: &mut Vec<u8>) {
    out.push(u8::from(is_last) << 7 | opcode.code());
    match (u8::try_from(payload_len), u16::try_from(payload_len)) {
        (Ok(short @ ..126), _) => out.push(short),
        (_, Ok(medium)) => {
            out.push(126);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(payload_len as u64).to_be_bytes());
        }
    }
}

/// Appends the answer to a ping.
pub fn push_pong(payload: &[u8], out: &mut Vec<u8>) {
    push_frame_head(Opcode::Pong, true, payload.len(), out);
    out.extend_from_slice(payload);
}

/// Appends a close frame; of `reason` as much as may stand there.
pub fn push_close(status: u16, reason: &str, out: &mut Vec<u8>) {
    // A control frame holds 125 octets, two of them are the status.
    let mut end = reason.len().min(123);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let reason = &reason[..end];
    push_frame_head(Opcode::Close, true, 2 + reason.len(), out);
    out.extend_from_slice(&status.to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_takes_the_shortest_form() {
        let head = |len| {
            let mut out = Vec::new();
            push_frame_head(Opcode::Binary, true, len, &mut out);
            out
        };
        assert_eq!(head(0), [0x82, 0]);
        assert_eq!(head(125), [0x82, 125]);
        assert_eq!(head(126), [0x82, 126, 0, 126]);
        assert_eq!(head(65535), [0x82, 126, 0xff, 0xff]);
        assert_eq!(head(65536), [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let mut out = Vec::new();
        push_close(super::super::status::TOO_BIG, &"ä".repeat(100), &mut out);
        assert_eq!(out[..4], [0x88, 124, 0x03, 0xf1]);
        assert!(std::str::from_utf8(&out[4..]).is_ok());
    }
}
