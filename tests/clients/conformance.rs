//! The JMS conformance suite of JORAM, over FuseSource's JMS client for STOMP.
//!
//! Some of its tests ask for what that client or STOMP cannot tell: ActiveMQ 5.18.3 fails the same ones. Any other
//! failure is ours.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::broker::{Broker, Store};
use crate::program::Program;

pub(crate) const TITLE: &str = "java stompjms: the JORAM suite of JMS tests";

const TESTS: usize = 196;

/// What ActiveMQ 5.18.3 fails with the same client.
const BEYOND: [&str; 16] = [
    "JMSXPropertyTest.testJMSXGroupID_1",
    "JMSXPropertyTest.testSupportsJMSXGroupID",
    "MessageHeaderTest.testJMSMessageID_2",
    "MessageHeaderTest.testJMSReplyTo_2",
    "QueueBrowserTest.testBrowserWithMessageSelector",
    "QueueBrowserTest.testSenderBrowser",
    "QueueSessionTest.testCreateBrowser_2",
    "QueueSessionTest.testCreateReceiver_2",
    "SelectorSyntaxTest.testIdentifierNULL",
    "SelectorTest.testIdentifierConversion",
    "TemporaryQueueTest.testTemporaryQueue",
    "TemporaryTopicTest.testTemporaryTopic",
    "TopicSessionTest.testCreateDurableSubscriber_2",
    "TopicSessionTest.testCreateSubscriber_2",
    "TopicSessionTest.testRollbackReceivedMessage",
    "TopicSessionTest.testUnsubscribe",
];

pub(crate) fn tell(mut suite: Command) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let broker = Broker::start(directory.path(), Store::Journal)?;
    suite.arg(broker.address());
    let results = Program::start(suite).and_then(Program::results)?;
    ensure!(
        results.len() == TESTS,
        "{} tests ran, not {TESTS}",
        results.len()
    );
    let beyond = BTreeSet::from(BEYOND);
    let mut failed = Vec::new();
    for result in &results {
        let name = result["test"].as_str().context("a test without a name")?;
        if result["failed"] == Value::Null || beyond.contains(name) {
            continue;
        }
        failed.push(format!("{name}: {}", result["failed"]));
    }
    ensure!(
        failed.is_empty(),
        "failed:\n{}\nthe broker's log:\n{}",
        failed.join("\n"),
        broker.log()
    );
    broker.stop()
}
