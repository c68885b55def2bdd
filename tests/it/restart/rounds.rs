//! kill -9, again and again on one data directory, in the middle of what moves messages about: delayed ones, failing ones
//! on their way to the dead letters, durable subscriptions with selectors, copies of virtual topics, transfers from queue
//! to queue in transactions.
//!
//! Each is a story of its own with clients of its own; what else has to hold over a crash becomes one more in
//! [`stories`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::thread;

use super::ledger::{Answers, Dice, Order, Repeats, Sent, Taken, drain_once, drain_queue, rounds};
use super::process::Process;
use crate::wire::client::{Client, frame};

/// What one client does until the broker is gone.
type Part<'a> = Box<dyn FnOnce() + Send + 'a>;

/// Clients whose knowledge outlives the broker.
trait Story {
    /// Once, before the first round.
    fn begin(&mut self, _process: &Process) {}

    /// Its clients in one round; producers send `burst` messages at a time.
    fn parts<'a>(
        &'a mut self,
        process: &Process,
        burst: u64,
        answers: &'a Answers,
    ) -> Vec<Part<'a>>;

    /// After the last round: what is left, against what is known.
    fn check(&self, process: &Process);
}

fn stories() -> Vec<Box<dyn Story>> {
    vec![
        Box::new(Delayed::default()),
        Box::new(Failing::default()),
        Box::new(Selected::default()),
        Box::new(Copied::default()),
        Box::new(Transferred::default()),
    ]
}

/// Spec: behaviour SND-4, SCH-6, RED-7, DLQ-4, SUB-5, VIR-1, TX-3.
#[test]
fn kill_9_in_the_middle_of_moves_loses_and_repeats_nothing() {
    let mut dice = Dice::thrown();
    let directory = super::directory();
    // So that segments are finished and given up; and each start reads all that are left.
    let settings = "[store]\nsegment_bytes = \"1 MiB\"\n";
    fs::write(directory.path().join("activemq.toml"), settings).expect("it can be written");
    let mut stories = stories();
    let process = Process::start(directory.path());
    for story in &mut stories {
        story.begin(&process);
    }
    process.kill();
    for round in 0..rounds() {
        let (fatal_answer, burst) = (30 + dice.below(900), dice.below(30) + 1);
        let process = Process::start(directory.path());
        let answers = Answers::default();
        thread::scope(|scope| {
            let parts: Vec<_> = stories
                .iter_mut()
                .flat_map(|story| story.parts(&process, burst, &answers))
                .map(|part| scope.spawn(part))
                .collect();
            // Who ends before has failed, and says why when the scope ends.
            crate::wait::until("enough answers", || {
                let failed = parts.iter().any(|part| part.is_finished());
                (failed || answers.count() >= fatal_answer).then_some(())
            });
            process.kill();
        });
        println!("round {round}: killed after {} answers", answers.count());
    }
    let process = Process::start(directory.path());
    for story in &stories {
        story.check(&process);
    }
}

/// Messages that are due some time after they were sent, over restarts.
#[derive(Default)]
struct Delayed {
    sent: Sent,
    taken: Taken,
}

impl Story for Delayed {
    fn parts<'a>(
        &'a mut self,
        process: &Process,
        burst: u64,
        answers: &'a Answers,
    ) -> Vec<Part<'a>> {
        let (producer, consumer) = (process.client(), process.client());
        let Self { sent, taken } = self;
        vec![
            Box::new(move || {
                sent.produce(producer, burst, answers, |number| {
                    let delay = number * 7 % 100 + 1;
                    format!("SEND destination:/queue/delayed AMQ_SCHEDULED_DELAY:{delay}")
                });
            }),
            Box::new(move || {
                taken.consume(
                    consumer,
                    "destination:/queue/delayed",
                    Order::Any,
                    Repeats::Unmarked,
                    answers,
                );
            }),
        ]
    }

    fn check(&self, process: &Process) {
        // What was due while nobody ran comes at once, and everything else before this.
        let (destination, delay) = ("destination:/queue/delayed", "AMQ_SCHEDULED_DELAY:1000");
        let end = format!("SEND {destination} {delay}");
        let rest = drain_once(process.client(), destination, &end, Order::Any);
        self.taken.check(&self.sent, &rest);
    }
}

/// Messages that are refused until they are dead, and the dead letters.
#[derive(Default)]
struct Failing {
    sent: Sent,
    /// By number: failures that were told the broker, and those that it has receipted.
    told: BTreeMap<u64, u64>,
    receipted: BTreeMap<u64, u64>,
    dead: Taken,
}

/// `redelivery.maximum_redeliveries` and one.
const FAILURES_TO_DIE: u64 = 7;

impl Story for Failing {
    fn parts<'a>(
        &'a mut self,
        process: &Process,
        burst: u64,
        answers: &'a Answers,
    ) -> Vec<Part<'a>> {
        let [producer, consumer, undertaker] = [(); 3].map(|()| process.client());
        let Self {
            sent,
            told,
            receipted,
            dead,
        } = self;
        let buried = dead.acknowledged.clone();
        vec![
            Box::new(move || {
                sent.produce(producer, burst, answers, |_| {
                    "SEND destination:/queue/failing".to_owned()
                });
            }),
            Box::new(move || refuse(consumer, told, receipted, &buried, answers)),
            Box::new(move || {
                let queue = "destination:/queue/ActiveMQ.DLQ";
                dead.consume(undertaker, queue, Order::Any, Repeats::Unmarked, answers);
            }),
        ]
    }

    fn check(&self, process: &Process) {
        let alive = drain_queue(process.client(), "failing", Order::Ascending);
        let dead = drain_queue(process.client(), "ActiveMQ.DLQ", Order::Any);
        let both: Vec<_> = alive.intersection(&dead).collect();
        assert!(both.is_empty(), "alive and dead: {both:?}");
        let risen: Vec<_> = alive.intersection(&self.dead.acknowledged).collect();
        assert!(risen.is_empty(), "buried and alive: {risen:?}");
        self.dead.check(&self.sent, &(&alive | &dead));
    }
}

/// Refuses all that comes, each time with a receipt, until the broker is gone.
fn refuse(
    mut client: Client,
    told: &mut BTreeMap<u64, u64>,
    receipted: &mut BTreeMap<u64, u64>,
    buried: &BTreeSet<u64>,
    answers: &Answers,
) {
    let head =
        "SUBSCRIBE id:1 destination:/queue/failing ack:client-individual activemq.prefetchSize:20";
    client.pour(&frame(head, ""));
    while let Some(next) = client.try_next() {
        if next.command == "RECEIPT" {
            let (number, failures) = next
                .must("receipt-id")
                .split_once('-')
                .expect("a number and its failures");
            let failures = failures.parse().expect("a number");
            receipted.insert(number.parse().expect("a number"), failures);
            answers.add();
            continue;
        }
        let number: u64 = next.text().parse().expect("a number");
        assert!(!buried.contains(&number), "buried, and here: {next:?}");
        let failures: u64 = next.must("JMSXDeliveryCount").parse().expect("a number");
        let known = receipted.get(&number).copied().unwrap_or(0);
        let possible = told.get(&number).copied().unwrap_or(0);
        assert!(
            (known + 1..=possible + 1).contains(&failures),
            "{known} failures receipted of {possible}: {next:?}"
        );
        assert!(failures <= FAILURES_TO_DIE, "it should be dead: {next:?}");
        told.insert(number, failures);
        let head = format!(
            "NACK id:{} redelivery-delay:0 receipt:{number}-{failures}",
            next.must("ack")
        );
        client.pour(&frame(&head, ""));
    }
}

/// A durable subscription that wants every third message.
#[derive(Default)]
struct Selected {
    sent: Sent,
    taken: Taken,
}

impl Selected {
    const SUBSCRIBE: &str =
        "destination:/topic/news activemq.subscriptionName:d 'selector:third = 0'";

    fn head(number: u64) -> String {
        format!("SEND destination:/topic/news third:{}", number % 3)
    }
}

impl Story for Selected {
    fn begin(&mut self, process: &Process) {
        let mut client = process.client_named("selected");
        client.ask(&format!("SUBSCRIBE id:1 {} ack:client", Self::SUBSCRIBE));
    }

    fn parts<'a>(
        &'a mut self,
        process: &Process,
        burst: u64,
        answers: &'a Answers,
    ) -> Vec<Part<'a>> {
        let (producer, subscriber) = (process.client(), process.client_named("selected"));
        let Self { sent, taken } = self;
        vec![
            Box::new(move || sent.produce(producer, burst, answers, Self::head)),
            Box::new(move || {
                taken.consume(
                    subscriber,
                    Self::SUBSCRIBE,
                    Order::Ascending,
                    Repeats::Marked,
                    answers,
                )
            }),
        ]
    }

    fn check(&self, process: &Process) {
        let client = process.client_named("selected");
        let rest = drain_once(client, Self::SUBSCRIBE, &Self::head(0), Order::Ascending);
        let unwanted: Vec<_> = (&rest | &self.taken.delivered)
            .into_iter()
            .filter(|number| number % 3 != 0)
            .collect();
        assert!(unwanted.is_empty(), "not selected: {unwanted:?}");
        let wanted = |number: &&u64| number.is_multiple_of(3);
        let sent = Sent {
            next: self.sent.next,
            receipted: self.sent.receipted.iter().filter(wanted).copied().collect(),
        };
        self.taken.check(&sent, &rest);
    }
}

/// A virtual topic with two queues behind it.
#[derive(Default)]
struct Copied {
    sent: Sent,
    taken: [Taken; 2],
}

impl Copied {
    const QUEUES: [&str; 2] = ["Consumer.a.VirtualTopic.v", "Consumer.b.VirtualTopic.v"];
}

impl Story for Copied {
    fn begin(&mut self, process: &Process) {
        for queue in Self::QUEUES {
            let mut client = process.client();
            // A queue that never had a message that is stored is not there after a crash, and collects nothing until
            // somebody names it again.
            let head = format!("SEND destination:/queue/{queue} persistent:true");
            client.ask_with(&head, "first");
            client.ask(&format!(
                "SUBSCRIBE id:1 destination:/queue/{queue} ack:client"
            ));
            let first = client.message("first");
            client.ask(&format!("ACK id:{}", first.must("ack")));
        }
    }

    fn parts<'a>(
        &'a mut self,
        process: &Process,
        burst: u64,
        answers: &'a Answers,
    ) -> Vec<Part<'a>> {
        let Self { sent, taken } = self;
        let producer = process.client();
        let mut parts: Vec<Part<'a>> = vec![Box::new(move || {
            sent.produce(producer, burst, answers, |_| {
                "SEND destination:/topic/VirtualTopic.v".to_owned()
            });
        })];
        for (queue, taken) in Self::QUEUES.into_iter().zip(taken) {
            let consumer = process.client();
            parts.push(Box::new(move || {
                let destination = format!("destination:/queue/{queue}");
                taken.consume(
                    consumer,
                    &destination,
                    Order::Ascending,
                    Repeats::Marked,
                    answers,
                );
            }));
        }
        parts
    }

    fn check(&self, process: &Process) {
        let rests =
            Self::QUEUES.map(|queue| drain_queue(process.client(), queue, Order::Ascending));
        for at in [0, 1] {
            self.taken[at].check(&self.sent, &rests[at]);
            // What surely was in one queue was in the other: the copies are one step.
            let sure = &rests[at] | &self.taken[at].acknowledged;
            let seen = &rests[1 - at] | &self.taken[1 - at].delivered;
            let alone: Vec<_> = sure.difference(&seen).collect();
            assert!(alone.is_empty(), "in one queue only: {alone:?}");
        }
    }
}

/// Messages that go from one queue to another, each in a transaction of an ACK and a SEND.
#[derive(Default)]
struct Transferred {
    sent: Sent,
    committed: BTreeSet<u64>,
}

impl Story for Transferred {
    fn parts<'a>(
        &'a mut self,
        process: &Process,
        burst: u64,
        answers: &'a Answers,
    ) -> Vec<Part<'a>> {
        let (producer, carrier) = (process.client(), process.client());
        let Self { sent, committed } = self;
        vec![
            Box::new(move || {
                sent.produce(producer, burst, answers, |_| {
                    "SEND destination:/queue/from".to_owned()
                });
            }),
            Box::new(move || transfer(carrier, committed, answers)),
        ]
    }

    fn check(&self, process: &Process) {
        let from = drain_queue(process.client(), "from", Order::Ascending);
        let to = drain_queue(process.client(), "to", Order::Any);
        let both: Vec<_> = from.intersection(&to).collect();
        assert!(both.is_empty(), "at both ends: {both:?}");
        let missing: Vec<_> = self.committed.difference(&to).collect();
        assert!(missing.is_empty(), "committed and lost: {missing:?}");
        let somewhere = &from | &to;
        let lost: Vec<_> = self.sent.receipted.difference(&somewhere).collect();
        assert!(lost.is_empty(), "receipted and lost: {lost:?}");
    }
}

/// Carries messages over until the broker is gone.
fn transfer(mut client: Client, committed: &mut BTreeSet<u64>, answers: &Answers) {
    let head =
        "SUBSCRIBE id:1 destination:/queue/from ack:client-individual activemq.prefetchSize:10";
    client.pour(&frame(head, ""));
    while let Some(next) = client.try_next() {
        if next.command == "RECEIPT" {
            committed.insert(next.must("receipt-id").parse().expect("a number"));
            answers.add();
            continue;
        }
        let number: u64 = next.text().parse().expect("a number");
        assert!(
            !committed.contains(&number),
            "carried over, and here again: {next:?}"
        );
        let mut packet = frame(&format!("BEGIN transaction:{number}"), "");
        let ack = format!("ACK id:{} transaction:{number}", next.must("ack"));
        packet.extend(frame(&ack, ""));
        let send = format!("SEND destination:/queue/to persistent:true transaction:{number}");
        packet.extend(frame(&send, next.text()));
        let commit = format!("COMMIT transaction:{number} receipt:{number}");
        packet.extend(frame(&commit, ""));
        client.pour(&packet);
    }
}
