//! Queues that are made as RabbitMQ's headers say (section 10). What survives a restart: `restart/dialects.rs`.

use ferrymq::broker::Destination;

use super::server::Server;
use super::table::{case, check_on};
use crate::wait::until;

fn is_there(server: &Server, queue: &str) -> bool {
    let queue = Destination::queue(queue);
    server.engine().registry.get(&queue).is_some()
}

#[test]
fn a_queue_is_made_as_its_first_frame_says() {
    let server = Server::with(|config| {
        let entry = "queue = \"strict.>\"\nmaxMessages = 1\noverflow = \"reject\"";
        config.policy = vec![entry.parse().expect("an entry")];
    });
    check_on(
        &server,
        &[
            case("x-max-length", |s| {
                let mut client = s.client();
                client.ask("SUBSCRIBE id:1 destination:/queue/length x-max-length:2 ack:client");
                client.ask("UNSUBSCRIBE id:1");
                for body in ["1", "2", "3"] {
                    client.send("/queue/length", body);
                }
                client.fence();
                assert_eq!(s.queue_len("length"), 2);
                let mut reader = s.client();
                reader.ask("SUBSCRIBE id:1 destination:/queue/length");
                reader.messages(["2", "3"]);
            }),
            case("x-overflow", |s| {
                let mut client = s.client();
                let head =
                    "SEND destination:/queue/overflow x-max-length:1 x-overflow:reject-publish";
                client.ask(head);
                client.refused(head, "ERROR message~maxMessages");
                client.refused(
                    "SEND destination:/queue/other x-overflow:block",
                    "ERROR message~'drop-head or reject-publish'",
                );
                client.refused(
                    "SEND destination:/queue/other x-max-length:many",
                    "ERROR message~'not a number'",
                );
                assert!(!is_there(s, "other"));
            }),
            case("x-max-length-bytes", |s| {
                let mut client = s.client();
                for body in ["1", "2"] {
                    let head = "SEND destination:/queue/bytes x-max-length-bytes:60";
                    client.ask_with(head, body.repeat(50));
                }
                assert_eq!(s.queue_len("bytes"), 1);
            }),
            case("x-message-ttl", |s| {
                let mut client = s.client();
                client.ask("SUBSCRIBE id:1 destination:/queue/ttl x-message-ttl:60000");
                client.put("SEND destination:/queue/ttl");
                let expires_ms: u64 = client
                    .expect("MESSAGE")
                    .must("expires")
                    .parse()
                    .expect("a number");
                let now_ms = ferrymq::clock::Clock::system().wall_ms();
                assert!((now_ms + 1..=now_ms + 60_000).contains(&expires_ms));
            }),
            case("x-max-priority", |s| {
                let mut client = s.client();
                for (body, priority) in [("low", 1), ("high", 9)] {
                    let head = format!(
                        "SEND destination:/queue/priority x-max-priority:10 priority:{priority}"
                    );
                    client.ask_with(&head, body);
                }
                client.ask("SUBSCRIBE id:1 destination:/queue/priority");
                client.messages(["high", "low"]);
            }),
            case("x-dead-letter", |s| {
                let mut client = s.client();
                let head = "SUBSCRIBE id:1 destination:/queue/dead ack:client-individual";
                client.refused(
                    &format!("{head} x-dead-letter-exchange:dlx"),
                    "ERROR message~'x-dead-letter-routing-key'",
                );
                let key = "x-dead-letter-routing-key:letters";
                client.refused(
                    &format!("{head} x-dead-letter-exchange:amq.topic {key}"),
                    "ERROR message~'dead letters go to queues'",
                );
                client.ask(&format!("{head} x-dead-letter-exchange: {key}"));
                s.client().ask_with("SEND destination:/queue/dead", "m");
                let message = client.message("m");
                client.ask(&format!("NACK id:{} requeue:false", message.must("ack")));
                client.ask("SUBSCRIBE id:2 destination:/queue/letters");
                client
                    .message("m")
                    .check("MESSAGE original-destination:/queue/dead");
            }),
            case("x-priority", |s| {
                let (mut low, mut high) = (s.client(), s.client());
                let head = "SUBSCRIBE id:1 destination:/queue/consumers x-priority";
                low.ask(&format!("{head}:1"));
                high.ask(&format!("{head}:5"));
                for body in ["1", "2"] {
                    s.client()
                        .ask_with("SEND destination:/queue/consumers", body);
                }
                high.messages(["1", "2"]);
                low.fence();
            }),
            case("other values", |s| {
                let mut client = s.client();
                client.ask("SEND destination:/queue/there");
                let warned = |id: &str, more: &str| {
                    let mut client = s.client();
                    client.put(&format!(
                        "SUBSCRIBE id:{id} destination:/queue/there receipt:r {more}"
                    ));
                    client
                        .expect("RECEIPT receipt-id:r")
                        .get("warning")
                        .map(str::to_owned)
                };
                let warning = warned("1", "x-max-length:5 auto-delete:true").expect("a warning");
                assert!(
                    warning.ends_with("x-max-length, x-overflow, auto-delete"),
                    "{warning}"
                );
                assert_eq!(warned("2", "x-max-priority:0 x-queue-type:quorum"), None);
                // On SEND too, when the connection first names the queue.
                let mut sender = s.client();
                sender.put("SEND destination:/queue/there x-max-length:5 receipt:r");
                sender.expect("RECEIPT receipt-id:r warning~x-max-length");
                // What the operator says wins, and is told.
                sender.put("SEND destination:/queue/strict.a x-max-length:5 receipt:r");
                sender.expect("RECEIPT warning~x-max-length");
                sender.refused(
                    "SEND destination:/queue/strict.a",
                    "ERROR message~'maxMessages = 1'",
                );
                // Said again, it is the same.
                for _ in 0..2 {
                    let mut again = s.client();
                    again.put("SUBSCRIBE id:1 destination:/queue/again x-max-length:5 receipt:r");
                    again.expect("RECEIPT !warning");
                }
                let declared = s.engine().declared(&Destination::queue("again"));
                let entries = declared.expect("something is declared").entries();
                assert_eq!(entries[0], ("maxMessages", "5".to_owned()));
            }),
            case("auto-delete", |s| {
                let mut client = s.client();
                client.ask("SUBSCRIBE id:1 destination:/queue/auto auto-delete:true ack:client");
                s.client().ask_with("SEND destination:/queue/auto", "m");
                let message = client.message("m");
                client.ask("UNSUBSCRIBE id:1");
                // Not empty: it stays.
                s.engine().remove_transient();
                assert!(is_there(s, "auto"));
                drop(message);
                client.ask("SUBSCRIBE id:2 destination:/queue/auto");
                client.message("m");
                client.ask("UNSUBSCRIBE id:2");
                until("the queue is gone", || (!is_there(s, "auto")).then_some(()));
                // Made anew, it is a queue like any other.
                s.client().ask("SEND destination:/queue/auto");
                assert_eq!(s.engine().declared(&Destination::queue("auto")), None);
            }),
            case("x-expires", |s| {
                let mut client = s.client();
                client.ask("SUBSCRIBE id:1 destination:/queue/idle x-expires:1");
                s.engine().remove_transient();
                assert!(is_there(s, "idle"));
                client.disconnect();
                until("the queue is gone", || (!is_there(s, "idle")).then_some(()));
            }),
        ],
        &[],
    );
}
