//! Part D, scheduled messages: cases C137 to C142 and the rules SCH-1 to SCH-9.

use ferrymq::clock::Clock;

use super::client::Frame;
use super::server::Server;
use super::table::{self, Case, case};
use crate::wait::until;

const MANAGEMENT: &str = "SEND destination:/topic/ActiveMQ.Scheduler.Management";
/// Never within a test.
const LATER: &str = "AMQ_SCHEDULED_DELAY:3600000";

/// How many jobs there are.
fn jobs(s: &Server) -> usize {
    s.engine().scheduling.len()
}

#[track_caller]
fn has_ids_of_their_own(found: &[Frame]) {
    let mut ids: Vec<&str> = found.iter().map(|frame| frame.must("message-id")).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), found.len(), "{found:?}");
}

pub(super) const CASES: &[Case] = &[
    case("C137", |s| {
        let mut client = s.client();
        client.ask("SUBSCRIBE id:1 destination:/queue/c137");
        let clock = Clock::system();
        let head = "SEND destination:/queue/c137 AMQ_SCHEDULED_DELAY:2000 a:b";
        client.ask_with(head, "later");
        client.put_with("SEND destination:/queue/c137", "now");
        client.message("now");
        client
            .message("later")
            .check("MESSAGE a:b scheduledJobId~job- !AMQ_SCHEDULED_DELAY");
        // Never too early; that it is not late is for the scheduler's own tests, which own their time.
        assert!(clock.monotonic_ms() >= 1999);
    }),
    case("C138", |s| {
        let mut client = s.client();
        client.ask("SUBSCRIBE id:1 destination:/queue/c138");
        client.put_with(
            "SEND destination:/queue/c138 AMQ_SCHEDULED_DELAY:50 AMQ_SCHEDULED_PERIOD:50 AMQ_SCHEDULED_REPEAT:2",
            "m",
        );
        let found = client.messages(["m", "m", "m"]);
        has_ids_of_their_own(&found);
        client.fence();
    }),
    case("C139", |s| {
        let mut client = s.client();
        let head =
            "SEND destination:/queue/c139 AMQ_SCHEDULED_REPEAT:1001 AMQ_SCHEDULED_PERIOD:1000";
        client.refused(head, "ERROR message~'repeat value is too large'");
        assert_eq!(s.queue_len("c139"), 0);
    }),
    case("C141", |s| {
        let mut client = s.client();
        for (header, part) in [
            ("AMQ_SCHEDULED_CRON:nonsense", "needs five fields"),
            ("'AMQ_SCHEDULED_CRON:0 0 30 2 *'", "never comes"),
            (
                "'AMQ_SCHEDULED_CRON:* * * * *' AMQ_SCHEDULED_CRON_TZ:Mars/Base",
                "Mars/Base",
            ),
            (
                "AMQ_SCHEDULED_DELAY:soon",
                "AMQ_SCHEDULED_DELAY is not a number",
            ),
            ("AMQ_SCHEDULED_DELAY:-1", "delay is below zero"),
            ("AMQ_SCHEDULED_REPEAT:-1", "needs a period"),
        ] {
            let head = format!("SEND destination:/queue/c141 {header}");
            client.refused(&head, &format!("ERROR message~'{part}'"));
        }
        assert_eq!(s.queue_len("c141"), 0);
    }),
    case("C142", |s| {
        let mut client = s.client();
        client.ask("SUBSCRIBE id:1 destination:/queue/c142");
        client.put("SEND destination:/queue/c142 scheduledJobId:x AMQ_SCHEDULED_DELAY:60000");
        client.expect("MESSAGE scheduledJobId:x !AMQ_SCHEDULED_DELAY");
    }),
    case("SCH-2", |s| {
        let mut client = s.client();
        client.ask("SUBSCRIBE id:1 destination:/topic/sch-2");
        // Without a delay the first comes at once; a period alone means nothing.
        client.put_with(
            "SEND destination:/topic/sch-2 AMQ_SCHEDULED_PERIOD:1000",
            "one",
        );
        client.message("one");
        client.put_with(
            "SEND destination:/topic/sch-2 AMQ_SCHEDULED_PERIOD:1 AMQ_SCHEDULED_REPEAT:9",
            "ten",
        );
        has_ids_of_their_own(&client.messages(["ten"; 10]));
        client.fence();
    }),
    case("SCH-4", |s| {
        let mut client = s.client();
        client.ask("SUBSCRIBE id:1 destination:/queue/sch-4");
        // It would be dead long before it is delivered, if its life did not begin then.
        client.put_with(
            "SEND destination:/queue/sch-4 AMQ_SCHEDULED_DELAY:20 timestamp:1000 expires:3601000",
            "m",
        );
        let found = client.message("m");
        let number = |name| found.must(name).parse::<u64>().expect("a number");
        assert_eq!(number("expires") - number("timestamp"), 3_600_000);
        assert!(number("timestamp") > 1000);
    }),
    case("SCH-6", |s| {
        let mut client = s.client();
        client.ask("SUBSCRIBE id:1 destination:/queue/sch-6");
        client.ask("BEGIN transaction:t");
        client.ask_with(
            "SEND destination:/queue/sch-6 transaction:t AMQ_SCHEDULED_DELAY:1",
            "aborted",
        );
        client.ask("ABORT transaction:t");
        client.ask("BEGIN transaction:t");
        for body in ["a", "b"] {
            client.ask_with(
                "SEND destination:/queue/sch-6 transaction:t AMQ_SCHEDULED_DELAY:1",
                body,
            );
        }
        client.put_with("SEND destination:/queue/sch-6", "before");
        client.message("before");
        client.put("COMMIT transaction:t receipt:done");
        let mut found = vec![client.frame(), client.frame(), client.frame()];
        found.retain(|frame| frame.get("receipt-id") != Some("done"));
        let bodies: Vec<&str> = found.iter().map(Frame::text).collect();
        assert_eq!(bodies, ["a", "b"]);
        client.fence();
    }),
    // What repeats the frame before takes a shorter way, if it is no matter of the scheduler.
    case("SCH repeated", |s| {
        let mut client = s.client();
        client.ask("SUBSCRIBE id:1 destination:/queue/sch-repeated");
        for _ in 0..3 {
            client.put_with(
                "SEND destination:/queue/sch-repeated AMQ_SCHEDULED_DELAY:30",
                "m",
            );
        }
        for found in client.messages(["m", "m", "m"]) {
            found.check("MESSAGE scheduledJobId");
        }
    }),
];

#[test]
fn scheduled_messages() {
    table::check(CASES);
}

/// SCH-8, SCH-9: these look at all jobs, so they have a broker of their own; once with a store and once without.
fn management(s: &Server) {
    let mut client = s.client();
    client.ask("SUBSCRIBE id:1 destination:/queue/jobs");
    for number in 0..5 {
        let head = format!(
            "SEND destination:/queue/q AMQ_SCHEDULED_DELAY:{}",
            3_600_000 + number
        );
        client.ask_with(&head, number.to_string());
    }
    assert_eq!(jobs(s), 5);

    let browse = format!("{MANAGEMENT} AMQ_SCHEDULER_ACTION:BROWSE reply-to:/queue/jobs");
    client.put(&browse);
    let found = client.messages(["0", "1", "2", "3", "4"]);
    let job = found[2].must("scheduledJobId").to_owned();
    // Browsing changes nothing, and what was browsed is no job again.
    assert_eq!(jobs(s), 5);
    client.ask(&format!("{browse} ACTION_END_TIME:1000"));
    client.fence();

    client.ask(&format!(
        "{MANAGEMENT} AMQ_SCHEDULER_ACTION:REMOVE scheduledJobId:{job}"
    ));
    client.ask(&format!(
        "{MANAGEMENT} AMQ_SCHEDULER_ACTION:REMOVE scheduledJobId:{job}"
    ));
    client.ask(&format!(
        "{MANAGEMENT} AMQ_SCHEDULER_ACTION:REMOVE scheduledJobId:unknown"
    ));
    assert_eq!(jobs(s), 4);
    client.ask(&format!(
        "{MANAGEMENT} AMQ_SCHEDULER_ACTION:REMOVEALL ACTION_END_TIME:1000"
    ));
    assert_eq!(jobs(s), 4);

    // A key belongs to a destination.
    for (queue, body) in [("k", "first"), ("other", "other"), ("k", "second")] {
        client.ask_with(
            &format!("SEND destination:/queue/{queue} {LATER} AMQ_SCHEDULED_KEY:k"),
            body,
        );
    }
    assert_eq!(jobs(s), 6);
    client.ask("SEND destination:/queue/k AMQ_SCHEDULER_ACTION:REMOVE AMQ_SCHEDULED_KEY:k");
    assert_eq!(jobs(s), 5);
    client.ask(&format!("{MANAGEMENT} AMQ_SCHEDULER_ACTION:REMOVEALL"));
    assert_eq!(jobs(s), 0);
    assert_eq!(s.queue_len("k"), 0);

    for (head, part) in [
        (
            MANAGEMENT.to_owned(),
            "takes SEND with AMQ_SCHEDULER_ACTION only",
        ),
        (
            format!("{MANAGEMENT} AMQ_SCHEDULER_ACTION:BROWSE"),
            "needs a reply-to",
        ),
        (
            format!("{MANAGEMENT} AMQ_SCHEDULER_ACTION:REMOVE"),
            "needs a scheduledJobId",
        ),
        (
            format!("{MANAGEMENT} AMQ_SCHEDULER_ACTION:DANCE"),
            "must be BROWSE, REMOVE or REMOVEALL",
        ),
        (
            "SEND destination:/queue/q AMQ_SCHEDULER_ACTION:REMOVEALL".to_owned(),
            "goes to /topic/",
        ),
        (
            format!("{MANAGEMENT} AMQ_SCHEDULER_ACTION:REMOVEALL transaction:t"),
            "cannot be part of a transaction",
        ),
    ] {
        client.refused(&head, &format!("ERROR message~'{part}'"));
    }
}

#[test]
fn jobs_are_managed_by_message() {
    management(&Server::start());
}

#[test]
fn jobs_in_a_store_are_managed_by_message() {
    management(&Server::with_store(|_| {}));
}

#[test]
fn an_endless_series_ends_by_removal_only() {
    let server = Server::with_store(|_| {});
    let mut client = server.client();
    client.ask("SUBSCRIBE id:1 destination:/topic/t");
    client.put_with(
        "SEND destination:/topic/t persistent:true AMQ_SCHEDULED_PERIOD:1 AMQ_SCHEDULED_REPEAT:-1",
        "m",
    );
    let found = client.messages(["m"; 20]);
    has_ids_of_their_own(&found);
    let job = found[0].must("scheduledJobId");
    let remove = format!("{MANAGEMENT} AMQ_SCHEDULER_ACTION:REMOVE scheduledJobId:{job}");
    client.ask_amid(&remove);
    until("the series to end", || (jobs(&server) == 0).then_some(()));
}

/// A store holds nothing of jobs that are done: all that is left is what a start writes.
#[test]
fn what_was_delivered_leaves_nothing_in_the_store() {
    let server = Server::with_store(|_| {});
    let (mut client, mut consumer) = (server.client(), server.client());
    consumer.ask("SUBSCRIBE id:1 destination:/queue/q");
    consumer.ask("SUBSCRIBE id:2 destination:/topic/t");
    for destination in ["/queue/q", "/topic/t"] {
        for persistent in [true, false] {
            let head = format!(
                "SEND destination:{destination} persistent:{persistent} AMQ_SCHEDULED_PERIOD:1 AMQ_SCHEDULED_REPEAT:2"
            );
            client.ask_with(&head, "m");
        }
    }
    consumer.messages(["m"; 12]);
    until("all deliveries to be consumed", || {
        let store = server.engine().store.as_ref().expect("it has one");
        (jobs(&server) == 0 && store.usage().expect("it lives").live_references == 0).then_some(())
    });
}
