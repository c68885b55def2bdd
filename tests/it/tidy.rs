//! The arrows between the rooms, proved by reading the sources; and that no test merely sleeps.
//!
//! A source is cut into words, comments and strings left out; the paths in it (`use` trees spread out, `self` and
//! `super` resolved) are compared with what the room may not name. Macros that build paths out of pieces would get past
//! it: nobody does that by accident.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What no file of a room may name: the beginnings of paths.
struct Rule {
    room: &'static str,
    forbidden: &'static [&'static str],
}

/// main, cli -> lib -> transport -> stomp, openwire -> session -> engine -> broker; console -> engine; stomp, openwire ->
/// protocols; engine -> store. broker, protocols and store name nothing of ours.
const RULES: &[Rule] = &[
    Rule {
        room: "src/broker",
        forbidden: &[
            "tokio",
            "std::fs",
            "std::net",
            "std::io",
            "std::time",
            "Instant",
            "SystemTime",
            "ferrymq_protocols",
            "ferrymq_store",
            "crate::clock",
            "crate::config",
            "crate::telemetry",
            "crate::engine",
            "crate::session",
            "crate::stomp",
            "crate::openwire",
            "crate::transport",
            "crate::console",
            "crate::security",
            "crate::cli",
        ],
    },
    Rule {
        room: "src/engine",
        forbidden: &[
            "ferrymq_protocols",
            "crate::session",
            "crate::stomp",
            "crate::openwire",
            "crate::transport",
            "crate::console",
            "crate::cli",
        ],
    },
    Rule {
        room: "src/session",
        forbidden: &[
            "crate::stomp",
            "crate::openwire",
            "crate::transport",
            "crate::console",
            "crate::cli",
        ],
    },
    Rule {
        room: "src/stomp",
        forbidden: &[
            "ferrymq_store",
            "crate::openwire",
            "crate::transport",
            "crate::console",
            "crate::cli",
        ],
    },
    Rule {
        room: "src/openwire",
        forbidden: &[
            "ferrymq_store",
            "crate::stomp",
            "crate::transport",
            "crate::console",
            "crate::cli",
        ],
    },
    Rule {
        room: "src/transport",
        forbidden: &["ferrymq_store", "crate::console", "crate::cli"],
    },
    Rule {
        room: "src/console",
        forbidden: &[
            "crate::session",
            "crate::stomp",
            "crate::openwire",
            "crate::transport",
            "crate::cli",
        ],
    },
    Rule {
        room: "src/config",
        forbidden: &[
            "ferrymq_protocols",
            "ferrymq_store",
            "crate::telemetry",
            // Keys of policies are fields of plain values of the core; its machines are none of its business.
            "crate::broker::Queue",
            "crate::broker::queue::Queue",
            "crate::broker::Topic",
            "crate::broker::topic",
            "crate::broker::Message",
            "crate::broker::message",
            "crate::broker::Outlet",
            "crate::broker::outlet",
            "crate::broker::delivery",
            "crate::broker::subscription",
            "crate::engine",
            "crate::session",
            "crate::stomp",
            "crate::openwire",
            "crate::transport",
            "crate::console",
            "crate::cli",
        ],
    },
    Rule {
        room: "src/security",
        forbidden: &[
            "ferrymq_protocols",
            "ferrymq_store",
            "crate::engine",
            "crate::session",
            "crate::stomp",
            "crate::openwire",
            "crate::transport",
            "crate::console",
            "crate::cli",
        ],
    },
    Rule {
        room: "src/telemetry",
        forbidden: &[
            "ferrymq_protocols",
            "ferrymq_store",
            "crate::broker",
            "crate::engine",
            "crate::session",
            "crate::stomp",
            "crate::openwire",
            "crate::transport",
            "crate::console",
            "crate::cli",
        ],
    },
    Rule {
        room: "protocols/src",
        forbidden: &[
            "tokio",
            "std::net",
            "std::fs",
            "std::time",
            "ferrymq",
            "ferrymq_store",
        ],
    },
    Rule {
        room: "store/src",
        forbidden: &["tokio", "std::net", "ferrymq", "ferrymq_protocols"],
    },
];

/// Rooms without a rule of their own: they may name everything. A directory in neither list fails the test.
const FREE_ROOMS: &[&str] = &["src/cli"];

#[test]
fn no_arrow_points_back() {
    let mut found = Vec::new();
    for rule in RULES {
        let files = sources(rule.room);
        if files.is_empty() {
            // Rooms are built one after the other; which are there is for the reader of the output.
            println!("not there yet: {}", rule.room);
        }
        for (path, source) in files {
            found.extend(violations(rule, &path, &source));
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn every_room_has_a_rule() {
    let rooms: BTreeSet<String> = fs::read_dir(root().join("src"))
        .expect("src is there")
        .map(|entry| entry.expect("src can be listed"))
        .filter(|entry| entry.path().is_dir())
        .map(|entry| format!("src/{}", entry.file_name().to_string_lossy()))
        .collect();
    assert!(
        rooms.contains("src/config"),
        "the tidy test does not find the sources"
    );
    for room in rooms {
        let known =
            FREE_ROOMS.contains(&room.as_str()) || RULES.iter().any(|rule| rule.room == room);
        assert!(
            known,
            "{room} has no rule in tests/it/tidy.rs: say what it may not name"
        );
    }
}

#[test]
fn protocols_and_store_depend_on_nothing_of_ours() {
    for member in ["protocols", "store"] {
        let manifest = fs::read_to_string(root().join(member).join("Cargo.toml"))
            .expect("the manifest is there");
        assert_eq!(own_dependencies(&manifest), [""; 0], "{member}/Cargo.toml");
    }
}

#[test]
fn no_test_merely_sleeps() {
    let mut found = Vec::new();
    let mut count = 0;
    for directory in ["src", "tests", "protocols", "store"] {
        for (path, source) in sources(directory) {
            count += 1;
            found.extend(sleeps(&path, &source));
        }
    }
    assert!(count > 5, "the tidy test does not find the sources");
    assert!(
        found.is_empty(),
        "wait for a condition, or say why in a `// waits:` comment:\n{}",
        found.join("\n")
    );
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files below a directory, and the one of its name beside it, with their paths from the root, in order. None
/// if there is no such directory.
fn sources(room: &str) -> Vec<(String, String)> {
    let mut files = Vec::new();
    let mut directories = vec![PathBuf::from(room)];
    while let Some(directory) = directories.pop() {
        let Ok(entries) = fs::read_dir(root().join(&directory)) else {
            continue;
        };
        for entry in entries {
            let entry = entry.expect("the directory can be listed");
            let path = directory.join(entry.file_name());
            if entry.path().is_dir() && entry.file_name() != "target" {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let source = fs::read_to_string(root().join(&path)).expect("a source is UTF-8");
                files.push((path.to_string_lossy().replace('\\', "/"), source));
            }
        }
    }
    let beside = format!("{room}.rs");
    files.extend(
        fs::read_to_string(root().join(&beside))
            .ok()
            .map(|source| (beside, source)),
    );
    files.sort();
    files
}

/// What a file of a room names although it may not.
fn violations(rule: &Rule, path: &str, source: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (line, name) in paths(path, source) {
        let hit = rule.forbidden.iter().find(|forbidden| {
            let is_type = forbidden.starts_with(char::is_uppercase);
            name == **forbidden
                || name
                    .strip_prefix(**forbidden)
                    .is_some_and(|rest| rest.starts_with("::"))
                || is_type && name.split("::").any(|part| part == **forbidden)
        });
        // Durations are values; only asking the time is forbidden.
        let is_duration = name.starts_with("std::time::Duration");
        if let Some(hit) = hit.filter(|_| !is_duration) {
            found.push(format!(
                "{path}:{line}: {} may not name {hit} (found {name})",
                rule.room
            ));
        }
    }
    found
}

/// Sleeps that no `// waits:` comment on the same line or just above explains. Whole files of tests, and what follows the
/// first `#[cfg(test)]` of any other.
fn sleeps(path: &str, source: &str) -> Vec<String> {
    let all_tests = path
        .split('/')
        .any(|part| part == "tests" || part == "tests.rs");
    let tests_from = match source
        .lines()
        .position(|line| line.trim_start().starts_with("#[cfg(test)]"))
    {
        _ if all_tests => 0,
        Some(line) => line,
        None => return Vec::new(),
    };
    let lines: Vec<&str> = source.lines().collect();
    let explained = |line: usize| {
        let above = lines[..line]
            .iter()
            .rev()
            .take_while(|line| line.trim_start().starts_with("//"));
        std::iter::once(&lines[line])
            .chain(above)
            .any(|line| line.contains("// waits: "))
    };
    let sleeping = paths(path, source).into_iter().filter(|(line, name)| {
        let is_sleep = name == "sleep"
            || ["thread::sleep", "time::sleep", "time::sleep_until"]
                .iter()
                .any(|end| name.ends_with(end));
        let is_import = lines[line - 1].trim_start().starts_with("use ");
        is_sleep && !is_import && *line > tests_from && !explained(line - 1)
    });
    sleeping
        .map(|(line, name)| format!("{path}:{line}: {name}"))
        .collect()
}

/// Dependencies of a manifest that are ours: by name or by path. A package may name itself, to turn a feature on in its
/// own tests.
fn own_dependencies(manifest: &str) -> Vec<String> {
    let manifest: toml::Table = manifest.parse().expect("a manifest is TOML");
    let package = manifest["package"]["name"]
        .as_str()
        .expect("a package has a name");
    let tables = manifest
        .iter()
        .filter(|(name, _)| name.ends_with("dependencies"));
    let dependencies = tables.filter_map(|(_, table)| table.as_table()).flatten();
    dependencies
        .filter(|(name, value)| name.starts_with("ferrymq") || value.get("path").is_some())
        .filter(|(name, _)| *name != package)
        .map(|(name, _)| name.clone())
        .collect()
}

/// A word of Rust: an identifier, or one character of punctuation, or `::`.
type Word<'a> = (usize, &'a str);

/// Cuts a source into words with their lines, without comments, strings, characters and lifetimes.
fn words(source: &str) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    let (mut rest, mut line) = (source, 1);
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if let Some(length) = raw_string(rest) {
            length
        } else if first == '"' {
            quoted(rest)
        } else if first == '\'' {
            character_or_lifetime(rest)
        } else if first.is_alphabetic() || first == '_' {
            let length = rest
                .find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(rest.len());
            words.push((line, &rest[..length]));
            length
        } else if rest.starts_with("::") {
            words.push((line, "::"));
            2
        } else {
            if !first.is_whitespace() {
                words.push((line, &rest[..first.len_utf8()]));
            }
            first.len_utf8()
        };
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    words
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

/// `r"…"`, `br##"…"##`
fn raw_string(rest: &str) -> Option<usize> {
    let open = rest
        .strip_prefix("br")
        .or_else(|| rest.strip_prefix("cr"))
        .or_else(|| rest.strip_prefix('r'))?;
    let hashes = open.bytes().take_while(|byte| *byte == b'#').count();
    let body = open[hashes..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    let end = body
        .find(&close)
        .map_or(body.len(), |end| end + close.len());
    Some(rest.len() - body.len() + end)
}

fn quoted(rest: &str) -> usize {
    let mut escaped = false;
    for (at, letter) in rest.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

fn character_or_lifetime(rest: &str) -> usize {
    let mut letters = rest.char_indices().skip(1);
    match (letters.next(), letters.next()) {
        (Some((_, '\\')), Some((at, escaped))) => {
            let from = at + escaped.len_utf8();
            from + rest[from..].find('\'').map_or(0, |end| end + 1)
        }
        (Some(_), Some((at, '\''))) => at + 1,
        _ => {
            1 + rest[1..]
                .find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(rest.len() - 1)
        }
    }
}

/// All paths a file names, with their lines; trees of `use` spread out, beginning at a crate where that is said.
fn paths(file: &str, source: &str) -> Vec<(usize, String)> {
    let words = words(source);
    let mut paths = Vec::new();
    let mut at = 0;
    while at < words.len() {
        if is_name(words[at].1) {
            at = path_from(&words, at, &[], &mut paths);
        } else {
            at += 1;
        }
    }
    let module = module_of(file);
    paths
        .into_iter()
        .map(|(line, parts)| (line, resolved(file, &module, parts).join("::")))
        .collect()
}

fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Reads one path, and what its braces hold; gives the place behind it.
fn path_from<'a>(
    words: &[Word<'a>],
    mut at: usize,
    prefix: &[&'a str],
    paths: &mut Vec<(usize, Vec<&'a str>)>,
) -> usize {
    let line = words[at].0;
    let mut parts = prefix.to_vec();
    loop {
        match words.get(at) {
            Some((_, word)) if is_name(word) => {
                parts.push(word);
                at += 1;
            }
            Some((_, "{")) if at > 0 && words[at - 1].1 == "::" => {
                at += 1;
                while let Some((_, word)) = words.get(at) {
                    match *word {
                        "}" => return at + 1,
                        word if is_name(word) || word == "{" => {
                            at = path_from(words, at, &parts, paths)
                        }
                        _ => at += 1,
                    }
                }
                return at;
            }
            _ => break,
        }
        match words.get(at) {
            Some((_, "::")) => at += 1,
            _ => break,
        }
    }
    paths.push((line, parts));
    at
}

/// `src/broker/queue.rs` is `crate::broker::queue`.
fn module_of(file: &str) -> Vec<&str> {
    let inside = file
        .split_once("src/")
        .map_or("", |(_, inside)| inside)
        .trim_end_matches(".rs");
    let mut module: Vec<&str> = inside.split('/').filter(|part| !part.is_empty()).collect();
    if module
        .last()
        .is_some_and(|last| ["mod", "lib", "main"].contains(last))
    {
        module.pop();
    }
    module
}

/// Says `self` and `super` from the root, and in the root package the library's name as `crate`.
fn resolved<'a>(file: &str, module: &[&'a str], parts: Vec<&'a str>) -> Vec<&'a str> {
    let supers = parts.iter().take_while(|part| **part == "super").count();
    match parts.first() {
        Some(&"self") => [&["crate"], module, &parts[1..]].concat(),
        Some(&"super") => {
            let module = &module[..module.len().saturating_sub(supers)];
            [&["crate"], module, &parts[supers..]].concat()
        }
        Some(&"ferrymq") if parts.len() > 1 && file.starts_with("src/") => {
            [&["crate"], &parts[1..]].concat()
        }
        Some(&"core" | &"alloc") => [&["std"], &parts[1..]].concat(),
        _ => parts,
    }
}

/// The checker checked: each of these sources breaks a rule, or looks as if it did.
mod checker {
    use super::*;

    fn named(path: &str, source: &str) -> Vec<String> {
        let rule = RULES
            .iter()
            .find(|rule| path.starts_with(&format!("{}/", rule.room)))
            .expect("the room has a rule");
        let found = violations(rule, path, source);
        found
            .iter()
            .map(|text| {
                text.split(" may not name ")
                    .nth(1)
                    .expect("a name")
                    .to_owned()
            })
            .collect()
    }

    #[test]
    fn finds_what_a_room_may_not_name() {
        for (path, source, expected) in [
            (
                "src/broker/queue.rs",
                "use tokio::sync::mpsc;",
                "tokio (found tokio::sync::mpsc)",
            ),
            (
                "src/broker/queue.rs",
                "use std::{cmp, fs};",
                "std::fs (found std::fs)",
            ),
            (
                "src/broker/queue.rs",
                "fn f() { let now = std::time::Instant::now(); }",
                "std::time (found std::time::Instant::now)",
            ),
            (
                "src/broker/queue.rs",
                "fn f(now: Instant) {}",
                "Instant (found Instant)",
            ),
            (
                "src/broker/queue.rs",
                "use crate::{broker::name, engine::{cell, timer}};",
                "crate::engine (found crate::engine::cell)",
            ),
            (
                "src/broker/queue.rs",
                "use super::super::engine;",
                "crate::engine (found crate::engine)",
            ),
            (
                "src/broker/selector/parse.rs",
                "use super::super::super::stomp::x;",
                "crate::stomp (found crate::stomp::x)",
            ),
            (
                "src/engine/cell.rs",
                "type T = crate::session::Session;",
                "crate::session (found crate::session::Session)",
            ),
            (
                "src/session/link.rs",
                "use crate::transport;",
                "crate::transport (found crate::transport)",
            ),
            (
                "src/config/mod.rs",
                "use ferrymq_store::Journal;",
                "ferrymq_store (found ferrymq_store::Journal)",
            ),
            (
                "protocols/src/lib.rs",
                "use ferrymq::config::Config;",
                "ferrymq (found ferrymq::config::Config)",
            ),
            (
                "store/src/journal.rs",
                "use ferrymq_protocols::Frame;",
                "ferrymq_protocols (found ferrymq_protocols::Frame)",
            ),
        ] {
            let found = named(path, source);
            assert_eq!(
                found.first().map(String::as_str),
                Some(expected),
                "{path}: {source}"
            );
        }
    }

    #[test]
    fn passes_what_only_looks_like_it() {
        for (path, source) in [
            (
                "src/broker/queue.rs",
                "// tokio::spawn\n/* std::fs /* nested */ std::io */ use crate::broker::name;",
            ),
            (
                "src/broker/queue.rs",
                "const T: &str = \"std::fs \\\" tokio\"; const R: &str = r#\"tokio \" tokio\"#;",
            ),
            (
                "src/broker/queue.rs",
                "use std::time::Duration; fn f<'tokio>(c: char) -> bool { c == '\"' || c == '\\'' }",
            ),
            (
                "src/broker/queue.rs",
                "use super::window; fn engine() { let session = 1; }",
            ),
            (
                "src/session/link.rs",
                "use crate::engine::Cell; use std::io;",
            ),
            ("src/telemetry/logging.rs", "use crate::config::LogFormat;"),
        ] {
            assert_eq!(named(path, source), [""; 0], "{path}: {source}");
        }
    }

    #[test]
    fn finds_sleeps_without_a_reason() {
        for (path, source, count) in [
            ("tests/it/a.rs", "fn f() { std::thread::sleep(d); }", 1),
            (
                "tests/it/a.rs",
                "use std::thread;\nfn f() {\n    thread::sleep(d);\n    tokio::time::sleep(d);\n}",
                2,
            ),
            (
                "tests/it/a.rs",
                "use tokio::time::sleep;\nfn f() { sleep(d); }",
                1,
            ),
            (
                "tests/it/a.rs",
                "fn f() {\n    // waits: for the clock to pass\n    thread::sleep(d);\n}",
                0,
            ),
            (
                "tests/it/a.rs",
                "fn f() { thread::sleep(d); } // waits: for the clock to pass",
                0,
            ),
            ("src/engine/timer.rs", "fn f() { thread::sleep(d); }", 0),
            (
                "src/engine/timer.rs",
                "#[cfg(test)]\nmod tests { fn f() { thread::sleep(d); } }",
                1,
            ),
            (
                "src/broker/queue/tests.rs",
                "fn f() { thread::sleep(d); }",
                1,
            ),
        ] {
            assert_eq!(sleeps(path, source).len(), count, "{path}: {source}");
        }
    }

    #[test]
    fn finds_dependencies_of_ours() {
        let manifest = "[package]\nname = \"ferrymq-store\"\n[dependencies]\nbytes.workspace = true\n\
                        ferrymq-protocols.workspace = true\n[dev-dependencies]\nx = { path = \"../x\" }\n\
                        ferrymq-store = { path = \".\" }\n";
        assert_eq!(own_dependencies(manifest), ["ferrymq-protocols", "x"]);
    }
}
