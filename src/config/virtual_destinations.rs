//! `[[virtual_topic]]` and `[[composite]]`: their keys, the rules that a range cannot say, and what is odd about them without
//! being wrong.

use std::collections::HashSet;

use super::check::{Origin, Problem};
use super::schema::section;
use super::{Config, ForwardTo};
use crate::broker::pattern::Syntax;
use crate::broker::selector::{Selector, SelectorOptions};
use crate::broker::{Destination, Kind, Pattern};

section! {
    /// Topics with consumer queues, any number of times, beside those of [virtual_topics]. What is sent to such a topic is
    /// copied to each queue whose name is prefix, topic and postfix. Keys may be written as in activemq.xml too:
    /// selectorAware, dropOnResourceLimit.
    VirtualTopic in "virtual_topic" {
        /// Which topics: a name, in which * is any one level and a last > any rest.
        name: String = "";
        /// What the name of a consumer queue begins with; "*" is any one level.
        prefix: String = "Consumer.*.";
        /// What it ends with.
        postfix: String = "";
        /// Copy to a queue only what the selector of one of its consumers matches; without a consumer nothing.
        selector_aware: bool = false;
        /// Remember the selectors of consumers for when they are away, over a restart too. Needs selector_aware.
        selector_cache: bool = false;
        /// Remember the last selector of each queue only.
        single_selector_per_destination: bool = false;
        /// Drop a copy for which its queue has no room, by the limits of its policy, instead of refusing the message or
        /// making its producer wait.
        drop_on_resource_limit: bool = false;
        /// Accepted, without effect: there are no messages of other brokers.
        local: bool = false;
        /// Accepted, without effect: all copies are one step.
        concurrent_send: bool = false;
        /// Accepted, and always so: one sync covers all copies.
        transacted_send: bool = false;
    }
}

section! {
    /// Composite destinations, any number of times: what is sent there is forwarded. Keys may be written as in
    /// activemq.xml too: forwardTo, forwardOnly.
    Composite in "composite" {
        /// The queues it is about, a name or pattern. An entry has one of queue and topic.
        queue: String = "";
        /// The topics it is about.
        topic: String = "";
        /// Where to: destinations such as "/queue/a" and "/topic/b"; with a selector { queue = "a", selector = "x = 'y'" }.
        forward_to: Vec<ForwardTo> = "";
        /// Only forward: the destination itself gets nothing.
        forward_only: bool = true;
        /// Let copies tell the destination they were sent to, in original-destination.
        copy_message: bool = true;
        /// The destination itself gets what no selector has forwarded, and nothing else, whatever forward_only says.
        send_when_not_matched: bool = false;
        /// Accepted, without effect: all copies are one step.
        concurrent_send: bool = false;
    }
}

impl Composite {
    /// What it is about; `None` if that is not said, or said twice.
    #[must_use]
    pub fn about(&self) -> Option<(Kind, &str)> {
        match (self.queue.as_str(), self.topic.as_str()) {
            ("", "") => None,
            (queue, "") => Some((Kind::Queue, queue)),
            ("", topic) => Some((Kind::Topic, topic)),
            _ => None,
        }
    }
}

impl Config {
    /// One line for each thing in the rules of virtual destinations that is not wrong and may not be meant.
    #[must_use]
    pub fn virtual_warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for (at, entry) in self.virtual_topic.iter().enumerate() {
            let idle = [
                (
                    "local",
                    entry.local,
                    "there are no other brokers that a message could come from",
                ),
                (
                    "concurrentSend",
                    entry.concurrent_send,
                    "all copies are one step",
                ),
            ];
            for (key, _, because) in idle.iter().filter(|(_, set, _)| *set) {
                let number = at + 1;
                warnings.push(format!(
                    "{key} has no effect in virtual_topic {number} ({}): {because}",
                    entry.name
                ));
            }
            if entry.selector_cache && !entry.selector_aware {
                warnings.push(format!(
                    "selectorCache has no effect in virtual_topic {} ({}): selectorAware is false",
                    at + 1,
                    entry.name
                ));
            }
        }
        for (at, entry) in self.composite.iter().enumerate() {
            if entry.concurrent_send {
                let number = at + 1;
                warnings.push(format!(
                    "concurrentSend has no effect in composite {number}: all copies are one step"
                ));
            }
        }
        warnings.extend(self.circles());
        warnings
    }

    /// Composite destinations that forward to each other in a circle, one line for each circle.
    fn circles(&self) -> Vec<String> {
        let syntax = self.pattern_syntax();
        let composites: Vec<(Kind, Pattern, &Composite)> = self
            .composite
            .iter()
            .filter_map(|entry| {
                let (kind, name) = entry.about()?;
                Some((kind, Pattern::parse_with(name, syntax).ok()?, entry))
            })
            .collect();
        let next = |from: &Destination| {
            let matching = composites
                .iter()
                .filter(|(kind, name, _)| *kind == from.kind && name.matches(&from.name));
            let targets = matching.flat_map(|(_, _, entry)| &entry.forward_to);
            targets
                .map(|forward| forward.destination.clone())
                .collect::<Vec<_>>()
        };
        let starts = composites
            .iter()
            .flat_map(|(_, _, entry)| &entry.forward_to);
        let (mut done, mut circles) = (HashSet::new(), Vec::new());
        for start in starts {
            let mut path = Vec::new();
            walk(
                &start.destination,
                &next,
                &mut path,
                &mut done,
                &mut circles,
            );
        }
        circles
    }
}

/// Goes on from `at`, depth first; what `path` leads back to itself is a circle.
fn walk(
    at: &Destination,
    next: &impl Fn(&Destination) -> Vec<Destination>,
    path: &mut Vec<Destination>,
    done: &mut HashSet<Destination>,
    circles: &mut Vec<String>,
) {
    if let Some(from) = path.iter().position(|known| known == at) {
        let names = path[from..].iter().chain([at]).map(ToString::to_string);
        circles.push(format!(
            "composite destinations forward in a circle, {}: each gets a message once at most, and where none keeps it, it stays with the last one",
            names.collect::<Vec<_>>().join(" to ")
        ));
        return;
    }
    if !done.insert(at.clone()) {
        return;
    }
    path.push(at.clone());
    for target in next(at) {
        walk(&target, next, path, done, circles);
    }
    path.pop();
}

/// What is wrong with levels before or behind the name of a topic.
fn wrong_prefix(text: &str, syntax: Syntax) -> bool {
    let ends = |text: &str| {
        let last = text.chars().next_back();
        last.is_none_or(|letter| letter == '.' || Some(letter) == syntax.separator)
    };
    !ends(text) || text.contains(['>', ',', '?'])
}

fn wrong_postfix(text: &str, syntax: Syntax) -> bool {
    let reversed: String = text.chars().rev().collect();
    wrong_prefix(&reversed, syntax)
}

const PREFIX: &str = "must be levels with a dot after each, such as \"Consumer.*.\"";
const POSTFIX: &str = "must be levels with a dot before each, such as \".for.*\"";

struct Rules<'a> {
    refused: &'a HashSet<String>,
    origin: &'a dyn Fn(&str) -> Origin,
    syntax: Syntax,
    problems: Vec<Problem>,
}

impl Rules<'_> {
    fn rule(&mut self, key: String, broken: bool, text: impl FnOnce() -> String) {
        if broken && !self.refused.contains(&key) {
            self.problems.push(Problem {
                origin: (self.origin)(&key),
                key,
                text: text(),
                suggestion: None,
            });
        }
    }

    fn pattern(&mut self, key: String, name: &str, what: &str) {
        let odd = name.contains([',', '?']) || name.contains("://") || name.starts_with('/');
        let broken = odd || Pattern::parse_with(name, self.syntax).is_err();
        self.rule(key, broken, || {
            format!("must be the bare name of {what}, or a pattern such as \"VirtualTopic.>\"; found {name:?}")
        });
    }

    fn around(&mut self, entry: &str, prefix: &str, postfix: &str) {
        let syntax = self.syntax;
        self.rule(
            format!("{entry}.prefix"),
            wrong_prefix(prefix, syntax),
            || format!("{PREFIX}; found {prefix:?}"),
        );
        self.rule(
            format!("{entry}.postfix"),
            wrong_postfix(postfix, syntax),
            || format!("{POSTFIX}; found {postfix:?}"),
        );
    }

    fn virtual_topic(&mut self, entry: &str, rule: &VirtualTopic) {
        self.pattern(format!("{entry}.name"), &rule.name, "topics");
        self.around(entry, &rule.prefix, &rule.postfix);
    }

    fn composite(&mut self, entry: &str, rule: &Composite) {
        match rule.about() {
            Some((Kind::Queue, name)) => self.pattern(format!("{entry}.queue"), name, "a queue"),
            Some((Kind::Topic, name)) => self.pattern(format!("{entry}.topic"), name, "a topic"),
            None => self.rule(format!("{entry}.queue"), true, || {
                "one of queue and topic is needed, to say what is composite".to_owned()
            }),
        }
        let key = format!("{entry}.forward_to");
        self.rule(key.clone(), rule.forward_to.is_empty(), || {
            "needs at least one destination, such as [\"/queue/a\"]".to_owned()
        });
        for forward in &rule.forward_to {
            let name = &forward.destination.name;
            let pattern = Pattern::parse_with(name, self.syntax);
            let one = pattern.is_ok_and(|pattern| !pattern.is_wildcard());
            let broken = !one || name.contains([',', '?']) || name.trim() != &**name;
            self.rule(key.clone(), broken, || {
                format!("must name one destination each, without wildcards; found {name:?}")
            });
            let selector = Selector::parse(&forward.selector, SelectorOptions::default());
            if let (Err(error), false) = (selector, forward.selector.is_empty()) {
                self.rule(key.clone(), true, || {
                    format!("the selector {:?}: {error}", forward.selector)
                });
            }
        }
    }
}

/// All problems of virtual destinations.
pub(super) fn problems(
    config: &Config,
    refused: &HashSet<String>,
    origin: &dyn Fn(&str) -> Origin,
) -> Vec<Problem> {
    let syntax = config.pattern_syntax();
    let mut rules = Rules {
        refused,
        origin,
        syntax,
        problems: Vec::new(),
    };
    let section = &config.virtual_topics;
    rules.pattern("virtual_topics.name".to_owned(), &section.name, "topics");
    rules.around("virtual_topics", &section.prefix, "");
    let mirrored = format!("{}{}", section.mirror_prefix, section.mirror_postfix);
    let odd = mirrored.is_empty() || mirrored.contains(['*', '>', ',', '?']);
    rules.rule("virtual_topics.mirror_prefix".to_owned(), odd, || {
        format!("must not be empty, nor hold wildcards; found {mirrored:?}")
    });
    for (index, entry) in config.virtual_topic.iter().enumerate() {
        rules.virtual_topic(&format!("virtual_topic[{}]", index + 1), entry);
    }
    for (index, entry) in config.composite.iter().enumerate() {
        rules.composite(&format!("composite[{}]", index + 1), entry);
    }
    rules.problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::leaf::Leaf;
    use crate::config::load;

    fn load(text: &str) -> Result<Config, Vec<String>> {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("f.toml");
        std::fs::write(&path, text).expect("a file");
        let loaded = load::load(&load::Sources::file(&path));
        let short = |text: String| text.replace(&format!("{}/", directory.path().display()), "");
        match loaded {
            Ok(loaded) => Ok(loaded.config),
            Err(problems) => Err(problems
                .0
                .iter()
                .map(|one| short(one.to_string()))
                .collect()),
        }
    }

    #[test]
    fn entries_are_read_in_both_spellings_and_written_back() {
        let text = r#"
[[virtual_topic]]
name = "orders.>"
postfix = ".for.*"
prefix = ""
selectorAware = true
selector_cache = true
dropOnResourceLimit = true
[[composite]]
queue = "a.*"
forwardOnly = false
forwardTo = ["/topic/b", { queue = "c", selector = "x > 1" }, "d"]
"#;
        let config = load(text).expect("it is correct");
        let entry = &config.virtual_topic[0];
        assert!(entry.selector_aware && entry.selector_cache && entry.drop_on_resource_limit);
        let composite = &config.composite[0];
        assert!(!composite.forward_only && composite.copy_message);
        let named: Vec<String> = composite.forward_to.iter().map(Leaf::to_toml).collect();
        let expected = [
            "\"/topic/b\"",
            "{ queue = \"c\", selector = \"x > 1\" }",
            "\"/queue/d\"",
        ];
        assert_eq!(named, expected);
        let written = toml::to_string(&config).expect("it can be written");
        assert_eq!(
            toml::from_str::<Config>(&written).expect("it reads"),
            config
        );
        assert_eq!(
            ForwardTo::read(&"topic://b".into()).unwrap(),
            composite.forward_to[0]
        );
    }

    #[test]
    fn mistakes_are_told_with_their_places() {
        let text = r#"
[[virtual_topic]]
nmae = "a"
[[virtual_topic]]
name = "a.>.b"
prefix = "Consumer"
[[composite]]
forwardTo = [3]
[[composite]]
queue = "a"
topic = "b"
forwardTo = ["a.*", { queue = "b", selector = "x >" }]
"#;
        let problems = load(text).expect_err("there are mistakes");
        let begins: Vec<&str> = problems
            .iter()
            .map(|problem| problem.split("; ").next().unwrap_or_default())
            .collect();
        let expected = [
            "f.toml:3:1: virtual_topic[1].nmae: unknown key",
            "f.toml:8:13: composite[1].forwardTo: expected a destination such as",
            "f.toml:2:1: virtual_topic[1].name: must be the bare name",
            "f.toml:5:8: virtual_topic[2].name: must be the bare name",
            "f.toml:6:10: virtual_topic[2].prefix: must be levels",
            "f.toml:7:1: composite[1].queue: one of queue and topic",
            "f.toml:10:9: composite[2].queue: one of queue and topic",
            "f.toml:12:13: composite[2].forward_to: must name one destination",
            "f.toml:12:13: composite[2].forward_to: the selector",
        ];
        assert_eq!(begins.len(), expected.len(), "{problems:#?}");
        for (found, expected) in begins.iter().zip(expected) {
            assert!(found.starts_with(expected), "{found} // {expected}");
        }
    }

    #[test]
    fn circles_are_told() {
        let text = r#"
[[composite]]
queue = "a"
forwardTo = ["b"]
[[composite]]
queue = "b"
forwardTo = ["c", "/topic/a"]
[[composite]]
queue = "*"
forwardTo = ["a"]
concurrentSend = true
"#;
        let warnings = load(text).expect("it is correct").virtual_warnings();
        assert!(warnings[0].starts_with("concurrentSend has no effect in composite 3"));
        let circle = |text: &str| warnings.iter().any(|warning| warning.contains(text));
        assert!(
            circle("/queue/b to /queue/c to /queue/a to /queue/b"),
            "{warnings:#?}"
        );
        assert!(Config::default().virtual_warnings().is_empty());
    }
}
