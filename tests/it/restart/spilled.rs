//! Messages that were spilled: what they take of the process, and that a killed one leaves none of them (STO-2).

use std::fs;

use super::directory;
use super::process::Process;
use crate::wire::client::frame;

#[test]
fn what_was_spilled_takes_no_memory_and_is_gone_after_a_kill() {
    let directory = directory();
    let config = "[memory]\nlimit = \"16 MiB\"\n";
    fs::write(directory.path().join("activemq.toml"), config).expect("a configuration");
    let process = Process::start(directory.path());
    let mut client = process.client();
    client.ask_with("SEND destination:/queue/kept persistent:true", "kept");
    let before = process.resident_bytes();
    let body = "x".repeat(10 * 1024);
    for _ in 0..12_000 {
        client.raw(frame("SEND destination:/queue/gone", &body));
    }
    client.fence();
    // 120 MiB were taken in; some of what left memory stays with the allocator.
    if let (Some(before), Some(after)) = (before, process.resident_bytes()) {
        let grown = after.saturating_sub(before);
        assert!(grown < 64 << 20, "{grown} octets");
    }
    let temp = directory.path().join("data").join("temp");
    let files = || fs::read_dir(&temp).expect("a directory").count();
    assert!(files() > 0);
    process.kill();
    assert!(files() > 0, "nobody has tidied");
    let process = Process::start(directory.path());
    assert_eq!(files(), 0);
    let mut client = process.client();
    client.ask("SUBSCRIBE id:1 destination:/queue/gone");
    client.ask("SUBSCRIBE id:2 destination:/queue/kept");
    client.message("kept").check("MESSAGE subscription:2");
    client.fence();
}
