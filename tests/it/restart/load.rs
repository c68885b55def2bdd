//! kill -9 under load, again and again on one data directory: a plain queue, and pairs of messages in transactions, of
//! which both are there or none.

use std::collections::BTreeSet;
use std::path::Path;
use std::thread;

use super::ledger::{Answers, Dice, Order, Repeats, Sent, Taken, drain_queue, rounds};
use super::process::Process;
use crate::wire::client::{Client, frame};

/// Transactions, each a message to two queues.
#[derive(Default)]
struct Pairs {
    begun: u64,
    committed: BTreeSet<u64>,
}

#[test]
fn kill_9_under_load_loses_nothing_that_was_receipted() {
    let mut dice = Dice::thrown();
    let directory = super::directory();
    let (mut sent, mut taken, mut pairs) = (Sent::default(), Taken::default(), Pairs::default());
    for round in 0..rounds() {
        let (fatal_answer, burst) = (20 + dice.below(700), dice.below(200) + 1);
        let process = Process::start(directory.path());
        let answers = Answers::default();
        let (producer, consumer, committer) =
            (process.client(), process.client(), process.client());
        let (sending, taking, pairing) = (&mut sent, &mut taken, &mut pairs);
        thread::scope(|scope| {
            scope.spawn(|| {
                sending.produce(producer, burst, &answers, |_| {
                    "SEND destination:/queue/load".to_owned()
                });
            });
            let consuming = scope.spawn(|| {
                taking.consume(
                    consumer,
                    "destination:/queue/load",
                    Order::Ascending,
                    Repeats::Marked,
                    &answers,
                );
            });
            scope.spawn(|| commit(committer, pairing, &answers));
            crate::wait::until("enough answers", || {
                (answers.count() >= fatal_answer || consuming.is_finished()).then_some(())
            });
            process.kill();
        });
        println!(
            "round {round}: {} sent, {} receipted, {} acknowledged, {} committed",
            sent.next,
            sent.receipted.len(),
            taken.acknowledged.len(),
            pairs.committed.len()
        );
    }
    check_the_rest(directory.path(), &sent, &taken, &pairs);
}

/// Sends pairs of messages, each pair in a transaction, until the broker is gone.
fn commit(mut client: Client, pairs: &mut Pairs, answers: &Answers) {
    loop {
        let number = pairs.begun;
        pairs.begun += 1;
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
        pairs.committed.insert(number);
        answers.add();
    }
}

/// What is left in the end, against what is known.
fn check_the_rest(directory: &Path, sent: &Sent, taken: &Taken, pairs: &Pairs) {
    let process = Process::start(directory);
    let [left, right] =
        ["left", "right"].map(|queue| drain_queue(process.client(), queue, Order::Ascending));
    assert_eq!(left, right, "one half of a transaction");
    let missing: Vec<_> = pairs.committed.difference(&left).collect();
    assert!(missing.is_empty(), "committed and lost: {missing:?}");
    let rest = drain_queue(process.client(), "load", Order::Ascending);
    taken.check(sent, &rest);
}
