//! From the configuration of virtual destinations to the rules of the engine.

use crate::broker::{Kind, Pattern};
use crate::config::{self, Config};
use crate::engine::routes::{Aware, Composite, Forward, ForwardTo, Keeps, Rules, VirtualTopic};

/// What is copied where. The patterns have passed the checks.
pub(crate) fn rules(config: &Config) -> Rules {
    let syntax = config.pattern_syntax();
    let pattern = |name: &str| Pattern::parse_with(name, syntax).ok();
    let entries = config.virtual_topic.iter();
    let mut virtual_topics: Vec<VirtualTopic> = entries
        .filter_map(|entry| Some(virtual_topic(entry, pattern(&entry.name)?)))
        .collect();
    let built_in = &config.virtual_topics;
    if let Some(name) = pattern(&built_in.name).filter(|_| built_in.enabled) {
        let built_in = VirtualTopic {
            within: String::new(),
            name,
            prefix: built_in.prefix.clone(),
            postfix: String::new(),
            selector_aware: None,
            drop_on_resource_limit: false,
        };
        let is_same = |entry: &VirtualTopic| {
            (&entry.name, &entry.prefix, &entry.postfix)
                == (&built_in.name, &built_in.prefix, &built_in.postfix)
        };
        // An entry for the same queues says how.
        if !virtual_topics.iter().any(is_same) {
            virtual_topics.push(built_in);
        }
    }
    // Each namespace has its own of all of them.
    let everywhere = virtual_topics.clone();
    for namespace in &config.security.namespace {
        let within = format!("{}.", namespace.name);
        virtual_topics.extend(everywhere.iter().filter_map(|rule| {
            // The namespace itself is no name inside.
            let rest = if rule.name.is_everything() {
                "*.>"
            } else {
                rule.name.as_str()
            };
            Some(VirtualTopic {
                name: pattern(&format!("{within}{rest}"))?,
                within: within.clone(),
                ..rule.clone()
            })
        }));
    }
    let composites = config.composite.iter().filter_map(|entry| {
        let (kind, name) = entry.about()?;
        Some(composite(entry, kind, pattern(name)?))
    });
    Rules {
        virtual_topics,
        composites: composites.chain(mirrors(config)).collect(),
        syntax,
    }
}

fn virtual_topic(entry: &config::VirtualTopic, name: Pattern) -> VirtualTopic {
    VirtualTopic {
        within: String::new(),
        name,
        prefix: entry.prefix.clone(),
        postfix: entry.postfix.clone(),
        selector_aware: match (entry.selector_aware, entry.selector_cache) {
            (false, _) => None,
            (true, false) => Some(Aware::Consumers),
            (true, true) => Some(Aware::Remembered {
                single: entry.single_selector_per_destination,
            }),
        },
        drop_on_resource_limit: entry.drop_on_resource_limit,
    }
}

fn composite(entry: &config::Composite, kind: Kind, name: Pattern) -> Composite {
    let forwards = entry.forward_to.iter();
    Composite {
        kind,
        name,
        forward_to: forwards
            .map(|forward| Forward {
                to: ForwardTo::Named(forward.destination.clone()),
                selector: (!forward.selector.is_empty()).then(|| forward.selector.clone()),
            })
            .collect(),
        keeps: match (entry.send_when_not_matched, entry.forward_only) {
            (true, _) => Keeps::Unmatched,
            (false, true) => Keeps::Never,
            (false, false) => Keeps::Always,
        },
        tells_origin: entry.copy_message,
    }
}

/// Mirrored queues: each queue forwards to its topic, and keeps what it gets (VIR-5).
fn mirrors(config: &Config) -> Option<Composite> {
    let keys = &config.virtual_topics;
    Some(Composite {
        kind: Kind::Queue,
        name: Pattern::parse(">").ok().filter(|_| keys.mirrored_queues)?,
        forward_to: vec![Forward {
            to: ForwardTo::TopicAround {
                prefix: keys.mirror_prefix.clone(),
                postfix: keys.mirror_postfix.clone(),
            },
            selector: None,
        }],
        keeps: Keeps::Always,
        tells_origin: keys.mirror_copy_message,
    })
}
