//! Scheduled messages over a stop and a crash. Spec: behaviour SCH-6, SCH-7, SCH-9.

use super::over_restart;

const MANAGEMENT: &str =
    "SEND destination:/topic/ActiveMQ.Scheduler.Management AMQ_SCHEDULER_ACTION";

/// The job is durable with its receipt, so the broker may end at any time after it: each delivery comes once.
#[test]
fn each_scheduled_delivery_comes_once() {
    over_restart(
        |running, _| {
            let mut client = running.client();
            let send = "SEND destination:/queue/q persistent:true";
            client.ask_with(&format!("{send} AMQ_SCHEDULED_DELAY:1"), "soon");
            client.ask_with(&format!("{send} AMQ_SCHEDULED_DELAY:300"), "later");
            let series = "AMQ_SCHEDULED_PERIOD:20 AMQ_SCHEDULED_REPEAT:20";
            client.ask_with(&format!("{send} {series}"), "series");
        },
        |running, end| {
            let mut client = running.client();
            client.ask("SUBSCRIBE id:1 destination:/queue/q");
            let next = |_| client.expect("MESSAGE").text().to_owned();
            let mut found: Vec<String> = (0..23).map(next).collect();
            found.sort_unstable();
            assert_eq!(found[..2], ["later", "series"], "{end:?}");
            assert_eq!(found[20..], ["series", "series", "soon"], "{end:?}");
            client.fence();
        },
    );
}

/// Not persistent ones are kept too until they are due; what was removed or replaced does not come back.
#[test]
fn jobs_survive_and_removed_ones_do_not() {
    over_restart(
        |running, _| {
            let mut client = running.client();
            let send = "SEND destination:/queue/q AMQ_SCHEDULED_DELAY:3600000";
            client.ask_with(&format!("{send} a:1"), "kept");
            client.ask_with(&format!("{send} AMQ_SCHEDULED_KEY:k"), "replaced");
            client.ask_with(
                &format!("{send} AMQ_SCHEDULED_KEY:k persistent:true"),
                "keyed",
            );
            client.ask_with(&format!("{send} AMQ_SCHEDULED_KEY:gone"), "cancelled");
            client.ask(
                "SEND destination:/queue/q AMQ_SCHEDULER_ACTION:REMOVE AMQ_SCHEDULED_KEY:gone",
            );
            client.ask("BEGIN transaction:open");
            client.ask_with(&format!("{send} transaction:open"), "open");
            client.ask("BEGIN transaction:done");
            client.ask_with(&format!("{send} transaction:done"), "committed");
            client.ask("COMMIT transaction:done");
        },
        |running, _| {
            let mut client = running.client();
            client.ask("SUBSCRIBE id:1 destination:/queue/jobs");
            client.put(&format!("{MANAGEMENT}:BROWSE reply-to:/queue/jobs"));
            let found = client.messages(["kept", "keyed", "committed"]);
            found[0].check("MESSAGE a:1 scheduledJobId");
            client.ask(&format!("{MANAGEMENT}:REMOVEALL"));
            client.put(&format!("{MANAGEMENT}:BROWSE reply-to:/queue/jobs"));
            client.fence();
        },
    );
}
