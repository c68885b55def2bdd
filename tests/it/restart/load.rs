//! kill -9 under load, again and again on one data directory.
//!
//! Of the plain queue: what was receipted is not lost, order is kept, what was acknowledged with a RECEIPT never comes
//! again, and nothing comes twice without being marked. Of the pairs: both of a transaction or none.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use ferrymq::clock::Clock;

use super::process::Process;
use crate::wire::client::{Client, frame};

const ROUNDS: u64 = 20;

/// What the clients know.
#[derive(Default)]
struct Known {
    /// Numbers given to messages of the plain queue.
    sent: u64,
    receipted: BTreeSet<u64>,
    /// Numbers that came in a MESSAGE.
    delivered: BTreeSet<u64>,
    /// ACKs that were written, and those that were answered.
    asked: BTreeSet<u64>,
    acknowledged: BTreeSet<u64>,
    /// Transactions, each a message to two queues.
    begun: u64,
    committed: BTreeSet<u64>,
}

/// Answers so far in this round; the broker is killed at a certain one.
struct Answers(AtomicU64);

impl Answers {
    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn kill_9_under_load_loses_nothing_that_was_receipted() {
    let seed = std::env::var("FERRYMQ_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| Clock::system().wall_ms());
    println!("FERRYMQ_SEED={seed}");
    let mut state = seed | 1;
    let mut random = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let directory = super::directory();
    let mut known = Known::default();
    for round in 0..ROUNDS {
        let fatal_answer = 20 + random(700);
        run(directory.path(), &mut known, fatal_answer, random(200) + 1);
        let Known {
            sent,
            receipted,
            acknowledged,
            committed,
            ..
        } = &known;
        println!(
            "round {round}: {sent} sent, {} receipted, {} acknowledged, {} committed",
            receipted.len(),
            acknowledged.len(),
            committed.len()
        );
    }
    check_the_rest(directory.path(), &known);
}

/// One life of the broker, until it has given so many answers.
fn run(directory: &Path, known: &mut Known, fatal_answer: u64, burst: u64) {
    let process = Process::start(directory);
    let answers = Answers(AtomicU64::new(0));
    let Known {
        sent,
        receipted,
        delivered,
        asked,
        acknowledged,
        begun,
        committed,
    } = known;
    let (producer, consumer, pairs) = (process.client(), process.client(), process.client());
    thread::scope(|scope| {
        scope.spawn(|| produce(producer, sent, receipted, burst, &answers));
        let consuming = scope.spawn(|| consume(consumer, delivered, asked, acknowledged, &answers));
        scope.spawn(|| commit(pairs, begun, committed, &answers));
        crate::wait::until("enough answers", || {
            (answers.count() >= fatal_answer || consuming.is_finished()).then_some(())
        });
        process.kill();
    });
}

/// Sends numbered messages in bursts and notes their receipts, until the broker is gone.
fn produce(
    mut client: Client,
    sent: &mut u64,
    receipted: &mut BTreeSet<u64>,
    burst: u64,
    answers: &Answers,
) {
    loop {
        let first = *sent;
        let mut packet = Vec::new();
        for number in first..first + burst {
            let head = format!("SEND destination:/queue/load persistent:true receipt:{number}");
            packet.extend(frame(&head, number.to_string()));
        }
        *sent = first + burst;
        client.pour(&packet);
        for number in first..first + burst {
            let Some(receipt) = client.try_next() else {
                return;
            };
            receipt.check(&format!("RECEIPT receipt-id:{number}"));
            receipted.insert(number);
            answers.add();
        }
    }
}

/// Takes messages, acknowledges each with a receipt, until the broker is gone.
fn consume(
    mut client: Client,
    delivered: &mut BTreeSet<u64>,
    asked: &mut BTreeSet<u64>,
    acknowledged: &mut BTreeSet<u64>,
    answers: &Answers,
) {
    client.pour(&frame(
        "SUBSCRIBE id:1 destination:/queue/load ack:client-individual activemq.prefetchSize:50",
        "",
    ));
    let mut last = None;
    while let Some(next) = client.try_next() {
        if next.command == "RECEIPT" {
            acknowledged.insert(next.must("receipt-id").parse().expect("a number"));
            answers.add();
            continue;
        }
        let number: u64 = next.text().parse().expect("a number");
        assert!(
            last < Some(number),
            "{number} came after {last:?}: {next:?}"
        );
        last = Some(number);
        assert!(
            !acknowledged.contains(&number),
            "acknowledged, and here again: {next:?}"
        );
        let again = !delivered.insert(number);
        assert!(
            !again || next.get("redelivered") == Some("true"),
            "not marked: {next:?}"
        );
        asked.insert(number);
        let head = format!("ACK id:{} receipt:{number}", next.must("ack"));
        client.pour(&frame(&head, ""));
    }
}

/// Sends pairs of messages, each pair in a transaction, until the broker is gone.
fn commit(mut client: Client, begun: &mut u64, committed: &mut BTreeSet<u64>, answers: &Answers) {
    loop {
        let number = *begun;
        *begun += 1;
        let mut packet = frame(&format!("BEGIN transaction:{number}"), "");
        for queue in ["left", "right"] {
            let head =
                format!("SEND destination:/queue/{queue} persistent:true transaction:{number}");
            packet.extend(frame(&head, number.to_string()));
        }
        packet.extend(frame(
            &format!("COMMIT transaction:{number} receipt:{number}"),
            "",
        ));
        client.pour(&packet);
        let Some(receipt) = client.try_next() else {
            return;
        };
        receipt.check(&format!("RECEIPT receipt-id:{number}"));
        committed.insert(number);
        answers.add();
    }
}

/// What is left in the end, against what is known.
fn check_the_rest(directory: &Path, known: &Known) {
    let process = Process::start(directory);
    let left = drain(&process, "left");
    let right = drain(&process, "right");
    assert_eq!(left, right, "one half of a transaction");
    assert_ascending(&left);
    let missing: Vec<_> = known
        .committed
        .iter()
        .filter(|number| !left.contains(number))
        .collect();
    assert!(missing.is_empty(), "committed and lost: {missing:?}");

    let rest = drain(&process, "load");
    assert_ascending(&rest);
    let again: Vec<_> = rest
        .iter()
        .filter(|number| known.acknowledged.contains(number))
        .collect();
    assert!(again.is_empty(), "acknowledged, and here again: {again:?}");
    let rest: BTreeSet<u64> = rest.into_iter().collect();
    let lost: Vec<_> = known
        .receipted
        .iter()
        .filter(|number| !rest.contains(number) && !known.asked.contains(number))
        .collect();
    assert!(lost.is_empty(), "receipted and lost: {lost:?}");
    let invented: Vec<_> = rest
        .iter()
        .filter(|number| **number >= known.sent)
        .collect();
    assert!(invented.is_empty(), "never sent: {invented:?}");
}

fn assert_ascending(numbers: &[u64]) {
    let wrong = numbers.windows(2).find(|pair| pair[0] >= pair[1]);
    assert_eq!(wrong, None, "out of order");
}

/// Everything in a queue, in order.
fn drain(process: &Process, queue: &str) -> Vec<u64> {
    let mut client = process.client();
    client.ask_with(
        &format!("SEND destination:/queue/{queue} persistent:true"),
        "end",
    );
    client.ask(&format!("SUBSCRIBE id:1 destination:/queue/{queue}"));
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
