//! How many messages a second one core selects: `cargo run --release --example selector_rate`.
//!
//! The heads are canonical STOMP lines as the broker keeps them; half of the messages match.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::hint::black_box;
use std::sync::Arc;

use ferrymq::broker::selector::{Selector, SelectorOptions};
use ferrymq::broker::{Destination, Filter, Message, MessageFlags, MessageId};
use ferrymq::clock::Clock;
use ferrymq::engine::filter::SelectorFilter;
use ferrymq::engine::properties::PropertyReaders;
use ferrymq::stomp::{StompProperties, WIRE_STOMP};

const SELECTOR: &str = "region = 'EU' AND price > 10";
const MESSAGES: u64 = 1024;
const ROUNDS: u64 = 10_000;

fn main() {
    let readers = PropertyReaders::default();
    readers.register(WIRE_STOMP, Arc::new(StompProperties::new(String::new())));
    let options = SelectorOptions {
        convert_strings: true,
    };
    let selector = Selector::parse(SELECTOR, options).expect("the selector is valid");
    let filter = SelectorFilter::new(selector, &Destination::queue("orders"), Arc::new(readers));
    let messages: Vec<Message> = (0..MESSAGES).map(order).collect();

    let clock = Clock::default();
    let started_ms = clock.monotonic_ms();
    let mut selected = 0_u64;
    for _ in 0..ROUNDS {
        for message in &messages {
            selected += u64::from(filter.matches(black_box(message), 0, false));
        }
    }
    let elapsed_ms = clock.monotonic_ms() - started_ms;
    let evaluations = MESSAGES * ROUNDS;
    println!("{SELECTOR}");
    println!(
        "{selected} of {evaluations} selected, {} ns each, {} a second",
        elapsed_ms * 1_000_000 / evaluations,
        evaluations * 1000 / elapsed_ms.max(1),
    );
}

fn order(serial: u64) -> Message {
    let region = if serial % 4 == 3 { "US" } else { "EU" };
    let price = serial % 3 * 10;
    let head = format!(
        "content-type:application/json\nregion:{region}\ncustomer:{serial}\nprice:{price}\n"
    );
    let head_len = u32::try_from(head.len()).expect("a short head");
    let id = MessageId { origin: 1, serial };
    Message::new(
        id,
        head.into(),
        head_len,
        MessageFlags::default(),
        WIRE_STOMP,
    )
}
