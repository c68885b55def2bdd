//! Where frames end in what this crate has encoded for a client: for a transport that sends each as a message of its
//! own.

use memchr::memchr;

/// The header that says where a body with NUL in it ends.
const LENGTH: &[u8] = b"content-length:";
/// As much of a line as has to be kept to read that header: its name and a number, larger than any frame.
const LINE_BYTES_MAX: usize = 32;

/// Looks through frames in pieces. It trusts their form, as only an encoder of ours is before it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cutter {
    at: At,
    /// The beginning of the line in progress.
    line: [u8; LINE_BYTES_MAX],
    line_len: usize,
    body_len: Option<usize>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    /// Before a frame or a heart-beat.
    #[default]
    Start,
    Head,
    Body,
    /// Behind the NUL.
    End,
}

impl Cutter {
    /// Takes the next piece. Gives the offset just behind the first frame, or heart-beat, that ends in it, and is then
    /// ready for what follows there; `None` if it took the whole piece and no frame has ended.
    pub fn cut(&mut self, piece: &[u8]) -> Option<usize> {
        let mut at = 0;
        while at < piece.len() {
            let rest = &piece[at..];
            match self.at {
                At::Start if rest[0] == b'\n' => return Some(at + 1),
                At::Start => self.at = At::Head,
                At::Head => at += self.line(rest),
                At::Body => at += self.body(rest),
                At::End => {
                    *self = Self::default();
                    return Some(at + usize::from(rest[0] == b'\n'));
                }
            }
        }
        None
    }

    /// Takes a line, or what there is of it.
    fn line(&mut self, rest: &[u8]) -> usize {
        let end = memchr(b'\n', rest);
        let text = &rest[..end.unwrap_or(rest.len())];
        let kept = text.len().min(LINE_BYTES_MAX - self.line_len);
        self.line[self.line_len..self.line_len + kept].copy_from_slice(&text[..kept]);
        self.line_len += kept;
        let Some(end) = end else {
            return rest.len();
        };
        let line = &self.line[..self.line_len];
        if line.is_empty() {
            self.at = At::Body;
        } else if let Some(length) = line.strip_prefix(LENGTH)
            && self.body_len.is_none()
        {
            self.body_len = std::str::from_utf8(length)
                .ok()
                .and_then(|length| length.parse().ok());
        }
        self.line_len = 0;
        end + 1
    }

    /// Takes the body and its NUL, or what there is of them.
    fn body(&mut self, rest: &[u8]) -> usize {
        match &mut self.body_len {
            Some(len) if *len > 0 => {
                let count = rest.len().min(*len);
                *len -= count;
                count
            }
            _ => match memchr(0, rest) {
                Some(nul) => {
                    self.at = At::End;
                    nul + 1
                }
                None => rest.len(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Connected, ErrorFrame, HeartBeat, Version};
    use super::super::{encode_connected, encode_error, encode_receipt};
    use super::*;
    use proptest::prelude::*;

    /// Frames as we write them, one after the other.
    fn frames() -> Vec<Vec<u8>> {
        let mut frames = vec![b"\n".to_vec()];
        let mut add = |encode: &dyn Fn(&mut Vec<u8>)| {
            let mut out = Vec::new();
            encode(&mut out);
            frames.push(out);
        };
        let connected = Connected {
            version: Version::V12,
            session: "content-length:7",
            server: "x/1",
            heart_beat: HeartBeat::default(),
            request_id: None,
        };
        let error = ErrorFrame {
            message: "m",
            body: "why\n\nnot",
            ..ErrorFrame::default()
        };
        add(&|out| encode_connected(&connected, out));
        add(&|out| encode_receipt(Version::V12, "1", &[], out));
        add(&|out| encode_error(Version::V12, &error, out));
        add(&|out| out.extend(b"MESSAGE\nx:1\n\nno length\n\nat all\0\n"));
        add(&|out| out.extend(b"MESSAGE\ncontent-length:5\nx:1\n\na\0\nb\0\0\n"));
        add(&|out| out.extend(b"MESSAGE\ncontent-length:0\n\n\0\n"));
        frames
    }

    proptest! {
        #[test]
        fn every_frame_is_found_in_any_pieces(
            order in prop::collection::vec(0..7_usize, 1..12),
            piece in 1..50_usize,
        ) {
            let frames = frames();
            let stream: Vec<u8> = order.iter().flat_map(|index| frames[*index].clone()).collect();
            let mut cutter = Cutter::default();
            let (mut begin, mut taken, mut found) = (0, 0, Vec::new());
            for piece in stream.chunks(piece) {
                let mut rest = piece;
                while let Some(len) = cutter.cut(rest) {
                    rest = &rest[len..];
                    let end = taken + piece.len() - rest.len();
                    found.push(stream[begin..end].to_vec());
                    begin = end;
                }
                taken += piece.len();
            }
            let expected: Vec<_> = order.iter().map(|index| frames[*index].clone()).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
