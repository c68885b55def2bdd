//! The rules of `[security]` that a range cannot say: complete entries, names that can be written down, no
//! rule that can never match.

use std::collections::HashSet;

use super::check::{Origin, Problem, is_printable};
use super::load::entry_path;
use super::{AccessRule, Security};
use crate::broker::Pattern;
use crate::broker::pattern::Syntax;

impl Security {
    /// Whether there are users, so that who is none of them stays outside.
    #[must_use]
    pub fn has_users(&self) -> bool {
        !self.users_file.is_empty() || !self.user.is_empty() || !self.certificate.is_empty()
    }

    /// Whether a login is looked at at all. Without users, rules and a word about strangers nothing is.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.has_users() || !self.acl.is_empty() || self.anonymous_access
    }

    /// Whether an address that others can reach may be listened on (SEC-1): who is not known stays outside, or may do
    /// only what a rule says.
    #[must_use]
    pub fn keeps_strangers_out(&self) -> bool {
        self.has_users() && !(self.anonymous_access && self.acl.is_empty())
    }
}

/// Whether a name can stand in a users file and in a rule.
#[must_use]
pub fn is_name(name: &str) -> bool {
    is_printable(name)
        && name.trim() == name
        && !name.contains([':', ','])
        && !name.starts_with('#')
}

/// What [`is_name`] wants, after "must be".
pub(crate) const NAME: &str =
    "a name without ':', ',' and control characters, not empty, no '#' in front";

struct Rules<'a> {
    refused: &'a HashSet<String>,
    origin: &'a dyn Fn(&str) -> Origin,
    syntax: Syntax,
    problems: Vec<Problem>,
}

impl Rules<'_> {
    fn broken(&mut self, key: String, text: impl Into<String>) {
        if !self.refused.contains(&key) {
            self.problems.push(Problem {
                origin: (self.origin)(&key),
                key,
                text: text.into(),
                suggestion: None,
            });
        }
    }

    fn users(&mut self, security: &Security) {
        let mut names = HashSet::new();
        for (index, user) in security.user.iter().enumerate() {
            let entry = entry_path("security", "user", index);
            if !is_name(&user.name) {
                self.broken(format!("{entry}.name"), format!("must be {NAME}"));
            } else if !names.insert(user.name.as_str()) {
                let text = format!("there is a user {} already", user.name);
                self.broken(format!("{entry}.name"), text);
            }
            if let Some(group) = user.groups.iter().find(|group| !is_name(group)) {
                let text = format!("a group must be {NAME}; found {group:?}");
                self.broken(format!("{entry}.groups"), text);
            }
        }
        for (key, name) in [
            ("anonymous_user", &security.anonymous_user),
            ("anonymous_group", &security.anonymous_group),
        ] {
            if !is_name(name) {
                self.broken(format!("security.{key}"), format!("must be {NAME}"));
            }
        }
    }

    fn namespaces(&mut self, security: &Security) {
        for (index, namespace) in security.namespace.iter().enumerate() {
            let entry = entry_path("security", "namespace", index);
            let name = &namespace.name;
            let inside =
                |one: &str, other: &str| format!("{one}.").starts_with(&format!("{other}."));
            let before = security.namespace[..index].iter();
            let near = before
                .map(|other| &other.name)
                .find(|other| inside(name, other) || inside(other, name));
            if !is_namespace(name) {
                let text = format!(
                    "must be levels of letters, digits, '_' and '-', separated by dots; found {name:?}"
                );
                self.broken(format!("{entry}.name"), text);
            } else if let Some(near) = near {
                let text = format!("must lie apart from the namespace {near}; found {name:?}");
                self.broken(format!("{entry}.name"), text);
            }
            let wrong = |who: &&String| {
                let name = who.strip_prefix("user:").unwrap_or(who);
                *who != "*" && !is_name(name)
            };
            if namespace.who.is_empty() || namespace.who.iter().any(|who| wrong(&who)) {
                let text = "expected groups, \"user:NAME\" or \"*\", at least one";
                self.broken(format!("{entry}.who"), text);
            }
        }
    }

    fn rule(&mut self, entry: &str, rule: &AccessRule) {
        let kinds = [
            ("queue", &rule.queue),
            ("topic", &rule.topic),
            ("temp", &rule.temp),
        ];
        let given: Vec<_> = kinds.iter().filter(|(_, name)| !name.is_empty()).collect();
        match given[..] {
            [(key, name)] => {
                if let Some(text) = wrong_pattern(name, self.syntax) {
                    self.broken(format!("{entry}.{key}"), text);
                }
            }
            [] => self.broken(
                format!("{entry}.queue"),
                "one of queue, topic and temp is needed, to say what the rule is about",
            ),
            [_, (key, _), ..] => self.broken(
                format!("{entry}.{key}"),
                "a rule has one of queue, topic and temp; write a rule for each",
            ),
        }
        for (key, who) in [
            ("read", &rule.read),
            ("write", &rule.write),
            ("admin", &rule.admin),
        ] {
            let wrong = who
                .iter()
                .find(|who| !is_name(who.strip_prefix("user:").unwrap_or(who)));
            if let Some(who) = wrong {
                let text = format!("expected groups, \"user:NAME\" or \"*\", found {who:?}");
                self.broken(format!("{entry}.{key}"), text);
            }
        }
    }
}

/// Whether a name can be that of a namespace: it is plain levels of names, in headers and in texts.
fn is_namespace(name: &str) -> bool {
    let is_plain = |letter: char| letter.is_alphanumeric() || "_-".contains(letter);
    name.split('.')
        .all(|level| !level.is_empty() && level.chars().all(is_plain))
}

fn wrong_pattern(name: &str, syntax: Syntax) -> Option<String> {
    if !is_printable(name) || name.trim() != name {
        return Some("must be a name or pattern without blanks around it".to_owned());
    }
    if name.contains([',', '?']) || name.contains("://") || name.starts_with('/') {
        return Some(format!(
            "must be the bare name or pattern of one destination, without prefix; found {name:?}"
        ));
    }
    let is_separator = |letter| letter == '.' || Some(letter) == syntax.separator;
    let part = name
        .split(is_separator)
        .any(|level| level.len() > 1 && level.contains(['*', '>']));
    (part || Pattern::parse_with(name, syntax).is_err()).then(|| {
        format!(
            "* stands for a whole level and > for all that follow, at the end only; found {name:?}"
        )
    })
}

/// All problems of the section.
pub(super) fn problems(
    security: &Security,
    syntax: Syntax,
    refused: &HashSet<String>,
    origin: &dyn Fn(&str) -> Origin,
) -> Vec<Problem> {
    let mut rules = Rules {
        refused,
        origin,
        syntax,
        problems: Vec::new(),
    };
    rules.users(security);
    for (index, rule) in security.acl.iter().enumerate() {
        rules.rule(&entry_path("security", "acl", index), rule);
    }
    if !security.acl.is_empty() && !security.has_users() && !security.anonymous_access {
        rules.broken(
            entry_path("security", "acl", 0),
            "there are access rules but no users, so nobody could come in; give users (security.users_file), or set \
             security.anonymous_access = true",
        );
    }
    rules.namespaces(security);
    for (index, known) in security.certificate.iter().enumerate() {
        let entry = entry_path("security", "certificate", index);
        if !is_printable(&known.dn) {
            rules.broken(
                format!("{entry}.dn"),
                "must be the subject of a certificate",
            );
        }
        if !is_name(&known.user) {
            rules.broken(format!("{entry}.user"), format!("must be {NAME}"));
        }
    }
    if security.login_delay_max < security.login_delay {
        rules.broken(
            "security.login_delay_max".to_owned(),
            format!(
                "must be at least security.login_delay, which is {}; found {}",
                security.login_delay, security.login_delay_max
            ),
        );
    }
    rules.problems
}
