//! `ferrymq store`: every command on a store that was written as the broker writes one.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use ferrymq_store::io::RealDisk;
use ferrymq_store::{
    DestinationId, Patch, Store, StoreConfig, StoredMessage, SubscriptionDefinition, SubscriptionId,
};
use serde_json::Value;

use crate::cli::{ferrymq, output};

fn open(directory: &Path) -> Store {
    let config = StoreConfig {
        segment_bytes: 64 << 10,
        first_segment_bytes: 64 << 10,
        ..StoreConfig::default()
    };
    let opened = Store::open(Arc::new(RealDisk), directory, config, Box::new(|_| {}));
    opened.expect("the store opens").0
}

/// A queue with text, octets and a binary head, a dead letter, and a topic with a durable subscription.
fn fill(directory: &Path) {
    let store = open(directory);
    let (queue, dead, topic) = (DestinationId(1), DestinationId(2), DestinationId(3));
    let message = |serial: u64| StoredMessage {
        wire: 1,
        flags: 1,
        priority: 7,
        origin: 99,
        serial,
        timestamp_ms: 1_700_000_000_000 + serial,
        expires_ms: 0,
        head: b"color:blue\\cgreen\n",
        body: b"text \xe2\x82\xac",
    };
    let write = |batch: &mut ferrymq_store::Batch<'_>| {
        batch.define_destination(queue, 0, "orders");
        batch.define_destination(dead, 0, "ActiveMQ.DLQ");
        batch.define_destination(topic, 1, "news");
        let first = batch.add(&[(queue, 1)], &message(1));
        batch.add(
            &[(queue, 2)],
            &StoredMessage {
                body: b"\xff\x00",
                ..message(2)
            },
        );
        batch.add(
            &[(queue, 3)],
            &StoredMessage {
                head: b"\x01\x00binary",
                ..message(3)
            },
        );
        let patch = Patch {
            flags: 129,
            priority: 2,
            expires_ms: 0,
            body_size: 26,
            extra_head: b"identity and fate",
        };
        batch.place(&[(dead, 1)], first, &patch);
        batch.remove(queue, &[(1, first)]);
        let at = batch.add(&[(topic, 1)], &message(4));
        batch.add(&[(topic, 2)], &message(5));
        batch.redelivered(topic, 1, at, 5);
        batch.define_subscription(&SubscriptionDefinition {
            id: SubscriptionId(1),
            topic,
            client_id: "c".to_owned(),
            name: "n".to_owned(),
            selector: Some("a = 1".to_owned()),
            no_local: true,
            start: 1,
        });
        batch.acknowledge(SubscriptionId(1), None, &[2]);
        batch.redelivered_to(SubscriptionId(1), &[(1, 3)]);
    };
    store.append(write).expect("there is space");
    store.close().expect("everything is written");
}

fn run(directory: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut all = vec!["store"];
    all.extend(arguments);
    output(&mut ferrymq(directory, &all))
}

fn json(directory: &Path, arguments: &[&str]) -> Value {
    let (code, stdout, stderr) = run(directory, arguments);
    assert_eq!(code, Some(0), "{stderr}");
    serde_json::from_str(&stdout).expect("it prints JSON")
}

#[test]
fn an_export_is_imported_as_it_was() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = directory.path();
    fill(&at.join("data"));
    let exported = run(at, &["export"]);
    assert_eq!(exported.0, Some(0), "{}", exported.2);
    let lines: Vec<Value> = exported
        .1
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let bodies: Vec<_> = lines.iter().filter_map(|line| line.get("body")).collect();
    assert_eq!(bodies.len(), 4, "{}", exported.1);
    assert!(
        exported.1.contains(r#""headers":[["color","blue:green"]]"#),
        "{}",
        exported.1
    );
    assert!(
        exported.1.contains(r#""head_base64":""#) && exported.1.contains(r#""body_base64":"/wA=""#)
    );
    fs::write(at.join("out.jsonl"), &exported.1).expect("a file");
    let imported = run(at, &["import", "out.jsonl", "--data", "new"]);
    assert_eq!(
        (imported.0, &*imported.1),
        (Some(0), "5 messages imported\n"),
        "{}",
        imported.2
    );
    let again = run(at, &["export", "--data", "new"]);
    // A moved message took a number of its own for the time of the move.
    let plain = |text: &str| text.replace(r#""next_sequence":3"#, r#""next_sequence":2"#);
    assert_eq!(plain(&again.1), plain(&exported.1));
    // Behind what is there; the subscription stays as it is.
    let more = json(at, &["import", "out.jsonl", "--data", "new", "--json"]);
    assert_eq!(
        (&more["messages"], &more["subscriptions_skipped"]),
        (&5.into(), &1.into())
    );
    let info = json(at, &["info", "--data", "new", "--json"]);
    assert_eq!(info["kinds"][0]["messages"], 6);
    let cut = exported
        .1
        .rsplit_once("\n{")
        .expect("several lines")
        .0
        .to_owned()
        + "\n";
    fs::write(at.join("cut.jsonl"), cut).expect("a file");
    let (code, _, stderr) = run(at, &["import", "cut.jsonl", "--data", "other"]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("not everything is there"), "{stderr}");
}

#[test]
fn holders_and_info_tell_what_is_there_and_who_has_the_lock() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = directory.path();
    fill(&at.join("data"));
    let before = fs::read_dir(at.join("data/journal"))
        .expect("files")
        .count();
    let holders = json(at, &["holders", "--json"]);
    assert_eq!(holders["destinations"].as_array().map(Vec::len), Some(3));
    assert_eq!(holders["durable_subscriptions"][0]["name"], "c:n");
    assert_eq!(holders["durable_subscriptions"][0]["messages"], 1);
    let (code, stdout, _) = run(at, &["holders"]);
    assert!(
        code == Some(0) && stdout.contains("queue orders") && stdout.contains("topic c:n"),
        "{stdout}"
    );
    let info = json(at, &["info", "--json"]);
    assert_eq!((&info["clean"], &info["starts"]), (&true.into(), &1.into()));
    assert_eq!(
        fs::read_dir(at.join("data/journal"))
            .expect("files")
            .count(),
        before
    );
    let store = open(&at.join("data"));
    let (code, _, stderr) = run(at, &["info"]);
    assert_eq!(code, Some(1));
    let holder = format!("in use by process {}", std::process::id());
    assert!(stderr.contains(&holder), "{stderr}");
    drop(store);
    let (code, _, stderr) = run(at, &["verify", "--data", "nowhere"]);
    assert!(
        code == Some(1) && stderr.contains("holds no store"),
        "{stderr}"
    );
    assert!(!at.join("nowhere").exists());
}

#[test]
fn damage_is_found_and_mended() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = directory.path();
    fill(&at.join("data"));
    let (code, stdout, _) = run(at, &["verify"]);
    assert!(code == Some(0) && stdout.contains("no damage"), "{stdout}");
    let segment = at.join("data/journal/00000001.seg");
    let mut octets = fs::read(&segment).expect("the first segment");
    let body = octets.windows(8).position(|part| part == b"\x01\x00binary");
    octets[body.expect("the message lies there")] ^= 4;
    fs::write(&segment, octets).expect("it can be written");
    let (code, stdout, stderr) = run(at, &["verify"]);
    assert_eq!(code, Some(3), "{stderr}");
    assert!(stdout.contains("record does not check"), "{stdout}");
    assert!(
        stdout.contains("in a damaged range: orders, message 3"),
        "{stdout}"
    );
    let repaired = json(at, &["repair", "--json"]);
    assert_eq!(repaired["after"]["damaged"], false);
    assert_eq!(repaired["set_aside"].as_array().map(Vec::len), Some(1));
    assert!(at.join("data/quarantine/00000001.0.damaged").exists());
    let (code, stdout, _) = run(at, &["verify"]);
    assert_eq!(code, Some(0), "{stdout}");
    let info = json(at, &["info", "--json"]);
    assert_eq!(info["kinds"][0]["messages"], 2);
    let compacted = json(at, &["compact", "--json"]);
    assert!(compacted["segments_after"].as_u64() <= compacted["segments_before"].as_u64());
}
