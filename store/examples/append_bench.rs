//! How close the store comes to bare write + fdatasync of the same batches.
//!
//! `cargo run --release -p ferrymq-store --example append_bench [directory] [messages]`
//!
//! For each window: receipts a second and the CPU time per message of the store and, in the same run, of one thread that writes
//! batches of that many records into a preallocated file and syncs each. Then a start with all messages, with and without checkpoint.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures time")]

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use ferrymq_store::io::RealDisk;
use ferrymq_store::{DestinationId, Store, StoreConfig, StoredMessage, SyncEvent, Ticket};

const QUEUE: DestinationId = DestinationId(1);
const BODY: usize = 1024;
const HEAD: &[u8] = b"SEND\ndestination:/queue/bench\nreceipt:12345\npersistent:true\n\n";
const FILE: u64 = 64 << 20;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let parent = arguments
        .get(1)
        .map_or_else(|| "target/append_bench".into(), String::clone);
    let messages = arguments
        .get(2)
        .and_then(|count| count.parse().ok())
        .unwrap_or(1_000_000_u64);
    let parent = Path::new(&parent);
    drop(fs::remove_dir_all(parent));
    fs::create_dir_all(parent).expect("the directory can be created");
    if messages == 0 {
        return idle(&parent.join("idle"));
    }
    println!("window  store/s  cpu us | bare/s  cpu us | ratio  cpu ratio");
    for (window, count) in [
        (1, 2_000),
        (100, 100_000),
        (1_000, 400_000),
        (1, 2_000),
        (100, 100_000),
        (1_000, 400_000),
    ] {
        let dir = parent.join("store");
        let bare = bare(parent, window, count);
        let store = store(&dir, window, count, false);
        println!(
            "{window:>6} {:>8.0} {:>7.2} | {:>7.0} {:>7.2} | {:.2} {:.2}",
            store.0,
            store.1,
            bare.0,
            bare.1,
            store.0 / bare.0,
            store.1 / bare.1
        );
        fs::remove_dir_all(&dir).expect("the directory can be removed");
    }
    // With consumers: what is synced is removed, segments die and their space is used again, so little is zero-filled.
    for (window, count) in [(100, 200_000), (1_000, 1_500_000)] {
        let dir = parent.join("store");
        let (rate, cpu) = store(&dir, window, count, true);
        println!("{window:>6} {rate:>8.0} {cpu:>7.2} | with removals");
        fs::remove_dir_all(&dir).expect("the directory can be removed");
    }
    start_time(&parent.join("start"), messages);
    drop(fs::remove_dir_all(parent));
}

/// User and system time of the process in seconds.
fn cpu() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = stat.rsplit(") ").next().unwrap_or_default();
    let ticks = |at: usize| {
        after
            .split(' ')
            .nth(at)
            .and_then(|value| value.parse::<f64>().ok())
            .unwrap_or(0.0)
    };
    (ticks(11) + ticks(12)) / 100.0
}

/// User and system seconds by thread name, of the threads that live.
fn threads() -> String {
    let mut text = String::new();
    for task in fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten()
    {
        let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        let name = stat.split(['(', ')']).nth(1).unwrap_or_default().to_owned();
        let after = stat.rsplit(") ").next().unwrap_or_default();
        let fields: Vec<&str> = after.split(' ').collect();
        text.push_str(&format!(
            " {name} {}+{}",
            fields.get(11).unwrap_or(&""),
            fields.get(12).unwrap_or(&"")
        ));
    }
    text
}

/// A value of /proc/self/status in KiB.
fn status(key: &str) -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text
        .lines()
        .find(|line| line.starts_with(key))
        .unwrap_or_default();
    line.split_whitespace()
        .nth(1)
        .and_then(|value| value.parse().ok())
        .unwrap_or(0)
}

fn message<'a>(serial: u64, body: &'a [u8]) -> StoredMessage<'a> {
    StoredMessage {
        wire: 1,
        flags: 0,
        priority: 4,
        origin: 1,
        serial,
        timestamp_ms: 0,
        expires_ms: 0,
        head: HEAD,
        body,
    }
}

struct Progress {
    synced: Mutex<Ticket>,
    changed: Condvar,
}

fn open(dir: &Path) -> (Store, ferrymq_store::Recovered, Arc<Progress>) {
    let progress = Arc::new(Progress {
        synced: Mutex::new(Ticket::default()),
        changed: Condvar::new(),
    });
    let theirs = Arc::clone(&progress);
    let on_sync = Box::new(move |event| match event {
        SyncEvent::Synced(ticket, _) => {
            *theirs.synced.lock().expect("nobody panics") = ticket;
            theirs.changed.notify_one();
        }
        other => println!("{other:?}"),
    });
    let (store, recovered) =
        Store::open(Arc::new(RealDisk), dir, StoreConfig::default(), on_sync).expect("it opens");
    (store, recovered, progress)
}

/// Keeps `window` messages outstanding. Gives receipts a second and CPU microseconds a message.
fn store(dir: &Path, window: u64, count: u64, remove: bool) -> (f64, f64) {
    let (store, _, progress) = open(dir);
    let body = vec![7; BODY];
    let (_, ticket) = store
        .append(|batch| batch.define_destination(QUEUE, 1, "bench"))
        .expect("alive");
    store.wait(ticket).expect("alive");
    let (mut sent, mut done) = (0, 0);
    let mut tickets = std::collections::VecDeque::new();
    let (mut outstanding, mut finished) = (std::collections::VecDeque::new(), Vec::new());
    let (began, cpu_began) = (Instant::now(), cpu());
    while done < count {
        // As the engine does: what came with one socket read goes over in one append.
        let room = (window - (sent - done)).min(64).min(count - sent);
        if room > 0 {
            let (_, ticket) = store
                .append(|batch| {
                    if remove && !finished.is_empty() {
                        batch.remove(QUEUE, &finished);
                    }
                    finished.clear();
                    for serial in sent..sent + room {
                        let at = batch.add(&[(QUEUE, serial + 1)], &message(serial, &body));
                        if remove {
                            outstanding.push_back((serial + 1, at));
                        }
                    }
                })
                .expect("alive");
            sent += room;
            tickets.push_back((ticket, sent));
        }
        let full = sent - done == window || sent == count;
        let mut synced = progress.synced.lock().expect("nobody panics");
        loop {
            while tickets
                .front()
                .is_some_and(|(ticket, _)| *ticket <= *synced)
            {
                done = tickets.pop_front().map_or(done, |(_, upto)| upto);
            }
            if !full || sent - done < window && sent < count || done == count {
                break;
            }
            synced = progress.changed.wait(synced).expect("nobody panics");
        }
        drop(synced);
        while outstanding
            .front()
            .is_some_and(|&(sequence, _)| sequence <= done)
        {
            finished.extend(outstanding.pop_front());
        }
    }
    let (elapsed, cpu_used) = (began.elapsed().as_secs_f64(), cpu() - cpu_began);
    if std::env::var_os("BENCH_THREADS").is_some() {
        println!("hundredths of a second, user+system:{}", threads());
    }
    store.close().expect("everything is written");
    (count as f64 / elapsed, cpu_used * 1e6 / count as f64)
}

/// The same batches written and synced by hand, into space written before.
fn bare(dir: &Path, window: u64, count: u64) -> (f64, f64) {
    let path = dir.join("bare");
    let mut file = File::create(&path).expect("it can be created");
    let zeros = vec![0; 1 << 20];
    (0..FILE >> 20).for_each(|_| file.write_all(&zeros).expect("there is space"));
    file.sync_all().expect("it syncs");
    let batch = vec![
        7_u8;
        (BODY + HEAD.len() + 76).next_multiple_of(32)
            * usize::try_from(window).expect("small")
    ];
    let (began, cpu_began) = (Instant::now(), cpu());
    let mut at = 0;
    for _ in 0..count / window {
        if at + batch.len() as u64 > FILE {
            at = 0;
        }
        file.write_all_at(&batch, at).expect("it writes");
        file.sync_data().expect("it syncs");
        at += batch.len() as u64;
    }
    let (elapsed, cpu_used) = (began.elapsed().as_secs_f64(), cpu() - cpu_began);
    fs::remove_file(&path).expect("it can be removed");
    (count as f64 / elapsed, cpu_used * 1e6 / count as f64)
}

/// What an idle store costs.
fn idle(dir: &Path) {
    println!("rss before: {} KiB", status("VmRSS"));
    for start in ["empty", "again"] {
        let began = Instant::now();
        let (store, ..) = open(dir);
        let opened = began.elapsed().as_secs_f64() * 1e3;
        let (_, ticket) = store
            .append(|batch| batch.define_destination(QUEUE, 1, "idle"))
            .expect("alive");
        store.wait(ticket).expect("alive");
        let synced = began.elapsed().as_secs_f64() * 1e3;
        store.checkpoint().expect("it can be written");
        println!(
            "{start}: open {opened:.1} ms, first sync {synced:.1} ms, rss {} KiB",
            status("VmRSS")
        );
        store.close().expect("everything is written");
    }
}

fn start_time(dir: &Path, count: u64) {
    let began = Instant::now();
    let (store, ..) = open(dir);
    println!("open empty: {:.1} ms", began.elapsed().as_secs_f64() * 1e3);
    println!("rss: {} KiB", status("VmRSS"));
    let body = vec![7; BODY];
    store
        .append(|batch| batch.define_destination(QUEUE, 1, "bench"))
        .expect("alive");
    let mut last = Ticket::default();
    for from in (0..count).step_by(1000) {
        let add = |batch: &mut ferrymq_store::Batch<'_>| {
            for serial in from..from + 1000 {
                batch.add(&[(QUEUE, serial + 1)], &message(serial, &body));
            }
        };
        if store.pending_bytes() > 8 << 20 {
            store.wait(last).expect("alive");
        }
        last = store.append(add).expect("alive").1;
    }
    store.close().expect("everything is written");
    for kind in ["clean", "without meta"] {
        if kind == "without meta" {
            fs::remove_dir_all(dir.join("meta")).expect("it is there");
        }
        drop(fs::write("/proc/self/clear_refs", "5"));
        let (before, began) = (status("VmRSS"), Instant::now());
        let (store, recovered, _) = open(dir);
        let elapsed = began.elapsed().as_secs_f64() * 1e3;
        let (peak, after) = (status("VmHWM"), status("VmRSS"));
        let entries = recovered.destinations[0].entries.len() as u64;
        assert_eq!(entries, count);
        println!(
            "open {kind}: {elapsed:.0} ms, {entries} entries, {} octets a message at the peak, {} after; read {} MiB",
            (peak.saturating_sub(before)) * 1024 / count,
            (after.saturating_sub(before)) * 1024 / count,
            recovered.report.bytes_read >> 20,
        );
        drop(recovered);
        println!("rss without the entries: {} KiB", status("VmRSS"));
        store.close().expect("everything is written");
    }
}
