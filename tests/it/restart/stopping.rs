//! Starting and stopping the process: exit codes, signals, the data directory, the ready file.

use std::fs;
use std::path::Path;

use ferrymq::{Broker, config::Config};

use super::directory;
use super::process::Process;
use crate::cli::ferrymq;

#[test]
fn sigterm_ends_it_with_0_whatever_its_clients_do() {
    let directory = directory();
    let process = Process::start(directory.path());
    let body = "x".repeat(100_000);
    let mut client = process.client();
    for _ in 0..100 {
        client.put_with("SEND destination:/queue/q persistent:true", &body);
    }
    client.fence();
    // One that never reads, one in a transaction, one in the middle of a frame, one that said nothing.
    let mut lazy = process.client();
    lazy.put("SUBSCRIBE id:1 destination:/queue/q ack:client");
    let mut open = process.client_named("open");
    open.ask("BEGIN transaction:t");
    open.ask("SEND destination:/queue/q persistent:true transaction:t");
    let mut half = process.client();
    half.raw("SEND\ndestination:/queue/q\ncontent-length:100\n\nxx");
    let silent = crate::wire::client::Client::open(process.address());
    assert_eq!(
        process.terminate().code(),
        Some(0),
        "{}",
        log(directory.path())
    );
    drop((lazy, open, half, silent));
    let process = Process::start(directory.path());
    let mut client = process.client();
    client.ask("SUBSCRIBE id:1 destination:/queue/q");
    (0..100).for_each(|_| drop(client.message(&body)));
    client.fence();
}

#[test]
fn two_brokers_never_share_a_directory() {
    let directory = directory();
    let process = Process::start(directory.path());
    let second = ferrymq(
        directory.path(),
        &["--data", "data", "--stomp", "127.0.0.1:0"],
    )
    .output()
    .expect("ferrymq runs");
    let stderr = String::from_utf8(second.stderr).expect("it is UTF-8");
    assert_eq!(second.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("data") && stderr.contains("broker.data_dir"),
        "{stderr}"
    );
    // The first did not notice.
    process
        .client()
        .ask("SEND destination:/queue/q persistent:true");
    // Not even a kill -9 leaves a lock behind.
    process.kill();
    Process::start(directory.path()).client().fence();
}

#[test]
fn a_second_broker_in_the_same_process_is_refused_too() {
    let directory = directory();
    let mut config = Config::default();
    config.stomp.listen.set_port(0);
    config.broker.data_dir = directory.path().join("data");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let start = || Box::pin(Broker::builder().config(config.clone()).start());
        let first = start().await.expect("it starts");
        let refusal = start().await.expect_err("it is refused").to_string();
        let named = directory.path().display().to_string();
        assert!(
            refusal.contains(&named) && refusal.contains("broker.data_dir"),
            "{refusal}"
        );
        first.shutdown().await;
        start().await.expect("it starts").shutdown().await;
    });
}

#[test]
fn ephemeral_writes_nothing() {
    let directory = directory();
    let process = Process::with(directory.path(), &["--ephemeral"]);
    let mut client = process.client_named("c");
    client.ask("SEND destination:/queue/q persistent:true");
    client.ask("SUBSCRIBE id:1 destination:/topic/t activemq.subscriptionName:d");
    assert!(process.log().contains("ephemeral"), "{}", process.log());
    assert_eq!(process.terminate().code(), Some(0));
    let mut names: Vec<_> = fs::read_dir(directory.path())
        .expect("it can be listed")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["log", "ready.json"]);
}

#[test]
fn a_data_directory_that_cannot_be_is_named() {
    let directory = directory();
    fs::write(directory.path().join("data"), "a file").expect("a file");
    let output = ferrymq(
        directory.path(),
        &["--data", "data", "--stomp", "127.0.0.1:0"],
    )
    .output()
    .expect("ferrymq runs");
    let stderr = String::from_utf8(output.stderr).expect("it is UTF-8");
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("broker.data_dir"), "{stderr}");
}

fn log(directory: &Path) -> String {
    fs::read_to_string(directory.join("log")).unwrap_or_default()
}
