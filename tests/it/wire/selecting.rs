//! Selectors at the wire: which messages a consumer gets. Spec: SEL-4 to SEL-9, BRO-2, PRE-11.

use super::client::Client;
use super::table::{Case, case, check};

/// A SUBSCRIBE with a selector, which may hold quotation marks.
fn subscribe(id: &str, destination: &str, selector: &str, more: &str) -> String {
    let selector = selector.replace('\\', "\\\\").replace(':', "\\c");
    format!(
        "SUBSCRIBE\nid:{id}\ndestination:{destination}\nselector:{selector}\n{more}receipt:{id}\n\n\0"
    )
}

/// A consumer with this selector.
#[track_caller]
fn consumer(mut client: Client, destination: &str, selector: &str) -> Client {
    client.raw(subscribe("1", destination, selector, ""));
    client.expect("RECEIPT receipt-id:1");
    client
}

pub(super) const CASES: &[Case] = &[
    case("C177", |s| {
        let mut sender = s.client();
        sender.ask_with("SEND destination:/queue/c177 foo:abc", "first");
        sender.ask_with("SEND destination:/queue/c177 foo:zzz", "second");
        consumer(s.client(), "/queue/c177", "foo = 'zzz'").message("second");
        // SEL-9: the other one stays for somebody else.
        let mut other = s.client();
        other.ask("SUBSCRIBE id:1 destination:/queue/c177");
        other.message("first");
    }),
    case("C179", |s| {
        let mut client = consumer(s.client(), "/queue/c179", "flag = TRUE");
        client.put_with("SEND destination:/queue/c179 flag:false", "no");
        client.put_with("SEND destination:/queue/c179 flag:true", "m");
        client.message("m");
        client.fence();
    }),
    case("C180", |s| {
        let mut client = consumer(s.client(), "/queue/c180", "f = 3.5");
        client.put_with("SEND destination:/queue/c180 f:3.25", "no");
        client.put_with("SEND destination:/queue/c180 f:3.5", "m");
        client.message("m");
        client.fence();
    }),
    case("C181", |s| {
        let mut client = s.client();
        client.raw(subscribe("1", "/queue/c181", "foo.bar = 1", ""));
        client.expect("ERROR message~'invalid selector at character 4' receipt-id:1");
        // There is no subscription of that id, and the connection stays.
        client.ask("SUBSCRIBE id:1 destination:/queue/c181");
    }),
    case("C183", |s| {
        let mut client = consumer(s.client(), "/queue/c183", "JMSType LIKE 'a_%'");
        client.put_with("SEND destination:/queue/c183 type:a", "no");
        client.put_with("SEND destination:/queue/c183 type:abc", "m");
        client.message("m");
        client.fence();
    }),
    case("SEL-4", |s| {
        let mut client = consumer(s.client(), "/queue/sel-4", "region = 'EU' AND price > 10");
        for (region, price) in [
            ("EU", "9"),
            ("US", "11"),
            ("EU", "10"),
            ("EU", "ten"),
            ("EU", "10.5"),
        ] {
            let head = format!("SEND destination:/queue/sel-4 region:{region} price:{price}");
            client.put_with(&head, price);
        }
        client.message("10.5");
        client.fence();
        assert_eq!(s.queue_len("sel-4"), 4);
    }),
    case("SEL-6", |s| {
        let selector = "JMSDestination = 'queue://sel-6' AND JMSPriority > 4 AND JMSCorrelationID = 'a:b' \
                        AND JMSDeliveryMode = 'NON_PERSISTENT' AND \"x-type\" = 'q' AND JMSRedelivered = FALSE \
                        AND JMSMessageID LIKE 'ID:%' AND JMSTimestamp = 77 AND JMSExpiration = 0 AND nothing IS NULL";
        let mut client = consumer(s.client(), "/queue/sel-6", selector);
        let head =
            "SEND destination:/queue/sel-6 priority:7 correlation-id:a\\cb x-type:q timestamp:77";
        client.put_with(head, "m");
        client.message("m");
    }),
    case("SEL-8", |s| {
        let mut client = s.client();
        for selector in [
            "a = 'x",
            "a < 'x'",
            "XPATH '//a'",
            "5",
            "(a = 1",
            "REGEX('(', a)",
        ] {
            client.raw(subscribe("1", "/queue/sel-8", selector, ""));
            client.expect("ERROR message~'invalid selector at character' receipt-id:1");
        }
        client.fence();
    }),
    // PRE-11: a match is found however deep it lies.
    case("PRE-11", |s| {
        let mut sender = s.client();
        for number in 0..1000 {
            sender.put(&format!("SEND destination:/queue/pre-11 n:{number}"));
        }
        sender.put_with("SEND destination:/queue/pre-11 n:wanted", "deep");
        sender.fence();
        consumer(s.client(), "/queue/pre-11", "n = 'wanted'").message("deep");
    }),
    case("BRO-2 selector", |s| {
        let mut sender = s.client();
        for number in ["1", "2", "3"] {
            sender.ask_with(&format!("SEND destination:/queue/bro-2 n:{number}"), number);
        }
        let mut client = s.client();
        client.raw(subscribe("1", "/queue/bro-2", "n >= 2", "browser:true\n"));
        client.expect("RECEIPT receipt-id:1");
        client.messages(["2", "3"]);
        assert_eq!(s.queue_len("bro-2"), 3);
    }),
];

#[test]
fn e_selecting() {
    check(CASES);
}
