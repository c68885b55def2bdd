//! What a client has a RECEIPT for is there after `kill -9`.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::broker::{Broker, Store};
use crate::program::Program;

pub(crate) const TITLE: &str = "python stomp.py to go go-stomp: kill -9 in the middle of 10,000 persistent messages loses \
     no receipted one";

const MESSAGES: u64 = 10_000;
const RECEIPTS_BEFORE_THE_KILL: usize = 3_000;

/// Spec: behaviour SND-4, RED-7, RED-8.
pub(crate) fn tell(producer: Command, consumer: Command) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let broker = Broker::start(directory.path(), Store::Journal)?;
    let mut producer = Program::start(for_scenario(producer, &broker, "produce"))?;
    let mut receipted = Vec::new();
    while receipted.len() < RECEIPTS_BEFORE_THE_KILL {
        let result = producer.next()?.context("the producer ended early")?;
        receipted.push(number(&result, "receipt")?);
    }
    broker.kill()?;
    let mut rest = producer.results()?;
    let end = rest
        .pop()
        .context("the producer did not say how it ended")?;
    ensure!(
        end == json!({ "lost": true }),
        "the producer ended by {end}"
    );
    for result in &rest {
        receipted.push(number(result, "receipt")?);
    }
    ensure!(
        receipted.len() < usize::try_from(MESSAGES)?,
        "all was receipted before the kill, so it was not in the middle"
    );
    // REC-1: in the order of the frames.
    ensure!(
        receipted.iter().copied().eq(0..receipted.len() as u64),
        "the receipts came out of order: {receipted:?}"
    );

    // Recovering and dying once more must change nothing: a second recovery reads what the first one wrote.
    Broker::start(directory.path(), Store::Journal)?.kill()?;

    let broker = Broker::start(directory.path(), Store::Journal)?;
    let again = for_scenario(Command::new(consumer.get_program()), &broker, "drain");
    let drained = Program::start(for_scenario(consumer, &broker, "drain"))
        .and_then(Program::results)
        .with_context(|| broker.log())?;
    let drained = in_order(&drained)?;
    let lost: Vec<u64> = receipted
        .into_iter()
        .filter(|receipted| !drained.contains(receipted))
        .collect();
    ensure!(
        lost.is_empty(),
        "receipted and lost: {lost:?}\n{}",
        broker.log()
    );
    let left = Program::start(again).and_then(Program::results)?;
    ensure!(left.is_empty(), "came once more after its ACK: {left:?}");
    broker.stop()
}

/// The numbers drained. In the order of sending, and a second time only what says so.
fn in_order(drained: &[Value]) -> Result<BTreeSet<u64>> {
    let mut seen = BTreeSet::new();
    for delivery in drained {
        let number = number(delivery, "number")?;
        let last = seen.last().copied();
        if seen.insert(number) {
            ensure!(
                last.is_none_or(|last| last < number),
                "{number} came after {last:?}"
            );
        } else {
            ensure!(
                delivery["redelivered"] == true,
                "{number} came twice and is not marked redelivered"
            );
        }
    }
    Ok(seen)
}

fn number(result: &Value, name: &str) -> Result<u64> {
    result[name]
        .as_u64()
        .with_context(|| format!("no {name} in {result}"))
}

fn for_scenario(mut command: Command, broker: &Broker, scenario: &str) -> Command {
    command.arg(broker.address()).args([scenario, "1.2"]);
    command
}
