//! The ways of messages over routes, against a model that only knows names; changes of the rules, and what is remembered.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::broker::dedup::DedupId;
use crate::broker::policy::{DestinationPolicy, Limits, Overflow, Policy, Scope};
use crate::broker::{Kind, Pattern, Policies};
use crate::engine::policy::Admission;
use crate::engine::routes::{Aware, Composite, Forward, ForwardTo, Keeps, Rules, VirtualTopic};
use crate::engine::spread::{HOPS_MAX, Routed};

/// All destinations of the model.
const NAMES: [&str; 14] = [
    "/queue/a",
    "/queue/b",
    "/queue/c",
    "/queue/d.1",
    "/queue/d.2",
    "/queue/e",
    "/queue/f",
    "/queue/g",
    "/queue/h",
    "/topic/a",
    "/topic/v.a",
    "/topic/v.b",
    "/queue/for.x.v.a",
    "/queue/for.y.v.>",
];

fn named(name: &str) -> Destination {
    Destination::parse(name).expect("a name")
}

fn forward(name: &str, selector: Option<&str>) -> Forward {
    Forward {
        to: ForwardTo::Named(named(name)),
        selector: selector.map(str::to_owned),
    }
}

fn composite(kind: Kind, name: &str, forward_to: Vec<Forward>, keeps: Keeps) -> Composite {
    Composite {
        kind,
        name: Pattern::parse(name).expect("a pattern"),
        forward_to,
        keeps,
        tells_origin: true,
    }
}

fn virtual_topic(name: &str, selector_aware: Option<Aware>) -> VirtualTopic {
    VirtualTopic {
        within: String::new(),
        name: Pattern::parse(name).expect("a pattern"),
        prefix: "for.*.".to_owned(),
        postfix: String::new(),
        selector_aware,
        drop_on_resource_limit: false,
    }
}

fn engine_with(rules: Rules) -> Arc<Engine> {
    let engine = engine();
    engine.set_routes(rules);
    engine
}

/// Where a message of this priority goes, and what the copies say of where it was sent.
fn spread(engine: &Engine, to: &str, priority: u8) -> Vec<(String, Option<String>)> {
    let cell = engine.registry.get_or_create(&named(to));
    let mut message = Message::clone(&message(1, 1, 10, false));
    message.priority = priority;
    let sends = engine.spread(&[cell], message);
    let told = |send: &Routed| send.message.routed_origin().map(str::to_owned);
    let mut found: Vec<_> = sends
        .iter()
        .map(|send| (send.cell.destination.to_string(), told(send)))
        .collect();
    found.sort();
    found
}

fn names(found: &[(String, Option<String>)]) -> Vec<&str> {
    found.iter().map(|(name, _)| name.as_str()).collect()
}

/// A rule of the model: whom it is for, where it forwards what is above a priority, and when it keeps.
type Rule = (usize, Vec<(usize, Option<u8>)>, Keeps);

const SOURCES: [(Kind, &str); 12] = [
    (Kind::Queue, "a"),
    (Kind::Queue, "b"),
    (Kind::Queue, "c"),
    (Kind::Queue, "d.*"),
    (Kind::Queue, "d.1"),
    (Kind::Queue, "e"),
    (Kind::Queue, "f"),
    (Kind::Queue, "g"),
    (Kind::Queue, "h"),
    (Kind::Topic, "a"),
    (Kind::Topic, "v.>"),
    (Kind::Queue, "for.>"),
];

fn rule() -> impl Strategy<Value = Rule> {
    let keeps = prop::sample::select(vec![Keeps::Always, Keeps::Never, Keeps::Unmatched]);
    let forward = (0..NAMES.len(), prop::option::of(0..9_u8));
    (
        0..SOURCES.len(),
        prop::collection::vec(forward, 1..4),
        keeps,
    )
}

fn rules_of(model: &[Rule]) -> Rules {
    let composites = model.iter().map(|(source, forwards, keeps)| {
        let (kind, name) = SOURCES[*source];
        let forwards = forwards.iter().map(|(to, above)| {
            let selector = above.map(|above| format!("JMSPriority > {above}"));
            forward(NAMES[*to], selector.as_deref())
        });
        composite(kind, name, forwards.collect(), *keeps)
    });
    Rules {
        virtual_topics: vec![virtual_topic("v.>", None)],
        composites: composites.collect(),
        ..Rules::default()
    }
}

/// What leads on from `at`, and whether a message that takes that stays there too.
fn model_step(model: &[Rule], at: &str, priority: u8) -> (BTreeSet<&'static str>, bool) {
    let destination = named(at);
    let (mut next, mut kept) = (BTreeSet::new(), true);
    for (source, forwards, keeps) in model {
        let (kind, pattern) = SOURCES[*source];
        if kind != destination.kind || !Pattern::parse(pattern).unwrap().matches(&destination.name)
        {
            continue;
        }
        let taken: Vec<_> = forwards
            .iter()
            .filter(|(_, above)| above.is_none_or(|above| priority > above))
            .map(|(to, _)| NAMES[*to])
            .collect();
        kept &= match keeps {
            Keeps::Always => true,
            Keeps::Never => false,
            Keeps::Unmatched => taken.is_empty(),
        };
        next.extend(taken);
    }
    match at {
        "/topic/v.a" => next.extend(["/queue/for.x.v.a", "/queue/for.y.v.>"]),
        "/topic/v.b" => next.extend(["/queue/for.y.v.>"]),
        _ => {}
    }
    (next, kept)
}

/// Who gets the message: whatever can be reached in so many steps. And who might, if nobody does.
fn model_spread(
    model: &[Rule],
    from: &'static str,
    priority: u8,
) -> (Vec<&'static str>, BTreeSet<&'static str>) {
    let mut distance = BTreeMap::from([(from, 0)]);
    for hops in 0..HOPS_MAX {
        let at: Vec<_> = distance.iter().filter(|(_, far)| **far == hops).collect();
        let next: Vec<_> = at
            .into_iter()
            .flat_map(|(name, _)| model_step(model, name, priority).0)
            .collect();
        for name in next {
            distance.entry(name).or_insert(hops + 1);
        }
    }
    let stays =
        |(name, far): &(&&str, &usize)| **far >= HOPS_MAX || model_step(model, name, priority).1;
    let all = distance.iter();
    let gets = all.clone().filter(stays).map(|(name, _)| *name).collect();
    // Those that forward the message.
    let forwards = |name: &&&'static str| !model_step(model, name, priority).0.is_empty();
    let forwarding = all.map(|(name, _)| name).filter(forwards).copied();
    (gets, forwarding.collect())
}

proptest! {
    /// Circles end, selectors choose, nobody gets two, and a copy tells where its message was sent; whichever destinations
    /// were there first, and whether the rules came before or after them.
    #[test]
    fn a_message_goes_where_the_rules_lead(
        model in prop::collection::vec(rule(), 0..12),
        order in Just((0..NAMES.len()).collect::<Vec<_>>()).prop_shuffle(),
        late in any::<bool>(),
        priority in 0..10_u8,
    ) {
        let engine = engine();
        if !late {
            engine.set_routes(rules_of(&model));
        }
        for index in order {
            engine.registry.get_or_create(&named(NAMES[index]));
        }
        if late {
            engine.set_routes(rules_of(&model));
        }
        for from in NAMES {
            let found = spread(&engine, from, priority);
            let (gets, forwarding) = model_spread(&model, from, priority);
            match (&gets[..], &names(&found)[..]) {
                // Lost in a circle, if not all that came to it was filtered away.
                ([], [one]) => prop_assert!(forwarding.contains(one), "from {} to {}", from, one),
                (gets, found) => prop_assert_eq!(found, gets, "from {}", from),
            }
            for (name, told) in &found {
                let expected = (name != from).then(|| from.to_owned());
                prop_assert_eq!(told, &expected, "{} from {}", name, from);
            }
        }
    }
}

#[test]
fn a_long_chain_is_cut_where_the_message_has_come_to() {
    let composites = (0..12)
        .map(|at| {
            let next = format!("/queue/{}", at + 1);
            composite(
                Kind::Queue,
                &at.to_string(),
                vec![forward(&next, None)],
                Keeps::Never,
            )
        })
        .collect();
    let engine = engine_with(Rules {
        composites,
        ..Rules::default()
    });
    assert_eq!(names(&spread(&engine, "/queue/0", 4)), ["/queue/8"]);
    assert_eq!(names(&spread(&engine, "/queue/5", 4)), ["/queue/12"]);
}

#[test]
fn a_message_stays_where_a_circle_closes_that_only_forwards() {
    let only = |name: &str, to: &[&str]| {
        let to = to.iter().map(|to| forward(to, None)).collect();
        composite(Kind::Queue, name, to, Keeps::Never)
    };
    let engine = engine_with(Rules {
        composites: vec![
            only("a", &["/queue/b"]),
            only("b", &["/queue/a"]),
            only("self", &["/queue/self"]),
            only("all.>", &["/queue/all.one"]),
            only("from", &["/queue/p", "/queue/q"]),
            only("p", &["/queue/q"]),
            only("q", &["/queue/p"]),
            only("side", &["/queue/a", "/queue/plain"]),
        ],
        ..Rules::default()
    });
    for (from, expected) in [
        ("/queue/a", "/queue/b"),
        ("/queue/b", "/queue/a"),
        ("/queue/self", "/queue/self"),
        ("/queue/all.x", "/queue/all.one"),
        ("/queue/from", "/queue/q"),
        ("/queue/side", "/queue/plain"),
    ] {
        assert_eq!(names(&spread(&engine, from, 4)), [expected], "{from}");
    }
}

#[test]
fn rules_change_for_destinations_that_are_there() {
    let engine = engine();
    let check = |expected: &[&str]| {
        let found = spread(&engine, "/topic/v.a", 4);
        assert_eq!(names(&found), expected);
    };
    queue(&engine, "for.x.v.a");
    check(&["/topic/v.a"]);
    engine.set_routes(rules_of(&[]));
    check(&["/queue/for.x.v.a", "/topic/v.a"]);
    engine.set_routes(Rules {
        composites: vec![composite(
            Kind::Topic,
            "v.a",
            vec![forward("/queue/new", None)],
            Keeps::Never,
        )],
        ..Rules::default()
    });
    check(&["/queue/new"]);
    engine.set_routes(Rules::default());
    check(&["/topic/v.a"]);
    assert!(!queue(&engine, "for.x.v.a").routes.is_any());
}

/// A copy that finds no room is dropped or holds all others up, as its rule says.
#[test]
fn limits_are_those_of_all_destinations_together() {
    let engine = engine();
    let limit = Policy {
        number: 1,
        scope: Scope::Queue,
        pattern: Pattern::parse("for.x.>").unwrap(),
        inherits: false,
        change: Arc::new(|policy: &mut DestinationPolicy| {
            policy.limits = Limits {
                messages_max: Some(1),
                overflow: Overflow::Reject,
                ..Limits::default()
            };
        }),
    };
    engine.set_policies(Policies::new(DestinationPolicy::default(), vec![limit]));
    let set = |drops: bool| {
        engine.set_routes(Rules {
            virtual_topics: vec![VirtualTopic {
                drop_on_resource_limit: drops,
                ..virtual_topic("v.>", None)
            }],
            ..Rules::default()
        });
    };
    set(false);
    let (limited, free) = (queue(&engine, "for.x.v.a"), queue(&engine, "for.y.v.a"));
    let topic = engine.registry.get_or_create(&named("/topic/v.a"));
    let mut work = Work::default();
    let mut send = |count: usize| {
        let mut transaction = crate::engine::commit::Transaction::default();
        for _ in 0..count {
            let message = Message::clone(&message(1, 1, 10, false));
            transaction
                .sends
                .extend(engine.spread(&[Arc::clone(&topic)], message));
        }
        engine
            .commit(transaction, &mut work)
            .map_err(|(_, error)| error.to_string())
    };
    let refused = send(2).expect_err("only one fits");
    assert!(refused.contains("/queue/for.x.v.a holds 1"), "{refused}");
    assert_eq!(
        (queue_len(&limited), queue_len(&free)),
        (0, 0),
        "all or nothing"
    );
    send(1).expect("one fits");
    send(1).expect_err("none fits any more");
    assert_eq!((queue_len(&limited), queue_len(&free)), (1, 1));
    set(true);
    send(3).expect("those that find no room are dropped");
    assert_eq!((queue_len(&limited), queue_len(&free)), (1, 4));
    assert_eq!(limited.routes.dropped(), 3);
    // Those after a copy that finds no room are still found where they stand.
    let mut transaction = crate::engine::commit::Transaction::default();
    for id in [1, 2, 1] {
        let cells = [Arc::clone(&topic)];
        let sends = engine.spread(&cells, Message::clone(&message(1, 1, 10, false)));
        let guard = crate::engine::dedup::Guard {
            cells: &cells,
            id: DedupId(id),
            persistent: false,
        };
        transaction.add_once(guard, sends);
    }
    let again = engine.commit(transaction, &mut work);
    let again = again.map_err(|(_, error)| error).expect("as before");
    assert_eq!(again, [false, false, true]);
    assert_eq!((queue_len(&limited), queue_len(&free)), (1, 6));
    assert_eq!(limited.routes.dropped(), 5);
    let pending = |_: &Cell| crate::broker::policy::Usage::default();
    let mut sends = engine.spread(&[limited], Message::clone(&message(1, 1, 10, false)));
    let refused = engine.admit(&mut sends, false, pending);
    assert!(
        matches!(refused, Admission::Refused(_)),
        "sent to itself it is not dropped"
    );
}

#[test]
fn selectors_are_remembered_over_a_restart_and_forgotten_with_their_rule() {
    let directory = tempfile::tempdir().unwrap();
    let rules = |aware| Rules {
        virtual_topics: vec![virtual_topic("v.>", Some(aware))],
        ..Rules::default()
    };
    let remembered = Aware::Remembered { single: false };
    let remember = |engine: &Engine, selector: Option<&str>, single| {
        let name = named("/queue/for.x.v.a");
        let id = || engine.registry.next_id();
        engine.selectors.remember(&name, selector, single, id);
    };
    let reaches = |engine: &Engine, priority| {
        queue(engine, "for.x.v.a");
        spread(engine, "/topic/v.a", priority).len() == 2
    };
    let engine = stored(directory.path());
    engine.set_routes(rules(remembered));
    assert!(!reaches(&engine, 9), "nobody has been there");
    remember(&engine, Some("JMSPriority > 5"), false);
    remember(&engine, Some("JMSPriority = 1"), false);
    remember(&engine, Some("JMSPriority > 5"), false);
    let check = |engine: &Engine, expected: &[u8]| {
        let found: Vec<u8> = (0..10)
            .filter(|priority| reaches(engine, *priority))
            .collect();
        assert_eq!(found, expected);
    };
    check(&engine, &[1, 6, 7, 8, 9]);
    engine.close();
    drop(engine);
    let engine = stored(directory.path());
    engine.set_routes(rules(remembered));
    check(&engine, &[1, 6, 7, 8, 9]);
    remember(&engine, Some("JMSPriority = 1"), true);
    check(&engine, &[1]);
    remember(&engine, None, false);
    check(&engine, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    engine.set_routes(rules(Aware::Consumers));
    engine.set_routes(rules(remembered));
    check(&engine, &[]);
    engine.close();
    drop(engine);
    let engine = stored(directory.path());
    engine.set_routes(rules(remembered));
    check(&engine, &[]);
}

/// A topic that is made again finds the shared subscriptions that are still there, and new rules leave them alone.
#[test]
fn shared_subscriptions_are_found_again() {
    let engine = engine();
    let name = named("/topic/t");
    let topic = engine.registry.get_or_create(&name);
    for id in ["1", "2"] {
        engine.open_shared(&topic, id).expect("it is made");
    }
    drop(topic);
    let check = |expected: &[&str]| {
        let found = spread(&engine, "/topic/t", 4);
        assert_eq!(names(&found), expected);
    };
    let (one, two) = ("/queue/ActiveMQ.Shared.1.t", "/queue/ActiveMQ.Shared.2.t");
    check(&[one, two, "/topic/t"]);
    engine.registry.remove(&name);
    check(&[one, two, "/topic/t"]);
    engine.set_routes(Rules {
        composites: vec![composite(
            Kind::Topic,
            "t",
            vec![forward("/queue/a", None)],
            Keeps::Never,
        )],
        ..Rules::default()
    });
    check(&[one, two, "/queue/a"]);
    let mut work = Work::default();
    engine
        .remove_shared(&name, "1", &mut work)
        .expect("nobody consumes it");
    check(&[two, "/queue/a"]);
    engine.registry.remove(&name);
    check(&[two, "/queue/a"]);
    engine.set_routes(Rules::default());
    engine
        .remove_shared(&name, "2", &mut work)
        .expect("nobody consumes it");
    check(&["/topic/t"]);
    assert!(!engine.registry.get_or_create(&name).routes.is_any());
}
