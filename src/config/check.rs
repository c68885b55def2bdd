//! All problems at once: what a problem is, how it is told, and the rules that look at more than one key.
//!
//! - A problem names the key, the place it came from (file, line and column; the variable; the flag) and, where one is
//!   near, the word that was meant.
//! - A rule is silent about keys that were refused already: one mistake, one line.

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};

use super::load::entry_path;
use super::{Config, DiskLimit, ProxyProtocol, SizeOrPercent, security, virtual_destinations};

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// A file; line and column count from 1, columns in characters.
    File {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
    /// An environment variable, by name.
    Environment(String),
    /// A flag of the command line, by name.
    Flag(String),
    /// A profile, as the key and value that chose it.
    Profile(&'static str),
    /// A program that built the configuration itself.
    Program,
}

impl Origin {
    /// The place of a byte offset in a file.
    pub(super) fn at(path: &Path, text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self::File {
            path: path.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => out.write_str("default"),
            Self::File { path, line, column } => write!(out, "{}:{line}:{column}", path.display()),
            Self::Environment(name) => write!(out, "environment {name}"),
            Self::Flag(name) => write!(out, "flag {name}"),
            Self::Profile(name) => write!(out, "profile {name}"),
            Self::Program => out.write_str("program"),
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands.
    pub origin: Origin,
    /// The path of the key, `section.key`; empty if it is not about one.
    pub key: String,
    /// What is wrong.
    pub text: String,
    /// What was probably meant.
    pub suggestion: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: ", self.origin)?;
        if !self.key.is_empty() {
            write!(out, "{}: ", self.key)?;
        }
        out.write_str(&self.text)?;
        match &self.suggestion {
            Some(suggestion) => write!(out, "; did you mean `{suggestion}`?"),
            None => Ok(()),
        }
    }
}

/// Everything that is wrong, one line each. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => write!(out, "1 problem in the configuration")?,
            count => write!(out, "{count} problems in the configuration")?,
        }
        self.0
            .iter()
            .try_for_each(|problem| write!(out, "\n  {problem}"))
    }
}

impl std::error::Error for Problems {}

impl Config {
    /// Checks every key against its range, and the rules that look at more than one.
    ///
    /// For those who build a configuration by hand; what was loaded is checked already.
    ///
    /// # Errors
    /// All problems there are.
    pub fn check(&self) -> Result<(), Problems> {
        let mut problems = Vec::new();
        let mut refused = HashSet::new();
        let mut look = |key: String, checked: Option<Result<(), String>>| {
            if let Some(Err(text)) = checked {
                refused.insert(key.clone());
                problems.push(Problem {
                    origin: Origin::Program,
                    key,
                    text,
                    suggestion: None,
                });
            }
        };
        for section in Self::sections() {
            for key in &section.keys {
                let checked = self.in_range(section.name, key.name);
                look(format!("{}.{}", section.name, key.name), checked);
            }
            for list in &section.lists {
                let name = list.name.rsplit('.').next().unwrap_or_default();
                for index in 0..self.count(section.name, name) {
                    for key in &list.keys {
                        let path =
                            format!("{}.{}", entry_path(section.name, name, index), key.name);
                        look(
                            path,
                            self.in_range_in((section.name, name, index), key.name),
                        );
                    }
                }
            }
        }
        problems.extend(rules(self, &refused, &|_| Origin::Program));
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Problems(problems))
        }
    }
}

/// Applies the rules that a range cannot say. `refused` are the keys that have a problem already.
pub(super) fn rules(
    config: &Config,
    refused: &HashSet<String>,
    origin: &dyn Fn(&str) -> Origin,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut rule = |keys: &[&str], broken: bool, text: String| {
        if broken && !keys.iter().any(|key| refused.contains(*key)) {
            let key = keys[0].to_owned();
            problems.push(Problem {
                origin: origin(&key),
                key,
                text,
                suggestion: None,
            });
        }
    };

    for listener in config.listeners().iter().filter(|one| one.enabled) {
        let (section, listen) = (listener.section, listener.listen);
        rule(
            &[
                &format!("{section}.listen"),
                "broker.allow_insecure",
                "security.users_file",
            ],
            !listen.ip().to_canonical().is_loopback()
                && !config.broker.allow_insecure
                && !config.security.keeps_strangers_out(),
            format!(
                "{listen} can be reached from outside and nobody has to log in; listen on 127.0.0.1, give users \
                 (security.users_file), or set broker.allow_insecure = true"
            ),
        );
        rule(
            &[&format!("{section}.proxy_protocol"), "proxy.trusted"],
            listener.proxy_protocol == ProxyProtocol::Required && config.proxy.trusted.is_empty(),
            "needs proxy.trusted, the addresses of the proxies".to_owned(),
        );
    }
    for (key, prefixes) in [
        ("stomp.queue_prefix", &config.stomp.queue_prefix),
        ("stomp.topic_prefix", &config.stomp.topic_prefix),
    ] {
        let wrong = prefixes.is_empty() || prefixes.iter().any(String::is_empty);
        rule(
            &[key],
            wrong,
            "needs at least one prefix, and none that is empty".to_owned(),
        );
    }
    let queues = &config.stomp.queue_prefix;
    let both = config.stomp.topic_prefix.iter();
    if let Some(prefix) = both.clone().find(|prefix| queues.contains(prefix)) {
        rule(
            &["stomp.topic_prefix", "stomp.queue_prefix"],
            true,
            format!("{prefix:?} is in stomp.queue_prefix too"),
        );
    }
    for origin in &config.websocket.origins {
        rule(
            &["websocket.origins"],
            !is_origin(origin),
            format!(
                "expected \"same-host\", \"*\", \"null\" or an origin such as \"https://app.example:8443\", found {origin:?}"
            ),
        );
    }
    let (min, max) = (config.stomp.heart_beat_min, config.stomp.heart_beat_max);
    rule(
        &["stomp.heart_beat_max", "stomp.heart_beat_min"],
        !max.is_zero() && max < min,
        format!("must be 0s (off) or at least stomp.heart_beat_min, which is {min}; found {max}"),
    );
    rule(
        &["memory.limit"],
        matches!(config.memory.limit, SizeOrPercent::Size(size) if size.bytes() < MEMORY_BYTES_MIN),
        format!(
            "must be a share or at least 16 MiB, found {}",
            config.memory.limit
        ),
    );
    let least = config.store.limit_min();
    rule(
        &["store.limit", "store.segment_bytes"],
        matches!(config.store.limit, DiskLimit::Of(SizeOrPercent::Size(size)) if size.bytes() < least),
        format!(
            "must be \"auto\", a share, or at least four times store.segment_bytes, which is {}; found {}",
            config.store.segment_bytes, config.store.limit
        ),
    );
    rule(
        &["broker.name"],
        !is_printable(&config.broker.name),
        format!(
            "must be one line of text and not empty, found {:?}",
            config.broker.name
        ),
    );
    rule(
        &["stomp.server"],
        !is_printable(&config.stomp.server),
        format!(
            "must be one line of text and not empty, found {:?}",
            config.stomp.server
        ),
    );
    let dead_letters = queue_name(&config.redelivery.dead_letter_queue);
    rule(
        &["redelivery.dead_letter_queue"],
        dead_letters.is_err(),
        dead_letters.err().unwrap_or_default(),
    );
    let separator = &config.destinations.path_separator;
    rule(
        &["destinations.path_separator"],
        separator.chars().count() > 1 || separator.contains(['*', '>', ',', '?', '#']),
        format!("must be one character such as \"/\", or empty; found {separator:?}"),
    );
    problems.extend(virtual_destinations::problems(config, refused, origin));
    let syntax = config.pattern_syntax();
    problems.extend(security::problems(
        &config.security,
        syntax,
        refused,
        origin,
    ));
    // The entries are read by what these say.
    if !refused.contains("destinations.path_separator") {
        problems.extend(super::policy::rules(config));
    }
    problems
}

/// Checks that a text is the name of one queue.
pub(super) fn queue_name(text: &str) -> Result<(), String> {
    if is_printable(text) && !text.contains(['*', '>', ',']) && !text.contains("://") {
        return Ok(());
    }
    Err(format!(
        "must be the bare name of one queue, without wildcards or prefix; found {text:?}"
    ))
}

/// Below it a broker could not hold one read of each connection.
const MEMORY_BYTES_MIN: u64 = 16 << 20;

/// Whether a page's origin can look like this, or it is one of the words for several.
fn is_origin(text: &str) -> bool {
    let Some((scheme, authority)) = text.split_once("://") else {
        return ["same-host", "*", "null"].contains(&text);
    };
    let plain =
        |text: &str| !text.is_empty() && text.chars().all(|letter| letter.is_ascii_graphic());
    plain(scheme) && plain(authority) && !authority.contains(['/', '*', '@'])
}

pub(super) fn is_printable(text: &str) -> bool {
    !text.trim().is_empty() && !text.chars().any(char::is_control)
}

/// Finds the candidate nearest to a word nobody knows; `None` if all are too far to be what was meant.
pub(super) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let word = snake_case(word);
    let tolerance = (word.len() / 3).clamp(1, 4);
    candidates
        .into_iter()
        .map(|candidate| (edit_distance(&word, candidate), candidate))
        .filter(|(distance, _)| *distance <= tolerance)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `connectTimeout` and `connect-timeout` as `connect_timeout`.
pub(super) fn snake_case(word: &str) -> String {
    let mut snake = String::with_capacity(word.len() + 4);
    let mut after_lower = false;
    for letter in word.chars() {
        if letter.is_uppercase() && after_lower {
            snake.push('_');
        }
        after_lower = letter.is_lowercase();
        snake.extend(if letter == '-' { '_' } else { letter }.to_lowercase());
    }
    snake
}

/// Counts the insertions, deletions, substitutions and swaps of neighbours between two words (optimal string
/// alignment).
fn edit_distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let mut rows = vec![(0..=right.len()).collect::<Vec<_>>()];
    for i in 1..=left.len() {
        let mut row = vec![i];
        for j in 1..=right.len() {
            let substitution = rows[i - 1][j - 1] + usize::from(left[i - 1] != right[j - 1]);
            let mut least = substitution.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[left.len()][right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (left, right, expected) in [
            ("", "abc", 3),
            ("listen", "listen", 0),
            ("lisetn", "listen", 1),
            ("lsten", "listen", 1),
            ("a", "b", 1),
        ] {
            assert_eq!(edit_distance(left, right), expected, "{left} {right}");
            assert_eq!(edit_distance(right, left), expected, "{right} {left}");
        }
    }

    #[test]
    fn the_nearest_word_or_none() {
        let words = ["listen", "connect_timeout", "headers_max"];
        for (word, expected) in [
            ("lisen", Some("listen")),
            ("connectTimeout", Some("connect_timeout")),
            ("connect-timeout", Some("connect_timeout")),
            ("header_max", Some("headers_max")),
            ("password", None),
        ] {
            assert_eq!(nearest(word, words), expected, "{word}");
        }
    }

    #[test]
    fn a_configuration_built_by_hand_is_checked_too() {
        let mut config = Config::default();
        config.stomp.listen = "0.0.0.0:0".parse().expect("an address");
        config.stomp.heart_beat_grace = 0.5;
        config.broker.name = "two\nlines".to_owned();
        let problems = config.check().expect_err("three problems").0;
        let keys: Vec<&str> = problems
            .iter()
            .map(|problem| problem.key.as_str())
            .collect();
        assert_eq!(
            keys,
            ["stomp.heart_beat_grace", "stomp.listen", "broker.name"]
        );
        config.broker.allow_insecure = true;
        assert_eq!(config.check().expect_err("two problems").0.len(), 2);
    }

    #[test]
    fn every_listener_is_under_the_same_rules() {
        let mut config = Config::default();
        let outside = "0.0.0.0:0".parse().expect("an address");
        config.stomp_tls.listen = outside;
        assert_eq!(config.check(), Ok(()), "it does not listen");
        (config.stomp_tls.enabled, config.auto.enabled) = (true, true);
        config.auto.listen = outside;
        config.websocket.enabled = true;
        config.websocket.proxy_protocol = ProxyProtocol::Required;
        config.websocket.origins = vec!["https://a.example/".to_owned(), "null".to_owned()];
        let problems = config.check().expect_err("four problems").0;
        let keys: Vec<&str> = problems.iter().map(|one| one.key.as_str()).collect();
        let expected = [
            "stomp_tls.listen",
            "websocket.proxy_protocol",
            "auto.listen",
            "websocket.origins",
        ];
        assert_eq!(keys, expected);
    }

    #[test]
    fn loopback_in_all_its_forms_needs_no_permission() {
        for address in [
            "127.0.0.1:1",
            "127.1.2.3:0",
            "[::1]:1",
            "[::ffff:127.0.0.1]:1",
        ] {
            let mut config = Config::default();
            config.stomp.listen = address.parse().expect("an address");
            assert_eq!(config.check(), Ok(()), "{address}");
        }
    }
}
