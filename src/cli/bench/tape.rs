//! Frames rendered once, sent many times: a tape of SEND frames in one buffer, of which only a few digits change.
//!
//! Rendering a frame anew would cost more than sending it. On a tape everything is in place; before a stretch of it is written,
//! the stamp of each frame (and its receipt or transaction number) is patched over fixed-width fields, and the stretch goes out in
//! one write. With `--tx N` a tape holds whole transactions: BEGIN, N times SEND, COMMIT.

use super::options::Load;
use super::stamp::{self, Stamp, hex8};

/// What a frame on the tape is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Opens a transaction.
    Begin,
    /// Carries a message.
    Send,
    /// Ends a transaction.
    Commit,
}

/// One frame's place on the tape.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slot {
    /// What it is.
    pub(crate) kind: Kind,
    start: usize,
    end: usize,
}

/// The changing fields of a frame.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Marks {
    /// Index of the destination.
    pub(crate) destination: u16,
    /// Number of the message within producer and destination.
    pub(crate) sequence: u32,
    /// Intended time of sending.
    pub(crate) sent_ns: u64,
    /// Number of the receipt, if the frame asks for one.
    pub(crate) receipt: u32,
    /// Number of the transaction, if the frame belongs to one.
    pub(crate) transaction: u32,
}

/// Where the changing fields lie, counted from the start of a frame.
#[derive(Debug, Clone, Copy, Default)]
struct Layout {
    destination: Option<usize>,
    receipt: Option<usize>,
    transaction: Option<usize>,
    body: usize,
}

/// A buffer of rendered frames.
#[derive(Debug)]
pub(crate) struct Tape {
    bytes: Vec<u8>,
    slots: Vec<Slot>,
    layouts: [Layout; 3],
}

impl Tape {
    /// Renders the frames of one producer, as many as fit into one write.
    #[must_use]
    pub(crate) fn render(load: &Load, run: u32, producer: u16) -> Self {
        let mut tape = Self {
            bytes: Vec::new(),
            slots: Vec::new(),
            layouts: [Layout::default(); 3],
        };
        let transacted = load.tx > 0;
        loop {
            let start = tape.bytes.len();
            if transacted {
                tape.render_control(Kind::Begin, load);
            }
            for _ in 0..load.tx.max(1) {
                tape.render_send(load, run, producer);
            }
            if transacted {
                tape.render_control(Kind::Commit, load);
            }
            let group = tape.bytes.len() - start;
            if tape.bytes.len() + group > load.write_size.0 {
                return tape;
            }
        }
    }

    /// The frames in order.
    #[must_use]
    pub(crate) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The octets of the frames `first..last`.
    #[must_use]
    pub(crate) fn stretch(&self, first: usize, last: usize) -> &[u8] {
        &self.bytes[self.slots[first].start..self.slots[last - 1].end]
    }

    /// Octets from the start of frame `first` to the end of frame `last`.
    #[must_use]
    pub(crate) fn span(&self, first: usize, last: usize) -> usize {
        self.slots[last].end - self.slots[first].start
    }

    /// Whether a frame asks for a receipt.
    #[must_use]
    pub(crate) fn asks_receipt(&self, kind: Kind) -> bool {
        self.layouts[kind as usize].receipt.is_some()
    }

    /// Patches the changing fields of frame `index`.
    #[inline]
    pub(crate) fn patch(&mut self, index: usize, marks: &Marks) {
        let slot = self.slots[index];
        let layout = self.layouts[slot.kind as usize];
        let frame = &mut self.bytes[slot.start..slot.end];
        if slot.kind == Kind::Send {
            let body = &mut frame[layout.body..];
            stamp::write_sequence(body, marks.sequence);
            stamp::write_time(body, marks.sent_ns);
            if let Some(at) = layout.destination {
                let digits = hex8(u32::from(marks.destination));
                frame[at..at + 4].copy_from_slice(&digits[4..]);
                let stamped = layout.body + stamp::DESTINATION_AT;
                frame[stamped..stamped + 4].copy_from_slice(&digits[4..]);
            }
        }
        if let Some(at) = layout.receipt {
            frame[at..at + 8].copy_from_slice(&hex8(marks.receipt));
        }
        if let Some(at) = layout.transaction {
            frame[at..at + 8].copy_from_slice(&hex8(marks.transaction));
        }
    }

    fn render_control(&mut self, kind: Kind, load: &Load) {
        let start = self.bytes.len();
        let mut layout = Layout::default();
        let command = if kind == Kind::Begin {
            "BEGIN"
        } else {
            "COMMIT"
        };
        self.bytes.extend_from_slice(command.as_bytes());
        layout.transaction = Some(self.field("\ntransaction:t", start));
        if kind == Kind::Commit && load.receipts > 0 {
            layout.receipt = Some(self.field("\nreceipt:", start));
        }
        self.bytes.extend_from_slice(b"\n\n\0");
        self.finish(kind, start, layout);
    }

    fn render_send(&mut self, load: &Load, run: u32, producer: u16) {
        let start = self.bytes.len();
        let mut layout = Layout::default();
        let destination = load.destination(0);
        let command = if load.relay { "MESSAGE" } else { "SEND" };
        self.bytes
            .extend_from_slice(format!("{command}\ndestination:{destination}").as_bytes());
        if load.destinations > 1 {
            layout.destination = Some(self.bytes.len() - start - 4);
        }
        if load.relay {
            // What a broker adds when it delivers (behaviour MSG-1), so that the relay carries the same octets.
            self.bytes.extend_from_slice(
                b"\nmessage-id:ID:ferrymq-0000000000000-00000001-1:1:00000001\nsubscription:0",
            );
            self.bytes
                .extend_from_slice(b"\ntimestamp:1700000000000\npriority:4\nexpires:0");
        }
        if load.persistent {
            self.bytes.extend_from_slice(b"\npersistent:true");
        }
        if load.tx > 0 {
            layout.transaction = Some(self.field("\ntransaction:t", start));
        } else if load.receipts > 0 {
            layout.receipt = Some(self.field("\nreceipt:", start));
        }
        if !load.text {
            self.bytes
                .extend_from_slice(format!("\ncontent-length:{}", load.size).as_bytes());
        }
        self.bytes.extend_from_slice(b"\n\n");
        let body = self.bytes.len();
        layout.body = body - start;
        let filler = b"the quick brown fox jumps over the lazy dog; "
            .iter()
            .copied()
            .cycle();
        self.bytes.extend(filler.take(load.size.0));
        Stamp {
            run,
            producer,
            destination: 0,
            sequence: 0,
            sent_ns: 0,
        }
        .write(&mut self.bytes[body..]);
        self.bytes
            .extend_from_slice(if load.relay { b"\0\n" } else { b"\0" });
        self.finish(Kind::Send, start, layout);
    }

    /// Appends a header with eight digits to patch; returns where they begin.
    fn field(&mut self, name: &str, start: usize) -> usize {
        self.bytes.extend_from_slice(name.as_bytes());
        let at = self.bytes.len() - start;
        self.bytes.extend_from_slice(b"00000000");
        at
    }

    fn finish(&mut self, kind: Kind, start: usize, layout: Layout) {
        self.layouts[kind as usize] = layout;
        self.slots.push(Slot {
            kind,
            start,
            end: self.bytes.len(),
        });
    }
}
