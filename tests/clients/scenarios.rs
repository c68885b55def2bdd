//! What the clients do, and what every one of them must see.

use serde_json::{Value, json};

use crate::broker::Store;

/// One story, told by every client in its own language.
pub(crate) struct Scenario {
    /// What the client program knows it by.
    pub(crate) name: &'static str,
    /// The sentence it proves.
    pub(crate) title: &'static str,
    /// The protocol versions it is told in.
    pub(crate) versions: &'static [&'static str],
    /// Where the broker keeps the messages meanwhile.
    pub(crate) store: Store,
    /// Whether the broker knows a user and his rights, and the client comes over TLS.
    pub(crate) guarded: bool,
    /// The results in order, in that version.
    pub(crate) expected: fn(version: &str) -> Vec<Value>,
}

const ALL: &[&str] = &["1.0", "1.1", "1.2"];
const FROM_1_1: &[&str] = &["1.1", "1.2"];
const NEWEST: &[&str] = &["1.2"];

/// Spec: behaviour sections 1 and 4 to 8; the rules of each story stand above it.
pub(crate) const SCENARIOS: &[Scenario] = &[
    // CON-5, CON-9
    Scenario {
        name: "connect",
        title: "the version asked for is spoken",
        versions: ALL,
        store: Store::Ephemeral,
        guarded: false,
        expected: |version| vec![json!({ "version": version }), first("hello")],
    },
    // ACK-5
    Scenario {
        name: "ack-auto",
        title: "auto mode takes what it was sent",
        versions: ALL,
        store: Store::Ephemeral,
        guarded: false,
        expected: |_| vec![first("1"), first("2"), first("3"), first("last")],
    },
    // ACK-1, ACK-2, SUB-6: the third of five is acknowledged
    Scenario {
        name: "ack-client",
        title: "client mode acknowledges all before it",
        versions: ALL,
        store: Store::Journal,
        guarded: false,
        expected: |_| vec![returned("4"), returned("5"), first("last")],
    },
    // ACK-1, ACK-2, SUB-6: the second and fourth of four are acknowledged
    Scenario {
        name: "ack-individual",
        title: "client-individual mode acknowledges one by one",
        versions: ALL,
        store: Store::Journal,
        guarded: false,
        expected: |_| vec![returned("1"), returned("3"), first("last")],
    },
    // NAK-1, NAK-2, RED-1, RED-4, MSG-4
    Scenario {
        name: "nack",
        title: "a refused message comes back counted, and holds up nobody",
        versions: FROM_1_1,
        store: Store::Ephemeral,
        guarded: false,
        expected: |_| {
            vec![
                first("bad"),
                first("good"),
                again("bad", "2"),
                first("last"),
            ]
        },
    },
    // TX-1, TX-2, TX-3
    Scenario {
        name: "commit",
        title: "a transaction shows its sends and applies its acks at COMMIT",
        versions: NEWEST,
        store: Store::Journal,
        guarded: false,
        expected: |_| vec![first("outside"), first("1"), first("2"), first("last")],
    },
    // TX-4, ACK-6
    Scenario {
        name: "abort",
        title: "ABORT drops the sends and undoes the acks",
        versions: NEWEST,
        store: Store::Journal,
        guarded: false,
        expected: |_| vec![first("kept"), returned("kept"), first("last")],
    },
    // SUB-5, SUB-6, CON-8
    Scenario {
        name: "durable",
        title: "a durable subscription survives a reconnect",
        versions: NEWEST,
        store: Store::Journal,
        guarded: false,
        expected: |_| vec![first("online"), first("offline 1"), first("offline 2")],
    },
    // SUB-7
    Scenario {
        name: "durable-removed",
        title: "a durable subscription ends when its name is unsubscribed",
        versions: NEWEST,
        store: Store::Journal,
        guarded: false,
        expected: |_| vec![first("heard")],
    },
    // CON-12 to CON-15: five beats of 300 ms are longer than the broker would bear silence
    Scenario {
        name: "heart-beats",
        title: "heart-beats keep an idle connection",
        versions: FROM_1_1,
        store: Store::Ephemeral,
        guarded: false,
        expected: |_| vec![json!({ "beats": 5 }), first("still here")],
    },
    // FRM-13
    Scenario {
        name: "utf8",
        title: "four-octet characters pass in names, values and bodies",
        versions: ALL,
        store: Store::Ephemeral,
        guarded: false,
        expected: |_| vec![json!({ "header": "значение 😀 値", "body": "тело 𝄞 😀 本文" })],
    },
    // FRM-7, FRM-9
    Scenario {
        name: "escapes",
        title: "colons, backslashes and line feeds pass in header values",
        versions: NEWEST,
        store: Store::Ephemeral,
        guarded: false,
        expected: |_| vec![json!({ "header": "a colon: back\\slash\nline" })],
    },
    // FRM-10, MSG-2
    Scenario {
        name: "binary",
        title: "a binary body passes, NULs and all",
        versions: ALL,
        store: Store::Ephemeral,
        guarded: false,
        expected: |_| {
            let octets = (0..=255).chain([0, 0]);
            let hex: String = octets.map(|octet: u8| format!("{octet:02x}")).collect();
            vec![json!({ "hex": hex })]
        },
    },
    // The numbers 0 to 2^20 - 1 in ten digits each: ten MiB, with no two parts alike.
    Scenario {
        name: "big",
        title: "a body of 10 MiB passes",
        versions: NEWEST,
        store: Store::Journal,
        guarded: false,
        expected: |_| vec![json!({ "octets": 10 << 20, "sha256": TEN_MIB_SHA256 })],
    },
    // SND-4, REC-1
    Scenario {
        name: "receipts",
        title: "a hundred receipts come in the order of their messages",
        versions: NEWEST,
        store: Store::Journal,
        guarded: false,
        expected: |_| {
            let receipts: Vec<u32> = (0..100).collect();
            let bodies: Vec<String> = (0..100).map(|number: u32| number.to_string()).collect();
            vec![json!({ "receipts": receipts }), json!({ "bodies": bodies })]
        },
    },
    // SEL-1: what does not match stays for others
    Scenario {
        name: "selector",
        title: "a selector takes what it matches and leaves the rest",
        versions: NEWEST,
        store: Store::Journal,
        guarded: false,
        expected: |_| {
            let matching = ["red 7", "red 9"].map(first);
            let rest = ["red 3", "blue 9"].map(first);
            [matching, rest].concat()
        },
    },
    // SCH-1: the other one, sent later, is there first
    Scenario {
        name: "delayed",
        title: "a delayed message comes when its time has come",
        versions: NEWEST,
        store: Store::Journal,
        guarded: false,
        expected: |_| vec![first("at once"), first("later"), json!({ "waited": true })],
    },
    // TMP-1
    Scenario {
        name: "request-reply",
        title: "a reply finds the temporary queue of another connection",
        versions: NEWEST,
        store: Store::Ephemeral,
        guarded: false,
        expected: |_| {
            vec![
                json!({ "request": "6 * 7", "correlation": "c-1" }),
                json!({ "reply": "42", "correlation": "c-1" }),
            ]
        },
    },
    // VIR-1
    Scenario {
        name: "virtual-topic",
        title: "each application behind a virtual topic gets its copy",
        versions: NEWEST,
        store: Store::Journal,
        guarded: false,
        expected: |_| {
            ["order 1", "order 2", "order 1", "order 2"]
                .map(from_virtual_topic)
                .to_vec()
        },
    },
    // SEC-1, SEC-3: a wrong passcode, what is allowed, what is not
    Scenario {
        name: "login",
        title: "over TLS a user logs in and is held to his rights",
        versions: NEWEST,
        store: Store::Ephemeral,
        guarded: true,
        expected: |_| {
            let denied = "User orders is not authorized to write to: queue://billing";
            vec![
                json!({ "refused": "User name [orders] or password is invalid." }),
                first("allowed"),
                json!({ "denied": denied }),
            ]
        },
    },
];

const TEN_MIB_SHA256: &str = "8d747b50e5c705d57966fd6d76c9d42a0e6f82a6524f40ec9e2de10f722d3a59";

/// A message delivered for the first time.
pub(crate) fn first(body: &str) -> Value {
    json!({ "body": body, "redelivered": false, "count": "1" })
}

/// One delivered again after failed deliveries.
pub(crate) fn again(body: &str, count: &str) -> Value {
    json!({ "body": body, "redelivered": true, "count": count })
}

fn from_virtual_topic(body: &str) -> Value {
    json!({ "body": body, "origin": "/topic/VirtualTopic.orders" })
}

/// One delivered again after its consumer went in good order, which is no failed delivery.
fn returned(body: &str) -> Value {
    json!({ "body": body, "redelivered": true, "count": "1" })
}
