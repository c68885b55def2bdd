//! Finds the frames in what a consumer reads, as cheaply as is still honest.
//!
//! The generator must cost less than what it measures, so it does not decode headers into anything. Frames of one subscription
//! look alike: the scanner remembers how long the head of the last MESSAGE was and looks whether the next one ends at the same
//! place, with the stamp of this run behind it and the NUL where the body size says. If so, the frame is recognised by comparing
//! a few words. If not (a counter in a header grew by a digit, `redelivered` appeared, another frame), its lines are read one by
//! one, and the new length is remembered. `redelivered:true` is longer or shorter than its absence or `false`, so it is always
//! seen by the slow way.

use anyhow::{Context, bail, ensure};

use super::stamp::{Stamp, hex8};

/// Largest body believed from a content-length.
const BODY_MAX: usize = 512 * 1024 * 1024;

/// What lies at the start of the input.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    /// A message of this run.
    Message {
        /// Its stamp.
        stamp: Stamp,
        /// Its head: command and header lines.
        head: &'a [u8],
        /// Whether the broker marked it as delivered before.
        redelivered: bool,
    },
    /// A message that this run did not send.
    Foreign {
        /// Its head.
        head: &'a [u8],
    },
    /// A RECEIPT; its head.
    Receipt(&'a [u8]),
    /// No whole frame yet.
    More,
}

/// Cuts frames off the input of one connection.
#[derive(Debug)]
pub(crate) struct Scanner {
    run: Option<[u8; 8]>,
    size: usize,
    head: usize,
}

impl Scanner {
    /// A scanner for messages of that run with bodies of that size; without a run, for those of any.
    #[must_use]
    pub(crate) fn new(run: Option<u32>, size: usize) -> Self {
        Self {
            run: run.map(hex8),
            size,
            head: usize::MAX / 2,
        }
    }

    /// Takes one frame off the start of `input`: what it is, and the octets to go on from.
    ///
    /// # Errors
    /// On an ERROR frame or octets that are no frame of a broker.
    #[inline]
    pub(crate) fn next<'a>(&mut self, input: &'a [u8]) -> anyhow::Result<(Found<'a>, usize)> {
        match self.same_again(input) {
            Some(found) => Ok(found),
            None => self.line_by_line(input),
        }
    }

    /// The frame at the start of `input`, if it is laid out as the one before.
    #[inline]
    fn same_again<'a>(&self, input: &'a [u8]) -> Option<(Found<'a>, usize)> {
        let head = input.get(..self.head)?;
        let body = input.get(self.head..=self.head + self.size)?;
        let alike =
            head.starts_with(b"MESSAGE\n") && head.ends_with(b"\n\n") && body[self.size] == 0;
        let stamp = Stamp::read(body)?;
        if !alike || self.run.is_some_and(|run| run != body[..8]) {
            return None;
        }
        let end = self.head + self.size + 1;
        let end = end + usize::from(input.get(end) == Some(&b'\n'));
        Some((
            Found::Message {
                stamp,
                head,
                redelivered: false,
            },
            end,
        ))
    }

    #[cold]
    fn line_by_line<'a>(&mut self, input: &'a [u8]) -> anyhow::Result<(Found<'a>, usize)> {
        let Some(start) = input
            .iter()
            .position(|octet| !matches!(octet, b'\n' | b'\r' | 0))
        else {
            return Ok((Found::More, input.len()));
        };
        let Some(head) = Head::read(&input[start..])? else {
            return Ok((Found::More, start));
        };
        let body_at = start + head.octets.len();
        let length = match head.content_length {
            Some(length) => length,
            None => match memchr::memchr(0, &input[body_at..]) {
                Some(length) => length,
                None => return Ok((Found::More, start)),
            },
        };
        let Some(body) = input.get(body_at..=body_at + length) else {
            return Ok((Found::More, start));
        };
        ensure!(
            body[length] == 0,
            "the broker sent a frame that does not end where its content-length says"
        );
        let body = &body[..length];
        let end = body_at + length + 1;
        if head.octets.starts_with(b"RECEIPT") {
            return Ok((Found::Receipt(head.octets), end));
        }
        if !head.octets.starts_with(b"MESSAGE") {
            bail!(
                "a consumer was sent {}{}",
                String::from_utf8_lossy(head.octets).trim_end(),
                String::from_utf8_lossy(body)
            );
        }
        let ours = self.run.is_none_or(|run| body.starts_with(&run)) && length == self.size;
        let Some(stamp) = Stamp::read(body).filter(|_| ours) else {
            return Ok((Found::Foreign { head: head.octets }, end));
        };
        if !head.redelivered {
            self.head = head.octets.len();
        }
        Ok((
            Found::Message {
                stamp,
                head: head.octets,
                redelivered: head.redelivered,
            },
            end,
        ))
    }
}

/// The head of a frame, read line by line.
struct Head<'a> {
    octets: &'a [u8],
    content_length: Option<usize>,
    redelivered: bool,
}

impl<'a> Head<'a> {
    fn read(input: &'a [u8]) -> anyhow::Result<Option<Self>> {
        let mut head = Head {
            octets: input,
            content_length: None,
            redelivered: false,
        };
        let mut at = 0;
        while let Some(length) = memchr::memchr(b'\n', &input[at..]) {
            let line = &input[at..at + length];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            at += length + 1;
            if line.is_empty() {
                head.octets = &input[..at];
                return Ok(Some(head));
            }
            if let Some(value) = line.strip_prefix(b"content-length:") {
                let text = std::str::from_utf8(value.trim_ascii()).unwrap_or_default();
                let length: usize = text
                    .parse()
                    .with_context(|| format!("the broker sent content-length {text:?}"))?;
                ensure!(
                    length <= BODY_MAX,
                    "the broker sent a body of {length} octets"
                );
                head.content_length.get_or_insert(length);
            }
            head.redelivered |= line == b"redelivered:true";
        }
        Ok(None)
    }
}

/// The value of a header as it stands in a head, or `None`.
#[inline]
#[must_use]
pub(crate) fn header<'a>(
    head: &'a [u8],
    name_after_newline: &memchr::memmem::Finder<'_>,
) -> Option<&'a [u8]> {
    let from = name_after_newline.find(head)? + name_after_newline.needle().len();
    let length = memchr::memchr(b'\n', &head[from..])?;
    let value = &head[from..from + length];
    Some(value.strip_suffix(b"\r").unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use super::super::stamp;
    use super::*;

    const SIZE: usize = stamp::LEN + 3;

    fn message(headers: &str, run: u32, sequence: u32) -> Vec<u8> {
        let mut body = [b'.'; SIZE];
        Stamp {
            run,
            producer: 1,
            destination: 0,
            sequence,
            sent_ns: 5,
        }
        .write(&mut body);
        [
            format!("MESSAGE\n{headers}content-length:{SIZE}\n\n").as_bytes(),
            &body,
            b"\0\n",
        ]
        .concat()
    }

    /// Runs the scanner over `input`, giving it `step` more octets whenever it asks; one line for each frame.
    fn scan(input: &[u8], step: usize) -> Vec<String> {
        let mut scanner = Scanner::new(Some(9), SIZE);
        let (mut at, mut end, mut seen) = (0, 0, Vec::new());
        loop {
            let (found, used) = scanner.next(&input[at..end]).unwrap();
            at += used;
            match found {
                Found::More if end == input.len() => return seen,
                Found::More => end = (end + step).min(input.len()),
                Found::Message {
                    stamp, redelivered, ..
                } => seen.push(format!("{} {redelivered}", stamp.sequence)),
                Found::Foreign { .. } => seen.push("foreign".to_owned()),
                Found::Receipt(_) => seen.push("receipt".to_owned()),
            }
        }
    }

    #[test]
    fn frames_are_found_in_any_pieces() {
        let mut input = Vec::new();
        input.extend(message("message-id:1\n", 9, 0));
        input.extend(message("message-id:2\n", 9, 1));
        input.extend(b"RECEIPT\nreceipt-id:x\n\n\0\n");
        input.extend(message("message-id:10\n", 9, 2));
        input.extend(message("message-id:11\n", 8, 3));
        input.extend(message("message-id:11\nredelivered:true\n", 9, 4));
        input.extend(message("message-id:12\n", 9, 5));
        let expected = [
            "0 false", "1 false", "receipt", "2 false", "foreign", "4 true", "5 false",
        ];
        for step in [1, 2, 3, 7, 50, 100, 1000] {
            assert_eq!(scan(&input, step), expected, "step {step}");
        }
    }

    #[test]
    fn a_body_without_content_length_ends_at_nul() {
        let framed = message("a:b\n", 9, 3);
        let text = String::from_utf8(framed)
            .unwrap()
            .replace(&format!("content-length:{SIZE}\n"), "")
            .repeat(2);
        assert_eq!(scan(text.as_bytes(), 11), ["3 false", "3 false"]);
    }

    #[test]
    fn an_error_frame_is_an_error_with_its_words() {
        let error = Scanner::new(None, SIZE)
            .next(b"ERROR\nmessage:no\n\nwhy\0")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("message:no") && error.contains("why"),
            "{error}"
        );
    }

    #[test]
    fn a_header_is_found_by_its_whole_name() {
        let finder = memchr::memmem::Finder::new("\nack:");
        assert_eq!(
            header(b"MESSAGE\nx-ack:1\nack:2\n\n", &finder),
            Some(b"2".as_slice())
        );
        assert_eq!(header(b"MESSAGE\nx-ack:1\n\n", &finder), None);
    }
}
