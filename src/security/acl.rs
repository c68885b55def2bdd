//! Access rules: who may read, write and administer which destinations (SEC-4 to SEC-6).
//!
//! - Without any rule everything is allowed; with one, what no rule allows is refused.
//! - Rules that match add up.
//! - Temporary destinations are open to whoever is told their name, unless there is a rule about them.
//! - A name with wildcards, as a subscription may have it, is allowed if one rule covers all of it.

use std::collections::HashSet;
use std::fmt;

use crate::broker::pattern::Syntax;
use crate::broker::{Destination, Kind, Pattern};
use crate::config::AccessRule;

/// What one may want to do with a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// Subscribe and browse.
    Read,
    /// Send.
    Write,
    /// Create by first use (SEC-5).
    Create,
    /// Remove.
    Remove,
}

impl fmt::Display for Right {
    /// As it stands in a refusal, after "is not authorized to" (ERR-5).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read from",
            Self::Write => "write to",
            Self::Create => "create",
            Self::Remove => "remove",
        })
    }
}

/// Which kind of destination a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Area {
    Queue,
    Topic,
    /// Temporary queues and topics.
    Temporary,
}

impl Area {
    fn of(destination: &Destination) -> Self {
        match destination.kind {
            _ if destination.is_temporary() => Self::Temporary,
            Kind::Queue => Self::Queue,
            Kind::Topic => Self::Topic,
        }
    }
}

/// Who a rule speaks of.
#[derive(Debug, Default)]
pub(super) struct Who {
    everybody: bool,
    groups: HashSet<String>,
    users: HashSet<String>,
}

impl Who {
    pub(super) fn of(names: &[String]) -> Self {
        let mut who = Self::default();
        for name in names {
            if name == "*" {
                who.everybody = true;
            } else if let Some(user) = name.strip_prefix("user:") {
                who.users.insert(user.to_owned());
            } else {
                who.groups.insert(name.clone());
            }
        }
        who
    }

    pub(super) fn holds(&self, user: &str, groups: &[String]) -> bool {
        self.everybody
            || self.users.contains(user)
            || groups.iter().any(|group| self.groups.contains(group))
    }
}

#[derive(Debug)]
struct Rule {
    area: Area,
    pattern: Pattern,
    read: Who,
    write: Who,
    admin: Who,
}

impl Rule {
    fn covers(&self, area: Area, name: &Pattern) -> bool {
        self.area == area && self.pattern.covers(name)
    }

    fn who(&self, right: Right) -> &Who {
        match right {
            Right::Read => &self.read,
            Right::Write => &self.write,
            Right::Create | Right::Remove => &self.admin,
        }
    }
}

/// All access rules.
#[derive(Debug)]
pub(super) struct Acl {
    rules: Vec<Rule>,
    /// How names are read, which may hold wildcards: as those of subscriptions are.
    syntax: Syntax,
}

/// What names of advisory topics begin with.
const ADVISORIES: &str = "ActiveMQ.Advisory.";

impl Acl {
    /// The rules as configured, which has been checked; `None` if there are none.
    pub(super) fn of(rules: &[AccessRule], syntax: Syntax) -> Option<Self> {
        let rule = |rule: &AccessRule| {
            let areas = [
                (Area::Queue, &rule.queue),
                (Area::Topic, &rule.topic),
                (Area::Temporary, &rule.temp),
            ];
            let (area, pattern) = areas.into_iter().find(|(_, name)| !name.is_empty())?;
            Some(Rule {
                area,
                pattern: Pattern::parse_with(pattern, syntax).ok()?,
                read: Who::of(&rule.read),
                write: Who::of(&rule.write),
                admin: Who::of(&rule.admin),
            })
        };
        let rules: Vec<Rule> = rules.iter().filter_map(rule).collect();
        (!rules.is_empty()).then_some(Self { rules, syntax })
    }

    /// Whether the user in these groups has the right.
    pub(super) fn allows(
        &self,
        user: &str,
        groups: &[String],
        right: Right,
        destination: &Destination,
    ) -> bool {
        let area = Area::of(destination);
        if let Some(id) = destination.temporary_id() {
            let ruled = self.rules.iter().any(|rule| rule.area == area);
            return !ruled || self.has_rule(user, groups, right, area, id);
        }
        if area == Area::Topic
            && let Some(advisory) = destination.name.strip_prefix(ADVISORIES)
        {
            return self.allows_advisory(user, groups, right, advisory)
                || self.has_rule(user, groups, right, area, &destination.name);
        }
        self.has_rule(user, groups, right, area, &destination.name)
    }

    fn has_rule(
        &self,
        user: &str,
        groups: &[String],
        right: Right,
        area: Area,
        name: &str,
    ) -> bool {
        // What is no pattern is no destination either.
        let Ok(name) = Pattern::parse_with(name, self.syntax) else {
            return false;
        };
        self.rules
            .iter()
            .any(|rule| rule.covers(area, &name) && rule.who(right).holds(user, groups))
    }

    /// Who may read a destination may read what is reported of it; that temporary destinations come and go everybody
    /// may know, because clients need to (SEC-6). The broker makes these topics, so reading them creates nothing.
    fn allows_advisory(&self, user: &str, groups: &[String], right: Right, advisory: &str) -> bool {
        if !matches!(right, Right::Read | Right::Create) {
            return false;
        }
        if advisory == "TempQueue" || advisory == "TempTopic" {
            return true;
        }
        // `Consumer.Queue.orders.new`; some have the kind alone, `Queue`, and are about all of it.
        let mut levels = advisory.splitn(3, '.');
        let area = match levels.nth(1) {
            Some("Queue") => Area::Queue,
            Some("Topic") => Area::Topic,
            _ => return false,
        };
        let name = levels.next().unwrap_or(">");
        self.has_rule(user, groups, Right::Read, area, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(kind: &str, pattern: &str, [read, write, admin]: [&str; 3]) -> AccessRule {
        let list = |text: &str| text.split_whitespace().map(str::to_owned).collect();
        let (queue, topic, temp) = match kind {
            "queue" => (pattern, "", ""),
            "topic" => ("", pattern, ""),
            _ => ("", "", pattern),
        };
        AccessRule {
            queue: queue.to_owned(),
            topic: topic.to_owned(),
            temp: temp.to_owned(),
            read: list(read),
            write: list(write),
            admin: list(admin),
        }
    }

    fn acl() -> Acl {
        acl_with(Syntax::default())
    }

    fn acl_with(syntax: Syntax) -> Acl {
        let rules = [
            rule("queue", "orders.>", ["readers", "writers", "admins"]),
            rule("queue", "orders.eu.*", ["user:eve", "", ""]),
            rule("queue", "open", ["*", "*", ""]),
            rule("topic", "news.>", ["readers", "", ""]),
        ];
        Acl::of(&rules, syntax).expect("there are rules")
    }

    fn may(user: &str, group: &str, right: Right, destination: &Destination) -> bool {
        acl().allows(user, &[group.to_owned()], right, destination)
    }

    #[test]
    fn without_rules_there_is_no_acl() {
        assert!(Acl::of(&[], Syntax::default()).is_none());
    }

    #[test]
    fn rules_that_match_add_up_and_nothing_else_is_allowed() {
        use Right::{Create, Read, Remove, Write};
        let queue = |name: &str| Destination::queue(name);
        assert!(may("u", "readers", Read, &queue("orders.eu.new")));
        assert!(may("eve", "none", Read, &queue("orders.eu.new")));
        assert!(!may("eve", "none", Read, &queue("orders.eu")));
        assert!(!may("eve", "none", Write, &queue("orders.eu.new")));
        assert!(may("u", "writers", Write, &queue("orders.x")));
        assert!(!may("u", "writers", Create, &queue("orders.x")));
        assert!(may("u", "admins", Create, &queue("orders.x")));
        assert!(may("u", "admins", Remove, &queue("orders.x")));
        assert!(!may("u", "admins", Read, &queue("orders.x")));
        assert!(may("anybody", "none", Write, &queue("open")));
        assert!(!may("u", "readers", Read, &queue("invoices")), "no rule");
        assert!(!may("u", "readers", Read, &Destination::topic("orders.x")));
    }

    #[test]
    fn a_user_is_no_group_of_the_same_name() {
        let read = |user, group| may(user, group, Right::Read, &Destination::queue("orders.eu.x"));
        assert!(!read("readers", "none"));
        assert!(!read("u", "eve"));
    }

    #[test]
    fn a_wildcard_name_needs_a_rule_that_covers_all_of_it() {
        let read =
            |user, group, name: &str| may(user, group, Right::Read, &Destination::queue(name));
        assert!(read("u", "readers", "orders.*"));
        assert!(read("u", "readers", "orders.>"));
        assert!(read("eve", "none", "orders.eu.*"));
        assert!(!read("eve", "none", "orders.eu.>"));
        assert!(!read("eve", "none", "orders.*.new"));
        assert!(!read("u", "readers", ">"));
        assert!(!read("u", "readers", "*"));
    }

    /// A rest that was written with another separator or as `#` passed for a plain level.
    #[test]
    fn wildcards_are_read_as_subscriptions_read_them() {
        let syntax = Syntax {
            separator: Some('/'),
            hash_is_rest: true,
        };
        let read = |user: &str, group: &str, name: &str| {
            let groups = [group.to_owned()];
            acl_with(syntax).allows(user, &groups, Right::Read, &Destination::queue(name))
        };
        assert!(read("u", "readers", "orders/>") && read("u", "readers", "orders.#"));
        assert!(read("eve", "none", "orders/eu/*") && read("eve", "none", "orders/eu/x"));
        for name in ["orders/eu/>", "orders.eu.#", "orders.eu/#", "#", "orders/*"] {
            assert!(!read("eve", "none", name), "{name}");
        }
        assert!(!read("u", "readers", "#") && !read("u", "readers", "*/#"));
    }

    /// Spec: behaviour SEC-6.
    #[test]
    fn advisories_are_for_those_who_may_read_what_they_are_about() {
        let read = |group, name: &str| {
            let topic = Destination::topic(format!("{ADVISORIES}{name}"));
            may("u", group, Right::Read, &topic)
        };
        assert!(read("none", "TempQueue") && read("none", "TempTopic"));
        assert!(read("readers", "Consumer.Queue.orders.x"));
        assert!(read("readers", "Producer.Topic.news.x"));
        assert!(!read("readers", "Consumer.Queue.invoices"));
        assert!(!read("writers", "Consumer.Queue.orders.x"));
        assert!(!read("readers", "Connection") && !read("readers", "Queue"));
        assert!(!read("readers", "Consumer.Queue.>") && !read("readers", ">"));
        let temp = Destination::topic("ActiveMQ.Advisory.TempQueue");
        assert!(!may("u", "none", Right::Write, &temp));
        assert!(may("u", "none", Right::Create, &temp));
    }
}
