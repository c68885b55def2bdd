//! What clients know of a destination over many lives of a broker: what they sent and took, and what they were told.
//!
//! What was receipted is not lost, what was acknowledged with a RECEIPT never comes again, and nothing comes twice without
//! being marked, with the exception of [`Repeats::Unmarked`].

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::wire::client::{Client, frame};

/// RECEIPTs so far in this life of the broker.
#[derive(Default)]
pub(super) struct Answers(AtomicU64);

impl Answers {
    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Numbered persistent messages, each sent with a receipt.
#[derive(Default)]
pub(super) struct Sent {
    /// The number of the next one.
    pub(super) next: u64,
    pub(super) receipted: BTreeSet<u64>,
}

impl Sent {
    /// Sends in bursts until the broker is gone; `head` is that of a SEND, without what is the same in all.
    pub(super) fn produce(
        &mut self,
        mut client: Client,
        burst: u64,
        answers: &Answers,
        head: impl Fn(u64) -> String,
    ) {
        loop {
            let first = self.next;
            let mut packet = Vec::new();
            for number in first..first + burst {
                let head = format!("{} persistent:true receipt:{number}", head(number));
                packet.extend(frame(&head, number.to_string()));
            }
            self.next = first + burst;
            client.pour(&packet);
            for number in first..first + burst {
                let Some(receipt) = client.try_next() else {
                    return;
                };
                receipt.check(&format!("RECEIPT receipt-id:{number}"));
                self.receipted.insert(number);
                answers.add();
            }
        }
    }
}

/// Whether a destination gives its messages in the order of their numbers.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Order {
    Ascending,
    Any,
}

/// Whether what comes a second time says so. What the broker itself puts into a queue need not, when the crash came between
/// the delivery and the sync: the step is done once more, as if it were the first time.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Repeats {
    Marked,
    Unmarked,
}

/// What was delivered of them, each acknowledged with a receipt.
#[derive(Default)]
pub(super) struct Taken {
    /// Numbers that came in a MESSAGE.
    pub(super) delivered: BTreeSet<u64>,
    /// ACKs that were written, and those that were answered.
    pub(super) asked: BTreeSet<u64>,
    pub(super) acknowledged: BTreeSet<u64>,
}

impl Taken {
    /// Takes messages and acknowledges each until the broker is gone; `subscribe` is the destination and what else
    /// SUBSCRIBE says.
    pub(super) fn consume(
        &mut self,
        mut client: Client,
        subscribe: &str,
        order: Order,
        repeats: Repeats,
        answers: &Answers,
    ) {
        let head =
            format!("SUBSCRIBE id:1 {subscribe} ack:client-individual activemq.prefetchSize:50");
        client.pour(&frame(&head, ""));
        let mut last = None;
        while let Some(next) = client.try_next() {
            if next.command == "RECEIPT" {
                self.acknowledged
                    .insert(next.must("receipt-id").parse().expect("a number"));
                answers.add();
                continue;
            }
            let number: u64 = next.text().parse().expect("a number");
            if order == Order::Ascending {
                assert!(
                    last < Some(number),
                    "{number} came after {last:?}: {next:?}"
                );
                last = Some(number);
            }
            assert!(
                !self.acknowledged.contains(&number),
                "acknowledged, and here again: {next:?}"
            );
            let again = !self.delivered.insert(number);
            assert!(
                !again || repeats == Repeats::Unmarked || next.get("redelivered") == Some("true"),
                "not marked: {next:?}"
            );
            self.asked.insert(number);
            let head = format!("ACK id:{} receipt:{number}", next.must("ack"));
            client.pour(&frame(&head, ""));
        }
    }

    /// Compares what is left in the end with what was sent and taken.
    #[track_caller]
    pub(super) fn check(&self, sent: &Sent, rest: &BTreeSet<u64>) {
        let again: Vec<_> = rest.intersection(&self.acknowledged).collect();
        assert!(again.is_empty(), "acknowledged, and here again: {again:?}");
        let is_lost = |number: &&u64| !rest.contains(number) && !self.asked.contains(number);
        let lost: Vec<_> = sent.receipted.iter().filter(is_lost).collect();
        assert!(lost.is_empty(), "receipted and lost: {lost:?}");
        let invented: Vec<_> = rest.range(sent.next..).collect();
        assert!(invented.is_empty(), "never sent: {invented:?}");
    }
}

/// Everything that is left, in the order it comes: up to a message sent now, by `send`. `subscribe` is the destination and
/// what else SUBSCRIBE says.
#[track_caller]
pub(super) fn drain(mut client: Client, subscribe: &str, send: &str) -> Vec<u64> {
    client.ask_with(&format!("{send} persistent:true"), "end");
    client.ask(&format!("SUBSCRIBE id:1 {subscribe}"));
    let mut numbers = Vec::new();
    loop {
        let next = client.frame();
        if next.text() == "end" {
            client.fence();
            return numbers;
        }
        numbers.push(next.text().parse().expect("a number"));
    }
}

/// The same, each only once, and in the order of their numbers if that is promised.
#[track_caller]
pub(super) fn drain_once(
    client: Client,
    subscribe: &str,
    send: &str,
    order: Order,
) -> BTreeSet<u64> {
    let rest = drain(client, subscribe, send);
    let numbers: BTreeSet<u64> = rest.iter().copied().collect();
    assert_eq!(rest.len(), numbers.len(), "twice: {rest:?}");
    assert!(
        order == Order::Any || rest.iter().eq(&numbers),
        "out of order: {rest:?}"
    );
    numbers
}

/// The same of a queue.
#[track_caller]
pub(super) fn drain_queue(client: Client, queue: &str, order: Order) -> BTreeSet<u64> {
    let destination = format!("destination:/queue/{queue}");
    drain_once(client, &destination, &format!("SEND {destination}"), order)
}

/// Numbers at random, from a seed that is printed and can be given (`FERRYMQ_SEED`).
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn thrown() -> Self {
        let given = std::env::var("FERRYMQ_SEED").ok();
        let seed = given
            .and_then(|seed| seed.parse().ok())
            .unwrap_or_else(|| ferrymq::clock::Clock::system().wall_ms());
        eprintln!("FERRYMQ_SEED={seed}");
        Self(seed | 1)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// How often a broker is killed: 20 times, or `FERRYMQ_ROUNDS` for a longer look.
pub(super) fn rounds() -> u64 {
    let given = std::env::var("FERRYMQ_ROUNDS").ok();
    given.and_then(|rounds| rounds.parse().ok()).unwrap_or(20)
}
